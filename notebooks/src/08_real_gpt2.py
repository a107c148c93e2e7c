# %% [markdown]
# # 08 · Real GPT-2, real people
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/08_real_gpt2.ipynb)
#
# So far everything was tiny and made up. The same code trains the real GPT-2 of 124 million weights on text that people wrote
# and ranked. This lesson is about what changes when you do that: the tokenizer, the data, the judge, the cost. It shows each of
# them offline on a small model, and it gives the commands for a GPU.
#
# | | |
# |---|---|
# | **Reading** | about 25 minutes, with the exercises about 65 |
# | **Running** | about a minute on two CPU cores; no GPU, no download of models or data |
# | **Outputs made on** | a two-core CPU; the output of the first cell names the device and the versions |
# | **You need** | lesson [00](00_start_here.ipynb) |
# | **You will be able to** | start the pipeline from any causal language model; say what its tokenizer lacks; use rankings of your own; plan a run before you pay for it; read a report that has no gold score; publish a model |
#
# **Nothing here was measured on a GPU or on human data.** The small model and its rankings come from the tiny world, so their
# labelers are **simulated**; they take the place of your own files. Where this lesson would need a number of the real GPT-2, it
# gives the command that computes it.

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
# ## Where we are

# %%
from utils.lessons import picture
from utils.report import pipeline_map

picture(pipeline_map("pretrain"))

# %% [markdown]
# The map stays the same, box by box. The inputs at the top change: the pretrained base, the prompts, the labelers.
#
# ## One setting file for another
#
# A *profile* is a file of settings. All other lessons use `tiny`; `gpt2` is for one small GPU, such as Colab's T4.

# %%
from utils.config import load_config
from utils.lessons import table

tiny, gpt2 = load_config("tiny"), load_config("gpt2")
names = ("model", "world", "data.prompts", "data.demonstrations", "data.comparisons", "data.max_prompt_tokens")
names += ("data.max_response_tokens", "sft.epochs", "sft.learning_rate", "ppo.learning_rate", "ppo.minibatch_size")


# %%
def setting(config, name):
    for part in name.split("."):
        config = getattr(config, part)
    return str(config)


# %%
table([{"setting": n, "tiny": setting(tiny, n), "gpt2": setting(gpt2, n)} for n in names], "Two profiles")

# %% [markdown]
# `world: False` is the largest change: no generated prompts, no simulated labelers, and no gold score, because nobody knows the
# true quality of an answer to a real person's question. `hub:oasst2` names a public dataset. Each dataset has a
# [card](../data/README.md) with its licence and its known problems. Learning rates are far lower: a large pretrained model
# needs small steps. On a machine with a GPU and a network, one line runs everything:
#
# ```bash
# python scripts/pipeline.py --profile gpt2 --out runs/gpt2
# python scripts/pipeline.py --profile gpt2 --smoke        # first: every stage in a few steps
# ```
#
# ## The cost before the run
#
# > **Predict first (1).** SFT, reward model, PPO: which needs most of the computing at these settings? And within PPO, is it
# > the sampling or the training?
#
# The planner lists every pass of every model and counts floating-point operations ([how](../docs/compute.md)).

# %%
from utils.planning import operations as planner

shape = planner.shape_of("gpt2")
work = planner.stage_work(gpt2, shape, shape, planner.data_at_limits(gpt2))

# %%
total = sum(item.flops for item in work)
stages = planner.by_stage(work)
table(
    [{"stage": name, "operations": f"{flops:.1e}", "share": flops / total} for name, flops in stages.items()], "GPT-2", digits=2
)

# %% [markdown]
# These are upper bounds: they assume that every prompt and answer is as long as its limit. The two PPO stages and the reward
# model need most of the operations. Inside one PPO stage:

# %%
ppo = [item for item in work if item.stage == "ppo"]
whole = sum(item.flops for item in ppo)
table([{"part": item.part, "kind": item.kind, "share": item.flops / whole} for item in ppo], "PPO by part", digits=2)

# %% [markdown]
# Measured in operations, sampling is a small part. Measured in time it is not: to decode one token per row, the GPU reads all
# weights and is mostly idle; a training pass keeps it busy. The planner *assumes* a share of the peak for each kind of pass. It
# prints these shares with every plan, so that you can check and change them:

