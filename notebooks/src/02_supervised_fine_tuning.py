# %% [markdown]
# # 02 · Supervised fine-tuning: from continuing to answering
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/02_supervised_fine_tuning.ipynb)
#
# A pretrained model continues whatever it reads. If you train it on questions *with good answers*, to predict these answers
# token by token, it learns to answer. This is step 1 of InstructGPT ([sec. 3.5 and C.1](https://arxiv.org/abs/2203.02155)). It
# is ordinary next-token prediction with a few decisions around it. This lesson is about those decisions.
#
# | | |
# |---|---|
# | **Reading** | about 35 minutes, with the exercises about 75 |
# | **Running** | less than four minutes on two CPU cores; no GPU, no download of models or data |
# | **Outputs made on** | a two-core CPU; the output of the first cell names the device and the versions |
# | **You need** | Python, a little PyTorch, what a language model and cross-entropy are. No reinforcement learning |
# | **You will be able to** | say which tokens carry loss and why; read two curves that disagree; choose a checkpoint as the paper did; say what dropout and mixed-in pretraining text gain; recognise four classic mistakes by their symptoms |
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
# The cell above finds the repository (on Colab it downloads it) and checks that every required package is installed. It
# installs nothing.
#
# ## Where we are

# %%
from utils.lessons import picture
from utils.report import pipeline_map

picture(pipeline_map("sft"))

# %% [markdown]
# Labelers have written answers to prompts ([lesson 01](01_labelers_and_data.ipynb) calls them *demonstrations*). SFT imitates
# them. The resulting model has three uses: it answers prompts, it writes most of the answers that labelers will rank, and the
# reward model starts from it.
#
# This lesson starts from one finished run that comes with the repository. `lesson.path("...")` is the folder of a stage,
# `lesson.config` contains its settings.

# %%
from utils.lessons import fast, run_folder, shipped, table

lesson = shipped()
cfg, folder = lesson.config, run_folder("notebook_02")
few = 24 if fast() else None  # FAST=1 is for tests: the same lesson on a few rows
valid_prompts, test_prompts = lesson.prompts("valid")[: few or 200], lesson.prompts("test")[: few or 300]

# %% [markdown]
# ## What the base does with an instruction
#
# We give the base model the first validation prompt of each use case. `judged` samples one answer per prompt at temperature 1
# (each next token by its probability), and the gold rubric scores it.

# %%
from pathlib import Path

from utils.evaluation import Policy, judged, overview
from utils.lessons import compared

base = Path(cfg.model)
shown = list({p.use_case: p for p in reversed(valid_prompts)}.values())
table(compared(shown, {"base": judged(Policy("base", base), shown, cfg, 1.0)}), "The base model (gold points of 10)")

# %% [markdown]
# Look for three kinds of continuation. Some are answers. Some are *the next line of a page*: another request, or a chat of
# other people. And some answer another question than the one that was asked. Nothing is broken. The model predicts web pages,
# and on a web page a request may be followed by another request.
#
# Does it help to ask in a better way? The *prompted* base gets the request in the form `Question: ... Answer:`. In the paper,
# GPT-3 got a prefix in the same way.

# %%
asked = {"base": Policy("base", base), "prompted": Policy("prompted", base, prompted=True)}
before = {name: judged(policy, valid_prompts, cfg, 1.0) for name, policy in asked.items()}
table(overview(before), "The same model, asked in two ways")

# %% [markdown]
# A better question already helps, as in the paper: answering is one of the many things that the model can do. `finished` is the
# share of answers that the model itself finished with the end token `<|end|>`. Prompting is our first baseline. SFT has to be
# better than this baseline.
#
# ## The loss, by hand
#
# **The idea.** Join a prompt, the labeler's answer and the end token into one row. The model predicts every next token, as in
# pretraining. But it should learn to *answer*, not to *ask*, so only the answer and the end token count.
#
# $$\text{loss} = -\frac{1}{|C|} \sum_{t \in C} \log p_\theta(y_t \mid y_{<t})$$
#
# $y$ is `ids`, $C$ is the set of positions where `counted` is True, $p_\theta$ is `probabilities`. (The paper does not give the
# SFT loss and does not say whether prompt tokens count. This is the usual choice.) Take three tokens and a vocabulary of four
# words:

