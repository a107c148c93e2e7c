# %% [markdown]
# # 03 · The reward model: from rankings to a number
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/03_reward_modeling.ipynb)
#
# It is hard for people to say how many points an answer is worth. It is easier to say which of two answers is better. A reward
# model turns many such judgements into one number for any answer ([sec. 3.5 and C.2](https://arxiv.org/abs/2203.02155)). All
# later stages rely on this number. So most of this lesson is about *how far* we can trust it.
#
# | | |
# |---|---|
# | **Reading** | about 45 minutes, with the exercises about 90 |
# | **Running** | less than four minutes on two CPU cores; no GPU, no download of models or data |
# | **Outputs made on** | a two-core CPU; the first cell's output names device and versions |
# | **You need** | Python, a little PyTorch, lesson 02 or the idea of fine-tuning. No reinforcement learning |
# | **You will be able to** | compute Eq. 1 by hand; say why a whole ranking is one batch element; test a reward model in four ways; find out what it reads and what it ignores; fool it on purpose |
#
# All labelers here are **simulated**, and so is the score called *gold*: a program that knows every fact of a small made-up
# world gives each answer 0 to 10 points ([how](../docs/tiny-world.md)). No number below comes from people.

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
# The cell above finds the repository (or fetches it, on Colab) and checks that every package is there. It installs nothing.
#
# ## Where we are

# %%
from utils.lessons import picture
from utils.report import pipeline_map

picture(pipeline_map("reward"))

# %% [markdown]
# SFT models answer each prompt several times. Labelers rank the answers. The reward model learns from the rankings; later, PPO
# maximizes its score. We start from one finished run that comes with the repository: `lesson.path("...")` is the folder of a
# stage, `lesson.config` its settings.

# %%
from utils.lessons import fast, run_folder, shipped, table

lesson = shipped()
cfg, folder = lesson.config, run_folder("notebook_03")
few = 24 if fast() else None  # FAST=1 is for tests: the same lesson on a few rows
rankings, test = lesson.comparisons("train")[: few or 1500], lesson.comparisons("test")
print(len(rankings), "rankings to learn from,", len(test), "of unseen prompts to test on")

# %% [markdown]
# ## From rankings to pairs
#
# One prompt, K = 9 answers, one simulated labeler.

# %%
one = next(row for row in rankings if row.use_case == "generation" and len(set(row.ranks)) > 4)
order = sorted(range(len(one.ranks)), key=one.ranks.__getitem__)
lines = [{"rank": one.ranks[i], "answer": one.completions[i], "written by": one.policies[i]} for i in order]
table(lines, f"{one.labeler_id} ranked: {one.prompt}")

# %% [markdown]
# Equal ranks are ties: the labeler saw no difference. The labeler does not see the column *written by*. Some answers belong to
# *other* prompts (`other_...`); we will see later why they are there.
#
# **The idea** is about a century old and is used for chess ratings: each answer has a hidden strength $r$. The stronger one
# usually wins, and more often so if the difference is larger:
#
# $$P(\text{a labeler prefers } y_w \text{ to } y_l) = \sigma(r_w - r_l), \qquad \sigma(z) = \frac{1}{1 + e^{-z}}$$
#
# We choose the strengths that make the labelers' actual choices likely. This is Eq. 1 of the paper:
#
# $$\text{loss}(\theta) = -\frac{1}{\binom{K}{2}} \sum_{w \succ l} \log \sigma\big(r_\theta(x, y_w) - r_\theta(x, y_l)\big)$$
#
# $r_\theta$ is `rewards`: a GPT-2 whose unembedding is replaced by *one* number, read at the last token of the answer. $w \succ
# l$ runs over the pairs in which `ranks[w] < ranks[l]` (1 is best).
#
# ## Eq. 1 by hand
#
# Three answers with rewards 1.5, 1.0 and -0.5. The labeler's ranking: the *second* is best, then the first, then the third.

# %%
import torch

