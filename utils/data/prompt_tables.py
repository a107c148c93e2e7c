"""Tables of prompts as the paper prints them (Tables 1, 6, 8-10), and of what cleaning dropped."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from utils.data.pii import mask_pii
from utils.data.prompts import REASONS, CleaningResult, Dropped, Length, count_words
from utils.data.schemas import SPLITS, USE_CASES, Prompt

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
