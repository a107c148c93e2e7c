"""Cleaning of prompts as the paper describes it (sec. 3.2-3.3, A.1-A.4).

Works on any list of `Prompt` rows. Every cleaning step is a function of its own, `list[Prompt] -> CleaningResult`;
`clean_prompts` runs them in order. Order of rows is kept, and of rows that are too many the first ones stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utils.data.language import foreign_language
from utils.data.matching import normalise
from utils.data.pii import find_pii
from utils.data.schemas import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from utils.config import DataConfig

Length = Callable[[str], int]

REASONS = ("empty", "too_long", "language", "pii", "duplicate", "user_cap")


# ---------------------------------------------------------------- cleaning


@dataclass(frozen=True)
class Dropped:
    """A prompt that a step dropped: `reason` is one of REASONS, `detail` says why without quoting the prompt."""

    prompt: Prompt
    reason: str
    detail: str


@dataclass(frozen=True)
class CleaningResult:
    """`kept` in the order of the input; `dropped` in the order of the steps."""

    kept: list[Prompt]
    dropped: list[Dropped]


def _sift(prompts: Iterable[Prompt], reason: str, why: Callable[[Prompt], str]) -> CleaningResult:
    """Keep the prompts for which `why` is empty. `why` is called once per prompt, in order."""
    kept: list[Prompt] = []
    dropped: list[Dropped] = []
    for prompt in prompts:
        if detail := why(prompt):
            dropped.append(Dropped(prompt, reason, detail))
        else:
            kept.append(prompt)
    return CleaningResult(kept, dropped)


def count_words(text: str) -> int:
    """Words between blanks: a length for use without a tokenizer, and mostly a lower bound of the tokens."""
    return len(text.split())


def token_length(tokenizer: PreTrainedTokenizerBase, data_cfg: DataConfig) -> Length:
    """Length of a prompt in tokens as it is encoded for the models, its suffix included."""
    from utils.data.encoding import encode_prompt  # here, so that cleaning by words needs no torch

    return lambda text: len(encode_prompt(tokenizer, text, data_cfg))


def length_function(tokenizer: PreTrainedTokenizerBase | Length | None, data_cfg: DataConfig) -> Length:
    """Length of a prompt by a tokenizer, by a function of one's own, or by words if there is neither."""
    if tokenizer is None:
        return count_words
    return token_length(tokenizer, data_cfg) if hasattr(tokenizer, "encode") else tokenizer  # type: ignore[arg-type]


def drop_empty(prompts: Sequence[Prompt]) -> CleaningResult:
    """Drop prompts that hold nothing but blanks."""
    return _sift(prompts, "empty", lambda p: "" if p.prompt.strip() else "only blanks")


def drop_too_long(prompts: Sequence[Prompt], length: Length, maximum: int) -> CleaningResult:
    """Drop prompts longer than `maximum`, in the unit of `length` (App. C: over 1,000 tokens)."""

    def why(prompt: Prompt) -> str:
        n = length(prompt.prompt)
        return f"length {n}, at most {maximum}" if n > maximum else ""

    return _sift(prompts, "too_long", why)


def drop_foreign(prompts: Sequence[Prompt]) -> CleaningResult:
    """Drop prompts that are not mostly English; see `utils.data.language` for what it can tell."""
    return _sift(prompts, "language", lambda p: foreign_language(p.prompt))


def drop_pii(prompts: Sequence[Prompt], splits: Sequence[str] = ("train",)) -> CleaningResult:
    """Drop prompts of these splits that hold personal data (sec. 3.2: of the train split)."""

    def why(prompt: Prompt) -> str:
        if prompt.split not in splits:
            return ""
        return ", ".join(dict.fromkeys(finding.kind for finding in find_pii(prompt.prompt)))

    return _sift(prompts, "pii", why)


def deduplicate(prompts: Sequence[Prompt], prefix_chars: int, prefix_sources: Sequence[str] = ("customer",)) -> CleaningResult:
    """Drop prompts that repeat an earlier one (sec. 3.2: "share a long common prefix").

    Two prompts are duplicates if they are equal after `normalise`, or if both come from `prefix_sources` and share
    their first `prefix_chars` normalised characters. Labeler-written prompts are only compared as a whole, as the
    paper built several of them from one template with other few-shot examples (A.3). To share a prefix of a fixed
    length is to have equal beginnings, so one look into a table per prompt does: O(n).
    """
    first_whole: dict[str, str] = {}
    first_prefix: dict[str, str] = {}

    def why(prompt: Prompt) -> str:
        text = normalise(prompt.prompt)
        prefix = text[:prefix_chars] if prompt.source in prefix_sources and len(text) >= prefix_chars else None
        if text in first_whole:
            return f"equal to {first_whole[text]}"
        if prefix is not None and prefix in first_prefix:
            return f"same first {prefix_chars} characters as {first_prefix[prefix]}"
        first_whole[text] = prompt.prompt_id
        if prefix is not None:
            first_prefix[prefix] = prompt.prompt_id
        return ""

    return _sift(prompts, "duplicate", why)


def cap_per_user(prompts: Sequence[Prompt], cap: int) -> CleaningResult:
    """Keep the first `cap` prompts of every user (sec. 3.2: 200). Without a user id a prompt has a user of its own."""
    seen: Counter[str] = Counter()

    def why(prompt: Prompt) -> str:
        if not prompt.user_id:
            return ""
        seen[prompt.user_id] += 1
        return f"number {seen[prompt.user_id]} of its user, at most {cap}" if seen[prompt.user_id] > cap else ""

    return _sift(prompts, "user_cap", why)


def clean_prompts(
    prompts: Sequence[Prompt], data_cfg: DataConfig, tokenizer: PreTrainedTokenizerBase | Length | None = None
) -> CleaningResult:
    """All steps: empty, too long, language, personal data, duplicates, cap per user. Cleaning twice changes nothing.

    tokenizer: a tokenizer, or a function from text to its length in tokens; without one, length is counted in words.
    Personal data is looked for in the train split, where a prompt is until `split_by_user` has moved it.
    """
    length = length_function(tokenizer, data_cfg)
    steps: list[Callable[[Sequence[Prompt]], CleaningResult]] = [
        drop_empty,
        lambda rows: drop_too_long(rows, length, data_cfg.max_prompt_tokens),
        drop_foreign,
        *([drop_pii] if data_cfg.pii_filter else []),
        lambda rows: deduplicate(rows, data_cfg.dedup_prefix_chars),
        lambda rows: cap_per_user(rows, data_cfg.cap_per_user),
    ]
    kept, dropped = list(prompts), []
    for step in steps:
        result = step(kept)
        kept = result.kept
        dropped += result.dropped
    return CleaningResult(kept, dropped)
