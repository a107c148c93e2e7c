"""All studies: every question with its prediction, which was written before any run, and the settings of its runs.

Margins say how small a difference counts as none: gold in points of ten, shares in 0 to 1, losses in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils.config import load_config, shortened
from utils.findings.study import Arm, Claim, Curve, Panel, Study
from utils.findings.verdict import SAME

ROUNDS = 24  # of a short run of PPO
GOLD = Panel("gold", "gold at T = 1 (points)")
GREEDY = Panel("gold_greedy", "gold, greedy (points)")
TAX = Panel("pretraining_loss", "loss on pretraining text (nats)")
KL = Panel("kl", "KL to the start (nats)")
ACCURACY = Panel("accuracy_gold", "reward model, accuracy against gold")
OVER_KL = Curve("distance", "gold", "distance from the start, square root of KL (nats)", "gold (points)")
PROXY_OVER_KL = Curve("distance", "proxy", "distance from the start, square root of KL (nats)", "reward model's score")


def short(stage: str, rounds: int = ROUNDS) -> dict[str, Any]:
    """Settings of a short run of the stage ppo or ppo_ptx."""
    before = getattr(load_config("tiny"), stage)
    after = shortened(before, rounds)
    names = ("rounds", "warmup_rounds", "learning_rate", "ema_decay", "eval_every_rounds")
    return {f"{stage}.{name}": getattr(after, name) for name in names}


def values(setting: str, given: Mapping[str, Any], control: str, **more: Any) -> tuple[Arm, ...]:
    """Arms that differ in one setting. given: name of the arm -> value; control: name of the arm the others differ from."""
    return tuple(Arm(name, {setting: value}, None if name == control else control, **more) for name, value in given.items())


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

STUDIES = (KWISE, SHIFT)
