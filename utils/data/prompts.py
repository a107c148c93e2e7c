"""Cleaning of prompts as the paper describes it (sec. 3.2-3.3, A.1-A.4).

Works on any list of `Prompt` rows. Every cleaning step is a function of its own, `list[Prompt] -> CleaningResult`;
`clean_prompts` runs them in order. Order of rows is kept, and of rows that are too many the first ones stay.
"""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from utils.data.language import foreign_language
from utils.data.left_out import LeftOut
from utils.data.matching import normalise
from utils.data.pii import find_pii
from utils.data.schemas import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from utils.config import DataConfig

Length = Callable[[str], int]

PREFIX_SOURCES = ("customer",)  # whose prompts are compared by their beginning
FEWEST_SHARING = 5  # a beginning is a preamble if so many different prompts follow it,
LEAST_SHARING = 0.05  # and such a share of all prompts
PREAMBLE_LEVELS = 4  # a template within a system message has two
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


def token_length(tokenizer: PreTrainedTokenizerBase, data_cfg: DataConfig, expected: Iterable[str] = ()) -> Length:
    """Length of a prompt in tokens as it is encoded for the models, its suffix included.

    expected: texts that it will be asked for. They are encoded here, all at once, in a tenth of the time of one by one.
    """
    from utils.data.encoding import encode_prompt, encode_prompts  # here, so that cleaning by words needs no torch

    texts = list(dict.fromkeys(text for text in expected if text.strip()))
    known = {text: len(ids) for text, ids in zip(texts, encode_prompts(tokenizer, texts, data_cfg), strict=True)}
    return lambda text: known[text] if text in known else len(encode_prompt(tokenizer, text, data_cfg))


def length_function(
    tokenizer: PreTrainedTokenizerBase | Length | None, data_cfg: DataConfig, expected: Iterable[str] = ()
) -> Length:
    """Length of a prompt by a tokenizer (`token_length`), by a function of one's own, or by words if there is neither."""
    if tokenizer is None:
        return count_words
    return token_length(tokenizer, data_cfg, expected) if hasattr(tokenizer, "encode") else tokenizer  # type: ignore[arg-type]


def drop_empty(prompts: Sequence[Prompt]) -> CleaningResult:
    """Drop prompts that hold only blanks."""
    return _sift(prompts, "empty", lambda p: "" if p.prompt.strip() else "only blanks")


def drop_too_long(prompts: Sequence[Prompt], length: Length, maximum: int) -> CleaningResult:
    """Drop prompts longer than `maximum`, in the unit of `length` (App. C: over 1,000 tokens)."""

    def why(prompt: Prompt) -> str:
        n = length(prompt.prompt)
        return f"length {n}, at most {maximum}" if n > maximum else ""

    return _sift(prompts, "too_long", why)


def drop_foreign(prompts: Sequence[Prompt], language: str = "english") -> CleaningResult:
    """Drop prompts that are mostly in another language; see `utils.data.language` for what it can tell."""
    return _sift(prompts, "language", lambda p: foreign_language(p.prompt, language))


def drop_pii(prompts: Sequence[Prompt], splits: Sequence[str] = ("train",)) -> CleaningResult:
    """Drop prompts of these splits that hold personal data (sec. 3.2: of the train split)."""

    def why(prompt: Prompt) -> str:
        if prompt.split not in splits:
            return ""
        return ", ".join(dict.fromkeys(finding.kind for finding in find_pii(prompt.prompt)))

    return _sift(prompts, "pii", why)


def deduplicate(
    prompts: Sequence[Prompt],
    prefix_chars: int,
    prefix_sources: Sequence[str] = PREFIX_SOURCES,
    preambles: Mapping[str, int] | None = None,
) -> CleaningResult:
    """Drop prompts that repeat an earlier one (sec. 3.2: "share a long common prefix").

    Two prompts are duplicates if they are equal after `normalise`, or if both come from `prefix_sources` and share
    their first `prefix_chars` normalised characters (0: only equal prompts are duplicates). Labeler-written prompts are
    only compared as a whole, as the paper built several of them from one template with other few-shot examples (A.3).
    preambles: normalised text -> number of its first characters that are a preamble (`preamble_lengths`); the
    `prefix_chars` are counted from there. Two prompts with equal beginnings are found by one look into a table: O(n).
    """
    first_whole: dict[str, str] = {}
    first_prefix: dict[str, str] = {}

    def why(prompt: Prompt) -> str:
        text = normalise(prompt.prompt)
        end = prefix_chars + (preambles or {}).get(text, 0)
        prefix = text[:end] if prefix_chars and prompt.source in prefix_sources and len(text) >= end else None
        if text in first_whole:
            return f"equal to {first_whole[text]}"
        if prefix is not None and prefix in first_prefix:
            return f"same first {end} characters as {first_prefix[prefix]}"
        first_whole[text] = prompt.prompt_id
        if prefix is not None:
            first_prefix[prefix] = prompt.prompt_id
        return ""

    return _sift(prompts, "duplicate", why)


