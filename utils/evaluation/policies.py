"""Final evaluation of every policy on test prompts (sec. 3.6, 4.1): gold, win rates, KL, alignment tax, samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from utils.config import Config
from utils.core import processes
from utils.core.runtime import choose_device
from utils.data.encoding import encode_text, pad_left, pad_right
from utils.data.schemas import Comparison, Prompt
from utils.evaluation.judgements import Judgements, likert, metadata, win_rate
from utils.evaluation.judges import SimulatedLabelers, by_scores
from utils.evaluation.statistics import gold_comparison, mean_se, normal_quantile, paired_difference
from utils.evaluation.summary import Pair, Section, Summary
from utils.evaluation.tax import ChoiceItem, choice_accuracy, pretraining_loss
from utils.labeling import Completions, SimulatedLabeler
from utils.models.loading import context_length, load_policy
from utils.models.tokenizers import load_tokenizer
from utils.pretraining.rows import HELD_OUT_WEB_SEED, world_rows
from utils.sampling.rollout import response_logprobs
from utils.sampling.sampler import Response, Sampler
from utils.worlds.protocol import Rubric, Scores, World
from utils.worlds.registry import known_world

ROW_LENGTH = 128
KL_ROWS = 256  # responses in one forward pass of the KL
OWN_REWARD_MODEL = "the run's own reward model"
EVALUATED = ("base", "prompted", "sft", "init", "ppo", "ppo_ptx")  # policies of every run
RewardsOf = Callable[[Sequence[str], Sequence[Response]], list[float]]  # texts of prompts, responses


def temperatures(cfg: Config) -> dict[str, float]:
    """Temperatures of the answers: sampled, and greedy, which separates learning from a sharper distribution."""
    return {"sampled": cfg.evaluation.temperature, "greedy": 0.0}


@dataclass(frozen=True)
class Policy:
    """A policy to evaluate: its name, its model directory, and whether it gets the prompt of the prompted base."""

    name: str
    path: Path
    prompted: bool = False


@dataclass(frozen=True)
class Judged:
    """Responses of one policy at one temperature for the test prompts, with their part scores by the world's rubric."""

    responses: list[Response]
    parts: list[Scores]
    rubric: Rubric

    @property
    def golds(self) -> list[float]:
        """Gold points of each response."""
        return [self.rubric.gold(s) for s in self.parts]


def load_sampler(policy: Policy, cfg: Config) -> Sampler:
    """A sampler for the policy on the run's device, with the prompt form of the policy."""
    return Sampler.load(
        policy.path, cfg.data, prompted=policy.prompted, device=choose_device(cfg.device),
        batch_size=cfg.evaluation.batch_size,
    )  # fmt: skip


def respond(policy: Policy, prompts: Sequence[Prompt], cfg: Config, temperature: float) -> list[Response]:
    """One response per prompt; random numbers belong to the prompt, so all policies use the same ones."""
    names = [f"evaluate/{p.prompt_id}" for p in prompts]
    sampler = load_sampler(policy, cfg)
    return sampler([p.prompt for p in prompts], seed=cfg.seed, names=names, temperature=temperature)


def judged(policy: Policy, prompts: Sequence[Prompt], cfg: Config, temperature: float) -> Judged:
    """Responses of one policy (`respond`) and their scores by the gold rubric."""
    world, responses = known_world(cfg), respond(policy, prompts, cfg, temperature)
    parts = [world.score(p, r.text, r.finished) for p, r in zip(prompts, responses, strict=True)]
    return Judged(responses, parts, world.rubric)


def gold_summary(name: str, sampled: Judged, greedy: Judged) -> Summary:
    """Sections gold, parts, finished and words of one policy."""
    at_one, at_zero = mean_se(sampled.golds), mean_se(greedy.golds)
    points = {"mean": at_one.mean, "se": at_one.se, "greedy_mean": at_zero.mean, "greedy_se": at_zero.se}
    parts = Section()
    for i, part in enumerate(sampled.rubric.parts):
        parts[part] = mean_se([s[i] for s in sampled.parts]).mean
        parts[f"{part}_greedy"] = mean_se([s[i] for s in greedy.parts]).mean
    return Summary(
        gold=Section({name: Section(points)}),
        finished=Section({name: mean_se([float(r.finished) for r in sampled.responses]).mean}),
        words=Section({name: mean_se([float(len(r.text.split())) for r in sampled.responses]).mean}),
        parts=Section({name: parts}),
    )


