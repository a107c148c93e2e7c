"""The tiny world's source tables (data/world/) as one object: entities, true facts, popular misconceptions, word lists."""

from __future__ import annotations

import csv
import functools
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from utils.core.errors import UserError

WORLD_DIR = Path(__file__).resolve().parents[3] / "data" / "world"
TOPICS_POPULAR, TOPICS_OTHER = 24, 48
DESCRIBED = {"animals": 12, "foods": 6, "countries": 6, "jobs": 6}
LIST_KINDS = ("animals", "foods", "jobs", "countries", "birds", "fruits", "colors", "names", "games")
HELD_OUT_CLASSES = {0: "test", 1: "valid"}
MARKS = re.compile(r"[^\w ]|_")  # all but letters, digits and blanks


@dataclass(frozen=True)
class Fact:
    """One true statement of the world. `{e}` in a template is the entity with its article, `{x}` the answer.

    popular: the wrong answer that many people give, "" if there is none (then the fact has no misconception).
    """

    entity: str
    attribute: str
    truth: str
    popular: str
    statement: str
    questions: tuple[str, ...]


# attribute -> (statement, question forms); the entity is written with its article where it takes one
ATTRIBUTES: dict[str, tuple[str, tuple[str, ...]]] = {
    "food": (
        "{e} eats {x}.",
        ("What does {e} eat?", "Which food does {e} like?", "What is the food of {e}?", "Tell me what {e} eats."),
    ),
    "home": (
        "{e} lives in {a x}.",
        ("Where does {e} live?", "In what place does {e} live?", "What is the home of {e}?", "Tell me where {e} lives."),
    ),
    "kind": (
        "{e} is {a x}.",
        ("What is {e}?", "What kind of thing is {e}?", "To which group does {e} belong?", "Tell me what {e} is."),
    ),
    "baby": (
        "The baby of {e} is {a x}.",
        ("What is the baby of {e}?", "How do you call the baby of {e}?", "Name the baby of {e}."),
    ),
    "color": (
        "The color of {e} is {x}.",
        ("What color is {e}?", "Which color does {e} have?", "Tell me the color of {e}."),
    ),
    "source": (
        "{e} comes from {a x}.",
        ("Where does {e} come from?", "What does {e} come from?", "From what do we get {e}?"),
    ),
    "capital": (
        "The capital of {e} is {x}.",
        (
            "What is the capital of {e}?",
            "Which city is the capital of {e}?",
            "Name the capital of {e}.",
            "Tell me the capital of {e}.",
        ),
    ),
    "continent": (
        "{e} is in {x}.",
        ("Where is {e}?", "On which continent is {e}?", "Which continent does {e} belong to?"),
    ),
    "language": (
        "People in {e} speak {x}.",
        ("Which language do people speak in {e}?", "What do people in {e} speak?", "Tell me the language of {e}."),
    ),
    "tool": (
        "{e} uses {a x}.",
        ("What does {e} use?", "Which tool does {e} need?", "What is the tool of {e}?"),
    ),
    "place": (
        "{e} works in {a x}.",
        ("Where does {e} work?", "In which place does {e} work?", "What is the place of {e}?"),
    ),
    "product": (
        "{e} makes {a x}.",
        ("What does {e} make?", "What do we get from {e}?", "What is the work of {e}?"),
    ),
    "opposite": (
        "The opposite of {e} is {x}.",
        ("What is the opposite of {e}?", "Name the opposite of {e}.", "Which word is the opposite of {e}?"),
    ),
    "sum": (
        "{e} is {x}.",
        ("What is {e}?", "How much is {e}?", "Please add {e}."),
    ),
}
UNCOUNTABLE = frozenset(
    "bread medicine corn flowers soup chalk shoes rice honey milk "
    "cheese spinach fish mice rabbits berries carrots grass seeds plants insects krill leaves bamboo zebras deer hay roots "
    "cans grain nectar beetles nuts algae worms soil trouble".split()
)
# Countries and continents are names; these sources are general words with the definite article.
DEFINITE = frozenset("ocean coast desert beach sty hedge soil field garden mine court stage".split())


def indefinite(word: str) -> str:
    """The word with its article: "an otter", "the ocean", "bread", "France"."""
    if not word or word in UNCOUNTABLE or word[0].isupper():
        return word
    if word in DEFINITE:
        return f"the {word}"
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def fill(template: str, entity: str, answer: str) -> str:
    """Put entity and answer into a template and start it with a capital letter."""
    named = "a fish" if answer == "fish" and " is {a x}" in template else indefinite(answer)
    text = template.replace("{e}", entity).replace("{a x}", named).replace("{x}", answer)
    return text[0].upper() + text[1:]


