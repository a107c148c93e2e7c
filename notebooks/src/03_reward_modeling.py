# %% [markdown]
# # 03 · The reward model: from rankings to a number
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/03_reward_modeling.ipynb)
#
# People cannot say how many points an answer is worth. But they can say which of two is better. A reward model turns many such
# judgements into one number for any answer ([sec. 3.5 and C.2](https://arxiv.org/abs/2203.02155)). Everything that follows trusts
# this number, so this lesson spends most of its time on *how far*.
#
# | | |
# |---|---|
# | **Reading** | about 45 minutes, with the exercises about 90 |
# | **Running** | less than four minutes on two CPU cores; no GPU, no download of models or data |
# | **Outputs made on** | a two-core CPU; the first cell's output names device and versions |
# | **You need** | Python, a little PyTorch, lesson 02 or the idea of fine-tuning. No reinforcement learning |
# | **You will be able to** | compute Eq. 1 by hand; say why a whole ranking is one batch element; test a reward model in four ways; find out what it looks at and what it is blind to; fool it on purpose |
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
# SFT models answer prompts, several times each. Labelers rank the answers. The reward model learns from the rankings and will
# tell PPO what to do. We start from one finished run that comes with the repository: `lesson.path("...")` is the folder of a
# stage, `lesson.config` its settings.

# %%
from utils.lessons import fast, run_folder, shipped, table
from utils.pipeline.data_stages import load_demonstration_set, load_set
from utils.pipeline.training_stages import load_comparison_set, load_parts

lesson = shipped()
cfg, folder = lesson.config, run_folder("notebook_03")
few = 24 if fast() else None  # FAST=1 is for tests: the same lesson on a few rows
rankings, test = load_comparison_set(lesson, "train")[: few or 1500], load_comparison_set(lesson, "test")
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
# Equal ranks are ties: the labeler saw no difference. The column *written by* is hidden from the labeler. Some answers belong to
# *other* prompts (`other_...`); later we shall see why they are there.
#
# **The idea** is a century old and used for chess: give every answer a hidden strength $r$. The stronger one usually wins, and
# the larger the difference, the surer:
#
# $$P(\text{a labeler prefers } y_w \text{ to } y_l) = \sigma(r_w - r_l), \qquad \sigma(z) = \frac{1}{1 + e^{-z}}$$
#
# Choose the strengths so that what labelers really said becomes likely. That is Eq. 1 of the paper:
#
# $$\text{loss}(\theta) = -\frac{1}{\binom{K}{2}} \sum_{w \succ l} \log \sigma\big(r_\theta(x, y_w) - r_\theta(x, y_l)\big)$$
#
# $r_\theta$ is `rewards`: a GPT-2 whose unembedding is replaced by *one* number, read at the last token of the answer.
# $w \succ l$ runs over the pairs in which `ranks[w] < ranks[l]` (1 is best).
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
# Equal. Where do the three pairs lie on the curve?

# %%
from utils.report import pair_loss

picture(pair_loss(margins))

# %% [markdown]
# One pair is in the wrong order (left of zero) and costs most. The two right ones still cost a little, and less the surer the
# model is. A model that gives every answer the same number sits on the dashed line, ln 2 = 0.693: remember it as "knows nothing".
#
# Two things Eq. 1 does *not* see. Ties, because a pair of equal rank is dropped (C.2). And a constant added to all rewards:

# %%
tied = torch.tensor([[2, 1, 2]])  # the first and the third share a rank: their pair is gone
without_tie = -(log_sigma(torch.tensor(margins["2nd over 1st"])) + log_sigma(torch.tensor(margins["2nd over 3rd"]))) / 2
torch.testing.assert_close(kwise_loss(rewards, tied), without_tie)
torch.testing.assert_close(kwise_loss(rewards + 100.0, ranks), by_hand)
print(f"with a tie: {without_tie:.4f}; all rewards 100 higher: {kwise_loss(rewards + 100.0, ranks):.4f}")

# %% [markdown]
# The mean is over the pairs that are left, and the zero of the scale is free: we shall have to choose one. Are ties worth
# dropping? How different are tied answers really? Gold can tell:

# %%
from itertools import combinations

from utils.evaluation import mean_se
from utils.worlds.tiny import gold

golds = [[gold(scores) for scores in row] for row in load_parts(lesson, "test")]
pairs = [
    (row.ranks[i] == row.ranks[j], abs(g[i] - g[j]))
    for row, g in zip(test, golds, strict=True)
    for i, j in combinations(range(len(g)), 2)
]
kinds = {name: [gap for tie, gap in pairs if tie is kind] for name, kind in (("tied", True), ("ordered", False))}
lines = [{"pairs": n, "share of all": len(g) / len(pairs), "mean gold difference": mean_se(g).mean} for n, g in kinds.items()]
table(lines, "Ties, seen by gold (points of 10)")

# %% [markdown]
# Tied answers differ less in truth, but they are not equal. A tie says "I could not tell", which is no preference to learn.
#
# ## A ranking is one batch element
#
# Nine answers make up to 36 pairs. The obvious thing is to shuffle all pairs of all prompts into one data set. The paper
# advises against it (footnote 5), for two reasons. The first is cost. Count the sequences that go through the model in one
# pass over three rankings of 4, 5 and 6 answers:

# %%
from utils.reward import Group, as_pairs, forward_rows

toy = [Group([0], [[i] for i in range(k)], list(range(k)), list(range(1, k + 1))) for k in (4, 5, 6)]
print("whole rankings:", forward_rows(toy), "sequences; as", len(as_pairs(toy)), "pairs:", forward_rows(as_pairs(toy)))

# %% [markdown]
# 15 against 62: each answer is needed once, but in pairs it comes again with every partner. The second reason is worse.
#
# > **Predict first (1).** In shuffled pairs each answer is seen K - 1 times in *one* pass, each time with another partner and a
# > fresh update in between. What will that do to the training loss and to the held-out loss within the first pass?
#
# We run both on the same few rankings, from the same start, with as many pairs in every step (`reward.element: pair` is the
# baseline).

# %%
from dataclasses import replace

from utils.core import read_jsonl
from utils.lessons import quiet
from utils.models import context_length, count_parameters, load_tokenizer, reward_from_policy
from utils.reward import encode_comparisons, fit
from utils.sft import checkpoint_dir, kept_epochs

start_dir = checkpoint_dir(lesson.path("sft"), min(kept_epochs(cfg.sft)))  # the SFT model after its first epoch
tokenizer = load_tokenizer(start_dir)
context = context_length(reward_from_policy(start_dir))
fitted, held_out = (
    encode_comparisons(tokenizer, rows, cfg.data, context).groups
    for rows in (rankings[:300], load_comparison_set(lesson, "valid")[: few or 150])
)


def learn(name, **settings):
    """Train on the few rankings; the records of the training, with the held-out loss several times a pass."""
    model, how = reward_from_policy(start_dir, seed=cfg.seed), replace(cfg.reward, **settings)
    with quiet():
        fit(folder / name, model, fitted, how, cfg.seed, tokenizer.pad_token_id, name, held_out).finish()
    return read_jsonl(folder / name / "metrics.jsonl")


# %%
passes = (1, 1) if fast() else (4, 2)
curves = {"whole rankings (the paper)": learn("kwise", element="prompt", epochs=passes[0])}
curves["shuffled pairs"] = learn("pairs", element="pair", epochs=passes[1])
print(f"{count_parameters(reward_from_policy(start_dir)):,} parameters, {len(fitted)} rankings")

# %% [markdown]
# Look for the place where the two lines of each panel part.

# %%
from utils.report import train_and_valid

look = {"train": "loss", "valid": "valid_loss", "x": "passes", "xlabel": "passes over the data", "ylabel": "loss (nats a pair)"}
picture(train_and_valid(curves, **look, title="The same rankings, two ways"))