from utils.losses import kwise_loss

rewards, ranks = torch.tensor([[1.5, 1.0, -0.5]]), torch.tensor([[2, 1, 3]])
margins = {"2nd over 1st": 1.0 - 1.5, "2nd over 3rd": 1.0 + 0.5, "1st over 3rd": 1.5 + 0.5}  # better minus worse
log_sigma = torch.nn.functional.logsigmoid
by_hand = -sum(log_sigma(torch.tensor(margin)) for margin in margins.values()) / 3
torch.testing.assert_close(kwise_loss(rewards, ranks), by_hand)
print(f"by hand {by_hand:.4f}, utils.losses.kwise_loss {kwise_loss(rewards, ranks):.4f}")

# %% [markdown]
# They are equal. Where are the three pairs on the curve?

# %%
from utils.report import pair_loss

picture(pair_loss(margins))

# %% [markdown]
# One pair is in the wrong order (left of zero) and has the largest loss. The two pairs in the right order still have a small
# loss; it is smaller if the difference is larger. A model that gives every answer the same number is on the dashed line, ln 2 =
# 0.693. Remember this number: it means "knows nothing".
#
# Eq. 1 ignores two things: ties, because pairs with equal rank are dropped (C.2), and a constant that is added to all rewards:

# %%
tied = torch.tensor([[2, 1, 2]])  # the first and the third share a rank: their pair is gone
without_tie = -(log_sigma(torch.tensor(margins["2nd over 1st"])) + log_sigma(torch.tensor(margins["2nd over 3rd"]))) / 2
torch.testing.assert_close(kwise_loss(rewards, tied), without_tie)
torch.testing.assert_close(kwise_loss(rewards + 100.0, ranks), by_hand)
print(f"with a tie: {without_tie:.4f}; all rewards 100 higher: {kwise_loss(rewards + 100.0, ranks):.4f}")

# %% [markdown]
# The mean is over the remaining pairs. The zero of the scale is free, so we have to choose one later. Is it right to drop ties?
# Gold shows how different tied answers really are:

# %%
from itertools import combinations

from utils.evaluation import mean_se

world = lesson.world
rubric = world.rubric

golds = [[rubric.gold(scores) for scores in row] for row in lesson.gold_parts("test")]
pairs = [
    (row.ranks[i] == row.ranks[j], abs(g[i] - g[j]))
    for row, g in zip(test, golds, strict=True)
    for i, j in combinations(range(len(g)), 2)
]
kinds = {name: [gap for tie, gap in pairs if tie is kind] for name, kind in (("tied", True), ("ordered", False))}
lines = [{"pairs": n, "share of all": len(g) / len(pairs), "mean gold difference": mean_se(g).mean} for n, g in kinds.items()]
table(lines, "Ties, seen by gold (points of 10)")

# %% [markdown]
# Tied answers differ less in gold, but they are not equal. A tie means "I see no difference", so there is no preference to
# learn.
#
# ## A ranking is one batch element
#
# Nine answers make up to 36 pairs. The simplest method is to shuffle all pairs of all prompts into one dataset. The paper
# advises against this (footnote 5), for two reasons. The first is cost. We count the sequences that the model processes in one
# pass over three rankings of 4, 5 and 6 answers:

# %%
from utils.reward import Group, as_pairs, forward_rows

toy = [Group([0], [[i] for i in range(k)], list(range(k)), list(range(1, k + 1))) for k in (4, 5, 6)]
print("whole rankings:", forward_rows(toy), "sequences; as", len(as_pairs(toy)), "pairs:", forward_rows(as_pairs(toy)))

# %% [markdown]
# 15 against 62: a ranking needs each answer once, but in pairs each answer is repeated with every partner. The second reason is
# more serious.
#
# > **Predict first (1).** In shuffled pairs the model sees each answer K - 1 times in *one* pass, each time with another
# > partner and with updates in between. How will this change the training loss and the held-out loss within the first pass?
#
# We run both on the same few rankings, from the same start, with the same number of pairs in every step (`reward.element: pair`
# is the baseline).