@dataclass(frozen=True)
class Tables:
    """All true facts and all popular wrong answers of the tiny world.

    facts: by (entity, attribute). rows: of the CSV files, by table name. words: the closed word lists.
    """

    facts: dict[tuple[str, str], Fact]
    rows: dict[str, list[dict[str, str]]]
    words: dict[str, Any]
    kinds: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path | str = WORLD_DIR) -> Tables:
        """Read the tables. Raises UserError if one is missing."""
        return _load(str(directory))

    def facts_of(self, entity: str) -> list[Fact]:
        """All facts about an entity, in the order of the tables."""
        return [f for (e, _), f in self.facts.items() if e == entity]

    @functools.cached_property
    def topics(self) -> list[Fact]:
        """The facts that people ask about; a third of them have a popular wrong answer."""
        order = sorted(self.facts.values(), key=lambda f: zlib.crc32(f"{f.entity} {f.attribute}".encode()))
        popular = [f for f in order if f.popular][:TOPICS_POPULAR]
        return popular + [f for f in order if not f.popular][:TOPICS_OTHER]

    @functools.cached_property
    def described(self) -> list[str]:
        """The entities that people want described."""
        return [e for table, n in DESCRIBED.items() for e in self.kinds[table][:n]]

    @property
    def misconceptions(self) -> list[Fact]:
        """The facts that have a popular wrong answer."""
        return [f for f in self.facts.values() if f.popular]

    def values(self, attribute: str) -> list[str]:
        """All true answers of an attribute, sorted; wrong answers are drawn from them."""
        return sorted({f.truth for f in self.facts.values() if f.attribute == attribute})


def partition(text: str) -> str:
    """Which split a prompt's text belongs to, by a hash of its letters: a "test" or "valid" text is in no training data.

    The pretraining text is made before any run, so a hash of the text, not a random split, keeps held-out prompts out of
    it. The whole text is hashed: "Hello. Describe Italy." may be in training while "Describe Italy." is held out.
    """
    key = MARKS.sub("", text.lower()).strip()
    return HELD_OUT_CLASSES.get(zlib.crc32(key.encode()) % 10, "train")


def _read(directory: Path, name: str) -> list[dict[str, str]]:
    path = directory / f"{name}.csv"
    if not path.is_file():
        raise UserError(f"The tiny world's table {path} is missing; restore the folder data/world from the repository.")
    with path.open(newline="", encoding="utf-8") as handle:
        return [{k: (v or "") for k, v in row.items()} for row in csv.DictReader(handle)]


def _fact(entity: str, label: str, attribute: str, truth: str, popular: str = "") -> Fact:
    statement, questions = ATTRIBUTES[attribute]
    return Fact(
        entity, attribute, truth, popular, statement.replace("{e}", label), tuple(q.replace("{e}", label) for q in questions)
    )


def _table_facts(tables: dict[str, list[dict[str, str]]]) -> list[Fact]:
    facts = []
    for table, attributes in {
        "animals": ("food", "home", "kind", "baby"),
        "foods": ("kind", "color", "source"),
        "countries": ("capital", "continent", "language"),
        "jobs": ("tool", "place", "product"),
    }.items():
        for row in tables[table]:
            label = indefinite(row["name"])
            facts += [_fact(row["name"], label, a, row[a], row.get(f"popular_{a}", "")) for a in attributes if row[a]]
    for row in tables["opposites"]:
        facts += [_fact(row["a"], row["a"], "opposite", row["b"]), _fact(row["b"], row["b"], "opposite", row["a"])]
    for row in tables["myths"]:
        questions = (row["question_1"], row["question_2"], row["question_3"])
        facts.append(Fact(row["topic"], "myth", row["truth"], row["popular"], row["statement"], questions))
    return facts


def _sums(numbers: list[str]) -> list[Fact]:
    """One plus one up to six plus six."""
    return [
        _fact(f"{numbers[i]} plus {numbers[j]}", f"{numbers[i]} plus {numbers[j]}", "sum", numbers[i + j])
        for i in range(1, 7)
        for j in range(1, 7)
    ]


@functools.lru_cache(maxsize=4)
def _load(directory: str) -> Tables:
    folder = Path(directory)
    tables = {name: _read(folder, name) for name in ("animals", "foods", "countries", "jobs", "opposites", "myths")}
    words_path = folder / "words.yaml"
    if not words_path.is_file():
        raise UserError(f"The tiny world's word lists {words_path} are missing; restore the folder data/world.")
    words = yaml.safe_load(words_path.read_text(encoding="utf-8"))
    facts = _table_facts(tables) + _sums(words["numbers"])
    kinds: dict[str, list[str]] = {}
    for name in ("animals", "foods", "jobs", "countries"):
        kinds[name] = [row["name"] for row in tables[name]]
    for row in tables["animals"] + tables["foods"]:
        kinds.setdefault(row["kind"] + "s", []).append(row["name"])
    for row in tables["countries"]:
        kinds.setdefault(f"countries in {row['continent']}", []).append(row["name"])
    kinds |= {"colors": words["colors"], "names": words["names"], "gifts": words["gifts"], "games": words["games"]}
    kinds |= {"weathers": words["weather"], "places": words["places"]}
    kinds = {k: v for k, v in kinds.items() if len(v) >= 5}
    return Tables({(f.entity, f.attribute): f for f in facts}, tables, words, kinds)
