"""Documents as text, published data as rows, and the command line with everything that can be wrong."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from feedback.cases import run_stages, simulated

from utils.core import UserError, read_json, write_json, write_jsonl, write_rows
from utils.feedback import (
    Feedback,
    Match,
    Point,
    load_disapere,
    load_marg,
    load_second_annotator,
    read_document,
    read_feedback,
    read_points,
)

ROOT = Path(__file__).resolve().parents[2]


def pdf(*pages: str) -> bytes:
    """A PDF with one line of text per page; an empty one has no text at all."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(300, 300)
        font = DictionaryObject({
            NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        })  # fmt: skip
        fonts = DictionaryObject({NameObject("/F"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F 12 Tf 20 200 Td ({text}) Tj ET".encode() if text else b"")
        page[NameObject("/Contents")] = writer._add_object(stream)
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def test_pdf_docx_and_text_are_read(tmp_path: Path) -> None:
    from docx import Document

    (tmp_path / "a.pdf").write_bytes(pdf("A study of leaves and of trees", "Second page"))
    written = Document()
    written.add_paragraph("A study of leaves")
    written.add_table(1, 2).cell(0, 1).text = "12 oaks"
    written.save(str(tmp_path / "a.docx"))
    (tmp_path / "a.md").write_text("# A study of e\ufb00ects")
    assert read_document(tmp_path / "a.pdf").split() == "A study of leaves and of trees Second page".split()
    assert read_document(tmp_path / "a.docx") == "A study of leaves\n\t12 oaks"
    assert read_document(tmp_path / "a.md") == "# A study of effects"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("scan.pdf", pdf("", ""), "the 2 pages of this PDF have no text"),
        ("empty.pdf", b"", "this is no readable PDF"),
        ("cut.pdf", pdf("x")[:100], "this is no readable PDF"),
        ("text.pdf", b"hello, this is text", "this is no readable PDF"),
        ("pages.pdf", pdf(), "this PDF has no pages"),
        ("a.docx", b"not a zip", "this is no readable docx file"),
        ("a.txt", b"  \n", "the document is empty"),
        ("a.xls", b"x", "unknown kind of document"),
    ],
)
def test_documents_that_cannot_be_read(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_document(tmp_path / name)


# --- published data -----------------------------------------------------------------------------------------------------


def sentence(text: str, action: str, polarity: str = "none", suffix: str = "", fine: str = "none") -> dict[str, str]:
    return {"text": text, "suffix": suffix, "action": action, "fine_action": fine, "aspect": "none", "polarity": polarity}


def disapere_row() -> dict[str, Any]:
    told = [
        sentence("It is about x.", "arg_structuring", fine="arg-structuring_summary", suffix="\n\n"),
        sentence("It is weak.", "arg_evaluative", "pol_negative"),
        sentence("Please explain.", "arg_request", suffix="\n"),
        sentence("It is nice.", "arg_evaluative", "pol_positive"),
        sentence("Why?", "arg_request"),
    ]
    answers = [{"alignment": ["context_sentences", [1, 2]]}, {"alignment": ["context_global", None]}]
    answers.append({"alignment": ["context_sentences", [4]]})
    return {
        "forum_id": "f", "review_id": "r", "title": "T", "conference": "ICLR2019", "annotator": "a", "sentences": told,
        "rebuttal": answers,
    }  # fmt: skip


def test_a_review_of_disapere(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", [disapere_row()])
    (row,), labels = load_disapere(tmp_path / "x.jsonl")
    assert row.text == "It is about x.\n\nIt is weak. Please explain.\nIt is nice. Why? "
    assert (row.venue, row.year) == ("ICLR", 2019)
    assert [row.text[x.start : x.end] for x in labels if x.concern] == ["It is weak.", "Please explain.", "Why?"]
    assert [x.group for x in labels] == [0, 1, 1, 0, 2]
    assert [x.kind for x in labels] == ["summary", "criticism", "request", "praise", "request"]
    second = [dict(sentence("", "arg_request"), aspect="asp_clarity") for _ in labels]
    write_jsonl(tmp_path / "s.jsonl", [{"review_id": "r", "annotator": "b", "sentences": second}, {"review_id": "unknown"}])
    other = load_second_annotator(tmp_path / "s.jsonl", labels, [row])
    assert [(x.start, x.end) for x in other] == [(x.start, x.end) for x in labels]
    assert {(x.concern, x.aspect, x.annotator) for x in other} == {(True, "clarity", "b")}
    write_jsonl(tmp_path / "s.jsonl", [{"review_id": "r", "sentences": second[1:]}])
    with pytest.raises(UserError, match="row 1: r has 4 sentences here and 5 in the file of reviews"):
        load_second_annotator(tmp_path / "s.jsonl", labels, [row])
    write_jsonl(tmp_path / "y.jsonl", [{"forum_id": "f"}])
    with pytest.raises(UserError, match=r"y.jsonl, row 1: this is no review of DISAPERE"):
        load_disapere(tmp_path / "y.jsonl")


def test_comments_of_marg(tmp_path: Path) -> None:
    paper = {"doc_id": "p", "method": "m", "generated_comments": {"all": ["g1", "g2"]}}
    write_json(tmp_path / "all_results.json", [paper | {"reference_comments": [["r1"], ["s1", "s2"]]}])
    write_json(tmp_path / "all_aligns.json", [[[], [{"predicted_id": 1, "reference_id": 0}]]])
    feedback, points, labels = load_marg(tmp_path)
    assert [row.source for row in feedback] == ["model", "human", "human"] and len(points) == 5
    assert len(labels) == 6 and [(x.a_point, x.b_reviewer, x.b_point) for x in labels if x.match] == [(2, "reviewer 2", 1)]


# --- the command line ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with simulated feedback, labels, true points and matches."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.chdir(tmp_path)
    told = simulated()
    write_rows("feedback.jsonl", told.feedback)
    write_rows("labels.jsonl", told.labels)
    write_rows("true.jsonl", told.points)
    write_rows("pairs.jsonl", told.matches)
    return tmp_path


def test_all_stages_from_files_to_the_report(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (
        "train feedback.jsonl --labels labels.jsonl --out mine",
        "dummies feedback.jsonl --classifier mine --out all.jsonl",
        "extract all.jsonl --classifier mine --out points.jsonl",
        "match all.jsonl --points points.jsonl --out matches.jsonl",
        "overlap all.jsonl --points points.jsonl --matches matches.jsonl --out overlap.json",
        "verify feedback.jsonl --points true.jsonl --labels labels.jsonl --match-labels pairs.jsonl --fit w.json --out v.json",
        "match all.jsonl --points points.jsonl --scorer w.json --out matches2.jsonl",
    ):
        assert run_stages(*line.split()) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "human: excess above all dummies:" in said and "title_stuffed" in said
    record = read_json("overlap.json")
    assert set(record["systems"]) == {"human", "reader", "generic", "title_stuffed", "echo"}
    assert read_json("v.json")["extraction"]["f1"] == 1.0
    assert all(p.extractor.startswith("classifier 1") for p in read_points("points.jsonl"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("extract feedback.jsonl --endpoint http://127.0.0.1:9 --model m --out x.jsonl", "does not answer"),
        ("extract feedback.jsonl --endpoint http://127.0.0.1:9 --out x.jsonl", "--endpoint needs --model"),
        ("extract nothing.jsonl --out x.jsonl", "does not exist"),
        ("extract short.jsonl --out x.jsonl", 'row 1: the field "text" is missing'),
        ("extract praise.jsonl --out x.jsonl", "no feedback has a point; nothing was written"),
        ("extract feedback.jsonl --classifier nowhere --out x.jsonl", "does not exist"),
        ("train feedback.jsonl --labels short.jsonl --out x.jsonl", 'row 1: the field "start" is missing'),
        ("match one.jsonl --points one_points.jsonl --out x.jsonl", "No document has feedback by two reviewers"),
        ("match feedback.jsonl --points true.jsonl --null-rate 2 --out x.jsonl", "--null-rate must be above 0"),
        ("overlap one.jsonl --points one_points.jsonl --matches m.jsonl --out x.jsonl", "No document has feedback by two"),
        ("verify feedback.jsonl --points true.jsonl --out x.jsonl", "verify needs labels"),
        ("generate scan.pdf --endpoint http://127.0.0.1:9 --model m --out x.jsonl", "have no text (a scan?)"),
        ("generate scan.pdf --out x.jsonl", "generate needs a language model"),
        ("generate scan.pdf scan.pdf --endpoint http://127.0.0.1:9 --model m --out x.jsonl", 'Two documents are called "scan"'),
        ("generate scan.pdf --endpoint http://a --model m --tokens 0 --out x.jsonl", "--tokens must be 1 or more"),
        ("generate text.pdf --endpoint http://a --model m --out x.jsonl", "text.pdf: this is no readable PDF"),
        ("extract feedback.jsonl --endpoint localhost:8000 --model m --out x.jsonl", '"localhost:8000" is no web address'),
        ("extract feedback.jsonl --out .", "--out . is a folder: name a file in it"),
        ("extract semicolons.csv --out x.jsonl", 'its columns are separated by ";"'),
        ("extract nothing_in_it.jsonl --out x.jsonl", "nothing_in_it.jsonl is empty"),
        ("match feedback.jsonl --points one_span.jsonl --out x.jsonl", 'one_span.jsonl, row 1: "spans" must be pairs'),
        (
            "match feedback.jsonl --points far.jsonl --out x.jsonl",
            'row 1: "spans" must be pairs of start and end inside',
        ),
        (
            "match feedback.jsonl --points invented.jsonl --out x.jsonl",
            'row 1: the words "Nobody said this" of',
        ),
        (
            "verify feedback.jsonl --points invented.jsonl --labels labels.jsonl --out x.jsonl",
            "row 1: the words",
        ),
        (
            "verify feedback.jsonl --points true.jsonl --labels other.jsonl --out x.jsonl",
            "other.jsonl, row 1: there is no feedback",
        ),
        ("verify feedback.jsonl --points true.jsonl --labels long.jsonl --out x.jsonl", "the labels were made on another text"),
        ("verify feedback.jsonl --points true.jsonl --labels fine.jsonl --out x.jsonl", "No label is a concern"),
        ("train feedback.jsonl --labels other.jsonl --out x.jsonl", "other.jsonl, row 1: there is no feedback of zz"),
        (
            "overlap feedback.jsonl --points true.jsonl --matches unsure.jsonl --out x.jsonl",
            '"similarity": expected a number',
        ),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    line: str, said: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = simulated()
    write_jsonl("short.jsonl", [{"document_id": "d", "reviewer": "r"}])
    write_jsonl("praise.jsonl", [{"document_id": "d", "reviewer": "r", "text": "Nice."}])
    write_rows("one.jsonl", [row for row in told.feedback if row.reviewer == "r1"])
    write_rows("one_points.jsonl", [row for row in told.points if row.reviewer == "r1"])
    write_rows("m.jsonl", [Match("d", "a", 1, "d", "b", 1, 7, True)])
    Path("scan.pdf").write_bytes(pdf(""))
    Path("text.pdf").write_text("hello, this is text")
    Path("semicolons.csv").write_text("document_id;reviewer;text\nd;r;Why?\n")
    Path("nothing_in_it.jsonl").write_text("")
    point, label = told.points[0], told.labels[0]
    write_rows("one_span.jsonl", [replace(point, spans=((5,),))])
    write_rows("far.jsonl", [replace(point, spans=((0, 99_999),))])
    write_rows("invented.jsonl", [replace(point, verbatim="Nobody said this", spans=())])
    write_rows("other.jsonl", [replace(label, reviewer="zz")])
    write_rows("long.jsonl", [replace(label, end=99_999)])
    write_rows("fine.jsonl", [replace(label, concern=False)])
    write_jsonl("unsure.jsonl", [asdict(Match("d", "a", 1, "d", "b", 1, 7, True)) | {"similarity": "high"}])
    assert run_stages(*line.split()) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not Path("x.jsonl").exists()


def test_odd_feedback_is_read(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Korean, CRLF, extra columns, one reviewer, a text of a hundred thousand characters."""
    texts = {
        "a": "왜 온도를 재지 않았나요?\n결론이 부족합니다.",
        "b": "It is fine.\r\n\r\n- Why no baseline?\r\n- Please add data.\r\n",
        "c": "The method is not clear. " * 4_000,
    }
    write_jsonl("odd.jsonl", [{"document_id": "d", "reviewer": r, "text": text, "mood": "x"} for r, text in texts.items()])
    assert run_stages(*"extract odd.jsonl --out odd_points.jsonl".split()) == 0
    assert "1 of 3 feedbacks are not in English, and the rules know English" in capsys.readouterr().out
    found = read_points("odd_points.jsonl", read_feedback("odd.jsonl"))
    assert [p.verbatim for p in found if p.reviewer == "b"] == ["- Why no baseline?", "- Please add data."]
    assert {p.reviewer for p in found} == set(texts)


def test_points_that_are_all_the_same_do_not_match(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Feedback(d, r, "Why?") for d in "abcd" for r in "pq"]
    write_rows("same.jsonl", rows)
    write_rows("same_points.jsonl", [Point(row.document_id, row.reviewer, 1, "Why?", ((0, 4),)) for row in rows])
    assert run_stages(*"match same.jsonl --points same_points.jsonl --out same_matches.jsonl".split()) == 2
    assert "No two points are similar enough" in capsys.readouterr().err and not Path("same_matches.jsonl").exists()
