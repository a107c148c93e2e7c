# %% [markdown]
# # 05 · PPO-ptx: reducing the alignment tax
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/05_ppo_ptx.ipynb)
#
# PPO improves a policy's answers. What does the policy forget during training? InstructGPT calls this loss the *alignment tax*
# ([sec. 4.2](https://arxiv.org/abs/2203.02155)) and reduces it with one more term in the objective: PPO-**ptx**, which is what
# the paper means by "InstructGPT". In this lesson we measure the tax, look at what the paper's 27.8 multiplies, and change
# gamma and beta. Then we compare all models of the course on the same test prompts, with intervals.
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
# This is the last training step. It needs everything that PPO needs (a start, a reward model, prompts) and one more input: text
# like the text that the base was pretrained on. We start from the finished run that comes with the repository. It has every
# model of the pipeline.

# %%
from pathlib import Path

from utils.evaluation import Policy
from utils.lessons import fast, run_folder, shipped, table

# %%
lesson = shipped()
cfg, folder = lesson.config, run_folder("notebook_05")
few = 24 if fast() else None  # FAST=1 is for tests: the same lesson on a few rows
test_prompts = lesson.prompts("test")[: few or 400]

paths = {"base": Path(cfg.model), "init": lesson.model_dir("init"), "sft": lesson.checkpoint("sft", cfg.sft.epochs)}
paths |= {name: lesson.model_dir(name) for name in ("ppo", "ppo_ptx")}
models = {name: Policy(name, path) for name, path in paths.items()}
print("models:", ", ".join(models))

# %% [markdown]
# `init` is where PPO starts (C.3); in figures it is called *PPO start*. `sft` is the fine-tuned model after its last epoch.
#
# ## Measuring the tax
#
# The paper tests its models on public benchmarks. Our models are too small for these. So we test what *they* were pretrained
# on, in two ways.
#
# ### Loss on unseen pretraining text
#
# The *pretraining loss* is the mean loss per token, in nats, on pages that no model was trained on. The pages are from the
# made-up web of our base models.

# %%
from utils.evaluation import held_out_web, next_token_logprobs
from utils.lessons import token_texts, token_view
from utils.models import load_policy
from utils.report import TokenRow

# %%
tokenizer = lesson.tokenizer()  # of the base
world = lesson.world
web = held_out_web(world, tokenizer, few or cfg.evaluation.web_documents)
print(len(web), "rows. The first begins:", repr(tokenizer.decode(web[0, :40])))

# %% [markdown]
# Before the mean, look at one row token by token. At each of the first tokens, how much higher is the loss of each model than
# the loss of the base? Orange: higher; blue: lower.

# %%
import torch

row = web[:1, :48]
read = {name: next_token_logprobs(load_policy(paths[name]), row, torch.ones_like(row, dtype=torch.bool))[0] for name in paths}
tokens = token_texts(tokenizer, row[0, 1:].tolist())
names = ("sft", "ppo", "ppo_ptx")
strips = [TokenRow(name.replace("_", "-"), tokens, (read["base"] - read[name]).tolist()) for name in names]
token_view(strips, "surprise more than the base's (nats)", span=4.0)

# %% [markdown]
# The loss is not spread evenly. A model that has learned to answer has a high loss where a page does something that answers
# never do. Now the mean over all rows:

# %%
from utils.evaluation import choice_accuracy, choice_logprobs, pretraining_loss
from utils.report import Look, bars_with_intervals

# %%
loaded = {name: load_policy(path) for name, path in paths.items()}
losses = {name: pretraining_loss(model, web) for name, model in loaded.items()}
look = Look("policy", "loss (nats per token)", "Unseen pretraining text: lower is better", losses["base"], "base")
picture(bars_with_intervals(list(losses), list(losses.values()), None, None, look))

