"""The screening of labelers (App. B.1), applied to a pool of simulated candidates and the prompts of a world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from utils.config import LabelerConfig
from utils.core.errors import UserError
from utils.core.runtime import python_rng
from utils.data.schemas import Prompt
from utils.labeling.agreement import pair_agreement
from utils.labeling.items import BoolArray, FloatArray, Items, make_items
from utils.labeling.labelers import TOPICS, SimulatedLabeler, look_at_all, noticed
from utils.labeling.ranking import rank_all
from utils.worlds.protocol import TRAINING, Rubric, Scores, World

CRITERIA = ("flagging", "ranking", "demonstration", "topics")
SENSITIVE_FLAG = "inappropriate_for_customer_assistant"
RESEARCHER_NOISE = 0.03  # as a share of the rubric's points
SENSITIVE_SHARE = 1 / 3  # of the prompts that candidates are screened on
FLAWED = 0.5  # of the answers to them
OFF_TOPIC = 2  # answers to other prompts

WriteDemonstration = Callable[[SimulatedLabeler, int], Sequence[float]]


@dataclass(frozen=True, eq=False)
class ScreeningMaterial:
    """What candidates are screened on: items to rank, sensitive (P, K) as the researchers flagged it, and how many
    demonstrations each candidate writes."""

    items: Items
    sensitive: BoolArray
    n_demonstrations: int = 20


@dataclass(frozen=True)
class ScreeningRow:
    """One candidate: flagging and ranking (agreement with the researchers, 0-1), demonstration (mean score 1-7), topics
    (how many they named), failed (criteria below the cut), passed, hired; reliable is the simulation's truth."""

    labeler_id: str
    flagging: float
    ranking: float
    demonstration: float
    topics: int
    failed: tuple[str, ...]
    passed: bool
    hired: bool
    reliable: bool


@dataclass(frozen=True)
class ScreeningReport:
    """rows: one per candidate, best first. hired: the labelers themselves. summary: counts. note: one sentence."""

    rows: tuple[ScreeningRow, ...]
    hired: tuple[SimulatedLabeler, ...]
    summary: dict[str, float | int | dict[str, int]]
    note: str


def screening_prompts(world: World, prompts: Sequence[Prompt], seed: int, n: int = 60) -> list[Prompt]:
    """n of the world's prompts, a third of them sensitive (B.1 screens on sensitive prompts).

    Raises UserError if `prompts` holds no sensitive one, or too few others.
    """
    own = [one for one in prompts if world.knows(one)]
    sensitive = [one for one in own if world.is_sensitive(one)]
    other = [one for one in own if not world.is_sensitive(one)]
    rng = python_rng(seed, "screening", "prompts")
    chosen = rng.sample(sensitive, min(len(sensitive), round(n * SENSITIVE_SHARE)))
    if not chosen or len(other) < n - len(chosen):
        raise UserError(
            f"screening: {len(sensitive)} sensitive and {len(other)} other prompts of {world.title} are too few "
            f"for a set of {n}, raise data.n_sft."
        )
    mixed = chosen + rng.sample(other, n - len(chosen))
    rng.shuffle(mixed)
    return mixed


def screening_set(
    world: World, prompts: Sequence[Prompt], seed: int, k: int = 9, n_demonstrations: int = 20
) -> ScreeningMaterial:
    """K answers to each prompt: half of them flawed, and two that answer other prompts."""
    completions, scores = [], []
    for prompt in prompts:
        rng = python_rng(seed, "screening", prompt.prompt_id)
        texts = [world.answer(prompt, rng, slip=rng.random() < FLAWED) for _ in range(k - OFF_TOPIC)]
        texts += [world.answer(rng.choice(prompts), rng) for _ in range(OFF_TOPIC)]
        completions.append(texts)
        scores.append([world.score(prompt, text) for text in texts])
    return make_material(world, scores, prompts, completions, n_demonstrations=n_demonstrations)


def demonstration_writer(world: World, prompts: Sequence[Prompt], seed: int) -> WriteDemonstration:
    """How a simulated candidate writes the index-th demonstration: with a slip as often as `labeler.slip` says."""

    def write(labeler: SimulatedLabeler, index: int) -> Scores:
        rng = python_rng(seed, "screening", "demonstration", labeler.labeler_id, index)
        prompt = prompts[index % len(prompts)]
        return world.score(prompt, world.answer(prompt, rng, slip=rng.random() < labeler.slip))

    return write