# %%
t4 = planner.GPUS["T4"]
hours = {name: planner.gpu_hours([w for w in work if w.stage == name], t4, "fp32") for name in stages}
print("assumed shares of the peak:", planner.UTILISATION)
print(f"hours on a T4 in float32, if these hold: {sum(hours.values()):.1f}")

# %% [markdown]
# This is an order of magnitude, not a measurement. `python scripts/plan.py --profile gpt2 --here` times a few passes on your
# machine and estimates how long the run will take there. [docs/compute.md](../docs/compute.md) has the plan of every stage for
# distilgpt2 and GPT-2, at these limits and at mean lengths. A T4 is far faster in half precision: `--set
# compute.precision=fp16` uses it. How much this gains was not measured here. [docs/memory.md](../docs/memory.md) describes what
# else helps on a small GPU, such as LoRA.
#
# ## What GPT-2's tokenizer lacks
#
# Three special tokens have a role in this pipeline: one *separates* documents, one *ends* an answer, one *pads* a batch.
#
# > **Predict first (2).** GPT-2 was made to continue web pages. How many of the three does it have?
#
# Here is a small random model with a tokenizer of the same type as GPT-2's: bytes are merged into longer pieces, and there is
# one special token.

# %%
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"

# %%
core = Tokenizer(models.BPE())
core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)

# %%
core.train_from_iterator(["Name a bird.", "An owl is a bird."], trainer)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=END, eos_token=END)

# %%
from utils.models import gpt2_config, new_policy, prepare_tokenizer

sizes = gpt2_config(len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=64, init_std=0.1)
model = new_policy(sizes, seed=0)


# %%
def roles():
    found = {"separates": tokenizer.bos_token, "ends": tokenizer.eos_token, "pads": tokenizer.pad_token}
    return {**found, "tokens": len(tokenizer), "embedding rows": model.get_input_embeddings().weight.shape[0]}


# %%
before = roles()
prepare_tokenizer(tokenizer, model)
table([{"": "as in GPT-2", **before}, {"": "prepared", **roles()}], "Three roles")

# %% [markdown]
# GPT-2 has one token for separating and ending, and none for padding. If the token that ends an answer were also the one that
# ends a document, or the padding, three things would go wrong without a message. A mask of "all but padding" would hide the end
# token, so the model would never learn to stop. A reward model could not distinguish a finished answer from a truncated one.
# And a sampled separator would look like the end of an answer. So the base stage adds what is missing, to a *copy* of your
# model.
#
# New tokens need rows in the embedding, and the model has never seen them. The base stage sets them to the mean of the old
# rows. A new token is then neither likely nor impossible:

# %%
import torch

rows = model.get_input_embeddings().weight.detach()
new, old = rows[-2:], rows[:-2]
torch.testing.assert_close(new, old.mean(0).expand_as(new))

# %%
from utils.models import load_policy

trained = load_policy("data/models/small").get_input_embeddings().weight.detach()
lengths = [{"model": n, "mean length of a row": r.norm(dim=1).mean().item(), "length of the mean row": r.mean(0).norm().item()}
           for n, r in {"random": old, "trained": trained}.items()]  # fmt: skip
table(lengths, "Is the mean row close to zero?", digits=2)

# %% [markdown]
# Random rows cancel out, so the mean row of this model is close to zero. The rows of a trained model have a large part in
# common: a direction that all tokens share. The new rows start from this direction.
#
# A model with a chat template has an end-of-turn token of its own. Then this token ends an answer ([the
# rules](../docs/architecture.md)).
#
# ## Rankings of people
#
# The most common public form is a pair of transcripts; a person preferred the first one. We write such a file ourselves
# from rankings of the tiny world (simulated, as always), so that everything below runs offline.

# %%
import json

from utils.lessons import fast, run_folder, shipped

# %%
folder = run_folder("notebook_08")
folder.mkdir(parents=True, exist_ok=True)
ranked = shipped().comparisons("train")[: 120 if fast() else 600]


# %%
def transcript(prompt, answer):
    return f"\n\nHuman: {prompt}\n\nAssistant: {answer}"


# %%
def ends(row):
    """The best and the worst answer of a ranking."""
    order = sorted(range(len(row.ranks)), key=row.ranks.__getitem__)
    return row.completions[order[0]], row.completions[order[-1]]


