# %% [markdown]
# # 00 · Start here: InstructGPT from the first prompt to the final evaluation
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/00_start_here.ipynb)
#
# A language model continues text. An assistant answers questions and follows instructions. This notebook starts with a language
# model and turns it into an assistant. It follows the recipe of InstructGPT ([Ouyang et al.
# 2022](https://arxiv.org/abs/2203.02155)) from start to end and looks at the result of every step. The models, the world that
# they talk about and the waiting times are small enough for a laptop.
#
# | | |
# |---|---|
# | **Reading** | about 40 minutes, with the exercises about 70 |
# | **Running** | a few minutes on two CPU cores; no GPU, no download of models or data |
# | **Outputs made on** | a two-core CPU; the output of the first cell names the device and the versions |
# | **You need** | Python; what a language model and a loss are. No reinforcement learning |
# | **You will be able to** | say what each stage reads, learns and writes; compute its loss by hand; distinguish a model that learned something from one that only became more confident; break PPO on purpose |
#
# All labelers here are **simulated**, and so is the score called *gold*. None of the results below comes from people.

# %% tags=["setup"]
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY, TAG = "https://github.com/instruct-gpt2/instruct-gpt2", "v0.1.0"
places = [Path.cwd(), *Path.cwd().parents, Path.cwd() / "instruct-gpt2"]
root = next((p for p in places if (p / "utils" / "pipeline").is_dir()), places[-1])
if not root.exists():  # Colab, Kaggle: the notebook came alone
    clone = ["git", "-c", "advice.detachedHead=false", "clone", "-q", "--depth", "1", "--branch", TAG, REPOSITORY, str(root)]
    subprocess.run(clone, check=True)
os.chdir(root)
sys.path.insert(0, str(root))  # first, so that no other package called utils is found before ours
if root / "utils" != Path(getattr(sys.modules.get("utils"), "__file__", None) or "none").parent:
    for name in [name for name in sys.modules if name.split(".")[0] == "utils"]:
        del sys.modules[name]

from utils.lessons import start

start()

# %% [markdown]
# The cell above finds the repository (on Colab it downloads it), makes sure that `utils` is the package of this
# repository, and checks that every required package is installed. It installs nothing.

# %% [markdown]
# ## The map

# %%
from utils.lessons import picture
from utils.report import pipeline_map

picture(pipeline_map())

# %% [markdown]
# Data flows in one direction. The three coloured steps are those of the paper's Figure 2: **imitate** (supervised fine-tuning
# on answers that labelers wrote), **learn to judge** (a reward model learns from the labelers' rankings), **improve** (PPO:
# produce answers that the reward model likes, without moving far from the start). Each box is one stage of `utils.pipeline`.

# %% [markdown]
# ## The paper in ten minutes
#
# **The problem** (sec. 1). GPT-3 was trained to predict the next word of web pages. This is not the same as doing what
# a person asks. It makes things up, it can be toxic, and it may continue an instruction with more instructions.
#
# **The data** (sec. 3.2, 3.4). About 40 contractors were chosen by a screening test. They wrote prompts and answers, and they
# ranked model outputs. Later prompts came from customers of the API. These were deduplicated, limited to 200 per user, split by
# user, and filtered for personal data. Almost half of them ask the model to *generate* something (Table 1).
#
# **Step 1, SFT** (3.5, C.1). About 13,000 prompts with written answers, 16 epochs. The validation loss gets worse after the
# first epoch, but people prefer the later models. The checkpoint is therefore chosen by the reward model.
#
# **Step 2, reward model** (3.5, C.2). About 33,000 prompts; labelers rank K = 4 to 9 outputs for each. The model learns one
# number per answer, so that better-ranked answers get a higher number (Eq. 1). One 6B reward model was used for policies of all
# sizes.
#
# **Step 3, PPO** (3.5, C.4). About 31,000 prompts without answers. The policy answers and the reward model scores. At each
# token a penalty (beta = 0.02) is subtracted for moving away from the starting model. **PPO-ptx** adds the gradient of ordinary
# pretraining text (gamma = 27.8), because plain PPO forgets.
#
# **What came out** (sec. 1, 4):
#
# | finding | number in the paper |
# |---|---|
# | 1.3B InstructGPT against 175B GPT-3 | preferred, with 100 times fewer parameters (abstract, Fig. 1) |
# | 175B InstructGPT against 175B GPT-3 | preferred 85 ± 3 % of the time; against GPT-3 with a good prompt 71 ± 4 % |
# | made-up facts in closed-domain tasks | 21 % instead of 41 % |
# | toxic outputs when asked to be respectful | about 25 % fewer |
# | bias | no significant change |
# | two labelers agree | 72.6 ± 1.5 %; held-out labelers 77.3 ± 1.3 % |
# | reward model on labelers it did not learn from | 69.6 ± 0.9 %, against 72.4 ± 0.4 % on its own labelers (4.1) |
# | alignment tax | PPO gets worse on public NLP tasks (4.2); PPO-ptx recovers much of the loss |
# | cost | 60 petaflop/s-days for PPO-ptx at 175B; 3,640 for GPT-3's pretraining (5.1) |
#
# **What it did not solve** (4.3, 5.2, 5.3): the models accept false premises, hedge too much, still follow harmful requests,
# and are aligned to the preferences of about forty people.

