"""Prompts with their completions' part scores as arrays: what simulated labelers look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.core.errors import UserError
from utils.data.schemas import Prompt
from utils.worlds.protocol import Rubric, World

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Items:
    """P prompts with up to K completions each.

    prompt_ids (P,); names[p][k] tells the completions of prompt p apart: a labeler has one opinion per name, so equal
    names tie. rubric: of the world that the prompts are from, with S parts. parts (P, K, S) in [0, 1], order of
    `rubric.parts`, 0 where there is no completion; mask (P, K) says where one is. closed_domain, sensitive (P,): what the
    prompt is, for the flags.
    """

    prompt_ids: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    rubric: Rubric
    parts: FloatArray
    mask: BoolArray
    closed_domain: BoolArray
    sensitive: BoolArray

    def __len__(self) -> int:
        return len(self.prompt_ids)


def check_parts(rubric: Rubric, parts: ArrayLike, where: str) -> FloatArray:
    """parts as (n, S) floats in [0, 1], S parts of the rubric; anything else raises ValueError that names `where`."""
    array = np.asarray(parts, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(rubric.parts):
        raise ValueError(f"{where}: part scores have shape {array.shape}, give one row of {len(rubric.parts)} per completion.")
    if not np.all((array >= 0.0) & (array <= 1.0)):
        raise ValueError(f"{where}: part scores must lie in [0, 1], score the completions with World.score.")
    return array


def make_items(
    world: World,
    parts_by_prompt: Sequence[ArrayLike],
    prompts: Sequence[Prompt] | None = None,
    names: Sequence[Sequence[str]] | None = None,
) -> Items:
    """Pack one (K_p, S) array (or list of `Scores`) per prompt of the world.

    Without `prompts` the ids are running numbers and no prompt is closed-domain or sensitive. names default to the place
    in the list (so that every completion is judged for itself); give the completions' texts to make equal texts tie.
    Raises ValueError on wrong shapes or values, UserError if there are no prompts.
    """
    if prompts is None:
        prompts = [Prompt(prompt_id=str(i), prompt="") for i in range(len(parts_by_prompt))]
    if len(prompts) != len(parts_by_prompt):
        raise ValueError(f"labeling: scores for {len(parts_by_prompt)} of {len(prompts)} prompts, give a list for each.")
    if not prompts:
        raise UserError("labeling: there are no prompts to label, give at least one.")
    rows = [
        check_parts(world.rubric, row, f"prompt {one.prompt_id!r}") for one, row in zip(prompts, parts_by_prompt, strict=True)
    ]
    if names is None:
        names = [[str(k) for k in range(len(row))] for row in rows]
    if len(names) != len(rows):
        raise ValueError(f"labeling: completions of {len(names)} of {len(rows)} prompts, give a list for each.")
    parts = np.zeros((len(rows), max(len(row) for row in rows), len(world.rubric.parts)))
    mask = np.zeros(parts.shape[:2], dtype=bool)
    for p, row in enumerate(rows):
        if len(names[p]) != len(row) or not len(row):
            raise ValueError(
                f"prompt {prompts[p].prompt_id!r}: {len(names[p])} completions and {len(row)} rows of part scores, "
                "give at least one completion and one row for each."
            )
        parts[p, : len(row)] = row
        mask[p, : len(row)] = True
    return Items(
        prompt_ids=tuple(one.prompt_id for one in prompts),
        names=tuple(tuple(n) for n in names),
        rubric=world.rubric,
        parts=parts,
        mask=mask,
        closed_domain=np.array([world.is_closed(one) for one in prompts]),
        sensitive=np.array([world.is_sensitive(one) for one in prompts]),
    )