# %%
import torch

words = ["Hi", "Yes", "No", "<|end|>"]
ids = torch.tensor([[0, 1, 3]])  # the prompt "Hi", the answer "Yes", the end
counted = torch.tensor([[False, True, True]])
probabilities = torch.tensor([[[0.1, 0.6, 0.2, 0.1], [0.1, 0.1, 0.1, 0.7], [0.25, 0.25, 0.25, 0.25]]])

by_hand = -(torch.tensor(0.6).log() + torch.tensor(0.7).log()) / 2
print(f"by hand: (-ln 0.6 - ln 0.7) / 2 = {by_hand:.4f} nats per token")

# %% [markdown]
# After "Hi" the model gives "Yes" a probability of 0.6; after "Hi Yes" it gives the end token 0.7. The loss is the mean
# *surprise*: minus the log of the probability, in nats. If the model gives the right token a probability of 1, its surprise is
# 0.
#
# The functions that train our models must give the same value. So must PyTorch's own way to exclude tokens, the label -100:

# %%
from utils.losses import lm_loss

logits = probabilities.log()
torch.testing.assert_close(lm_loss(logits, ids, counted), by_hand)

labels = ids.masked_fill(~counted, -100)
torch.testing.assert_close(torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:]), by_hand)
print("labels:", labels.tolist())

# %% [markdown]
# Both asserts hold. Look at `[:-1]` and `[1:]`: the logits *at* a token predict the *next* one, so predictions and labels are
# shifted by one position. Without the shift, the model would have to predict at each token this same token:

# %%
wrong = torch.nn.functional.cross_entropy(logits[0], labels[0])
print(f"without the shift: {wrong:.4f}, with it: {by_hand:.4f}")

# %% [markdown]
# There is no error and no warning, just another number. This is why we compute a small example first.
#
# ## A real row
#
# `encode_demonstrations` turns text into rows: `ids`, and `loss_from`, the first position that carries loss.

# %%
from utils.models import load_policy, load_tokenizer
from utils.sft import Row, encode_demonstrations, make_batch

tokenizer = load_tokenizer(base)
demonstrations = lesson.demonstrations("train")[: 4 * few if few else None]
rows = encode_demonstrations(tokenizer, demonstrations, cfg.data, 128).rows
valid_rows = encode_demonstrations(tokenizer, lesson.demonstrations("valid")[:few], cfg.data, 128).rows
print(len(rows), "rows; the first:", rows[0])

# %% [markdown]
# The model only ever sees these numbers. Here is a row with its tokens as text, and the tokens that carry loss:

# %%
from utils.lessons import token_texts, token_view
from utils.report import TokenRow

row = max(rows[:40], key=lambda row: len(row.ids))
ids, mask, labels = make_batch([row], tokenizer.pad_token_id)
tokens = token_texts(tokenizer, row.ids)
token_view([TokenRow("what counts", tokens, (labels[0] != -100).float().tolist())], "carries loss: 1 yes, 0 no", span=1.0)

# %% [markdown]
# The model reads the white tokens, but they carry no loss. The orange tokens do. The line break (the arrow) that ends the
# prompt is white, and `<|end|>` is orange. How surprised is the base by each token?

# %%
from utils.losses import token_logprobs


@torch.no_grad()
def surprise(model):
    logprobs = token_logprobs(model(ids).logits[:, :-1], ids[:, 1:])
    return [0.0, *(-logprobs[0]).tolist()]


token_view([TokenRow("base", tokens, surprise(load_policy(base)))], "surprise (nats)")

# %% [markdown]
# The first token has no context and is not predicted. Dark tokens are those that nobody can guess: in the prompt the content of
# the question, in the answer the words that do not follow from the prompt. (A labeler's mistake is among the darkest tokens.)
#
# ## Training
#
# We use the paper's settings (C.1): 16 epochs, batches of 32, cosine learning rate to a tenth, residual dropout 0.2. Only the
# learning rate is our own: small models take larger steps. We keep a checkpoint after *every* epoch, to look at all of them.
#
# > **Predict first (1).** The training loss will keep falling. What will the *held-out* loss do over the epochs, and after
# > how many will it be lowest?

