"""A sample database of a teacher, wholly simulated: pupils' reports, comments, labels and rankings, with personal data that an
import has to find. Tables and columns have Korean names, as `mapping.yaml` beside it shows.

Names, mails, phones and numbers are made up (mail.example, numbers that nobody has).
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from utils.core.errors import UserError
from utils.core.io import PathLike, atomic_path, write_text
from utils.core.runtime import python_rng
from utils.worlds.reports.points import WORDINGS
from utils.worlds.reports.reports import FLAWS, Report, draw_report, names
from utils.worlds.reports.teachers import comment, teacher

DATABASE, MAPPING = "school.db", "mapping.yaml"
FAMILY_NAMES = (
    "Ashdown",
    "Birchall",
    "Copeland",
    "Dunmore",
    "Eastley",
    "Fairholm",
    "Greyson",
    "Hartwell",
    "Inverley",
    "Kingsmoor",
)
KOREAN = ("김민수", "이서연", "박지훈", "최은영", "정하늘", "강다은")
COLUMNS = {
    "학교": "학교번호 이름 지역",
    "교사": "교사번호 학교 이름 메일",
    "학생": "학생번호 학교 이름 생년월일 학년 보호자전화 동의",
    "연구문서": "문서번호 학생번호 제목 본문 상태 작성일",
    "의견": "의견번호 문서번호 교사번호 내용 작성일",
    "평가": "문서번호 교사번호 항목 값",
    "순위": "문서번호 교사번호 내용 순위",
}
CRITERIA = {
    "no_question": "탐구질문", "no_method": "방법", "false_fact": "사실", "one_fact": "사실수", "said_twice": "반복",
    "no_reason": "까닭", "no_ending": "결론", "other_answer": "답", "off_topic": "주제", "rude": "표현",
}  # fmt: skip


class Pupil(NamedTuple):
    """One pupil of the sample."""

    id: int
    school: int
    first: str
    name: str
    phone: str
    agreed: bool


def write_sample(folder: PathLike, documents: int = 1000, seed: int = 1) -> Path:
    """Write school.db and mapping.yaml into a folder; returns the path of the mapping.

    Raises UserError if one of the files exists, or for fewer than 100 documents.
    """
    place = Path(folder)
    if documents < 100:
        raise UserError(f"A sample of {documents} documents is too small for schools and splits: ask for at least 100.")
    for name in (DATABASE, MAPPING):
        if (place / name).exists():
            raise UserError(f"{place / name} exists: name another folder, or delete it.")
    tables = _tables(documents, seed)
    with atomic_path(place / DATABASE) as path:
        connection = sqlite3.connect(path)
        for table, columns in COLUMNS.items():
            quoted = ", ".join(f'"{column}"' for column in columns.split())
            connection.execute(f'create table "{table}" ({quoted})')
            marks = ", ".join("?" * len(columns.split()))
            connection.executemany(f'insert into "{table}" values ({marks})', tables[table])
        connection.commit()
        connection.close()
    write_text(place / MAPPING, mapping_text())
    return place / MAPPING


def mapping_text() -> str:
    """The mapping of the sample: the example of the documentation."""
    criteria = "".join(f'    {label}: {{name: {kind}, sentence: "{_plain(kind)}"}}\n' for kind, label in CRITERIA.items())
    return MAPPING_TEXT.format(database=DATABASE, criteria=criteria)


def _plain(kind: str) -> str:
    """A sentence that says a flaw without its slot."""
    plain = {"false_fact": "Check your facts.", "said_twice": "Say it only once.", "other_answer": "Answer your question.",
             "off_topic": "Stay with your topic.", "rude": "Be polite."}  # fmt: skip
    return plain.get(kind, WORDINGS[kind][0])


def _tables(documents: int, seed: int) -> dict[str, list[Sequence[Any]]]:
    """Rows of every table."""
    schools = max(12, documents // 75)
    rng = python_rng(seed, "sample", "people")
    found: dict[str, list[Sequence[Any]]] = {table: [] for table in COLUMNS}
    found["학교"] = [(i, f"School {i}", rng.choice(["north", "south"])) for i in range(1, schools + 1)]
    teachers: dict[int, list[int]] = {}
    for i in range(1, 2 * schools + 1):
        school = (i - 1) // 2 + 1
        name = f"{rng.choice(names())} {rng.choice(FAMILY_NAMES)}"
        found["교사"].append((i, school, name, f"teacher{i}@mail.example"))
        teachers.setdefault(school, []).append(i)
    pupils = [_pupil(i, schools, rng) for i in range(1, documents // 4 + 1)]
    born = [f"{rng.randrange(2010, 2016)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}" for _ in pupils]
    found["학생"] = [
        (p.id, p.school, p.name, b, rng.randrange(3, 7), p.phone, int(p.agreed)) for p, b in zip(pupils, born, strict=True)
    ]
    for number in range(1, documents + 1):
        rng = python_rng(seed, "sample", number)
        index = rng.randrange(len(pupils))
        for table, rows in _document(number, pupils[index], born[index], pupils, teachers, rng).items():
            found[table] += rows
    return found


def _pupil(number: int, schools: int, rng: random.Random) -> Pupil:
    korean = rng.random() < 0.1
    first = rng.choice(names())
    name = rng.choice(KOREAN) if korean else f"{first} {rng.choice(FAMILY_NAMES)}"
    phone = f"010-{rng.randrange(1000, 9999)}-{rng.randrange(1000, 9999)}"
    return Pupil(number, rng.randrange(1, schools + 1), name[1:] if korean else first, name, phone, rng.random() < 0.95)


def _document(
    number: int, pupil: Pupil, born: str, pupils: Sequence[Pupil], teachers: dict[int, list[int]], rng: random.Random
) -> dict[str, Iterable[Sequence[Any]]]:
    """A report with everything that is said of it."""
    report = draw_report(rng)
    report = Report(pupil.first, report.topic, report.sentences, report.flaws)
    text = " ".join(s.text for s in report.sentences[1:])
    title = report.sentences[0].text.rpartition(", by")[0]
    classmate = rng.choice([p for p in pupils if p.school == pupil.school])
    intruder = rng.choices(
        ["", f" {classmate.first} helped me.", f" Write to {pupil.first.lower()}@mail.example.", f" Call {pupil.phone}.",
         f" I was born on {born}.", f" {classmate.first}가 도와주었다."],
        [72, 8, 5, 5, 4, 6],
    )[0]  # fmt: skip
    day = f"2025-{rng.randrange(3, 12):02d}-{rng.randrange(1, 29):02d}"
    readers = rng.sample(teachers[pupil.school], rng.choices([0, 1, 2], [10, 50, 40])[0])
    said = [(reader, comment(teacher(f"sample-{reader}"), report.meta(), rng)) for reader in readers]
    marks = [(number, reader, CRITERIA[kind], "예" if any(p.kind == kind for p in report.flaws) else "아니오")
             for reader in readers[:1] for kind in FLAWS]  # fmt: skip
    status = "초안" if rng.random() < 0.05 else "최종"
    signed = [f"{text} - {pupil.name}" if rng.random() < 0.03 else text for _, text in said]
    rows: dict[str, Iterable[Sequence[Any]]] = {
        "연구문서": [(number, pupil.id, f"{title}, by {pupil.first}", text + intruder, status, day)],
        "의견": [
            (10 * number + i, number, reader, text, day) for i, (reader, text) in enumerate(zip(readers, signed, strict=True))
        ],
        "평가": marks,
    }
    if readers and rng.random() < 0.3:
        options = dict.fromkeys(comment(teacher(f"sample-{readers[0]}"), report.meta(), rng, slip=i > 1) for i in range(4))
        rows["순위"] = [(number, readers[0], text, rank) for rank, text in enumerate(options, 1)]
    return rows


MAPPING_TEXT = """# Which table and column of a teacher's database holds what.
# The tables of this example have Korean names; yours may have any.
# database: an SQLite file, a folder with one CSV file per table, or a URL such as postgresql+psycopg://USER@HOST/NAME
database: {database}
documents:
  table: 연구문서
  id: 문서번호
  learner: 학생번호
  title: 제목
  text: 본문
  status: 상태
  final: [최종]                  # documents with another status are drafts: left out, and counted
learners:
  table: 학생
  id: 학생번호
  school: 학교
  consent: 동의
  agreed: [1]                    # learners with another value are left out, and counted
  names: [이름]                  # never written; masked in documents and comments
  private: [생년월일, 보호자전화]  # never written; masked where they stand in a text
teachers:
  table: 교사
  id: 교사번호
  school: 학교
  names: [이름]
  private: [메일]
comments:
  table: 의견
  document: 문서번호
  teacher: 교사번호
  text: 내용
labels:                          # optional: marks by criterion
  table: 평가
  document: 문서번호
  teacher: 교사번호
  criterion: 항목
  mark: 값
  flaw: [예]                     # the flaw is there
  fine: [아니오]
  criteria:                      # label in the database -> name of the point, and how a comment says it
{criteria}rankings:                        # optional: a teacher's ranks of several comments on one document
  table: 순위
  document: 문서번호
  teacher: 교사번호
  text: 내용
  rank: 순위
split: {{by: school, train: 0.8, valid: 0.1, test: 0.1}}
"""
