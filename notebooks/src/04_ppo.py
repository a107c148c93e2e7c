# %% [markdown]
# # 04 · PPO: more reward, on a leash
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/04_ppo.ipynb)
#
# An imitator is at most as good as what it imitates. With a reward model we can do something else: let the policy answer in its
# own words, score what it said, and make the better answers likelier. This is step 3 of InstructGPT
# ([sec. 3.5 and C.4](https://arxiv.org/abs/2203.02155)). The algorithm is PPO. It looks like a lot of machinery; here we put it
# together piece by piece, each piece first by hand on a few numbers, and then take it apart again by breaking it on purpose.
#
# | | |
# |---|---|
# | **Reading** | about 45 minutes, with the exercises about 90 |
# | **Running** | less than four minutes on two CPU cores; no GPU, no download of models or data |
# | **Outputs made on** | a two-core CPU; the first cell's output names device and versions |
# | **You need** | Python, a little PyTorch, what a log-probability is. No reinforcement learning |
# | **You will be able to** | derive the policy gradient of a bandit; compute KL penalty, advantage and clipped loss by hand; read the curves of a PPO run; say what beta does before you turn it; find the usual bugs by their symptoms |
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

picture(pipeline_map("ppo"))

# %% [markdown]
# Two things come in: a policy that can already answer (a short SFT with some web text mixed in, which we call *PPO's start*, C.3)
# and a reward model that gives any answer one number. No labeler is asked any more. This lesson starts from a finished run that
# comes with the repository.

# %%
from utils.lessons import fast, run_folder, shipped, table
from utils.pipeline.data_stages import init_dir, load_set

lesson = shipped()
cfg, folder = lesson.config, run_folder("notebook_04")
few = 24 if fast() else None  # FAST=1 is for tests: the same lesson on a few rows
prompts, test_prompts = load_set(lesson, "ppo"), load_set(lesson, "test")[: few or 300]
print(len(prompts), "prompts for PPO, no answers with them. The first:", prompts[0].prompt)

# %% [markdown]
# ## The environment is a bandit
#
# In games, reinforcement learning means many moves with rewards in between. Here it is simpler: a prompt comes, the policy gives
# *one* answer, gets *one* number for it, and the episode is over. That is a *bandit* (3.5). Four models take part:

# %%
from utils.data import encode_prompt
from utils.ppo import load_ppo_models

actors, tokenizer = load_ppo_models(init_dir(lesson), lesson.path("reward") / "model")
encoded = [encode_prompt(tokenizer, p.prompt, cfg.data) for p in prompts]

roles = {"policy": "answers; is trained", "reference": "PPO's start, frozen; the leash is tied to it"}
roles |= {"reward": "the reward model, frozen; scores whole answers", "value": "starts as the reward model; is trained"}
table([{"model": name, "what it does": role} for name, role in roles.items()])

# %% [markdown]
# Let the policy answer one prompt many times, and let the reward model score each answer. The three best and the three worst:

# %%
from utils.ppo import reward_scores
from utils.sampling import episode_uniforms, sample

ends = {"stop_ids": actors.stops, "pad_id": actors.pad_id, "max_new_tokens": cfg.data.max_response_tokens}
draws = sample(actors.policy, [encoded[0]] * 64, episode_uniforms(range(64), cfg.data.max_response_tokens), **ends)
scores = reward_scores(actors.reward, draws, actors.stops, actors.eos_id)
told = [{"answer": tokenizer.decode(ids).strip(), "reward": float(x)} for ids, x in zip(draws.responses(), scores, strict=True)]
told.sort(key=lambda row: -row["reward"])
table([*told[:3], *told[-3:]], prompts[0].prompt)

# %% [markdown]
# Same prompt, different answers, different rewards. The policy can already say what the judge likes better, only not often enough. Nobody tells it *which word* was
# wrong; it learns only that this answer was worth more than that one. (And "best" is what the reward model likes best. It need not be right.) Reward 0 is "as good as a labeler's demonstration".
#
# ## The policy gradient, with three answers
#
# **The idea.** Draw an answer. If it was better than expected, push its log-probability up; if worse, push it down. In the mean
# this climbs the expected reward $J$:
#
# $$\nabla_\theta\, J = \mathbb{E}_{y \sim \pi_\theta}\big[\,(r(y) - b)\; \nabla_\theta \log \pi_\theta(y)\,\big]$$
#
# Suppose that there are only three answers, with logits `theta`. Then the true gradient is a derivative that autograd can take,
# and we can see if the formula, estimated from samples, agrees.

# %%
import torch

theta = torch.zeros(3, requires_grad=True)  # three answers, equally likely at first
reward = torch.tensor([0.0, 1.0, 5.0])
(exact,) = torch.autograd.grad((theta.softmax(0) * reward).sum(), theta)

drawn = torch.randint(3, (20_000,), generator=torch.Generator().manual_seed(0))
score_function = torch.nn.functional.one_hot(drawn, 3) - theta.softmax(0).detach()  # the gradient of log pi(drawn)
no_baseline = reward[drawn][:, None] * score_function
baseline = (reward[drawn] - reward.mean())[:, None] * score_function

