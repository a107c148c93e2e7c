"""Seconds of a run on this machine, predicted from its operations and a few timed passes.

A pass costs a fixed time (Python, kernel launches) and its operations at some rate; for small models the fixed time
is the larger part.
`probe` times passes of a model of this shape at two batch sizes and solves for both. `predict` adds up.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from utils.core.runtime import torch_generator
from utils.models.loading import load_policy, reward_from_policy
from utils.models.prompt_sharing import can_share
from utils.planning.operations import (
    Batches,
    Counting,
    Data,
    Pass,
    Shape,
    Texts,
    Work,
    kwise,
    read,
    sampling,
    shape_of_model,
)
from utils.reward.batches import Group
from utils.reward.train import kwise_step
from utils.sampling.rollout import Decoding, response_logprobs, sample
from utils.sft.rows import token_loss
from utils.training.loop import make_optimizer

REPEATS = 9
PROBE_FLOPS = 4e9  # of the larger forward pass of a probe; larger models take smaller batches
ROWS = (2, 64)
RANKED_PROMPTS = (2, 8)
COUNTED = Counting()


@dataclass(frozen=True)
class Rate:
    """Seconds of a pass = call + FLOPs / flops_per_second."""

    call: float
    flops_per_second: float


@dataclass(frozen=True)
class Speed:
    """This machine at one model shape: rates by kind of pass, and seconds of an optimizer step (clipping included)."""

    rates: dict[str, Rate]
    step: float


def solve(small: tuple[float, float], large: tuple[float, float]) -> Rate:
    """The line through two (FLOPs, seconds); if its constant would be negative, the line through zero and the larger point."""
    (f1, t1), (f2, t2) = small, large
    call = max(0.0, (t1 * f2 - t2 * f1) / (f2 - f1))
    call = min(call, t1)
    return Rate(call, f2 / max(t2 - call, 1e-9))


def predict(work: Sequence[Work], speeds: dict[str, Speed]) -> dict[str, float]:
    """Seconds of each stage. speeds: by the shape's name."""
    found: dict[str, float] = {}
    for item in work:
        speed = speeds[item.shape.name]
        rate = speed.rates[item.kind]
        seconds = item.calls * rate.call + item.flops / rate.flops_per_second + item.steps * speed.step
        found[item.stage] = found.get(item.stage, 0.0) + seconds
    return found


# --- timing --------------------------------------------------------------------------------------------------------


def _median(action: Callable[[], Any], device: torch.device) -> float:
    """Median seconds of `action`, after one warm-up run."""
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def probe(model: PreTrainedModel, reward: PreTrainedModel, shape: Shape, data: Data, seed: int = 0) -> Speed:
    """Time passes of a policy and a reward model of one shape (any weights) on texts of the mean lengths of `data`."""
    device = next(model.parameters()).device
    prompt, answer = max(1, round(data.ppo_prompt)), max(2, round(data.response))
    one = read(Pass("", "", "forward", shape), Texts(1, prompt, answer), 1, COUNTED).flops
    rows = (ROWS[0], max(ROWS[0] + 2, min(ROWS[1], int(PROBE_FLOPS / one))))
    vocabulary = int(model.config.vocab_size)
    ids = torch.randint(vocabulary, (rows[1], prompt + answer), generator=torch_generator(seed, "probe")).to(device)
    mask = torch.ones_like(ids).bool()
    labels = torch.cat([torch.full_like(ids[:, :prompt], -100), ids[:, prompt:]], 1)

    def train(n: int) -> None:
        token_loss(model, ids[:n], mask[:n], labels[:n]).total.backward()

    @torch.no_grad()
    def forward(n: int) -> None:
        response_logprobs(model, ids[:n, :prompt], mask[:n, :prompt], ids[:n, prompt:], mask[:n, prompt:])

    rates = {}
    for kind, action in (("train", train), ("forward", forward)):
        done = Pass("", "", kind, shape)
        points = [(read(done, Texts(n, prompt, answer), 1, COUNTED).flops, _median(partial(action, n), device)) for n in rows]
        rates[kind] = solve(*points)
    rates["decode"] = _decode(model, shape, ids, prompt, answer, rows)
    rates["ranked"] = _ranked(reward, shape, data, vocabulary)
    return Speed(rates, _step(model, train, rows[0], device))


def _decode(model: PreTrainedModel, shape: Shape, ids: Tensor, prompt: int, answer: int, rows: tuple[int, int]) -> Rate:
    """Per call of the decoder: what `answer` tokens cost beyond one token."""
    device = ids.device
    points = []
    for n in rows:
        prompts = ids[:n, :prompt].tolist()

        def run(tokens: int, prompts: list[list[int]] = prompts) -> float:
            uniforms = torch.rand(len(prompts), tokens, generator=torch_generator(0, "probe"))
            how = Decoding(max_new_tokens=tokens, stop_ids=(), pad_id=0)
            return _median(lambda: sample(model, prompts, uniforms, how), device)

        seconds = (run(answer) - run(1)) / (answer - 1)
        flops = sampling("", "", shape, Texts(n, prompt, answer), Batches(n, answer), COUNTED)[1].flops / answer
        points.append((flops, max(seconds, 1e-9)))
    return solve(*points)


def _ranked(reward: PreTrainedModel, shape: Shape, data: Data, vocabulary: int) -> Rate:
    """The K-wise pass of the reward model (Eq. 1), forward and backward, on rankings of the mean size."""
    device = next(reward.parameters()).device
    k, prompt, answer = max(2, round(data.distinct)), max(1, round(data.rm_prompt)), max(1, round(data.completion))
    points = []

    def ranked(groups: list[Group]) -> None:
        kwise_step(reward, groups, 0, device).loss.backward()

    for n in RANKED_PROMPTS:
        ids = torch.randint(vocabulary, (n, prompt + k * answer), generator=torch_generator(0, "ranked")).tolist()
        answers = [[row[prompt + i * answer : prompt + (i + 1) * answer] for i in range(k)] for row in ids]
        groups = [Group(row[:prompt], a, list(range(k)), list(range(1, k + 1))) for row, a in zip(ids, answers, strict=True)]
        seconds = _median(partial(ranked, groups), device)
        sizes = replace(data, distinct=float(k), rm_prompt=float(prompt), completion=float(answer))
        points.append((kwise("", "ranked", shape, n, 1, sizes, Counting(shared_prompts=can_share(reward))).flops, seconds))
    return solve(*points)


def _step(model: PreTrainedModel, train: Callable[[int], None], rows: int, device: torch.device) -> float:
    """Clip, step, zero the gradient: seconds beyond those of the pass before it. The learning rate is 0."""
    optimizer = make_optimizer(model.parameters(), 0.0)
    pass_alone = _median(lambda: train(rows), device)

    def whole() -> None:
        train(rows)
        torch.nn.utils.clip_grad_norm_(list(model.parameters()), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return max(0.0, _median(whole, device) - pass_alone)


def speeds_of(models: Sequence[str | Path], data: Data, device: torch.device) -> dict[str, Speed]:
    """Probe each model directory once; keys are the shapes' names."""
    found: dict[str, Speed] = {}
    for path in models:
        model = load_policy(path, device)
        shape = shape_of_model(model, Path(path).name)
        if shape.name not in found:
            found[shape.name] = probe(model, reward_from_policy(path, device), shape, data)
    return found
