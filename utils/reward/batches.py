"""Rankings as batches of token ids: encoding with its limits, pairs, parts that fit in memory.

N prompts with K ranked completions each have U distinct responses in all: only those go through the model.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from utils.config import DataConfig, RewardConfig
from utils.core.errors import UserError
from utils.data.encoding import decode_responses, encode_completions, encode_prompts, reward_input, stop_ids
from utils.data.limits import best_ranks
from utils.data.schemas import PER_COMPLETION, Comparison

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Group(NamedTuple):
    """One ranked prompt: its ids, its distinct responses, and for each of the K completions its response and rank."""

    prompt: list[int]
    responses: list[list[int]]
    which: list[int]
    ranks: list[int]


class Targets(NamedTuple):
    """Ranked completions of a batch of N prompts: `which` indexes the flat scores; `mask` is False beyond a prompt's K.

    All (N, K).
    """

    which: Tensor
    ranks: Tensor
    mask: Tensor


class Encoded(NamedTuple):
    """Encoded comparisons in order, and counts of what the length limits cut."""

    groups: list[Group]
    counts: dict[str, int]


def prompt_limit(data_cfg: DataConfig, context: int | None) -> int:
    """Most tokens of a prompt that are read: `data.max_prompt_tokens`, or what the context leaves beside an answer.

    Raises UserError if that is nothing.
    """
    limit = data_cfg.max_prompt_tokens
    if context is not None:
        limit = min(limit, context - data_cfg.max_response_tokens)
    if limit < 1:
        raise UserError(
            f"data.max_response_tokens {data_cfg.max_response_tokens} leaves no room for a prompt in the model's "
            f"{context} positions: lower it."
        )
    return limit


def encode_comparisons(
    tokenizer: PreTrainedTokenizerBase,
    comparisons: Sequence[Comparison],
    data_cfg: DataConfig,
    context: int | None = None,
) -> Encoded:
    """Ids of ranked completions; identical responses become one.

    A prompt over `prompt_limit` loses its beginning, so that the last turns of a dialogue stay; a longer answer is cut
    and so counts as not finished. Both are counted. A sampled completion is read as its ids were sampled, if
    `sampled_answers` knows them and they are within the limit. Answers that are equal after the cut tie at the best of their
    ranks, and are counted if they had different ones: no model can tell them apart. An empty answer is the end token alone.
    Raises UserError naming the row if ranks, `finished` or `ids` do not match the completions, or if the context has no room
    for a prompt.
    """
    limit = prompt_limit(data_cfg, context)
    counts = {"comparisons": len(comparisons), "prompts_cut": 0, "answers_cut": 0, "equal_after_cut": 0, "all_tied": 0}
    for row, comparison in enumerate(comparisons, 1):
        _check(comparison, row)
    # All texts are read in one call, which is much faster: the completions of all comparisons, one after the other. Those
    # whose sampled ids are known are not encoded again.
    ends = [comparison.finished or (True,) * len(comparison.completions) for comparison in comparisons]
    texts = [text for comparison in comparisons for text in comparison.completions]
    flat = list(itertools.chain.from_iterable(ends))
    drawn = [ids for c, end in zip(comparisons, ends, strict=True) for ids in c.ids or ((),) * len(end)]
    short = [ids if len(ids) <= data_cfg.max_response_tokens else () for ids in drawn]
    answers = sampled_answers(tokenizer, texts, flat, short)
    missing = [i for i, ids in enumerate(answers) if not ids]
    new = encode_completions(tokenizer, [texts[i] for i in missing], [flat[i] or not texts[i] for i in missing], data_cfg)
    for i, ids in zip(missing, new, strict=True):
        answers[i] = ids
    encoded = iter(answers)
    prompts = encode_prompts(tokenizer, [comparison.prompt for comparison in comparisons], data_cfg)
    # Back to rankings: each takes its K completions, and equal ids get the same place among its distinct responses.
    groups = []
    for comparison, prompt, finished in zip(comparisons, prompts, ends, strict=True):
        distinct: dict[tuple[int, ...], int] = {}
        which = []
        for end, ids in zip(finished, itertools.islice(encoded, len(finished)), strict=True):
            counts["answers_cut"] += end and ids[-1] != tokenizer.eos_token_id
            which.append(distinct.setdefault(tuple(ids), len(distinct)))
        counts["prompts_cut"] += len(prompt) > limit
        ranks = best_ranks(which, comparison.ranks)
        counts["equal_after_cut"] += sum(a != b for a, b in zip(ranks, comparison.ranks, strict=True))
        counts["all_tied"] += len(set(ranks)) < 2
        groups.append(Group(prompt[-limit:], [list(ids) for ids in distinct], which, ranks))
    return Encoded(groups, counts)


def sampled_answers(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], finished: Sequence[bool], sampled: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Sampled ids of answers as a reward model reads them, which may differ from those of their texts encoded again.

    The end token takes the place of any other stop token. A row is empty if there are no ids, or if they do not decode to
    the same text and end in this vocabulary (another tokenizer sampled them).
    """
    size, stops = len(tokenizer), stop_ids(tokenizer)
    known = [ids if ids and max(ids) < size else () for ids in sampled]
    return [
        reward_input((), ids, stops, tokenizer.eos_token_id) if ids and read == (text, end) else []
        for ids, read, text, end in zip(known, decode_responses(tokenizer, known), texts, finished, strict=True)
    ]


