"""Train, valid and test: no user and no prompt is ever in two of them (sec. 3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from utils.core.errors import UserError
from utils.core.io import PathLike
from utils.core.runtime import stream_seed
from utils.data.left_out import Notes
from utils.data.matching import prompt_key, user_key
from utils.data.records import Record
from utils.data.schemas import SPLITS, Comparison, Demonstration, Prompt

Row = TypeVar("Row", Prompt, Demonstration, Comparison)

SPLIT_NAMES = {"training": "train", "validation": "valid", "val": "valid", "dev": "valid", "testing": "test"}
SPLIT_FRACTIONS = {"train": 0.9, "valid": 0.05, "test": 0.05}
TAKEN = 0.1  # of the training rows go to a split that has none
LEAST_FILLED = 0.9  # of the prompts asked for by count; users are not divided to fill the rest


# ---------------------------------------------------------------- of the rows of a file


def _given_splits(records: Sequence[Record]) -> list[str]:
    """The rows' own splits under our names; empty if the file has none."""
    names = [record.optional("split").lower() for record in records]
    if not any(names):
        return []
    splits = [SPLIT_NAMES.get(name, name) for name in names]
    for record, split in zip(records, splits, strict=True):
        if split not in SPLITS:
            what = f'found "{split}"' if split else "empty here but not in other rows"
            raise record.error(f"split {what}: write one of {', '.join(SPLITS)}, or leave the column out.")
    return splits


def _group_keys(records: Sequence[Record], prompts: Sequence[str]) -> list[str]:
    """For each row the key of its group: rows with one user, or with one prompt, are in one group (union-find).

    The key is the group's smallest user, or its prompt if it has no user, so it rarely depends on the other rows.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    keys = [prompt_key(prompt) for prompt in prompts]
    for record, key in zip(records, keys, strict=True):
        if user := record.optional("user_id"):
            first, second = sorted((root(f"user {user}"), root(key)), key=lambda k: (k.startswith("prompt "), k))
            parent[second] = first
    return [root(key) for key in keys]


def assign_splits(records: Sequence[Record], prompts: Sequence[str], seed: int = 0) -> list[str]:
    """A split for each row: the file's own, or by a hash of the user (without users: of the prompt), 90/5/5 %.

    No user and no prompt is ever in two splits; UserError if the file's own splits put one there.
    """
    groups = _group_keys(records, prompts)
    splits = _given_splits(records)
    if not splits:
        return [split_of_key(group, SPLIT_FRACTIONS, seed) for group in groups]
    first: dict[str, tuple[int, str]] = {}
    for record, prompt, split in zip(records, prompts, splits, strict=True):
        user = record.optional("user_id")
        keys = {prompt_key(prompt): "prompt"} | ({f"user {user}": f'user "{user}"'} if user else {})
        for key, name in keys.items():
            number, other = first.setdefault(key, (record.number, split))
            if other != split:
                raise record.error(
                    f'the {name} is in the split "{split}" here and in "{other}" in row {number}: keep each prompt '
                    "and each user in one split, or leave the column out."
                )
    return splits


def check_ids(records: Sequence[Record], ids: Sequence[str], prompts: Sequence[str]) -> None:
    """UserError if two different prompts (as `prompt_key` compares them) have the same id."""
    first: dict[str, tuple[int, str]] = {}
    for record, name, prompt in zip(records, ids, prompts, strict=True):
        number, other = first.setdefault(name, (record.number, prompt))
        if other != prompt and prompt_key(other) != prompt_key(prompt):
            raise record.error(
                f'the id "{name}" already belongs to another prompt in row {number}: give every prompt an id of its '
                "own, or rename the column."
            )


# ---------------------------------------------------------------- of prompts


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


def fill_splits(path: PathLike, rows: Sequence[Row], needed: Sequence[str], seed: int, notes: Notes) -> list[Row]:
    """Rows of the file `path`; to each split in `needed` that has none, a part of the training rows is moved, with a remark.

    About `TAKEN` of the training rows are moved: whole users (prompts where no users are known) in the order of their hash,
    or single prompts if all rows are of one user. Nothing is moved if there is only one prompt.
    """
    rows = list(rows)
    for name in needed:
        train = [row for row in rows if row.split == "train"]
        if any(row.split == name for row in rows):
            continue
        key = _owner if len({_owner(row) for row in train}) > 1 else _text
        moved = _first_keys([key(row) for row in train], seed)
        rows = [replace(row, split=name) if row.split == "train" and key(row) in moved else row for row in rows]
        count = sum(row.split == name for row in rows)
        if count:
            remark = f"{path}: no row is in the split {name}, so {count} of its {len(train)} training rows are taken for it."
            notes.remarks.append(remark)
    return rows


def _owner(row: Prompt | Demonstration | Comparison) -> str:
    """Whose a row is; its prompt where no user is known."""
    return user_key(row) if isinstance(row, Prompt) else prompt_key(row.prompt)


def _text(row: Prompt | Demonstration | Comparison) -> str:
    return prompt_key(row.prompt)


def _first_keys(keys: Sequence[str], seed: int) -> set[str]:
    """Keys, in the order of their hash, that hold about `TAKEN` of the rows; none that holds more than half of them."""
    sizes = Counter(keys)
    chosen: set[str] = set()
    for key in sorted(sizes, key=lambda k: (stream_seed(seed, "split", k), k)):
        if sum(sizes[k] for k in chosen) >= max(1, round(TAKEN * len(keys))):
            break
        if sizes[key] <= len(keys) / 2:
            chosen.add(key)
    return chosen


def check_leaks(sets: Mapping[str, Iterable[Prompt | Demonstration | Comparison]]) -> None:
    """UserError if the same prompt is in different splits in different sets.

    sets: name of each set in the message -> its rows, such as {"prompts": ..., "rankings of a.jsonl": ...}.
    """
    first: dict[str, tuple[str, str]] = {}
    for name, rows in sets.items():
        for row in rows:
            other, split = first.setdefault(prompt_key(row.prompt), (name, row.split))
            if split != row.split:
                raise UserError(
                    f"Prompt {row.prompt_id} is in the split '{row.split}' of the {name} but in '{split}' of the "
                    f"{other}: give it one split in all files, or leave out split and user in all of them."
                )
