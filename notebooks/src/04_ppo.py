# %% [markdown]
# # 04 · PPO: more reward, with a KL penalty
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/instruct-gpt2/instruct-gpt2/blob/main/notebooks/04_ppo.ipynb)
#
# A model that imitates is at most as good as its examples. With a reward model we can do more: let the policy answer in its own
# words, score the answers, and make the better ones more likely. This is step 3 of InstructGPT ([sec. 3.5 and
# C.4](https://arxiv.org/abs/2203.02155)). The algorithm is PPO. PPO has many parts. We build it part by part, each part first
# by hand on a few numbers. Then we break it on purpose.
#
# | | |
# |---|---|
# | **Reading** | about 45 minutes, with the exercises about 90 |
# | **Running** | less than four minutes on two CPU cores; no GPU, no download of models or data |
# | **Outputs made on** | a two-core CPU; the first cell's output names device and versions |
# | **You need** | Python, a little PyTorch, what a log-probability is. No reinforcement learning |
# | **You will be able to** | derive the policy gradient of a bandit; compute KL penalty, advantage and clipped loss by hand; read the curves of a PPO run; predict what beta does before you change it; find common bugs by their symptoms |
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
# PPO needs two inputs: a policy that can already answer (a short SFT with some pretraining text mixed in, which we call *PPO's
# start*, C.3), and a reward model that gives each answer one number. No labelers are needed from here on. This lesson starts
# from a finished run that comes with the repository.

# %%
from utils.lessons import fast, run_folder, shipped, table

lesson = shipped()
cfg, folder = lesson.config, run_folder("notebook_04")
few = 24 if fast() else None  # FAST=1 is for tests: the same lesson on a few rows
prompts, test_prompts = lesson.prompts("ppo"), lesson.prompts("test")[: few or 300]
print(len(prompts), "prompts for PPO, no answers with them. The first:", prompts[0].prompt)

# %% [markdown]
# ## The environment is a bandit
#
# In games, reinforcement learning means many moves with rewards in between. Here it is simpler. The policy gets a prompt, gives
# *one* answer, and receives *one* number for it. Then the episode is over. This is called a *bandit* (3.5). Four models take
# part:

# %%
from utils.ppo import load_ppo_models
from utils.sampling import Sampler

actors, tokenizer = load_ppo_models(lesson.model_dir("init"), lesson.model_dir("reward"))
ask = Sampler(actors.policy, tokenizer, cfg.data)  # writes prompts as the policy is asked
encoded = ask.encode_all([p.prompt for p in prompts])

roles = {"policy": "answers; is trained", "reference": "PPO's start, frozen; the KL penalty compares with it"}
roles |= {"reward": "the reward model, frozen; scores whole answers", "value": "starts as the reward model; is trained"}
table([{"model": name, "what it does": role} for name, role in roles.items()])

# %% [markdown]
# Let the policy answer one prompt many times, and let the reward model score each answer. The three best and the three worst:

# %%
from utils.ppo import reward_scores
from utils.sampling import Decoding, episode_uniforms, sample

how = Decoding(cfg.data.max_response_tokens, actors.stops, actors.pad_id)
draws = sample(actors.policy, [encoded[0]] * 64, episode_uniforms(range(64), how.max_new_tokens), how)
scores = reward_scores(actors.reward, draws, actors.stops, actors.eos_id)
told = [{"answer": tokenizer.decode(ids).strip(), "reward": float(x)} for ids, x in zip(draws.responses(), scores, strict=True)]
told.sort(key=lambda row: -row["reward"])
table([*told[:3], *told[-3:]], prompts[0].prompt)

