"""Training rows of SFT (sec. 3.5): encoded demonstrations, batches with labels, the loss per token, the order of an epoch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from utils.config import DataConfig
from utils.core import processes
from utils.data.encoding import encode_completions, encode_prompts, pad_right
from utils.data.schemas import Demonstration
from utils.losses import nll_sum, token_logprobs
from utils.models.dropout import Rows
from utils.sampling.rollout import eval_mode, selected_logits
from utils.training.sharding import unsharded

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


IGNORED = -100


EVAL_ROWS = 128


WINDOW_BATCHES = 8


class Row(NamedTuple):
    """One training sequence: token ids, and the index of the first token that carries loss."""

    ids: list[int]
    loss_from: int


@dataclass(frozen=True)
class Encoded:
    """Encoded demonstrations and how many were left out because prompt, completion or both together were too long."""

    rows: list[Row]
    too_long: int


class TokenLoss(NamedTuple):
    """Summed negative log-likelihood (nats, scalar tensor) and the number of tokens it is over."""

    total: Tensor
    tokens: int


def encode_demonstrations(
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Demonstration],
    data_cfg: DataConfig,
    context: int | None,
) -> Encoded:
    """Ids of prompt + completion + end token; demonstrations over a length limit are skipped and counted.

    A cut answer would teach the model to stop nowhere, so nothing is cut. `context`: the model's positions, if limited.
    """
    rows, too_long = [], 0
    context = context or sys.maxsize
    uncut = replace(data_cfg, max_response_tokens=sys.maxsize)
    prompts = encode_prompts(tokenizer, [row.prompt for row in demonstrations], data_cfg)
    completions = encode_completions(tokenizer, [row.completion for row in demonstrations], [True] * len(demonstrations), uncut)
    for prompt, completion in zip(prompts, completions, strict=True):
        fits = len(prompt) <= data_cfg.max_prompt_tokens and len(completion) <= data_cfg.max_response_tokens
        if fits and len(prompt) + len(completion) <= context:
            rows.append(Row(prompt + completion, max(len(prompt), 1)))
        else:
            too_long += 1
    return Encoded(rows, too_long)


def make_batch(rows: Sequence[Row], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """ids (B, T), attention mask (B, T) bool and labels (B, T) with `IGNORED` where there is no loss; right-padded."""
    ids, mask = pad_right([row.ids for row in rows], pad_id)
    starts = torch.tensor([row.loss_from for row in rows])
    has_loss = mask & (torch.arange(ids.shape[1]) >= starts[:, None])
    return ids, mask, ids.masked_fill(~has_loss, IGNORED)


def token_loss(
    model: PreTrainedModel,
    ids: Tensor,
    mask: Tensor,
    labels: Tensor,
    rows: Rows | None = None,
    seeds: Sequence[int] = (),
) -> TokenLoss:
    """Summed negative log-likelihood of the labelled tokens (`losses.nll_sum`); ids, mask, labels (B, T), right-padded.

    Divided by the number of tokens it is `losses.lm_loss`, without the logits of positions that are not read.

    rows: the model's dropout (`dropout.by_row`), which draws the masks of row i from the stream seeds[i].
    """
    keep = torch.zeros_like(mask)  # (B, T): a token is predicted one position earlier
    keep[:, :-1] = labels[:, 1:] != IGNORED
    if rows is not None:
        rows.read(seeds, mask, keep)
    targets = labels[:, 1:][keep[:, :-1]]  # (N,)
    logprobs = token_logprobs(selected_logits(model, ids, mask, keep), targets)  # (N, V) -> (N,), all of which count
    return TokenLoss(nll_sum(logprobs, torch.ones_like(targets, dtype=torch.bool)), len(targets))


@torch.no_grad()
def evaluate_loss(model: PreTrainedModel, rows: Sequence[Row], pad_id: int) -> float:
    """Mean negative log-likelihood per loss token of `rows` without dropout (nats); NaN if there are no rows.

    Several processes share the batches.
    """
    device = next(model.parameters()).device
    ordered = sorted(rows, key=lambda row: len(row.ids))
    batches = [ordered[start : start + EVAL_ROWS] for start in range(0, len(ordered), EVAL_ROWS)]

    def losses(part: Sequence[Sequence[Row]]) -> list[tuple[float, int]]:
        found = []
        for batch in part:
            ids, mask, labels = (tensor.to(device) for tensor in make_batch(batch, pad_id))
            loss = token_loss(model, ids, mask, labels)
            found.append((float(loss.total), loss.tokens))
        return found

    with unsharded(model), eval_mode(model):
        sums = processes.map_ranks(batches, losses)
    total, tokens = sum(loss for loss, _ in sums), sum(count for _, count in sums)
    return total / tokens if tokens else float("nan")


def epoch_batches(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """One pass over the rows in random batches of similar length.

    A permutation is cut into windows of `WINDOW_BATCHES` batches, each window sorted by length, the batches shuffled:
    every row comes once, and padding shrinks. The last batch of all may be smaller.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    window = WINDOW_BATCHES * batch_size
    batches = []
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window], key=lambda index: lengths[index])
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