# %% [markdown]
# Footnote 5 is right, at this size too. In shuffled pairs the two curves part *within the first pass*: after a few updates the
# model recognises an answer that it has seen with another partner. Whole rankings show it each answer once a pass, and the
# curves part later. The lowest point of the pairs (the ring) is as good, but it lies inside the first pass, where nobody who trains
# whole passes will find it, and it has cost more computing: a pass of pairs reads each answer eight times. (Everything overfits in the end, whole rankings too: few data,
# noisy labels. The paper found its reward models "very sensitive" to the number of epochs and took one.)
#
# ## Training
#
# Now on more rankings, as the paper does it. Before, the model knows nothing:

# %%
from utils.models import load_reward
from utils.pipeline.training_stages import judge_reward

AGAINST = {
    "labels": "the labels",
    "heldout_labelers": "held-out labelers",
    "gold": "gold",
    "gold_sft": "gold, SFT answers only",
}


def verdict(model):
    """Rows for a table: share of pairs of unseen prompts that the model orders right, by several judges."""
    found = judge_reward(lesson, model, tokenizer)
    return found, [
        {"judge": AGAINST[k], "pairs ordered right": found[k]["accuracy"], "± s.e.": found[k]["accuracy_se"]} for k in AGAINST
    ]


table(verdict(reward_from_policy(start_dir, seed=cfg.seed))[1], "Before training")

# %% [markdown]
# No better than a coin: its one number comes from random weights, and leans one way or the other by chance.
#
# > **Predict first (2).** Two labelers agree on about 73 % of the pairs (the paper, and our simulation, which is set to that).
# > Trained on their labels, how often will the model agree with a *label*, and how often with *gold*, the true preference
# > behind the labels?

# %%
from utils.reward import train_reward

demonstrations = load_demonstration_set(lesson, "train")[:few]


def train(name, rows, epochs=cfg.reward.epochs):
    """Train a reward model on rankings and shift it; the model."""
    with quiet():
        train_reward(folder / name, start_dir, rows, replace(cfg.reward, epochs=epochs), cfg.data, cfg.seed, demonstrations)
    return load_reward(folder / name / "model")


mine = train("mine", rankings)

# %%
judged_mine, lines = verdict(mine)
table(lines, "After training on a part of the rankings")

# %% [markdown]
# With gold it agrees more often than with the labels it was trained on. That is no contradiction: single labels are noisy, but
# the noise of forty labelers points in all directions and averages out, while what they share does not. So accuracy against
# labels has a ceiling, and a model at the ceiling may be much better than it looks. (Only a simulation can show the row *gold*.)
#
# The last row is the one that matters for PPO: answers of one and the same model, which differ in little. The shipped model was
# trained on all rankings:

# %%
shipped_model = load_reward(lesson.path("reward") / "model")
judged_shipped, lines = verdict(shipped_model)
table(lines, f"The shipped reward model, {count_parameters(shipped_model):,} parameters")

# %% [markdown]
# More rankings help. It is the judge that we use from here on, unless we say otherwise.
#
# ## A zero for the scale
#
# Eq. 1 leaves the zero free. The paper shifts all rewards so that labelers' *demonstrations* average 0 (C.2): above zero then
# means "better than what a labeler writes". `train_reward` does it at the end.

# %%
from utils.evaluation import Policy, judged
from utils.pipeline.training_stages import rewards_of
from utils.report import histogram
from utils.reward import score_demonstrations

prompts = load_set(lesson, "test")[: few or 200]
sft, base = Policy("sft", lesson.path("sft_select") / "model"), Policy("base", cfg.model)
answers = {policy.name: judged(policy, prompts, cfg, 1.0) for policy in (base, sft)}

# %%
spread = {name: rewards_of(lesson, prompts, found.responses) for name, found in answers.items()}
spread["demonstrations"] = score_demonstrations(shipped_model, tokenizer, demonstrations, cfg.data)
picture(histogram(spread, "reward", title="What zero means"))

# %% [markdown]
# The demonstrations average zero by construction. The base lies to the left, SFT nearly on the demonstrations with more bad answers, and each is wide: good and bad
# answers come from every one of them.
#
# ## Does it mean its probabilities?
#
# $\sigma(r_w - r_l)$ is a probability. Of all pairs of which the model is four fifths sure, labelers should agree with about four fifths.

# %%
from utils.report import calibration