# %%
from dataclasses import replace

from utils.lessons import quiet
from utils.models import context_length, count_parameters, reward_from_policy
from utils.pipeline import Run
from utils.reward import Rankings, RewardModel, encode_comparisons, fit

start_dir = lesson.checkpoint("sft", lesson.kept_epochs("sft")[0])  # the SFT model after its first epoch
tokenizer = lesson.tokenizer(start_dir)
context = context_length(reward_from_policy(start_dir))
fitted, held_out = (
    encode_comparisons(tokenizer, rows, cfg.data, context).groups
    for rows in (rankings[:300], lesson.comparisons("valid")[: few or 150])
)


def learn(name, **settings):
    """Train on the few rankings; the records of the training, with the held-out loss several times a pass."""
    model, how = RewardModel(reward_from_policy(start_dir, seed=cfg.seed), tokenizer, cfg.data), replace(cfg.reward, **settings)
    with quiet():
        fit(folder / name, model, Rankings(fitted, held_out), how, cfg.seed, name).finish()
    return Run(folder, cfg).metrics(name)


# %%
passes = (1, 1) if fast() else (4, 2)
curves = {"whole rankings (the paper)": learn("kwise", element="prompt", epochs=passes[0])}
curves["shuffled pairs"] = learn("pairs", element="pair", epochs=passes[1])
print(f"{count_parameters(reward_from_policy(start_dir)):,} parameters, {len(fitted)} rankings")

# %% [markdown]
# Find where the two lines of each panel separate.

# %%
from utils.report import train_and_valid

look = {
    "train": "loss",
    "valid": "valid_loss",
    "x": "passes",
    "xlabel": "passes over the data",
    "ylabel": "loss (nats per pair)",
}
picture(train_and_valid(curves, **look, title="The same rankings, two ways"))

# %% [markdown]
# Footnote 5 describes this effect. In shuffled pairs the two curves separate *within the first pass*: after a few updates the
# model recognizes an answer that it has seen with another partner. Whole rankings show each answer once per pass, and the
# curves separate later. The ring marks the lowest held-out loss. For pairs it is inside the first pass, so you do not find it
# if you train whole passes. It also needs more computation: a pass of pairs reads each answer eight times. (In the end both
# overfit, because there is little data with noisy labels. The paper found its reward models "very sensitive" to the number of
# epochs and trained for one.)
#
# ## Training
#
# Now we train on more rankings, as in the paper. Before training, the model knows nothing:

# %%
from utils.pipeline import judge_reward

AGAINST = {
    "labels": "the labels",
    "heldout_labelers": "held-out labelers",
    "gold": "gold",
    "gold_sft": "gold, SFT answers only",
}


def verdict(model):
    """Rows for a table: share of pairs of unseen prompts that the model orders right, by several judges."""
    found = judge_reward(lesson, model)
    return found, [
        {"judge": AGAINST[k], "pairs ordered right": found[k]["accuracy"], "± s.e.": found[k]["accuracy_se"]} for k in AGAINST
    ]


untrained = RewardModel(reward_from_policy(start_dir, seed=cfg.seed), tokenizer, cfg.data)
table(verdict(untrained)[1], "Before training")

# %% [markdown]
# This is about chance level: the head has random weights, so its deviation from one half has no meaning.
#
# > **Predict first (2).** Two labelers agree on about 73 % of the pairs (in the paper, and in our simulation, which is
# > calibrated to this). The model is trained on their labels. How often will it agree with a *label*, and how often with
# > *gold*, the true preference behind the labels?

# %%
from utils.reward import train_reward

demonstrations = lesson.demonstrations("train")[:few]


def train(name, rows, epochs=cfg.reward.epochs):
    """Train a reward model on rankings and shift it; the model."""
    with quiet():
        train_reward(folder / name, start_dir, rows, demonstrations, replace(cfg.reward, epochs=epochs), lesson.setup)
    return RewardModel.load(folder / name / "model", cfg.data)