# %%
lines = []
for row in ranked:
    best, worst = ends(row)
    if best and worst and best != worst:
        lines.append({"chosen": transcript(row.prompt, best), "rejected": transcript(row.prompt, worst)})

# %%
file = folder / "pairs.jsonl"
file.write_text("".join(json.dumps(line) + "\n" for line in lines))
print(len(lines), "pairs; the first:", json.dumps(lines[0], indent=1))

# %% [markdown]
# This is the format of hh-rlhf. It does not say where the prompt ends. The prompt is the longest beginning that both
# transcripts share, up to the last `Assistant:`. In real files some rows break this rule. A reader that guesses would train on
# nonsense. Our reader stops with an error:

# %%
from utils.data import load_comparisons

# %%
broken = folder / "broken.jsonl"
broken.write_text(json.dumps({"chosen": transcript("Hi.", "Hello."), "rejected": "Something else."}) + "\n")
try:
    load_comparisons(broken)
except Exception as error:
    print(str(error).replace(str(folder), "..."))

# %% [markdown]
# The message gives file, row and reason. Public datasets of the table (`python scripts/fetch_data.py` lists them) are read by
# adapters that know their rows and *count* what they drop instead. Decide two things before you use a dataset:
#
# - **The licence.** It also applies to your model. The data card names it, and it is printed when the data is loaded.
# - **The split.** Two prompts of one author, or two comparisons of one post, must be on the same side. You write this in
#   exercise 5.
#
# ## The whole pipeline, from one file
#
# Rankings alone are enough for the pipeline. It splits their prompts into sets, it uses the best answers as
# demonstrations, and it uses text that the base itself writes as pretraining text. `--smoke` runs a few steps of everything.
# The base is our small model, in place of yours.

# %%
from utils.lessons import quiet
from utils.pipeline import run_pipeline, smoke_settings

mine = {"model": "data/models/small", "data.comparisons": str(file), "device": "cpu", "out": str(folder / "run")}
mine |= {"data.max_prompt_tokens": 72, "data.max_response_tokens": 32, "ppo_ptx.ptx_length": 64}

# %%
config = load_config("gpt2", mine)
config = load_config("gpt2", smoke_settings(config) | mine)
with quiet():
    run = run_pipeline(config, config.out)

# %% [markdown]
# Every stage ran with the code that trained the tiny models in the other lessons. (In a terminal: `python scripts/pipeline.py
# --profile gpt2 --model DIR --comparisons pairs.jsonl --smoke`.) This is what the cleaning did:

# %%
table(run.cleaning(), "Prompts", digits=1)

# %% [markdown]
# These rules did little in the tiny world, but they matter with real people: personal data, copies, other languages, long
# prompts.
#
# ## A report without gold
#
# > **Predict first (3).** After so few steps of PPO, will the reward model score PPO's answers higher than those of the model
# > that PPO started from? And if it does, what does this show?

# %%
summary = run.summary().flat()
policies = ("base", "prompted", "sft", "init", "ppo", "ppo_ptx")

# %%
numbers = [
    {"policy": name, "reward": summary[f"reward.{name}.mean"], "standard error": summary[f"reward.{name}.se"],
     "KL": summary[f"kl.{name}"], "finished": summary[f"finished.{name}"]}
    for name in policies
]  # fmt: skip
table(numbers, "Scores of the reward model (not an independent judge)", digits=2)

# %% [markdown]
# Compare the differences with the standard errors: a smoke run shows that everything works, not that anything was learned. If
# the reward had gone up, it would show that PPO found what *this reward model* likes. In the tiny world gold shows where this
# differs from quality. Here nothing does. With real data you need another judge: people who rank without knowing the model,
# held-out rankings for the reward model, a second reward model trained on other rankings. How good is this reward model on
# pairs that it has not seen?

# %%
accuracy, error = summary["reward_model.accuracy_labels"], summary["reward_model.accuracy_labels_se"]
print(f"correctly ordered pairs: {accuracy:.2f} ± {error:.2f} (standard error) of {summary['reward_model.pairs']} pairs")