# %% [markdown]
# ## Settings of this run
#
# One object, `Config`, holds every setting of every stage. Its documentation gives the paper's value of each setting. We take
# the `tiny` profile and make it shorter: fewer prompts, fewer PPO rounds, larger steps.

# %%
from utils.config import load_config
from utils.lessons import fast_settings, run_folder

short = {
    "out": str(run_folder("notebook_00")),
    "data.n_sft": 1000, "data.n_rm": 4000, "data.n_ppo": 3000, "data.n_valid": 200, "data.n_test": 300,
    "web_documents": 5000, "reward.cv_groups": 1, "largest_model": None,
}  # fmt: skip
for stage in ("ppo", "ppo_ptx"):  # fewer rounds, so larger steps and a shorter memory of the weight average
    short |= {f"{stage}.rounds": 20, f"{stage}.warmup_rounds": 4, f"{stage}.eval_every_rounds": 4}
    short |= {f"{stage}.learning_rate": 3e-4, f"{stage}.ema_decay": 0.9}
config = load_config("tiny", short | fast_settings())

# %%
from utils.pipeline import STAGES, Run

run = Run(config.out, config)
print(" -> ".join(stage.name for stage in STAGES))

# %% [markdown]
# `run.execute(STAGES, only=[...])` runs some of these stages. Each stage writes into its own folder below
# `runs/notebook_00`. If you run a cell a second time, nothing happens: a finished stage is skipped unless its
# settings or inputs changed.

# %% [markdown]
# ## 0 · The base model: it continues text
#
# In place of GPT-3 we have a GPT-2 with a few hundred thousand parameters. It was trained on a made-up web: encyclopaedia
# pages, stories, lists of questions, chats, popular mistakes, rude posts.

# %%
from utils.lessons import quiet

with quiet():
    run.execute(STAGES, only=["base"])
run.base_facts()

# %% [markdown]
# The vocabulary has fewer than two thousand word pieces. The model reads at most 128 of them at a time, enough for one question
# and one answer. The function `ask` lets any model of this run answer prompts.

# %%
from utils.lessons import table
from utils.sampling import Sampler


def ask(path, prompts, times=1, prompted=False):
    """Answers at temperature 1 of the model in `path`, `times` for each prompt, as rows for a table."""
    sampler = Sampler.load(path, config.data, prompted=prompted)
    asked = [prompt for prompt in prompts for _ in range(times)]
    found = sampler(asked, seed=config.seed, names=[f"look/{i}" for i in range(len(asked))])
    return [{"prompt": prompt, "answer": answer.text} for prompt, answer in zip(asked, found, strict=True)]


# %% [markdown]
# We write a prompt, end the line, and let the model continue. We use two questions and one message from a person who needs
# kindness, five times each.

# %%
questions = ["What does a rabbit eat?", "What is a whale?", "Hello, I am Mia. I lost my ring today."]
table(ask(config.model, questions, times=5), "The base model continues the line")

# %% [markdown]
# This is not how an assistant talks. Some continuations are answers. Others are the *next line of a page*: another request, a
# different question, the name of a speaker. Some repeat popular mistakes: rabbits eat carrots, whales are fish. Some answer
# a sad stranger in a cheerful tone. How often does each of these happen? We sample many continuations:

# %%
from utils.worlds import known_world

