"""Every sentence of the pages, one YAML file per language with the same keys; English is the first language.

A sentence is found by its path of keys, `words("error.form.ranks_missing", n=2)`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import yaml

LANGUAGES = ("en", "ko")


class Words:
    """The catalogue of one language. A call gives the text at a path of keys, with its {places} filled in."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.texts: Mapping[str, Any] = _read(language)

    def __call__(self, path: str, **values: Any) -> str:
        """Raises KeyError for a path that the catalogue does not have: a mistake in a template."""
        text = self.part(path)
        return text.format(**values) if values else text

    def part(self, path: str) -> Any:
        """A whole branch of the catalogue, such as the names of all flags."""
        found: Any = self.texts
        for key in path.split("."):
            found = found[key]
        return found

    def has(self, path: str) -> bool:
        """Whether there is a text at this path."""
        try:
            self.part(path)
        except (KeyError, TypeError):
            return False
        return True


@functools.cache
def words_of(language: str) -> Words:
    """The catalogue of a language; English for one that is not there."""
    return Words(language if language in LANGUAGES else LANGUAGES[0])


def preferred(accepted: str) -> str:
    """The first of our languages in the header Accept-Language, else English."""
    asked = (part.split(";")[0].strip().lower().split("-")[0] for part in accepted.split(","))
    return next((language for language in asked if language in LANGUAGES), LANGUAGES[0])


def paths(branch: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """(path, text) of every text below a branch; places in a list are numbers."""
    pairs = branch.items() if isinstance(branch, Mapping) else enumerate(branch) if isinstance(branch, list) else ()
    for key, value in pairs:
        path = f"{before}.{key}" if before else str(key)
        if isinstance(value, Mapping | list):
            yield from paths(value, path)
        else:
            yield path, value


@functools.cache
def _read(language: str) -> Mapping[str, Any]:
    text = resources.files(__name__).joinpath(f"{language}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)