# %% [markdown]
# Random guessing gets half of them right. The standard error shows how uncertain this result is with so few pairs.
#
# ## Talking to it
#
# Numbers are means. Read answers too, of all models to the same prompt. The models of a smoke run have learned little, so here
# we talk to the models of the finished tiny run (simulated labelers), with the score of its reward model. For your own run give
# its folder, such as `chat_box("runs/gpt2")`.

# %%
from utils.lessons import chat_box

chat_box(shipped(), ["Name three birds.", "What is a bat?"])

# %% [markdown]
# In a live notebook there is a box for your own prompts under the table; a published page has only the table. Does the reward
# order the answers as you would? Ask the same prompt again: each message has random numbers of its own, and at temperature 0
# there are none. In a terminal: `python scripts/chat.py --run runs/gpt2`.
#
# ## Giving it away
#
# A model is useful to others if it loads without this project and says what it is. `export` writes plain folders with a card.

# %%
from utils.publish import export

(given,) = export(run, ["reward"], folder / "exports")
card = (given / "README.md").read_text()
print(card[card.index("## Use") : card.index("## Licence")])

# %% [markdown]
# The card contains code that runs, the origin of the data, and the run's own numbers. Does the plain library give the same
# value as our code? We follow the recipe of the card by hand:

# %%
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from utils.data import encode_completion, encode_prompt
from utils.models import quiet_transformers

# %%
words = AutoTokenizer.from_pretrained(given)
with quiet_transformers():  # no progress bar
    plain = AutoModelForSequenceClassification.from_pretrained(given)
ids = encode_prompt(words, "Name three birds.", config.data) + encode_completion(words, "Owl, hen, goose.", True, config.data)

# %%
with torch.no_grad():
    reward = plain(torch.tensor([ids])).logits.item() - plain.config.reward_shift
(ours,) = run.reward_model().score_ids([ids])
assert abs(reward - ours) < 1e-5
print(f"plain transformers {reward:.4f}, ours {ours:.4f}")

# %% [markdown]
# They are equal up to rounding. `reward_shift` is the paper's bias: it makes the demonstrations average zero. It changes no
# comparison, but you need it if you use the reward as a number. This export states no licence, because the file of pairs has
# none. For this reason `--push-to-hub` would not upload it.

# %% [markdown]
# ## Exercises
#
# Replace the dots, run the cell, and read what the check says. It names the likely mistake. The solutions with their outputs
# are in [solutions/08_real_gpt2.ipynb](../solutions/08_real_gpt2.ipynb).
#
# ### Exercise 1 (easy, 5 minutes): tokens to add
#
# `bos`, `eos` and `pad` are the names of a tokenizer's special tokens, or `None`. How many tokens must be added so that each
# role has a token of its own?

# %% tags=["exercise"]
from utils.lessons import check_missing


def missing(bos, eos, pad):
    return ...


print(check_missing(missing))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def missing(bos, eos, pad):
#     return 3 - len({token for token in (bos, eos, pad) if token is not None})
# ```
# A set keeps a shared token once. `utils.models.prepare_tokenizer` adds the tokens.
# </details>
#
# ### Exercise 2 (easy, 10 minutes): a pair of transcripts
#
# Return `(prompt, better answer, worse answer)`. The prompt ends with the last `"\n\nAssistant:"` that both transcripts share.
# The answers have no blanks around them. `commonprefix([a, b])` of `os.path` is the beginning that two texts share.

# %% tags=["exercise"]
from utils.lessons import check_split_pair


def split_pair(chosen, rejected):
    return ...


print(check_split_pair(split_pair))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def split_pair(chosen, rejected):
#     from os.path import commonprefix
#
#     mark = "\n\nAssistant:"
#     end = commonprefix([chosen, rejected]).rfind(mark) + len(mark)
#     return chosen[:end], chosen[end:].strip(), rejected[end:].strip()
# ```
# A real reader must also reject pairs that share no such mark: in this case `rfind` returns -1.
# </details>
#
# ### Exercise 3 (medium, 10 minutes): memory
#
# PPO keeps these in float32 (4 bytes per number): policy and value model, each with its gradient and Adam's two moments;
# reference and reward model, which are only read; and the averaged policy. `policy` is the number of weights of policy and
# reference, `reward` that of value and reward model. Return the memory in units of 10^9 bytes, without activations. Does GPT-2
# XL fit on your GPU?

# %% tags=["exercise"]
from utils.lessons import check_gigabytes