# %%
from dataclasses import replace

from utils.lessons import quiet
from utils.pipeline import Run
from utils.sft import SFTRun, train_own


def train(name, rows, settings, web=None):
    """Fine-tune the base on rows; the records of the training."""
    run = SFTRun(folder / name, load_policy(base), tokenizer, rows, valid_rows, settings, cfg.seed, web, "sft")
    with quiet():
        train_own(run, f"{name}, {len(rows)} rows, {settings}")  # a change of these trains again
    return Run(folder, cfg).metrics(name)


# %%
epochs = 2 if fast() else cfg.sft.epochs
every_epoch = replace(cfg.sft, epochs=epochs, checkpoints=tuple(range(1, epochs + 1)))
curves = {"dropout 0.2": train("sft", rows, every_epoch)}

# %%
from utils.report import train_and_valid

look = {"train": "loss", "valid": "valid_loss", "x": "epoch", "xlabel": "epochs", "ylabel": "loss (nats per token)"}
picture(train_and_valid(curves, **look, title="SFT"))

# %% [markdown]
# The blue curve falls to the end. The orange one is lowest within the first few epochs (the ring). Then it rises slowly by a
# few hundredths: the model begins to memorise these answers, and it becomes more confident about words that *other* labelers
# would not have used. The textbook rule is to stop at the ring.
#
# The paper did not stop there (3.5): "overfits on validation loss after 1 epoch", but longer training improved the reward
# model's score and people's preference. How is this possible?
#
# > **Predict first (2).** We let each of the 16 checkpoints answer the validation prompts and ask two other judges: the
# > reward model, trained on labelers' rankings, and gold. Which epoch will each of the three judges like best?

# %%
from utils.pipeline import score_checkpoints
from utils.sft import checkpoint_dir

paths = [checkpoint_dir(folder / "sft", epoch) for epoch in every_epoch.checkpoints]
with quiet():
    scored = score_checkpoints(lesson, paths, valid_prompts)
held_out = [row for row in curves["dropout 0.2"] if "valid_loss" in row]
judges = [{**loss, **score} for loss, score in zip(held_out, scored, strict=True)]

# %%
from utils.report import checkpoint_choice

picture(checkpoint_choice(judges))

# %% [markdown]
# The three judges disagree, just as in the paper. Held-out loss asks: *how likely are this labeler's exact words?* Reward and
# gold ask: *is what the model says a good answer?* After the ring the model becomes more confident. This makes the held-out
# loss a little worse, but it improves the answers, because the model samples fewer unlikely words. The bars are 95 % intervals
# over prompts: they do not separate neighbouring epochs. By gold, early and late epochs differ clearly. The reward's bars
# overlap more, because they do not use the fact that all checkpoints answered the same prompts.
#
# ## Choosing the checkpoint
#
# Gold exists only in this toy world. The paper chose by the reward model on validation prompts, and we do the same.

# %%
from utils.sft import select_checkpoint

by_reward = select_checkpoint({row["checkpoint"]: row["reward"] for row in judges})
by_loss = min(judges, key=lambda row: row["valid_loss"])["checkpoint"]
print("lowest held-out loss:", by_loss, "| highest reward:", by_reward)

# %% [markdown]
# We made the choice on validation prompts. So the final comparison uses *test* prompts, from users that neither training nor
# choice has seen. (If you pick the best of 16 on the same prompts that give the final result, the result is partly luck.)

# %%
from utils.evaluation import paired_difference

found = {name: judged(Policy(name, folder / "sft" / name), test_prompts, cfg, 1.0) for name in (by_loss, by_reward)}
table(overview(found), "Two ways to choose, on test prompts")
gain = paired_difference(found[by_reward].golds, found[by_loss].golds)
print(f"chosen by reward minus chosen by loss: {gain.mean:+.2f} ± {gain.se:.2f} gold points (standard error)")

