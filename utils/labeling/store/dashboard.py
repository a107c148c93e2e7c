"""What the lead sees: throughput, agreement, drift, flags, ties, and labelers who deserve a look.

Agreement is the paper's: over pairs of outputs that both labelers order, the share that they order in the same way (sec.
3.4), averaged over pairs of labelers. Only work items count (in screening all items), not gold items, which are easy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from utils.labeling.agreement import AgreementMatrix, CommonDecisions, agreement_matrix, common_decisions, pair_signs
from utils.labeling.items import BoolArray, FloatArray, IntArray
from utils.labeling.store.database import Store
from utils.labeling.store.forms import FLAGS, SCREENING
from utils.labeling.store.labels import Labels, load_labels
from utils.labeling.store.people import list_labelers, load_labeler, load_project
from utils.labeling.store.records import Labeler, Project
from utils.labeling.store.schema import adjudications, assignments, items, submissions
from utils.labeling.store.work import open_counts

SECONDS_PER_DAY = 86_400
INTERVAL = 1.96  # standard errors on each side: 95 %
# When a labeler deserves a look. Each limit is of a difference that does not come about by chance alone.
BIAS = 0.15  # of the share of disagreements in which they preferred, say, the longer output, from one half
LOW_AGREEMENT = 0.05  # below the median labeler, whose agreement must also lie above the labeler's interval
BIAS_ERRORS = 3.5  # and so many standard errors
USE_CASE_DRAWS = 60  # of the bootstrap per use case
FEWEST = 20  # submissions or common decisions
HASTE = 0.5  # a task is hasty if it took less of the median labeler's seconds
MOST_HASTY = 0.3  # of the tasks
DISAGREEMENT = 0.6  # items with less agreement go to adjudication
FAILED_CHECKS = 0.4  # of the attention checks, and at least three


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval; value is NaN if n is 0. n: decisions it is a share of."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class LabelerRow:
    """One labeler on the dashboard.

    done, skipped: tasks. seconds: median per task. per_hour: tasks per hour of work. agreement: with the others. gold:
    mean agreement with the expected answers of gold_n gold items. attention_failed of attention_n checks. ties: share of
    pairs tied. rating: mean 1-7, NaN without any. flags: mean number of fields raised per output. longer, earlier: of the
    pairs on which they and another labeler disagree, the share in which they preferred the longer output, or the one
    nearer to the top of their screen; one half without bias. drift: agreement in the second half of their work minus the first.
    look: why they deserve a look, of "noise", "bias_length", "bias_position", "careless_attention", "careless_haste".
    """

    labeler: Labeler
    done: int
    skipped: int
    seconds: float
    per_hour: float
    agreement: Share
    gold: float
    gold_n: int
    attention_failed: int
    attention_n: int
    ties: float
    rating: float
    flags: float
    longer: Share
    earlier: Share
    drift: float
    look: tuple[str, ...]


@dataclass(frozen=True)
class UseCaseRow:
    """One use case: submissions, and the agreement on its items."""

    use_case: str
    submissions: int
    agreement: Share


@dataclass(frozen=True)
class DayRow:
    """One day (UTC, "2026-01-31"): submissions, labelers at work, median seconds, agreement, mean agreement with gold."""

    day: str
    submissions: int
    labelers: int
    seconds: float
    agreement: Share
    gold: float


@dataclass(frozen=True)
class Counts:
    """Work items of the phase (all items in screening): done: every place is filled with a submission; busy: leased now."""

    items: int
    done: int
    closed: int
    busy: int
    submissions: int
    skipped: int
    disagreements: int
    adjudicated: int


@dataclass(frozen=True, eq=False)
class Dashboard:
    """Everything on the lead's page. matrix: rows and columns are `labelers`. flags: field of Table 3 -> share of the
    rated outputs. ties: share of pairs tied."""

    project: Project
    phase: str
    counts: Counts
    agreement: Share
    labelers: tuple[LabelerRow, ...]
    matrix: AgreementMatrix
    use_cases: tuple[UseCaseRow, ...]
    days: tuple[DayRow, ...]
    flags: dict[str, float]
    ties: float


@dataclass(frozen=True)
class Progress:
    """A labeler's own page: done, skipped, available tasks of the phase they are in; median seconds; mean agreement with
    gold_n gold items, NaN without any."""

    phase: str
    done: int
    skipped: int
    available: int
    seconds: float
    gold: float
    gold_n: int


def progress(store: Store, labeler_id: int) -> Progress:
    """A labeler's own progress. Raises NotFound."""
    with store.read() as connection:
        labeler = load_labeler(connection, labeler_id)
        project = load_project(connection, labeler.project_id)
        phase = SCREENING if labeler.status == "candidate" else project.settings.phase
        done, available = open_counts(connection, labeler_id, project.id, phase)
        mine = sa.select(submissions.c.seconds, submissions.c.gold_score).join(items, items.c.id == submissions.c.item_id)
        mine = mine.where(submissions.c.labeler_id == labeler_id, submissions.c.current, items.c.phase == phase)
        rows = connection.execute(mine).all()
        skipped = connection.scalar(
            sa.select(sa.func.count())
            .select_from(assignments)
            .join(items, items.c.id == assignments.c.item_id)
            .where(assignments.c.labeler_id == labeler_id, assignments.c.state == "skipped", items.c.phase == phase)
        )
    # The answers to screening items are the lead's to judge: a candidate does not see their score.
    gold = [row.gold_score for row in rows if row.gold_score is not None] if phase != SCREENING else []
    seconds = float(np.median([row.seconds for row in rows])) if rows else float("nan")
    score = float(np.mean(gold)) if gold else float("nan")
    return Progress(phase, done, skipped or 0, available, seconds, score, len(gold))


