"""What the length limits leave of the user's demonstrations and rankings, before anything is trained."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from utils.data.encoding import encode_completions, encode_prompts
from utils.data.left_out import LeftOut, Notes
from utils.data.schemas import PER_COMPLETION, Comparison, Demonstration

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from utils.config import DataConfig


def within_limits(
    rows: Sequence[Demonstration], tokenizer: PreTrainedTokenizerBase, data_cfg: DataConfig, notes: Notes
) -> list[Demonstration]:
    """Demonstrations whose prompt and answer fit; the others are noted, as SFT would skip them.

    An answer that is cut would teach the model to stop nowhere, so nothing is cut.
    """
    uncut = replace(data_cfg, max_response_tokens=sys.maxsize)
    prompts = encode_prompts(tokenizer, [row.prompt for row in rows], data_cfg)
    answers = encode_completions(tokenizer, [row.completion for row in rows], [True] * len(rows), uncut)
    long_prompt = [len(ids) > data_cfg.max_prompt_tokens for ids in prompts]
    long_answer = [len(ids) > data_cfg.max_response_tokens for ids in answers]
    for what, flags, lengths, setting in (
        ("prompt", long_prompt, prompts, "max_prompt_tokens"),
        ("answer", [a and not p for a, p in zip(long_answer, long_prompt, strict=True)], answers, "max_response_tokens"),
    ):
        gone = [i for i, flag in enumerate(flags) if flag]
        most = max((len(lengths[i]) for i in gone), default=0)
        limit = getattr(data_cfg, setting)
        reason = f"the {what} is longer than {limit} tokens (the longest has {most})"
        notes.leave_out("demonstrations", [rows[i] for i in gone], reason, f"data.{setting}={limit}, raise it")
    return [row for row, p, a in zip(rows, long_prompt, long_answer, strict=True) if not (p or a)]


def distinct_answers(
    rows: Sequence[Comparison], tokenizer: PreTrainedTokenizerBase, data_cfg: DataConfig, notes: Notes
) -> list[Comparison]:
    """Rankings without pairs whose two answers are the same after the cut at `data.max_response_tokens`; noted.

    Such a pair has no gradient and no right order. Of equal answers with different ranks the best-ranked one stays; a
    ranking with fewer than two answers, or only ties, is left out. Equal answers with equal ranks stay, as they make no pair.
    """
    texts = [text for row in rows for text in row.completions]
    ends = [end for row in rows for end in (row.finished or (True,) * len(row.completions))]
    encoded = iter(encode_completions(tokenizer, texts, [end or not t for end, t in zip(ends, texts, strict=True)], data_cfg))
    kept: list[Comparison] = []
    gone: list[Comparison] = []
    shorter: list[tuple[Comparison, int]] = []
    for row in rows:
        answers = [tuple(next(encoded)) for _ in row.completions]
        best = best_ranks(answers, row.ranks)
        stay = [i for i, rank in enumerate(row.ranks) if rank == best[i]]
        left = _only(row, stay) if len(stay) < len(answers) else row
        if len(stay) < 2 or len(set(left.ranks)) < 2:
            gone.append(row)
            continue
        kept.append(left)
        if left is not row:
            shorter.append((row, len(answers) - len(stay)))
    limit = data_cfg.max_response_tokens
    setting = f"data.max_response_tokens={limit}, raise it"
    notes.leave_out("rankings", gone, f"their answers are the same after the cut at {limit} tokens", setting)
    if shorter:
        reason = f"after the cut at {limit} tokens they are the same as a better one of their ranking"
        count = sum(number for _, number in shorter)
        notes.left_out.append(LeftOut("answers", count, reason, setting, notes.place(shorter[0][0])))
    return kept


def best_ranks(answers: Sequence[Hashable], ranks: Sequence[int]) -> list[int]:
    """Rank of each answer, where equal answers share the best of their ranks: they tie, so they make no pair."""
    best: dict[Hashable, int] = {}
    for answer, rank in zip(answers, ranks, strict=True):
        best[answer] = min(rank, best.get(answer, rank))
    return [best[answer] for answer in answers]


def _only(row: Comparison, which: Sequence[int]) -> Comparison:
    """A ranking of some of its completions."""
    lists = {name: getattr(row, name) for name in PER_COMPLETION}
    fewer: dict[str, Any] = {name: tuple(values[i] for i in which) for name, values in lists.items() if values}
    return replace(row, **fewer)