# %% [markdown]
# The last line compares them prompt by prompt, with the same random numbers. A difference of more than about two standard
# errors is more than chance. By choosing with the loss, you would have lost this gain.
#
# ## Residual dropout
#
# In training, dropout sets a random fifth of the numbers in each block's output to zero and scales up the rest. The model
# cannot depend on any single number, so it memorises less easily.

# %%
torch.manual_seed(0)
print(torch.nn.Dropout(0.2)(torch.ones(10)))

# %% [markdown]
# > **Predict first (3).** We train for the same 16 epochs with dropout 0. Which of the two curves will change more, training or
# > held-out? And will the answers be better or worse?

# %%
without = replace(every_epoch, dropout=0.0, checkpoints=(epochs,))
curves["dropout 0"] = train("no_dropout", rows, without)
picture(train_and_valid(curves, **look, title="Residual dropout"))

# %% [markdown]
# Both change: without dropout the training loss falls further and the held-out loss rises higher. The gap between the curves
# shows how much the model memorised. Now the answers of the two last checkpoints:

# %%
last = {name: checkpoint_dir(folder / name, epochs) for name in ("sft", "no_dropout")}
found = {name: judged(Policy(name, path), test_prompts, cfg, 1.0) for name, path in last.items()}
table(overview(found), "The last epoch with and without dropout, on test prompts")

# %% [markdown]
# The answers are worse without dropout. A little memorising does no harm, but this much does. Dropout is what makes 16 epochs
# over so few answers possible. (It acts in training only. `set_residual_dropout` does not write it into the saved model, so
# sampling from the saved model never uses dropout.)
#
# ## Mixed-in pretraining text
#
# There is a second fine-tuned model in the paper that is easy to miss. PPO does not start from the model that we just chose. It
# starts from a shorter SFT in which 10 % of the rows are *pretraining text* (C.3). Why? Here are both from the same base, with
# and without the mix; all other settings are equal.

# %%
from utils.pretraining import WEB_SEED, world_rows

world = lesson.world
documents = world.documents(200 if fast() else 2000, WEB_SEED)

web = world_rows(world, tokenizer, documents, cfg.ppo_ptx.ptx_length)
mixed = replace(cfg.init, epochs=1, checkpoints=(1,)) if fast() else cfg.init
pure = replace(mixed, pretrain_fraction=0.0)
train("pure", rows, pure), train("mixed", rows, mixed, web)
print(
    f"{mixed.epochs} epochs, pretraining rows per batch: {round(mixed.pretrain_fraction * mixed.batch_size)} of {mixed.batch_size}"
)

# %% [markdown]
# Both are trained. How well do they still predict the kind of text that the base was trained on?

# %%
from utils.evaluation import held_out_web, pretraining_loss
from utils.report import Look, bars_with_intervals

unseen = held_out_web(world, tokenizer, few or 150)
models = {"base": base, "answers only": checkpoint_dir(folder / "pure", mixed.epochs)}
models |= {"with pretraining text": checkpoint_dir(folder / "mixed", mixed.epochs), "chosen SFT": folder / "sft" / by_reward}
losses = [pretraining_loss(load_policy(path), unseen) for path in models.values()]
title = "Pretraining text that no model has seen: lower is better"
look = Look("model", "loss (nats per token)", title, losses[0], "base")
picture(bars_with_intervals(list(models), losses, None, None, look))

# %% [markdown]
# When a model learns to answer, it forgets what it read. The model that was trained for 16 epochs forgets most. A few rows of
# pretraining text per batch prevent nearly all of this. This is a first look at the *alignment tax*, the subject of lesson 05.
# What does the mix cost?

# %%
pair = {name: judged(Policy(name, models[name]), test_prompts, cfg, 1.0) for name in ("answers only", "with pretraining text")}
table(overview(pair), "The same training with and without the mix, on test prompts")
difference = paired_difference(pair["with pretraining text"].golds, pair["answers only"].golds)
print(f"with pretraining text minus without: {difference.mean:+.2f} ± {difference.se:.2f} gold points (standard error)")

# %% [markdown]
# Compare the difference with its standard error before you call it a cost or a gain. (Why are so few rows enough? A row of web
# text carries loss at nearly all its tokens, an answer at about a dozen. In exercise 5 you compute this.)
#
# ## Before and after
#
# We use the same prompts as at the start.

