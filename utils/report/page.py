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
from utils.report.results import RunData, gold_maximum, origin
from utils.report.samples import samples_section
from utils.report.stages import curves_section, inputs_section, labelers_section, reward_section, settings_section
from utils.report.templates import render


def write_report(run: RunData, summary: Summary | Mapping[str, Any], path: Path | str) -> None:
    """Write the run's page to `path`, atomically. summary: a `Summary`, or the flat keys of summary.json."""
    summary = Summary.of(summary)
    sections = [
        results_section(summary),
        samples_section(run.samples, gold_maximum(summary)),
        sharpening_section(run.samples, summary),
        inputs_section(run),
        labelers_section(run.screening, summary),
        curves_section(run, summary),
        reward_section(run, summary),
        tax_section(summary),
        settings_section(run.settings, summary),
    ]
    page = render(
        "page.html",
        name=run.name,
        seed=f" · seed {summary.about['seed']}" if "seed" in summary.about else "",
        tiles=tiles(summary),
        origin=origin(summary),
        sections=[section for section in sections if section.blocks],
        map=picture("map", pipeline_map, wide=True),
    )
    write_text(path, f"{page}\n")
