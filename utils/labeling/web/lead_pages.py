"""What the lead sees: the dashboard, disagreements to decide, the screening, people and their links, the export."""

from __future__ import annotations

import time

import numpy as np
from starlette.responses import Response

from utils.config import LabelerConfig
from utils.labeling.store import (
    PHASES,
    Case,
    Dashboard,
    Labeler,
    NotFound,
    add_labeler,
    adjudicate,
    dashboard,
    decide_labeler,
    demonstrations_to_score,
    find_labeler,
    get_case,
    get_labeler,
    list_disagreements,
    list_labelers,
    revoke_invitation,
    score_demonstration,
    screening_table,
)
from utils.labeling.web.access import DAY, invite_token
from utils.labeling.web.answers import number
from utils.labeling.web.call import Call, Refused, keys_of
from utils.labeling.web.entry_pages import NAME
from utils.labeling.web.history import answers_of_labelers
from utils.labeling.web.text import plain

MOST_DAYS = 90
MATRIX = 14  # labelers on the matrix of agreement
SHOWN_CASES = 10
SHOWN_DAYS = 31
LONGEST_NOTE = 1000


# --- the dashboard ---------------------------------------------------------------------------------------------------


def show_dashboard(call: Call) -> Response:
    """Throughput, agreement, labelers who deserve a look, disagreements; of the phase of now, or of the one asked for."""
    phase = call.request.query_params.get("phase") or call.project.settings.phase
    if phase not in PHASES:
        raise Refused(404, "error.not_found")
    board = dashboard(call.store, call.project.id, phase)
    return call.page(
        "dashboard.html",
        board=board,
        phases=PHASES,
        cases=list_disagreements(call.store, call.project.id, phase, SHOWN_CASES),
        matrix=_matrix(board),
        matrix_cut=sum(row.done > 0 for row in board.labelers) > MATRIX,
        days=board.days[-SHOWN_DAYS:],
        simulated=any(row.labeler.simulated for row in board.labelers),
    )


def _matrix(board: Dashboard) -> tuple[list[str], list[list[tuple[float, float, int] | None]]]:
    """(names, rows of (agreement, standard error, pairs decided by both)) of the labelers who did most; None on the
    diagonal and where two labelers share no pair."""
    most = sorted(range(len(board.labelers)), key=lambda i: -board.labelers[i].done)[:MATRIX]
    kept = sorted(i for i in most if board.matrix.decided[i].sum() > 0)
    found = board.matrix
    share = np.divide(found.agreed, found.decided, out=np.zeros_like(found.agreed), where=found.decided > 0)
    rows = [
        [
            (float(share[i, k]), float(found.se[i, k]), int(found.decided[i, k])) if i != k and found.decided[i, k] else None
            for k in kept
        ]
        for i in kept
    ]
    return [board.labelers[i].labeler.name for i in kept], rows


# --- disagreements ---------------------------------------------------------------------------------------------------


def next_disagreement(call: Call) -> Response:
    """The disagreement with the lowest agreement that nobody has decided."""
    waiting = list_disagreements(call.store, call.project.id, limit=1)
    if waiting:
        return call.go(f"/lead/disagreements/{waiting[0].item_id}")
    return call.page("message.html", text=call.words("lead.all_decided"), next="/lead")


def disagreement(call: Call) -> Response:
    """One item, blind: neither labelers nor models are named."""
    case = get_case(call.store, call.project.id, int(call.request.path_params["item"]))
    ranks = {f"rank-{i}": str(rank) for i, rank in enumerate(case.decided or ())}
    return _case(call, case, ranks | {"notes": case.note})


def _case(call: Call, case: Case, fields: dict[str, str], problem: str = "") -> Response:
    filled = {"case": case, "filled": lambda name: fields.get(name, ""), "problem": problem}
    return call.page("disagreement.html", 422 if problem else 200, **filled)