# %% [markdown]
# The prompt is the same, the answers and their rewards differ. The policy can already give the answers with a high reward, but
# not often enough. Nobody tells it *which word* was wrong; it learns only that one answer was worth more than another. ("Best"
# means the highest score of the reward model. The answer may still be wrong.) A reward of 0 means "as good as the average
# demonstration".
#
# ## The policy gradient, with three answers
#
# **The idea.** Sample an answer. If it is better than expected, increase its log-probability; if it is worse, decrease it. On
# average this increases the expected reward $J$:
#
# $$\nabla_\theta\, J = \mathbb{E}_{y \sim \pi_\theta}\big[\,(r(y) - b)\; \nabla_\theta \log \pi_\theta(y)\,\big]$$
#
# Suppose that there are only three answers, with logits `theta`. Then autograd can compute the true gradient, and we can check
# whether the formula, estimated from samples, agrees.

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
# Both estimates agree with the exact gradient (the asserts check it): the last answer becomes more likely, the first one less
# likely. The *baseline* $b$ does not change the mean, but it makes a single sample less noisy. Without a baseline, every answer
# with a positive reward is made more likely, even a bad one, only less. "Better than expected" needs an expectation. The
# **value model** gives it.
#
# ## One round of episodes
#
# For answers with many tokens we need three things at every token: how likely it was, which reward it got, and which reward was
# expected. `run_round` takes the next prompts, samples one answer for each, and runs all four models on them.

# %%
from utils.lessons import short_ppo
from utils.ppo import experience_metrics, run_round

settings = short_ppo(cfg.ppo, rounds=24)  # the run's settings, but fewer rounds and so larger steps
experience = run_round(actors, encoded, 0, settings, lesson.setup)
rollout, mask = experience.rollout, experience.rollout.response_mask
print("answers, tokens:", tuple(mask.shape), "| a token's log-prob, on average:", f"{rollout.logprobs[mask].mean():.2f} nats")

# %% [markdown]
# `mask` marks the positions that are tokens of an answer; short answers are padded. Next come the rewards.
#
# ## A KL penalty at every token
#
# **The idea.** A reward model is reliable only on answers like those it was trained on. So the policy pays a penalty for moving
# away from its start. At each token the penalty is beta times the log-ratio of the policy to the reference (Eq. 2). The score
# is added once, at the last token.
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
# The first token is more likely than under the reference, so its reward is negative. The second is less likely, so its reward
# is slightly positive. The third is equally likely and gets the score. The sum of the log-ratios over an answer is an estimate
# of the *KL divergence* of the policy from its start. There are other estimates.
#
# ### Three ways to measure a KL
#
# With four possible tokens we can compute the KL exactly, $\sum_y \pi(y) \log \frac{\pi(y)}{\pi_{\text{ref}}(y)}$. From samples
# we can compute *k1*, the mean log-ratio, and *k3*, the mean of $e^d - 1 - d$ with $d = \log \pi_{\text{ref}} - \log \pi$.

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
# Both estimates find the exact value. k3 is never negative, and in this small example it is less noisy. So why does the penalty
# use k1? Because of the *gradient*. The policy gradient treats a penalty inside the reward as a constant and multiplies it with
# $\nabla \log \pi$. With k1 the mean of this product is exactly the gradient of the KL, because $\mathbb{E}[\nabla \log \pi] =
# 0$. With k3 a term is missing. So k3 is used only for monitoring.
#
# > **Predict first (1).** Many samplers sample only from the k most likely tokens (*top-k*). We draw with `top_k=2` and compute
# > k1 as before. What will happen to this estimate of a number that cannot be negative?

# %%
cut = estimates(top_k=2)
assert cut[0]["mean"] < 0
table([{"estimate": "exact", "mean": exact}, *cut], "Drawn with top-k = 2", digits=4)

# %% [markdown]
# k1 is **below zero**: a negative KL. The policy made the two most likely tokens *less* likely than the reference does. The
# tokens that it made more likely are never sampled. Training would now be *rewarded* for moving away from the reference.
# Clamping at 0 does not solve this. The solution is to sample from the same distribution that is scored: no top-k, no top-p,
# the same temperature in both places. PPO's `sample` does this.
#
# ### The same on real answers
#
# How far has the shipped PPO policy moved from its start? At each position both models give a probability to every token of the
# vocabulary, so the KL *of this step* can be computed exactly.

# %%
from utils.lessons import token_texts, token_view
from utils.report import TokenRow
from utils.sampling import join, selected_logits

trained = load_ppo_models(lesson.model_dir("ppo"), lesson.model_dir("reward"))[0]
looked_at = ask.encode_all([p.prompt for p in test_prompts])
answers = sample(trained.policy, looked_at, episode_uniforms(range(len(looked_at)), how.max_new_tokens), how)
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
# These are three estimates of one number; compare them with their standard errors (`se`). The last one is exact at each step,
# but the steps themselves come from sampled answers. Where in an answer does the policy differ? Orange tokens are more likely
# than at the start, blue ones less likely.

