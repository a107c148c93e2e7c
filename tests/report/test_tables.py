from __future__ import annotations

import math

import pytest

from utils.report.tables import Shaded, Table, print_table

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def test_text_is_aligned_and_numbers_stand_to_the_right() -> None:
    table = Table.of([{"name": "ab", "n": 1, "x": 1.25}, {"name": "c", "n": 200}], digits=1)
    lines = table.text().split("\n")
    assert [line.split() for line in lines] == [["name", "n", "x"], ["-----", "----", "---"], ["ab", "1", "1.2"], ["c", "200"]]
    assert len({line.index(end) + len(end) for line, end in zip(lines[2:], ("1 ", "200"), strict=True) if end.strip()}) == 2
    assert lines[2].index("1") == lines[3].index("200") + 2


def test_a_narrow_terminal_wraps_and_a_file_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(("a", "b"), [("word " * 30, "x")])
    assert max(map(len, table.text(40).splitlines())) <= 40 and len(table.text().splitlines()) == 3
    print_table(table)
    print_table(Table(("a",), []))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4 and printed[-1] == "(no rows)"


def test_brackets_are_text_and_wide_letters_take_two_columns() -> None:
    lines = Table(("name", "n"), [("[bold]", 1), ("한국", 2)]).text().splitlines()
    assert lines[2].startswith("[bold]") and lines[2].index("1") == lines[3].index("2") + 2


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, None, ""), (True, None, "yes"), (False, 2, "no"), (12345, None, "12,345"), (12345, 2, "12345"),
        (0.12345, None, "0.123"), (0.12345, 2, "0.12"), (-0.001, 2, "0.00"), (math.nan, 2, ""), (math.inf, None, ""),
        (["a", 1], None, "a, 1"), (Shaded(7.125, 10), None, "7.12"),
    ],
)  # fmt: skip
def test_cells_as_text(value: object, digits: int | None, text: str) -> None:
    assert Table(("x",), [(value,)], digits=digits).cells()[0][0].text == text


def test_columns_of_numbers_are_found() -> None:
    row = ("7.70 ± 0.07", "0.650 to 0.710", "? to ?", "1.2e-05", "12 %", "", "a1", "3-year")
    assert Table([str(i) for i in range(8)], [row]).right() == [True] * 6 + [False] * 2


def test_markdown_keeps_cells_together() -> None:
    text = Table(("a", "b"), [("1 | 2", "x\ny")]).markdown()
    assert text.splitlines() == ["| a | b |", "| --- | --- |", "| 1 \\| 2 | x<br>y |"]


@pytest.mark.parametrize("form", ["html", "notebook_html"])
def test_html_escapes_names_cells_and_caption(form: str) -> None:
    text = str(getattr(Table.of([{ATTACK: ATTACK}], ATTACK), form)())
    assert "<script" not in text and "<img" not in text and text.count("&lt;script&gt;") == 3


def test_shaded_cells_are_stronger_nearer_the_top() -> None:
    text = str(Table(("a", "b"), [(Shaded(1.0, 1.0), Shaded(0.0, 1.0))]).html())
    assert "rgba(0,158,115,0.75)" in text and "rgba(0,158,115,0.00)" in text


def test_blank_columns_are_removed() -> None:
    table = Table.of([{"a": 1, "b": None}, {"a": 2, "b": ""}]).without_blank_columns()
    assert list(table.header) == ["a"] and table.rows == [[1], [2]]
