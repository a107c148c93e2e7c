"""People's names and other personal data in texts: found and replaced, in documents and comments alike.

A name becomes an alias, the same one for a person everywhere in a school, so that "Good work, Mia." still fits the report.
Found are full names, given names and (Latin script) family names, also in front of Korean particles, which are written without
a blank: 민수가, 민수의. An alias ends like the name it replaces, so that the particle stays right. Not found are nicknames,
misspelled names and people who are not in the database: read a sample before you train.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from utils.data.language import FUNCTION_WORDS
from utils.data.pii import mask_pii

LATIN_ALIASES = (
    "Alex", "Robin", "Kim", "Sascha", "Jamie", "Noor", "Yuki", "Toni", "Charlie", "Deniz", "Luca", "Mika", "Andrea", "Riley",
    "Sam", "Ariel", "Kai", "Jules", "Nika", "Quinn",
)  # fmt: skip
# Korean aliases that end in a vowel and in a consonant: 이/가, 은/는, 을/를 depend on it.
OPEN_ALIASES = ("나래", "보라", "아라", "우주", "하루", "두리", "누리", "소라", "미루", "고우")
CLOSED_ALIASES = ("가람", "다운", "마음", "바른", "샛별", "이슬", "한결", "가온", "보람", "슬찬")
PARTICLES = (
    "이가 이는 이를 이의 이도 이랑 이와 이에게 이한테 이라고 이 가 은 는 을 를 의 에게 에게서 한테 와 과 도 만 "
    "야 아 랑 께 께서 님 씨 군 양 학생 선생님 쌤 이고 라고 처럼 보다 까지 부터".split()
)
HANGUL = "가-힣"
PRIVATE, BIRTH_DATE = "[PRIVATE]", "[BIRTH_DATE]"
_DATE = r"[0-9]{1,4} ?[-./년] ?[0-9]{1,2} ?[-./월] ?[0-9]{1,4}(?: ?일)?"
_BIRTH = re.compile(
    rf"(?i:(?P<before>(?:\bborn\b|\bbirthday\b|\bdate of birth\b|생일|생년월일|출생)[^0-9\n]{{0,12}})){_DATE}"
    rf"|{_DATE}(?=(?:에|에는)? ?(?:생|태어|출생))"
)
SHORTEST_PRIVATE = 5  # shorter values of private columns (a grade, a class) would be found everywhere
FINALS = 28  # final consonants of a Hangul syllable, with "none"


def is_hangul(name: str) -> bool:
    """Whether a name is written in Hangul."""
    return re.search(f"[{HANGUL}]", name) is not None


def ends_in_consonant(name: str) -> bool:
    """Whether the last Hangul syllable of a name has a final consonant."""
    last = name[-1]
    return "가" <= last <= "힣" and (ord(last) - ord("가")) % FINALS != 0


@dataclass
class Aliases:
    """One alias per person of a school. offered: names to use ([]: built-in ones)."""

    offered: Sequence[str] = ()
    given: dict[str, str] = field(default_factory=dict)

    def of(self, person: str, name: str) -> str:
        """The alias of a person (any key), drawn at the first call in the order of the lists; a number follows if they end."""
        if person not in self.given:
            pool = self._pool(name)
            used = set(self.given.values())
            free = (alias if not turn else f"{alias}{turn + 1}" for turn in range(len(self.given) + 1) for alias in pool)
            self.given[person] = next(alias for alias in free if alias not in used)
        return self.given[person]

    def _pool(self, name: str) -> Sequence[str]:
        if self.offered:
            return self.offered
        if not is_hangul(name):
            return LATIN_ALIASES
        return CLOSED_ALIASES if ends_in_consonant(name) else OPEN_ALIASES


@dataclass(frozen=True)
class Person:
    """One name of a person (key) with the alias, and private values that may stand in texts."""

    key: str
    name: str
    alias: str
    private: tuple[str, ...] = ()


class _Names:
    """Finds some of people's names, as whole words or in front of a Korean particle. forms: form -> whose it is."""

    def __init__(self, forms: dict[str, list[Person]]) -> None:
        self.people = {_key(form): people for form, people in forms.items()}
        self.written = set(forms)
        particles = "|".join(sorted(PARTICLES, key=len, reverse=True))
        latin = "|".join(_flexible(form) for form in _longest_first(forms) if not is_hangul(form))
        hangul = "|".join(_flexible(form) for form in _longest_first(forms) if is_hangul(form))
        self.patterns = []
        if latin:  # a Korean particle may follow a Latin name too
            self.patterns.append(re.compile(rf"(?<![^\W{HANGUL}])(?:{latin})(?![^\W{HANGUL}])", re.IGNORECASE))
        if hangul:
            self.patterns.append(re.compile(rf"(?<![{HANGUL}])(?:{hangul})(?=(?:{particles})?(?![{HANGUL}]))"))

    def replace(self, text: str, alias_of: Callable[[list[Person]], str]) -> tuple[str, int]:
        """The text with a mark in place of each name, and how many were replaced."""
        count = 0

        def mark(match: re.Match[str]) -> str:
            nonlocal count
            found = match[0]
            if found.lower() in FUNCTION_WORDS["english"] and found not in self.written:  # "Will" is a name, "will" is not
                return found
            count += 1
            return f"\0{alias_of(self.people[_key(found)])}\0"

        # Between two marks stands an alias: it is not searched for other names.
        for pattern in self.patterns:
            parts = text.split("\0")
            text = "\0".join(part if i % 2 else pattern.sub(mark, part) for i, part in enumerate(parts))
        return text, count