bins = judged_shipped["labels"]["calibration"]
picture(calibration([b["predicted"] for b in bins], [b["observed"] for b in bins], [b["pairs"] for b in bins]))

# %% [markdown]
# Points near the diagonal: its confidence can be taken at face value, on answers like those it was trained on. Below the diagonal
# would mean too sure. Keep "like those it was trained on" in mind.
#
# ## Which labeler taught what
#
# Each labeler has a taste and a hand that shakes. How well does the model predict each of them? In the simulation we know how
# noisy each one is, and can put it on the horizontal axis.

# %%
from utils.pipeline.data_stages import load_calibrated
from utils.report import scatter

found, people = judged_shipped["labels"]["labelers"], {one.labeler_id: one for one in load_calibrated(lesson, "hired")}
points = [
    {"noise": people[n].noise, "accuracy": row["mean"], "accuracy_se": row["se"]} for n, row in found.items() if n in people
]
axes = ("noise", "accuracy", "noise of the labeler (gold points, sd)", "share of their pairs predicted")
picture(scatter(points, *axes, title="Each hired labeler"))

# %% [markdown]
# Each point is a labeler, its bar a 95 % interval. The noisier the labeler, the less there is to predict. A low point at low
# noise would be something else: someone with an unusual *taste*. The model learns what the group shares, so whoever is in the
# minority is predicted worse, in silence. The paper says so of its own labelers (5.2, 5.3).
#
# ## Held-out labelers
#
# Does it only know the people who taught it? The paper's test (4.1): leave one of five groups of labelers out, train on the
# others, test on both.

# %%
from utils.core import read_json
from utils.report import grouped_bars

cross = read_json(lesson.path("reward") / "cross_validation" / "cross_validation.json")
names = ["labelers it learned from", "labelers it never saw"]
here = [(cross[key], 1.96 * cross[f"{key}_se"]) for key in ("inside", "outside")]
paper = [(0.724, 0.004), (0.696, 0.009)]
title = "Five groups, each left out once"
picture(
    grouped_bars(
        names,
        {"here (simulated)": here, "the paper's people": paper},
        "pairs ordered right (share)",
        "test pairs ranked by",
        title,
    )
)

# %% [markdown]
# A model of the group works for strangers, in the paper with a small loss. Our simulated strangers come from the same population,
# so there is next to nothing to lose; real groups of people differ more. (Our folds are trained on few rankings each, so their
# level is lower than the shipped model's.)
#
# ## What it looks at: token by token
#
# A reward is read at the last token. But we can also ask after every token: *what would you say if the answer ended here?* Try
# your own answer: change the text and run both cells again.

# %%
from utils.lessons import text_box

prompt = "Hello, I am Mia. I lost my ring today."
answer = text_box("I am sorry about your ring. I hope it gets better.", "answer")

# %%
from utils.lessons import token_texts, token_view
from utils.report import TokenRow
from utils.reward import rewards_along


def strip(text):
    """The tokens of an answer with the reward after each."""
    ids, along = rewards_along(shipped_model, tokenizer, prompt, text, cfg.data)
    return TokenRow(f"reward {along[-1]:.2f}", token_texts(tokenizer, ids), along)


# %%
token_view(
    [strip(answer.value), strip("I am glad about your ring. Enjoy the day."), strip("I am sorry about")], "reward so far"
)

# %% [markdown]
# Orange is above a labeler's average, blue below. Watch where the colour changes: the words that decide. Look at the last tokens
# too: what reads well until then may still be incomplete, and only the end token says "this is all". (Only the last number is
# trained. The others are a view into the model, no ground truth.)

# %% [markdown]
# ## Add a few words
#
# A better instrument: add the *same* words to every answer of the SFT model and see how the reward changes. Beside it stands
# what gold says to the same change.

# %%
from utils.evaluation import appending
from utils.pipeline.training_stages import score_responses

PHRASES = ["Can I help with more?", "I hope it gets better.", "A whale is a fish.", "A whale is a mammal.", "and felt happy."]


def reward_function(model):
    """(prompts, answers) -> the model's rewards, in the form that the evaluations ask for."""
    return lambda prompts, answers: score_responses(model, tokenizer, prompts, answers, cfg.data)