def dashboard(store: Store, project_id: int, phase: str | None = None) -> Dashboard:
    """The dashboard of a phase, by default the one that hired labelers are in. Raises NotFound."""
    with store.read() as connection:
        project = load_project(connection, project_id)
    phase = phase or project.settings.phase
    people = list_labelers(store, project_id)
    labels = load_labels(store, project_id, phase)
    who = _index(labels.labeler, people)
    # Agreement is measured on work items only.
    work = labels.ranks.any(axis=1) & ((labels.role == "work") | (phase == SCREENING))
    ranked, ranker = labels.where(work), who[work]
    common = common_decisions(ranked.item, ranked.ranks)
    matrix = agreement_matrix(common, ranker, len(people))
    skips = _skips(store, project_id, phase)
    ties = _tied(ranked.ranks)
    return Dashboard(
        project=project,
        phase=phase,
        counts=_counts(store, project_id, phase, len(labels), sum(skips.values()), common),
        agreement=_overall(matrix),
        labelers=_labeler_rows(people, labels, who, ranked, ranker, common, skips),
        matrix=matrix,
        use_cases=_use_cases(labels, ranked, ranker, common, len(people)),
        days=_days(labels, ranked, common),
        flags=_flag_shares(labels),
        ties=float(ties.mean()) if len(ties) else float("nan"),
    )


def items_in_disagreement(common: CommonDecisions, below: float) -> tuple[IntArray, FloatArray]:
    """(ids, agreement) of items on which the labelers agree on less than `below` of the decided pairs, the worst first."""
    ids, place = np.unique(common.prompt, return_inverse=True)
    agreed, decided = np.bincount(place, common.agreed, len(ids)), np.bincount(place, common.decided, len(ids))
    share = np.divide(agreed, decided, out=np.ones(len(ids)), where=decided > 0)
    order = np.argsort(share, kind="stable")
    order = order[share[order] < below]
    return ids[order], share[order]


# --- parts ---------------------------------------------------------------------------------------------------------


def _index(labeler: IntArray, people: list[Labeler]) -> IntArray:
    ids = np.array([one.id for one in people], dtype=np.int64)
    return np.searchsorted(ids, labeler)


def _share(agreed: FloatArray, decided: FloatArray, item: IntArray) -> Share:
    """The share of entries (E,) of the items (E,)."""
    _, place = np.unique(item, return_inverse=True)
    parts = np.bincount(place, agreed).astype(np.float64)
    return _ratio(parts, np.bincount(place, decided).astype(np.float64))


def _ratio(part: FloatArray, total: FloatArray) -> Share:
    """A ratio of sums over items (P,), with an interval over items, because decisions on one item depend on each other."""
    n = float(total.sum())
    if not n:
        return Share(float("nan"), float("nan"), float("nan"), 0)
    value = float(part.sum()) / n
    return _interval(value, float(np.sqrt(((part - value * total) ** 2).sum())) / n, int(n))


