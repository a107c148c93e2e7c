"""Files in and out of a store of people's labels: what `scripts/label.py import | export` does."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from utils.core.errors import UserError
from utils.core.io import PathLike, convert, read_json, read_rows, read_table, write_json, write_jsonl, write_rows, write_text
from utils.data.formats import load_comparisons, load_demonstrations, load_prompts
from utils.data.outputs import join_outputs, read_outputs
from utils.data.rows import id_of_prompt
from utils.data.schemas import Comparison, Demonstration
from utils.labeling.store import (
    ExportChoice,
    InvalidAnswer,
    NewItem,
    Project,
    Store,
    add_items,
    export_comparisons,
    export_demonstrations,
    from_label_studio,
    from_potato,
    import_comparisons,
    import_demonstrations,
    import_prompts,
    preference_pairs,
    to_label_studio,
)
from utils.labeling.store.forms import GOLD_FIELDS, SCREENING, check_gold
from utils.labeling.store.rows import item_of
from utils.worlds.protocol import TRAINING

FORMS = ("prompts", "outputs", "comparisons", "demonstrations", "label-studio", "potato")
EXPORTS = ("jsonl", "pairs", "label-studio", "csv")
WITHOUT_OUTPUTS = ("demonstration", "topics")
POTATO_FILE = "annotated_instances.jsonl"


# --- in ------------------------------------------------------------------------------------------------------------


def import_files(
    store: Store,
    project: Project,
    files: Sequence[str],
    form: str,
    *,
    kind: str = "ranking",
    phase: str = TRAINING,
    role: str = "work",
) -> int:
    """Read files of a form into a project and return how many rows.

    prompts: to write demonstrations for. outputs: to rank, rate or flag (kind); one file of rows with `completions`, or one
    file per policy with `prompt` and an answer, joined by prompt; see `items_of`. comparisons, demonstrations, label-studio:
    labels made elsewhere. potato: see `potato_rows`. Raises UserError.
    """
    if role != "work" and form != "outputs":
        raise UserError(f"The role {role} is for outputs that people judge: import them with --form outputs.")
    if form == "outputs":
        return len(add_items(store, project.id, items_of(files, kind, phase, role)))
    if form == "potato":
        return import_comparisons(store, project.id, potato_rows(files), phase)
    total = 0
    for file in files:
        if form == "prompts":
            total += import_prompts(store, project.id, load_prompts(file), phase)
        elif form == "demonstrations":
            total += import_demonstrations(store, project.id, load_demonstrations(file), phase)
        elif form == "comparisons":
            total += import_comparisons(store, project.id, _comparisons(file), phase)
        elif form == "label-studio":
            total += import_comparisons(store, project.id, from_label_studio(_tasks(file)), phase)
        else:
            raise UserError(f"The form {form!r} is unknown: use one of {', '.join(FORMS)}.")
    return total


def _comparisons(file: str) -> list[Comparison]:
    """Rows of our own export as they are (tied ones too); any other form of rankings by the loader."""
    names = set(read_table(file)[0])
    return (
        read_rows(file, Comparison) if {"prompt_id", "completions", "ranks", "labeler_id"} <= names else load_comparisons(file)
    )


def _tasks(file: str) -> list[Mapping[str, Any]]:
    tasks = read_json(file)
    if not isinstance(tasks, list) or not all(isinstance(one, Mapping) for one in tasks):
        raise UserError(f"{file}: expected a list of tasks, as Label Studio exports them in JSON.")
    return tasks


def items_of(files: Sequence[str], kind: str = "ranking", phase: str = TRAINING, role: str = "work") -> list[NewItem]:
    """Items to judge: the rows of one file with `completions`, or the outputs of one file per policy (`outputs_of`).

    A row of one file may have its own `kind` (also "demonstration" and "topics", without completions), `role` and `overlap`,
    and the expected answer `gold`, such as {"ranks": [1, 2, 2]}, in the order of its completions. Where an answer is expected
    (role "gold" or "attention", phase "screening"), the labels of the row are it if there is no `gold`, so that an export of
    the lead's own labels can be imported as gold items. Raises UserError naming file, row and field.
    """
    if len(files) == 1:
        return [
            _item(row, f"{files[0]}, row {number}", (kind, phase, role)) for number, row in enumerate(read_table(files[0]), 1)
        ]
    if role != "work":
        raise UserError(f'{", ".join(files)}: an item of the role {role} needs its answer: give one file of rows with "gold".')
    return [item_of(row, kind, phase) for row in outputs_of(files)]


def _item(row: Mapping[str, Any], where: str, purpose: tuple[str, str, str]) -> NewItem:
    """An item of a row; purpose: kind, phase and role where the row does not say."""
    kind, phase, role = str(row.get("kind") or purpose[0]), purpose[1], str(row.get("role") or purpose[2])
    if kind in WITHOUT_OUTPUTS:
        row = {"prompt": "", **row, "completions": []}
    item = item_of(_listed(row, where), kind, phase)
    try:
        overlap, gold = convert(row.get("overlap"), int | None), convert(row.get("gold"), dict[str, Any] | None)
        if gold is None and (role != "work" or phase == SCREENING):
            gold = {name: convert(row[name], tuple[Any, ...]) for name in GOLD_FIELDS.get(kind, ()) if row.get(name)} or None
        if gold is not None:
            gold = check_gold(gold, kind, len(item.outputs))
        elif role != "work":
            raise ValueError(
                f'an item of the role "{role}" needs the expected answer in "gold", such as {{"ranks": [1, 2, 2]}}'
            )
    except (ValueError, InvalidAnswer) as error:
        raise UserError(f"{where}: {str(error).rstrip('.')}.") from None
    return replace(item, role=role, gold=gold, overlap=overlap)


def outputs_of(files: Sequence[str]) -> list[Comparison]:
    """Rows without ranks: the outputs of one file per policy (its name is the policy's), joined by prompt.

    Raises UserError if no prompt has two outputs.
    """
    rows = join_outputs(one for one in read_outputs(files) if one.completion)  # nobody can rank an empty output
    if not rows:
        raise UserError(f"{', '.join(files)}: no prompt has outputs in two of these files.")
    return rows


def _listed(row: Mapping[str, Any], where: str) -> Comparison:
    for field in ("prompt", "completions"):
        if field not in row:
            raise UserError(f'{where}: the field "{field}" is missing; give several files to join the outputs of policies.')
    try:
        texts = convert(row["completions"], tuple[str, ...])
        ends = convert(row.get("finished") or [True] * len(texts), tuple[bool, ...])
        policies = convert(row.get("policies") or [""] * len(texts), tuple[str, ...])
        if not len(texts) == len(ends) == len(policies):
            raise ValueError('"finished" and "policies" need one value for each of "completions"')
    except ValueError as error:
        raise UserError(f"{where}: {error}.") from None
    prompt = str(row["prompt"])
    return Comparison(
        prompt_id=str(row.get("prompt_id") or id_of_prompt(prompt)),
        prompt=prompt,
        completions=texts,
        ranks=(),
        finished=ends,
        policies=policies,
        use_case=str(row.get("use_case") or "other"),
        split=str(row.get("split") or "train"),
    )


def potato_rows(files: Sequence[str]) -> list[Comparison]:
    """Rankings of Potato: the file of the outputs that it showed, then its folder annotation_output (or files in it).

    The outputs are rows with `id`, `prompt` and `completions`. The one ranking scheme of the answers is used; its labels,
    sorted, name the outputs in their order (A, B, C, ... or 1, 2, 3, ...).
    """
    if len(files) < 2:
        raise UserError("Potato's rankings need two files: the outputs that it showed, then its folder of annotations.")
    tasks = {}
    for number, row in enumerate(read_table(files[0]), 1):
        where = f"{files[0]}, row {number}"
        if "id" not in row:
            raise UserError(f'{where}: the field "id" is missing, by which Potato names it.')
        tasks[str(row["id"])] = _listed(row, where)
    rows: list[Comparison] = []
    for file in _potato_files(files[1:]):
        answers = read_table(file)
        scheme, labels = _potato_scheme(answers, file)
        rows += from_potato(answers, tasks, scheme, labels, file.parent.name)
    return rows


def _potato_files(places: Sequence[str]) -> list[Path]:
    found = [file for place in map(Path, places) for file in (sorted(place.rglob(POTATO_FILE)) if place.is_dir() else [place])]
    if not found:
        raise UserError(f"{', '.join(places)}: no {POTATO_FILE} in it, give Potato's folder annotation_output.")
    return found


def _potato_scheme(rows: Sequence[Mapping[str, Any]], file: Path) -> tuple[str, list[str]]:
    """The name of the scheme with an order of labels, and the labels of the longest one, sorted."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for scheme, answers in (row.get("label_annotations") or {}).items():
            order = answers.get("rank_order") if isinstance(answers, Mapping) else None
            if order and len(str(order).split(",")) > len(found.get(scheme, ())):
                found[scheme] = sorted(str(order).split(","))
    if len(found) != 1:
        raise UserError(
            f"{file}: found {len(found)} schemes of the type ranking ({', '.join(found) or 'none'}), one is needed."
        )
    return next(iter(found.items()))


# --- out -----------------------------------------------------------------------------------------------------------


def export_file(store: Store, project: Project, file: PathLike, form: str = "jsonl", choice: ExportChoice | None = None) -> int:
    """Write a project's rankings (or demonstrations, if there are only these) to a file and return how many rows.

    jsonl: rows of the pipeline. pairs: prompt, chosen, rejected (TRL). label-studio: JSON for its Ranker. csv: a row per
    ranking, lists as JSON. Raises UserError if there is nothing to write.
    """
    rankings = export_comparisons(store, project.id, choice)
    demonstrations = export_demonstrations(store, project.id, choice) if not rankings else []
    rows: list[Any] = [*rankings, *demonstrations]
    if not rows:
        raise UserError(f'The project "{project.name}" has no labels of this phase yet: nothing was written.')
    if form in ("pairs", "label-studio") and demonstrations:
        raise UserError(f"Demonstrations have no preferences: write them as jsonl or csv, not as {form}.")
    if form == "jsonl":
        write_rows(file, rows)
    elif form == "pairs":
        rows = list(preference_pairs(rankings))
        write_jsonl(file, rows)
    elif form == "label-studio":
        write_json(file, to_label_studio(rankings))
    elif form == "csv":
        write_text(file, _csv(rows))
    else:
        raise UserError(f"The form {form!r} is unknown: use one of {', '.join(EXPORTS)}.")
    return len(rows)


def _csv(rows: Sequence[Comparison | Demonstration]) -> str:
    """A header and a row per label; a cell with a list or an object is JSON."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    records = [asdict(row) for row in rows]
    writer.writerow(records[0])
    for record in records:
        writer.writerow([v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in record.values()])
    return lines.getvalue()
