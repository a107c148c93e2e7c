from __future__ import annotations

from pathlib import Path

from utils.core.io import read_text, write_json
from utils.report import left_out, terminal_table, write_report

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
    assert left_out(tmp_path) == [ROW]
    text = " ".join(terminal_table({}, left_out(tmp_path)).split())
    assert text.startswith(
        "left out: 1,207 demonstrations: longer than the limit (setting data.max_response_tokens); first: row 12"
    )
    write_report(tmp_path, {}, tmp_path / "report.html")
    page = read_text(tmp_path / "report.html")
    assert "What was left out" in page and "row 12: &lt;b&gt;" in page and "1,207" in page


def test_without_counts_nothing_is_said(tmp_path: Path) -> None:
    assert left_out(tmp_path) == [] and "left out" not in terminal_table({})
