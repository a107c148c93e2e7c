"""Public datasets written as your own files: JSONL rows for `--prompts FILE` and similar options, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from utils.core.errors import UserError
from utils.core.io import write_json, write_jsonl
from utils.data.hub.evaluations import load_evaluation
from utils.data.hub.examples import Row
from utils.data.hub.load import clean_examples, load_examples, load_texts, rows_of, source_record
from utils.data.hub.registry import DATASETS, PREFIX, parse_source

if TYPE_CHECKING:
    from utils.config import DataConfig


def overview() -> list[Row]:
    """One row per dataset: name, what it can be used as, licence, where it is stored."""
    return [
        {
            "name": f"{PREFIX}{row.name}",
            "use": ", ".join(row.kinds),
            "licence": row.licence,
            "from": row.place,
        }
        for row in DATASETS.values()
    ]


def convert(text: str, out: Path, data_cfg: DataConfig, limit: int | None = None) -> list[Row]:
    """Write out/KIND.jsonl for each use of a source, and out/source.json; one record per file (see `source_record`).
    Raises UserError for a source that cannot be downloaded or read, and for one that is only streamed if there is no limit.

    Prompts are cleaned by `data_cfg` as the paper cleans them, with their length in words. limit: rows of each file.
    """
    dataset = parse_source(text).dataset
    if dataset.streamed and limit is None:
        raise UserError(f"{text} is too large to be written as a whole: limit it with --rows, such as --rows 20000.")
    records = [
        _convert(text, kind, out / f"{kind}.jsonl", data_cfg, limit, quiet=kind != dataset.kinds[0]) for kind in dataset.kinds
    ]
    write_json(out / "source.json", records)
    return records


def _convert(text: str, kind: str, path: Path, data_cfg: DataConfig, limit: int | None, quiet: bool) -> Row:
    """Write one file of rows; its record."""
    if kind == "pretraining":
        texts, record = load_texts(text, limit)
        write_jsonl(path, [{"text": document} for document in texts])
        return record
    if kind == "evaluation":
        items = load_evaluation(text, limit)
        write_jsonl(path, items)
        return {"source": text, "kind": kind, "used": len(items), "dropped": {}}
    loaded = clean_examples(load_examples(text, kind, quiet), data_cfg)
    rows = list(islice(rows_of(loaded), limit))
    write_jsonl(path, rows)
    return source_record(loaded, len(rows))


def counts(records: Sequence[Row]) -> list[Row]:
    """What became of the rows: one row per use and reason."""
    return [
        {"use": record["kind"], "what": what, "examples": number}
        for record in records
        for what, number in [("written", record["used"]), *record["dropped"].items()]
    ]
