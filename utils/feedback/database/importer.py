"""A teacher's database as the files that the pipeline reads: prompts, demonstrations, comparisons, labels, feedback.

What is written holds no name, no private column and no id of the database. The report of the import holds counts alone.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from utils.core.errors import UserError
from utils.core.io import PathLike, read_text, write_json, write_rows, write_text
from utils.data.schemas import Comparison, Demonstration, Prompt
from utils.feedback.database.mapping import Mapping, load_mapping
from utils.feedback.database.masking import Aliases, Masker, Person
from utils.feedback.database.tables import Rows, read_tables, shown
from utils.feedback.records import Feedback

USE_CASE = "feedback"
FEWEST_SCHOOLS = 10  # with fewer, the split is by learner: a school is then too large a part of the data
RULE = "rule"  # labeler_id of rankings that labels made
SPLITS = ("train", "valid", "test")
REPORT = "import.json"
SHORTEST_SALT = 32


@dataclass(frozen=True)
class ImportOptions:
    """salt: file of the secret that ids are hashed with; it is made at the first import and must stay out of what you share.
    one_teacher: accept a database in which no test document has the comments of two teachers. rule_rankings: also make
    comparisons from labels, by a rule."""

    salt: PathLike
    one_teacher: bool = False
    rule_rankings: bool = False


@dataclass(frozen=True)
class Document:
    """One kept document, masked. learner, school: hashed; school is "" where the mapping names none."""

    id: str
    learner: str
    school: str
    prompt: str
    title: str
    split: str = ""


@dataclass
class Imported:
    """The rows of every file, and the counts of the report."""

    prompts: list[Prompt] = field(default_factory=list)
    demonstrations: list[Demonstration] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[Feedback] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)


def import_database(mapping_path: PathLike, out: PathLike, options: ImportOptions) -> dict[str, Any]:
    """Read the database of a mapping and write its rows into the folder `out`; returns the report (counts alone).

    Written: prompts.jsonl, demonstrations.jsonl, comparisons.jsonl (if there are rankings), labels.jsonl (if there are labels),
    feedback.jsonl (every comment, for `feedback.py extract`), import.json. Raises UserError before anything is written.
    """
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"The folder {folder} is not empty: name another one with --out, or delete it.")
    mapping = load_mapping(mapping_path)
    tables = read_tables(mapping.database, mapping.columns())
    salt = _salt(options.salt, folder)
    found = _Import(mapping, tables, salt).rows(options)
    if not Path(options.salt).exists():
        write_text(options.salt, salt.decode() + "\n")
    for name, rows in vars(found).items():
        if name != "report" and rows:
            write_rows(folder / f"{name}.jsonl", rows)
    write_json(folder / REPORT, found.report)
    return found.report


def _salt(path: PathLike, out: Path) -> bytes:
    """The secret in a file; a new one if there is no file yet. Raises UserError for a place inside `out` and a short secret."""
    place = Path(path)
    if out.resolve() in place.resolve().parents:
        raise UserError(f"The salt {place} would lie among the files that it protects: keep it outside of {out} (--salt FILE).")
    if not place.exists():
        return secrets.token_hex(32).encode()
    salt = read_text(place).strip().encode()
    if len(salt) < SHORTEST_SALT:
        raise UserError(f"{place} holds fewer than {SHORTEST_SALT} characters: delete it, and the import makes a new one.")
    return salt


class _Import:
    """One import: the tables, and what is known about people."""

    def __init__(self, mapping: Mapping, tables: dict[str, Rows], salt: bytes) -> None:
        self.mapping, self.tables, self.salt = mapping, tables, salt
        self.left_out: Counter[str] = Counter()
        learners = mapping.learners
        self.learners = {row[learners.id]: row for row in tables[learners.table]}
        self.maskers = self._maskers()

    def hashed(self, kind: str, value: str) -> str:
        """A salted id: the same for the same value, and no way back without the salt."""
        return hmac.new(self.salt, f"{kind}:{value}".encode(), hashlib.sha256).hexdigest()[:12]

    def rows(self, options: ImportOptions) -> Imported:
        """Everything that is written."""
        found = Imported()
        documents = self._split(self._documents())
        found.prompts = [Prompt(d.id, d.prompt, USE_CASE, "customer", d.learner, d.split) for d in documents.values()]
        self._comments(documents, found, options)
        if self.mapping.labels is not None:
            self._labels(documents, found, options)
        elif options.rule_rankings:
            raise UserError("--rule-rankings makes rankings of labels, but the mapping has no section labels; add it.")
        if self.mapping.rankings is not None:
            self._rankings(documents, found)
        if not found.demonstrations:
            raise UserError(
                f"{shown(self.mapping.database)}: no comment or label belongs to a document that is kept; check the columns of "
                "ids in the mapping."
            )
        found.report = self._report(documents, found, options)
        return found

    # --- people ------------------------------------------------------------------------------------------------------

    def _maskers(self) -> dict[str, Masker]:
        """School ("" for all, where none is known) -> what masks the names of its people."""
        people: dict[str, list[tuple[str, dict[str, str], Any]]] = defaultdict(list)
        for section in (self.mapping.learners, self.mapping.teachers):
            if section is not None:
                for row in self.tables[section.table]:
                    people[row[section.school] if section.school else ""].append(
                        (f"{section.table}:{row[section.id]}", row, section)
                    )
        everywhere = people.pop("", [])
        maskers = {}
        for school in {*people, ""}:
            aliases = Aliases(self.mapping.aliases)
            known = sorted([*people.get(school, []), *everywhere], key=lambda one: self.hashed("alias", one[0]))
            maskers[school] = Masker(_persons(known, aliases))
        return maskers

    def _school(self, learner: str) -> str:
        return self.learners[learner][self.mapping.learners.school] if self.mapping.learners.school else ""

    def _mask(self, learner: str, text: str) -> str:
        """A text that a learner wrote, or that is about a learner's document."""
        masker = self.maskers.get(self._school(learner), self.maskers[""])
        return masker.mask(text, f"{self.mapping.learners.table}:{learner}").strip()

    # --- documents ---------------------------------------------------------------------------------------------------

    def _documents(self) -> dict[str, Document]:
        """Kept documents by the id of the database: final versions by learners who agreed, with text."""
        d, learners, kept = self.mapping.documents, self.mapping.learners, {}
        for row in self.tables[d.table]:
            learner = self.learners.get(row[d.learner])
            if learner is None:
                self.left_out["documents of nobody in the table of learners"] += 1
            elif learner[learners.consent] not in learners.agreed:
                self.left_out["documents without consent"] += 1
            elif d.status and row[d.status] not in d.final:
                self.left_out["drafts"] += 1
            elif not row[d.text]:
                self.left_out["documents without text"] += 1
            else:
                school = self._school(row[d.learner])
                title = self._mask(row[d.learner], row[d.title]) if d.title else ""
                text = self._mask(row[d.learner], row[d.text])
                kept[row[d.id]] = Document(
                    self.hashed("document", row[d.id]), self.hashed("learner", row[d.learner]),
                    self.hashed("school", school) if school else "", f"{title}\n\n{text}" if title else text, title,
                )  # fmt: skip
        if not kept:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            raise UserError(
                f"{shown(self.mapping.database)}: no document is left ({reasons}); check consent and status in the mapping."
            )
        return self._without_duplicates(kept)

    def _without_duplicates(self, documents: dict[str, Document]) -> dict[str, Document]:
        """The first of documents with equal text: a copy in another split would be a leak."""
        seen: set[str] = set()
        kept = {}
        for key, document in documents.items():
            text = " ".join(document.prompt.lower().split())
            if text in seen:
                self.left_out["documents with the text of another one"] += 1
            else:
                kept[key] = document
            seen.add(text)
        return kept

    def _split(self, documents: dict[str, Document]) -> dict[str, Document]:
        """Documents with their splits: whole schools (with few schools: whole learners) fill the quotas of test and valid."""
        schools = {d.school for d in documents.values()}
        self.split_by = "school" if self.mapping.split.by == "school" and len(schools) >= FEWEST_SCHOOLS else "learner"
        owner: Callable[[Document], str] = (lambda d: d.school) if self.split_by == "school" else (lambda d: d.learner)
        sizes = Counter(owner(d) for d in documents.values())
        if len(sizes) < len(SPLITS):
            raise UserError(
                f"{shown(self.mapping.database)}: its documents are by {len(sizes)} {self.split_by}s, but train, valid and "
                "test need one each; give documents of more learners."
            )
        split_of: dict[str, str] = {}
        for split, others in (("test", 2), ("valid", 1)):
            quota = getattr(self.mapping.split, split) * len(documents)
            free = {name: size for name, size in sorted(sizes.items()) if name not in split_of}
            split_of |= dict.fromkeys(_filling(free, quota, others), split)
        return {key: replace(d, split=split_of.get(owner(d), "train")) for key, d in documents.items()}

    # --- rows --------------------------------------------------------------------------------------------------------

    def _kept(
        self, rows: Rows, column: str, documents: dict[str, Document], what: str
    ) -> Iterable[tuple[dict[str, str], Document, str]]:
        """Rows of kept documents with the document and its learner in the database."""
        learner_of = {
            row[self.mapping.documents.id]: row[self.mapping.documents.learner]
            for row in self.tables[self.mapping.documents.table]
        }
        for row in rows:
            document = documents.get(row[column])
            if document is None:
                self.left_out[f"{what} on documents that are left out"] += 1
            else:
                yield row, document, learner_of[row[column]]

    def _comments(self, documents: dict[str, Document], found: Imported, options: ImportOptions) -> None:
        """Comments -> demonstrations (train, valid) and feedback (all)."""
        c = self.mapping.comments
        texts: dict[tuple[str, str], list[str]] = defaultdict(list)
        of: dict[str, Document] = {}
        for row, document, learner in self._kept(self.tables[c.table], c.document, documents, "comments"):
            if not row[c.text]:
                self.left_out["empty comments"] += 1
                continue
            of[document.id] = document
            texts[document.id, self.hashed("teacher", row[c.teacher])].append(self._mask(learner, row[c.text]))
        for (document_id, teacher), said in texts.items():
            d, text = of[document_id], "\n".join(said)
            found.feedback.append(Feedback(d.id, teacher, text, "human", d.title, d.prompt, split=d.split))
            if d.split != "test":
                found.demonstrations.append(Demonstration(d.id, d.prompt, text, teacher, USE_CASE, d.split))
        teachers = Counter(row.document_id for row in found.feedback if row.split == "test")
        self.second = sum(count > 1 for count in teachers.values())
        if not self.second and not options.one_teacher:
            raise UserError(
                f"{shown(self.mapping.database)}: no test document has the comments of two teachers, so a model cannot be "
                "compared with a second teacher; let 50 to 100 documents be commented twice, or pass --one-teacher."
            )

    def _labels(self, documents: dict[str, Document], found: Imported, options: ImportOptions) -> None:
        """Labels -> label rows, demonstrations for documents without any comment, and (if asked for) rankings by rule."""
        section = self.mapping.labels
        assert section is not None
        flaws: dict[str, list[str]] = defaultdict(list)
        teachers: dict[str, str] = {}
        for number, row in enumerate(self.tables[section.table], 1):
            where = f'{shown(self.mapping.database)}, table "{section.table}", row {number}'
            if row[section.criterion] not in section.criteria:
                raise UserError(
                    f'{where}: the label "{row[section.criterion]}" is unknown; add it to labels.criteria in the mapping.'
                )
            if row[section.mark] not in (*section.flaw, *section.fine):
                raise UserError(f'{where}: the mark "{row[section.mark]}" is unknown; add it to labels.flaw or labels.fine.')
        for row, document, _ in self._kept(self.tables[section.table], section.document, documents, "labels"):
            criterion, bad = section.criteria[row[section.criterion]], row[section.mark] in section.flaw
            teacher = self.hashed("teacher", row[section.teacher]) if section.teacher else ""
            found.labels.append(
                {
                    "document_id": document.id,
                    "criterion": criterion.name,
                    "flaw": bad,
                    "reviewer": teacher,
                    "split": document.split,
                }
            )
            teachers[document.id] = teacher
            if bad and criterion.sentence and criterion.sentence not in flaws[document.id]:
                flaws[document.id].append(criterion.sentence)
        commented = {row.document_id for row in found.feedback}
        sentences = list(dict.fromkeys(c.sentence for c in section.criteria.values() if c.sentence))
        for d in documents.values():
            if d.split == "test" or not flaws.get(d.id):
                continue
            if d.id not in commented:
                found.demonstrations.append(
                    Demonstration(d.id, d.prompt, " ".join(flaws[d.id]), teachers[d.id], USE_CASE, d.split)
                )
            if options.rule_rankings:
                found.comparisons += self._by_rule(d, flaws[d.id], sentences)

    def _by_rule(self, d: Document, named: list[str], sentences: list[str]) -> list[Comparison]:
        """All labelled flaws before a part of them, before one that no label names: recall first, then nothing made up."""
        others = [s for s in sentences if s not in named]
        answers = [" ".join(named)]
        if len(named) > 1:
            answers.append(" ".join(named[:-1]))
        if others:
            wrong = others[int(self.hashed("rule", d.id), 16) % len(others)]
            answers += [" ".join([*named[:-1], wrong])] if len(named) > 1 else []
            answers.append(wrong)
        if len(answers) < 2:
            return []
        n = len(answers)
        return [
            Comparison(
                d.id,
                d.prompt,
                tuple(answers),
                tuple(range(1, n + 1)),
                (True,) * n,
                labeler_id=RULE,
                use_case=USE_CASE,
                split=d.split,
            )
        ]

    def _rankings(self, documents: dict[str, Document], found: Imported) -> None:
        """Rankings -> comparisons, one per document and teacher; ranks become 1, 2, ... and equal ones tie."""
        r = self.mapping.rankings
        assert r is not None
        groups: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
        of = {d.id: d for d in documents.values()}
        ranks = {id(row): self._rank(row[r.rank], number) for number, row in enumerate(self.tables[r.table], 1)}
        for row, document, learner in self._kept(self.tables[r.table], r.document, documents, "ranked comments"):
            if row[r.text]:
                groups[document.id, row[r.teacher]].append((ranks[id(row)], self._mask(learner, row[r.text])))
        for (document_id, teacher), given in groups.items():
            best = {text: rank for rank, text in sorted(given, reverse=True)}  # of equal texts the best rank
            order = sorted(set(best.values()))
            if len(best) < 2 or len(order) < 2:
                self.left_out["rankings of fewer than two different comments"] += 1
                continue
            d = of[document_id]
            found.comparisons.append(
                Comparison(
                    d.id, d.prompt, tuple(best), tuple(order.index(rank) + 1 for rank in best.values()), (True,) * len(best),
                    labeler_id=self.hashed("teacher", teacher), use_case=USE_CASE, split=d.split,
                )
            )  # fmt: skip

    def _rank(self, text: str, number: int) -> float:
        r = self.mapping.rankings
        assert r is not None
        try:
            return float(text)
        except ValueError:
            raise UserError(
                f'{shown(self.mapping.database)}, table "{r.table}", row {number}: the rank "{text}" is no number; correct it.'
            ) from None

    # --- report ------------------------------------------------------------------------------------------------------

    def _report(self, documents: dict[str, Document], found: Imported, options: ImportOptions) -> dict[str, Any]:
        """Counts alone: no text, no id, no name."""
        masked: Counter[str] = Counter()
        for masker in self.maskers.values():
            masked.update(masker.counts)
        splits = Counter(d.split for d in documents.values())
        files = {name: len(rows) for name, rows in vars(found).items() if name != "report" and rows}
        return {
            "files": files,
            "documents": {split: splits[split] for split in SPLITS},
            "learners": len({d.learner for d in documents.values()}),
            "teachers": len({row.reviewer for row in found.feedback}),
            "split_by": self.split_by,
            "test_documents_with_two_teachers": self.second,
            "rankings_made_by_rule_from_labels": sum(row.labeler_id == RULE for row in found.comparisons),
            "masked": dict(sorted(masked.items())),
            "left_out": dict(sorted(self.left_out.items())),
        }


def _persons(known: Sequence[tuple[str, dict[str, str], Any]], aliases: Aliases) -> list[Person]:
    """Each name of a person with the person's one alias; private values go with the first name."""
    found = []
    for key, row, section in known:
        names = [row[column] for column in section.names if row[column]]
        private = tuple(row[column] for column in section.private if row[column] and column not in section.names)
        found += [Person(key, name, aliases.of(key, name), private if i == 0 else ()) for i, name in enumerate(names)]
        if not names and private:
            found.append(Person(key, "", "", private))
    return found


def _filling(sizes: dict[str, int], quota: float, others: int) -> list[str]:
    """Owners, in the order of their hashed names, whose documents together come nearest to the quota; at least one.
    others: how many owners must be left."""
    chosen: list[str] = []
    filled = 0
    for name, size in sizes.items():
        if len(sizes) - len(chosen) > others and abs(filled + size - quota) < abs(filled - quota):
            chosen.append(name)
            filled += size
    return chosen or [min(sizes, key=lambda name: sizes[name])]