# %%
found = appending(answers["sft"], prompts, PHRASES, reward_function(shipped_model))
table(sorted(found, key=lambda row: -row["reward"]), "Added to every answer: mean change in reward and in gold points")

# %% [markdown]
# Read row by row and ask whether the two columns have the same *sign* and the same *order*. The two whale sentences are beside
# the point alike, and one is false: what the model takes off for the false one beyond the true one is what it sees of truth.
# Where the reward rises and gold does
# not, you have found words with which a policy can earn without getting better. PPO will search for exactly these, with far more
# patience than we have.
#
# ## What it weighs
#
# Gold is a weighted sum of six parts. Labelers saw whole answers, and the model saw only their ranks. Which weights has it found?
# `part_weights` fits the reward with the part scores, within each prompt.

# %%
from utils.reward import part_weights, score_comparisons
from utils.worlds.tiny import GOLD_WEIGHTS, PARTS

parts = load_parts(lesson, "test")


def weights(model):
    """Per part: share of the total weight, and half of its 95 % interval."""
    found = part_weights(score_comparisons(model, tokenizer, test, cfg.data), parts)
    total = sum(abs(weight) for weight, _ in found)
    return [(weight / total, 1.96 * se / total) for weight, se in found]


# %%
true = [(GOLD_WEIGHTS[name] / sum(GOLD_WEIGHTS.values()), 0.0) for name in PARTS]
weighed = {"gold": true, "reward model": weights(shipped_model)}
picture(grouped_bars(PARTS, weighed, "share of the weight", "part of the gold rubric", "What an answer is judged by"))

# %% [markdown]
# Compare bar with bar. Rude words are easy to see and get more than their share. *Truthful* is the hard one: to see that a
# sentence is false one has to know the fact, and a small model knows few; a bar below zero says that it even prefers what sounds
# sure. What a reward model cannot see, PPO cannot teach, and
# may unlearn, since in this judge's eyes it costs nothing. Keep this picture for lesson 04.
#
# ## What goes wrong, on purpose
#
# ### Off-topic answers left out
#
# Some of the ranked answers belong to *other* prompts. No policy would write them, so why rank them? We train once with them and
# once without, on the same rankings, and test on pairs of a fitting answer and an off-topic one that gold likes less.
#
# > **Predict first (3).** All answers that a model writes to *this* prompt try to fit it. What will a reward model that never saw
# > an off-topic answer think of one?

# %%
from utils.reward import leave_out

OFF = ("other_same_task", "other_any_task")
without = train("without", leave_out(rankings, OFF))

# %%
from utils.reward import pair_accuracy
from utils.worlds.tiny import GOLD_TIE

off_topic = [[name in OFF for name in row.policies] for row in test]


def looks_at_prompt(model):
    return pair_accuracy(score_comparisons(model, tokenizer, test, cfg.data), golds, GOLD_TIE, off_topic)


trained = {"with off-topic answers": mine, "without": without}
table([{"trained": name, **looks_at_prompt(model)._asdict()} for name, model in trained.items()], "Fitting over off-topic")

# %% [markdown]
# Without them the model has learned what a good answer looks like, and little made it look at the *prompt*: a fine answer to
# another question passes. PPO would soon find one fine answer for everything. The fault lies in the *data*, not in the loss: a
# reward model knows only the differences that it was shown.
#
# ### Searching against a weak judge
#
# Best of n is the simplest way to use a reward model: draw n answers, keep the one that it likes best. It is also a cheap test, as
# it takes no training. We search with the shipped model and with one that was trained on few rankings.
#
# > **Predict first (4).** With n from 1 to 64, what will the reward of the chosen answers do? And their gold?

# %%
weak = train("weak", rankings[: few or 300])

# %%
from utils.evaluation import best_of_n
from utils.report import best_of_n as best_of_n_picture

