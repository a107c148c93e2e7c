"""A teacher's database -> rows: what is read, masked, left out and split, and the sentence for every bad input."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.core.errors import UserError
from utils.core.io import read_json, read_jsonl, read_rows
from utils.data import load_comparisons, load_demonstrations, load_prompts
from utils.feedback.database import ImportOptions, import_database, load_mapping
from utils.feedback.database.importer import _filling
from utils.feedback.database.masking import Aliases, Masker, Person, ends_in_consonant, written_forms
from utils.feedback.records import Feedback

MAPPING: dict[str, Any] = {
    "database": "school.db",
    "documents": {
        "table": "docs", "id": "id", "learner": "pupil", "title": "title", "text": "body",
        "status": "state", "final": ["final"],
    },
    "learners": {
        "table": "pupils", "id": "id", "school": "school", "consent": "ok", "agreed": [1], "names": ["name"],
        "private": ["born", "phone"],
    },
    "teachers": {"table": "teachers", "id": "id", "school": "school", "names": ["name"]},
    "comments": {"table": "comments", "document": "doc", "teacher": "teacher", "text": "body"},
    "labels": {
        "table": "labels", "document": "doc", "criterion": "what", "mark": "mark", "flaw": ["no"], "fine": ["yes"],
        "criteria": {
            "Q": {"name": "no_question", "sentence": "Start with a question."},
            "M": {"name": "no_method", "sentence": "Say how you found out."},
        },
    },
    "rankings": {"table": "ranks", "document": "doc", "teacher": "teacher", "text": "body", "rank": "rank"},
    "split": {"by": "school", "train": 0.6, "valid": 0.2, "test": 0.2},
}  # fmt: skip
Tables = dict[str, list[dict[str, Any]]]


def tables(schools: int = 12, per_school: int = 5) -> Tables:
    """One pupil with one document per place; every document is commented by both teachers of its school."""
    found: Tables = {name: [] for name in ("docs", "pupils", "teachers", "comments", "labels", "ranks")}
    for school in range(schools):
        for t in (0, 1):
            found["teachers"].append({"id": 10 * school + t, "school": school, "name": f"Tess{t} Stern{school}"})
        for place in range(per_school):
            i = per_school * school + place
            found["pupils"].append({"id": i, "school": school, "name": f"Mia{place} Berg{school}", "born": "2014-03-09",
                                    "phone": f"010-1234-{5000 + i}", "ok": 1})  # fmt: skip
            found["docs"].append(
                {"id": i, "pupil": i, "title": f"Owls {i}", "body": f"I am Mia{place} and owl {i} eats mice.", "state": "final"}
            )
            for t in (0, 1):
                found["comments"].append(
                    {"doc": i, "teacher": 10 * school + t, "body": f"Good work, Mia{place}. Say more on {i}, {t}."}
                )
            found["labels"] += [
                {"doc": i, "what": what, "mark": mark} for what, mark in (("Q", "no"), ("M", "yes" if i % 2 else "no"))
            ]
            found["ranks"] += [
                {"doc": i, "teacher": 10 * school, "body": f"Text {k} for Mia{place}", "rank": 3 * k} for k in (1, 2)
            ]
    return found


def written(folder: Path, rows: Tables, mapping: dict[str, Any] | None = None) -> Path:
    """The tables as an SQLite file, and the mapping; returns the mapping's path."""
    folder.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(folder / "school.db") as connection:
        for name, found in rows.items():
            columns = list(found[0]) if found else ["id", "doc", "teacher", "body"]
            connection.execute(f'create table "{name}" ({", ".join(columns)})')
            connection.executemany(
                f'insert into "{name}" values ({", ".join("?" * len(columns))})', [tuple(r.values()) for r in found]
            )
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump(mapping or MAPPING, allow_unicode=True), encoding="utf-8")
    return path


def imported(folder: Path, rows: Tables, mapping: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    path = written(folder, rows, mapping)
    return import_database(path, folder / "out", ImportOptions(folder / "salt.txt", **options))


def all_text(folder: Path) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in sorted(folder.iterdir()))


# --- what is written ---------------------------------------------------------------------------------------------------