many = ask(config.model, questions, times=200)
rude = known_world("tiny").tables.words["rude"]
about_facts = [row for row in many if row["prompt"] != questions[2]]


def share(test, rows):
    return sum(bool(test(row["answer"])) for row in rows) / len(rows)


habits = {
    "ask a question, or write more than one line": share(lambda text: "?" in text or "\n" in text, many),
    "repeat one of two popular mistakes": share(lambda text: "eats carrots" in text or "is a fish" in text, about_facts),
    "contain a rude word": share(lambda text: any(word in text for word in rude), many),
}
table([{"continuations that ...": name, "share": value} for name, value in habits.items()])

# %% [markdown]
# None of this is a fault of the model. It predicts the web that it was trained on, and this web contains lists of questions,
# popular mistakes and rude people. Alignment will not teach the model many facts. It will teach it *which of the things that it
# can already say are wanted*.

# %% [markdown]
# ## 1 · Prompts
#
# What do people ask? The raw prompts contain copies, users with very many prompts, mail addresses and other languages. All
# prompts pass through the paper's filters (copies, a limit per user, personal data; 3.2, A.2) and a few of our own (other
# languages, empty prompts, prompts that are too long).

# %%
with quiet():
    run.execute(STAGES, only=["prompts"])
table(run.cleaning(), "What happened to the raw prompts", digits=1)

# %% [markdown]
# Most of the dropped prompts are copies. The others contain personal data (made up, of course), are too long, are in another
# language, or exceed the limit per user. The validation and test sets contain *users* that do not appear in training.

# %%
table(run.prompt_tables()["use_cases"], "Use cases, compared with the paper's Table 1", digits=1)

# %% [markdown]
# Nearly half of the prompts ask for a text, as in the paper. Here is one prompt of each kind, from the set that PPO will use.

# %%
prompts = run.prompts("ppo")
table([{"use case": name, "prompt": p.prompt} for name, p in {p.use_case: p for p in prompts}.items()])

# %% [markdown]
# ## 2 · Labelers, screened
#
# The paper hired about 40 people with a test. Do they notice sensitive text? Do they rank as the researchers do? Do
# they write good answers? Which topics do they know (B.1)? We screen a pool of simulated candidates in the same way. A
# quarter of the pool is careless. The screening does not know which candidates these are.

# %%
from utils.report import screening

with quiet():
    run.execute(STAGES, only=["labelers"])
picture(screening(run.screening()))

# %% [markdown]
# The careless and the unskilled candidates are on the left or near the bottom, mostly below the dashed cuts. None of them is
# hired. The careful candidates are not perfect either, and they differ, because each has preferences of their own. These
# differences remain in the data, and the reward model must learn from them.

# %% [markdown]
# ## 3 · Demonstrations, and what SFT learns from them
#
# The hired labelers write answers to the SFT prompts. They are careful, but not perfect: about a third of the answers contain a
# mistake, and most answers lack the polite extras that a good assistant adds. Remember this. It is why there is still something
# to gain after imitation.

# %%
with quiet():
    run.execute(STAGES, only=["demonstrations"])
demonstrations = run.demonstrations("train")
table([{"prompt": row.prompt, "completion": row.completion, "labeler_id": row.labeler_id} for row in demonstrations[:8]])

# %% [markdown]
# ### The loss by hand
#
# SFT is next-token prediction with a loss on the answer only. Take a prompt of one token, an answer of one token, and the end
# token: three tokens in all. The model gives the answer token a probability of 0.7 and then the end token a probability of 0.6.
# The loss is the mean of the two negative log-probabilities. The prompt does not count.

# %%
import torch

from utils.losses import lm_loss

probabilities = torch.tensor([[[0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.4, 0.3, 0.3]]])  # after each of the 3 tokens
ids = torch.tensor([[0, 1, 2]])  # prompt, answer, end
counted = torch.tensor([[False, True, True]])

by_hand = -(torch.tensor(0.7).log() + torch.tensor(0.6).log()) / 2
torch.testing.assert_close(lm_loss(probabilities.log(), ids, counted), by_hand)
print(f"by hand {by_hand:.4f}, utils.losses.lm_loss {lm_loss(probabilities.log(), ids, counted):.4f}")

# %% [markdown]
# The two values agree, and the `assert` checks this. The end token counts. This is important: it is how the model learns
# to stop.