sizes, asked = [1, 2, 4, 8] if fast() else [1, 2, 4, 8, 16, 32, 64], load_set(lesson, "valid")[: few or 60]
start_policy = Policy("init", checkpoint_dir(lesson.path("init"), cfg.init.epochs))
judges = {"shipped": shipped_model, "trained on few": weak}
searched = {n: best_of_n(start_policy, asked, sizes, cfg, reward_function(model)) for n, model in judges.items()}
picture(best_of_n_picture(searched))

# %% [markdown]
# The reward rises without end, for both: that is what was selected for. Gold rises first and then parts from it, for the weak judge
# soon. This is *over-optimisation*: the further one searches, the more one selects answers about which the judge is wrong. PPO without
# a leash searches much further. The gap between the curves is the reason for its KL penalty.
#
# ## Before and after
#
# The same prompts, and for each the answer that the judge likes best of eight: first a judge that knows nothing, then ours.

# %%
from utils.lessons import compared


def pick(model, wanted, n=8):
    """For each prompt, of n answers the one with the highest reward, judged by gold."""
    repeated = [replace(p, prompt_id=f"{p.prompt_id}/{i}") for p in wanted for i in range(n)]
    drawn = judged(start_policy, repeated, cfg, 1.0)
    rewards = torch.tensor(reward_function(model)(repeated, drawn.responses)).view(-1, n)
    best = [i * n + int(k) for i, k in enumerate(rewards.argmax(1))]
    return replace(drawn, responses=[drawn.responses[i] for i in best], parts=[drawn.parts[i] for i in best])


# %%
use_cases = list({p.use_case: p for p in reversed(asked)}.values())
untrained = reward_from_policy(start_dir, seed=cfg.seed)
picks = {"untrained judge": pick(untrained, use_cases), "trained judge": pick(shipped_model, use_cases)}
table(compared(use_cases, picks), "Best of eight, before and after (gold points of 10)")

# %% [markdown]
# The eight answers are the same in both columns; only the judge changed. Where both columns agree, all eight may have been alike.
#
# ## The same loss with TRL
#
# TRL trains reward models on pairs (`RewardTrainer`). With two answers Eq. 1 is exactly its loss. One batch through both, where
# TRL is installed:

# %%
from importlib.util import find_spec

from utils.reward import kwise_step

if find_spec("trl"):
    from utils.reward.trl import trl_pair_loss

    theirs = float(trl_pair_loss(shipped_model, tokenizer, fitted[:4]).detach())
    ours = float(kwise_step(shipped_model, as_pairs(fitted[:4]), tokenizer.pad_token_id, torch.device("cpu")).loss.detach())
    print(f"TRL {theirs:.5f}, ours {ours:.5f}")
else:
    print("TRL is not installed here; tests/reward/test_reward.py compares the two.")

# %% [markdown]
# The same. What TRL has no place for is the whole ranking as one element, which is what this lesson was about.
#
# ## Exercises
#
# Replace the dots, run the cell, read what the check says: it names the likely mistake. The solutions, run, are in
# [solutions/03_reward_modeling.ipynb](../solutions/03_reward_modeling.ipynb).
#
# ### Exercise 1 (easy, 5 minutes): what whole rankings save
#
# `ks` are the lengths of some rankings without ties. Return two counts: the sequences that go through the model if every
# ranking is one element, and if all pairs are.

# %% tags=["exercise"]
from utils.lessons.exercises.reward import check_forward_rows


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
# K (K - 1) / 2 pairs of two sequences each. At K = 9 that is eight times as many.
# </details>
#
# ### Exercise 2 (easy, 5 minutes): the loss of one pair
#
# `better` and `worse` are the rewards of a pair. Return what Eq. 1 charges for it. You need `math`.

# %% tags=["exercise"]
from utils.lessons.exercises.reward import check_pair_loss


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
# ### Exercise 3 (middling, 10 minutes): the shift
#
# `rewards` are of some answers, `demonstrations` those of the labelers' demonstrations, by the same model. Return the rewards
# on the scale on which demonstrations average 0.

# %% tags=["exercise"]
from utils.lessons.exercises.reward import check_shifted


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
# All differences stay, so Eq. 1 does too.
# </details>
#
# ### Exercise 4 (middling, 15 minutes): a whole ranking
#
# `rewards` and `ranks` of one prompt's answers; rank 1 is best, equal ranks tie. Return Eq. 1.