# %%
torch.testing.assert_close(no_baseline.mean(0), exact, atol=0.1, rtol=0)
torch.testing.assert_close(baseline.mean(0), exact, atol=0.1, rtol=0)
kinds = {"without baseline": no_baseline, "baseline: mean reward": baseline}
rows = [{"estimate": "exact", "first answer": exact[0].item(), "last answer": exact[2].item()}]
for name, found in kinds.items():
    mean, noise = found.mean(0), found.std(0)[2].item()
    rows.append({"estimate": name, "first answer": mean[0].item(), "last answer": mean[2].item(), "noise of one draw": noise})
table(rows, digits=3)

# %% [markdown]
# Both estimates agree with the exact gradient (the asserts hold them to it): up with the last answer, down with the first. The
# *baseline* $b$ changes nothing in the mean, but it makes one draw less noisy. Without it every answer with a positive reward is
# pushed up, also the bad ones, only less. "Better than expected" needs an expectation: that is what the **value model** is for.
#
# ## One round of episodes
#
# For answers of many tokens we need the same three things at every token: how likely it was, what it cost, and what was expected.
# `run_round` takes the next prompts, samples one answer each, and lets all four models read them.

# %%
from utils.lessons import short_ppo
from utils.ppo import experience_metrics, run_round

settings = short_ppo(cfg.ppo, rounds=24)  # the run's settings, but fewer rounds and so larger steps
experience = run_round(actors, encoded, 0, settings, cfg.data.max_response_tokens, cfg.seed)
rollout, mask = experience.rollout, experience.rollout.response_mask
print("answers, tokens:", tuple(mask.shape), "| a token's log-prob, on average:", f"{rollout.logprobs[mask].mean():.2f} nats")

# %% [markdown]
# `mask` says which places are tokens of an answer; short answers are padded. Next: what is paid.
#
# ## The leash: a KL penalty at every token
#
# **The idea.** A reward model is right about answers like those it was trained on. So the policy pays for moving away from its
# start: at each token, beta times how much likelier it made that token than the reference does (Eq. 2). The score is paid once, at
# the last token.
#
# $$r_t = -\beta\,\big(\log \pi(y_t) - \log \pi_{\text{ref}}(y_t)\big) \;+\; [t = \text{last}]\; r(x, y)$$

# %%
from utils.losses import kl_shaped_rewards

own, ref = torch.tensor([[-0.2, -1.0, -0.1]]), torch.tensor([[-0.6, -0.9, -0.1]])  # log-probs of three tokens
every = torch.ones(1, 3, dtype=torch.bool)
paid = kl_shaped_rewards(torch.tensor([1.5]), own, ref, every, beta=0.1)
torch.testing.assert_close(paid, torch.tensor([[-0.1 * 0.4, 0.1 * 0.1, 1.5]]))
print("paid at each token:", [round(value, 3) for value in paid[0].tolist()])

# %% [markdown]
# The first token got likelier than the reference makes it: a fine. The second less likely: a small refund. The third is equally
# likely and gets the score. Summed over an answer, the log-ratios are an estimate of the *KL divergence* of the policy from its
# start. There is more than one such estimate.
#
# ### Three ways to measure a KL
#
# With four possible tokens the KL can be computed exactly, $\sum_y \pi(y) \log \frac{\pi(y)}{\pi_{\text{ref}}(y)}$. From samples
# alone there are *k1*, the mean log-ratio, and *k3*, the mean of $e^d - 1 - d$ with $d = \log \pi_{\text{ref}} - \log \pi$.

# %%
from utils.losses import kl_k1, kl_k3
from utils.sampling import sample_tokens

policy_probs, ref_probs = torch.tensor([0.5, 0.3, 0.15, 0.05]), torch.tensor([0.55, 0.34, 0.1, 0.01])
exact = float((policy_probs * (policy_probs / ref_probs).log()).sum())
uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(0))


def estimates(top_k=None):
    """Mean k1 and k3, and the noise of one draw, from tokens that the sampler of this package chooses."""
    tokens, _ = sample_tokens(policy_probs.log().repeat(len(uniforms), 1), uniforms, 1.0, top_k)
    own, ref = (probs.log()[tokens][:, None] for probs in (policy_probs, ref_probs))
    found = {"k1": kl_k1, "k3": kl_k3}
    draws = {name: kl(own, ref, torch.ones_like(own, dtype=torch.bool)) for name, kl in found.items()}
    return [{"estimate": name, "mean": d.mean().item(), "noise of one draw": d.std().item()} for name, d in draws.items()]


# %%
right = estimates()
for row in right:
    assert abs(row["mean"] - exact) < 0.01
table([{"estimate": "exact", "mean": exact, "noise of one draw": 0.0}, *right], digits=4)

