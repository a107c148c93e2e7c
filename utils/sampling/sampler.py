"""Text in, text out: completions of a policy for prompts, and the K completions a labeler ranks (sec. 3.5)."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.config import SAMPLING_BATCH, DataConfig, SamplingConfig
from utils.core import processes
from utils.core.errors import UserError
from utils.core.runtime import python_rng, stream_seed
from utils.data.encoding import decode_response, decode_responses, encode_prompts, encode_questions, stop_ids
from utils.data.schemas import Prompt
from utils.models.loading import load_policy
from utils.models.tokenizers import load_tokenizer
from utils.sampling.rollout import Decoding, OnTokens, episode_uniforms, sample

NEAR_MISS = "near_miss"
UNDECODED = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer writes for bytes that are no character, or not yet one


@dataclass(frozen=True)
class Response:
    """A completion without special tokens; finished: it ended with the end token (False: cut off at the length limit).

    ids: the tokens as sampled, the stop token included; the text alone may be another row of tokens.
    """

    text: str
    finished: bool
    ids: tuple[int, ...] = field(default=(), compare=False, repr=False)


Draw = Callable[..., list[Response]]  # called as draw(prompts, names=streams)
NearMiss = Callable[[Prompt, random.Random], tuple[str, str]]  # right and wrong answers of the same form


@dataclass(frozen=True)
class Sampler:
    """A policy ready to answer. template: text with "{prompt}" in it that it is asked in; None asks as it was trained."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    data: DataConfig
    template: str | None = None
    batch_size: int = SAMPLING_BATCH

    @classmethod
    def load(
        cls,
        path: Path | str,
        data: DataConfig,
        *,
        prompted: bool = False,
        device: torch.device | str = "cpu",
        batch_size: int = SAMPLING_BATCH,
    ) -> Sampler:
        """The policy of a model directory. prompted: asked in `data.prompted_template` (the paper's GPT-3-prompted)."""
        template = data.prompted_template if prompted else None
        return cls(load_policy(path, device), load_tokenizer(path), data, template, batch_size)

    def encode(self, prompt: str) -> list[int]:
        """Ids of the prompt as this policy is asked."""
        return self.encode_all([prompt])[0]

    def encode_all(self, prompts: Sequence[str]) -> list[list[int]]:
        """`encode` of many prompts at once."""
        if self.template is None:
            return encode_prompts(self.tokenizer, prompts, self.data)
        return encode_questions(self.tokenizer, [self.template.replace("{prompt}", prompt) for prompt in prompts])

    def __call__(self, prompts: Sequence[str], *, seed: int, names: Sequence[str], temperature: float = 1.0) -> list[Response]:
        """One completion a prompt. names: the stream of random numbers of each; temperature 0 is greedy.

        Several processes share the prompts, so all of them must call this.
        """
        rows = list(zip(prompts, names, strict=True))
        return processes.map_ranks(rows, lambda part: self._answer(part, seed, temperature))

    def stream(
        self, prompt: str, on_text: Callable[[str], None], *, seed: int, name: str, temperature: float = 1.0
    ) -> Response:
        """The completion that a call gives for this prompt and stream, in this process, told while it is sampled.

        on_text: hears the text so far after each token. A character whose last byte is still to come is left out.
        """
        ids: list[int] = []

        def hear(_: Tensor, tokens: Tensor) -> None:
            ids.extend(tokens.tolist())
            on_text(decode_response(self.tokenizer, ids)[0].rstrip(UNDECODED))

        return self._answer([(prompt, name)], seed, temperature, hear)[0]

    def _answer(
        self, rows: Sequence[tuple[str, str]], seed: int, temperature: float, on_tokens: OnTokens | None = None
    ) -> list[Response]:
        """The completions of (prompt, stream) rows in this process."""
        prompts, names = zip(*rows, strict=True)
        length = self.data.max_response_tokens
        uniforms = episode_uniforms([stream_seed(seed, n) for n in names], length) if temperature > 0 else None
        distinct = list(dict.fromkeys(prompts))
        ids = dict(zip(distinct, self.encode_all(distinct), strict=True))
        how = Decoding(
            max_new_tokens=length,
            stop_ids=stop_ids(self.tokenizer),
            pad_id=self.tokenizer.pad_token_id,
            temperature=temperature or 1.0,
            batch_size=self.batch_size,
        )
        rollout = sample(self.model, [ids[p] for p in prompts], uniforms, how, on_tokens)
        drawn = rollout.responses()
        return [Response(*read, tuple(ids)) for read, ids in zip(decode_responses(self.tokenizer, drawn), drawn, strict=True)]