def make_material(
    world: World,
    scores: Sequence[ArrayLike],
    prompts: Sequence[Prompt] | None = None,
    completions: Sequence[Sequence[str]] | None = None,
    sensitive: Sequence[Sequence[bool]] | None = None,
    n_demonstrations: int = 20,
) -> ScreeningMaterial:
    """Screening set from lists of K `Scores` per prompt.

    sensitive defaults to the completions that fail the part of the rubric behind the flag "inappropriate for a customer
    assistant". Raises UserError unless there are both sensitive and other completions: criterion 1 needs both.
    """
    items = make_items(world, scores, prompts, completions)
    if sensitive is None:
        marked = sensitive_completions(world, items)
    else:
        marked = np.zeros(items.mask.shape, dtype=bool)
        for p, row in enumerate(sensitive):
            marked[p, : len(row)] = row
    if not marked.any() or marked[items.mask].all():
        raise UserError(
            "screening: the set needs sensitive and harmless completions, add answers that comply with harmful prompts."
        )
    return ScreeningMaterial(items, marked, n_demonstrations)


def sensitive_completions(world: World, items: Items) -> BoolArray:
    """Completions (P, K) that fail the part behind the flag "inappropriate for a customer assistant"."""
    part = world.rubric.parts.index(world.rubric.flags[SENSITIVE_FLAG])
    return (items.parts[..., part] < 0.5) & items.mask


def researcher(rubric: Rubric, tie_below: float) -> SimulatedLabeler:
    """The simulated researcher, whose ranking is the gold rubric's with small noise."""
    noise = RESEARCHER_NOISE * rubric.maximum
    return SimulatedLabeler("researcher", tuple(rubric.weights.values()), noise=noise, tie_below=tie_below)


def flagging_agreement(candidates: Sequence[SimulatedLabeler], material: ScreeningMaterial, seed: int) -> FloatArray:
    """Criterion 1: agreement (L,) with the researchers on flagging sensitive completions, both kinds weighted alike.

    Sensitive text is rare; without equal weights a candidate who never flags anything would pass.
    """
    truth, valid = material.sensitive, material.items.mask
    seen = look_at_all(candidates, material.items, seed)
    raised = noticed(candidates, seen, truth[seen.prompt][..., None]).reshape(len(candidates), *truth.shape)
    return (raised[:, truth & valid].mean(axis=1) + (~raised[:, ~truth & valid]).mean(axis=1)) / 2


def ranking_agreement(
    candidates: Sequence[SimulatedLabeler], material: ScreeningMaterial, cfg: LabelerConfig, seed: int
) -> FloatArray:
    """Criterion 2: agreement (L,) with the researchers' rankings, which are the gold rubric's with small noise."""
    reference = list(rank_all([researcher(material.items.rubric, cfg.tie_below)], material.items, TRAINING, seed)[0])
    ranks = rank_all(candidates, material.items, TRAINING, seed)
    return np.array([pair_agreement(list(one), reference) for one in ranks])


def demonstration_scores(
    rubric: Rubric, candidates: Sequence[SimulatedLabeler], write: WriteDemonstration, n_demonstrations: int
) -> FloatArray:
    """Criterion 3: mean score 1-7 (L,) that the researchers give to the candidate's demonstrations.

    The score of one is 1 + 6 x gold points / `Rubric.full_marks`, at most 7: a demonstration without any nicety can still
    be perfect. write(labeler, index) returns part scores (S,).
    """
    gold = np.array(list(rubric.weights.values()), dtype=np.float64)
    parts = np.array([[write(one, i) for i in range(n_demonstrations)] for one in candidates], dtype=np.float64)
    return demonstration_score(rubric, parts @ gold).mean(axis=1)


def demonstration_score(rubric: Rubric, points: FloatArray) -> FloatArray:
    """The researchers' score 1-7 (not rounded) of demonstrations with so many gold points."""
    return 1.0 + 6.0 * np.minimum(points / rubric.full_marks, 1.0)