def _key(form: str) -> str:
    return "".join(form.lower().split())


def _longest_first(forms: Iterable[str]) -> list[str]:
    return sorted(forms, key=lambda form: (-len(form), form))


def _flexible(form: str) -> str:
    """A pattern of a form whose blanks may be any, and none in Hangul."""
    return (r"\s*" if is_hangul(form) else r"\s+").join(map(re.escape, form.split()))


def name_forms(name: str) -> tuple[str, list[str]]:
    """The full name, and the parts under which a person may be named: given name and (Latin script) family name.

    A Korean given name of one syllable is no part: it is also a common word ("산").
    """
    parts = name.split()
    if not is_hangul(name):
        return " ".join(parts), [part for part in parts if len(part) > 1]
    whole = "".join(parts)
    given = parts[-1] if len(parts) > 1 else whole[1:]
    return f"{whole[: len(whole) - len(given)]} {given}".strip(), [given] if len(given) > 1 else []


class Masker:
    """Replaces the personal data of some people, and what patterns find, in texts. `counts`: what was replaced, by kind."""

    def __init__(self, people: Iterable[Person]) -> None:
        full: dict[str, list[Person]] = {}
        part: dict[str, list[Person]] = {}
        values: set[str] = set()
        for person in people:
            values.update(form for value in person.private for form in written_forms(value))
            if person.name.strip():
                whole, parts = name_forms(person.name)
                full.setdefault(whole, []).append(person)
                for one in parts:
                    part.setdefault(one, []).append(person)
        self.steps = [_Names(full), _Names(part)]
        private = "|".join(map(re.escape, _longest_first(values)))
        self.private = re.compile(rf"(?<![0-9A-Za-z])(?:{private})(?![0-9A-Za-z])") if private else None
        self.counts: dict[str, int] = {}

    def mask(self, text: str, author: str = "") -> str:
        """The text without personal data. author: key of the person whose name a shared name stands for."""
        if self.private is not None:
            text = self._replaced("private values", self.private, PRIVATE, text.replace("\0", ""))
        text = self._replaced("birth dates", _BIRTH, lambda match: f"{match['before'] or ''}{BIRTH_DATE}", text)
        masked = mask_pii(text)
        self._count("contacts and numbers", masked.count("[") - text.count("["))
        for names in self.steps:  # full names first: "Anna Lee" is one person, not Anna and some Lee
            masked, found = names.replace(masked, lambda people: next((p for p in people if p.key == author), people[0]).alias)
            self._count("names", found)
        return masked.replace("\0", "")

    def _replaced(self, kind: str, pattern: re.Pattern[str], by: str | Callable[[re.Match[str]], str], text: str) -> str:
        text, count = pattern.subn(by, text)
        self._count(kind, count)
        return text

    def _count(self, kind: str, count: int) -> None:
        if count:
            self.counts[kind] = self.counts.get(kind, 0) + count


def written_forms(value: str) -> list[str]:
    """How a private value may stand in a text; a date also with other separators and in Korean. Short values: none."""
    value = value.strip()
    if len(value) < SHORTEST_PRIVATE:
        return []
    found = re.fullmatch(r"(\d{4})[-./ ](\d{1,2})[-./ ](\d{1,2})(?:[ T]00:00:00.*)?", value)
    if not found:
        digits = re.sub(r"\D", "", value)
        return list(dict.fromkeys([value, digits] if len(digits) >= 9 else [value]))
    year, month, day = (int(part) for part in found.groups())
    forms = [value[:10]]
    for width in (1, 2):
        m, d = f"{month:0{width}d}", f"{day:0{width}d}"
        forms += [f"{a}{sign}{b}{sign}{c}" for a, b, c in ((year, m, d), (d, m, year), (m, d, year)) for sign in "-./"]
        forms += [f"{year}. {m}. {d}", f"{year}년 {m}월 {d}일", f"{m}월 {d}일"]
    named = calendar.month_name[month] if 1 <= month <= 12 else ""
    forms += [f"{day} {named} {year}", f"{named} {day}, {year}"] if named else []
    return list(dict.fromkeys([*forms, f"{year}{month:02d}{day:02d}"]))