# %%
chosen = Policy("sft", folder / "sft" / by_reward)
both = {"base": judged(asked["base"], shown, cfg, 1.0), "sft": judged(chosen, shown, cfg, 1.0)}
table(compared(shown, both), "Before and after (gold points of 10)")

# %% [markdown]
# The form changed at once: mostly one style, whole sentences, an end. Now look for what did *not* change: some answers are
# fluent and wrong. The next plot shows the mean over all test prompts for each part of the gold rubric:

# %%
from utils.evaluation import part_means
from utils.report import Look, grouped_bars

after = {"base": judged(asked["base"], test_prompts, cfg, 1.0), "prompted": judged(asked["prompted"], test_prompts, cfg, 1.0)}
after |= {"sft": judged(chosen, test_prompts, cfg, 1.0)}
parts = {name: part_means(answers) for name, answers in after.items()}
look = Look("part of the gold rubric", "mean score (0 to 1)", "What SFT changed")
picture(grouped_bars(world.rubric.parts, parts, look))

# %% [markdown]
# SFT gains most where the base did something else than what was asked (*helpful*), and in what labelers do by habit (*manner*,
# *form*). *Truthful* cannot rise much: a true sentence that does not answer the question costs nothing there (lesson 01), so
# the base already has nearly the full score. Imitation teaches the form of an answer; the model even *knows* less afterwards
# (lesson 05). *Manner* stays low, because the labelers themselves add their polite extras only sometimes. A model that imitates
# cannot be better than what it imitates. This is why the pipeline continues.

# %%
table(overview(after), "On test prompts")

# %% [markdown]
# SFT is better than the prompted base, as in the paper (Fig. 1). Its gain is larger than the gain from prompting.
#
# ## What goes wrong, on purpose
#
# Here are four classic mistakes. The first two are in the rows, the last two in how the model is asked. To save time, all
# models here are trained for a few epochs only, without dropout.
#
# 1. **No end token**: `ids` without the last one.
# 2. **Loss on the prompt too**: `loss_from` is 1.
# 3. **The line end forgotten** when the model is asked (in training each prompt ended with one).
# 4. **A blank instead of the line end.**
#
# > **Predict first (4).** Put the four in order, from harmless to worst. What will the answers of each look like?

# %%
quick = replace(cfg.sft, epochs=1 if fast() else 4, dropout=0.0, checkpoints=())
broken = {
    "as it should be": rows,
    "no end token": [Row(row.ids[:-1], row.loss_from) for row in rows],
    "loss on the prompt too": [Row(row.ids, 1) for row in rows],
}
for name, wrong_rows in broken.items():
    train(name.replace(" ", "_"), wrong_rows, quick)

# %%
results = {}
for name in broken:
    policy = Policy(name, checkpoint_dir(folder / name.replace(" ", "_"), quick.epochs))
    results[name] = judged(policy, test_prompts, cfg, 1.0)

right = Policy("right", checkpoint_dir(folder / "as_it_should_be", quick.epochs))
for name, suffix in {"line end forgotten": "", "blank for line end": " "}.items():
    results[name] = judged(right, test_prompts, replace(cfg, data=replace(cfg.data, prompt_suffix=suffix)), 1.0)
table(overview(results), "Four mistakes, on test prompts")

# %% [markdown]
# Each mistake has its own symptom. *No end token*: most answers do not end; they continue to the length limit. *Loss on the
# prompt*: no clear difference here. This is a result too. Our prompts are short, and the model has enough capacity. With long
# prompts, few-shot examples or documents, most of the gradient would go to text that nobody wants the model to write. *Line end
# forgotten*: here it makes hardly any difference either, by luck. *A blank* in its place: much harm, because in training these
# ids never came before an answer. Look at some answers:

# %%
some = [i for i, prompt in enumerate(test_prompts) if prompt.use_case in ("open_qa", "brainstorming", "chat")][:4]
lines = [{"asked": test_prompts[i].prompt, **{n: a.responses[i].text for n, a in results.items()}} for i in some]
table([{k: v for k, v in line.items() if k != "loss on the prompt too"} for line in lines], "The same prompts, three mistakes")

