# %% [markdown]
# # 05 · PPO-ptx: the alignment tax, and paying it back
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/05_ppo_ptx.ipynb)
#
# PPO makes a policy answer better. What does the policy forget meanwhile? InstructGPT calls it the *alignment tax*
# ([sec. 4.2](https://arxiv.org/abs/2203.02155)) and pays it back with one more term in the objective: PPO-**ptx**, which is what the
# paper means by "InstructGPT". In this lesson we measure the tax, look at what the famous 27.8 multiplies, turn gamma and beta, and
# then compare every model of the course on the same test prompts, with intervals.
#
# | | |
# |---|---|
# | **Reading** | about 35 minutes, with the exercises about 75 |
# | **Running** | less than four minutes on two CPU cores; no GPU, no download of models or data |
# | **Outputs made on** | a two-core CPU; the first cell's output names device and versions |
# | **You need** | Python, a little PyTorch, and what PPO does (lesson 04) |
# | **You will be able to** | measure an alignment tax in two ways; say what gamma multiplies, and why a value of it belongs to one code base; predict what gamma and beta do; report a comparison of models with win rates and intervals |
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

picture(pipeline_map("ppo_ptx"))

# %% [markdown]
# This is the last training step. It needs all that PPO needs (a start, a reward model, prompts) and one thing more: text of the kind that
# the base was pretrained on. We start from the finished run that comes with the repository, which has every model of the pipeline.

# %%
from pathlib import Path

from utils.evaluation import Policy
from utils.lessons import fast, run_folder, shipped, table
from utils.pipeline.data_stages import init_dir, load_set
from utils.sft import checkpoint_dir

# %%
lesson = shipped()
cfg, folder = lesson.config, run_folder("notebook_05")
few = 24 if fast() else None  # FAST=1 is for tests: the same lesson on a few rows
test_prompts = load_set(lesson, "test")[: few or 400]

paths = {"base": Path(cfg.model), "init": init_dir(lesson), "sft": checkpoint_dir(lesson.path("sft"), cfg.sft.epochs)}
paths |= {name: lesson.path(name) / "model" for name in ("ppo", "ppo_ptx")}
models = {name: Policy(name, path) for name, path in paths.items()}
print("models:", ", ".join(models))

# %% [markdown]
# `init` is where PPO starts (C.3); in figures it is called *PPO start*. `sft` is the fine-tuned model after its last epoch.
#
# ## Measuring the tax
#
# The paper asks its models questions of public benchmarks. Ours are too small for these, so we ask for what *they* were pretrained on, in
# two ways.
#
# ### Loss on unseen web text
#
# The mean surprise per token on pages that no model has read, in nats: what pretraining made small.

# %%
from utils.evaluation import held_out_web, next_token_logprobs
from utils.lessons import token_texts, token_view
from utils.models import load_policy, load_tokenizer
from utils.report import TokenRow

# %%
tokenizer = load_tokenizer(cfg.model)
web = held_out_web(tokenizer, few or cfg.evaluation.web_documents)
print(len(web), "rows. The first begins:", repr(tokenizer.decode(web[0, :40])))

# %% [markdown]
# Before the mean, one row token by token. How much *more* surprised than the base is each model, at each of the first tokens? Orange:
# more surprised; blue: less.

# %%
import torch

row = web[:1, :48]
read = {name: next_token_logprobs(load_policy(paths[name]), row, torch.ones_like(row, dtype=torch.bool))[0] for name in paths}
tokens = token_texts(tokenizer, row[0, 1:].tolist())
names = ("sft", "ppo", "ppo_ptx")
strips = [TokenRow(name.replace("_", "-"), tokens, (read["base"] - read[name]).tolist()) for name in names]
token_view(strips, "surprise more than the base's (nats)", span=4.0)

# %% [markdown]
# The loss is not spread evenly. A model that has learned to answer is surprised where a page does what an answer never does. Now the mean
# over all rows:

# %%
from utils.evaluation import choice_accuracy, choice_logprobs, pretraining_loss
from utils.report import bars_with_intervals