def test_rows_are_those_that_the_pipeline_reads(tmp_path: Path) -> None:
    report = imported(tmp_path, tables())
    out = tmp_path / "out"
    prompts, shown = load_prompts(out / "prompts.jsonl"), load_demonstrations(out / "demonstrations.jsonl")
    ranked = load_comparisons(out / "comparisons.jsonl")
    feedback = read_rows(out / "feedback.jsonl", Feedback)
    assert len(prompts) == 60 and len(feedback) == 120 and len(ranked) == 60
    split_of = {p.prompt_id: p.split for p in prompts}
    assert {d.split for d in shown} == {"train", "valid"}, "comments on test documents are for comparison only"
    assert all(d.split == split_of[d.prompt_id] for d in shown) and all(c.split == split_of[c.prompt_id] for c in ranked)
    assert all(c.ranks == (1, 2) for c in sorted(ranked, key=lambda c: c.prompt_id)) or {c.ranks for c in ranked} <= {
        (1, 2),
        (2, 1),
    }
    assert report["test_documents_with_two_teachers"] == report["documents"]["test"] > 0
    assert report == read_json(out / "import.json")


def test_names_private_values_and_ids_are_never_written(tmp_path: Path) -> None:
    rows = tables()
    rows["docs"][0]["body"] += (
        " I was born on 9.3.2014, call 010-1234-5000 or 01012345000, mail mia@school.kr로. 900101-1234567입니다."
    )
    rows["docs"][1]["body"] += " Born in 2014년 3월 9일. My friend Berg0 and Tess1 Stern0 helped."
    report = imported(tmp_path, rows)
    text = all_text(tmp_path / "out")
    for secret in (
        "Mia",
        "Berg",
        "Tess",
        "Stern",
        "2014",
        "1234-5000",
        "01012345000",
        "school.kr",
        "1234567",
        "010-1234",
        "school.db",
    ):
        assert secret not in text, secret
    assert report["masked"]["names"] > 180 and report["masked"]["private values"] >= 3
    assert set(json.dumps(report)) & set("가나다") == set()


def test_a_person_has_one_alias_in_document_and_comments(tmp_path: Path) -> None:
    imported(tmp_path, tables())
    for row in read_rows(tmp_path / "out" / "feedback.jsonl", Feedback):
        alias = row.topic.split("I am ")[1].split(" and ")[0]
        assert f"Good work, {alias}." in row.text


def test_ids_depend_on_the_salt_alone(tmp_path: Path) -> None:
    path = written(tmp_path, tables())
    for name in ("a", "b"):
        import_database(path, tmp_path / name, ImportOptions(tmp_path / "salt.txt"))
    import_database(path, tmp_path / "c", ImportOptions(tmp_path / "other.txt"))
    assert all_text(tmp_path / "a") == all_text(tmp_path / "b")
    ids = [{row["prompt_id"] for row in read_jsonl(tmp_path / name / "prompts.jsonl")} for name in ("a", "c")]
    assert not ids[0] & ids[1]


def test_no_consent_drafts_empty_and_equal_documents_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = tables()
    rows["pupils"][0]["ok"] = 0
    rows["docs"][1]["state"] = "draft"
    rows["docs"][2]["body"] = " "
    rows["docs"][4] |= {"title": rows["docs"][3]["title"], "body": rows["docs"][3]["body"].replace("Mia3", "Mia4"), "pupil": 3}
    rows["docs"][4]["body"] = rows["docs"][3]["body"]
    report = imported(tmp_path, rows)
    assert report["files"]["prompts"] == 56
    for reason in ("documents without consent", "drafts", "documents without text", "documents with the text of another one"):
        assert report["left_out"][reason] == 1, reason
    assert report["left_out"]["comments on documents that are left out"] == 8