# %% [markdown]
# Everything above the dashed line is tax. The SFT model was trained for many epochs on answers, without any page of pretraining
# text. For PPO's start, a tenth of the training rows were pretraining text. PPO and PPO-ptx both began from this start.
#
# ### Facts, as multiple choice
#
# A loss can rise because of style. Does the model still *know* facts? We use the paper's method (App. D): give a statement
# without its last words, and compare the mean log-probability per token of the true ending with those of other endings.

# %%
from utils.evaluation import fact_items

items = fact_items(world, tokenizer)[: few or 300]
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
# The model chooses the ending with the highest number. (The paper's text says that the lowest log-probability is chosen; it
# must mean the lowest *loss*.) Over all items, with a 95 % interval:

# %%
from utils.evaluation import score_interval

facts = {name: choice_accuracy(model, items) for name, model in loaded.items()}
ends = [score_interval(share, len(items)) for share in facts.values()]
lows, highs = zip(*ends, strict=True)
look = Look("policy", "right (share)", "Facts: higher is better", facts["base"])
picture(bars_with_intervals(list(facts), list(facts.values()), lows, highs, look))

# %% [markdown]
# If intervals overlap widely, we cannot say which model is better. So facts are the coarser of the two tests: they can show a
# large loss, but not a small one. If a test *shows no difference*, this does not mean that *nothing was lost*. We use the
# pretraining loss to compare settings, and also report facts.
#
# ## The whole of Equation 2
#
# $$\text{maximise}\quad \underbrace{\mathbb{E}\big[r(x,y)\big]}_{\text{score}} \;-\; \beta\,\underbrace{\mathbb{E}\Big[\log\tfrac{\pi(y|x)}{\pi_{\text{ref}}(y|x)}\Big]}_{\text{KL of an answer}} \;+\; \gamma\,\underbrace{\mathbb{E}_{x \sim \text{pretraining}}\big[\log \pi(x)\big]}_{\text{minus the pretraining loss}}$$
#
# With $\gamma = 0$ this is PPO. Be careful with the symbols: this gamma is **not** the discount of reinforcement learning. (GAE
# has a discount, `gae_gamma` in our code; it is 1, so there is none.) Here is what happens if you confuse them:

# %%
from utils.losses import gae

rewards, values, every = torch.tensor([[0.0, 0.0, 0.0, 1.0]]), torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool)
for discount in (1.0, 0.5, 27.8):
    advantages, _ = gae(rewards, values, every, gamma=discount, lam=1.0)
    print(f"gamma {discount:g} given to GAE: advantages {[round(a, 3) for a in advantages[0].tolist()]}")

# %% [markdown]
# There is one reward at the end of four tokens. With a discount of 1, all four tokens get it. With a value below 1, such as a
# small gamma of Eq. 2, the first tokens get almost nothing. With the paper's 27.8, the first token gets thousands. Both run
# without an error.
#
# ### What gamma multiplies
#
# In each minibatch the gradient of PPO's loss is computed, then that of gamma times the loss on some pretraining rows, *into
# the same buffers*, and the optimizer takes one step for both (C.4). An example with one weight vector shows this:

# %%
weight = torch.tensor([1.0, -2.0], requires_grad=True)
ppo_loss, ptx_loss_value, gamma = (weight**2).sum(), weight.sum() * 3, 0.5

ppo_loss.backward()
(gamma * ptx_loss_value).backward()  # adds to weight.grad
by_hand = 2 * weight.detach() + gamma * 3
torch.testing.assert_close(weight.grad, by_hand)
print("gradient of both:", weight.grad.tolist())

# %% [markdown]
# So gamma weights two *gradients*. Which one dominates depends on the norm of each. We measure both for our models: with a
# round of episodes, and with rows of pretraining text as PPO-ptx samples them.

# %%
from utils.lessons import short_ppo
from utils.pipeline import pretraining_rows
from utils.ppo import draw_ptx_rows, load_ppo_models, policy_loss, ptx_loss, run_round