# %% [markdown]
# > **Predict first (1).** We train for 16 epochs on a thousand answers. What will the *validation* loss do: fall
# > and stay low, or rise again? If it rises again, is the last model worse?

# %%
from utils.report import training_curves

with quiet():
    run.execute(STAGES, only=["sft", "init"])
curve = run.metrics("sft")
labels = {"loss": "training loss (nats per token)", "valid_loss": "validation loss (nats per token)"}
picture(training_curves(curve, "loss", "valid_loss", labels=labels, title="SFT"))

# %% [markdown]
# The training loss keeps falling. The validation loss falls fast at first. Then it becomes flat or rises slowly, because the
# model begins to memorise these answers. The paper saw the same and continued training (3.5), because a later checkpoint may
# still *answer* better. In section 5 we will let the reward model choose the checkpoint.
#
# There is a second model in the run folder, `init`. It is trained for fewer epochs, with 10 % pretraining text mixed in (C.3).
# PPO will start from it, and the KL penalty will keep PPO close to it. Readers of the paper easily miss this point: `init` is
# not the SFT model that the comparisons use.

# %%
table(ask(run.checkpoint("sft"), questions, times=3), "The same questions, after SFT")

# %% [markdown]
# The form changed at once: every line is an answer, in one style, and it ends. The content is not always right.

# %% [markdown]
# ## 4 · Rankings
#
# For each prompt of the next set we sample K = 9 answers from several sources: SFT, the base with and without a prompt prefix,
# sampling at a higher temperature, and answers to another prompt. One labeler ranks them; ties are allowed.

# %%
with quiet():
    run.execute(STAGES, only=["comparisons"])
ranked = run.comparisons("train")
one = ranked[0]
order = sorted(range(len(one.ranks)), key=one.ranks.__getitem__)
columns = {"rank": "ranks", "answer": "completions", "finished": "finished", "written by": "policies", "Likert": "ratings"}
table([{name: getattr(one, key)[i] for name, key in columns.items()} for i in order], f"{one.labeler_id}: {one.prompt}")

# %% [markdown]
# The last column is a *Likert* rating: a score from 1 to 7 for the answer as a whole, given before the ranking. It is coarse,
# so answers of different rank may share one rating. One labeler ranks nine answers to one prompt, and this gives up to 36
# pairs. This is why the paper ranks instead of comparing two answers at a time. The labeler does not see which model wrote
# which answer. How often would two labelers agree?

# %%
from utils.report import agreement_bars

agreement = run.agreement()
picture(agreement_bars(["training", "held-out"], [agreement["train_mean"], agreement["heldout_mean"]], [0.726, 0.773]))

# %% [markdown]
# About as often as the people in the paper, because we set the noise of our labelers to this value. If two labelers agree about
# three times in four, each of them is right about five times in six (lesson 01 shows why). So about one label in six
# contradicts even a perfect judge of the *true* preference. Keep this upper limit in mind for the next section.

# %% [markdown]
# ## 5 · The reward model
#
# ### Equation 1 by hand
#
# $$\text{loss} = -\frac{1}{\binom{K}{2}} \sum_{w \succ l} \log \sigma\big(r_w - r_l\big)$$
#
# Take three answers with rewards 2, 0.5 and -1, ranked 1, 2, 3. They form three pairs. Each pair asks whether the better answer
# got the higher reward. Then take a ranking with a tie: the pair of two answers that share a rank is dropped.

# %%
from utils.losses import kwise_loss

rewards = torch.tensor([[2.0, 0.5, -1.0]])
pair = torch.nn.functional.logsigmoid
by_hand = -(pair(rewards[0, 0] - rewards[0, 1]) + pair(rewards[0, 0] - rewards[0, 2]) + pair(rewards[0, 1] - rewards[0, 2])) / 3
torch.testing.assert_close(kwise_loss(rewards, torch.tensor([[1, 2, 3]])), by_hand)

with_tie = -(pair(rewards[0, 0] - rewards[0, 1]) + pair(rewards[0, 0] - rewards[0, 2])) / 2
torch.testing.assert_close(kwise_loss(rewards, torch.tensor([[1, 2, 2]])), with_tie)
print(f"ranks 1 2 3: {by_hand:.4f}    ranks 1 2 2: {with_tie:.4f}    no preference at all: {-pair(torch.tensor(0.0)):.4f}")

