"""mapping.yaml: which table and column of a teacher's database holds what. docs/learner-feedback.md explains each field."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from utils.core.errors import UserError
from utils.core.io import PathLike, field_types, read_text

SPLIT_BY = ("school", "learner")


@dataclass(frozen=True)
class Documents:
    """Learners' documents. status: column that tells final versions (those whose value is in `final`) from drafts."""

    table: str
    id: str
    learner: str
    text: str
    title: str = ""
    status: str = ""
    final: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Learners:
    """Who wrote the documents. consent: only learners whose value is in `agreed` are imported. names: columns with names,
    read only to mask them in texts. private: columns with other personal data, read only to mask their values."""

    table: str
    id: str
    consent: str
    agreed: list[str]
    school: str = ""
    names: list[str] = field(default_factory=list)
    private: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Teachers:
    """Who wrote the comments. names, private: as for learners."""

    table: str
    id: str
    school: str = ""
    names: list[str] = field(default_factory=list)
    private: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Comments:
    """Teachers' comments on documents."""

    table: str
    document: str
    teacher: str
    text: str


@dataclass(frozen=True)
class Criterion:
    """A criterion of the labels: the point's name, and the sentence in which a comment says it ("": labels of this criterion
    become no demonstration)."""

    name: str
    sentence: str = ""


@dataclass(frozen=True)
class Labels:
    """Marks of documents by criterion. flaw: values of `mark` that say that the flaw is there; fine: that it is not."""

    table: str
    document: str
    criterion: str
    mark: str
    flaw: list[str]
    fine: list[str]
    criteria: dict[str, Criterion]
    teacher: str = ""


@dataclass(frozen=True)
class Rankings:
    """A teacher's ranks of several comments on one document: 1 is best, equal ranks tie."""

    table: str
    document: str
    teacher: str
    text: str
    rank: str


@dataclass(frozen=True)
class Split:
    """Shares of the splits, and whose documents stay together."""

    by: str = "school"
    train: float = 0.8
    valid: float = 0.1
    test: float = 0.1


@dataclass(frozen=True)
class Mapping:
    """The whole file. aliases: names that stand for people's names in texts ([]: built-in ones)."""

    database: str
    documents: Documents
    learners: Learners
    comments: Comments
    teachers: Teachers | None = None
    labels: Labels | None = None
    rankings: Rankings | None = None
    split: Split = field(default_factory=Split)
    aliases: list[str] = field(default_factory=list)

    def columns(self) -> dict[str, list[str]]:
        """Table -> the columns that are read, each once, in the order of the file."""
        found: dict[str, list[str]] = {}
        for section in (self.documents, self.learners, self.comments, self.teachers, self.labels, self.rankings):
            if section is not None:
                found.setdefault(section.table, []).extend(_columns(section))
        return {table: list(dict.fromkeys(columns)) for table, columns in found.items()}


_NO_COLUMNS = ("table", "final", "agreed", "flaw", "fine", "criteria")


def _columns(section: Any) -> list[str]:
    """The columns that a section names."""
    values = [getattr(section, item.name) for item in dataclasses.fields(section) if item.name not in _NO_COLUMNS]
    return [column for value in values for column in ([value] if isinstance(value, str) else value) if column]


def load_mapping(path: PathLike) -> Mapping:
    """Read a mapping. A relative path of the database counts from the folder of the file.

    Raises UserError naming the field for broken YAML, unknown and missing fields, and values of another kind.
    """
    try:
        values = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", row {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: broken YAML ({getattr(error, 'problem', None) or error}); correct this row.") from None
    found: Mapping = _filled(Mapping, values, str(path), "")
    _check(found, str(path))
    if "://" in found.database:
        return found
    return dataclasses.replace(found, database=str(Path(path).parent / found.database))


def _check(mapping: Mapping, path: str) -> None:
    """Raise UserError for values that contradict each other."""
    split = mapping.split
    if split.by not in SPLIT_BY:
        raise UserError(f'{path}, field "split.by": it is "{split.by}"; write {" or ".join(SPLIT_BY)}.')
    if split.by == "school" and not mapping.learners.school:
        raise UserError(
            f'{path}, field "split.by": school needs the field "learners.school"; name its column, or write learner.'
        )
    shares = (split.train, split.valid, split.test)
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise UserError(f'{path}, field "split": the three shares are {shares}; give three above 0 that add up to 1.')
    if mapping.documents.status and not mapping.documents.final:
        raise UserError(
            f'{path}, field "documents.final": it is missing; list the values of {mapping.documents.status} that are final.'
        )
    labels = mapping.labels
    if labels is not None and set(labels.flaw) & set(labels.fine):
        raise UserError(
            f'{path}, field "labels.flaw": one value is in labels.fine too; a mark says either that the flaw is there or not.'
        )


def _filled(cls: Any, values: Any, path: str, prefix: str) -> Any:
    """A dataclass from a mapping of YAML; UserError for what does not fit."""
    if not isinstance(values, AnyMapping):
        place = f'field "{prefix.rstrip(".")}"' if prefix else "the file"
        raise UserError(f"{path}, {place}: it must hold NAME: VALUE lines; see docs/learner-feedback.md for an example.")
    hints = field_types(cls)
    for name in values:
        if name not in hints:
            near = difflib.get_close_matches(str(name), list(hints), 1)
            use = f'the nearest one is "{prefix}{near[0]}"' if near else f"use {', '.join(hints)}"
            raise UserError(f'{path}: unknown field "{prefix}{name}"; {use}.')
    found = {}
    for item in dataclasses.fields(cls):
        if item.name in values and values[item.name] is not None:
            found[item.name] = _value(hints[item.name], values[item.name], path, f"{prefix}{item.name}")
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise UserError(f'{path}: the field "{prefix}{item.name}" is missing; add it.')
    return cls(**found)


def _value(hint: Any, value: Any, path: str, name: str) -> Any:
    """`value` as the type of its field. Numbers and truth values of YAML are texts here, as cells are compared as text."""
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if dataclasses.is_dataclass(hint):
        return _filled(hint, value, path, f"{name}.")
    if hint == dict[str, Criterion]:
        if not isinstance(value, AnyMapping) or not value:
            raise UserError(
                f'{path}, field "{name}": write one line LABEL: NAME (or LABEL: {{name: NAME, sentence: TEXT}}) per label.'
            )
        return {
            cell(label): _filled(
                Criterion, one if isinstance(one, AnyMapping) else {"name": str(one)}, path, f"{name}.{label}."
            )
            for label, one in value.items()
        }
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f'{path}, field "{name}": "{value}" is no number.')
        return float(value)
    if hint == list[str]:
        return [cell(one) for one in (value if isinstance(value, list) else [value])]
    if isinstance(value, list | AnyMapping):
        raise UserError(f'{path}, field "{name}": write one name.')
    return str(value)


def cell(value: Any) -> str:
    """A cell of a table as text: 1, 1.0, True and "1" are all "1"; nothing is ""."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