def _interval(value: float, error: float, n: int) -> Share:
    return Share(value, max(0.0, value - INTERVAL * error), min(1.0, value + INTERVAL * error), n)


def _overall(matrix: AgreementMatrix) -> Share:
    if matrix.overall is None:
        return Share(float("nan"), float("nan"), float("nan"), 0)
    return _interval(matrix.overall.mean, matrix.overall.se, matrix.overall.decided)


def _tied(ranks: IntArray) -> FloatArray:
    """Share of the pairs of outputs (n,) that each ranking ties."""
    k = (ranks > 0).sum(axis=1)
    pairs = k * (k - 1) / 2
    return 1.0 - np.abs(pair_signs(ranks)).sum(axis=1) / np.maximum(pairs, 1)


def _skips(store: Store, project_id: int, phase: str) -> dict[int, int]:
    """labeler id -> tasks skipped."""
    query = sa.select(assignments.c.labeler_id, sa.func.count()).join(items, items.c.id == assignments.c.item_id)
    query = query.where(assignments.c.project_id == project_id, assignments.c.state == "skipped", items.c.phase == phase)
    with store.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query.group_by(assignments.c.labeler_id))}


def _counts(store: Store, project_id: int, phase: str, submitted: int, skipped: int, common: CommonDecisions) -> Counts:
    of_phase = [items.c.project_id == project_id, items.c.phase == phase]
    if phase != SCREENING:
        of_phase.append(items.c.role == "work")
    leased = sa.select(sa.func.count()).select_from(assignments).join(items, items.c.id == assignments.c.item_id)
    leased = leased.where(*of_phase, assignments.c.state == "leased", assignments.c.lease_until > store.clock())
    full = sa.and_(items.c.overlap.is_not(None), items.c.taken >= items.c.overlap)
    total = sa.select(
        sa.func.count(),
        sa.func.coalesce(sa.func.sum(sa.case((full, 1), else_=0)), 0),
        sa.func.coalesce(sa.func.sum(sa.case((items.c.closed, 1), else_=0)), 0),
    ).where(*of_phase)
    at_work = sa.select(sa.func.count(sa.distinct(assignments.c.item_id))).join(items, items.c.id == assignments.c.item_id)
    at_work = at_work.where(*of_phase, assignments.c.state == "leased", full)
    decided = sa.select(adjudications.c.item_id).where(adjudications.c.project_id == project_id)
    with store.read() as connection:
        n, filled, closed = connection.execute(total).one()
        busy, waiting = connection.scalar(leased) or 0, connection.scalar(at_work) or 0
        settled = set(connection.scalars(decided))
    open_cases = sum(int(key) not in settled for key in items_in_disagreement(common, DISAGREEMENT)[0])
    return Counts(n, int(filled) - waiting, int(closed), busy, submitted, skipped, open_cases, len(settled))


def _labeler_rows(
    people: list[Labeler],
    labels: Labels,
    who: IntArray,
    ranked: Labels,
    ranker: IntArray,
    common: CommonDecisions,
    skips: dict[int, int],
) -> tuple[LabelerRow, ...]:
    """One row per labeler, and then, against the median labeler, who deserves a look."""
    longer, earlier = _preferences(ranked, ranker, common, len(people))
    ties, hasty = _tied(ranked.ranks), _hasty(labels.seconds, who, len(people))
    rows = []
    for i, labeler in enumerate(people):
        own, mine = who == i, (ranker[common.first] == i) | (ranker[common.second] == i)
        gold, checks = labels.gold[own & (labels.role == "gold")], labels.gold[own & (labels.role == "attention")]
        seconds, ratings, flags = labels.seconds[own], labels.ratings[own], labels.flags[own]
        raised = _bits(flags[flags >= 0])
        rows.append(
            LabelerRow(
                labeler=labeler,
                done=int(own.sum()),
                skipped=skips.get(labeler.id, 0),
                seconds=_mean(seconds, np.median),
                per_hour=3600 * len(seconds) / seconds.sum() if seconds.sum() else float("nan"),
                agreement=_share(common.agreed[mine], common.decided[mine], common.prompt[mine]),
                gold=_mean(gold),
                gold_n=len(gold),
                attention_failed=int((checks < 1).sum()),
                attention_n=len(checks),
                ties=_mean(ties[ranker == i]),
                rating=_mean(ratings[ratings > 0]),
                flags=_mean(raised.sum(axis=1)),
                longer=longer[i][0],
                earlier=earlier[i][0],
                drift=_drift(common, mine, np.where(ranker[common.first] == i, common.first, common.second)),
                look=tuple(
                    name
                    for name, found in (
                        ("bias_length", longer[i][1]),
                        ("bias_position", earlier[i][1]),
                        ("careless_haste", hasty[i]),
                    )
                    if found
                ),
            )
        )
    return tuple(_with_look(row, rows) for row in rows)