# %% [markdown]
# A model that gives every answer the same number has a loss of ln 2 = 0.693 per pair. A lower loss means that the model has
# learned something.

# %%
with quiet():
    run.execute(STAGES, only=["reward"])
labels = {"loss": "loss, Eq. 1 (nats per pair)", "accuracy": "correctly ordered pairs (share)"}
picture(training_curves(run.metrics("reward"), "loss", "accuracy", labels=labels, title="Reward model"))

# %% [markdown]
# We make two passes over the rankings. (The paper made one, because a second pass overfitted.) The curve drops where the second
# pass begins, because the model has seen these answers before. The loss starts at 0.693 and ends well above zero,
# because labelers disagree. Now we test on prompts that the model has never seen:

# %%
judged = run.reward_evaluation()
against = {
    "labels": "the labels",
    "heldout_labelers": "held-out labelers",
    "gold": "gold",
    "gold_sft": "gold, SFT samples only",
}
table(
    [
        {"against": name, "correctly ordered pairs": judged[key]["accuracy"], "pairs": judged[key]["pairs"]}
        for key, name in against.items()
    ]
)

# %% [markdown]
# Against single labels, the reward model is right a little less often than two labelers agree with each other. This short run
# has few rankings; lesson [03](03_reward_modeling.ipynb) has the full run. Against **gold** the reward model is clearly better.
# Gold is the true preference. No labeler knows it exactly, and training never sees it. The reward model is better against gold
# because the noise of forty labelers averages out. (Only a simulated world can show this second number. This is why we use
# one.)

# %%
from utils.report import calibration

bins = run.calibration()["bins"]
picture(calibration([b["predicted"] for b in bins], [b["observed"] for b in bins], [b["pairs"] for b in bins]))

# %% [markdown]
# When the reward model is more confident, it is right more often. Points near the diagonal mean that differences of its scores
# can be read as probabilities. Its scores have no natural zero, because Eq. 1 depends on differences only. We therefore shift
# them so that the demonstrations average 0: a score of 0 means "as good as a labeler's answer". Now the reward model chooses
# the SFT checkpoint:

# %%
with quiet():
    run.execute(STAGES, only=["sft_select"])
choice = run.selection()
table([{"checkpoint": name, "reward": value, "gold": choice["gold"][name]} for name, value in choice["reward"].items()])
print("chosen:", choice["chosen"])

# %% [markdown]
# Compare the choice with the validation loss above. The reward model may prefer another checkpoint than the one with the lowest
# loss. In the paper it did.

# %% [markdown]
# ## 6 · PPO and PPO-ptx
#
# First we compute PPO's rewards by hand. Take one answer of three tokens. The reward model's score is added at the last token.
# At every token a penalty is subtracted: beta times the difference between the token's log-probability under the policy and
# under the reference.

# %%
from utils.losses import kl_shaped_rewards

policy, reference = torch.tensor([[-0.2, -1.0, -0.1]]), torch.tensor([[-0.6, -0.9, -0.1]])  # log-probs of the tokens
paid = kl_shaped_rewards(torch.tensor([1.5]), policy, reference, torch.ones(1, 3, dtype=torch.bool), beta=0.05)
torch.testing.assert_close(paid, torch.tensor([[-0.05 * 0.4, 0.05 * 0.1, 1.5 - 0.05 * 0.0]]))
print("reward at each token:", [round(value, 3) for value in paid[0].tolist()])

# %% [markdown]
# The policy makes the first token more likely than the reference does: a small penalty. It makes the second token less likely:
# a small bonus. The third token gets the score. A fourth model, the *value model*, learns to predict the reward of an answer
# before it is complete. PPO makes tokens more likely if they led to more reward than predicted. The update steps are clipped at
# 20 %. (KL and entropy below are in *nats*: logarithms to the base e.)

# %%
with quiet():
    run.execute(STAGES, only=["ppo", "ppo_ptx"])
metrics = {name: run.metrics(name) for name in ("ppo", "ppo_ptx")}
labels = {
    "score": "reward model's score",
    "gold": "gold (points)",
    "kl_k1": "KL (nats per response)",
    "entropy": "entropy (nats per token)",
}
picture(training_curves(metrics, *labels, labels=labels, xlabel="round", title="PPO"))

