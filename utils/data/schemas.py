"""Rows that flow from stage to stage. Each is one line of a JSONL file; `to_dict`/`from_dict` are in utils.core.io."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

USE_CASES = (
    "generation",
    "open_qa",
    "brainstorming",
    "chat",
    "rewrite",
    "summarization",
    "classification",
    "closed_qa",
    "extract",
    "other",
)
SPLITS = ("train", "valid", "test")
PER_COMPLETION = ("completions", "ranks", "finished", "policies", "ratings", "flags", "ids")  # fields of a Comparison
SOURCES = ("labeler_plain", "labeler_few_shot", "labeler_user_based", "customer")


@dataclass(frozen=True)
class Prompt:
    """One prompt (sec. 3.2, A.1-A.2).

    `meta` holds what the tiny world's gold rubric needs to judge an answer; it is empty for the user's own prompts,
    and no model or training stage ever reads it.
    """

    prompt_id: str
    prompt: str
    use_case: str = "other"
    source: str = "customer"
    user_id: str = ""
    split: str = "train"
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the completion a labeler wrote for it. `completion` has no leading space and no end token."""

    prompt_id: str
    prompt: str
    completion: str
    labeler_id: str = ""
    use_case: str = "other"
    split: str = "train"


@dataclass(frozen=True)
class Comparison:
    """K completions of one prompt, ranked by one labeler (sec. 3.5, B.5).

    `ranks[i]` is the rank of `completions[i]`: 1 is best, equal ranks are ties. `finished[i]` says that the completion
    has its end token (False: cut off at the length limit). `ratings` (Likert 1-7) and `flags` (Table 3) may be empty.
    `ids[i]` are the tokens of `completions[i]` as a policy sampled them, the stop token included; empty if they are unknown,
    as in your own files.
    """

    prompt_id: str
    prompt: str
    completions: tuple[str, ...]
    ranks: tuple[int, ...]
    finished: tuple[bool, ...] = ()
    policies: tuple[str, ...] = ()
    ratings: tuple[int, ...] = ()
    flags: tuple[dict[str, bool], ...] = ()
    labeler_id: str = ""
    use_case: str = "other"
    split: str = "train"
    ids: tuple[tuple[int, ...], ...] = ()