mine = train("mine", rankings)

# %%
judged_mine, lines = verdict(mine)
table(lines, "After training on a part of the rankings")

# %% [markdown]
# It agrees with gold more often than with the labels it was trained on. This is not a contradiction. Single labels are noisy,
# but the noise of forty labelers averages out, and what they share does not. So accuracy on labels has a ceiling, and a model
# at this ceiling may be much better than its accuracy suggests. (Only a simulation can show the row *gold*.)
#
# The last row matters most for PPO: it compares answers of the same model, which differ only a little. The shipped model was
# trained on all rankings:

# %%
shipped_model = lesson.reward_model()
judged_shipped, lines = verdict(shipped_model)
table(lines, f"The shipped reward model, {count_parameters(shipped_model.model):,} parameters")

# %% [markdown]
# From here on we use this model as the judge, unless we say otherwise.
#
# ## A zero for the scale
#
# Eq. 1 leaves the zero free. The paper shifts all rewards so that labelers' *demonstrations* average 0 (C.2). A reward above
# zero then means "better than the average demonstration". `train_reward` does this at the end.

# %%
from utils.evaluation import Policy, judged
from utils.report import histogram

prompts = lesson.prompts("test")[: few or 200]
sft, base = Policy("sft", lesson.model_dir("sft")), Policy("base", cfg.model)
answers = {policy.name: judged(policy, prompts, cfg, 1.0) for policy in (base, sft)}

# %%
asked_texts = [p.prompt for p in prompts]
spread = {name: shipped_model.score_responses(asked_texts, found.responses) for name, found in answers.items()}
spread["demonstrations"] = shipped_model.score_demonstrations(demonstrations)
picture(histogram(spread, "reward", title="What zero means"))

# %% [markdown]
# The demonstrations average zero by construction. The distributions of the base and of SFT are wide: each model gives good and
# bad answers.
#
# ## Is it calibrated?
#
# $\sigma(r_w - r_l)$ is a probability. If the model gives a probability of four fifths to some pairs, labelers should agree
# with about four fifths of them.

# %%
from utils.report import calibration

bins = judged_shipped["labels"]["calibration"]
picture(calibration([b["predicted"] for b in bins], [b["observed"] for b in bins], [b["pairs"] for b in bins]))

# %% [markdown]
# Points near the diagonal mean that its confidence is right, for answers like those it was trained on. Points below the
# diagonal mean that it is too confident. Remember the condition "like those it was trained on".
#
# ## Which labelers does it predict well?
#
# Each labeler has personal weights and noise. How well does the model predict each of them? In the simulation we know the noise
# of each labeler, so we can use it as the horizontal axis.

# %%
from utils.report import Look, scatter

found, people = judged_shipped["labels"]["labelers"], {one.labeler_id: one for one in lesson.labelers("hired")}
points = [
    {"noise": people[n].noise, "accuracy": row["mean"], "accuracy_se": row["se"]} for n, row in found.items() if n in people
]
look = Look("noise of the labeler (gold points, sd)", "share of their pairs predicted", "Each hired labeler")
picture(scatter(points, "noise", "accuracy", look))

# %% [markdown]
# Each point is a labeler with a 95 % interval. A labeler with more noise is harder to predict. A low point at low noise means
# something else: a labeler with unusual *preferences*. The model learns what the group shares, so it predicts a minority worse,
# and nothing in the loss shows this. The paper discusses this for its own labelers (5.2, 5.3).
#
# ## Held-out labelers
#
# Does the model work only for the labelers it was trained on? The paper tests this (4.1): leave out one of five groups of
# labelers, train on the others, and test on both.

# %%
from utils.report import Look, grouped_bars