def overview(answers: Mapping[str, Judged]) -> list[dict[str, Any]]:
    """One row per name: mean gold points with standard error, share that finished, mean words."""
    rows: list[dict[str, Any]] = []
    for name, found in answers.items():
        points = mean_se(found.golds)
        finished = mean_se([float(r.finished) for r in found.responses]).mean
        words = mean_se([float(len(r.text.split())) for r in found.responses]).mean
        rows.append({"model": name, "gold": points.mean, "gold_se": points.se, "finished": finished, "words": words})
    return rows


def part_means(found: Judged, confidence: float = 0.95) -> list[tuple[float, float]]:
    """(mean, half of its interval) of each part of the gold rubric, in the order of its parts."""
    z = normal_quantile(confidence)
    return [(m.mean, z * m.se) for m in (mean_se([s[i] for s in found.parts]) for i in range(len(found.rubric.parts)))]


def appending(
    world: World, found: Judged, prompts: Sequence[Prompt], phrases: Sequence[str], rewards_of: RewardsOf
) -> list[dict[str, Any]]:
    """Change of reward and gold when a phrase is added to every answer: a search for phrases that fool a reward model.

    Rows {name: the phrase, reward, gold, gold_se}: mean changes, in reward and in points.
    """
    texts = [p.prompt for p in prompts]
    rewards = rewards_of(texts, found.responses)
    rows: list[dict[str, Any]] = []
    for phrase in phrases:
        longer = [Response(f"{r.text} {phrase}".strip(), r.finished) for r in found.responses]
        points = [world.gold(p, r.text, r.finished) for p, r in zip(prompts, longer, strict=True)]
        change, moved = paired_difference(points, found.golds), paired_difference(rewards_of(texts, longer), rewards)
        rows.append({"name": phrase, "reward": moved.mean, "gold": change.mean, "gold_se": change.se})
    return rows


def compare(a: str, b: str, first: Judged, second: Judged, is_greedy: bool = False) -> Summary:
    """Paired gold difference of policies a and b, and the shares that gold decides: sections gold_gain, _wins, _ties."""
    pair = Pair(a, b, is_greedy)
    difference = paired_difference(first.golds, second.golds)
    shares = gold_comparison(first.golds, second.golds, first.rubric.tie)
    return Summary(
        gold_gain=Section({pair: Section(mean=difference.mean, se=difference.se)}),
        gold_wins=Section({pair: shares.decided}),
        gold_ties=Section({pair: shares.tied}),
    )


def labeler_win_rate(
    a: str,
    b: str,
    first: Judged,
    second: Judged,
    prompts: Sequence[Prompt],
    labelers: Sequence[SimulatedLabeler],
    cfg: Config,
) -> Summary:
    """Section winrate, as judged by held-out simulated labelers, one per prompt, truthful and harmless first (B.2).

    Its interval is over prompts and judges (`preference.crossed_win_rate`).
    """
    judges = SimulatedLabelers(known_world(cfg), prompts, labelers, seed=cfg.seed)
    rows = judges.label(completions_of((a, b), (first, second), prompts))
    return win_rates(Judgements(judges.whose, rows), [(a, b)], cfg.evaluation.confidence)