def gigabytes(policy, reward):
    return ...


print(check_gigabytes(gigabytes))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def gigabytes(policy, reward):
#     trained = 4 * 4 * (policy + reward)
#     read = 4 * (policy + reward)
#     average = 4 * policy
#     return (trained + read + average) / 1e9
# ```
# There are four models, but a trained model needs four times the memory of one that is only read.
# </details>
#
# ### Exercise 4 (medium, 10 minutes): GPU hours
#
# Training costs 6 operations per weight, token and epoch. The GPU has a `peak` in operations per second, and training
# reaches a `share` of it. Return hours.

# %% tags=["exercise"]
from utils.lessons import check_hours


def hours(weights, tokens, epochs, peak, share):
    return ...


print(check_hours(hours))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def hours(weights, tokens, epochs, peak, share):
#     operations = 6 * weights * tokens * epochs
#     return operations / (peak * share) / 3600
# ```
# Two operations for the forward pass and four for the backward pass. The share is the least certain number.
# </details>
#
# ### Exercise 5 (hard, 15 minutes): a split by author
#
# `authors` has the author of each row. Count authors from 1 in the order in which they first appear. Every `every`-th author
# goes to the test set with all rows. Return the numbers of these rows (counted from 0), in order.

# %% tags=["exercise"]
from utils.lessons import check_held_out


def held_out(authors, every):
    return ...


print(check_held_out(held_out))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def held_out(authors, every):
#     number = {author: i for i, author in enumerate(dict.fromkeys(authors), 1)}
#     return [row for row, author in enumerate(authors) if number[author] % every == 0]
# ```
# `dict.fromkeys` keeps the first of equal values, in order. The package uses a hash of the author instead of a count, so that a
# split does not change when rows are added.
# </details>
#
# **And one without a check.** Take your own rankings, or run `python scripts/fetch_data.py hh-rlhf/helpful-base` with a
# network, and run the pipeline section on them. Read twenty of the reward model's mistakes before you start PPO.

# %% [markdown]
# ## The three predictions
#
# <details><summary>1: the cost</summary>
# The two PPO runs and the reward model need most of the operations at these settings. In PPO it is the training passes. In time
# the result may differ, because sampling makes poor use of a GPU.
# </details>
# <details><summary>2: special tokens</summary>
# It has one token, in the role of separator and end, and none for padding.
# </details>
# <details><summary>3: a higher reward</summary>
# Perhaps, by less than the standard error: a few rounds teach nothing. And a higher reward alone shows what this reward model
# likes, not what people like.
# </details>

# %% [markdown]
# ## InstructGPT and this lesson
#
# | | InstructGPT | here | why |
# |---|---|---|---|
# | base | GPT-3, 1.3B to 175B | GPT-2 of 124M in the profile; our small one in this notebook | one small GPU; no download |
# | reward model | 6B at every size | as large as the policy | memory of a small GPU |
# | prompts | customers and labelers | those of the rankings, or of a public dataset | we have no API |
# | demonstrations | written by about 40 screened people | the best-ranked answers, or a public dataset | most people have only rankings |
# | rankings | K = 4 to 9, screened labelers | pairs in this file; K answers where a dataset has them | the public form |
# | pretraining mix | GPT-3's own pretraining data | text that the base writes, or openwebtext | GPT-2's own data is not public |
# | number format | fp16 weights and activations (App. C) | float32 | a free GPU has no bf16; fewer numerical problems |
# | judges | people, held-out labelers | none in this notebook | no people to ask; a reward model cannot judge itself |
# | benchmarks | public NLP tasks, bias, toxicity (Table 14) | `scripts/evaluate.py model` scores eight of them for any run | none in this notebook: no download, and our small model is at chance level |
#
# ## What is saved, and what comes next
#
# `runs/notebook_08/run` is a run like any other, with its `report.html`; `runs/notebook_08/exports` contains the exported
# model.
#
# - In the code: [what a run costs](../docs/compute.md), [paper to code](../docs/paper-map.md),
#   [`utils/publish/model_cards.py`](../utils/publish/model_cards.py), [`scripts/pipeline.py`](../scripts/pipeline.py).
# - Data: [cards](../data/README.md) of everything that the profiles name.
# - Terms: [glossary](../docs/glossary.md).