# %% [markdown]
# Without an end token the first sentence is sometimes right, but then the model cannot stop and continues with anything. If you
# ever see this, look first at the last label of a row. A wrong suffix is worse in practice, because training looks perfect: the
# mistake is in the *serving* code. So in this package the same two functions, `encode_prompt` and `encode_completion`, build
# the ids of training, sampling and scoring.
#
# ## The same step with TRL
#
# Hugging Face's TRL has this stage ready-made. In this package you select it with `sft.backend: trl`. Without this package it
# takes three lines:
#
# ```python
# from trl import SFTConfig, SFTTrainer
#
# trainer = SFTTrainer(model=model, args=SFTConfig(...), train_dataset=dataset)
# trainer.train()
# ```
#
# Does it compute the same loss? We compute the loss of one batch of rows with both. This cell needs TRL. It is not installed on
# Colab, and installing it there would replace packages that are in use.

# %%
from importlib.util import find_spec

from utils.sft import batch_loss

if find_spec("trl"):
    from utils.sft import trl

    run = SFTRun(folder / "trl", load_policy(base), tokenizer, rows[:32], [], cfg.sft, cfg.seed)
    trainer = trl.make_trainer(run, str(folder / "trl"))
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(run.train))])
    theirs = trainer.compute_loss(run.model.eval(), batch)
    ours = batch_loss(load_policy(base), [rows[:32]], tokenizer.pad_token_id)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    print(f"TRL {theirs:.5f}, ours {ours:.5f}")
else:
    print("TRL is not installed here; tests/sft/test_sft.py compares loss and gradient.")

# %% [markdown]
# They are equal up to rounding. A well-maintained library is the better choice if it has what you need. Ours is the default
# because it also mixes in pretraining text, resumes bit for bit, and runs without TRL.
#
# ## Exercises
#
# Replace the dots, run the cell, and read what the check says. It names the likely mistake. The solutions with their outputs
# are in [solutions/02_supervised_fine_tuning.ipynb](../solutions/02_supervised_fine_tuning.ipynb).
#
# ### Exercise 1 (easy, 5 minutes): labels
#
# `prompt` and `completion` are lists of token ids, `end` is the id of the end token. Return the labels of the whole row: -100
# where there is no loss.

# %% tags=["exercise"]
from utils.lessons import check_labels


def labels(prompt, completion, end):
    return ...


print(check_labels(labels))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def labels(prompt, completion, end):
#     return [-100] * len(prompt) + [*completion, end]
# ```
# There is one label per token; the loss function does the shift.
# </details>
#
# ### Exercise 2 (easy, 5 minutes): the mean of a batch
#
# `logprobs` has one list per answer of a batch: the log-probs of its tokens. Return the SFT loss.

# %% tags=["exercise"]
from utils.lessons import check_batch_loss


def batch_loss(logprobs):
    return ...


print(check_batch_loss(batch_loss))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def batch_loss(logprobs):
#     every = [value for answer in logprobs for value in answer]
#     return -sum(every) / len(every)
# ```
# Every token has the same weight, so a long answer counts more than a short one. A mean of means would be a different loss.
# </details>
#
# ### Exercise 3 (easy, 5 minutes): the checkpoint
#
# `valid_loss` and `reward` map epochs to numbers on validation prompts. Return the epoch that the paper keeps. If two have the
# same score, return the earlier one.

# %% tags=["exercise"]
from utils.lessons import check_choose


def choose(valid_loss, reward):
    return ...


print(check_choose(choose))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def choose(valid_loss, reward):
#     return max(sorted(reward), key=lambda epoch: reward[epoch])
# ```
# `max` returns the first of equal values, so it is enough to sort the epochs first.
# </details>
#
# ### Exercise 4 (medium, 10 minutes): the learning rate
#
# Write a cosine schedule from `peak` at step 0 to a tenth of it at the last step, `total - 1`, without warm-up (C.1). You need
# `math.cos` and `math.pi`.

# %% tags=["exercise"]
from utils.lessons import check_rate


def rate(step, total, peak):
    return ...