cross = lesson.cross_validation()
names = ["labelers it learned from", "labelers it never saw"]
here = [(cross[key], 1.96 * cross[f"{key}_se"]) for key in ("training", "heldout")]
paper = [(0.724, 0.004), (0.696, 0.009)]
look = Look("test pairs ranked by", "pairs ordered right (share)", "Five groups, each left out once")
picture(grouped_bars(names, {"here (simulated)": here, "the paper's people": paper}, look))

# %% [markdown]
# In the paper the model also works for held-out labelers, with a small loss. Our simulated groups come from the same
# population, so we expect almost no difference; real groups of people differ more. (Each of our folds is trained on few
# rankings, so their accuracy is lower than the shipped model's.)
#
# ## What it reads: token by token
#
# The reward is read at the last token. But we can also compute it after every token: *what would the reward be if the answer
# ended here?* Try your own answer: change the text and run both cells again.

# %%
from utils.lessons import text_box

prompt = "Hello, I am Mia. I lost my ring today."
answer = text_box("I am sorry about your ring. I hope it gets better.", "answer")

# %%
from utils.lessons import token_texts, token_view
from utils.report import TokenRow


def strip(text):
    """The tokens of an answer with the reward after each."""
    ids, along = shipped_model.score_along(prompt, text)
    return TokenRow(f"reward {along[-1]:.2f}", token_texts(tokenizer, ids), along)


# %%
token_view(
    [strip(answer.value), strip("I am glad about your ring. Enjoy the day."), strip("I am sorry about")], "reward so far"
)

# %% [markdown]
# Orange is above the average demonstration, blue is below. Find where the color changes: these words decide. Look at the last
# tokens too: an answer that looks good may still be incomplete, and the end token says "this is all". (Only the last number is
# trained. The others show how the model works; they are not ground truth.)

# %% [markdown]
# ## Add a few words
#
# A better test: add the *same* words to every answer of the SFT model and see how the reward changes. The second column shows
# how gold changes.

# %%
from utils.evaluation import appending

PHRASES = ["Can I help with more?", "I hope it gets better.", "A whale is a fish.", "A whale is a mammal.", "and felt happy."]

# %%
found = appending(world, answers["sft"], prompts, PHRASES, shipped_model.score_responses)
table(sorted(found, key=lambda row: -row["reward"]), "Added to every answer: mean change in reward and in gold points")

# %% [markdown]
# Compare the two columns row by row: do they have the same *sign* and the same *order*? The two whale sentences are equally
# off-topic, and one is false. The difference between their rewards shows how much the model sees of truth. Where the reward
# rises and gold does not, a policy can gain reward without getting better. PPO will search for exactly such words.
#
# ## Which weights it has learned
#
# Gold is a weighted sum of six parts. Labelers saw whole answers, and the model saw only their ranks. Which weights has it
# learned? `part_weights` fits the reward with the part scores, within each prompt.

# %%
from utils.reward import part_weights

parts = lesson.gold_parts("test")


def weights(model):
    """Per part: share of the total weight, and half of its 95 % interval."""
    found = part_weights(model.score_comparisons(test), parts)
    total = sum(abs(weight) for weight, _ in found)
    return [(weight / total, 1.96 * se / total) for weight, se in found]


# %%
true = [(weight / rubric.maximum, 0.0) for weight in rubric.weights.values()]
weighed = {"gold": true, "reward model": weights(shipped_model)}
look = Look("part of the gold rubric", "share of the weight", "What an answer is judged by")
picture(grouped_bars(rubric.parts, weighed, look))

# %% [markdown]
# Compare the bars. Rude words are easy to recognize. *Truthful* is hard: to see that a sentence is false, the model must know
# the fact, and a small model knows few facts. PPO cannot teach what the reward model cannot see. The policy may even unlearn
# it, because this judge does not penalize it. Remember this plot in lesson 04.
#
# ## What goes wrong, on purpose
#
# ### Off-topic answers left out
#
# Some of the ranked answers belong to *other* prompts. No policy would write them, so why rank them? We train once with them
# and once without, on the same rankings. We test on pairs of an on-topic answer and an off-topic answer with less gold.
#
# > **Predict first (3).** All answers that a model writes to *this* prompt try to fit it. How will a reward model score an
# > off-topic answer if it never saw one in training?