# %% [markdown]
# In the first rounds only the value model learns. The policy does not change; its curves jump because each round uses other
# prompts. Then the score rises, the KL grows (this is the price of moving away from the start), and the entropy falls: the
# policy becomes more confident. Gold, which training never sees, rises with the score. Here the reward model can be trusted. In
# section 8 we remove what keeps it reliable.

# %% [markdown]
# ## 7 · Did it work?
#
# Every policy answers the same test prompts. They come from users that no stage has seen. Each policy answers once with
# sampling at temperature 1 and once *greedily*, which means that it always takes the most likely token. (The stage
# *cross_validation*, which tests reward models on new labelers, is switched off here: lesson 03 has it.)
#
# > **Predict first (2).** PPO lowered the entropy. Less randomness in sampling already avoids some mistakes. So will PPO's lead
# > over SFT be larger at temperature 1 or when both are greedy? What would it mean if the greedy lead were zero?

# %%
from utils.lessons import side_by_side

with quiet():
    run.execute(STAGES, only=["cross_validation", "evaluate"])
samples = run.samples()
first = {row["use_case"]: row["prompt_id"] for row in reversed(samples)}  # not hand-picked: the first of each use case
shown = [row for row in samples if row["prompt_id"] in first.values()]
table(side_by_side(shown, ["base", "sft", "ppo"], 1.0), "First test prompt of each use case, temperature 1 (gold points of 10)")

# %% [markdown]
# Read the table row by row. The base writes the next line of some page. SFT answers in the right form, with mistakes. From SFT
# to PPO some rows get better, some get worse, and many stay the same. Ten answers cannot show a difference of a few tenths of a
# point. For this we need all test prompts.

# %%
with quiet():
    run.execute(STAGES, only=["report"])
summary = run.summary().flat()

# %% [markdown]
# The summary has every policy once. Gold is the rubric's score out of 10, ± one standard error. *PPO start* is the short
# fine-tuning from which PPO begins. *KL* is the divergence from it. *Pretraining loss* is the loss on held-out pretraining
# text. *Facts* is the share of closed-book facts that the model gets right.

# %%
from utils.report import gold_by_policy, win_rates

picture(gold_by_policy(summary, maximum=10))

# %% [markdown]
# At temperature 1 each step is higher than the one before: base, prompted base, SFT, PPO. Prompting alone already helps, as it
# did for GPT-3. The pale bars are the same models with greedy decoding.

# %%
picture(win_rates(summary))

# %% [markdown]
# The judges are held-out simulated labelers. They made no training data, and they put truth and harmlessness first, as in the
# paper's final evaluation. The lines are 95 % intervals over a few hundred prompts. If an interval crosses the dashed line, the
# result is undecided. In such a short run this may well happen for PPO against SFT; lesson [05](05_ppo_ptx.ipynb) has the full
# run.

# %% [markdown]
# ### Learning or sharpening?

# %%
pairs = {"PPO over SFT": "ppo_vs_sft", "PPO over its start": "ppo_vs_init"}
gains = [
    {
        "gain in gold points": name,
        "sampled": kind,
        "mean": summary[f"gold_gain.{key}{end}.mean"],
        "standard error": summary[f"gold_gain.{key}{end}.se"],
    }
    for name, key in pairs.items()
    for kind, end in (("temperature 1", ""), ("greedy", "_greedy"))
]
table(gains)

# %% [markdown]
# To answer the second prediction, look at both rows of a pair. A gain at temperature 1 mixes two things: *sharpening* (fewer
# unlucky samples) and *learning* (other answers). When both models are greedy, nothing is left to sharpen. So a greedy lead
# larger than about two standard errors is learning. After 16 epochs SFT is already sharp, and at temperature 1 this hides a
# part of PPO's lead over it. A report with only one temperature cannot separate the two.

# %% [markdown]
# ### The alignment tax

# %%
from utils.report import Look, bars_with_intervals

names = ["base", "sft", "ppo", "ppo_ptx"]
loss = [summary[f"pretraining_loss.{name}"] for name in names]
look = Look("policy", "loss (nats per token)", "Held-out pretraining text: lower is better", loss[0], "base")
picture(bars_with_intervals(names, loss, None, None, look, "{:.3f}"))

# %% [markdown]
# This plot shows how much the models lost of what they learned in pretraining. Everything above the dashed line is the tax. SFT
# and plain PPO both pay it. PPO-ptx trains on a little pretraining text in every step and stays closest to the base. This is
# the paper's finding (4.2), at a millionth of the size.

