"""Simulated labelers: the gold rubric with personal weights, noise, carelessness and strictness (sec. 3.4, B.1-B.2).

Nothing here is human data. A simulated labeler sees the part scores of a completion by the rubric of a world (`World.score`),
weighs them in their own way and adds noise that belongs to (seed, labeler, prompt, completion): the same labeler
gives the same answer when asked again, in any order and next to any other labelers. All functions work on rows of
(labeler, prompt) pairs, so that 4,000 prompts with nine completions take about a second. S is the number of the rubric's
parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.config import LabelerConfig
from utils.core.errors import UserError
from utils.core.runtime import numpy_rng, stream_seed
from utils.labeling.draws import mix, normals, uniforms
from utils.labeling.items import BoolArray, FloatArray, IntArray, Items, check_parts
from utils.worlds.protocol import Rubric

FLAGS = (
    "fails_instruction",
    "inappropriate_for_customer_assistant",
    "hallucination",
    "satisfies_constraint",
    "sexual_content",
    "violent_content",
    "encourages_violence",
    "denigrates_protected_class",
    "harmful_advice",
    "expresses_opinion",
    "expresses_moral_judgment",
)
# Subjects on which a candidate may say that they recognise sensitive speech (B.1, criterion 4).
TOPICS = ("age", "body", "class", "disability", "gender", "language", "nationality", "politics", "race", "religion")

BASE_NOISE = 0.2  # before calibration, as a share of the rubric's points
RANDOM_SPREAD = 0.3  # sd of an answer given at random around the middle of the scale, as a share of the rubric's points
FALSE_ALARM = 0.2  # chance to raise a flag wrongly, per chance to miss one


@dataclass(frozen=True)
class SimulatedLabeler:
    """One simulated labeler.

    weights: personal weights (S,) in the order of the rubric's parts, total as the gold rubric's (points). noise: sd in points.
    carelessness: chance that a whole item (one prompt's ranking, ratings, flags) is answered at random. strictness:
    Likert points taken off, and a tenth of it added to the score below which a part counts as failed. sensitivity:
    chance to notice what deserves a flag. slip: chance of a slip in a demonstration they write. topics: self-reported
    (B.1, 4). tie_below: smaller differences in points are ties. reliable: the truth about a simulated candidate, which
    screening never looks at.
    """

    labeler_id: str
    weights: tuple[float, ...]
    noise: float = 2.0
    carelessness: float = 0.0
    strictness: float = 0.0
    sensitivity: float = 0.95
    slip: float = 0.0
    topics: tuple[str, ...] = ()
    tie_below: float = 0.3
    reliable: bool = True

    def utility(self, rubric: Rubric, parts: ArrayLike, phase: str) -> FloatArray:
        """Points (n,) without noise for part scores (n, S), by the priority rule of `phase` (3.4, B.2).

        Raises ValueError for another number of parts, for scores outside [0, 1] and for an unknown phase.
        """
        return check_parts(rubric, parts, f"labeler {self.labeler_id}") @ phase_weights(rubric, [self], phase)[0]


@dataclass(frozen=True, eq=False)
class Seen:
    """R rows, each one labeler looking at one prompt, with the random numbers that belong to it.

    labeler, prompt (R,): indices. seeds (R, K) of each completion; noise (R, K): standard normal; at_random (R,): the
    labeler answers this item at random.
    """

    labeler: IntArray
    prompt: IntArray
    seeds: NDArray[np.uint64]
    noise: FloatArray
    at_random: BoolArray


def look(labelers: Sequence[SimulatedLabeler], items: Items, labeler: IntArray, prompt: IntArray, seed: int) -> Seen:
    """Draw what rows (labeler[r], prompt[r]) see. Streams are named by ids and texts, never by position."""
    # Hash each labeler, prompt and completion once; a row's seed is a mix of its completion and its labeler.
    who = mix(np.array([stream_seed(seed, "labeler", one.labeler_id) for one in labelers], dtype=np.uint64))
    prompts = np.array([stream_seed(seed, "prompt", name) for name in items.prompt_ids], dtype=np.uint64)
    completions = np.zeros(items.mask.shape, dtype=np.uint64)
    for p, names in enumerate(items.names):
        completions[p, : len(names)] = [stream_seed(seed, "completion", items.prompt_ids[p], n) for n in names]
    seeds = mix(completions[prompt] + who[labeler][:, None])  # (R, K)
    # Carelessness is drawn per row: it concerns the whole item, not one completion.
    careless = np.array([one.carelessness for one in labelers])
    at_random = uniforms(prompts[prompt] + who[labeler], 1)[:, 0] < careless[labeler]
    return Seen(labeler, prompt, seeds, normals(seeds), at_random)


def look_at_all(labelers: Sequence[SimulatedLabeler], items: Items, seed: int) -> Seen:
    """`look` for every labeler at every prompt: L * P rows, labeler by labeler."""
    labeler, prompt = np.repeat(np.arange(len(labelers)), len(items)), np.tile(np.arange(len(items)), len(labelers))
    return look(labelers, items, labeler, prompt, seed)


def phase_weights(rubric: Rubric, labelers: Sequence[SimulatedLabeler], phase: str) -> FloatArray:
    """Weights (L, S) in points under the priority rule of `phase`; every labeler's total stays the same (B.2)."""
    if phase not in rubric.priority:
        raise ValueError(f"labeling: phase {phase!r} is unknown, use one of {', '.join(rubric.priority)}.")
    weights = np.array([one.weights for one in labelers], dtype=np.float64)
    factors = np.array([rubric.priority[phase].get(part, 1.0) for part in rubric.parts])
    changed = weights * factors
    return changed * (weights.sum(axis=1) / changed.sum(axis=1))[:, None]


def perceived(
    labelers: Sequence[SimulatedLabeler], items: Items, seen: Seen, phase: str, noise_factor: float = 1.0
) -> FloatArray:
    """Noisy utility (R, K) in points; -inf where the prompt has no such completion."""
    weights = phase_weights(items.rubric, labelers, phase)[seen.labeler]  # (R, S)
    points = items.rubric.maximum
    utility = np.einsum("rkp,rp->rk", items.parts[seen.prompt], weights)  # (R, K)
    noise = np.array([one.noise for one in labelers])[seen.labeler] * noise_factor
    honest = utility + noise[:, None] * seen.noise
    # A random answer ignores the completion: noise around the middle of the scale.
    guessed = points / 2 + RANDOM_SPREAD * points * seen.noise
    return np.where(items.mask[seen.prompt], np.where(seen.at_random[:, None], guessed, honest), -np.inf)


def dense_ranks(utility: FloatArray, tie_below: ArrayLike, mask: BoolArray | None = None) -> IntArray:
    """Dense ranks (..., K): 1 is best, equal ranks are ties, no rank is left out; 0 where mask is False.

    From the best down, a new rank starts where the gap to the first item of the current rank exceeds tie_below (points;
    broadcasts against (..., 1)). So ties are transitive although "differs by less than" is not.
    """
    utility = np.asarray(utility, dtype=np.float64)
    valid = np.ones(utility.shape, dtype=bool) if mask is None else np.broadcast_to(mask, utility.shape)
    # Sort from the best to the worst, missing completions last.
    order = np.argsort(np.where(valid, -utility, np.inf), axis=-1, kind="stable")
    ordered = np.take_along_axis(np.where(valid, utility, 0.0), order, axis=-1)
    limit = np.broadcast_to(np.asarray(tie_below, dtype=np.float64), utility.shape[:-1] + (1,))[..., 0]
    first, rank = ordered[..., 0].copy(), np.ones(utility.shape[:-1], dtype=np.int64)
    # Walk down the order; `first` is the utility of the first item of the current rank.
    ranks = np.empty(utility.shape, dtype=np.int64)
    ranks[..., 0] = 1
    for k in range(1, utility.shape[-1]):
        new = first - ordered[..., k] > limit
        rank = rank + new
        first = np.where(new, ordered[..., k], first)
        ranks[..., k] = rank
    # Back to the order of the completions.
    result = np.empty_like(ranks)
    np.put_along_axis(result, order, ranks, axis=-1)
    return np.where(valid, result, 0)


def likert(rubric: Rubric, labelers: Sequence[SimulatedLabeler], seen: Seen, utility: FloatArray) -> IntArray:
    """Likert 1 (worst) to 7 (best), (R, K), from noisy utility (R, K) in points; 0 where there is no completion (Table 3)."""
    strict = np.array([one.strictness for one in labelers])[seen.labeler]
    there = np.isfinite(utility)
    points = 1.0 + 6.0 * np.where(there, utility, 0.0) / rubric.maximum - strict[:, None]
    return np.where(there, np.clip(np.rint(points), 1, 7).astype(np.int64), 0)


def noticed(labelers: Sequence[SimulatedLabeler], seen: Seen, truth: BoolArray) -> BoolArray:
    """What is raised of `truth` (R, K, F): noticed by sensitivity, sometimes a false alarm, a coin when at random."""
    sensitivity = np.array([one.sensitivity for one in labelers])[seen.labeler][:, None, None]
    chance = np.where(truth, sensitivity, FALSE_ALARM * (1.0 - sensitivity))
    chance = np.where(seen.at_random[:, None, None], 0.5, chance)
    return uniforms(mix(seen.seeds), truth.shape[-1]) < chance


def flags(labelers: Sequence[SimulatedLabeler], items: Items, seen: Seen) -> BoolArray:
    """Table 3's yes/no fields (R, K, len(FLAGS)) in the order of `FLAGS`.

    A part fails below 0.5 plus a tenth of the labeler's strictness. Untruth is a hallucination in closed-domain prompts
    only (3.6), harm is advice where harm was asked for. `satisfies_constraint` is the absence of a noticed violation.
    Fields that the rubric has no part for (`Rubric.flags`) are False, not even raised by accident.
    """
    strict = np.array([one.strictness for one in labelers])[seen.labeler]
    limit = np.clip(0.5 + 0.1 * strict, 0.05, 0.95)[:, None, None]
    # What deserves each flag, (R, K) per part, then (R, K, F).
    failed = dict(zip(items.rubric.parts, np.moveaxis(items.parts[seen.prompt] < limit, -1, 0), strict=True))
    where = {"hallucination": items.closed_domain, "harmful_advice": items.sensitive}  # (P,); other fields: everywhere
    truth = np.zeros(seen.seeds.shape + (len(FLAGS),), dtype=bool)
    for name, part in items.rubric.flags.items():
        here = where[name][seen.prompt][:, None] if name in where else True
        truth[..., FLAGS.index(name)] = failed[part] & here
    # What the labeler notices of it; one field says that all is well, so it is the opposite of its violation.
    raised = noticed(labelers, seen, truth)
    if "satisfies_constraint" in items.rubric.flags:
        raised[..., FLAGS.index("satisfies_constraint")] ^= True
    raised[..., [f for f, name in enumerate(FLAGS) if name not in items.rubric.flags]] = False
    return raised & items.mask[seen.prompt][:, :, None]


def make_candidates(rubric: Rubric, cfg: LabelerConfig, seed: int) -> list[SimulatedLabeler]:
    """The pool that is screened: n_candidates, of whom careless_share (rounded) are careless or unskilled (B.1)."""
    return _draw_people("candidate", cfg.n_candidates, rubric, cfg, seed)


def make_heldout(rubric: Rubric, cfg: LabelerConfig, seed: int) -> list[SimulatedLabeler]:
    """Held-out labelers: same vendors, so the same distribution, but not screened; they never make training data (3.4).

    Calibrate their noise to `cfg.agreement_heldout` before use.
    """
    return _draw_people("heldout", cfg.n_heldout, rubric, cfg, seed)


def _draw_people(group: str, n: int, rubric: Rubric, cfg: LabelerConfig, seed: int) -> list[SimulatedLabeler]:
    if n < 2:
        raise UserError(f"labelers: {n} {group} labelers are too few to agree with each other, ask for at least 2.")
    unreliable = numpy_rng(seed, "labelers", group, "unreliable").permutation(n)[: round(cfg.careless_share * n)]
    place = {int(who): order for order, who in enumerate(unreliable)}
    return [_draw_person(f"{group}_{i:03d}", place.get(i), rubric, cfg, seed) for i in range(n)]


def _draw_person(labeler_id: str, unreliable: int | None, rubric: Rubric, cfg: LabelerConfig, seed: int) -> SimulatedLabeler:
    """unreliable: None for a careful person; even numbers are careless, odd ones do their best but are unskilled."""
    rng = numpy_rng(seed, "labelers", labeler_id)
    gold, points = np.array(list(rubric.weights.values()), dtype=np.float64), rubric.maximum
    weights = gold * np.exp(cfg.weight_spread * rng.standard_normal(len(gold)))
    weights *= points / weights.sum()
    noise, strictness = BASE_NOISE * points * float(np.exp(0.2 * rng.standard_normal())), 0.4 * float(rng.standard_normal())
    carelessness, sensitivity = float(rng.uniform(0.0, 0.05)), float(rng.uniform(0.85, 0.98))
    slip = cfg.flaw * float(np.exp(0.2 * rng.standard_normal()))
    topics = rng.permutation(len(TOPICS))[: int(rng.integers(1, 5))]
    # Unreliable people: the careless answer at random, the unskilled miss flags and are noisier.
    if unreliable is not None and unreliable % 2 == 0:
        carelessness, sensitivity = float(rng.uniform(0.35, 0.8)), float(rng.uniform(0.5, 0.9))
        slip = float(rng.uniform(0.6, 1.0))
    elif unreliable is not None:
        sensitivity, noise = float(rng.uniform(0.25, 0.5)), noise * float(rng.uniform(1.5, 2.5))
        slip = float(rng.uniform(0.7, 1.0))
    return SimulatedLabeler(
        labeler_id=labeler_id,
        weights=tuple(float(w) for w in weights),
        noise=noise,
        carelessness=carelessness,
        strictness=strictness,
        sensitivity=sensitivity,
        slip=min(slip, 1.0),
        topics=tuple(TOPICS[t] for t in sorted(topics)),
        tie_below=cfg.tie_below,
        reliable=unreliable is None,
    )
