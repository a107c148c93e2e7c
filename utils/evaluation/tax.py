"""The alignment tax (sec. 4.2, App. D): what a policy lost of what it learned in pretraining.

Two probes: the loss on held-out pretraining text, and closed-book facts as multiple choice. Both only read: the
model is put in eval mode (no dropout), and then back in the mode it was in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from utils.core import processes
from utils.data.encoding import pad_right
from utils.losses import nll_sum, token_logprobs


class ChoiceItem(NamedTuple):
    """One multiple-choice question: `prefix` ids (at least one), the `choices` as ids, the index of the right one."""

    prefix: Sequence[int]
    choices: Sequence[Sequence[int]]
    right: int


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[torch.device]:
    """Eval mode without gradients; gives the model's device."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield next(model.parameters()).device
    finally:
        model.train(training)


def _pad_id(model: nn.Module) -> int:
    """The model's pad id; 0 if it has none (then only the mask counts)."""
    pad = getattr(model.config, "pad_token_id", None)
    return 0 if pad is None else int(pad)


def next_token_logprobs(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """(B, T - 1) natural log-probabilities of ids[:, 1:] given the tokens before them. ids (B, T) long, mask (B, T) bool.

    Padding may be on either side: positions are counted over the mask (docs/architecture.md).
    """
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask.long(), position_ids=positions, use_cache=False).logits
    return token_logprobs(logits[:, :-1].float(), ids[:, 1:])


def pretraining_loss(model: nn.Module, rows: Tensor | np.ndarray | Sequence[Sequence[int]], batch_size: int = 64) -> float:
    """Mean next-token loss (`losses.nll` of all rows together) on held-out pretraining text, in nats per predicted token.

    rows: (N, T) token ids, packed or padded on the right with the model's pad id; pad tokens are neither predicted
    nor read. Every token counts the same, whatever the batch size. Raises ValueError if nothing can be predicted.
    """
    ids = torch.as_tensor(np.asarray(rows), dtype=torch.long)
    if ids.ndim != 2 or ids.shape[0] == 0 or ids.shape[1] < 2:
        raise ValueError(
            f"pretraining text: expected rows (N, T) with T >= 2 token ids, got {tuple(ids.shape)}; add documents."
        )
    pad = getattr(model.config, "pad_token_id", None)
    mask = torch.ones_like(ids, dtype=torch.bool) if pad is None else ids != pad

    def sums(own: Sequence[int]) -> list[tuple[float, int]]:
        """Summed loss and number of predicted tokens of each row."""
        result: list[tuple[float, int]] = []
        with _evaluating(model) as device:
            for part in torch.tensor(own).split(batch_size):
                batch, keep = ids[part].to(device), mask[part].to(device)
                predicted = keep[:, 1:] & keep[:, :-1]  # (B, T - 1)
                losses = nll_sum(next_token_logprobs(model, batch, keep).double(), predicted, dim=-1)  # (B,)
                result += zip(losses.tolist(), predicted.sum(-1).tolist(), strict=True)
        return result

    found = processes.map_ranks(range(len(ids)), sums)
    total, tokens = sum(loss for loss, _ in found), sum(count for _, count in found)
    if tokens == 0:
        raise ValueError("pretraining text: every row is padding or a single token, so there is nothing to predict; add text.")
    return total / tokens


def _check_items(items: Sequence[ChoiceItem]) -> None:
    """ValueError naming the item and the field that is wrong."""
    if not items:
        raise ValueError("facts: there is no multiple-choice item; give at least one.")
    for index, item in enumerate(items):
        if len(item.prefix) == 0:
            raise ValueError(f"facts: item {index}, field prefix is empty; begin it with the document separator.")
        if len(item.choices) < 2 or any(len(choice) == 0 for choice in item.choices):
            raise ValueError(f"facts: item {index}, field choices needs at least 2 choices, none of them empty.")
        if not 0 <= item.right < len(item.choices):
            raise ValueError(
                f"facts: item {index}, field right is {item.right}, but there are {len(item.choices)} choices, from 0."
            )


def choice_logprobs(model: nn.Module, items: Sequence[ChoiceItem], batch_size: int = 64) -> list[list[float]]:
    """Average natural log-probability per token of every choice after its prefix; one list per item.

    The average, not the sum, so that length alone does not make a choice worse (App. D). Raises ValueError for a broken item.
    """
    _check_items(items)
    flat = [(list(item.prefix), list(choice)) for item in items for choice in item.choices]
    pieces = iter(processes.map_ranks(flat, lambda part: _mean_logprobs(model, part, batch_size)))
    return [[next(pieces) for _ in item.choices] for item in items]


def _mean_logprobs(model: nn.Module, rows: Sequence[tuple[list[int], list[int]]], batch_size: int) -> list[float]:
    """Mean log-probability per token of the second part of each row, given the first."""
    means: list[float] = []
    with _evaluating(model) as device:
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            ids, mask = (t.to(device) for t in pad_right([p + c for p, c in part], _pad_id(model)))
            begin = torch.tensor([len(p) - 1 for p, _ in part], device=device)[:, None]
            place = torch.arange(ids.shape[1] - 1, device=device)[None]
            keep = (place >= begin) & mask[:, 1:]
            logprobs = next_token_logprobs(model, ids, mask).masked_fill(~keep, 0.0).double()
            means.extend((logprobs.sum(-1) / keep.sum(-1)).tolist())
    return means


def choice_accuracy(model: nn.Module, items: Sequence[ChoiceItem], batch_size: int = 64) -> float:
    """Share of closed-book facts on which the right choice has the lowest loss per token (App. D).

    App. D's text says the lowest average per-token log-probability is picked; it must mean the lowest loss.
    """
    scored = zip(items, choice_logprobs(model, items, batch_size), strict=True)
    return sum(credit(scores, (item.right,)) for item, scores in scored) / len(items)


def credit(scores: Sequence[float], right: Sequence[int]) -> float:
    """1 if the choice with the highest score is one of the `right` ones, else 0; for ties the share that is right."""
    best = [index for index, score in enumerate(scores) if score == max(scores)]
    return len(set(best) & set(right)) / len(best)