def decide(call: Call) -> Response:
    """Keep the lead's ranking of an item and go to the next disagreement."""
    case = get_case(call.store, call.project.id, int(call.request.path_params["item"]))
    ranks = [number(call.fields, f"rank-{i}", len(case.outputs)) for i in range(len(case.outputs))]
    missing = sum(rank is None for rank in ranks)
    if missing:
        return _case(call, case, dict(call.fields), call.words("error.form.ranks_missing", n=missing))
    chosen = [rank for rank in ranks if rank is not None]
    adjudicate(call.store, call.project.id, case.item_id, chosen, plain(call.fields.get("notes", "")))
    return call.go("/lead/disagreements")


# --- screening -------------------------------------------------------------------------------------------------------


def screening(call: Call) -> Response:
    """The four criteria of every candidate (B.1), their demonstrations to grade, and the decision."""
    cuts = LabelerConfig()
    return call.page(
        "screening.html",
        rows=screening_table(call.store, call.project.id, cuts),
        cuts=cuts,
        grading=demonstrations_to_score(call.store, call.project.id),
    )


def decide_candidate(call: Call) -> Response:
    """The lead's decision on a candidate; the cuts only advise."""
    decision = call.fields.get("decision", "")
    if decision not in ("hired", "rejected", "candidate"):
        raise Refused(404, "error.not_found")
    decide_labeler(call.store, _labeler(call).id, decision, plain(call.fields.get("note", ""))[:LONGEST_NOTE])
    return call.go("/lead/screening")


def grade(call: Call) -> Response:
    """Keep a score 1 to 7 for a demonstration of the screening."""
    submission, score = call.fields.get("submission", ""), number(call.fields, "score", 7)
    if score is None:
        raise Refused(422, "error.form.score")
    if not (submission.isascii() and submission.isdigit() and len(submission) < 16):
        raise Refused(404, "error.not_found")
    score_demonstration(call.store, call.project.id, int(submission), score)
    return call.go("/lead/screening#grading")


# --- people ----------------------------------------------------------------------------------------------------------


def people(call: Call) -> Response:
    """Who is there, and a form for a new link."""
    return _people(call)


def _people(call: Call, *, status: int = 200, problem: str = "", link: str = "", name: str = "", until: str = "") -> Response:
    return call.page(
        "people.html",
        status,
        people=list_labelers(call.store, call.project.id),
        answers=answers_of_labelers(call.store, call.project.id),
        problem=problem,
        link=link,
        name=name,
        until=until,
        most_days=MOST_DAYS,
    )


def invite(call: Call) -> Response:
    """Make a signed link for a person, who is added if nobody has this name."""
    name, days = call.fields.get("name", "").strip(), call.fields.get("days", "")
    if not NAME.fullmatch(name):
        return _people(call, status=422, problem=call.words("error.form.name"))
    if not (days.isascii() and days.isdigit() and 1 <= int(days) <= MOST_DAYS):
        return _people(call, status=422, problem=call.words("error.form.days", most=MOST_DAYS))
    try:
        labeler = find_labeler(call.store, call.project.id, name)
    except NotFound:
        held_out = bool(call.fields.get("held-out"))
        labeler = add_labeler(call.store, call.project.id, name, held_out=held_out)
    token = invite_token(keys_of(call.site), labeler, int(days))
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + int(days) * DAY))
    return _people(call, link=call.site.address.url(f"/join/{token}"), name=name, until=until)


def change_access(call: Call) -> Response:
    """Block a person, let them in again, or end their links."""
    labeler = _labeler(call)
    action = call.fields.get("action", "")
    if action == "revoke":
        revoke_invitation(call.store, labeler.id)
    elif action in ("left", "hired"):
        decide_labeler(call.store, labeler.id, action, labeler.decision_note)
    else:
        raise Refused(404, "error.not_found")
    return call.go("/lead/people")


def _labeler(call: Call) -> Labeler:
    """The labeler that a form of the lead names. Raises Refused if there is none in this project."""
    text = call.fields.get("labeler", "")
    if not (text.isascii() and text.isdigit()):
        raise Refused(404, "error.not_found")
    labeler = get_labeler(call.store, int(text))
    if labeler.project_id != call.project.id:
        raise Refused(404, "error.not_found")
    return labeler