# %%
from utils.reward import leave_out

OFF = ("other_same_task", "other_any_task")
without = train("without", leave_out(rankings, OFF))

# %%
from utils.reward import pair_accuracy

off_topic = [[name in OFF for name in row.policies] for row in test]


def looks_at_prompt(model):
    return pair_accuracy(model.score_comparisons(test), golds, rubric.tie, off_topic)


trained = {"with off-topic answers": mine, "without": without}
table([{"trained": name, **looks_at_prompt(model)._asdict()} for name, model in trained.items()], "Fitting over off-topic")

# %% [markdown]
# Without them, the model learns what a good answer looks like, but hardly needs to read the *prompt*: a good answer to another
# question gets a high reward. PPO would soon give one good answer to every prompt. The cause is the *data*, not the loss: a
# reward model learns only the differences that it was shown.
#
# ### Searching against a weak judge
#
# Best of n is the simplest way to use a reward model: sample n answers and keep the one with the highest reward. It is also a
# cheap test, because it needs no training. We use the shipped model, and a model that was trained on few rankings.
#
# > **Predict first (4).** We increase n from 1 to 64. How will the reward of the chosen answers change? And their gold?

# %%
weak = train("weak", rankings[: few or 300])

# %%
from utils.evaluation import best_of_n
from utils.report import best_of_n as best_of_n_picture

sizes, asked = [1, 2, 4, 8] if fast() else [1, 2, 4, 8, 16, 32, 64], lesson.prompts("valid")[: few or 60]
start_policy = Policy("init", lesson.model_dir("init"))
judges = {"shipped": shipped_model, "trained on few": weak}
searched = {n: best_of_n(start_policy, asked, sizes, cfg, model.score_responses) for n, model in judges.items()}
picture(best_of_n_picture(searched))

# %% [markdown]
# The reward rises for both, because we select for it. Gold first rises too and then separates from the reward, earlier for the
# weak judge. This is *over-optimization*: with more search, we select more answers that the judge overrates. PPO without a KL
# penalty searches much further. This gap between the curves is the reason for the penalty.
#
# ## Before and after
#
# For the same prompts, we show the answer with the highest reward among eight: first for a judge that knows nothing, then for
# ours.

# %%
from utils.lessons import compared


def pick(model, wanted, n=8):
    """For each prompt, of n answers the one with the highest reward, judged by gold."""
    repeated = [replace(p, prompt_id=f"{p.prompt_id}/{i}") for p in wanted for i in range(n)]
    drawn = judged(start_policy, repeated, cfg, 1.0)
    rewards = torch.tensor(model.score_responses([p.prompt for p in repeated], drawn.responses)).view(-1, n)
    best = [i * n + int(k) for i, k in enumerate(rewards.argmax(1))]
    return replace(drawn, responses=[drawn.responses[i] for i in best], parts=[drawn.parts[i] for i in best])


# %%
use_cases = list({p.use_case: p for p in reversed(asked)}.values())
picks = {"untrained judge": pick(untrained, use_cases), "trained judge": pick(shipped_model, use_cases)}
table(compared(use_cases, picks), "Best of eight, before and after (gold points of 10)")

# %% [markdown]
# The eight answers are the same in both columns; only the judge changed. Where both columns agree, the eight answers may have
# been similar.
#
# ## The same loss with TRL
#
# TRL trains reward models on pairs (`RewardTrainer`). With two answers, Eq. 1 is exactly its loss. If TRL is installed, we
# compute one batch with both:

# %%
from importlib.util import find_spec

from utils.reward import kwise_step