# %% [markdown]
# Both find the exact value. k3 is never negative, and on this small example it is the less noisy one. So why does the penalty use k1?
# Because of the *gradient*. A penalty inside the reward is a constant to the policy gradient, which multiplies it with
# $\nabla \log \pi$. With k1 the mean of that product is just the gradient of the KL, since $\mathbb{E}[\nabla \log \pi] = 0$; with k3 a
# term is lost. k3 is for looking.
#
# > **Predict first (1).** Many samplers draw only among the k likeliest tokens (*top-k*). We draw with `top_k=2` and compute k1 as
# > before. What will happen to an estimate of something that cannot be negative?

# %%
cut = estimates(top_k=2)
assert cut[0]["mean"] < 0
table([{"estimate": "exact", "mean": exact}, *cut], "Drawn with top-k = 2", digits=4)

# %% [markdown]
# k1 is **below zero**: a negative KL. The two likeliest tokens are those that this policy made *less* likely; what it made likelier,
# the tail, is never drawn. Training would now be *paid* for leaving the reference. The cure is not a clamp. It is to sample from the
# distribution that is scored: no top-k, no top-p, temperature 1 in both places. `sample` in PPO does just that.
#
# ### The same on real answers
#
# How far has the shipped PPO policy moved from its start? At each place both models give a probability to every token of the
# vocabulary, so the KL *of that step* can be summed exactly.

# %%
from utils.lessons import token_texts, token_view
from utils.report import TokenRow
from utils.sampling import join, selected_logits

trained = load_ppo_models(lesson.path("ppo") / "model", lesson.path("reward") / "model")[0]
looked_at = [encode_prompt(tokenizer, p.prompt, cfg.data) for p in test_prompts]
answers = sample(trained.policy, looked_at, episode_uniforms(range(len(looked_at)), cfg.data.max_response_tokens), **ends)
parts = (answers.prompt_ids, answers.prompt_mask, answers.response_ids, answers.response_mask)

# %%
from utils.sampling import response_logprobs

ids, attention, targets = join(*parts)
before = torch.zeros_like(targets)
before[:, :-1] = targets[:, 1:]  # the places whose logits predict the tokens of the answers
with torch.no_grad():
    new, old = (selected_logits(m, ids, attention, before).log_softmax(-1) for m in (trained.policy, actors.reference))
    ref_logprobs = response_logprobs(actors.reference, *parts)
step_kl = (new.exp() * (new - old)).sum(-1)

# %%
from utils.evaluation import mean_se

seen = answers.response_mask
found = {"k1": kl_k1(answers.logprobs, ref_logprobs, seen), "k3": kl_k3(answers.logprobs, ref_logprobs, seen)}
found["exact at each step"] = torch.zeros(len(answers)).index_add(0, seen.nonzero()[:, 0], step_kl)
rows = [{"KL of an answer (nats)": name, **mean_se(values.tolist())._asdict()} for name, values in found.items()]
table([{**row, "se": f"{row['se']:.2f}"} for row in rows], "The shipped PPO policy against its start")

# %% [markdown]
# Three estimates of one number; compare them with their standard errors (`se`). The exact one is exact at each step, but which steps
# are visited is still drawn. Where in an answer does the policy differ? Orange: likelier than at the start, blue: less likely.

# %%
ratio = answers.logprobs - ref_logprobs
strips = [
    TokenRow(f"sum {found['k1'][i]:.1f}", token_texts(tokenizer, answers.responses()[i]), ratio[i][seen[i]].tolist())
    for i in range(6)
]
token_view(strips, "log pi - log ref (nats)")

# %% [markdown]
# The answers to the first test prompts, each with its log-ratios summed at the left. Much is nearly white: there both models agree on how
# a sentence goes on. The leash pulls at a few *decisions*, where the policy now prefers another word than the start did. (Rest the pointer
# on a token to read its number.)
#
# ## Value and advantage
#
# The reward comes at the end. Which token earned it? The value model estimates at each token what is still to come, $V_t$. A
# token that makes things look better than before is credited:
#
# $$\delta_t = r_t + V_{t+1} - V_t \qquad A_t = \delta_t + \lambda\, \delta_{t+1} + \lambda^2 \delta_{t+2} + \dots$$
#
# This is *GAE*, generalised advantage estimation, without discount (C.4; the paper does not report $\lambda$). Three tokens by hand:

# %%
from utils.losses import gae

rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.4, 0.7, 0.2]])
delta = [0.0 + 0.7 - 0.4, 0.0 + 0.2 - 0.7, 1.0 + 0.0 - 0.2]  # after the last token nothing is left: V = 0
for lam in (0.0, 0.5, 1.0):
    by_hand = [delta[0] + lam * delta[1] + lam**2 * delta[2], delta[1] + lam * delta[2], delta[2]]
    advantages, returns = gae(rewards, values, every, gamma=1.0, lam=lam)
    torch.testing.assert_close(advantages, torch.tensor([by_hand]))
    print(f"lambda {lam:.1f}: advantages {[round(a, 2) for a in by_hand]}")

