"""The screening test (B.1): four criteria with soft cuts; the lead decides (`people.decide_labeler`).

1 agreement with the researchers on flagging sensitive outputs (items of kind flagging), 2 agreement with their rankings
(ranking), 3 the mean score 1-7 that researchers give to demonstrations (demonstration), 4 topics in which the candidate can
recognise sensitive speech (topics). The researchers' answers are the items' gold answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from utils.config import LabelerConfig
from utils.core.runtime import python_rng
from utils.labeling.agreement import pair_agreement
from utils.labeling.screening import CRITERIA
from utils.labeling.store.database import Store
from utils.labeling.store.errors import InvalidAnswer, NotFound
from utils.labeling.store.forms import BEST_RATING, SCREENING
from utils.labeling.store.people import list_labelers
from utils.labeling.store.records import Labeler
from utils.labeling.store.schema import demonstration_scores, items, submissions


@dataclass(frozen=True)
class CandidateRow:
    """One candidate: flagging, ranking (0-1) and demonstration (1-7), NaN where nothing is there to judge; n of each;
    topics they named; failed: criteria below their soft cut; waiting: demonstrations that nobody scored; flagging counts
    sensitive and other outputs alike, because sensitive ones are rare."""

    labeler: Labeler
    flagging: float
    ranking: float
    demonstration: float
    n_flagging: int
    n_ranking: int
    n_demonstrations: int
    waiting: int
    topics: tuple[str, ...]
    failed: tuple[str, ...]
    passed: bool


@dataclass(frozen=True)
class DemonstrationToScore:
    """A candidate's demonstration, without the name."""

    submission_id: int
    prompt: str
    text: str


def screening_table(store: Store, project_id: int, cuts: LabelerConfig | None = None) -> list[CandidateRow]:
    """One row per labeler with screening answers, best first: fewest criteria failed, then the highest sum of scores
    (demonstrations divided by 6). cuts: the soft cuts, by default the paper's. Raises NotFound."""
    cuts = cuts or LabelerConfig()
    people = {one.id: one for one in list_labelers(store, project_id)}
    s = submissions.c
    query = sa.select(s.id, s.labeler_id, s.ranks, s.sensitive, s.text, s.topics, items.c.gold, items.c.kind)
    query = query.join(items, items.c.id == s.item_id).where(s.project_id == project_id, s.current)
    scored = sa.select(demonstration_scores.c.submission_id, sa.func.avg(demonstration_scores.c.score))
    with store.read() as connection:
        rows = connection.execute(query.where(items.c.phase == SCREENING).order_by(s.id)).all()
        scores = {key: float(mean) for key, mean in connection.execute(scored.group_by("submission_id"))}
    answers: dict[int, list[sa.Row]] = {}
    for row in rows:
        answers.setdefault(row.labeler_id, []).append(row)
    table = [_candidate(people[key], given, scores, cuts) for key, given in answers.items()]
    return sorted(table, key=lambda row: (len(row.failed), -_total(row), row.labeler.id))


def _candidate(labeler: Labeler, given: list[sa.Row], scores: dict[int, float], cuts: LabelerConfig) -> CandidateRow:
    flags = [row for row in given if row.kind == "flagging" and row.gold and row.gold.get("sensitive")]
    rankings = [row for row in given if row.kind == "ranking" and row.gold and row.gold.get("ranks")]
    written = [row for row in given if row.kind == "demonstration"]
    marks = [scores[row.id] for row in written if row.id in scores]
    found = {
        "flagging": _flagging(flags),
        "ranking": pair_agreement([r.ranks for r in rankings], [r.gold["ranks"] for r in rankings])
        if rankings
        else float("nan"),
        "demonstration": float(np.mean(marks)) if marks else float("nan"),
    }
    limits = (cuts.screen_flagging, cuts.screen_ranking, cuts.screen_demonstration)
    failed = tuple(name for name, cut in zip(CRITERIA, limits, strict=False) if not found[name] >= cut)
    return CandidateRow(
        labeler=labeler,
        **found,
        n_flagging=len(flags),
        n_ranking=len(rankings),
        n_demonstrations=len(written),
        waiting=len(written) - len(marks),
        topics=tuple(dict.fromkeys(topic for row in given for topic in row.topics or ())),
        failed=failed,
        passed=not failed,
    )


def _flagging(rows: list[sa.Row]) -> float:
    """Mean of the agreement on sensitive outputs and on others."""
    truth = np.array([value for row in rows for value in row.gold["sensitive"]], dtype=bool)
    given = np.array([value for row in rows for value in row.sensitive], dtype=bool)
    kinds = [given[truth], ~given[~truth]]
    return float(np.mean([one.mean() for one in kinds if len(one)])) if len(truth) else float("nan")


def _total(row: CandidateRow) -> float:
    return float(np.nan_to_num([row.flagging, row.ranking, row.demonstration / 6]).sum())


def demonstrations_to_score(store: Store, project_id: int, scored_by: str = "lead") -> list[DemonstrationToScore]:
    """Screening demonstrations that `scored_by` has not scored, in a random order that tells nothing about who wrote them."""
    s, d = submissions.c, demonstration_scores.c
    done = sa.exists().where(d.submission_id == s.id, d.scored_by == scored_by)
    query = sa.select(s.id, items.c.prompt, s.text).join(items, items.c.id == s.item_id)
    query = query.where(s.project_id == project_id, s.current, items.c.phase == SCREENING, items.c.kind == "demonstration")
    with store.read() as connection:
        rows = [DemonstrationToScore(*row) for row in connection.execute(query.where(~done))]
    return sorted(rows, key=lambda row: python_rng(project_id, "demonstration", row.submission_id).random())


def score_demonstration(store: Store, project_id: int, submission_id: int, score: int, scored_by: str = "lead") -> None:
    """Give a demonstration 1 (worst) to 7 (best); the same person's later score replaces the earlier one.

    Raises NotFound, InvalidAnswer.
    """
    if isinstance(score, bool) or score not in range(1, BEST_RATING + 1):
        raise InvalidAnswer("score", f"A demonstration gets a whole number from 1 to {BEST_RATING}.")
    d = demonstration_scores.c
    mine = (submissions.c.id == submission_id, submissions.c.project_id == project_id, submissions.c.text.is_not(None))
    with store.write() as connection:
        if connection.scalar(sa.select(submissions.c.id).where(*mine)) is None:
            raise NotFound(f"The project has no demonstration {submission_id}.")
        same = (d.submission_id == submission_id, d.scored_by == scored_by)
        connection.execute(sa.delete(demonstration_scores).where(*same))
        values = {"submission_id": submission_id, "scored_by": scored_by, "score": score, "scored_at": store.clock()}
        connection.execute(sa.insert(demonstration_scores).values(values))
