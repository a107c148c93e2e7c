"""Labels as files to download: rows for the pipeline, pairs for TRL, tasks for Label Studio."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from utils.labeling.store import (
    PHASES,
    ExportChoice,
    Store,
    export_comparisons,
    export_demonstrations,
    preference_pairs,
    to_label_studio,
)
from utils.labeling.web.call import Call, Refused

Maker = Callable[[Store, int, ExportChoice], str]


def _lines(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# format -> (how the name of the file ends, what makes its content)
FORMATS: dict[str, tuple[str, Maker]] = {
    "comparisons": ("comparisons.jsonl", lambda *of: _lines(asdict(row) for row in export_comparisons(*of))),
    "demonstrations": ("demonstrations.jsonl", lambda *of: _lines(asdict(row) for row in export_demonstrations(*of))),
    "pairs": ("pairs.jsonl", lambda *of: _lines(preference_pairs(export_comparisons(*of)))),
    "label_studio": ("label-studio.json", lambda *of: json.dumps(to_label_studio(export_comparisons(*of)), indent=1)),
}


def export(call: Call) -> Response:
    """The form: which format, which phase, whose labels."""
    return call.page("export.html", formats=list(FORMATS), phases=PHASES, phase=call.project.settings.phase)


def download(call: Call) -> Response:
    """The file. Pseudonyms stand for names unless the lead asks for names."""
    chosen, phase = call.fields.get("format", ""), call.fields.get("phase", "")
    if chosen not in FORMATS or phase not in PHASES:
        raise Refused(404, "error.not_found")
    names, held_out, checks = (bool(call.fields.get(name)) for name in ("names", "held-out", "checks"))
    ending, make = FORMATS[chosen]
    text = make(call.store, call.project.id, ExportChoice(phase=phase, names=names, held_out=held_out, checks=checks))
    headers = {"Content-Disposition": f'attachment; filename="{phase}-{ending}"'}
    return Response(text, media_type="application/json", headers=headers)