def _hasty(seconds: FloatArray, who: IntArray, n: int) -> list[bool]:
    """Whether each labeler does many tasks in less than half the time of the median labeler."""
    own = [seconds[who == i] for i in range(n)]
    usual = [float(np.median(one)) for one in own if len(one) >= FEWEST]
    if len(usual) < 3:
        return [False] * n
    limit = HASTE * float(np.median(usual))
    return [len(one) >= FEWEST and float((one < limit).mean()) > MOST_HASTY for one in own]


def _mean(values: NDArray[np.float64] | IntArray, of: Callable[..., float] = np.mean) -> float:
    return float(of(values)) if len(values) else float("nan")


def _bits(flags: IntArray) -> BoolArray:
    """(n, F) fields raised."""
    return (flags[:, None] >> np.arange(len(FLAGS)) & 1).astype(bool)


def _drift(common: CommonDecisions, mine: BoolArray, row: IntArray) -> float:
    """Agreement in the second half of a labeler's work minus the first; row (E,): their submission, oldest first."""
    if not mine.any():
        return float("nan")
    middle = np.median(row[mine])
    early, late = mine & (row <= middle), mine & (row > middle)
    shares = [common.agreed[half].sum() / total if (total := common.decided[half].sum()) else np.nan for half in (late, early)]
    return float(shares[0] - shares[1])


def _preferences(
    ranked: Labels, ranker: IntArray, common: CommonDecisions, n: int
) -> tuple[list[tuple[Share, bool]], list[tuple[Share, bool]]]:
    """For each labeler, the share of disagreements in which they preferred the longer output, and the earlier one, and
    whether that is a bias."""
    signs = pair_signs(ranked.ranks)
    first, second = np.triu_indices(ranked.ranks.shape[1], k=1)
    longer = np.sign(ranked.lengths[:, first] - ranked.lengths[:, second])
    earlier = np.sign(ranked.shown[:, second] - ranked.shown[:, first])
    apart = signs[common.first] * signs[common.second] < 0  # (E, pairs)
    found = []
    for side in (longer, earlier):
        entries = []
        for rows in (common.first, common.second):
            preferred = signs[rows] * side[rows] * apart
            entries.append((ranker[rows], (preferred > 0).sum(axis=1), (preferred < 0).sum(axis=1)))
        found.append(_peeled(entries, common.prompt, _own_preference(signs * side, ranker, n)))
    return found[0], found[1]


def _own_preference(sides: IntArray, ranker: IntArray, n: int) -> FloatArray:
    """For each labeler, the share of all their decided pairs in which they preferred that side, less one half."""
    won = np.bincount(ranker, (sides > 0).sum(axis=1), n)
    total = np.bincount(ranker, (sides != 0).sum(axis=1), n)
    return np.divide(won, total, out=np.full(n, 0.5), where=total > 0) - 0.5