# %%
loaded = {name: load_policy(path) for name, path in paths.items()}
losses = {name: pretraining_loss(model, web) for name, model in loaded.items()}
look = {"reference": losses["base"], "reference_label": "base", "title": "Unseen web text: lower is better"}
picture(bars_with_intervals(list(losses), list(losses.values()), None, None, "loss (nats a token)", **look))

# %% [markdown]
# All that is above the dashed line is tax. The SFT model pays by far the most: many epochs over answers and no page in between. PPO's start
# pays little, because a tenth of its training rows were web text. PPO adds to what its start pays. PPO-ptx started at the same place.
#
# ### Facts, as multiple choice
#
# A loss can rise because of style. Does a model still *know* things? The paper's way (App. D): give a statement up to its last words, and
# compare the mean log-probability per token of the true ending with that of others.

# %%
from utils.evaluation import fact_items

items = fact_items(tokenizer)[: few or 300]
item = items[0]
given = choice_logprobs(loaded["base"], [item])[0]
print(tokenizer.decode(item.prefix[1:]), "...")
table(
    [
        {"ending": tokenizer.decode(c), "mean log-prob": lp, "true": i == item.right}
        for i, (c, lp) in enumerate(zip(item.choices, given, strict=True))
    ]
)

# %% [markdown]
# The ending with the highest number is the model's choice. (The paper's text says that the lowest log-probability is picked; it must mean
# the lowest *loss*.) Over all items, with a 95 % interval:

# %%
from utils.evaluation import score_interval

facts = {name: choice_accuracy(model, items) for name, model in loaded.items()}
ends = [score_interval(share, len(items)) for share in facts.values()]
lows, highs = zip(*ends, strict=True)
picture(
    bars_with_intervals(
        list(facts), list(facts.values()), lows, highs, "right (share)", facts["base"], "Facts: higher is better"
    )
)

# %% [markdown]
# Intervals that overlap cannot be told apart, and with this many items many do. So facts are the coarser of the two probes: they show a large
# loss, as SFT's, and not a small one. That a probe *sees nothing* is not the same as *nothing was lost*. We use the web loss to compare
# settings, and keep an eye on facts.
#
# ## Equation 2, all of it
#
# $$\text{maximise}\quad \underbrace{\mathbb{E}\big[r(x,y)\big]}_{\text{score}} \;-\; \beta\,\underbrace{\mathbb{E}\Big[\log\tfrac{\pi(y|x)}{\pi_{\text{ref}}(y|x)}\Big]}_{\text{KL of an answer}} \;+\; \gamma\,\underbrace{\mathbb{E}_{x \sim \text{pretraining}}\big[\log \pi(x)\big]}_{\text{minus the web loss}}$$
#
# With $\gamma = 0$ it is PPO. Read the symbols with care: this gamma is **not** the discount of reinforcement learning. (There is one in GAE, in
# our code `gae_gamma`; it is 1, no discount.) Confuse them and see:

# %%
from utils.losses import gae

rewards, values, every = torch.tensor([[0.0, 0.0, 0.0, 1.0]]), torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool)
for discount in (1.0, 0.5, 27.8):
    advantages, _ = gae(rewards, values, every, gamma=discount, lam=1.0)
    print(f"gamma {discount:g} given to GAE: advantages {[round(a, 3) for a in advantages[0].tolist()]}")

# %% [markdown]
# One reward at the end of four tokens. With 1 all four get it. A value below 1, such as a small gamma of Eq. 2, hides it from the first
# tokens, and with the paper's 27.8 the first token gets thousands. Both run without an error.
#
# ### What gamma multiplies
#
# In each minibatch the gradient of PPO's loss is computed, then that of gamma times the loss on some pretraining rows, *into the same
# buffers*, and the optimizer takes one step for both (C.4). A toy with one weight vector shows it:

# %%
weight = torch.tensor([1.0, -2.0], requires_grad=True)
ppo_loss, ptx_loss_value, gamma = (weight**2).sum(), weight.sum() * 3, 0.5