# %% tags=["exercise"]
from utils.lessons.exercises.reward import check_ranking_loss


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
# ### Exercise 5 (middling, 10 minutes): best of n
#
# One inner list a prompt: the rewards of its samples, and their gold. Return the mean gold of the samples that the reward model
# chooses.

# %% tags=["exercise"]
from utils.lessons.exercises.reward import check_best_of_n


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
# The choice is the reward model's, the verdict is gold's. With people in place of gold this is an evaluation that needs no
# training at all.
# </details>
#
# ### Exercise 6 (hard, 15 minutes): does it look at the prompt?
#
# Lists of one prompt's answers: `rewards`, `gold`, and `off_topic` (True: written to another prompt). Look at the pairs of a
# fitting answer and an off-topic one that gold likes *less*. Which share of them is ordered right?

# %% tags=["exercise"]
from utils.lessons.exercises.reward import check_off_topic_accuracy


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
# Accuracy on chosen kinds of pairs says more than one figure over all: it shows *where* a judge is blind.
# </details>
#
# **And one without a check.** Train on the rankings of *one* labeler only (`[r for r in rankings if r.labeler_id == ...]`), and
# ask all four judges of the table again. Write down first which row will suffer.

# %% [markdown]
# ## The four predictions
#
# <details><summary>1: shuffled pairs</summary>
# The training loss falls faster and the held-out loss turns early: each answer is learned by heart, as it comes again and again
# with other partners.
# </details>
# <details><summary>2: labels and gold</summary>
# With single labels it cannot agree more often than one labeler does with the truth behind them; with gold it does so more
# often, as the labelers' noise averages out.
# </details>
# <details><summary>3: off-topic answers</summary>
# It judges them by their looks. Nothing in its training depended on the prompt in that way.
# </details>
# <details><summary>4: best of n</summary>
# The reward always rises. Gold rises, flattens, and for a weak judge falls again.
# </details>

# %% [markdown]
# ## InstructGPT and this lesson
#
# | | InstructGPT | here | why |
# |---|---|---|---|
# | body | 6B GPT-3, for policies of all sizes | our small GPT-2, as large as the policy | seconds on a CPU |
# | start | SFT without its unembedding (3.5); the final one a 6B tuned on public tasks, said to be similar (C.2) | the SFT model after one epoch | the last epochs know the demonstrations by heart |
# | answers ranked | K from 4 to 9 | 9 | more pairs a prompt; simulated labelers do not tire |
# | who wrote them | mostly SFT, some PPO policies | SFT, base, off-topic and repeated answers | so that the model learns to look at the prompt |
# | batch | 64 prompts, all pairs of each together | `cfg.reward.prompts_per_step` prompts, all pairs together | fewer rankings, so more steps a pass |
# | passes | 1 | `cfg.reward.epochs` | a small model and noisy labels gain from the second |
# | ties | dropped (C.2) | dropped | |
# | learning rate | 9e-6, cosine to 10 % | about a hundred times larger, the same cosine | small models take larger steps |
# | shift | demonstrations average 0 (C.2) | the same | |
# | accuracy | 72.4 ± 0.4 %, on held-out labelers' pairs 69.6 ± 0.9 % | printed above | simulated strangers are like those inside |
# | gold | does not exist | known | the reason for a tiny world |
#
# ## What is saved, and what comes next
#
# `runs/notebook_03/mine/model` holds your reward model as a plain Hugging Face folder:
# `AutoModelForSequenceClassification.from_pretrained` reads it, and its one logit is the reward. The lessons that follow start
# from the shipped one.
#
# We have a judge that is about as often right as a single labeler, never tires, is blind in places, and is fooled by who searches hard. Lesson
# [04](04_ppo.ipynb) searches hard.
#
# - In the code: [`utils/reward/train.py`](../utils/reward/train.py), [`kwise_loss`](../utils/losses.py), and
#   [paper to code](../docs/paper-map.md) for every setting and its test.
# - Words: [glossary](../docs/glossary.md).