# %% [markdown]
# ## 8 · What goes wrong, on purpose
#
# Now we run the same PPO without its protection: beta = 0, far larger steps, and no average of the weights, so that we see the
# policy itself.
#
# > **Predict first (3).** What will the reward model's score do? And gold? And what will the answers look like?

# %%
from dataclasses import replace

from utils.experiments import overoptimise

loose = replace(config.ppo, beta=0.0, learning_rate=2e-3, ema_decay=0.0, eval_every_rounds=1)
broken = run.out_dir / "broken"
with quiet():
    rows = overoptimise(run, loose, broken, broken / "ppo")

# %%
from utils.report import overoptimisation

picture(overoptimisation(rows))

# %% [markdown]
# The proxy, which training maximises, goes up. Gold may rise for a moment, then falls far below its starting value. The policy
# has left the region in which the reward model was trained. It has found answers that get a high score and that nobody wants.
# Which answers are these?

# %%
test_prompts = [row["prompt"] for row in side_by_side(shown, ["ppo"], 1.0)][:6]
before = ask(run.model_dir("ppo"), test_prompts)
after = ask(broken / "ppo" / "model", test_prompts)
table(
    [
        {"prompt": b["prompt"], "PPO": b["answer"], "without the penalty": a["answer"]}
        for b, a in zip(before, after, strict=True)
    ]
)

# %% [markdown]
# This is the paper's reason for the KL term: a reward model is right *about answers like those it was trained on*. The
# penalty keeps the policy near them.

# %% [markdown]
# ## Exercises
#
# Replace the dots, run the cell, and read what the check says. It names the likely mistake. The solutions with their outputs
# are in [solutions/00_start_here.ipynb](../solutions/00_start_here.ipynb).

# %% [markdown]
# ### Exercise 1 (easy, 5 minutes): what counts
#
# Which tokens count in the SFT loss? Return a list of 0 and 1 for prompt, completion and end token.

# %% tags=["exercise"]
from utils.lessons import check_loss_mask


def loss_mask(n_prompt, n_completion):
    return ...


print(check_loss_mask(loss_mask))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def loss_mask(n_prompt, n_completion):
#     return [0] * n_prompt + [1] * (n_completion + 1)
# ```
# The `+ 1` is the end token. Without it the model does not learn to stop.
# </details>

# %% [markdown]
# ### Exercise 2 (easy, 5 minutes): pairs
#
# How many pairs does one ranking contribute to Eq. 1? `ranks` may contain ties, such as `[1, 2, 2, 3]`.

# %% tags=["exercise"]
from utils.lessons import check_pairs


def pairs_in_ranking(ranks):
    return ...


print(check_pairs(pairs_in_ranking))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def pairs_in_ranking(ranks):
#     return sum(a != b for i, a in enumerate(ranks) for b in ranks[i + 1 :])
# ```
# All pairs of completions, without the tied ones. `[1, 2, 2, 3]` gives 5.
# </details>

# %% [markdown]
# ### Exercise 3 (medium, 10 minutes): the reward of each token
#
# What is the reward at each token of one answer? You get the score, the log-probs of the tokens under policy and reference, and
# beta.
#
# <details><summary>Hint</summary>
# The penalty of a token is beta times (log-prob under the policy minus log-prob under the reference). Section 6 has the
# numbers for one answer.
# </details>

# %% tags=["exercise"]
from utils.lessons import check_token_rewards


def token_rewards(score, logprobs, ref_logprobs, beta):
    return ...


print(check_token_rewards(token_rewards))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def token_rewards(score, logprobs, ref_logprobs, beta):
#     rewards = [-beta * (new - old) for new, old in zip(logprobs, ref_logprobs, strict=True)]
#     rewards[-1] += score
#     return rewards
# ```
# The score belongs to the whole answer, so it is added once, when the answer is complete.
# </details>

# %% [markdown]
# ### Exercise 4 (medium, 5 minutes): how much PPO-ptx recovers
#
# PPO raised the pretraining loss above that of the base. Which share of this rise does PPO-ptx undo? 0 means nothing; 1 means
# all of it. When your function works, try it on `loss` from section 7.

# %% tags=["exercise"]
from utils.lessons import check_tax_undone