# %%
ratio = answers.logprobs - ref_logprobs
strips = [
    TokenRow(f"sum {found['k1'][i]:.1f}", token_texts(tokenizer, answers.responses()[i]), ratio[i][seen[i]].tolist())
    for i in range(6)
]
token_view(strips, "log pi - log ref (nats)")

# %% [markdown]
# These are the answers to the first test prompts, with the sum of their log-ratios at the left. Many tokens are nearly white:
# there both models agree on how the sentence continues. The penalty comes from a few *decisions*, where the policy now prefers
# another word than the start did. (Move the mouse pointer over a token to read its number.)
#
# ## Value and advantage
#
# The reward comes at the end. Which token caused it? At each token, the value model estimates the reward that is still to come,
# $V_t$. A token that raises this estimate gets credit:
#
# $$\delta_t = r_t + V_{t+1} - V_t \qquad A_t = \delta_t + \lambda\, \delta_{t+1} + \lambda^2 \delta_{t+2} + \dots$$
#
# This is *GAE*, generalized advantage estimation, without discount (C.4; the paper does not report $\lambda$). Three tokens by
# hand:

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
# With lambda 0, each token gets only its own $\delta_t$; this relies fully on the value model. With lambda 1, each token gets
# everything that came after it, that is, the return minus the value; this relies on the one sample, with all its noise. We use
# 0.95.
#
# ### The value model has to learn first
#
# The value model starts as the reward model, which was trained on *finished* answers. In the middle of an answer its values are
# poor. So the first rounds train only the value model (our addition; the paper trains both from the start).

# %%
from dataclasses import replace

from utils.lessons import quiet
from utils.ppo import start_loop, update_round

alone = replace(settings, rounds=settings.value_warmup_rounds)
loop = start_loop(folder / "value", actors, alone, cfg.seed)
explained = []
with quiet():
    for round_ in loop:
        experience = run_round(actors, encoded, round_, alone, lesson.setup)
        explained.append(experience_metrics(experience)["explained_variance"])
        loop.log(round_, **update_round(loop, actors, experience, round_, alone, lesson.setup))
    loop.finish()
experience = run_round(actors, encoded, alone.rounds, alone, lesson.setup)
explained.append(experience_metrics(experience)["explained_variance"])
print("explained variance of the returns, round by round:", [round(e, 2) for e in explained])

# %% [markdown]
# *Explained variance* is 1 for a perfect value model and 0 for one that always gives the same value. After these rounds it
# should be clearly higher than at the start. Now look at the values for one good and one bad answer.

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
# These are the two prompts and their answers. The color shows the *expected* reward before each token is sampled. At the first
# token only the prompt is known. Then the expected reward changes with each word, most at words that decide how good the answer
# is. The advantages show what is left to learn:

# %%
token_view(strip("advantages"), "advantage (whitened)")

# %% [markdown]
# Orange tokens will become more likely, blue ones less likely. An answer that ends better than the value model expected has
# positive advantages from its first token on: with a lambda near 1, each token gets a share of this late difference. (Whitened
# means shifted and scaled to mean 0 and variance 1 over the round, so that the size of a step does not depend on the scale of
# the rewards.)
#
# ### What the value model learns
#
# Its target at each token is the *return*: its own value plus the advantage before whitening, $R_t = A_t + V_t$. The loss is a
# squared error, clipped like the policy loss. It takes the larger of two errors: the error of the new value, and the error of a
# value that may differ by at most $\epsilon$ from the value $V_t^{\text{old}}$ at sampling time.
#
# $$\text{loss}_V = \tfrac{1}{2}\,\text{mean of } \max\big((V_t - R_t)^2,\; (V_t^{\text{old}} + \text{clip}(V_t - V_t^{\text{old}}, -\epsilon, \epsilon) - R_t)^2\big)$$
#
# Two tokens by hand. The first value moved from 0.4 to its target 1.0 in one step, but its loss is computed as if it were 0.6.
# So a large step does not reduce the loss further. The second value has not changed.

# %%
from utils.losses import ppo_value_loss