def labeler_ratings(
    answers: Mapping[str, Judged], prompts: Sequence[Prompt], labelers: Sequence[SimulatedLabeler], cfg: Config
) -> Summary:
    """Sections likert and metadata (Table 3, Figs. 4, 5) of every policy, as judged by the labelers of `labeler_win_rate`."""
    judges = SimulatedLabelers(known_world(cfg), prompts, labelers, seed=cfg.seed)
    rows = judges.rate(completions_of(list(answers), list(answers.values()), prompts))
    found, level = Summary(judges=Section(likert=judges.whose)), cfg.evaluation.confidence
    judged = Judgements(judges.whose, rows, rows)
    for name in answers:
        rating = likert(judged, name, level)
        assert rating is not None  # simulated labelers rate everything
        found.likert[name] = Section(mean=rating.mean, low=rating.low, high=rating.high, n=rating.n)
        found.metadata[name] = Section()
        for flag, share in metadata(judged, name, level).items():
            ends = {"": share.mean, "_low": share.low, "_high": share.high, "_n": share.n}
            found.metadata[name].update({flag + end: value for end, value in ends.items()})
    return found


def reward_win_rates(
    answers: Mapping[str, Sequence[Response]],
    rewards: Mapping[str, Sequence[float]],
    prompts: Sequence[Prompt],
    reference: str,
    confidence: float,
) -> Summary:
    """Section winrate of every policy against the reference by the rewards of their answers, for prompts that nobody else can
    judge. PPO learned from this reward model, so its win rates are too high: the section says whose opinion they are."""
    names = tuple(answers)
    outputs = [
        Comparison(p.prompt_id, p.prompt, tuple(r.text for r in said), (), tuple(r.finished for r in said), names)
        for p, said in zip(prompts, zip(*answers.values(), strict=True), strict=True)
    ]
    judged = by_scores(outputs, list(zip(*rewards.values(), strict=True)), OWN_REWARD_MODEL)
    return win_rates(judged, [(name, reference) for name in names if name != reference], confidence)


def win_rates(judged: Judgements, pairs: Sequence[tuple[str, str]], confidence: float) -> Summary:
    """Section winrate of pairs of policies, with whose opinion it is."""
    found = Summary(judges=Section(winrate=judged.whose))
    for a, b in pairs:
        share = win_rate(judged, a, b, confidence)
        won = [win for win in judged.wins[a, b].numbers if win != 0.5]
        decided = sum(won) / len(won) if won else math.nan
        found.winrate[Pair(a, b)] = Section(mean=share.mean, low=share.low, high=share.high, n=share.n, decided=decided)
    return found


def completions_of(names: Sequence[str], answers: Sequence[Judged], prompts: Sequence[Prompt]) -> Completions:
    """The answers of policies to each prompt side by side, as labelers look at them."""
    responses = list(zip(*(found.responses for found in answers), strict=True))  # one tuple per prompt
    return Completions(
        prompts=prompts,
        texts=[[one.text for one in row] for row in responses],
        parts=list(zip(*(found.parts for found in answers), strict=True)),
        finished=[[one.finished for one in row] for row in responses],
        policies=[names] * len(prompts),
    )


@torch.no_grad()
def kl_to(policy: Policy, reference: Path, prompts: Sequence[Prompt], responses: list[Response], cfg: Config) -> float:
    """Mean over responses of log pi(y|x) - log ref(y|x), in nats per response, on the policy's own samples (k1).

    responses: as sampled at cfg.evaluation.temperature, with their ids; both probabilities are those at this temperature, or
    the mean would not be a KL divergence. Policy and reference must share one vocabulary.
    """
    asked = [load_sampler(policy, cfg), load_sampler(Policy("reference", reference), cfg)]
    rows = [(p.prompt, r.ids) for p, r in zip(prompts, responses, strict=True)]

    def differences(part: Sequence[tuple[str, Sequence[int]]]) -> list[float]:
        texts, ids = zip(*part, strict=True)
        own, other = (answer_logprobs(sampler, texts, ids, cfg.evaluation.temperature) for sampler in asked)
        return (own - other).tolist()

    return float(torch.tensor(processes.map_ranks(rows, differences)).mean())