ppo_loss.backward()
(gamma * ptx_loss_value).backward()  # adds to weight.grad
by_hand = 2 * weight.detach() + gamma * 3
torch.testing.assert_close(weight.grad, by_hand)
print("gradient of both:", weight.grad.tolist())

# %% [markdown]
# So gamma weighs two *gradients*. Which of them is stronger depends on how long each is by itself. Let us measure that on the real thing: a
# round of episodes, and rows of web text as PPO-ptx would draw them.

# %%
from utils.core import torch_generator
from utils.data import encode_prompt
from utils.lessons import short_ppo
from utils.pipeline.training_stages import pretraining_rows
from utils.ppo import draw_ptx_rows, load_ppo_models, policy_loss, ptx_loss, run_round

# %%
settings = short_ppo(cfg.ppo_ptx, rounds=20)  # the run's settings, but fewer rounds and so larger steps
actors, _ = load_ppo_models(paths["ppo_ptx"], lesson.path("reward") / "model")
encoded = [encode_prompt(tokenizer, p.prompt, cfg.data) for p in load_set(lesson, "ppo")]
episodes = run_round(actors, encoded, 0, settings, cfg.data.max_response_tokens, cfg.seed)
pretraining = pretraining_rows(lesson, settings.ptx_length)
drawn = draw_ptx_rows(pretraining, settings.minibatch_size, settings, torch_generator(cfg.seed, "look"))
print(f"a minibatch: {settings.minibatch_size} answers and {len(drawn)} rows of {drawn.shape[1]} web tokens")


# %% [markdown]
# Now one gradient of each loss, both with respect to the same weights:


# %%
def gradient(loss):
    """The gradient of a loss with respect to all weights of the policy, as one vector."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(actors.policy.parameters()))])


batch = episodes[torch.arange(settings.minibatch_size)]
g_ppo = gradient(policy_loss(actors.policy, batch, settings)[0])
g_ptx = gradient(ptx_loss(actors.policy, drawn, actors.pad_id))
cosine = torch.nn.functional.cosine_similarity(g_ppo, g_ptx, dim=0)
print(f"length of PPO's gradient {g_ppo.norm():.2f}, of the web loss's {g_ptx.norm():.2f}, cosine between them {cosine:+.2f}")

# %% [markdown]
# The cosine tells if the two pull the same way (1), against each other (-1) or have nothing to do with each other (near 0). Now the share that
# gamma gives to the web text:

# %%
shares = {g: (g * g_ptx.norm() / g_ppo.norm()).item() for g in (0.0, settings.gamma_ptx, 1.0, 27.8)}
table([{"gamma": f"{g:g}", "length of the web part / length of PPO's part": share} for g, share in shares.items()])

# %% [markdown]
# > **Predict first (1).** The paper's gamma is 27.8 (C.4). Here, at that value, the last line says how much longer the web part would be
# > than PPO's. What would such a run learn?
#
# 27.8 is right *for the authors' code*: their mean or sum over tokens, their whitening, their reward scale, their eight pretraining examples an
# episode. None of that is printed in full. Ours multiplies a mean per web token, next to a mean per answer token. If a code base sums over tokens
# where another takes means, the same behaviour needs another number (exercise 5). What transfers is not the value but the *balance*.
#
# ## Turning gamma and beta
#
# Short PPO runs, all from the same start and reward model, that differ in one setting. `tax_sweep` trains each and measures gold on validation
# prompts, web loss and facts.
#
# > **Predict first (2).** As gamma grows from 0: what will the web loss do, and what will gold do? Is there a value that is simply best?

# %%
from dataclasses import replace

from utils.experiments import tax_sweep
from utils.lessons import quiet

# %%
own = settings.gamma_ptx
knobs = (
    {"gamma_ptx": (0.0, own, 27.8), "beta": (2.0,)}
    if fast()
    else {"gamma_ptx": (0.0, own, 3.0, 27.8), "beta": (0.02, 0.5, 2.0)}
)
with quiet():
    rows = tax_sweep(lesson, replace(settings, gamma_ptx=0.0), knobs, (cfg.seed,), folder, folder / "sweep", most=few)

# %%
from utils.report import tax_sweep as tax_figure

picture(tax_figure(rows, "gamma_ptx"))

# %% [markdown]
# Right: web text in the training brings the loss down, towards the base's dotted line and, with much of it, as far as a short training goes.
# Left: what it costs. A little gamma is cheap. At 27.8 the policy is mostly reading, and PPO's gain in gold is gone. That is the trade: gamma
# buys back pretraining with reward. The paper saw the same: with gamma the validation reward falls, while the benchmarks recover (E.6, Fig. 33).
#
# One run a point: small differences between neighbouring points may be luck. `python scripts/sweep.py --part tax` has repeated it with more values
# of gamma and three seeds of PPO each; bars are 95 % intervals over the seeds:

# %%
from utils.core import ROOT, read_json

repeated = read_json(ROOT / "results" / "lessons" / "tax_sweep.json")
print("seeds", repeated["seeds"], "on", repeated["machine"])
picture(tax_figure(repeated["rows"], "gamma_ptx"))

# %% [markdown]
# Now luck can be told from effect. The web loss falls with every step of gamma, and its intervals are narrow. Gold hardly moves up to gamma 1 (the
# intervals overlap), where the loss is already below that of PPO's start; beyond it the price rises fast. That is why the profile has gamma 1.
#
# > **Predict first (3).** There is a cheaper idea: no pretraining text, only a *larger beta*. The leash keeps the policy near its start, so it
# > cannot forget. Does that pay the tax back?

# %%
picture(tax_figure(rows, "beta"))

# %% [markdown]
# A large beta prevents what PPO would add to the tax, because it prevents what PPO would learn. And it has no way *below* the dashed line of its
# start: the tax that SFT has left behind stays. A leash holds, it does not repair. In the paper even a beta of 2, a hundred times theirs, did not
# remove the regressions and ruined the reward (E.6, Fig. 34).

# %%
columns = {"gold, temperature 1": "gold", "gold, greedy": "gold_greedy", "web loss": "pretraining_loss", "facts": "facts"}
names = {"model": "", "gamma_ptx": "gamma ", "beta": "beta "}
table(
    [{"run": f"{names[r['knob']]}{r['value']}"} | {c: r[k] for c, k in columns.items()} for r in rows], "All runs of the sweep"
)

# %% [markdown]
# The same as a table, greedy and facts included. (The runs against beta have gamma 0.)
#
# ### The two runs side by side
#
# PPO and PPO-ptx of the sweep, round by round:

# %%
from utils.core import read_jsonl
from utils.report import training_curves

labels = {
    "score": "reward model's score",
    "gold": "gold (points)",
    "kl_k1": "KL (nats a response)",
    "entropy": "entropy (nats a token)",
}
place = {"ppo": folder / "sweep" / f"gamma_ptx_0_{cfg.seed}", "ppo_ptx": folder / "sweep" / f"gamma_ptx_{own:g}_{cfg.seed}"}
curves = {name: read_jsonl(path / "metrics.jsonl") for name, path in place.items()}
picture(training_curves(curves, *labels, labels=labels, xlabel="round", title="PPO and PPO-ptx"))

# %% [markdown]
# Both learn to please the reward model. Compare the KL: web text works like a second leash, tied to another post, what pretraining taught.
#
# ### Too much of it
#
# What does a policy say that was trained at 27.8? The same prompts to PPO-ptx as it should be, and to the run of the sweep.

# %%
from utils.evaluation import judged
from utils.lessons import compared

shown = list({p.use_case: p for p in reversed(test_prompts)}.values())[:7]
far = Policy("gamma 27.8", folder / "sweep" / f"gamma_ptx_27.8_{cfg.seed}" / "model")
answers = {"ppo_ptx": judged(models["ppo_ptx"], shown, cfg, 1.0), "gamma 27.8": judged(far, shown, cfg, 1.0)}
table(compared(shown, answers), "The shipped PPO-ptx, and a run with the paper's gamma (gold points of 10)")

# %% [markdown]
# Nothing crashed, no curve is wild, and the model still answers. It has only lost what PPO gains, and whoever copied the number from
# the paper would conclude that PPO does not work. Check the balance of the gradients first.
#
# ## The closing comparison
#
# Every model of the course on the same test prompts, whose users no training and no choice has seen. First gold, sampled and greedy, with one
# standard error.

# %%
from utils.evaluation import overview

everyone = {"base": models["base"], "prompted": Policy("prompted", paths["base"], prompted=True)}
everyone |= {name: models[name] for name in ("sft", "init", "ppo", "ppo_ptx")}
sampled = {name: judged(policy, test_prompts, cfg, 1.0) for name, policy in everyone.items()}
greedy = {name: judged(policy, test_prompts, cfg, 0.0) for name, policy in everyone.items()}
table(overview(sampled), "At temperature 1")

# %% [markdown]
# Once more with the likeliest token at every step, so that nobody gains by being less random:

# %%
table(overview(greedy), "Greedy")

# %% [markdown]
# A standard error belongs to one number. To *compare* two models, take differences prompt by prompt: hard prompts are hard for both, and that
# part cancels (exercise 3).
#
# ### Win rates
#
# The paper's headline numbers are win rates against SFT, as people judged them, with 95 % intervals. Ours are judged by simulated *held-out*
# labelers, who made no training data and put truth and harmlessness first (B.2). A tie counts half.
#
# > **Predict first (4).** Which of these intervals will cross one half: base, prompted base, PPO's start, PPO, PPO-ptx, each against SFT?

# %%
from utils.evaluation import labeler_win_rate
from utils.pipeline.data_stages import load_calibrated

labelers = load_calibrated(lesson, "heldout")
won = {}
for name in ("base", "prompted", "init", "ppo", "ppo_ptx"):
    found = labeler_win_rate(name, "sft", sampled[name], sampled["sft"], test_prompts, labelers, cfg)
    won[name] = {key.rsplit(".", 1)[1]: value for key, value in found.items()}

# %%
ends = [[row[key] for row in won.values()] for key in ("mean", "low", "high")]
picture(
    bars_with_intervals(
        list(won), *ends, "preferred to SFT (share)", 0.5, "Held-out simulated labelers", reference_label="even"
    )
)

# %% [markdown]
# A bar whose interval crosses the dashed line would say "cannot tell"; none does here. Base and prompted base lose to SFT, and so does PPO's
# start, by least; the two PPO models win. Why not by more,
# when gold differs so clearly? Labelers are noisy (they agree about three times in four), a noisy judge pulls every win rate towards one half, and
# ties count half.

# %%
from utils.evaluation import paired_difference

kinds = {"temperature 1": sampled, "greedy": greedy}
pairs = [("ppo", "sft"), ("ppo_ptx", "sft"), ("ppo_ptx", "ppo"), ("ppo", "init"), ("sft", "prompted"), ("prompted", "base")]
rows = []
for a, b in pairs:
    gains = {kind: paired_difference(found[a].golds, found[b].golds) for kind, found in kinds.items()}
    rows.append(
        {"difference": f"{a} - {b}"} | {kind: f"{gain.mean:+.2f} ± {1.96 * gain.se:.2f}" for kind, gain in gains.items()}
    )
table(rows, "Paired differences in gold points, with 95 % intervals")

# %% [markdown]
# Read it against zero. A difference whose interval contains zero is not a finding, in either direction.
#
# ### What InstructGPT found, and what we see
#
# Now row by row. On the left what the paper reports; on the right this lesson's figures, whatever they say.

# %%
tables = {row["difference"]: row["temperature 1"] for row in rows}
share = {name: f"{row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for name, row in won.items()}
tax = {name: f"{losses[name] - losses['base']:+.3f}" for name in losses}
findings = [
    ("a good prompt helps the base (4.1)", f"gold {tables['prompted - base']}"),
    ("SFT is preferred to the prompted base (4.1)", f"gold {tables['sft - prompted']}"),
    ("PPO is preferred to SFT (4.1)", f"win rate {share['ppo']}"),
    ("PPO-ptx is preferred to SFT (4.1)", f"win rate {share['ppo_ptx']}"),
    ("PPO and PPO-ptx are about equal (4.1)", f"gold of PPO-ptx - PPO {tables['ppo_ptx - ppo']}"),
    ("PPO loses on what pretraining taught (4.2)", f"web loss over the base {tax['ppo']}, its start {tax['init']}"),
    ("PPO-ptx mitigates it (4.2)", f"web loss over the base {tax['ppo_ptx']}"),
]
table([{"InstructGPT": paper, "here": ours} for paper, ours in findings])

# %% [markdown]
# What this table cannot say: whether *people* would agree, whether it holds at another size, and whether another seed would show the same. The
# first needs people. For the others the repository's README has five seeds, and `results/tiny/ladder.txt` three sizes.
#
# ## One more thing that goes wrong
#
# The loss on web text is a fair probe only if the text is *new*. PPO-ptx has read web text. Measure on what it read instead:

# %%
some = pretraining[: few or 400]
seen = {
    name: {"read in training": pretraining_loss(loaded[name], some), "unseen": losses[name]}
    for name in ("base", "ppo", "ppo_ptx")
}
table([{"model": name} | row | {"difference": row["unseen"] - row["read in training"]} for name, row in seen.items()], digits=3)

# %% [markdown]
# Part of the difference is that the rows have another length; the base shows how much. Compare the *differences* between the models. Models that
# small, with so much text, hardly learn pages by heart, so little is to be seen here. With a large model and a small replay set the left column
# looks better and better while the right one does not, and only the right one is the tax.
#
# ## Exercises
#
# Replace the dots, run the cell, read what the check says: it names the likely mistake. The solutions, run, are in
# [solutions/05_ppo_ptx.ipynb](../solutions/05_ppo_ptx.ipynb).
#
# ### Exercise 1 (easy, 5 minutes): the objective
#
# The value of Eq. 2 from three means: the score, the KL of an answer, and the loss of a web token.

# %% tags=["exercise"]
from utils.lessons.exercises.ppo_ptx import check_objective


def objective(score, kl, pretraining_loss, beta, gamma):
    return ...


print(check_objective(objective))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def objective(score, kl, pretraining_loss, beta, gamma):
#     return score - beta * kl - gamma * pretraining_loss
# ```
# The loss is minus the mean log-probability, so the plus of Eq. 2 becomes a minus.
# </details>
#
# ### Exercise 2 (easy, 5 minutes): multiple choice
#
# `choices` has one list for each ending: the log-probs of its tokens. Return the index of the ending that the model picks (App. D).

# %% tags=["exercise"]
from utils.lessons.exercises.ppo_ptx import check_picked


def picked(choices):
    return ...


print(check_picked(picked))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def picked(choices):
#     return max(range(len(choices)), key=lambda i: sum(choices[i]) / len(choices[i]))
# ```
# The mean, so that a long ending is not worse for being long.
# </details>
#
# ### Exercise 3 (middling, 10 minutes): paired differences
#
# Gold points of two models on the same prompts. Return `[mean, standard error]` of a minus b. When it works, try it on
# `sampled["ppo"].golds` and `sampled["sft"].golds`.

# %% tags=["exercise"]
from utils.lessons.exercises.ppo_ptx import check_paired


def paired(a, b):
    return ...


print(check_paired(paired))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def paired(a, b):
#     d = [x - y for x, y in zip(a, b, strict=True)]
#     n, mean = len(d), sum(d) / len(d)
#     variance = sum((x - mean) ** 2 for x in d) / (n - 1)
#     return [mean, (variance / n) ** 0.5]
# ```
# Differences first, then mean and error. The mean would be the same without pairing; the error would be larger.
# </details>
#
# ### Exercise 4 (middling, 10 minutes): a win rate
#
# The share of prompts on which a beats b. Differences of at most `tie` points are ties, which count half.

# %% tags=["exercise"]
from utils.lessons.exercises.ppo_ptx import check_win_rate


def win_rate(a, b, tie):
    return ...


print(check_win_rate(win_rate))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def win_rate(a, b, tie):
#     won = [0.5 if abs(x - y) <= tie else float(x > y) for x, y in zip(a, b, strict=True)]
#     return sum(won) / len(won)
# ```
# With ties as halves, a against b and b against a add up to 1.
# </details>
#
# ### Exercise 5 (hard, 15 minutes): another code base's gamma
#
# A code base *sums* the policy's loss over the tokens of an answer and adds `gamma` times the pretraining loss *summed* over the tokens of a web
# row. Ours takes the *mean per token* of both. Which gamma must we set, so that the gradient of both together points in the same direction? An
# answer has `answer_tokens`, a row `web_tokens`.

# %% tags=["exercise"]
from utils.lessons.exercises.ppo_ptx import check_same_gamma


def same_gamma(gamma, answer_tokens, web_tokens):
    return ...


print(check_same_gamma(same_gamma))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def same_gamma(gamma, answer_tokens, web_tokens):
#     return gamma * web_tokens / answer_tokens
# ```
# A sum is a mean times its number of tokens: answer_tokens times (mean of the answer + gamma web_tokens / answer_tokens times mean of the row).
# The factor in front changes the length of the gradient only, which Adam divides out.
# </details>
#
# **And one without a check.** Change `ptx_rows_per_episode` in `short_ppo(cfg.ppo_ptx, rounds=20, ...)`: the paper found that fewer pretraining rows
# make their loss rise and that more cost time (E.11). Write down first what the web loss and the seconds will do.

# %% [markdown]
# ## The four predictions
#
# <details><summary>1: the paper's gamma</summary>
# It would read. The web part of the gradient drowns PPO's part, the web loss falls and little is learned from the reward.
# </details>
# <details><summary>2: gamma</summary>
# The web loss falls with gamma, and beyond a small value gold falls with it. No value is best at both: it is a trade, and somebody has to choose.
# </details>
# <details><summary>3: beta</summary>
# It prevents new tax by preventing learning, and pays nothing back of what the start already owes.
# </details>
# <details><summary>4: win rates</summary>
# Base and prompted base lay below one half and both PPO models above. The start of PPO is another short SFT, so it is
# the one to be near one half, and even its interval does not reach it.
# </details>

# %% [markdown]
# ## InstructGPT and this lesson
#
# | | InstructGPT | here | why |
# |---|---|---|---|
# | gamma | 27.8, on pretraining gradients | `cfg.ppo_ptx.gamma_ptx`, on the mean loss per web token | another code, another balance |
# | pretraining rows an episode | 8 | `ptx_rows_per_episode`, less than one | our rows are longer than our answers; time |
# | pretraining text | drawn from GPT-3's training set | drawn from our bases' made-up web | the same idea |
# | both gradients, one step | in the same buffers (C.4) | the same | |
# | tax measured by | public tasks: SQuADv2, DROP, HellaSwag, translation (4.2) | unseen web text, facts as multiple choice | tiny models are at chance on public tasks |
# | sweep of gamma, beta | 1.3B (E.6, E.7) | short runs: one seed in this lesson, three on file | minutes on a CPU |
# | reference of the KL in the beta sweep | the pretrained GPT; the start is said to be similar (4.2) | PPO's start | one reference everywhere |
# | comparison | people, win rate against 175B SFT | simulated held-out labelers, against our SFT | no people needed |
# | which SFT is compared | chosen by reward score | the last epoch that is shipped | only three checkpoints are shipped |
#
# ## What is saved, and what comes next
#
# `runs/notebook_05/sweep` holds a policy and its `metrics.jsonl` for every run of the sweep, and `runs/notebook_05/tax_sweep.json` their figures
# with settings, machine and versions.
#
# This was the last stage. You have seen the whole of Figure 2 of the paper, and broken most of it. From here:
#
# - The whole pipeline in one go is notebook [00](00_start_here.ipynb), or `python scripts/pipeline.py --profile tiny`.
# - The same on GPT-2 and with data of your own: lesson [08](08_real_gpt2.ipynb), and the [README](../README.md).
# - In the code: [`utils/ppo/train.py`](../utils/ppo/train.py), [`utils/evaluation/`](../utils/evaluation/policies.py), and [paper to code](../docs/paper-map.md).