now, then, earned = torch.tensor([[1.0, 0.5]]), torch.tensor([[0.4, 0.5]]), torch.tensor([[1.0, 1.0]])  # V, V old, R
by_hand = 0.5 * (max((1.0 - 1.0) ** 2, (0.6 - 1.0) ** 2) + (0.5 - 1.0) ** 2) / 2
charged = ppo_value_loss(now, then, earned, torch.ones(1, 2, dtype=torch.bool), 0.2)
torch.testing.assert_close(charged, torch.tensor(by_hand))
print(f"by hand {by_hand:.4f}, utils.losses.ppo_value_loss {charged:.4f}")

# %% [markdown]
# (In the rounds that train only the value model, clipping is off, because its values still have to change a lot.)
#
# ## The clipped step
#
# **The idea.** The samples came from the old policy, and after one step the policy has changed. The ratio $\rho =
# \pi_{\text{new}} / \pi_{\text{old}}$ corrects for this, as long as it stays near 1. PPO does not reward changes beyond $1 \pm
# \epsilon$, with $\epsilon = 0.2$ as in the paper:
#
# $$\text{loss} = \text{mean of } \max\big(-A\rho,\; -A\,\text{clip}(\rho, 1 - \epsilon, 1 + \epsilon)\big)$$
#
# > **Predict first (2).** Sketch the loss of one token against $\rho$, once for $A = 1$ and once for $A = -1$. Each curve has
# > one flat part. On which side of 1?

# %%
from utils.losses import ppo_policy_loss
from utils.report import Look, lines

one = torch.ones(1, 1, dtype=torch.bool)


def token_loss(rho, advantage):
    loss, _ = ppo_policy_loss(torch.tensor([[rho]]).log(), torch.zeros(1, 1), torch.tensor([[advantage]]), one, clip=0.2)
    return float(loss)


assert abs(token_loss(1.5, 1.0) + 1.2) < 1e-6 and abs(token_loss(1.5, -1.0) - 1.5) < 1e-6
rhos = [0.4 + 0.1 * i for i in range(13)]
curves = {"advantage +1": [token_loss(r, 1.0) for r in rhos], "advantage -1": [token_loss(r, -1.0) for r in rhos]}
picture(lines(rhos, curves, Look("ratio new / old", "loss of one token", "Where PPO stops pushing")))

# %% [markdown]
# A good token ($A = 1$) is made more likely until the ratio is 1.2. From there the curve is flat, and the gradient is zero. A
# bad token is made less likely until the ratio is 0.8. On the *other* sides nothing is flat: if a good token has become less
# likely by accident, it always gets a gradient. This is why the formula has a maximum and not only a clip.
#
# ## A PPO run
#
# All parts together:
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
# The *average of the weights* removes the noise of single steps (C.4; the decay there is 0.992 per step). `train_policy` does
# all this. It also computes gold for the averaged weights after some rounds, only for the curve.
#
# > **Predict first (3).** Over the rounds, will these rise or fall: the reward model's score, gold, the KL to the start, and
# > the entropy (how uncertain the policy is at each token)?

# %%
from utils.pipeline import train_policy

with quiet():
    metrics = train_policy(lesson, folder / "ppo", settings)

# %%
from utils.report import training_curves

labels = {
    "score": "reward model's score", "gold": "gold (points)", "kl_k1": "KL (nats per response)", "entropy": "entropy (nats per token)",
    "explained_variance": "explained variance", "value_loss": "value loss",
}  # fmt: skip
picture(training_curves(metrics, *labels, labels=labels, xlabel="round", title="PPO"))

# %% [markdown]
# In the first rounds only the value model learns, and the policy does not change. Then the score rises, and so does gold, which
# training never sees. The KL grows: this is the cost of the reward. The entropy falls: the policy becomes more certain. The
# curves are noisy from round to round, because each round has different prompts.
#
# Look at two more numbers in every run, before anything else:

# %%
updates = [row for row in metrics if "first_ratio" in row]
print("ratio at the first minibatch of each round:", sorted({round(row["first_ratio"], 3) for row in updates}))
print("largest share of clipped tokens:", f"{max(row['clip_fraction'] for row in updates):.3f}")

