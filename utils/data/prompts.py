"""Prompts as the paper has them (sec. 3.2-3.3, A.1-A.4): cleaning, split by user, and the paper's tables.

Works on any list of `Prompt` rows. Every cleaning step is a function of its own, `list[Prompt] -> CleaningResult`;
`clean_prompts` runs them in order. Order of rows is kept, and of rows that are too many the first ones stay.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.core.errors import UserError
from utils.core.runtime import stream_seed
from utils.data.language import foreign_language
from utils.data.pii import find_pii, mask_pii
from utils.data.schemas import SPLITS, USE_CASES, Comparison, Demonstration, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from utils.config import DataConfig

Length = Callable[[str], int]
Row = dict[str, Any]

# Table 1: use cases of the API prompts (reward model set), %.
TABLE_1: dict[str, float] = {
    "generation": 45.6,
    "open_qa": 12.4,
    "brainstorming": 11.2,
    "chat": 8.4,
    "rewrite": 6.6,
    "summarization": 4.2,
    "classification": 3.5,
    "closed_qa": 2.6,
    "extract": 1.9,
    "other": 3.5,
}
LEAST_FILLED = 0.9  # of the prompts asked for by count; users are not divided to fill the rest
REASONS = ("empty", "too_long", "language", "pii", "duplicate", "user_cap")

_SPACE_FOR = '.,;:!?"()[]{}…“”„«»¿¡‚'
_PUNCTUATION = str.maketrans(_SPACE_FOR, " " * len(_SPACE_FOR), "'’‘`")


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


def normalise(text: str) -> str:
    """Text without case, sentence punctuation and extra blanks, for comparing prompts.

    Signs that carry meaning, such as + - / * % $ #, stay: "3 + 4" and "3 - 4" are different prompts.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_PUNCTUATION).split()) or " ".join(text.split())


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


# ---------------------------------------------------------------- split by user


def user_key(prompt: Prompt) -> str:
    """What is never divided between splits: the user, or without a user id the normalised prompt."""
    return f"user {prompt.user_id}" if prompt.user_id else prompt_key(prompt.prompt)


def prompt_key(text: str) -> str:
    """Key of a prompt's text; equal for texts that are equal after `normalise`."""
    return f"prompt {normalise(text)}"


def check_user_splits(prompts: Iterable[Prompt]) -> None:
    """UserError if a split has an unknown name or if a user has prompts in two splits (sec. 3.2)."""
    split_of: dict[str, str] = {}
    for prompt in prompts:
        if prompt.split not in SPLITS:
            raise UserError(f"Prompt {prompt.prompt_id} has the split '{prompt.split}': write one of {', '.join(SPLITS)}.")
        first = split_of.setdefault(user_key(prompt), prompt.split)
        if first != prompt.split:
            whose = f"user {prompt.user_id}" if prompt.user_id else "the same text"
            raise UserError(
                f"Prompt {prompt.prompt_id} is in the split '{prompt.split}' but {whose} is already in '{first}': "
                "put all prompts of a user into one split, or leave the field 'split' out."
            )


def split_of_key(key: str, fractions: Mapping[str, float], seed: int) -> str:
    """The split of a user by the hash of `key` alone, so that it is the same in every file and every order of rows."""
    position = stream_seed(seed, "split", key) / 2**63 * sum(fractions.values())
    for name, fraction in fractions.items():
        position -= fraction
        if position < 0:
            return name
    return name


def _splits_by_count(sizes: Mapping[str, int], counts: Mapping[str, int], seed: int) -> dict[str, str]:
    """Key -> split: keys in the order of their hash go into the first split with room for all their rows, else train."""
    room = dict(counts)
    split_of: dict[str, str] = {}
    for key in sorted(sizes, key=lambda k: (stream_seed(seed, "split", k), k)):
        name = next((name for name in room if sizes[key] <= room[name]), "train")
        split_of[key] = name
        if name != "train":
            room[name] -= sizes[key]
    too_few = any(room[name] > (1 - LEAST_FILLED) * n for name, n in counts.items())
    if too_few or "train" not in split_of.values():
        wanted = ", ".join(f"{n} {name}" for name, n in counts.items())
        raise UserError(
            f"{sum(sizes.values())} prompts of {len(sizes)} users cannot be split by user into {wanted} and a rest for "
            "train: give more prompts or users, or ask for fewer."
        )
    return split_of


def split_by_user(
    prompts: Sequence[Prompt],
    *,
    fractions: Mapping[str, float] | None = None,
    counts: Mapping[str, int] | None = None,
    seed: int,
) -> list[Prompt]:
    """Prompts with their `split` set, no user in two splits (sec. 3.2); the order is kept.

    fractions: share of users per split, such as {"train": 0.9, "valid": 0.05, "test": 0.05}; a user's split depends on
    its id and the seed alone. counts: largest number of prompts of every split but train, such as {"valid": 400,
    "test": 900}, filled up with whole users as far as they fit; train takes the rest. If any row is already outside
    train, the rows carry a split: it is checked and kept.
    Raises UserError if a user is in two splits or if a count cannot be met to 90 % with whole users.
    """
    if any(prompt.split != "train" for prompt in prompts):
        check_user_splits(prompts)
        return list(prompts)
    sizes = Counter(user_key(prompt) for prompt in prompts)
    if counts is not None and fractions is None and "train" not in counts:
        split_of = _splits_by_count(sizes, counts, seed)
    elif fractions is not None and counts is None:
        split_of = {key: split_of_key(key, fractions, seed) for key in sizes}
    else:
        raise ValueError("give either fractions, or counts of every split but train")
    return [replace(prompt, split=split_of[user_key(prompt)]) for prompt in prompts]