def _peeled(
    entries: Sequence[tuple[IntArray, IntArray, IntArray]], item: IntArray, own: FloatArray
) -> list[tuple[Share, bool]]:
    """Shares of n labelers. entries: for both sides of all E entries, the labeler, and on how many pairs of a disagreement
    they preferred that output or the other; item (E,).

    Whoever often disagrees with a biased labeler seems to have the opposite bias. So the most biased one is taken out, the
    others are compared with each other, and so on until no bias is left. own (n,): see `_own_preference`.
    """
    n = len(own)
    ids, place = np.unique(item, return_inverse=True)
    shape, usual = (n, max(len(ids), 1)), _mean(own, np.median)
    shares: dict[int, Share] = {}
    kept = np.ones(len(item), dtype=bool)
    while len(shares) < n:
        # Sums per labeler and item (n, P): the pairs of one item depend on each other.
        won, total = np.zeros(shape), np.zeros(shape)
        for who, follows, against in entries:
            cell = (who * shape[1] + place)[kept]
            won += np.bincount(cell, follows[kept], won.size).reshape(shape)
            total += np.bincount(cell, (follows + against)[kept], won.size).reshape(shape)
        now = {i: _ratio(won[i], total[i]) for i in range(n) if i not in shares}
        biased = [i for i, share in now.items() if _is_bias(share, own[i], usual)]
        if not biased:
            break
        worst = max(biased, key=lambda i: abs(now[i].value - 0.5))
        shares[worst] = now[worst]
        kept &= (entries[0][0] != worst) & (entries[1][0] != worst)
    return [((now | shares)[i], i in shares) for i in range(n)]


def _is_bias(share: Share, own: float, usual: float) -> bool:
    """Whether a labeler leans to one side more than chance and more than the median labeler does.

    Random errors also move a labeler away from the others, but towards no preference at all (own nearer to 0 than usual).
    """
    side = float(np.sign(share.value - 0.5))
    beyond = side * own > max(side * usual, 0.0) + BIAS / 2
    by_chance = BIAS_ERRORS * (share.high - share.low) / (2 * INTERVAL)
    return share.n >= FEWEST and abs(share.value - 0.5) > max(BIAS, by_chance) and beyond


def _with_look(row: LabelerRow, rows: list[LabelerRow]) -> LabelerRow:
    """The row with the reasons why this labeler deserves a look, compared with the median labeler."""
    agreements = [one.agreement.value for one in rows if one.agreement.n >= FEWEST]
    look = list(row.look)
    if row.attention_failed >= 3 and row.attention_failed > FAILED_CHECKS * row.attention_n:
        look.append("careless_attention")
    # A bias or carelessness explains low agreement: noise is what is left.
    if not look and row.agreement.n >= FEWEST and len(agreements) > 2:
        usual = float(np.median(agreements))
        if row.agreement.value < usual - LOW_AGREEMENT and row.agreement.high < usual:
            look.append("noise")
    return replace(row, look=tuple(look))


def _use_cases(labels: Labels, ranked: Labels, ranker: IntArray, common: CommonDecisions, n: int) -> tuple[UseCaseRow, ...]:
    """Agreement by use case, the most frequent first."""
    of_entry = ranked.use_case[common.first]
    rows = []
    for name, count in zip(*np.unique(labels.use_case, return_counts=True), strict=True):
        here = common.where(of_entry == name)
        rows.append(UseCaseRow(str(name), int(count), _overall(agreement_matrix(here, ranker, n, USE_CASE_DRAWS))))
    return tuple(sorted(rows, key=lambda row: -row.submissions))


def _days(labels: Labels, ranked: Labels, common: CommonDecisions) -> tuple[DayRow, ...]:
    """Drift: one row per day (UTC). An agreement belongs to the day of the later of the two submissions."""
    day = (labels.at // SECONDS_PER_DAY).astype(np.int64)
    entry_day = (np.maximum(ranked.at[common.first], ranked.at[common.second]) // SECONDS_PER_DAY).astype(np.int64)
    rows = []
    for one in np.unique(day):
        here, entries = day == one, entry_day == one
        gold = labels.gold[here & (labels.role == "gold")]
        rows.append(
            DayRow(
                day=datetime.fromtimestamp(int(one) * SECONDS_PER_DAY, UTC).date().isoformat(),
                submissions=int(here.sum()),
                labelers=len(np.unique(labels.labeler[here])),
                seconds=_mean(labels.seconds[here], np.median),
                agreement=_share(common.agreed[entries], common.decided[entries], common.prompt[entries]),
                gold=_mean(gold),
            )
        )
    return tuple(rows)


def _flag_shares(labels: Labels) -> dict[str, float]:
    raised = _bits(labels.flags[labels.flags >= 0])
    return {name: float(share) for name, share in zip(FLAGS, raised.mean(axis=0), strict=True)} if len(raised) else {}
