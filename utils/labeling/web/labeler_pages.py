"""What a labeler sees: the tasks, one task, the instructions of each phase, their own progress."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from utils.labeling.store import (
    FLAGS,
    PHASES,
    SCREENING,
    TOPICS,
    Task,
    count_tasks,
    get_task,
    next_task,
    progress,
    save_draft,
    skip,
    submit,
)
from utils.labeling.web.answers import Problem, answer_of_fields, fields_of_answer, problems_of, rated
from utils.labeling.web.call import Call, Refused
from utils.labeling.web.entry_pages import welcome
from utils.labeling.web.history import history
from utils.labeling.web.limits import MAX_TEXT

# Sentences that the script of a task says.
SCRIPT_WORDS = {
    "saving": "work.saving", "draft_saved": "work.draft_saved", "draft_local": "work.draft_local",
    "draft_restored": "work.draft_restored", "go_on": "work.go_on", "offline": "error.offline",
    "back_online": "error.back_online",
}  # fmt: skip
DEMONSTRATION = "demonstration"  # the page of instructions on writing


def home(call: Call) -> Response:
    """The first page: what is to be done, for somebody who is in; the way in for everybody else."""
    if call.viewer.labeler is None:
        return call.go("/lead") if call.viewer.lead else welcome(call)
    mine = progress(call.store, call.labeler.id)
    left = "none" in call.request.query_params
    return call.page("home.html", mine=mine, past=history(call.store, call.labeler.id), nothing_left=left)


def _phase(call: Call) -> str:
    return SCREENING if call.labeler.status == "candidate" else call.project.settings.phase


def take_next(call: Call) -> Response:
    """The labeler's open task, else a new one."""
    task = next_task(call.store, call.labeler.id)
    if call.wants_json:
        return call.json({"task": None if task is None else _seen(task)})
    return call.go("/?none" if task is None else f"/tasks/{task.token}")


def _seen(task: Task) -> dict[str, Any]:
    """A task for a client that is no browser: what the page shows, and no more."""
    outputs = [{"text": one.text, "finished": one.finished} for one in task.outputs]
    names = ("token", "kind", "phase", "prompt", "rate", "draft_version")
    return {name: getattr(task, name) for name in names} | {"outputs": outputs}


def show(call: Call) -> Response:
    """The page of a task, with the draft or the earlier answer in it."""
    task = get_task(call.store, call.labeler.id, call.request.path_params["token"])
    if call.wants_json:
        return call.json({"task": _seen(task)})
    return _page(call, task, fields_of_answer(task.draft or task.submitted or {}))


def _page(call: Call, task: Task, fields: Mapping[str, str], problems: list[Problem] | None = None, key: str = "") -> Response:
    """The form of a task, filled with `fields`. key: of the submission; a form that is shown again keeps it."""
    kind = "rated_ranking" if task.kind == "ranking" and task.rate else task.kind
    per_output = len(task.outputs) if rated(task) or task.kind == "flagging" else 0
    return call.page(
        "task.html",
        422 if problems else 200,
        task=task,
        place=count_tasks(call.store, call.labeler.id)[0] + 1,
        title=call.words(f"kind.{kind}"),
        key_table=kind,
        key=key or secrets.token_urlsafe(16),
        filled=lambda name: fields.get(name, ""),
        problems=[one.sentence for one in problems or ()],
        fields=FLAGS,
        topics=TOPICS,
        rated=rated(task),
        ranked=task.kind == "ranking",
        only_ranking=task.kind == "ranking" and not task.rate,
        steps=per_output + (task.kind == "ranking"),
        max_text=MAX_TEXT,
        script_words=json.dumps({name: call.words(path) for name, path in SCRIPT_WORDS.items()}),
    )


def draft(call: Call) -> Response:
    """Keep what is typed so far. A script sends {"version", "draft": fields of the form}."""
    token = call.request.path_params["token"]
    data = call.data if isinstance(call.data, dict) else {}
    given, version = data.get("draft"), data.get("version")
    if not isinstance(given, dict) or not isinstance(version, int):
        raise Refused(400, "error.form.not_json")
    fields = {str(name): value for name, value in given.items() if isinstance(value, str)}
    task = get_task(call.store, call.labeler.id, token)
    kept = answer_of_fields(fields, task) | {"seconds": _seconds(fields.get("seconds"))}
    return call.json({"version": save_draft(call.store, call.labeler.id, token, kept, version)})


def send(call: Call) -> Response:
    """Take an answer: the fields of the form, or JSON {"key", "seconds", "answer"} from a client that is no browser."""
    token = call.request.path_params["token"]
    if isinstance(call.data, dict):
        answer, key, seconds = call.data.get("answer"), str(call.data.get("key", "")), _seconds(call.data.get("seconds"))
        if not isinstance(answer, dict):
            raise Refused(400, "error.form.not_json")
    else:
        task = get_task(call.store, call.labeler.id, token)
        answer, key, seconds = (
            answer_of_fields(call.fields, task),
            call.fields.get("key", ""),
            _seconds(call.fields.get("seconds")),
        )
        problems = problems_of(answer, task, call.words)
        if problems and call.wants_json:
            return call.json({"problems": [one.sentence for one in problems], "step": problems[0].step}, 422)
        if problems:
            return _page(call, task, call.fields, problems, key)
    receipt = submit(call.store, call.labeler.id, token, answer, key=key, seconds=seconds)
    if call.wants_json:
        return call.json({"repeated": receipt.repeated, "replaced": receipt.replaced, "next": "/next"})
    return call.go("/next")


def leave_out(call: Call) -> Response:
    """Skip a task, with a reason."""
    reason = call.fields.get("reason", "") or (call.data.get("reason", "") if isinstance(call.data, dict) else "")
    if reason not in call.words.part("work.skip_reasons"):
        raise Refused(422, "error.form.reason")
    skip(call.store, call.labeler.id, call.request.path_params["token"], reason)
    return call.json({"next": "/next"}) if call.wants_json else call.go("/next")


def instructions(call: Call) -> Response:
    """The instructions of a phase (B.2), or on writing demonstrations; the lead's own words replace ours."""
    pages = (*PHASES, DEMONSTRATION)
    page = call.request.path_params.get("page") or (_phase(call) if call.viewer.labeler else PHASES[1])
    if page not in pages:
        raise Refused(404, "error.not_found")
    own = call.project.settings.instructions.get(page, "")
    empty: dict[str, Any] = {"text": "", "points": (), "examples": ()}
    names = {DEMONSTRATION: call.words("kind.demonstration")} | {phase: call.words(f"phase.{phase}") for phase in PHASES}
    return call.page(
        "instructions.html",
        page=page,
        heading=names[page],
        others=[(name, names[name]) for name in pages],
        own=own,
        rule="" if page == DEMONSTRATION else call.words(f"phase_rule.{page}"),
        parts=[] if own else [empty | part for part in call.words.part(f"instructions.pages.{page}")],
    )


def own_progress(call: Call) -> Response:
    """The labeler's own numbers and agreement with gold items; nobody else's."""
    mine = progress(call.store, call.labeler.id)
    return call.page("progress.html", mine=mine, past=history(call.store, call.labeler.id))


def _seconds(given: object) -> float:
    """Seconds of work as a client says; 0 for anything that is no sensible number."""
    try:
        value = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return 0.0
    return value if math.isfinite(value) and 0 <= value < 1e7 else 0.0