# %% [markdown]
# Before any update, the policy *is* the one that sampled, so the ratio must be 1 up to rounding. If it is not, sampling and
# training differ in something: temperature, padding, positions, dropout, top-k. Few tokens are clipped: with one pass over each
# round, as in the paper, clipping is rarely needed.
#
# ## Before and after
#
# Both policies get the same prompts and the same random numbers. The table has the first test prompt of each use case:

# %%
from utils.evaluation import Policy, judged
from utils.lessons import compared

shown = list({p.use_case: p for p in reversed(test_prompts)}.values())
paths = {"init": lesson.model_dir("init"), "ppo": folder / "ppo" / "model"}
table(
    compared(shown, {n: judged(Policy(n, path), shown, cfg, 1.0) for n, path in paths.items()}),
    "Before and after (gold points of 10)",
)

# %% [markdown]
# These are ten single samples at temperature 1. Single samples differ by more than PPO's average gain. So this table shows what
# the answers look like, but not whether they improved; hundreds of prompts below show that. Look for what PPO changed, such as
# the extras that labelers like. And look for what it did not change: PPO can make an answer more likely only if the start gives
# it sometimes. A fact that it never states is never rewarded.
#
# ### Learning or sharpening?
#
# PPO lowered the entropy. A policy that is only *more certain* also looks better at temperature 1, because it samples fewer
# unlikely tokens. But a lower temperature gives the same sharpening without any training.
#
# > **Predict first (4).** We sample from both at temperatures 1, 0.7, 0.4 and 0 (always the most likely token). Where is PPO's
# > lead largest? What would it mean if the lead were zero at temperature 0?

# %%
from utils.evaluation import paired_difference

heats = [0.0, 1.0] if fast() else [0.0, 0.4, 0.7, 1.0]
asked = {n: [judged(Policy(n, path), test_prompts, cfg, t) for t in heats] for n, path in paths.items()}
golds = {name: [mean_se(found.golds).mean for found in each] for name, each in asked.items()}
picture(lines(heats, golds, Look("temperature", "gold (points)", "Learning or sharpening?")))

# %% [markdown]
# Both have less gold at temperature 1 than at 0. The difference between them, paired by prompt:

# %%
for heat, first, then in zip(heats, asked["init"], asked["ppo"], strict=True):
    gain = paired_difference(then.golds, first.golds)
    print(f"temperature {heat:.1f}: PPO minus its start {gain.mean:+.2f} ± {gain.se:.2f} gold points (standard error)")

# %% [markdown]
# A lower temperature improves *both* without training. If you compare PPO at a low temperature with its start at temperature 1,
# you credit PPO with this effect. At equal temperatures the comparison is fair. At temperature 0 no further sharpening is
# possible. A lead there of more than about two standard errors is *learning*: other answers, not only more certain ones. A
# report with one temperature cannot separate the two.
#
# ## Changing beta
#
# > **Predict first (5).** We repeat the run in three ways: with a penalty twenty times as large; with no penalty and larger
# > steps; and, as a control, with the larger steps and the usual penalty. (The two with larger steps keep no average of the
# > weights, so that we see the policy itself.) What will score, KL and gold do in each?

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
# With the large penalty, the KL stays small, and the score rises least: the policy cannot move to where the reward is high.
# With large steps and the usual penalty, the KL stays bounded. Without the penalty, the same large steps let the KL grow much
# further. Does this larger distance give a higher *score* or more gold? It is easier to see against the KL:

# %%
from utils.ppo import over_kl
from utils.report import overoptimisation

picture(overoptimisation(over_kl(runs["beta 0, large steps"])))

# %% [markdown]
# The proxy (the reward model's score), which training maximizes, ends far above its start. Gold rises at first and then falls
# below its start: **over-optimization**. The policy has left the region where the reward model was trained. It found answers
# that get a high score but that nobody wants. Which ones?

# %%
both = {"ppo": folder / "ppo" / "model", "beta 0": folder / "beta_2" / "model"}
table(
    compared(shown[:6], {n: judged(Policy(n, path), shown[:6], cfg, 1.0) for n, path in both.items()}),
    "With and without the KL penalty (gold points of 10)",
)

