"""The page of a run, report.html, in one file that needs nothing beside itself.

The page has no script and loads nothing; all text of models and people is escaped. Whatever a run did not produce (a stage
that did not run, no gold score on your own prompts) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.core.io import write_text
from utils.evaluation.summary import Summary
from utils.report.blocks import picture
from utils.report.comparisons import results_section, sharpening_section, tax_section, tiles
from utils.report.figures import pipeline_map
from utils.report.results import gold_maximum, origin, rows_of
from utils.report.samples import samples_section
from utils.report.stages import curves_section, inputs_section, labelers_section, reward_section, settings_section
from utils.report.templates import render


def write_report(run_dir: Path | str, summary: Summary | Mapping[str, Any], path: Path | str) -> None:
    """Write the run's page to `path`, atomically.

    run_dir: runs/<name>; read are <stage>/metrics.jsonl, evaluate/samples.jsonl, evaluate/best_of_n.json,
    reward/calibration.json, prompts/cleaning.json and tables.json, left_out.json of the data stages, labelers/screening.json,
    sft_select/selection.json, config.yaml, each if it is there. summary: a `Summary`, or the flat keys of summary.json.
    Raises `UserError` if one of these files is broken.
    """
    folder, summary = Path(run_dir), Summary.of(summary)
    samples = rows_of(folder / "evaluate" / "samples.jsonl")
    sections = [
        results_section(summary),
        samples_section(samples, gold_maximum(summary)),
        sharpening_section(samples, summary),
        inputs_section(folder),
        labelers_section(folder, summary),
        curves_section(folder, summary),
        reward_section(folder, summary),
        tax_section(summary),
        settings_section(folder, summary),
    ]
    page = render(
        "page.html",
        name=folder.resolve().name,
        seed=f" · seed {summary.about['seed']}" if "seed" in summary.about else "",
        tiles=tiles(summary),
        origin=origin(summary),
        sections=[section for section in sections if section.blocks],
        map=picture("map", pipeline_map, wide=True),
    )
    write_text(path, f"{page}\n")