# %%
settings = short_ppo(cfg.ppo_ptx, rounds=20)  # the run's settings, but fewer rounds and so larger steps
actors, _ = load_ppo_models(paths["ppo_ptx"], lesson.model_dir("reward"))
encoded = lesson.sampler("ppo_ptx").encode_all([p.prompt for p in lesson.prompts("ppo")])
episodes = run_round(actors, encoded, 0, settings, lesson.setup)
pretraining = pretraining_rows(lesson, settings.ptx_length)
drawn = draw_ptx_rows(pretraining, settings.minibatch_size, settings, torch.Generator().manual_seed(cfg.seed))
print(f"a minibatch: {settings.minibatch_size} answers and {len(drawn)} rows of {drawn.shape[1]} web tokens")


# %% [markdown]
# Now we compute the gradient of each loss with respect to the same weights:


# %%
def gradient(loss):
    """The gradient of a loss with respect to all weights of the policy, as one vector."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(actors.policy.parameters()))])


batch = episodes[torch.arange(settings.minibatch_size)]
g_ppo = gradient(policy_loss(actors.policy, batch, settings)[0])
g_ptx = gradient(ptx_loss(actors.policy, drawn, actors.pad_id))
cosine = torch.nn.functional.cosine_similarity(g_ppo, g_ptx, dim=0)
print(
    f"length of PPO's gradient {g_ppo.norm():.2f}, of the pretraining loss's {g_ptx.norm():.2f}, cosine between them {cosine:+.2f}"
)

# %% [markdown]
# The cosine shows whether the two gradients point in the same direction (1), in opposite directions (-1), or are unrelated
# (near 0). Now the share that gamma gives to the pretraining text:

# %%
shares = {g: (g * g_ptx.norm() / g_ppo.norm()).item() for g in (0.0, settings.gamma_ptx, 1.0, 27.8)}
table([{"gamma": f"{g:g}", "length of the web part / length of PPO's part": share} for g, share in shares.items()])

# %% [markdown]
# > **Predict first (1).** The paper's gamma is 27.8 (C.4). The last line above says how much larger the pretraining gradient
# > would be than PPO's at this value here. What would such a run learn?
#
# 27.8 is right *for the authors' code*: their mean or sum over tokens, their whitening, their reward scale, their eight
# pretraining examples per episode. The paper does not describe all of these. Our gamma multiplies a mean per token of
# pretraining text, and the PPO loss is a mean per answer token. If one code base sums over tokens and another takes means, the
# same behavior needs another gamma (exercise 5). You can transfer the *balance* of the gradients, but not the value.
#
# ## Changing gamma and beta
#
# We make short PPO runs from the same start and reward model. They differ in one setting. `tax_sweep` trains each one and
# measures gold on validation prompts, pretraining loss and facts.
#
# > **Predict first (2).** When gamma grows from 0, how will the pretraining loss change, and how will gold change? Is there one
# > best value?

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
# Right: with pretraining text in the training, the loss falls towards the dotted line of the base. Left: the cost in gold. At
# 27.8, training is mostly on pretraining text, and PPO gains little gold. This is the trade-off: gamma reduces the pretraining
# loss at the cost of reward. The paper saw the same: with gamma, the validation reward falls while the benchmarks recover (E.6,
# Fig. 33).
#
# Each point is one run, so small differences between neighbors may be chance. `python scripts/sweep.py --part tax` has repeated
# it with more values of gamma and three seeds of PPO each; bars are 95 % intervals over the seeds:

# %%
import json

repeated = json.loads(Path("results/lessons/tax_sweep.json").read_text(encoding="utf-8"))
print("seeds", repeated["seeds"], "on", repeated["machine"])
picture(tax_figure(repeated["rows"], "gamma_ptx"))

# %% [markdown]
# Now we can separate chance from effect. The pretraining loss falls as gamma rises, with narrow intervals. Gold changes little
# up to gamma 1 (the intervals overlap), where the loss is already below that of PPO's start. Beyond this, gold falls fast. This
# is why the profile has gamma 1.
#
# > **Predict first (3).** There is a cheaper idea: no pretraining text, only a *larger beta*. The KL penalty keeps the policy
# > near its start, so it cannot forget. Does this reduce the tax?

# %%
picture(tax_figure(rows, "beta"))

# %% [markdown]
# A large beta prevents the tax that PPO would add, because it prevents PPO from learning. It cannot bring the loss *below* the
# dashed line of PPO's start: the tax of the start remains. In the paper, even a beta of 2, a hundred times their value, did not
# remove the regressions and greatly reduced the reward (E.6, Fig. 34).

# %%
columns = {
    "gold, temperature 1": "gold",
    "gold, greedy": "gold_greedy",
    "pretraining loss": "pretraining_loss",
    "facts": "facts",
}
names = {"model": "", "gamma_ptx": "gamma ", "beta": "beta "}
table(
    [{"run": f"{names[r['knob']]}{r['value']}"} | {c: r[k] for c, k in columns.items()} for r in rows], "All runs of the sweep"
)

# %% [markdown]
# The same numbers as a table, with greedy gold and facts. (The runs with different beta have gamma 0.)
#
# ### The two runs side by side
#
# PPO and PPO-ptx of the sweep, per round:

# %%
from utils.pipeline import Run
from utils.report import training_curves

labels = {
    "score": "reward model's score",
    "gold": "gold (points)",
    "kl_k1": "KL (nats a response)",
    "entropy": "entropy (nats per token)",
}
swept = Run(folder / "sweep", cfg)
place = {"ppo": f"gamma_ptx_0_{cfg.seed}", "ppo_ptx": f"gamma_ptx_{own:g}_{cfg.seed}"}
curves = {name: swept.metrics(path) for name, path in place.items()}
picture(training_curves(curves, *labels, labels=labels, xlabel="round", title="PPO and PPO-ptx"))

# %% [markdown]
# Both increase the reward model's score. Compare the KL: the pretraining text also limits how far the policy moves, in the
# direction of what pretraining taught.
#
# ### Gamma too large
#
# How does a policy answer that was trained with gamma 27.8? We give the same prompts to the shipped PPO-ptx policy and to this
# run of the sweep.

# %%
from utils.evaluation import judged
from utils.lessons import compared

shown = list({p.use_case: p for p in reversed(test_prompts)}.values())[:7]
far = Policy("gamma 27.8", folder / "sweep" / f"gamma_ptx_27.8_{cfg.seed}" / "model")
answers = {"ppo_ptx": judged(models["ppo_ptx"], shown, cfg, 1.0), "gamma 27.8": judged(far, shown, cfg, 1.0)}
table(compared(shown, answers), "The shipped PPO-ptx, and a run with the paper's gamma (gold points of 10)")

# %% [markdown]
# Nothing crashed, and the model still answers. But training was mostly on pretraining text, so little of PPO's gain is left. If
# you copy the number from the paper, you could conclude that PPO does not work. Check the balance of the gradients first.
#
# ## The closing comparison
#
# We compare all models of the course on the same test prompts. Their users were not part of any training or any choice. First
# gold, sampled and greedy, with one standard error.

# %%
from utils.evaluation import overview

everyone = {"base": models["base"], "prompted": Policy("prompted", paths["base"], prompted=True)}
everyone |= {name: models[name] for name in ("sft", "init", "ppo", "ppo_ptx")}
sampled = {name: judged(policy, test_prompts, cfg, 1.0) for name, policy in everyone.items()}
greedy = {name: judged(policy, test_prompts, cfg, 0.0) for name, policy in everyone.items()}
table(overview(sampled), "At temperature 1")

# %% [markdown]
# Again with the most likely token at every step, so that no model gains by being less random:

# %%
table(overview(greedy), "Greedy")

# %% [markdown]
# A standard error belongs to one number. To *compare* two models, take the difference for each prompt: hard prompts are hard
# for both models, and this part cancels (exercise 3).
#
# ### Win rates
#
# The paper's main numbers are win rates against SFT, judged by people, with 95 % intervals. Ours are judged by simulated
# *held-out* labelers. They produced no training data, and for them truth and harmlessness come first (B.2). A tie counts half.
#
# > **Predict first (4).** Which of these intervals will contain one half: base, prompted base, PPO's start, PPO, PPO-ptx, each
# > against SFT?

# %%
from utils.evaluation import labeler_win_rate

labelers = lesson.labelers("heldout")
won = {}
for name in ("base", "prompted", "init", "ppo", "ppo_ptx"):
    found = labeler_win_rate(name, "sft", sampled[name], sampled["sft"], test_prompts, labelers, cfg)
    (won[name],) = found.winrate.values()

# %%
ends = [[row[key] for row in won.values()] for key in ("mean", "low", "high")]
look = Look("policy", "preferred to SFT (share)", "Held-out simulated labelers", 0.5, "even")
picture(bars_with_intervals(list(won), *ends, look))

# %% [markdown]
# If an interval crosses the dashed line, we cannot say which model is better. Base and prompted base lose to SFT; the two PPO
# models win. Why not by more, when gold differs so clearly? Labelers are noisy (they agree about three times in four), a noisy
# judge moves every win rate towards one half, and ties count half.

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
# Compare each difference with zero. If its interval contains zero, it is not a finding, in either direction.
#
# ### What InstructGPT found, and what we see
#
# The left column has what the paper reports, the right column has this lesson's numbers, whatever they show.

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
    ("PPO loses on what pretraining taught (4.2)", f"pretraining loss over the base {tax['ppo']}, its start {tax['init']}"),
    ("PPO-ptx mitigates it (4.2)", f"pretraining loss over the base {tax['ppo_ptx']}"),
]
table([{"InstructGPT": paper, "here": ours} for paper, ours in findings])

# %% [markdown]
# This table cannot say whether *people* would agree, whether it is true at another size, and whether another seed would show
# the same. The first needs people. For the others, the repository's README has five seeds, and `results/tiny/ladder.txt` has
# three sizes.
#
# ## One more thing that goes wrong
#
# The pretraining loss is a fair test only if the text is *new*. PPO-ptx was trained on such text. Suppose we measure on the
# text that it was trained on:

# %%
some = pretraining[: few or 400]
seen = {
    name: {"read in training": pretraining_loss(loaded[name], some), "unseen": losses[name]}
    for name in ("base", "ppo", "ppo_ptx")
}
table([{"model": name} | row | {"difference": row["unseen"] - row["read in training"]} for name, row in seen.items()], digits=3)

# %% [markdown]
# Part of the difference comes from the other row length; the base shows how much. Compare the *differences* between the models.
# Such small models, trained on so much text, hardly memorize pages, so we see little here. With a large model and a small set
# of replayed text, the left column gets better and better while the right one does not. Only the right one is the tax.
#
# ## Exercises
#
# Replace the dots, run the cell, and read the check's message: it names the likely mistake. The executed solutions are in
# [solutions/05_ppo_ptx.ipynb](../solutions/05_ppo_ptx.ipynb).
#
# ### Exercise 1 (easy, 5 minutes): the objective
#
# Compute the value of Eq. 2 from three means: the score, the KL of an answer, and the loss per token of pretraining text.

# %% tags=["exercise"]
from utils.lessons import check_objective


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
# `choices` has one list per ending: the log-probs of its tokens. Return the index of the ending that the model chooses (App.
# D).

# %% tags=["exercise"]
from utils.lessons import check_picked


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
# We take the mean, so that a long ending has no disadvantage.
# </details>
#
# ### Exercise 3 (medium, 10 minutes): paired differences
#
# You get the gold points of two models on the same prompts. Return `[mean, standard error]` of a minus b. When it works, try it
# on `sampled["ppo"].golds` and `sampled["sft"].golds`.

# %% tags=["exercise"]
from utils.lessons import check_paired


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
# Compute the differences first, then their mean and standard error. Without pairing, the mean would be the same, but the
# standard error would be larger.
# </details>
#
# ### Exercise 4 (medium, 10 minutes): a win rate
#
# Return the share of prompts where a beats b. Differences of at most `tie` points are ties, which count half.

# %% tags=["exercise"]
from utils.lessons import check_win_rate


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
# Because ties count half, a against b and b against a add up to 1.
# </details>
#
# ### Exercise 5 (hard, 15 minutes): another code base's gamma
#
# Another code base *sums* the policy's loss over the tokens of an answer and adds `gamma` times the pretraining loss *summed*
# over the tokens of a row of pretraining text. Ours takes the *mean per token* of both. Which gamma must we set, so that the sum
# of both gradients has the same direction? An answer has `answer_tokens` tokens, a row has `web_tokens`.

# %% tags=["exercise"]
from utils.lessons import check_same_gamma


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
# A sum is the mean times the number of tokens: answer_tokens times (mean of the answer + gamma web_tokens / answer_tokens times
# mean of the row). The factor in front changes only the norm of the gradient, and Adam normalizes it.
# </details>
#
# **One exercise without a check.** Change `ptx_rows_per_episode` in `short_ppo(cfg.ppo_ptx, rounds=20, ...)`: the paper found
# that with fewer pretraining rows their loss rises, and that more rows cost time (E.11). First write down how the pretraining
# loss and the seconds will change.

# %% [markdown]
# ## The four predictions
#
# <details><summary>1: the paper's gamma</summary>
# It would learn mostly from the pretraining text. Its part of the gradient is much larger than PPO's part. The pretraining loss
# falls, and little is learned from the reward.
# </details>
# <details><summary>2: gamma</summary>
# The pretraining loss falls as gamma rises. Beyond a small value, gold falls too. No value is best for both: it is a trade-off,
# and you have to choose.
# </details>
# <details><summary>3: beta</summary>
# It prevents new tax by preventing learning. It does not reduce the tax of the start.
# </details>
# <details><summary>4: win rates</summary>
# Base and prompted base are below one half, and both PPO models are above. PPO's start is a short SFT itself, so it is closest
# to one half.
# </details>

# %% [markdown]
# ## InstructGPT and this lesson
#
# | | InstructGPT | here | why |
# |---|---|---|---|
# | gamma | 27.8, on pretraining gradients | `cfg.ppo_ptx.gamma_ptx`, on the mean loss per token of pretraining text | other code, other balance |
# | pretraining rows per episode | 8 | `ptx_rows_per_episode`, less than one | our rows are longer than our answers; time |
# | pretraining text | from GPT-3's training set | from our bases' made-up documents | the same idea |
# | both gradients, one step | in the same buffers (C.4) | the same | |
# | tax measured by | public tasks: SQuADv2, DROP, HellaSwag, translation (4.2) | unseen pretraining text, facts as multiple choice | tiny models are at chance on public tasks |
# | sweep of gamma, beta | 1.3B (E.6, E.7) | short runs: one seed in this lesson, three in `results/` | minutes on a CPU |
# | reference of the KL in the beta sweep | the pretrained GPT; the start is said to be similar (4.2) | PPO's start | one reference everywhere |
# | comparison | people, win rate against 175B SFT | simulated held-out labelers, against our SFT | no people needed |
# | which SFT is compared | chosen by reward score | the last epoch that is shipped | only three checkpoints are shipped |
#
# ## What is saved, and what comes next
#
# `runs/notebook_05/sweep` has a policy and its `metrics.jsonl` for every run of the sweep. `runs/notebook_05/tax_sweep.json`
# has their results with settings, machine and versions.
#
# This was the last training stage. You have now seen all of Figure 2 of the paper. You can continue here:
#
# - The whole pipeline in one go is notebook [00](00_start_here.ipynb), or `python scripts/pipeline.py --profile tiny`.
# - The same on GPT-2 and with your own data: lesson [08](08_real_gpt2.ipynb), and the [README](../README.md).
# - In the code: [`utils/ppo/train.py`](../utils/ppo/train.py), [`utils/evaluation/`](../utils/evaluation/policies.py), and [paper to code](../docs/paper-map.md).
