"""What simulated labelers make: comparisons; their noise, calibrated to an agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from utils.core.errors import UserError
from utils.core.runtime import stream_seed
from utils.data.schemas import Comparison, Prompt
from utils.labeling import labelers as simulated
from utils.labeling.agreement import mean_rate
from utils.labeling.draws import uniforms
from utils.labeling.items import FloatArray, IntArray, Items, make_items
from utils.labeling.labelers import FLAGS, SimulatedLabeler, dense_ranks, look, look_at_all, perceived
from utils.worlds.protocol import TRAINING, Scores, World

MAX_DOUBLINGS = 12
BISECTIONS = 24


def completion_names(completions: Sequence[str], finished: Sequence[bool] | None = None) -> list[str]:
    """Names under which a labeler knows completions: the text, and whether it ended itself."""
    ends = [True] * len(completions) if finished is None else finished
    if len(ends) != len(completions):
        raise ValueError(f"labeling: {len(ends)} values of `finished` for {len(completions)} completions, give one for each.")
    return [f"{text}{'' if end else ' [cut off]'}" for text, end in zip(completions, ends, strict=True)]


def assign(labelers: Sequence[SimulatedLabeler], prompt_ids: Sequence[str], seed: int, m: int = 1) -> IntArray:
    """(P, m) indices of the m different labelers who work on each prompt; a stream of the prompt's id decides."""
    if not 1 <= m <= len(labelers):
        raise UserError(f"labeling: {m} labelers per item were asked of {len(labelers)}, ask for between 1 and that.")
    seeds = np.array([stream_seed(seed, "assign", name) for name in prompt_ids], dtype=np.uint64)
    return np.argsort(uniforms(seeds, len(labelers)), axis=1)[:, :m]


def rank_all(labelers: Sequence[SimulatedLabeler], items: Items, phase: str, seed: int) -> IntArray:
    """Dense ranks (L, P, K) of every labeler on every prompt; 0 where a prompt has fewer completions."""
    seen = look_at_all(labelers, items, seed)
    ties = _ties(labelers, seen.labeler)
    ranks = dense_ranks(perceived(labelers, items, seen, phase), ties, items.mask[seen.prompt])
    return ranks.reshape(len(labelers), len(items), -1)


def calibrate_noise(
    labelers: Sequence[SimulatedLabeler],
    items: Items,
    target: float,
    phase: str,
    seed: int,
    tolerance: float = 0.005,
) -> list[SimulatedLabeler]:
    """The same labelers with all noises times one factor, so that their mean agreement here is `target` (3.4).

    Bisection with common random numbers: the draws of every judgement stay, only their size changes. The paper's
    targets: 0.726 training labelers, 0.773 held-out. Raises UserError if the target is out of reach by more than
    `tolerance` (with no noise at all these labelers agree less than that, or chance agreement is above it).
    """
    seen = look_at_all(labelers, items, seed)
    ties, mask = _ties(labelers, seen.labeler), items.mask[seen.prompt]
    shape = (len(labelers), len(items), -1)

    def agreement(factor: float) -> float:
        return mean_rate(dense_ranks(perceived(labelers, items, seen, phase, factor), ties, mask).reshape(shape))

    # Agreement falls with noise: double the factor until the target is passed, then halve the interval.
    low, high = 0.0, 1.0
    for _ in range(MAX_DOUBLINGS):
        if agreement(high) <= target:
            break
        low, high = high, 2 * high
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if agreement(middle) > target else (low, middle)
    factor = min((low, high), key=lambda f: abs(agreement(f) - target))
    reached = agreement(factor)
    if not abs(reached - target) <= tolerance:
        raise UserError(
            f"labelers: an agreement of {target:.3f} is out of reach (nearest {reached:.3f}), "
            "change the target, weight_spread or careless_share, or calibrate on more prompts."
        )
    return [replace(one, noise=one.noise * factor) for one in labelers]


@dataclass(frozen=True)
class Completions:
    """What labelers rank: the completions of P prompts, with their part scores by the world's rubric.

    texts[p], finished[p], policies[p]: one entry for each of the K_p completions of prompts[p]; parts[p] (K_p, S). Without
    `finished` every completion ended itself; without `policies` nobody knows who wrote it. Raises ValueError if a list differs
    in length from `prompts`.
    """

    prompts: Sequence[Prompt]
    texts: Sequence[Sequence[str]]
    parts: Sequence[ArrayLike]
    finished: Sequence[Sequence[bool]] | None = None
    policies: Sequence[Sequence[str]] | None = None

    def __post_init__(self) -> None:
        lists = {"completions": self.texts, "finished": self.finished, "policies": self.policies}
        for name, given in lists.items():
            if given is not None and len(given) != len(self.prompts):
                raise ValueError(
                    f"labeling: {name} holds {len(given)} lists for {len(self.prompts)} prompts, give one for each."
                )

    @property
    def ends(self) -> Sequence[Sequence[bool]]:
        """`finished`, also where it was not given."""
        return self.finished if self.finished is not None else [[True] * len(texts) for texts in self.texts]

    def items(self, world: World) -> Items:
        """The completions as labelers look at them: equal texts that ended alike have one name."""
        names = [completion_names(texts, ends) for texts, ends in zip(self.texts, self.ends, strict=True)]
        return make_items(world, self.parts, self.prompts, names)