if find_spec("trl"):
    from utils.reward.trl import trl_pair_loss

    theirs = float(trl_pair_loss(shipped_model.model, tokenizer, fitted[:4]).detach())
    ours = float(
        kwise_step(shipped_model.model, as_pairs(fitted[:4]), tokenizer.pad_token_id, torch.device("cpu")).loss.detach()
    )
    print(f"TRL {theirs:.5f}, ours {ours:.5f}")
else:
    print("TRL is not installed here; tests/reward/test_reward_train.py compares the two.")

# %% [markdown]
# They agree. TRL has no training on a whole ranking as one batch element, which this lesson explained.
#
# ## Exercises
#
# Replace the dots, run the cell, and read the check's message: it names the likely mistake. The executed solutions are in
# [solutions/03_reward_modeling.ipynb](../solutions/03_reward_modeling.ipynb).
#
# ### Exercise 1 (easy, 5 minutes): what whole rankings save
#
# `ks` are the lengths of some rankings without ties. Return two counts of sequences that the model processes: if every ranking
# is one element, and if every pair is one.

# %% tags=["exercise"]
from utils.lessons import check_forward_rows


def counts(ks):
    return ...


print(check_forward_rows(counts))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def counts(ks):
#     return sum(ks), sum(k * (k - 1) for k in ks)
# ```
# There are K (K - 1) / 2 pairs of two sequences each. At K = 9 this is eight times as many.
# </details>
#
# ### Exercise 2 (easy, 5 minutes): the loss of one pair
#
# `better` and `worse` are the rewards of a pair. Return its loss in Eq. 1. You need `math`.

# %% tags=["exercise"]
from utils.lessons import check_pair_loss


def loss_of_pair(better, worse):
    return ...


print(check_pair_loss(loss_of_pair))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def loss_of_pair(better, worse):
#     return math.log(1 + math.exp(worse - better))
# ```
# With large differences `exp` overflows; PyTorch's `logsigmoid` does not.
# </details>
#
# ### Exercise 3 (medium, 10 minutes): the shift
#
# `rewards` are the rewards of some answers, `demonstrations` those of the labelers' demonstrations, from the same model. Return
# the rewards on the scale on which demonstrations average 0.

# %% tags=["exercise"]
from utils.lessons import check_shifted


def shifted(rewards, demonstrations):
    return ...


print(check_shifted(shifted))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def shifted(rewards, demonstrations):
#     mean = sum(demonstrations) / len(demonstrations)
#     return [reward - mean for reward in rewards]
# ```
# All differences stay the same, so Eq. 1 does not change.
# </details>
#
# ### Exercise 4 (medium, 15 minutes): a whole ranking
#
# You get `rewards` and `ranks` of one prompt's answers; rank 1 is best, equal ranks are ties. Return Eq. 1.

# %% tags=["exercise"]
from utils.lessons import check_ranking_loss


def ranking_loss(rewards, ranks):
    return ...


print(check_ranking_loss(ranking_loss))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def ranking_loss(rewards, ranks):
#     found = [
#         math.log(1 + math.exp(rewards[j] - rewards[i]))
#         for i in range(len(ranks))
#         for j in range(len(ranks))
#         if ranks[i] < ranks[j]
#     ]
#     return sum(found) / len(found)
# ```
# `utils.losses.kwise_loss` does the same for a batch of prompts at once, with padding.
# </details>
#
# ### Exercise 5 (medium, 10 minutes): best of n
#
# `rewards` and `gold` have one inner list per prompt, with one number per sample. Return the mean gold of the samples that the
# reward model chooses.

# %% tags=["exercise"]
from utils.lessons import check_best_of_n


def chosen_gold(rewards, gold):
    return ...


print(check_best_of_n(chosen_gold))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def chosen_gold(rewards, gold):
#     chosen = [row.index(max(row)) for row in rewards]
#     return sum(points[i] for points, i in zip(gold, chosen, strict=True)) / len(gold)
# ```
# The reward model chooses, and gold evaluates. With people instead of gold, this is an evaluation that needs no training.
# </details>
#
# ### Exercise 6 (hard, 15 minutes): does it read the prompt?
#
# You get lists for one prompt's answers: `rewards`, `gold`, and `off_topic` (True: written to another prompt). Take the pairs
# of an on-topic answer and an off-topic answer with *less* gold. Which share of them does the reward order correctly?

