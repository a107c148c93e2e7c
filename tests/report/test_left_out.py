from __future__ import annotations

from pathlib import Path

from utils.config import load_config
from utils.core.io import write_json
from utils.pipeline import Run
from utils.report import terminal_table, write_report

ROW = {
    "what": "demonstrations",
    "count": 1207,
    "reason": "longer than the limit",
    "setting": "data.max_response_tokens",
    "first": "row 12: <b>",
}


def test_everything_left_out_is_one_line_on_the_terminal_and_a_row_of_the_report(tmp_path: Path) -> None:
    write_json(tmp_path / "prompts" / "left_out.json", [ROW | {"what": "prompts", "count": 0}])
    write_json(tmp_path / "sft" / "data.json", [ROW])
    data = Run(tmp_path, load_config("tiny")).report_data()
    assert data.left_out == [ROW]
    text = " ".join(terminal_table({}, data.left_out).split())
    assert text.startswith(
        "left out: 1,207 demonstrations: longer than the limit (setting data.max_response_tokens); first: row 12"
    )
    write_report(data, {}, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "What was left out" in page and "row 12: &lt;b&gt;" in page and "1,207" in page


def test_without_counts_nothing_is_said(tmp_path: Path) -> None:
    assert Run(tmp_path, load_config("tiny")).left_out() == [] and "left out" not in terminal_table({})