# %% [markdown]
# With lambda 0 each token gets only its own surprise; it trusts the value model. With 1 each token gets all that came after it; it
# trusts the one draw, whatever luck was in it. We use 0.95.
#
# ### The value model has to learn first
#
# It starts as the reward model, which was trained to read *finished* answers. In the middle of one it is guessing. So the first
# rounds train it alone (our addition; the paper starts both at once).

# %%
from dataclasses import replace

from utils.lessons import quiet
from utils.ppo import start_loop, update_round

alone = replace(settings, rounds=settings.value_warmup_rounds)
loop, average = start_loop(folder / "value", actors, alone, cfg.seed)
explained = []
with quiet():
    for round_ in loop:
        experience = run_round(actors, encoded, round_, alone, cfg.data.max_response_tokens, cfg.seed)
        explained.append(experience_metrics(experience)["explained_variance"])
        loop.log(round_, **update_round(loop, actors, average, experience, round_, alone, cfg.seed, ptx_rows=None))
    loop.finish()
experience = run_round(actors, encoded, alone.rounds, alone, cfg.data.max_response_tokens, cfg.seed)
explained.append(experience_metrics(experience)["explained_variance"])
print("explained variance of the returns, round by round:", [round(e, 2) for e in explained])

# %% [markdown]
# *Explained variance* is 1 for a perfect value model and 0 for one that says the same always. After a few rounds it knows most of
# what can be known before an answer is finished. Now look at one good and one bad answer through its eyes.

# %%
pick = [int(experience.scores.argmax()), int(experience.scores.argmin())]
texts = [token_texts(tokenizer, experience.rollout.responses()[i]) for i in pick]
lengths = [len(text) for text in texts]
names = [f"score {experience.scores[i]:.1f}" for i in pick]


def strip(field):
    return [
        TokenRow(n, t, getattr(experience, field)[i, :k].tolist())
        for n, t, i, k in zip(names, texts, pick, lengths, strict=True)
    ]


for name, i in zip(names, pick, strict=True):
    print(name, "for the prompt:", tokenizer.decode(experience.rollout.prompts()[i]).strip())
token_view(strip("values"), "value before the token")

# %% [markdown]
# The two prompts, and their answers coloured by what is *expected* before each token is chosen. At the first token only the prompt is known.
# Then the expectation moves with every word, most where a word decides how the answer will turn out. The advantages are what is left to
# learn:

# %%
token_view(strip("advantages"), "advantage (whitened)")

# %% [markdown]
# Orange tokens will be made likelier, blue ones less likely. In the bad answer the colour is strongest at the words that decided the
# score. In the good one it is strong all along: the value model expected less to the very end, and with a lambda near 1 each token
# gets a share of that late surprise. (Whitened: shifted and scaled to mean 0 and variance 1 over the round, so that the size of a
# step does not depend on the scale of rewards.)
#
# ### What the value model learns
#
# Its target at each token is the *return*: what it said, corrected by the advantage before whitening,
# $R_t = A_t + V_t$. The loss is a squared error, clipped like the policy's: what counts is the larger of the error and of the error after
# a step of at most $\epsilon$ from the value $V_t^{\text{old}}$ that was said while sampling.
#
# $$\text{loss}_V = \tfrac{1}{2}\,\text{mean of } \max\big((V_t - R_t)^2,\; (V_t^{\text{old}} + \text{clip}(V_t - V_t^{\text{old}}, -\epsilon, \epsilon) - R_t)^2\big)$$
#
# Two tokens by hand. The first has jumped from 0.4 to its target 1.0 in one step, and is charged as if it stood at 0.6: it earns nothing
# by jumping. The second has not moved.

# %%
from utils.losses import ppo_value_loss

now, then, earned = torch.tensor([[1.0, 0.5]]), torch.tensor([[0.4, 0.5]]), torch.tensor([[1.0, 1.0]])  # V, V old, R
by_hand = 0.5 * (max((1.0 - 1.0) ** 2, (0.6 - 1.0) ** 2) + (0.5 - 1.0) ** 2) / 2
charged = ppo_value_loss(now, then, earned, torch.ones(1, 2, dtype=torch.bool), 0.2)
torch.testing.assert_close(charged, torch.tensor(by_hand))
print(f"by hand {by_hand:.4f}, utils.losses.ppo_value_loss {charged:.4f}")

# %% [markdown]
# (In the rounds in which it learns alone the clip is off: it has far to go.)
#
# ## The clipped step
#
# **The idea.** The samples came from the old policy, and after one step the policy is another. The ratio
# $\rho = \pi_{\text{new}} / \pi_{\text{old}}$ corrects for it, as long as it stays near 1. PPO stops rewarding moves beyond
# $1 \pm \epsilon$, with $\epsilon = 0.2$ as in the paper:
#
# $$\text{loss} = \text{mean of } \max\big(-A\rho,\; -A\,\text{clip}(\rho, 1 - \epsilon, 1 + \epsilon)\big)$$
#
# > **Predict first (2).** Draw the loss of one token against $\rho$, once for $A = 1$ and once for $A = -1$. Each curve has one flat
# > part. On which side of 1?