def label_comparisons(
    world: World,
    completions: Completions,
    labelers: Sequence[SimulatedLabeler],
    phase: str,
    seed: int,
    each: int = 1,
) -> list[Comparison]:
    """Each prompt's completions ranked, rated and flagged by `each` simulated labelers (3.5, 5.3: most had one only).

    One row per prompt and labeler. Who labels and what they see are random streams of the prompt's id, the labeler's id and the
    text, so order does not matter and equal completions tie. Raises ValueError for wrong part scores, UserError if there are
    fewer labelers than `each`.
    """
    items = completions.items(world)
    # `each` labelers per prompt look at its completions: R = P * each rows.
    who = assign(labelers, items.prompt_ids, seed, each).reshape(-1)  # (R,)
    place = np.repeat(np.arange(len(items)), each)  # (R,) of the prompts
    seen = look(labelers, items, who, place, seed)
    # What the labeler makes of them: how good each one seems, from that its rank and rating, and the flags.
    utility = perceived(labelers, items, seen, phase)  # (R, K)
    ranks = dense_ranks(utility, _ties(labelers, who), items.mask[place])  # (R, K)
    ratings = simulated.likert(items.rubric, labelers, seen, utility)  # (R, K)
    raised = simulated.flags(labelers, items, seen)  # (R, K, number of flags)
    ends, policies = completions.ends, completions.policies
    rows = []
    for r, p in enumerate(place.tolist()):
        prompt, k = completions.prompts[p], len(completions.texts[p])  # what is right of the K completions is padding
        rows.append(
            Comparison(
                prompt_id=prompt.prompt_id,
                prompt=prompt.prompt,
                completions=tuple(completions.texts[p]),
                ranks=tuple(ranks[r, :k].tolist()),
                finished=tuple(bool(e) for e in ends[p]),
                policies=tuple(policies[p]) if policies is not None else (),
                ratings=tuple(ratings[r, :k].tolist()),
                flags=tuple(dict(zip(FLAGS, row, strict=True)) for row in raised[r, :k].tolist()),
                labeler_id=labelers[who[r]].labeler_id,
                use_case=prompt.use_case,
                split=prompt.split,
            )
        )
    return rows


def comparison_parts(world: World, comparisons: Sequence[Comparison], prompts: Sequence[Prompt]) -> list[list[Scores]]:
    """Part scores of every completion by the gold rubric; `prompts` holds at least those of the comparisons.

    Raises UserError if a comparison's prompt is not among them.
    """
    asked = {one.prompt_id: one for one in prompts}
    lost = next((row.prompt_id for row in comparisons if row.prompt_id not in asked), None)
    if lost is not None:
        raise UserError(f"labeling: prompt {lost} of the comparisons is not among the prompts: give the set they belong to.")
    return [
        [world.score(asked[row.prompt_id], text, end) for text, end in zip(row.completions, row.finished, strict=True)]
        for row in comparisons
    ]


def comparison_items(world: World, comparisons: Sequence[Comparison], prompts: Sequence[Prompt]) -> Items:
    """The completions of comparisons as labelers look at them, so that others can rank them too."""
    return _completions(world, comparisons, prompts).items(world)


def relabel(
    world: World,
    comparisons: Sequence[Comparison],
    prompts: Sequence[Prompt],
    labelers: Sequence[SimulatedLabeler],
    seed: int,
    phase: str = TRAINING,
) -> list[Comparison]:
    """The same completions ranked by other labelers, one per prompt, under the priority rule of `phase`."""
    rows = label_comparisons(world, _completions(world, comparisons, prompts), labelers, phase, seed)
    return [replace(row, ids=old.ids) for row, old in zip(rows, comparisons, strict=True)]


def _completions(world: World, comparisons: Sequence[Comparison], prompts: Sequence[Prompt]) -> Completions:
    """The completions of comparisons with their part scores."""
    return Completions(
        prompts=_in_order(comparisons, prompts),
        texts=[row.completions for row in comparisons],
        parts=comparison_parts(world, comparisons, prompts),
        finished=[row.finished for row in comparisons],
        policies=[row.policies for row in comparisons],
    )


def _in_order(comparisons: Sequence[Comparison], prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompt of each comparison."""
    by_id = {one.prompt_id: one for one in prompts}
    return [by_id[row.prompt_id] for row in comparisons if row.prompt_id in by_id]


def _ties(labelers: Sequence[SimulatedLabeler], labeler: IntArray) -> FloatArray:
    """tie_below of each row's labeler, (R, 1)."""
    return np.array([one.tie_below for one in labelers])[labeler][:, None]