def check_leaks(**sets: Iterable[Prompt | Demonstration | Comparison]) -> None:
    """UserError if the same prompt is in different splits in different sets, such as prompts=..., comparisons=..."""
    first: dict[str, tuple[str, str]] = {}
    for name, rows in sets.items():
        for row in rows:
            other, split = first.setdefault(prompt_key(row.prompt), (name, row.split))
            if split != row.split:
                raise UserError(
                    f"Prompt {row.prompt_id} is in the split '{row.split}' of the {name} but in '{split}' of the "
                    f"{other}: give it one split in all files, or leave out split and user in all of them."
                )


# ---------------------------------------------------------------- tables

Sets = Sequence[Prompt] | Mapping[str, Sequence[Prompt]]


def shorten(text: str, width: int = 60) -> str:
    """One line of at most `width` characters, with personal data masked."""
    line = " ".join(mask_pii(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def cleaning_table(result: CleaningResult) -> list[Row]:
    """What was dropped and why: reason, prompts, share in % of all, one example with personal data masked."""
    total = len(result.kept) + len(result.dropped)
    by_reason: dict[str, list[Dropped]] = defaultdict(list)
    for dropped in result.dropped:
        by_reason[dropped.reason].append(dropped)
    rows = []
    for reason in REASONS:
        group = by_reason[reason]
        example = f"{shorten(group[0].prompt.prompt)} ({group[0].detail})" if group else ""
        rows.append({"reason": reason, "prompts": len(group), "share %": _percent(len(group), total), "example": example})
    rows.append({"reason": "kept", "prompts": len(result.kept), "share %": _percent(len(result.kept), total)})
    return rows


def use_case_table(prompts: Sequence[Prompt]) -> list[Row]:
    """Use cases: prompts, share in %, the paper's share in % (Table 1)."""
    counts = Counter(prompt.use_case for prompt in prompts)
    return [
        {
            "use case": use_case,
            "prompts": counts[use_case],
            "share %": _percent(counts[use_case], len(prompts)),
            "paper %": TABLE_1[use_case],
        }
        for use_case in sorted(USE_CASES, key=lambda u: (u == "other", -TABLE_1[u]))
    ]


def length_table(prompts: Sets, length: Length = count_words, by: str = "split") -> list[Row]:
    """Prompt lengths as in Table 9 (by="split") or Table 10 (by="use_case"): n, mean, sd, min, quartiles, max."""
    rows = []
    for set_name, members in _as_sets(prompts).items():
        for name, group in _groups(members, by).items():
            n = np.array([length(prompt.prompt) for prompt in group])
            q25, median, q75 = np.quantile(n, [0.25, 0.5, 0.75])
            spread = float(n.std(ddof=1)) if len(n) > 1 else 0.0
            rows.append(
                {"set": set_name, by: name, "n": len(n), "mean": float(n.mean()), "sd": spread, "min": int(n.min()),
                 "q25": float(q25), "median": float(median), "q75": float(q75), "max": int(n.max())}
            )  # fmt: skip
    return rows


def prompts_per_user_table(prompts: Sets, sources: Sequence[str] = ("customer",)) -> list[Row]:
    """Prompts per customer as in Table 8: prompts, users, mean and largest number of prompts per user."""
    rows = []
    for set_name, members in _as_sets(prompts).items():
        chosen = [prompt for prompt in members if prompt.source in sources]
        for split, group in _groups(chosen, "split").items():
            sizes = Counter(prompt.user_id or f"prompt {prompt.prompt_id}" for prompt in group)
            rows.append(
                {"set": set_name, "split": split, "prompts": len(group), "users": len(sizes),
                 "mean": len(group) / len(sizes), "max": max(sizes.values())}
            )  # fmt: skip
    return rows


def source_table(prompts: Sets) -> list[Row]:
    """Number of prompts by split and writer as in Table 6: one row per split and source, one column per set."""
    sets = _as_sets(prompts)
    counts = {name: Counter((p.split, p.source) for p in members) for name, members in sets.items()}
    keys = {key for counter in counts.values() for key in counter}
    order = {split: i for i, split in enumerate(SPLITS)}
    return [
        {"split": split, "source": source} | {name: counts[name][split, source] for name in sets}
        for split, source in sorted(keys, key=lambda key: (order.get(key[0], len(order)), key))
    ]


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as aligned plain text: numbers to the right, floats with one decimal, missing cells empty."""
    if not rows:
        return "(no rows)"
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns] + [[_cell(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    numeric = [all(isinstance(row.get(name, 0), int | float) for row in rows) for name in columns]
    lines = [
        "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in zip(line, widths, numeric, strict=True))
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in [lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def _cell(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


def _as_sets(prompts: Sets) -> Mapping[str, Sequence[Prompt]]:
    return prompts if isinstance(prompts, Mapping) else {"prompts": prompts}


def _groups(prompts: Sequence[Prompt], by: str) -> dict[str, list[Prompt]]:
    """Prompts by the value of a field, in the paper's order of that field's values."""
    order = {name: i for i, name in enumerate((*SPLITS, *USE_CASES))}
    groups: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        groups[getattr(prompt, by)].append(prompt)
    return dict(sorted(groups.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))