# %%
from utils.losses import ppo_policy_loss
from utils.report import lines

one = torch.ones(1, 1, dtype=torch.bool)


def token_loss(rho, advantage):
    loss, _ = ppo_policy_loss(torch.tensor([[rho]]).log(), torch.zeros(1, 1), torch.tensor([[advantage]]), one, clip=0.2)
    return float(loss)


assert abs(token_loss(1.5, 1.0) + 1.2) < 1e-6 and abs(token_loss(1.5, -1.0) - 1.5) < 1e-6
rhos = [0.4 + 0.1 * i for i in range(13)]
curves = {"advantage +1": [token_loss(r, 1.0) for r in rhos], "advantage -1": [token_loss(r, -1.0) for r in rhos]}
picture(lines(rhos, curves, "ratio new / old", "loss of one token", "Where PPO stops pushing"))

# %% [markdown]
# A good token ($A = 1$) is pushed up until it is 20 % likelier; from there the curve is flat, the gradient zero, and it gets no more
# from this round. A bad one is pushed down to 20 % less. On the *other* sides nothing is flat: a good token that has become less likely
# by accident is always pulled back. That is why there is a maximum in the formula and not only a clip.
#
# ## A PPO run
#
# Everything together:
#
# ```text
# for each round:
#     sample one answer to each of 256 prompts; keep its log-probs and values
#     score it, pay the penalty at each token          (kl_shaped_rewards)
#     advantages and returns, then whiten advantages   (gae, whiten)
#     for each minibatch of 64 answers, shuffled:
#         policy: clipped loss, gradient cut to norm 1, one Adam step
#         average = decay * average + (1 - decay) * policy
#         value model: clipped squared error, gradient cut to norm 1, one Adam step
# saved and evaluated: the average
# ```
#
# The *average of the weights* forgets slowly what single noisy steps did (C.4; decay 0.992 a step there). `train_policy` does all this,
# and asks gold of the average now and then, for the curve only.
#
# > **Predict first (3).** Over the rounds, which way will go: the reward model's score, gold, the KL to the start, and the entropy (how
# > undecided the policy is at each token)?

# %%
from utils.pipeline.training_stages import train_policy

with quiet():
    metrics = train_policy(lesson, folder / "ppo", settings)

# %%
from utils.report import training_curves

labels = {
    "score": "reward model's score", "gold": "gold (points)", "kl_k1": "KL (nats a response)", "entropy": "entropy (nats a token)",
    "explained_variance": "explained variance", "value_loss": "value loss",
}  # fmt: skip
picture(training_curves(metrics, *labels, labels=labels, xlabel="round", title="PPO"))

# %% [markdown]
# In the first rounds only the value model learns, and nothing else moves. Then the score climbs, and gold, which the training never
# sees, rises too. The KL grows: this is what the reward costs. The entropy falls: the policy becomes surer. Curves jump from round
# to round, because each round has other prompts.
#
# Two more numbers to look at in every run, before anything else:

# %%
updates = [row for row in metrics if "first_ratio" in row]
print("ratio at the first minibatch of each round:", sorted({round(row["first_ratio"], 3) for row in updates}))
print("largest share of clipped tokens:", f"{max(row['clip_fraction'] for row in updates):.3f}")

# %% [markdown]
# Before any update the policy *is* the one that sampled, so the ratio must be 1 to rounding. If it is not, sampling and training
# disagree about something: temperature, padding, positions, dropout, top-k. And few tokens are clipped: with one pass over each round,
# as in the paper, the clip is a safety belt that is rarely needed.
#
# ## Before and after
#
# The same prompts, the same random numbers. The first test prompt of each use case:

# %%
from utils.evaluation import Policy, judged
from utils.lessons import compared

shown = list({p.use_case: p for p in reversed(test_prompts)}.values())
paths = {"init": init_dir(lesson), "ppo": folder / "ppo" / "model"}
table(
    compared(shown, {n: judged(Policy(n, path), shown, cfg, 1.0) for n, path in paths.items()}),
    "Before and after (gold points of 10)",
)

# %% [markdown]
# Ten rows, some better, some worse: single draws at temperature 1 differ by more than PPO's gain, so a table like this can show what the
# answers look like, not whether they improved. For that, hundreds of prompts are asked below. Look for what PPO changed: the niceties
# that labelers like, the thing that was asked for. And look for what it did not: PPO can make likelier only what the start says now and then; a fact that it never
# says is never rewarded.
#
# ### Learning or sharpening?
#
# PPO lowered the entropy. A policy that is only *surer* also looks better at temperature 1, because it makes fewer unlucky draws. But
# sharpening is to be had for nothing, by a lower temperature.
#
# > **Predict first (4).** We ask both at temperatures 1, 0.7, 0.4 and 0 (always the likeliest token). Where is PPO's lead largest? What
# > would it mean if it were zero at 0?