def allot(mix: Mapping[str, float], k: int, offset: float) -> list[str]:
    """K policy names in the proportions of `mix`: systematic sampling with `offset` in [0, 1)."""
    names, edges = list(mix), list(accumulate(mix.values()))
    points = [(offset + i) * edges[-1] / k for i in range(k)]
    return [names[min(bisect_right(edges, point), len(names) - 1)] for point in points]


def repeated(response: Response, rng: random.Random) -> Response:
    """The response with its last words said over and over, ended or not: what a policy could try to please a reward
    model."""
    words = response.text.split() or ["the"]
    tail = words[-rng.choice([1, 2, 3]) :]
    return Response(" ".join(words + tail * rng.choice([2, 3, 4])), rng.random() < 0.5)


def completions_to_rank(
    prompts: Sequence[Prompt],
    samplers: Mapping[str, Draw],
    cfg: SamplingConfig,
    seed: int,
    near_miss: NearMiss | None = None,
) -> list[list[tuple[str, Response]]]:
    """For each prompt its K (policy name, response) pairs, in an order that tells nothing.

    samplers: for each sampled name of `cfg.mix` a function (prompts, names=...) -> responses. The names
    "other_same_task", "other_any_task" (an answer to another prompt) and "repeated" are made from the others: without
    such outputs among the ranked ones, a reward model need not look at the prompt. "near_miss" takes right and wrong
    answers of the same form from `near_miss` in turn: without them it need not look at the content. Raises UserError if the
    mix has no policy, or near misses without `near_miss`.
    """
    if cfg.mix.get(NEAR_MISS, 0) > 0 and near_miss is None:
        raise UserError(f"sampling.mix has {NEAR_MISS}, which only a world can write: set its share to 0.")
    if not any(cfg.mix.get(name, 0) > 0 for name in samplers):
        raise UserError(f"sampling.mix has no policy that answers prompts: give {' or '.join(samplers)} a share above 0.")
    plans = []
    for prompt in prompts:
        rng = python_rng(seed, "allot", prompt.prompt_id)
        plans.append(allot(cfg.mix, rng.randint(cfg.k_min, cfg.k_max), rng.random()))
    made = _drawn(prompts, plans, samplers)
    sampled = [[made[i, j] for j in range(len(plan)) if (i, j) in made] for i, plan in enumerate(plans)]
    able = [i for i, answers in enumerate(sampled) if answers]
    by_case: dict[str, list[int]] = {}
    for i in able:
        by_case.setdefault(prompts[i].use_case, []).append(i)
    result = []
    for i, (prompt, plan) in enumerate(zip(prompts, plans, strict=True)):
        rng = python_rng(seed, "distract", prompt.prompt_id)
        same = by_case.get(prompt.use_case, [])
        pairs = _near_misses(prompt, near_miss, python_rng(seed, NEAR_MISS, prompt.prompt_id)) if near_miss else iter(())
        row = []
        for j, name in enumerate(plan):
            if name == NEAR_MISS:
                row.append((name, next(pairs)))
            else:
                row.append((name, made.get((i, j)) or _derived(name, i, same, able, sampled, rng)))
        rng.shuffle(row)
        result.append(row)
    return result


def _drawn(
    prompts: Sequence[Prompt], plans: Sequence[Sequence[str]], samplers: Mapping[str, Draw]
) -> dict[tuple[int, int], Response]:
    """The sampled responses by (prompt, place in its plan), each from a stream of its own."""
    made: dict[tuple[int, int], Response] = {}
    for name, draw in samplers.items():
        slots = [(i, j) for i, plan in enumerate(plans) for j, n in enumerate(plan) if n == name]
        if slots:
            texts = [prompts[i].prompt for i, _ in slots]
            names = [f"rank/{name}/{prompts[i].prompt_id}/{j}" for i, j in slots]
            made |= dict(zip(slots, draw(texts, names=names), strict=True))
    return made


def _near_misses(prompt: Prompt, near_miss: NearMiss, rng: random.Random) -> Iterator[Response]:
    """Right and wrong answers in turn, two of each pair."""
    while True:
        yield from (Response(text, True) for text in near_miss(prompt, rng))


def _derived(
    name: str, i: int, same: Sequence[int], able: Sequence[int], sampled: Sequence[Sequence[Response]], rng: random.Random
) -> Response:
    """An answer for prompt i made from a sampled one: of another prompt, or repeated.

    same, able: prompts that have a sampled answer, those of the same use case and all.
    """
    source = i
    if name != "repeated" or not sampled[i]:
        pool = same if name == "other_same_task" and set(same) - {i} else able
        while source == i and (len(pool) > 1 or not sampled[i]):
            source = rng.choice(pool)
    response = rng.choice(sampled[source])
    return repeated(response, rng) if name == "repeated" else response