def preamble_lengths(
    prompts: Sequence[Prompt], prefix_chars: int, prefix_sources: Sequence[str] = PREFIX_SOURCES
) -> dict[str, int]:
    """Normalised text -> length of the preamble that it shares with many other prompts; texts without one are left out.

    A preamble is a beginning of at least `prefix_chars` characters that many prompts share which then differ: a template's
    first lines ("Below is an instruction ...") or one system message. It says nothing about what is asked.
    """
    if not prefix_chars:
        return {}
    texts = list(dict.fromkeys(normalise(prompt.prompt) for prompt in prompts if prompt.source in prefix_sources))
    least = max(FEWEST_SHARING, math.ceil(LEAST_SHARING * len(texts)))
    return _preambles(texts, 0, prefix_chars, least, PREAMBLE_LEVELS)


def _preambles(texts: Sequence[str], start: int, width: int, least: int, levels: int) -> dict[str, int]:
    """Lengths of the preambles of `texts`, which agree in their first `start` characters. A preamble may hold another."""
    groups: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        if len(text) >= start + width:
            groups[text[start : start + width]].append(text)
    found: dict[str, int] = {}
    for group in groups.values():
        if len(group) < least or not levels:
            continue
        end = len(os.path.commonprefix([min(group), max(group)]))
        inner = _preambles(group, end, width, least, levels - 1)
        lengths = {text: inner.get(text, end) for text in group}
        # It is a preamble only if many prompts remain after it: else the group are repetitions of a few.
        if len({text[: length + width] for text, length in lengths.items()}) >= least:
            found |= lengths
    return found


def cap_per_user(prompts: Sequence[Prompt], cap: int) -> CleaningResult:
    """Keep the first `cap` prompts of every user (sec. 3.2: 200; 0: all). A prompt without a user id has its own user."""
    seen: Counter[str] = Counter()

    def why(prompt: Prompt) -> str:
        if not prompt.user_id or not cap:
            return ""
        seen[prompt.user_id] += 1
        return f"number {seen[prompt.user_id]} of its user, at most {cap}" if seen[prompt.user_id] > cap else ""

    return _sift(prompts, "user_cap", why)


def wanted_language(data_cfg: DataConfig) -> str:
    """The language that cleaning keeps: `data.language`, where "auto" is English."""
    return "english" if data_cfg.language == "auto" else data_cfg.language


def clean_prompts(
    prompts: Sequence[Prompt], data_cfg: DataConfig, tokenizer: PreTrainedTokenizerBase | Length | None = None
) -> CleaningResult:
    """All steps: empty, too long, language, personal data, duplicates, cap per user. Cleaning twice changes nothing, for the
    last two steps repeat until they do: without the capped prompts a beginning may be too rare to be a preamble.

    Switched off by data.language="any", data.pii_filter=False, data.dedup_prefix_chars=0 and data.cap_per_user=0.
    tokenizer: a tokenizer, or a function from text to its length in tokens; without one, length is counted in words.
    Personal data is looked for in the train split, where a prompt is until `split_by_user` has moved it.
    """
    length = length_function(tokenizer, data_cfg, (prompt.prompt for prompt in prompts))
    language, prefix_chars = wanted_language(data_cfg), data_cfg.dedup_prefix_chars
    steps: list[Callable[[Sequence[Prompt]], CleaningResult]] = [
        drop_empty,
        lambda rows: drop_too_long(rows, length, data_cfg.max_prompt_tokens),
        *([partial(drop_foreign, language=language)] if language != "any" else []),
        *([drop_pii] if data_cfg.pii_filter else []),
    ]
    kept, dropped = list(prompts), []
    for step in steps:
        result = step(kept)
        kept = result.kept
        dropped += result.dropped
    capped = True
    while capped:
        result = deduplicate(kept, prefix_chars, preambles=preamble_lengths(kept, prefix_chars))
        last = cap_per_user(result.kept, data_cfg.cap_per_user)
        kept, capped = last.kept, bool(last.dropped)
        dropped += [*result.dropped, *last.dropped]
    return CleaningResult(kept, dropped)


def left_out_by_cleaning(result: CleaningResult, data_cfg: DataConfig, place: Callable[[Prompt], str]) -> list[LeftOut]:
    """What cleaning dropped, by reason, each with the setting that keeps it. place(prompt): where a prompt stands."""
    groups: dict[tuple[str, str], list[Prompt]] = {}
    for dropped in result.dropped:
        groups.setdefault(_why(dropped, data_cfg), []).append(dropped.prompt)
    return [LeftOut("prompts", len(rows), why, setting, place(rows[0])) for (why, setting), rows in groups.items()]


def _why(dropped: Dropped, data_cfg: DataConfig) -> tuple[str, str]:
    """(reason, setting that decides) of a dropped prompt, for the user."""
    if dropped.reason == "duplicate" and dropped.detail.startswith("equal"):
        return "they repeat another prompt", ""
    limit, prefix = data_cfg.max_prompt_tokens, data_cfg.dedup_prefix_chars
    return {
        "empty": ("they hold only blanks", ""),
        "too_long": (f"they are longer than {limit} tokens", f"data.max_prompt_tokens={limit}, raise it"),
        "language": (
            f"they are not in {wanted_language(data_cfg).capitalize()}",
            f"data.language={data_cfg.language}, any keeps all languages",
        ),
        "pii": ("they hold personal data", "data.pii_filter=true, false keeps them"),
        "duplicate": (
            f"their beginning of {prefix} characters or more is that of another prompt",
            f"data.dedup_prefix_chars={prefix}, 0 keeps them",
        ),
        "user_cap": (
            f"their user has {data_cfg.cap_per_user} other prompts",
            f"data.cap_per_user={data_cfg.cap_per_user}, 0 keeps all",
        ),
    }[dropped.reason]