# %%
from utils.evaluation import paired_difference

heats = [0.0, 1.0] if fast() else [0.0, 0.4, 0.7, 1.0]
asked = {n: [judged(Policy(n, path), test_prompts, cfg, t) for t in heats] for n, path in paths.items()}
golds = {name: [mean_se(found.golds).mean for found in each] for name, each in asked.items()}
picture(lines(heats, golds, "temperature", "gold (points)", "Learning or sharpening?"))

# %% [markdown]
# Both are lower at temperature 1 than at 0. The distance between them, prompt by prompt:

# %%
for heat, first, then in zip(heats, asked["init"], asked["ppo"], strict=True):
    gain = paired_difference(then.golds, first.golds)
    print(f"temperature {heat:.1f}: PPO minus its start {gain.mean:+.2f} ± {gain.se:.2f} gold points (standard error)")

# %% [markdown]
# Cooling lifts *both*, and for nothing. Whoever compares a cool PPO with a sampled start counts that as PPO's doing. At equal temperature the
# comparison is fair, and at 0 no sharpening is left to be had: a lead there, larger than about two standard errors, is *learning*, other
# answers and not only surer ones. A report that shows one temperature cannot tell the two apart.
#
# ## Turning beta
#
# > **Predict first (5).** The same run with a penalty twenty times as large; one with no penalty and larger steps; and, so that we know
# > which of the two it was, one with the larger steps and the usual penalty. (The two with larger steps keep no average of the weights:
# > we want to see the policy itself.) For each: what will score, KL and gold do?

# %%
tight = replace(settings, beta=20 * settings.beta)
steps = replace(settings, learning_rate=1e-3, ema_decay=0.0, eval_every_rounds=2)
loose = replace(steps, beta=0.0)
tried = {f"beta {tight.beta:g}": tight, f"beta {steps.beta:g}, large steps": steps, "beta 0, large steps": loose}

# %%
runs = {f"beta {settings.beta:g}": metrics}
with quiet():
    for number, (name, changed) in enumerate(tried.items()):
        runs[name] = train_policy(lesson, folder / f"beta_{number}", changed)

# %%
shown_labels = {key: labels[key] for key in ("score", "gold", "kl_k1", "entropy")}
picture(training_curves(runs, *shown_labels, labels=shown_labels, xlabel="round", title="Beta"))

# %% [markdown]
# On a tight leash the KL stays small and the score gains least: the policy may not go where the reward is. With large steps on the
# usual leash the KL is bounded, at about twice that of small steps, and gold ends about where it began. Without the leash the same
# steps let the KL run away, and all that distance buys no more *score* than the leashed run with small steps has. And gold? Against
# the KL it is easier to see:

# %%
from utils.experiments import over_kl
from utils.report import overoptimisation

picture(overoptimisation(over_kl(runs["beta 0, large steps"])))

# %% [markdown]
# The proxy, which training maximises, ends far above where it began. Gold rises at first and then turns, to below where it began:
# **over-optimisation**. The policy has
# left the region where the reward model was trained, and found answers that it likes and nobody wants. Which ones?

# %%
both = {"ppo": folder / "ppo" / "model", "beta 0": folder / "beta_2" / "model"}
table(
    compared(shown[:6], {n: judged(Policy(n, path), shown[:6], cfg, 1.0) for n, path in both.items()}),
    "With a leash and without (gold points of 10)",
)

# %% [markdown]
# Nothing in the loss says "do not repeat yourself" or "stay with the question"; the reference said it, and its voice has been turned
# off. The paper found the same at its scale: KL coefficient 0 is poor (E.7).
#
# ## What goes wrong, on purpose
#
# Beta 0 was a wrong *setting*. Wrong *code* is harder to find, because nothing stops. Three bugs, and what they look like.
#
# ### Bug 1: log-probs read one place late
#
# The logits *at* a token predict the *next* one. Read them one place late and each token is asked about itself.

# %%
from utils.losses import token_logprobs

with torch.no_grad():
    logits = {"as it should be": before, "one place late": targets}
    read = {
        n: token_logprobs(selected_logits(trained.policy, ids, attention, keep), ids[targets]) for n, keep in logits.items()
    }
sampled = answers.logprobs[seen]
rows = [
    {"logits": n, "mean log-prob": lp.mean().item(), "mean ratio to sampling": (lp - sampled).exp().mean().item()}
    for n, lp in read.items()
]
table(rows)

# %% [markdown]
# Shapes fit, losses fall, and all of it is about the wrong tokens. The ratio gives it away at once: it is not 1 before the first update.
# Write that assert into your own loop.
#
# ### Bug 2: the end token does not count
#
# A mask that is True for the *words* only. Then the score, which is paid at the last counted token, moves one place forward, and the
# choice to stop is neither paid nor learned.