# %% [markdown]
# Nothing in the loss says "do not repeat yourself" or "stay with the question". Only the KL to the reference limits how far the
# policy can move, and we removed it. The paper found the same at its scale: a KL coefficient of 0 performs poorly (E.7).
#
# ## What goes wrong, on purpose
#
# Beta 0 is a wrong *setting*. Wrong *code* is harder to find, because nothing stops. Here are three bugs and their symptoms.
#
# ### Bug 1: log-probs are read one position late
#
# The logits *at* a token predict the *next* token. If we read them one position late, each token is scored by logits that have
# already seen it.

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
# The shapes fit and the losses fall, but all of it is about the wrong tokens. The ratio shows it immediately: it is not 1
# before the first update. Put this assert into your own training loop.
#
# ### Bug 2: the end token does not count
#
# Suppose the mask is True only for the *words*. Then the score, which is added at the last token of the mask, moves one
# position forward. The decision to stop gets no reward and is not learned.

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
# The symptom is not in the loss but in the samples: `finished` no longer improves, or answers get longer and longer. Does the
# reward model depend on the end token? We score finished answers with and without it:

# %%
from utils.reward import reward_at_end

whole = [i for i in range(len(answers)) if answers.finished[i] and seen[i].sum() > 1]
with torch.no_grad():
    full = [[*answers.prompts()[i], *answers.responses()[i][:-1], actors.eos_id] for i in whole]
    gap = reward_at_end(actors.reward, full) - reward_at_end(actors.reward, [row[:-1] for row in full])
print(f"reward with the end token minus without it: mean {gap.mean():+.2f}, from {gap.min():+.2f} to {gap.max():+.2f}")

# %% [markdown]
# The same words get two different scores. A reward model is read *at the end token* of an answer; it was not trained to be
# right at other positions. An answer that was cut off has no end token, so it is read at its last token. Because the reward
# model can tell the two apart, a policy can learn to finish its answers.
#
# ### Bug 3: the reference is the policy
#
# One line is enough: `reference = policy` instead of a copy. Then the penalty compares the policy with itself.

# %%
with torch.no_grad():
    same = response_logprobs(trained.policy, *parts)
k1 = {"its start": found["k1"], "itself": kl_k1(answers.logprobs, same, seen)}
table(
    [{"reference": name, "KL of an answer (k1)": round(float(values.mean()), 4) + 0.0} for name, values in k1.items()], digits=3
)

# %% [markdown]
# A KL of zero *after* training is a bad sign. It must be zero before the first update and above zero afterwards.
#
# | symptom | check |
# |---|---|
# | first ratio is not 1 | shift by one, temperature, dropout, padding and positions |
# | KL below 0, round after round | top-k or top-p in the sampler, dropout in one of the two models |
# | KL exactly 0 after updates | the reference shares its weights with the policy |
# | answers get longer, fewer of them finish | mask of the end token; the reward model is read at the last word instead of the end token |
# | score rises, gold (or people's preference) falls | beta too small, or a reward model that never saw such answers |
# | nothing changes | beta too large, learning rate too small, rounds in which only the value model is trained |
# | score is unstable | explained variance near 0: the value model has not learned |
#
# ## Exercises
#
# Replace the dots, run the cell, and read the check's message: it names the likely mistake. The executed solutions are in
# [solutions/04_ppo.ipynb](../solutions/04_ppo.ipynb).
#
# ### Exercise 1 (easy, 5 minutes): the response mask
#
# `ids` are the token ids that a sampler returned, with padding behind the end; `end` is the id of the end token. Return a list
# of zeros and ones. An answer that was cut off has no end token.

# %% tags=["exercise"]
from utils.lessons import check_response_mask


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
# The mask includes the end token: stopping is a decision too, and it gets a reward.
# </details>
#
# ### Exercise 2 (easy, 5 minutes): two estimates of the KL
#
# You get the log-probs of one answer's tokens under the policy and under the reference. Return `[k1, k3]`, each summed over the
# tokens.

# %% tags=["exercise"]
from utils.lessons import check_kl_estimates


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
# ### Exercise 3 (medium, 10 minutes): the clipped loss
#
# Compute the loss of one token from its ratio, its advantage and the clip range.