def test_schools_stay_whole(tmp_path: Path) -> None:
    rows = tables()
    report = imported(tmp_path, rows)
    prompts = read_jsonl(tmp_path / "out" / "prompts.jsonl")
    school_of = {i: i // 5 for i in range(60)}
    splits: dict[int, set[str]] = {}
    for row in prompts:
        splits.setdefault(school_of[int(row["prompt"].split("owl ")[1].split()[0])], set()).add(row["split"])
    assert report["split_by"] == "school" and all(len(found) == 1 for found in splits.values())
    assert report["documents"] == {"train": 40, "valid": 10, "test": 10}


def test_few_schools_are_split_by_learner(tmp_path: Path) -> None:
    report = imported(tmp_path, tables(schools=3, per_school=10))
    assert report["split_by"] == "learner" and min(report["documents"].values()) >= 5


def test_labels_become_demonstrations_where_no_comment_is_and_rankings_only_if_asked(tmp_path: Path) -> None:
    rows = tables()
    rows["comments"] = [row for row in rows["comments"] if row["doc"] % 5 > 1]
    mapping = {name: value for name, value in MAPPING.items() if name != "rankings"}
    report = imported(tmp_path / "plain", rows, mapping)
    assert "comparisons" not in report["files"]
    shown = read_jsonl(tmp_path / "plain" / "out" / "demonstrations.jsonl")
    assert {"Start with a question. Say how you found out."} <= {row["completion"] for row in shown}
    asked = imported(tmp_path / "asked", rows, mapping, rule_rankings=True)
    ranked = read_jsonl(tmp_path / "asked" / "out" / "comparisons.jsonl")
    assert len(ranked) == asked["rankings_made_by_rule_from_labels"] > 0
    assert {row["labeler_id"] for row in ranked} == {"rule"} and all(row["split"] != "test" for row in ranked)


def test_a_folder_of_csv_files_is_a_database(tmp_path: Path) -> None:
    rows = tables()
    (tmp_path / "csv").mkdir()
    for name, found in rows.items():
        with (tmp_path / "csv" / f"{name}.csv").open("w", newline="", encoding="utf-8-sig") as handle:
            writer = csv.DictWriter(handle, list(found[0]))
            writer.writeheader()
            writer.writerows(found)
    path = written(tmp_path, {}, {**MAPPING, "database": "csv"})
    salt = tmp_path / "salt.txt"
    import_database(path, tmp_path / "a", ImportOptions(salt))
    import_database(written(tmp_path / "db", rows), tmp_path / "b", ImportOptions(salt))
    assert all_text(tmp_path / "a") == all_text(tmp_path / "b")


# --- bad input: one sentence, nothing written --------------------------------------------------------------------------

Change = Callable[[Tables, dict[str, Any]], object]
BAD: dict[str, tuple[Change, str]] = {
    "table": (lambda t, m: m["comments"].update(table="notes"), 'has no table "notes"; its tables: comments, docs'),
    "column": (lambda t, m: m["comments"].update(text="words"), 'the table "comments" has no column "words"; its columns: doc'),
    "empty": (lambda t, m: t["comments"].clear(), 'the table "comments" has no rows'),
    "label": (lambda t, m: t["labels"][7].update(what="Z"), 'table "labels", row 8: the label "Z" is unknown; add it'),
    "mark": (lambda t, m: t["labels"][7].update(mark="?"), 'table "labels", row 8: the mark "\\?" is unknown'),
    "rank": (lambda t, m: t["ranks"][2].update(rank="best"), 'table "ranks", row 3: the rank "best" is no number'),
    "second teacher": (lambda t, m: t.update(comments=t["comments"][::2]), "comments of two teachers.* --one-teacher"),
    "consent": (lambda t, m: m["learners"].update(agreed=["yes"]), "no document is left \\(60 documents without consent\\)"),
    "missing field": (lambda t, m: m["documents"].pop("learner"), 'the field "documents.learner" is missing'),
    "unknown field": (lambda t, m: m["documents"].update(lerner="x"), 'unknown field "documents.lerner"; the nearest'),
    "section": (lambda t, m: m.update(comments="comments"), 'field "comments": it must hold NAME: VALUE lines'),
    "shares": (lambda t, m: m["split"].update(train=0.9), 'field "split": the three shares are'),
    "database": (lambda t, m: m.update(database="other.db"), "other.db does not exist"),
    "server": (lambda t, m: m.update(database="nosql://user:secret@host/x"), "nosql://host/x cannot be read"),
    "both marks": (lambda t, m: m["labels"].update(fine=["no"]), 'field "labels.flaw": one value is in labels.fine too'),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    change, sentence = BAD[name]
    rows, mapping = tables(), json.loads(json.dumps(MAPPING))
    change(rows, mapping)
    path = written(tmp_path, rows, mapping)
    with pytest.raises(UserError, match=sentence) as error:
        import_database(path, tmp_path / "out", ImportOptions(tmp_path / "salt.txt"))
    assert "secret" not in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists() and not (tmp_path / "salt.txt").exists()


def test_broken_yaml_names_the_row(tmp_path: Path) -> None:
    (tmp_path / "mapping.yaml").write_text("database: a.db\ndocuments: [table\n", encoding="utf-8")
    with pytest.raises(UserError, match="mapping.yaml, row 3: broken YAML"):
        load_mapping(tmp_path / "mapping.yaml")


def test_a_full_folder_and_an_unsafe_salt_are_rejected(tmp_path: Path) -> None:
    path = written(tmp_path, tables())
    with pytest.raises(UserError, match="would lie among the files that it protects"):
        import_database(path, tmp_path / "out", ImportOptions(tmp_path / "out" / "salt.txt"))
    (tmp_path / "salt.txt").write_text("short")
    with pytest.raises(UserError, match="fewer than 32 characters"):
        import_database(path, tmp_path / "out", ImportOptions(tmp_path / "salt.txt"))
    with pytest.raises(UserError, match="is not empty"):
        import_database(path, tmp_path, ImportOptions(tmp_path / "other.txt"))


# --- masking -----------------------------------------------------------------------------------------------------------


def masked(text: str, *names: str, author: str = "") -> str:
    aliases = Aliases()
    return Masker(Person(name, name, aliases.of(name, name)) for name in names).mask(text, author)


def test_names_before_korean_particles() -> None:
    name = "김민수"  # ends in a vowel, and so does its alias
    alias = masked(name, name)
    assert not ends_in_consonant(alias)
    for particle in ("가", "는", "를", "의", "에게", "와", "야", "님이"[:1], ""):
        assert (
            masked(f"어제 민수{particle} 말했다. 김민수{particle} 갔다.", name)
            == f"어제 {alias}{particle} 말했다. {alias}{particle} 갔다."
        )
    assert ends_in_consonant(masked("박지훈", "박지훈")) and masked("지훈이가 갔다", "박지훈").endswith("이가 갔다")
    assert masked("Mia가 도왔다", "Mia Berg") == "Alex가 도왔다"
    assert masked("산수민수학 산에 갔다", "김산", "민수") == "산수민수학 산에 갔다", (
        "parts of words and one-syllable given names stay"
    )


def test_shared_names_are_the_author_s() -> None:
    names = ("Mia Berg", "Mia Stern")
    for author in names:
        own = masked(author, *names)
        assert (
            masked("Good work, Mia. Ask Mia Berg.", *names, author=author)
            == f"Good work, {own}. Ask {masked('Mia Berg', *names)}."
        )


def test_words_that_are_also_names_stay() -> None:
    assert masked("Will will come, will he? May I?", "Will Berg") == "Alex will come, will he? May I?"


PEOPLE = ("Mia Berg", "Tom Stern", "Alex Robin", "Robin Kim", "김민수", "이서연")
SAID = ("and", "Mia", "Tom", "Robin", "Alex", "민수", "서연이", "Berg")


@given(st.lists(st.sampled_from(PEOPLE), unique=True, min_size=1), st.lists(st.sampled_from(SAID), max_size=8))
@settings(max_examples=60, deadline=None)
def test_no_name_is_left_and_other_words_stay(names: list[str], words: list[str]) -> None:
    """An alias may be another person's name; what is replaced is never searched again, so the words keep their number."""
    found = masked(" so ".join(words), *names).split(" so ") if words else []
    assert len(found) == len(words)
    hidden = {part.lower() for name in names for part in ([name[1:]] if len(name) == 3 else name.split())}
    for before, after in zip(words, found, strict=True):
        assert (before == after) or before.lower().removesuffix("이") in hidden


def test_dates_are_found_in_other_forms() -> None:
    forms = written_forms("2014-03-09")
    assert {"2014.3.9", "2014년 3월 9일", "20140309", "2014/03/09"} <= set(forms) and written_forms("4A") == []
    assert (
        masked("I was born on 2014-03-09. 생일은 2014년 3월 9일이다.", "X Y")
        == "I was born on [BIRTH_DATE]. 생일은 [BIRTH_DATE]이다."
    )
    assert masked("Measured on 2024-05-03.", "X Y") == "Measured on 2024-05-03."


@given(
    st.dictionaries(st.text("abcdef", min_size=2, max_size=4), st.integers(1, 40), min_size=3, max_size=30), st.floats(1, 60)
)
def test_quotas_are_filled_with_whole_groups(sizes: dict[str, int], quota: float) -> None:
    chosen = _filling(dict(sorted(sizes.items())), quota, 2)
    assert 1 <= len(chosen) <= max(1, len(sizes) - 2) and set(chosen) <= set(sizes)
    filled = sum(sizes[name] for name in chosen)
    assert filled < 2 * quota or len(chosen) == 1
