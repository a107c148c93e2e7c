"""Text in, text out: completions of a policy for prompts, and the K completions a labeler ranks (sec. 3.5)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.config import DataConfig, SamplingConfig
from utils.data.encoding import decode_response, encode_text, stop_ids
from utils.data.schemas import Prompt
from utils.models import load_policy, load_tokenizer
from utils.rollout import episode_uniforms, sample
from utils.runtime import python_rng, stream_seed


@dataclass(frozen=True)
class Response:
    """A completion without special tokens; ended: it ended itself (False: cut off at the length limit)."""

    text: str
    ended: bool


@dataclass(frozen=True)
class Sampler:
    """A policy ready to answer. template: how the prompt is put to it, with "{prompt}" in it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    data: DataConfig
    template: str
    batch_size: int = 512

    @classmethod
    def load(
        cls, path: Path | str, data: DataConfig, *, prompted: bool = False, device: torch.device | str = "cpu"
    ) -> Sampler:
        """The policy of a model directory. prompted: asked in `data.prompted_template` (the paper's GPT-3-prompted)."""
        template = data.prompted_template if prompted else "{prompt}" + data.prompt_suffix
        return cls(load_policy(path, device), load_tokenizer(path), data, template)

    def encode(self, prompt: str) -> list[int]:
        return encode_text(self.tokenizer, self.template.replace("{prompt}", prompt))

    def __call__(
        self, prompts: Sequence[str], *, seed: int, names: Sequence[str], temperature: float = 1.0
    ) -> list[Response]:
        """One completion a prompt. names: the stream of random numbers of each; temperature 0 is greedy."""
        length = self.data.max_response_tokens
        uniforms = episode_uniforms([stream_seed(seed, n) for n in names], length) if temperature > 0 else None
        rollout = sample(
            self.model,
            [self.encode(p) for p in prompts],
            uniforms,
            max_new_tokens=length,
            temperature=temperature or 1.0,
            stop_ids=stop_ids(self.tokenizer),
            pad_id=self.tokenizer.pad_token_id,
            batch_size=self.batch_size,
        )
        return [Response(*decode_response(self.tokenizer, ids)) for ids in rollout.responses()]


def allot(mix: dict[str, float], k: int, offset: float) -> list[str]:
    """K policy names in the proportions of `mix`: systematic sampling with `offset` in [0, 1)."""
    total = sum(mix.values())
    points = [(offset + i) * total / k for i in range(k)]
    names, edge, chosen = list(mix), 0.0, []
    edges = []
    for name in names:
        edge += mix[name]
        edges.append(edge)
    for point in points:
        chosen.append(next(n for n, e in zip(names, edges, strict=True) if point < e or n == names[-1]))
    return chosen


def repeated(response: Response, rng: random.Random) -> Response:
    """The response with its last words said over and over and no end: what a policy could try to please a reward model."""
    words = response.text.split() or ["the"]
    tail = words[-rng.choice([1, 2, 3]) :]
    return Response(" ".join(words + tail * rng.choice([2, 3, 4])), rng.random() < 0.5)


def completions_to_rank(
    prompts: Sequence[Prompt], samplers: dict[str, Callable[..., list[Response]]], cfg: SamplingConfig, seed: int
) -> list[list[tuple[str, Response]]]:
    """For each prompt its K (policy name, response) pairs, in an order that tells nothing.

    samplers: for each sampled name of `cfg.mix` a function (prompts, names=...) -> responses. The names
    "other_same_task", "other_any_task" (an answer to another prompt) and "repeated" are made from the others: without
    such outputs among the ranked ones, a reward model need not look at the prompt.
    """
    plans = []
    for prompt in prompts:
        rng = python_rng(seed, "allot", prompt.prompt_id)
        plans.append(allot(cfg.mix, rng.randint(cfg.k_min, cfg.k_max), rng.random()))
    made: dict[tuple[int, int], Response] = {}
    for name, sampler in samplers.items():
        slots = [(i, j) for i, plan in enumerate(plans) for j, n in enumerate(plan) if n == name]
        texts = [prompts[i].prompt for i, _ in slots]
        names = [f"rank/{name}/{prompts[i].prompt_id}/{j}" for i, j in slots]
        made |= dict(zip(slots, sampler(texts, names=names) if slots else [], strict=True))
    by_case: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        by_case.setdefault(prompt.use_case, []).append(i)
    result = []
    for i, (prompt, plan) in enumerate(zip(prompts, plans, strict=True)):
        rng = python_rng(seed, "distract", prompt.prompt_id)
        row = [
            (n, made.get((i, j)) or _derived(n, i, by_case[prompt.use_case], plans, made, rng))
            for j, n in enumerate(plan)
        ]
        rng.shuffle(row)
        result.append(row)
    return result


def _derived(
    name: str,
    i: int,
    same: list[int],
    plans: list[list[str]],
    made: dict[tuple[int, int], Response],
    rng: random.Random,
) -> Response:
    """An answer made from a sampled one: of another prompt, or repeated."""
    source = i
    if name != "repeated":
        pool = same if name == "other_same_task" and len(same) > 1 else range(len(plans))
        source = next(s for s in iter(lambda: rng.choice(pool), None) if s != i or len(plans) == 1)
    response = made[source, rng.choice([j for j in range(len(plans[source])) if (source, j) in made])]
    return repeated(response, rng) if name == "repeated" else response