def screen(
    candidates: Sequence[SimulatedLabeler],
    material: ScreeningMaterial,
    write_demonstration: WriteDemonstration,
    cfg: LabelerConfig,
    seed: int,
) -> ScreeningReport:
    """Score the candidates on B.1's four criteria and hire `cfg.n_hired`.

    Cuts are soft, as in the paper: candidates above all cuts come first, by the sum of their scores (demonstrations
    divided by 6); if they are too few, the nearest misses follow (the note says how many). Topics have no cut: for each
    topic that nobody hired covers, the best candidate who names it is taken first.
    """
    if cfg.n_hired > len(candidates):
        raise UserError(f"screening: {cfg.n_hired} to hire from {len(candidates)} candidates, raise labelers.n_candidates.")
    # Scores (L, 3) on the first three criteria.
    scores = np.stack(
        [
            flagging_agreement(candidates, material, seed),
            ranking_agreement(candidates, material, cfg, seed),
            demonstration_scores(material.items.rubric, candidates, write_demonstration, material.n_demonstrations),
        ],
        axis=1,
    )
    cuts = np.array([cfg.screen_flagging, cfg.screen_ranking, cfg.screen_demonstration])
    # How far each candidate misses the cuts, relative to the cut; NaN counts as a full miss.
    below = ~(scores >= cuts)
    total = np.nan_to_num(scores @ np.array([1.0, 1.0, 1 / 6]))
    miss = np.nan_to_num(np.where(below, (cuts - scores) / cuts, 0.0), nan=1.0).sum(axis=1)
    # Best first: no miss, then the highest total; the id breaks ties, so the order of candidates does not matter.
    order = sorted(range(len(candidates)), key=lambda i: (miss[i], -total[i], candidates[i].labeler_id))
    hired = _hire(candidates, order, miss, cfg.n_hired)
    rows = tuple(
        ScreeningRow(
            labeler_id=candidates[i].labeler_id,
            flagging=float(scores[i, 0]),
            ranking=float(scores[i, 1]),
            demonstration=float(scores[i, 2]),
            topics=len(candidates[i].topics),
            failed=tuple(name for name, bad in zip(CRITERIA, below[i], strict=False) if bad),
            passed=not below[i].any(),
            hired=i in hired,
            reliable=candidates[i].reliable,
        )
        for i in order
    )
    people = tuple(candidates[i] for i in order if i in hired)
    return ScreeningReport(rows, people, _summary(rows, people), _note(rows, cfg.n_hired))


def _hire(candidates: Sequence[SimulatedLabeler], order: list[int], miss: FloatArray, n: int) -> set[int]:
    """Indices hired: the best for every topic that is not covered yet, among those above the cuts, then by order."""
    hired: list[int] = []
    covered: set[str] = set()
    for topic in TOPICS:
        best = next((i for i in order if topic in candidates[i].topics and miss[i] == 0), None)
        if topic not in covered and best is not None and len(hired) < n:
            hired.append(best)
            covered.update(candidates[best].topics)
    rest = [i for i in order if i not in hired]
    return {*hired, *rest[: n - len(hired)]}


def _summary(rows: Sequence[ScreeningRow], people: Sequence[SimulatedLabeler]) -> dict[str, float | int | dict[str, int]]:
    """Counts for the report; caught = share of the unreliable candidates who were not hired."""
    unreliable = [row for row in rows if not row.reliable]
    failed = Counter(name for row in rows for name in row.failed)
    return {
        "candidates": len(rows),
        "passed": sum(row.passed for row in rows),
        "hired": len(people),
        "hired_below_cut": sum(row.hired and not row.passed for row in rows),
        "failed": {name: failed[name] for name in CRITERIA[:3]},
        "unreliable": len(unreliable),
        "unreliable_below_cut": sum(not row.passed for row in unreliable),
        "unreliable_hired": sum(row.hired for row in unreliable),
        "caught": sum(not row.hired for row in unreliable) / len(unreliable) if unreliable else 1.0,
        "topics_covered": len({topic for one in people for topic in one.topics}),
        "topics": len(TOPICS),
    }


def _note(rows: Sequence[ScreeningRow], n_hired: int) -> str:
    passed, near = sum(row.passed for row in rows), sum(row.hired and not row.passed for row in rows)
    if near:
        return f"Only {passed} of {len(rows)} simulated candidates pass all cuts; {near} nearest misses were hired too."
    return f"{passed} of {len(rows)} simulated candidates pass all cuts; the best {n_hired} were hired."