# %%
longer = seen & (seen.sum(1, keepdim=True) > 1)
last = longer.sum(1, keepdim=True) - 1
no_end = longer & (torch.arange(longer.shape[1]) != last)
i = int(answers.finished.float().argmax())
masks = {"end counts": seen, "end left out": no_end}
paid = {
    n: kl_shaped_rewards(torch.ones(len(answers)), answers.logprobs, ref_logprobs, m, settings.beta)[i][seen[i]]
    for n, m in masks.items()
}
strips = [TokenRow(n, token_texts(tokenizer, answers.responses()[i]), values.tolist()) for n, values in paid.items()]
token_view(strips, "paid at the token (a score of 1)")

# %% [markdown]
# The symptom is not in the loss but in the samples: `finished` no longer improves, or answers get longer and longer. What about the reward
# model: does it see the end? Score finished answers with and without their last token:

# %%
from utils.data import reward_input
from utils.sampling import reward_at_end

whole = [i for i in range(len(answers)) if answers.finished[i] and seen[i].sum() > 1]
with torch.no_grad():
    full = [reward_input(answers.prompts()[i], answers.responses()[i], actors.stops, actors.eos_id) for i in whole]
    gap = reward_at_end(actors.reward, full) - reward_at_end(actors.reward, [row[:-1] for row in full])
print(f"reward with the end token minus without it: mean {gap.mean():+.2f}, from {gap.min():+.2f} to {gap.max():+.2f}")

# %% [markdown]
# Two different numbers for the same words. A reward model reads the answer *at its end token*; elsewhere it was never trained to be right.
# An answer that was cut off has no end token, and is read at its last word. That it can tell the two apart is how a policy learns to finish.
#
# ### Bug 3: the reference is the policy
#
# One line, `reference = policy` instead of a copy, and the leash is tied to the dog.

# %%
with torch.no_grad():
    same = response_logprobs(trained.policy, *parts)
k1 = {"its start": found["k1"], "itself": kl_k1(answers.logprobs, same, seen)}
table(
    [{"reference": name, "KL of an answer (k1)": round(float(values.mean()), 4) + 0.0} for name, values in k1.items()], digits=3
)

# %% [markdown]
# A KL of zero *after* training is not good news. It must be zero before the first update and above zero afterwards.
#
# | what you see | look at |
# |---|---|
# | first ratio is not 1 | shift by one, temperature, dropout, padding and positions |
# | KL below 0, round after round | top-k or top-p in the sampler, dropout in one of the two models |
# | KL exactly 0 after updates | the reference shares its weights with the policy |
# | answers get longer, fewer end | mask of the end token; the reward model reads the last word instead of the end |
# | score up, gold (or people) down | beta too small, or a reward model that never saw such answers |
# | nothing moves | beta too large, learning rate, rounds in which only the value model is trained |
# | score jumps and falls | explained variance near 0: the value model has not learned |
#
# ## Exercises
#
# Replace the dots, run the cell, read what the check says: it names the likely mistake. The solutions, run, are in
# [solutions/04_ppo.ipynb](../solutions/04_ppo.ipynb).
#
# ### Exercise 1 (easy, 5 minutes): what counts of an answer
#
# `ids` are the token ids that a sampler returned, with padding behind the end; `end` is the id of the end token. Return a list of
# zeros and ones. An answer that was cut off has no end token.

# %% tags=["exercise"]
from utils.lessons.exercises.ppo import check_response_mask


def response_mask(ids, end):
    return ...


print(check_response_mask(response_mask))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def response_mask(ids, end):
#     n = ids.index(end) + 1 if end in ids else len(ids)
#     return [1] * n + [0] * (len(ids) - n)
# ```
# Up to and *with* the end token: stopping is a choice too, and it is paid for.
# </details>
#
# ### Exercise 2 (easy, 5 minutes): two estimates of the KL
#
# The log-probs of one answer's tokens under policy and reference. Return `[k1, k3]`, each summed over the tokens.

# %% tags=["exercise"]
from utils.lessons.exercises.ppo import check_kl_estimates


def kl_estimates(logprobs, ref_logprobs):
    return ...


print(check_kl_estimates(kl_estimates))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def kl_estimates(logprobs, ref_logprobs):
#     d = [ref - own for own, ref in zip(logprobs, ref_logprobs, strict=True)]
#     return [-sum(d), sum(math.exp(x) - 1 - x for x in d)]
# ```
# k1 of one answer may be negative; k3 may not, because $e^d \ge 1 + d$.
# </details>
#
# ### Exercise 3 (middling, 10 minutes): the clipped loss
#
# The loss of one token from its ratio, its advantage and the clip.

# %% tags=["exercise"]
from utils.lessons.exercises.ppo import check_token_loss


def token_loss(ratio, advantage, clip):
    return ...


print(check_token_loss(token_loss))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def token_loss(ratio, advantage, clip):
#     clipped = min(max(ratio, 1 - clip), 1 + clip)
#     return max(-advantage * ratio, -advantage * clipped)
# ```
# The larger of two losses is the more pessimistic one: the clip never makes a move look better than it is.
# </details>
#
# ### Exercise 4 (middling, 15 minutes): advantages
#
# GAE of one answer, without discount, from its rewards, its values and lambda.
#
# <details><summary>Hint</summary>
# Go from the last token to the first, and carry two numbers along: the advantage and the value of the token after this one.
# </details>