def _check(comparison: Comparison, row: int) -> None:
    """Raise UserError if the lists of a comparison differ in length."""
    k = len(comparison.completions)
    where = f"comparison {row} (prompt {comparison.prompt_id})"
    if k < 2:
        raise UserError(f"{where} has {k} completions: at least two are needed to compare.")
    if len(comparison.ranks) != k:
        raise UserError(f"{where} has {k} completions but {len(comparison.ranks)} ranks: give one rank per completion.")
    if comparison.finished and len(comparison.finished) != k:
        raise UserError(f"{where} has {k} completions but {len(comparison.finished)} in finished: give one each, or none.")
    if comparison.ids and len(comparison.ids) != k:
        raise UserError(f"{where} has {k} completions but {len(comparison.ids)} in ids: give one each, or none.")


def make_targets(groups: Sequence[Group]) -> Targets:
    """Where each completion's score is among those of all U distinct responses, and its rank: each (N, K), K the largest."""
    width = max(len(group.which) for group in groups)
    which, ranks = torch.zeros(2, len(groups), width, dtype=torch.long)  # (N, K) each, 0 beyond a prompt's own K
    mask = torch.zeros(len(groups), width, dtype=torch.bool)  # (N, K)
    offset = 0  # responses of the groups before
    for row, group in enumerate(groups):
        k = len(group.which)
        which[row, :k] = torch.tensor(group.which) + offset
        ranks[row, :k] = torch.tensor(group.ranks)
        mask[row, :k] = True
        offset += len(group.responses)
    return Targets(which, ranks, mask)


def usable(groups: Sequence[Group]) -> list[Group]:
    """Groups with at least one pair that is not tied."""
    return [group for group in groups if len(set(group.ranks)) > 1]


def as_pairs(groups: Sequence[Group]) -> list[Group]:
    """Every pair that is not tied as a group of its own: the data set of shuffled pairs of footnote 5 (sec. 3.5)."""
    pairs = []
    for group in groups:
        for i, j in itertools.combinations(range(len(group.which)), 2):
            if group.ranks[i] != group.ranks[j]:
                # Its two responses, or the one of both: the same text may have been ranked twice.
                rows = list(dict.fromkeys((group.which[i], group.which[j])))
                which = [rows.index(group.which[i]), rows.index(group.which[j])]
                pairs.append(Group(group.prompt, [group.responses[r] for r in rows], which, [group.ranks[i], group.ranks[j]]))
    return pairs


def forward_rows(groups: Sequence[Group]) -> int:
    """Sequences that one pass over the groups sends through the model: one for each distinct response of each group."""
    return sum(len(group.responses) for group in groups)


def batch_elements(groups: Sequence[Group], cfg: RewardConfig) -> tuple[list[Group], int]:
    """Batch elements that have a pair, and how many of them make a step.

    `cfg.element` "prompt": a ranking each, `prompts_per_step` of them. "pair": a pair each, as many as that number of
    rankings holds on average, so that both ways take the same number of steps over the same number of pairs.
    """
    groups = usable(groups)
    if cfg.element == "prompt" or not groups:
        return groups, cfg.prompts_per_step
    pairs = as_pairs(groups)
    return pairs, max(1, round(cfg.prompts_per_step * len(pairs) / len(groups)))


def groups_per_pass(batch: Sequence[Group], rows: int) -> int:
    """How many groups of the batch surely have no more than `rows` distinct responses in all, at least one; 0 if rows is 0."""
    return max(1, rows // max(len(group.responses) for group in batch)) if rows else 0


def size_batches(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Indices by rising size in batches whose padded size (largest times number) stays within `limit` if it can."""
    batches: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if batches and sizes[i] * (len(batches[-1]) + 1) <= limit:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def n_pairs(groups: Sequence[Group]) -> int:
    """Pairs of completions that are not tied."""
    return sum(a != b for group in groups for a, b in itertools.combinations(group.ranks, 2))


def leave_out(comparisons: Sequence[Comparison], policies: Sequence[str]) -> list[Comparison]:
    """The rankings without the completions that these policies wrote; rankings of fewer than two are dropped."""
    rows = []
    for comparison in comparisons:
        kept = [i for i, name in enumerate(comparison.policies) if name not in policies]
        if len(kept) > 1:
            lists = {name: getattr(comparison, name) for name in PER_COMPLETION}
            left: dict[str, Any] = {name: tuple(v[i] for i in kept) for name, v in lists.items() if v}
            rows.append(replace(comparison, **left))
    return rows