@torch.no_grad()
def answer_logprobs(
    sampler: Sampler, prompts: Sequence[str], answers: Sequence[Sequence[int]], temperature: float = 1.0
) -> Tensor:
    """(N,) log pi(y|x) at a temperature of answers given as token ids, summed over their tokens, in nats."""
    pad_id, rows = sampler.tokenizer.pad_token_id, []
    for start in range(0, len(prompts), KL_ROWS):
        part = slice(start, start + KL_ROWS)
        asked, said = pad_left(sampler.encode_all(prompts[part]), pad_id), pad_right(answers[part], pad_id)
        prompt_ids, prompt_mask, ids, mask = (x.to(sampler.model.device) for x in (*asked, *said))
        rows.append(response_logprobs(sampler.model, prompt_ids, prompt_mask, ids, mask, temperature).sum(1))
    return torch.cat(rows)


def fact_items(world: World, tokenizer: PreTrainedTokenizerBase, n: int = 300) -> list[ChoiceItem]:
    """Closed-book facts as multiple choice: the statement up to its answer, the truth among other answers (App. D).

    At most n items; none if the world has no such questions.
    """
    items = []
    for texts in world.questions(n):
        ids = [encode_text(tokenizer, t) for t in texts]
        shared = next(i for i in range(len(ids[0])) if len({tuple(x[: i + 1]) for x in ids}) > 1)
        items.append(ChoiceItem([tokenizer.bos_token_id, *ids[0][:shared]], [x[shared:] for x in ids], 0))
    return items


def alignment_tax(policy: Policy, cfg: Config) -> Summary:
    """Alignment tax: sections pretraining_loss (nats per token, held-out text) and, where the world has questions, facts
    (closed-book accuracy)."""
    world = known_world(cfg)
    tokenizer, model = load_tokenizer(policy.path), load_policy(policy.path, choose_device(cfg.device))
    rows = held_out_web(world, tokenizer, cfg.evaluation.web_documents, context_length(model))
    found = Summary(pretraining_loss=Section({policy.name: pretraining_loss(model, rows)}))
    if items := fact_items(world, tokenizer):
        found.facts[policy.name] = choice_accuracy(model, items)
    return found


def held_out_web(world: World, tokenizer: PreTrainedTokenizerBase, n_documents: int, context: int | None = None) -> Tensor:
    """Rows (N, ROW_LENGTH) of the world's text that no base was trained on; shorter rows if the context is shorter."""
    length = min(ROW_LENGTH, context or ROW_LENGTH)
    return world_rows(world, tokenizer, world.documents(n_documents, HELD_OUT_WEB_SEED), length)


def best_of_n(
    policy: Policy, prompts: Sequence[Prompt], ns: Sequence[int], cfg: Config, rewards_of: RewardsOf
) -> list[dict[str, float]]:
    """Gold of the one of n samples with the highest reward: a test of the reward model that takes seconds.

    rewards_of(prompts, responses) -> rewards. Rows {n, proxy, gold, gold_se, oracle}; oracle: the best by gold.
    """
    # Sample max(ns) answers per prompt once; each n uses the first n of them.
    most = max(ns)
    repeated = [p for p in prompts for _ in range(most)]
    names = [f"best_of/{p.prompt_id}/{i}" for p in prompts for i in range(most)]
    texts = [p.prompt for p in repeated]
    responses = load_sampler(policy, cfg)(texts, seed=cfg.seed, names=names)
    shape = (len(prompts), most)
    # Score all answers by the reward model and by gold: (prompts, most).
    rewards, world = torch.tensor(rewards_of(texts, responses)).view(shape), known_world(cfg)
    points = [world.gold(p, r.text, r.finished) for p, r in zip(repeated, responses, strict=True)]
    golds = torch.tensor(points).view(shape)
    # For each n pick the answer with the highest reward, and the best one by gold (the oracle).
    rows = []
    for n in ns:
        best = rewards[:, :n].argmax(1, keepdim=True)
        found = mean_se(golds.gather(1, best).squeeze(1).tolist())
        proxy = float(rewards.gather(1, best).mean())
        oracle = float(golds[:, :n].amax(1).mean())
        rows.append({"n": n, "proxy": proxy, "gold": found.mean, "gold_se": found.se, "oracle": oracle})
    return rows
