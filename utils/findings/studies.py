"""All studies: every question with its prediction, which was written before any run, and the settings of its runs.

Margins say how small a difference counts as none: gold in points of ten, shares in 0 to 1, losses in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils.config import load_config, shortened
from utils.findings.study import Arm, Claim, Curve, Panel, Study
from utils.findings.verdict import LESS, SAME

ROUNDS = 24  # of a short run of PPO
GOLD = Panel("gold", "gold at T = 1 (points)")
TAX = Panel("pretraining_loss", "loss on pretraining text (nats)")
KL = Panel("kl", "KL to the start (nats)")
ACCURACY = Panel("accuracy_gold", "reward model, accuracy against gold")
DISTANCE = "distance from the start, square root of KL (nats)"
BOTH_OVER_KL = (
    Curve("distance", "gold", DISTANCE, "gold (points)", "measured_ppo"),
    Curve("distance", "proxy", DISTANCE, "reward model's score", "measured_ppo"),
)
BEST_OF_N_OVER_KL = Curve("distance", "gold", DISTANCE, "gold of the best of n (points)", "measured_reward")


def short(stage: str, rounds: int = ROUNDS) -> dict[str, Any]:
    """Settings of a short run of the stage ppo or ppo_ptx."""
    before = getattr(load_config("tiny"), stage)
    after = shortened(before, rounds)
    names = ("rounds", "warmup_rounds", "learning_rate", "ema_decay", "eval_every_rounds")
    return {f"{stage}.{name}": getattr(after, name) for name in names}


def values(setting: str, given: Mapping[str, Any], control: str, **more: Any) -> tuple[Arm, ...]:
    """Arms that differ in one setting. given: name of the arm -> value; control: name of the arm the others differ from."""
    return tuple(
        Arm(name, {setting: value}) if name == control else Arm(name, {setting: value}, control, **more)
        for name, value in given.items()
    )


KWISE = Study(
    name="kwise",
    number=6,
    question="Does a reward model trained on shuffled pairs overfit where one trained on whole rankings does not?",
    common={"reward.max_rankings": 500, "reward.epochs": 4},
    arms=values("reward.element", {"whole rankings": "prompt", "shuffled pairs": "pair"}, "whole rankings"),
    measures=("reward_curve",),
    claims=(
        Claim(
            "After one pass, shuffled pairs have the higher loss on unseen prompts.",
            "One pass over shuffled pairs already overfits (sec. 3.5, footnote 5).",
            "loss_after_one_pass", "shuffled pairs", "whole rankings",
        ),
        Claim(
            "After four passes too.",
            "The reward model is very sensitive to the number of epochs (C.2).",
            "final_loss", "shuffled pairs", "whole rankings",
        ),
        Claim(
            "The loss of whole rankings rises from its lowest point as well when they are read four times.",
            "Several epochs quickly overfit (C.2).",
            "final_loss", "whole rankings", other="loss_after_one_pass",
        ),
    ),
    curves=(
        Curve("passes", "valid_loss", "passes over the training data", "loss on validation rankings (nats)"),
        Curve("passes", "train_loss", "passes over the training data", "training loss (nats)"),
    ),
    panels=(Panel("loss_after_one_pass", "loss after one pass (nats)"), Panel("final_loss", "loss after four passes (nats)")),
)  # fmt: skip

SHIFT = Study(
    name="reward_shift",
    number=7,
    question="Does it matter to PPO that demonstrations have a mean reward of 0?",
    common=short("ppo"),
    arms=values("reward.demonstration_mean", {"0": 0.0, "no shift": None, "-3": -3.0, "+3": 3.0}, "0"),
    measures=("measured_ppo",),
    claims=(
        Claim(
            "Without the shift gold is the same within 0.2 points, because a constant does not change a preference.",
            "The reward model is normalized by a bias so that demonstrations average 0 (C.2); no effect is reported.",
            "gold", "no shift", "0", expected=SAME, margin=0.2,
        ),
        Claim(
            "With a reward that is 3 lower gold is the same within 0.2 points.",
            "Not in the paper.", "gold", "-3", "0", expected=SAME, margin=0.2,
        ),
        Claim(
            "With a reward that is 3 higher gold is the same within 0.2 points.",
            "Not in the paper.", "gold", "+3", "0", expected=SAME, margin=0.2,
        ),
    ),
    panels=(GOLD, KL, Panel("words", "words per answer")),
)  # fmt: skip

# --- over-optimization (Gao et al. 2022) -----------------------------------------------------------------------------

PRESSURE = {"ppo.rounds": 48, "ppo.learning_rate": 5e-4, "ppo.ema_decay": 0.0, "ppo.eval_every_rounds": 4}
OVEROPTIMIZATION = Study(
    name="overoptimization",
    number=9,
    question="Does gold fall while the reward model's score rises, and does best-of-n gain more for its distance than PPO?",
    common=PRESSURE,
    arms=values("ppo.beta", {"beta 0": 0.0, "beta 0.05": 0.05}, "beta 0"),
    measures=("measured_ppo", "measured_reward"),
    claims=(
        Claim(
            "Without the KL penalty the reward model's score ends higher than with it.",
            "A KL penalty of 0 performs poorly (E.7, Fig. 36).", "reward", "beta 0", "beta 0.05",
        ),
        Claim(
            "Gold ends lower.",
            "A KL penalty of 0 performs poorly (E.7, Fig. 36).", "gold", "beta 0", "beta 0.05", expected=LESS,
        ),
        Claim(
            "Best-of-n rises faster with the distance from the start than PPO (alpha of the two fits).",
            "RL uses more KL than best-of-n for the same gain (Gao et al. 2022).",
            "best_of_n_alpha", "beta 0", other="rl_alpha",
        ),
    ),
    panels=(GOLD, Panel("reward", "reward model's score"), Panel("rl_rms", "PPO: residual of the fit (points)"),
            Panel("best_of_n_rms", "best-of-n: residual (points)")),
    curves=(*BOTH_OVER_KL, BEST_OF_N_OVER_KL),
)  # fmt: skip

SMALL_REWARD = {**PRESSURE, "ppo.beta": 0.0, "reward.max_rankings": 1000, "reward_init": "data/models/small"}
REWARD_MODELS = Study(
    name="overoptimization_models",
    number=9,
    question="Does a larger reward model, or one with more data, withstand more optimization?",
    common=SMALL_REWARD,
    arms=(
        Arm("small, 1000 rankings"),
        Arm("mini", {"reward_init": "data/models/mini"}, "small, 1000 rankings"),
        Arm("large", {"reward_init": "data/models/large"}, "small, 1000 rankings"),
        Arm("250 rankings", {"reward.max_rankings": 250}, "small, 1000 rankings"),
        Arm("4000 rankings", {"reward.max_rankings": 4000}, "small, 1000 rankings"),
    ),
    measures=("measured_ppo", "measured_reward"),
    claims=(
        Claim(
            "After the same training gold is higher with the large reward model.",
            "Larger reward models are over-optimized later (Gao et al. 2022).", "gold", "large", "small, 1000 rankings",
        ),
        Claim(
            "It is lower with the mini one.",
            "Larger reward models are over-optimized later (Gao et al. 2022).",
            "gold", "mini", "small, 1000 rankings", expected=LESS,
        ),
        Claim(
            "It is higher with 4,000 rankings.",
            "More data of the reward model gives more gold (Gao et al. 2022).", "gold", "4000 rankings", "small, 1000 rankings",
        ),
        Claim(
            "It is lower with 250 rankings.",
            "More data of the reward model gives more gold (Gao et al. 2022).",
            "gold", "250 rankings", "small, 1000 rankings", expected=LESS,
        ),
    ),
    panels=(GOLD, ACCURACY, Panel("best_of_64", "gold of the best of 64 (points)")),
    curves=(*BOTH_OVER_KL, BEST_OF_N_OVER_KL),
)  # fmt: skip

# --- labelers --------------------------------------------------------------------------------------------------------

LABELED = ("labelers", "demonstrations", "sft", "init")  # what noise in the rankings leaves as it is
NOISE = Study(
    name="labeler_noise",
    number=10,
    question="What does the labelers' agreement do to the reward model and to PPO, and is bias worse than noise?",
    common={**short("ppo"), "reward.max_rankings": 4000},
    arms=(
        Arm("73 % agreement"),
        Arm("60 %", {"labelers.agreement_train": 0.60}, "73 % agreement", LABELED),
        Arm("90 %", {"labelers.agreement_train": 0.90}, "73 % agreement", LABELED),
        Arm("73 %, more bias, less noise", {"labelers.weight_spread": 0.6}, "73 % agreement", LABELED[1:]),
    ),
    measures=("measured_reward", "measured_ppo"),
    claims=(
        Claim("With 60 % agreement the reward model agrees less with gold.", "Labelers agree in 73 % (sec. 3.4, 5.2).",
              "accuracy_gold", "60 %", "73 % agreement", expected=LESS),
        Claim("With 60 % agreement PPO has less gold.", "Labelers agree in 73 % (sec. 3.4, 5.2).",
              "gold", "60 %", "73 % agreement", expected=LESS),
        Claim("With 90 % agreement the reward model agrees more with gold.", "Labelers agree in 73 % (sec. 3.4, 5.2).",
              "accuracy_gold", "90 %", "73 % agreement"),
        Claim(
            "At equal agreement it makes no difference (0.02) whether labelers differ by weights or by noise.",
            "Averaging labelers may be wrong where they disagree (sec. 5.3).",
            "accuracy_gold", "73 %, more bias, less noise", "73 % agreement", expected=SAME, margin=0.02,
        ),
    ),
    panels=(ACCURACY, Panel("accuracy_labels", "accuracy on the labelers' own pairs"), GOLD),
)  # fmt: skip

TINY = Arm("tiny profile")
POLICIES = ("prompted", "sft", "ppo", "ppo_ptx")
HELD_OUT = Study(
    name="heldout_labelers",
    number=2,
    question="Do labelers who made no training data prefer PPO-ptx to SFT as often as those who did?",
    arms=(TINY,),
    measures=("preferences",),
    claims=(
        Claim(
            "Same noise, other weights: the same win rate as with training labelers within 0.02.",
            "Held-out labelers prefer InstructGPT at about the same rate (sec. 4.1, Fig. 3).",
            "wins.ppo_ptx.weights", TINY.name, other="wins.ppo_ptx.training", expected=SAME, margin=0.02,
        ),
        Claim(
            "As in the paper (not screened, more agreement): the same win rate within 0.03.",
            "Held-out labelers prefer InstructGPT at about the same rate (sec. 4.1, Fig. 3).",
            "wins.ppo_ptx.paper", TINY.name, other="wins.ppo_ptx.training", expected=SAME, margin=0.03,
        ),
        Claim(
            "Labelers with other weights prefer PPO-ptx to SFT.",
            "Held-out labelers prefer InstructGPT to SFT (sec. 4.1, Fig. 3).",
            "wins.ppo_ptx.weights", TINY.name, constant=0.5,
        ),
    ),
    panels=(
        Panel("wins.ppo_ptx.training", "PPO-ptx over SFT, training labelers"),
        Panel("wins.ppo_ptx.weights", "PPO-ptx over SFT, same noise, other weights"),
        Panel("wins.ppo_ptx.paper", "PPO-ptx over SFT, as in the paper"),
    ),
)  # fmt: skip

GROUPS = Study(
    name="labeler_groups",
    number=5,
    question="Does a reward model predict labelers of groups that it was not trained on as well as those it was?",
    common={"reward.cv_prompts": 2000, "reward.cv_groups": 5},
    arms=(Arm("same noise, other weights"), Arm("weights differ more", {"labelers.weight_spread": 0.6},
                                                "same noise, other weights", LABELED[1:])),
    measures=("labeler_groups",),
    claims=(
        Claim(
            "It is more accurate on labelers of the training groups.",
            "72.4 ± 0.4 % on training groups, 69.6 ± 0.9 % on the group left out (sec. 4.1).",
            "training", "same noise, other weights", other="heldout",
        ),
        Claim(
            "The difference is larger where labelers differ more in what they want.",
            "Not in the paper.", "difference", "weights differ more", "same noise, other weights",
        ),
    ),
    panels=(Panel("training", "accuracy, training groups"), Panel("heldout", "accuracy, group left out")),
)  # fmt: skip

# --- PPO and PPO-ptx: gamma, beta, start, learning rate, length (E.6-E.11) ---------------------------------------------

PTX = short("ppo_ptx")
GAMMA = Study(
    name="gamma",
    number=8,
    question="What does the weight of the pretraining term do to the alignment tax and to gold?",
    common=PTX,
    arms=values("ppo_ptx.gamma_ptx", {"1": 1.0, "0": 0.0, "0.3": 0.3, "3": 3.0, "10": 10.0}, "1"),
    measures=("measured_ppo_ptx",),
    claims=(
        Claim("Gamma 1 lowers the loss on pretraining text.", "A gamma of 20 or more undoes the tax (E.6, Fig. 33).",
              "pretraining_loss", "1", "0", expected=LESS),
        Claim("Gamma 1 costs no gold (0.2 points).", "Likert ratings do not depend on gamma (E.6).",
              "gold", "1", "0", expected=SAME, margin=0.2),
        Claim("Gamma 10 costs gold.", "Validation reward falls with gamma (E.6, Fig. 33).", "gold", "10", "1", expected=LESS),
    ),
    panels=(GOLD, TAX, KL),
)  # fmt: skip

BETA = Study(
    name="beta",
    number=8,
    question="Can a stronger KL penalty replace the pretraining term?",
    common={**PTX, "ppo_ptx.gamma_ptx": 0.0},
    arms=(
        Arm("beta 0.05"),
        Arm("beta 0.5", {"ppo_ptx.beta": 0.5}, "beta 0.05"),
        Arm("beta 2", {"ppo_ptx.beta": 2.0}, "beta 0.05"),
        Arm("gamma 1", {"ppo_ptx.gamma_ptx": 1.0}, "beta 0.05"),
    ),
    measures=("measured_ppo_ptx",),
    claims=(
        Claim("With beta 2 the loss on pretraining text stays above that with gamma 1.",
              "Even beta 2.0 does not undo the tax (E.6, Fig. 34).", "pretraining_loss", "beta 2", "gamma 1"),
        Claim("Beta 2 costs gold.", "It lowers the validation reward much (E.6, Fig. 34).",
              "gold", "beta 2", "beta 0.05", expected=LESS),
    ),
    panels=(GOLD, TAX, KL),
)  # fmt: skip

BETA_PTX = Study(
    name="beta_ptx",
    number=8,
    question="With the pretraining term, are both no KL penalty and a strong one worse?",
    common=PTX,
    arms=values("ppo_ptx.beta", {"0.05": 0.05, "0": 0.0, "0.5": 0.5, "2": 2.0}, "0.05"),
    measures=("measured_ppo_ptx",),
    claims=(
        Claim("Beta 0 has less gold.", "0 and 2 are both poor, 0.01 to 0.02 is best (E.7, Fig. 36).",
              "gold", "0", "0.05", expected=LESS),
        Claim("Beta 2 has less gold.", "0 and 2 are both poor, 0.01 to 0.02 is best (E.7, Fig. 36).",
              "gold", "2", "0.05", expected=LESS),
    ),
    panels=(GOLD, TAX, KL),
)  # fmt: skip

INIT_MIX = Study(
    name="init_mix",
    number=8,
    question="Does the share of pretraining text in PPO's start matter?",
    common=PTX,
    arms=values("init.pretrain_fraction", {"10 %": 0.1, "0 %": 0.0, "50 %": 0.5}, "10 %", keep=("comparisons", "reward")),
    measures=("measured_ppo_ptx",),
    claims=(
        Claim("Without any, gold is the same within 0.2 points.", "PPO is not very sensitive to its start (E.8, Fig. 37).",
              "gold", "0 %", "10 %", expected=SAME, margin=0.2),
        Claim("With half, gold is the same within 0.2 points.", "PPO is not very sensitive to its start (E.8, Fig. 37).",
              "gold", "50 %", "10 %", expected=SAME, margin=0.2),
        Claim("Without any, the loss on pretraining text is higher.", "10 % stands out (E.8, Fig. 37).",
              "pretraining_loss", "0 %", "10 %"),
    ),
    panels=(GOLD, TAX, KL),
)  # fmt: skip

RATES = {"3e-4": 3e-4, "1.2e-3": 1.2e-3, "4.8e-3": 4.8e-3}
LEARNING_RATE = Study(
    name="learning_rate",
    number=8,
    question="Is PPO-ptx less sensitive to its learning rate than PPO?",
    common=PTX,
    arms=tuple(
        Arm(
            f"{method}, {said}", {"ppo_ptx.learning_rate": rate} | ({"ppo_ptx.gamma_ptx": gamma} if said == "3e-4" else {}),
            None if said == "3e-4" else f"{method}, 3e-4",
        )
        for method, gamma in (("PPO", 0.0), ("PPO-ptx", 1.0))
        for said, rate in RATES.items()
    ),
    measures=("measured_ppo_ptx",),
    claims=(
        Claim("PPO at 16 times the learning rate has less gold.", "Without the term, larger rates diverge (E.9, Fig. 38).",
              "gold", "PPO, 4.8e-3", "PPO, 3e-4", expected=LESS),
        Claim("At this rate PPO-ptx has more gold than PPO.", "PPO-ptx is less sensitive to the rate (E.9, Fig. 38).",
              "gold", "PPO-ptx, 4.8e-3", "PPO, 4.8e-3"),
    ),
    panels=(GOLD, TAX, KL),
)  # fmt: skip

LENGTH = Study(
    name="length",
    number=8,
    question="Does twice the training help PPO-ptx?",
    arms=values("ppo_ptx.rounds", {"60 rounds": 60, "120 rounds": 120}, "60 rounds"),
    measures=("measured_ppo_ptx",),
    claims=(
        Claim("Gold is the same within 0.2 points.", "More than 256k episodes do not help (E.11).",
              "gold", "120 rounds", "60 rounds", expected=SAME, margin=0.2),
        Claim("The loss on pretraining text is higher.", "DROP and SQuAD drift slightly down in long training (E.6, Fig. 35).",
              "pretraining_loss", "120 rounds", "60 rounds"),
    ),
    panels=(GOLD, TAX, KL),
)  # fmt: skip

RATIO = Study(
    name="pretraining_ratio",
    number=8,
    question="How much pretraining text per episode does PPO-ptx need?",
    common=PTX,
    arms=values("ppo_ptx.ptx_rows_per_episode", {"0.375": 0.375, "0.125": 0.125, "1.5": 1.5}, "0.375"),
    measures=("measured_ppo_ptx",),
    claims=(
        Claim("With a third of it the loss on pretraining text is higher.", "With 4 instead of 8 it often rises (E.11).",
              "pretraining_loss", "0.125", "0.375"),
        Claim("With four times as much it is lower.", "32 instead of 8 seemed better but slow (E.11).",
              "pretraining_loss", "1.5", "0.375", expected=LESS),
    ),
    panels=(GOLD, TAX),
)  # fmt: skip

DETAILS = Study(
    name="ppo_details",
    number=12,
    question="Which of PPO's details matter: the start of the value model, the averaged weights, whitened advantages?",
    common=short("ppo"),
    arms=(
        Arm("all"),
        Arm("value model from the policy", {"ppo.value_init": "policy"}, "all"),
        Arm("no average", {"ppo.ema_decay": 0.0}, "all"),
        Arm("no whitening", {"ppo.whiten_advantages": False}, "all"),
    ),
    measures=("measured_ppo",),
    claims=(
        Claim("A value model that starts as the policy gives less gold.",
              "The value function starts as the reward model (sec. 3.5); no effect is reported.",
              "gold", "value model from the policy", "all", expected=LESS),
        Claim("Without the average gold is the same within 0.15 points.",
              "Weights are averaged with decay 0.992 (C.4); no effect is reported.",
              "gold", "no average", "all", expected=SAME, margin=0.15),
        Claim("Without whitening gold is lower.", "Whitening is not reported.", "gold", "no whitening", "all", expected=LESS),
    ),
    panels=(GOLD, KL, Panel("reward", "reward model's score")),
)  # fmt: skip

# --- what labelers and the rubric say of final outputs -----------------------------------------------------------------

METADATA = Study(
    name="metadata",
    number=3,
    question="What do labelers say of the answers of each policy: ratings, constraints, hallucinations?",
    arms=(TINY,),
    measures=("preferences",),
    claims=(
        Claim("PPO-ptx is rated higher than SFT.", "Likert about 4.9 against 4.1 (Fig. 5, read off the chart).",
              "likert.ppo_ptx", TINY.name, other="likert.sft"),
        Claim("SFT is rated higher than the prompted base.", "Likert about 4.1 against 3.5 (Fig. 5, read off the chart).",
              "likert.sft", TINY.name, other="likert.prompted"),
        Claim("PPO-ptx satisfies constraints more often than SFT.", "About 0.45 against 0.35 (Fig. 4, read off the chart).",
              "satisfies_constraint.ppo_ptx", TINY.name, other="satisfies_constraint.sft"),
        Claim("PPO-ptx hallucinates less than the prompted base in closed-domain tasks.",
              "21 % against 41 % of GPT-3 (sec. 1, Fig. 4).",
              "hallucination.ppo_ptx", TINY.name, other="hallucination.prompted", expected=LESS),
    ),
    panels=tuple(Panel(f"likert.{name}", f"rating, {name.replace('_', '-')}") for name in POLICIES),
)  # fmt: skip

TRUTH = Study(
    name="truth",
    number=11,
    question="What do SFT and PPO do to truth and harm?",
    arms=(TINY,),
    measures=("truth",),
    claims=(
        Claim("Greedy, PPO-ptx gives more true answers than the prompted base to questions with a popular wrong answer.",
              "About twice as often truthful and informative (sec. 1); a small but significant gain (4.2, Fig. 6).",
              "truth.ppo_ptx.true_greedy", TINY.name, other="truth.prompted.true_greedy"),
        Claim("Greedy, PPO gives more true answers than its start.", "PPO is more truthful than SFT (Fig. 6).",
              "truth.ppo.true_greedy", TINY.name, other="truth.init.true_greedy"),
        Claim("Greedy, PPO states fewer misconceptions than its start.", "PPO is more truthful than SFT (Fig. 6).",
              "truth.ppo.misconception_greedy", TINY.name, other="truth.init.misconception_greedy", expected=LESS),
        Claim("PPO-ptx is more harmless than the base.", "About 25 % fewer toxic outputs if asked for respect (sec. 1, 4.2).",
              "part.harmless.ppo_ptx", TINY.name, other="part.harmless.base"),
    ),
    panels=tuple(
        Panel(f"truth.{name}.{kind}_greedy", f"{kind}, {name.replace('_', '-')}")
        for kind in ("true", "misconception") for name in ("init", "ppo", "ppo_ptx")
    ),
)  # fmt: skip

SIZE_KEPT = ("prompts", "labelers", "demonstrations", "comparisons", "reward")  # one reward model for all sizes (C.2)
SIZE = Study(
    name="model_size",
    number=1,
    question="Does the small aligned model beat the large base, and does size help at every stage?",
    common={**short("ppo", 16), **short("ppo_ptx", 16), "ppo_ptx.ptx_rows_per_episode": 0.125, "largest_model": None,
            "evaluation.best_of": (1,)},
    arms=values("model", {"small": "data/models/small", "mini": "data/models/mini", "large": "data/models/large"}, "small",
                keep=SIZE_KEPT),
    measures=("measured_run",),
    claims=(
        Claim("PPO-ptx of the mini model has more gold than the prompted large base.",
              "Labelers prefer the 1.3B InstructGPT to the 175B GPT-3 (Fig. 1).",
              "gold.ppo_ptx.mean", "mini", "large", "gold.prompted.mean"),
        Claim("PPO-ptx of the large model has more gold than that of the small one.", "Larger models win more (Fig. 1).",
              "gold.ppo_ptx.mean", "large", "small"),
        Claim("PPO-ptx of the mini model has less gold than that of the small one.", "Larger models win more (Fig. 1).",
              "gold.ppo_ptx.mean", "mini", "small", expected=LESS),
        Claim("PPO-ptx has as much gold as PPO (0.2 points).", "PPO and PPO-ptx are about equal (Fig. 1).",
              "gold.ppo_ptx.mean", "small", other="gold.ppo.mean", expected=SAME, margin=0.2),
    ),
    panels=tuple(Panel(f"gold.{name}.mean", f"gold, {name.replace('_', '-')}") for name in POLICIES),
)  # fmt: skip

DATA = Study(
    name="data",
    number=4,
    question="Four times the demonstrations or four times the comparisons: which of the two helps PPO more?",
    common={**short("ppo"), "data.n_sft": 375, "data.n_rm": 2000},
    arms=(
        Arm("375 demonstrations, 2000 rankings"),
        Arm("1500 demonstrations", {"data.n_sft": 1500}, "375 demonstrations, 2000 rankings"),
        Arm("8000 rankings", {"data.n_rm": 8000}, "375 demonstrations, 2000 rankings"),
    ),
    measures=("measured_reward", "measured_ppo"),
    claims=(
        Claim("More demonstrations give more gold.", "Not in the paper.",
              "gold", "1500 demonstrations", "375 demonstrations, 2000 rankings"),
        Claim("More rankings give more gold.", "Not in the paper.",
              "gold", "8000 rankings", "375 demonstrations, 2000 rankings"),
        Claim("More demonstrations give more than more rankings.", "Not in the paper.",
              "gold", "1500 demonstrations", "8000 rankings"),
    ),
    panels=(GOLD, ACCURACY),
)  # fmt: skip

STUDIES = (
    KWISE, SHIFT, OVEROPTIMIZATION, REWARD_MODELS, NOISE, HELD_OUT, GROUPS, GAMMA, BETA, BETA_PTX, INIT_MIX, LEARNING_RATE,
    LENGTH, RATIO, DETAILS, METADATA, SIZE, DATA, TRUTH,
)  # fmt: skip