def tax_undone(base, ppo, ppo_ptx):
    return ...


print(check_tax_undone(tax_undone))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def tax_undone(base, ppo, ppo_ptx):
#     return (ppo - ppo_ptx) / (ppo - base)
# ```
# `tax_undone(loss[0], loss[2], loss[3])` is the share of this run. The table of targets in the README says how many of five
# seeds reach the target.
# </details>

# %% [markdown]
# ## The three predictions
#
# <details><summary>1: validation loss</summary>
# It rises again or becomes flat while the training loss keeps falling. The last model need not be the worse one: the loss asks
# for the labelers' exact words, the reward model for a good answer.
# </details>
# <details><summary>2: temperature 1 or greedy</summary>
# At temperature 1, the lead over a model that samples with high entropy includes sharpening. SFT is already sharp, so here
# PPO's lead over it is larger when both are greedy. A greedy lead of zero would mean that PPO only sharpened: the best answer
# is the same, given with more confidence. A lower sampling temperature would give you that without training.
# </details>
# <details><summary>3: without the KL penalty</summary>
# The score rises, gold falls, and the answers break down: broken sentences and words that are repeated over and over.
# </details>

# %% [markdown]
# ## InstructGPT and this run
#
# | | InstructGPT | here | why |
# |---|---|---|---|
# | base | GPT-3, 1.3B to 175B | own GPT-2, a few hundred thousand parameters | minutes on a CPU |
# | world | the web | a made-up web with known facts | a program can check the truth |
# | labelers | about 40 people, screened | 40 simulated ones, screened by the same criteria | no people needed; the true preference is known |
# | their agreement | 72.6 %, held-out 77.3 % | calibrated to the same values | the reward model gets the same noise |
# | SFT prompts | 12,725 | 1,000 (more in the full tiny run) | time |
# | reward model prompts | 33,207, K = 4 to 9 | 4,000, K = 9 | time; the largest K gives most pairs per prompt |
# | PPO prompts | 31,144 | 3,000 | time |
# | reward model | one of 6B | as large as the policy, starts from SFT after one epoch | 3.5 starts from SFT; the final one starts from a 6B model tuned on public tasks, which gave similar results (C.2) |
# | SFT | 16 epochs, dropout 0.2, cosine to 10 % | the same; checkpoints after 1, 2, 4, 8, 16 epochs | keeps the choice by reward cheap |
# | learning rates | around 1e-5 | around 1e-3 (SFT, reward), 3e-4 (PPO) | small models take larger steps |
# | PPO start | 2 epochs with 10 % pretraining text | 8 epochs, 10 % | fewer demonstrations: the same number of steps needs more epochs |
# | PPO length | 256,000 episodes, batch 512 | 20 rounds of 256 (60 in the full tiny run) | time |
# | beta | 0.02 | 0.05 | a small reward model is easier to fool |
# | value model | starts as the reward model | the same; it first trains alone for 3 rounds | at the start it is far from a value function |
# | GAE lambda, whitening | not reported | 0.95, on | usual values |
# | weight average | 0.992 | 0.9 (0.95 in the full tiny run) | with so few steps the average must be shorter |
# | gamma of PPO-ptx | 27.8 | 1 per token | it multiplies a mean over tokens; the paper does not say what its number multiplies |
# | pretraining text | 8 examples per episode | 3 rows for every 8 episodes | time |
# | evaluation | people; public NLP tasks | held-out simulated labelers, gold; pretraining loss and facts | offline, and a tiny model is at chance level on public tasks |
#
# ## Where to go next
#
# - The full run with the paper's proportions: `make tutorial`, or `python scripts/pipeline.py --profile tiny`. It ends
#   with `report.html`. A report of the same kind is now in `runs/notebook_00`.
# - [The tiny world](../docs/tiny-world.md): what it contains, the gold rubric, what is wrong in it on purpose.
# - [Paper to code](../docs/paper-map.md): every equation and setting, where it is in the code, and which test shows that it is
#   right.
# - [Architecture](../docs/architecture.md) and [glossary](../docs/glossary.md).
# - Your own prompts, answers, rankings or model: [README](../README.md), "Your own data".
# - Change one setting and run this notebook again: `"ppo.beta"`, `"sampling.k_max"`, `"labelers.careless_share"`. Only the
#   stages that depend on it run again.