# %% tags=["exercise"]
from utils.lessons import check_off_topic_accuracy


def fits_the_prompt(rewards, gold, off_topic):
    return ...


print(check_off_topic_accuracy(fits_the_prompt))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def fits_the_prompt(rewards, gold, off_topic):
#     n = len(gold)
#     both = [(i, j) for i in range(n) for j in range(n) if off_topic[j] and not off_topic[i] and gold[i] > gold[j]]
#     return sum(rewards[i] > rewards[j] for i, j in both) / len(both)
# ```
# Accuracy on a chosen kind of pairs says more than one number over all pairs: it shows *where* a judge is wrong.
# </details>
#
# **One exercise without a check.** Train on the rankings of *one* labeler only (`[r for r in rankings if r.labeler_id ==
# ...]`), and compute all four rows of the table again. First write down which row will fall most.

# %% [markdown]
# ## The four predictions
#
# <details><summary>1: shuffled pairs</summary>
# The training loss falls faster, and the held-out loss rises early: the model memorizes each answer, because it comes again and
# again with other partners.
# </details>
# <details><summary>2: labels and gold</summary>
# It cannot agree with single labels more often than the noise of a labeler allows. It agrees with gold more often, because the
# labelers' noise averages out.
# </details>
# <details><summary>3: off-topic answers</summary>
# It scores them by their form. Nothing in its training required reading the prompt in this way.
# </details>
# <details><summary>4: best of n</summary>
# The reward always rises. Gold rises less, flattens, and may fall for a weak judge.
# </details>

# %% [markdown]
# ## InstructGPT and this lesson
#
# | | InstructGPT | here | why |
# |---|---|---|---|
# | body | 6B GPT-3, for policies of all sizes | our small GPT-2, as large as the policy | seconds on a CPU |
# | start | SFT without its unembedding (3.5); the final one a 6B tuned on public tasks, said to be similar (C.2) | the SFT model after one epoch | the last epochs have memorized the demonstrations |
# | answers ranked | K from 4 to 9 | 9 | more pairs per prompt; simulated labelers do not get tired |
# | who wrote them | mostly SFT, some PPO policies | SFT, base, off-topic and repeated answers | so that the model learns to read the prompt |
# | batch | 64 prompts, all pairs of each together | `cfg.reward.prompts_per_step` prompts, all pairs together | fewer rankings, so more steps per pass |
# | passes | 1 | `cfg.reward.epochs` | with a small model and noisy labels, the second epoch helps |
# | ties | dropped (C.2) | dropped | |
# | learning rate | 9e-6, cosine to 10 % | about a hundred times larger, the same cosine | small models take larger steps |
# | shift | demonstrations average 0 (C.2) | the same | |
# | accuracy | 72.4 ± 0.4 %, on held-out labelers' pairs 69.6 ± 0.9 % | printed above | simulated held-out labelers come from the same population |
# | gold | does not exist | known | this is why we use a tiny world |
#
# ## What is saved, and what comes next
#
# `runs/notebook_03/mine/model` holds your reward model as a plain Hugging Face folder:
# `AutoModelForSequenceClassification.from_pretrained` loads it, and its single logit is the reward. The next lessons start from
# the shipped one.
#
# We have a judge that agrees with labels about as often as a single labeler does. It does not see everything, and a strong
# search can fool it. Lesson [04](04_ppo.ipynb) is a strong search.
#
# - In the code: [`utils/reward/train.py`](../utils/reward/train.py), [`kwise_loss`](../utils/losses.py), and
# [paper to code](../docs/paper-map.md) for every setting and its test.
# - Terms: [glossary](../docs/glossary.md).