# %% tags=["exercise"]
from utils.lessons import check_token_loss


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
# The larger of the two losses is the pessimistic one: clipping never makes a change look better than it is.
# </details>
#
# ### Exercise 4 (medium, 15 minutes): advantages
#
# Compute GAE for one answer, without discount, from its rewards, its values and lambda.
#
# <details><summary>Hint</summary>
# Go from the last token to the first. Keep two numbers: the advantage and the value of the next token.
# </details>

# %% tags=["exercise"]
from utils.lessons import check_advantages


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
# ### Exercise 5 (hard, 15 minutes): the optimal policy
#
# You get three answers: their probabilities under the reference, their scores, and beta. Which policy has the highest *score
# minus beta times KL*? Return its probabilities. (Set the derivative to zero, or think about the limits: what must it be for a
# very large beta, and for a very small one?)

# %% tags=["exercise"]
from utils.lessons import check_best_policy


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
# It is the reference, with each answer weighted by the exponential of its score divided by beta. PPO moves towards this policy;
# beta acts as a temperature. An answer with probability zero under the reference stays at zero, whatever its score.
# </details>
#
# **One exercise without a check.** Change one setting in `short_ppo(cfg.ppo, rounds=24)`, for example `gae_lambda=0.0`,
# `inner_epochs=4` or `whiten_advantages=False`, and run again from "A PPO run". First write down what the curves will do. Which
# curve shows the change first?

# %% [markdown]
# ## The five predictions
#
# <details><summary>1: top-k</summary>
# The estimate k1 falls below zero, which is impossible for a KL. The samples do not come from the distribution whose
# probabilities are compared.
# </details>
# <details><summary>2: the flat parts</summary>
# For a good token above 1 + clip, for a bad one below 1 - clip. Beyond this limit there is no more to gain. On the other side
# there is always a gradient.
# </details>
# <details><summary>3: the curves</summary>
# Score, gold and KL rise, entropy falls. Gold does not have to rise with the score; that depends on the reward model and on
# beta.
# </details>
# <details><summary>4: temperatures</summary>
# A lower temperature improves both models, so look at the printed differences. A lead of zero at temperature 0 would mean that
# PPO had only made the policy more certain. Compare the four leads only together with their standard errors.
# </details>
# <details><summary>5: beta</summary>
# Large penalty: the KL stays small, and the score rises least. Large steps with the usual penalty: the KL is bounded. No
# penalty: the KL grows far, and gold falls below its start.
# </details>

# %% [markdown]
# ## InstructGPT and this lesson
#
# | | InstructGPT | here | why |
# |---|---|---|---|
# | prompts, episodes | 31,144 prompts, 256,000 episodes (C.4) | the shipped run's prompts, `rounds` of `settings` | minutes on a CPU |
# | episodes per round, minibatch | 512, 64 | 256, 64 | minutes on a CPU |
# | inner epochs, clip, discount | 1, 0.2, none | the same | |
# | beta | 0.02 | `settings.beta` | the reward scale differs: beta weighs nats against *reward units* |
# | lambda of GAE | not reported | 0.95 | the usual choice |
# | learning rate | constant after 10 rounds of warm-up; value not printed (E.9) | the same form, much larger | small models take larger steps |
# | value model | starts as the 6B reward model, trained from the first round | starts as ours; trained alone in the first rounds | few rounds, so no time to recover from a bad start |
# | saved policy | average of weights, decay 0.992 per step | the same, with a smaller decay | fewer steps |
# | whitened advantages, clipped values, clipped gradients | not stated | yes | the usual choice |
# | start and reference | short SFT with pretraining text (C.3) | the same | |
# | judge | people | simulated gold | no people needed |
#
# ## What is saved, and what comes next
#
# `runs/notebook_04` holds the policies of this lesson as plain Hugging Face folders (`ppo/model` and, in the order of "Changing
# beta", `beta_0/model`, `beta_1/model`, `beta_2/model`) and one `metrics.jsonl` for each; every key is explained in the
# [glossary](../docs/glossary.md). Later lessons start from the shipped policy in `data/lessons/ppo`, which had more rounds.
#
# One question is open. We looked at what PPO *gained*. How much of what pretraining had taught did it lose? This is lesson 05.
#
# - In the code: [`utils/ppo/train.py`](../utils/ppo/train.py), [`utils/losses.py`](../utils/losses.py), and [paper to code](../docs/paper-map.md).