print(check_rate(rate))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def rate(step, total, peak):
#     fall = 0.5 * (1 + math.cos(math.pi * step / (total - 1)))  # 1 at the first step, 0 at the last
#     return peak * (0.1 + 0.9 * fall)
# ```
# `utils.losses.learning_rate` is the same with a warm-up for PPO.
# </details>
#
# ### Exercise 5 (hard, 15 minutes): the weight of the mix
#
# A batch has `batch` rows, of which `round(batch * fraction)` are pretraining text. A demonstration has `answer_tokens` loss
# tokens on average, a pretraining row has `web_tokens`. The loss is one mean over all loss tokens. Which share of it is
# pretraining text? Then insert the numbers of this lesson: `len(row.ids) - row.loss_from` is the number of loss tokens of a row.

# %% tags=["exercise"]
from utils.lessons import check_web_share


def web_share(batch, fraction, answer_tokens, web_tokens):
    return ...


print(check_web_share(web_share))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def web_share(batch, fraction, answer_tokens, web_tokens):
#     web = round(batch * fraction)
#     answers = batch - web
#     return web * web_tokens / (web * web_tokens + answers * answer_tokens)
# ```
# One tenth of the rows gives far more than one tenth of the loss. "10 % pretraining data" does not say which of the two is
# meant, and the paper does not explain it.
# </details>
#
# **And one without a check.** Change one thing and run from "Training" on: more dropout in `replace(every_epoch, dropout=...)`,
# half of the demonstrations (`rows[:700]`), a learning rate ten times smaller. First write down what the three judges will say.

# %% [markdown]
# ## The four predictions
#
# <details><summary>1: held-out loss</summary>
# It is lowest after one or a few epochs and then rises, while the training loss keeps falling: this is overfitting.
# </details>
# <details><summary>2: three judges</summary>
# Held-out loss likes an early epoch; reward model and gold like a late one. They ask different questions: these exact words, or
# a good answer.
# </details>
# <details><summary>3: dropout</summary>
# Both curves change, in opposite directions, and the gap between them becomes wider. The answers get worse.
# </details>
# <details><summary>4: four mistakes</summary>
# Harmless here: loss on the prompt too, and the forgotten line end. The missing end token and the blank do the most harm, each
# in its own way: one model never stops, the other answers something else.
# </details>

# %% [markdown]
# ## InstructGPT and this lesson
#
# | | InstructGPT | here | why |
# |---|---|---|---|
# | base | GPT-3, 1.3B to 175B | our own small GPT-2 (`data/models`) | seconds on a CPU |
# | demonstrations | 12,725 prompts by about 40 people | `len(rows)` by simulated labelers | time; the truth is known |
# | epochs, batch, dropout, schedule | 16, 32, 0.2 residual, cosine to 10 % (C.1) | the same | |
# | learning rate | 9.65e-6 at 1.3B | about a hundred times larger | small models take larger steps |
# | loss on the prompt | not stated | no | the usual choice; no difference here |
# | end of an answer | not described | a separate token, `<\|end\|>` | the reward model can distinguish a finished answer from a truncated one |
# | choice of the checkpoint | reward model's score on validation prompts | the same | |
# | epochs searched | the number of epochs was a searched setting too | all 16 examined | to see the disagreement |
# | start of PPO | 2 epochs, 10 % pretraining data, own learning rate (C.3) | 8 epochs, 10 % of the rows | fewer demonstrations: the same number of steps needs more epochs |
# | people's preference | measured | simulated gold and reward model | no people needed |
#
# ## What is saved, and what comes next
#
# `runs/notebook_02/sft/epoch_01` ... contain the checkpoints as plain Hugging Face folders:
# `AutoModelForCausalLM.from_pretrained` reads them. The next lessons start from the shipped checkpoints in `data/lessons/sft`,
# so that each lesson runs alone.
#
# We used a reward model as a judge here without saying where it comes from. This is the subject of lesson
# [03](03_reward_modeling.ipynb): how rankings become a number, and how far to trust it.
#
# - In the code: [`utils/sft/train.py`](../utils/sft/train.py), and [paper to code](../docs/paper-map.md) for every setting and
#   its test.
# - Terms: [glossary](../docs/glossary.md).
