"""The sample database and the commands around it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from utils.core.errors import UserError
from utils.core.io import read_json
from utils.feedback.database import ImportOptions, import_database
from utils.worlds.reports.sample import COLUMNS, FAMILY_NAMES, KOREAN, mapping_text, write_sample

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample"), 150, seed=3)


def test_every_kind_of_personal_data_is_in_the_sample_and_in_no_file_of_its_import(sample: Path, tmp_path: Path) -> None:
    with sqlite3.connect(sample.parent / "school.db") as connection:
        assert {row[0] for row in connection.execute("select name from sqlite_master")} == set(COLUMNS)
        bodies = " ".join(row[0] for row in connection.execute('select "본문" from "연구문서"'))
    assert "@mail.example" in bodies and "born on 20" in bodies and "가 도와주었다" in bodies
    report = import_database(sample, tmp_path / "out", ImportOptions(tmp_path / "salt.txt"))
    text = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "out").iterdir())
    assert not [
        secret for secret in (*FAMILY_NAMES, *KOREAN, *(k[1:] for k in KOREAN), "@mail", "010-", "born on 20") if secret in text
    ]
    assert report["split_by"] == "school" and report["test_documents_with_two_teachers"] > 0
    assert report["left_out"]["drafts"] > 0 and report["left_out"]["documents without consent"] > 0
    assert report == read_json(tmp_path / "out" / "import.json")


def test_the_same_seed_gives_the_same_sample_and_nothing_is_overwritten(sample: Path, tmp_path: Path) -> None:
    again = write_sample(tmp_path, 150, seed=3)
    dumps = []
    for folder in (sample.parent, again.parent):
        with sqlite3.connect(folder / "school.db") as connection:
            dumps.append(list(connection.iterdump()))
    assert dumps[0] == dumps[1]
    with pytest.raises(UserError, match="school.db exists"):
        write_sample(tmp_path, 150)
    with pytest.raises(UserError, match="ask for at least 100"):
        write_sample(tmp_path / "new", 10)


def test_the_documentation_shows_this_mapping() -> None:
    assert mapping_text() in (ROOT / "docs" / "learner-feedback.md").read_text(encoding="utf-8")