# %% tags=["exercise"]
from utils.lessons.exercises.ppo import check_advantages


def advantages(rewards, values, lam):
    return ...


print(check_advantages(advantages))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def advantages(rewards, values, lam):
#     found, advantage, following = [], 0.0, 0.0
#     for reward, value in zip(reversed(rewards), reversed(values), strict=True):
#         advantage = reward + following - value + lam * advantage
#         following = value
#         found.insert(0, advantage)
#     return found
# ```
# After the last token nothing follows: the value there is 0, because the episode is over.
# </details>
#
# ### Exercise 5 (hard, 15 minutes): where the objective leads
#
# Three answers, their probabilities under the reference, their scores, and beta. Which policy has the highest *score minus beta times KL*?
# Return its probabilities. (Set the derivative to zero, or guess: what must it be for a very large beta, what for a very small one?)

# %% tags=["exercise"]
from utils.lessons.exercises.ppo import check_best_policy


def best_policy(reference, scores, beta):
    return ...


print(check_best_policy(best_policy))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# import math
#
#
# def best_policy(reference, scores, beta):
#     weights = [q * math.exp(score / beta) for q, score in zip(reference, scores, strict=True)]
#     return [weight / sum(weights) for weight in weights]
# ```
# The reference, with each answer weighed by the exponential of its score over beta. PPO walks towards this policy; beta is a temperature.
# An answer that the reference never gives stays at zero, whatever its score.
# </details>
#
# **And one without a check.** Change one setting in `short_ppo(cfg.ppo, rounds=24)`, for example `gae_lambda=0.0`, `inner_epochs=4` or
# `whiten_advantages=False`, and run from "A PPO run" on. Write down first what the curves will do. Which of them shows it first?

# %% [markdown]
# ## The five predictions
#
# <details><summary>1: top-k</summary>
# The estimate of k1 falls below zero, which no KL can be. The samples are not from the distribution whose probabilities are compared.
# </details>
# <details><summary>2: the flat parts</summary>
# For a good token above 1 + clip, for a bad one below 1 - clip: beyond the border there is nothing more to gain, and on the other side
# nothing is ever forgiven.
# </details>
# <details><summary>3: the curves</summary>
# Score, gold and KL rise, entropy falls. Gold need not rise with the score; that it does is a property of this reward model and this beta.
# </details>
# <details><summary>4: temperatures</summary>
# Cooling lifts both models, so look at the printed differences. A lead of zero at temperature 0 would mean that PPO had only made the policy
# surer. It is not zero. Do not read an order into the four leads without their standard errors.
# </details>
# <details><summary>5: beta</summary>
# Large: the KL stays small and the score gains least. Large steps on the leash: gold gains little. No penalty: the KL runs away, the
# score ends no higher than with leash and small steps, and gold falls below where it began.
# </details>

# %% [markdown]
# ## InstructGPT and this lesson
#
# | | InstructGPT | here | why |
# |---|---|---|---|
# | prompts, episodes | 31,144 prompts, 256,000 episodes (C.4) | the shipped run's prompts, `rounds` of `settings` | minutes on a CPU |
# | episodes a round, minibatch | 512, 64 | 256, 64 | minutes on a CPU |
# | inner epochs, clip, discount | 1, 0.2, none | the same | |
# | beta | 0.02 | `settings.beta` | another reward scale: beta weighs nats against *reward units* |
# | lambda of GAE | not reported | 0.95 | the usual choice |
# | learning rate | constant after 10 rounds of warm-up; value not printed (E.9) | the same form, much larger | small models take larger steps |
# | value model | starts as the 6B reward model, trained from the first round | starts as ours; some rounds alone first | few rounds: no time to recover from a bad start |
# | saved policy | average of weights, decay 0.992 a step | the same, shorter memory | fewer steps |
# | whitened advantages, clipped values, clipped gradients | not stated | yes | the usual choice |
# | start and reference | short SFT with pretraining text (C.3) | the same | |
# | judge | people | simulated gold | no people needed |
#
# ## What is saved, and what comes next
#
# `runs/notebook_04` holds the policies of this lesson as plain Hugging Face folders (`ppo/model` and, in the order of "Turning beta",
# `beta_0/model`, `beta_1/model`, `beta_2/model`) and one `metrics.jsonl` each; every key is explained in the
# [glossary](../docs/glossary.md). Later lessons start from the shipped policy in `data/lessons/ppo`, which had more rounds.
#
# One question is open. We looked at what PPO *gained*. What did it lose of what pretraining had taught? That is lesson 05.
#
# - In the code: [`utils/ppo/train.py`](../utils/ppo/train.py), [`utils/losses.py`](../utils/losses.py), and [paper to code](../docs/paper-map.md).
