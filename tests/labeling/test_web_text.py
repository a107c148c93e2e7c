"""The catalogue of sentences in both languages, and texts made safe and visible."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from utils.labeling.labelers import FLAGS, TOPICS
from utils.labeling.web.catalogue import LANGUAGES, paths, preferred, words_of
from utils.labeling.web.text import bold, excerpt, plain, shown

WEB = Path(__file__).resolve().parents[2] / "utils" / "labeling" / "web"
PLACE = re.compile(r"\{(\w+)\}")


def test_both_languages_have_the_same_sentences_and_places() -> None:
    english, korean = (dict(paths(words_of(code).texts)) for code in LANGUAGES)
    assert list(english) == list(korean)
    different = [p for p in english if set(PLACE.findall(str(english[p]))) != set(PLACE.findall(str(korean[p])))]
    assert different == []
    same = {p for p in english if english[p] == korean[p] and re.search("[a-z]{3}", str(english[p]))}
    assert {p for p in same if not re.search(r"^keys\.|\.tie$", p)} == set()


def test_every_sentence_that_a_page_asks_for_is_there_and_is_used() -> None:
    source = "".join(file.read_text(encoding="utf-8") for file in [*WEB.glob("*.py"), *WEB.glob("templates/*.html")])
    source += (WEB.parents[1] / "lessons" / "label_box.py").read_text(encoding="utf-8")
    words = words_of("en")
    asked = set(re.findall(r'words(?:\.part)?\(["\']([a-z_.]+)["\'][,)]', source))
    assert len(asked) > 100 and [path for path in asked if not words.has(path)] == []
    named = {
        path for pair in re.findall(r'"([a-z_]+(?:\.[a-z_]+)*)"|\'([a-z_]+(?:\.[a-z_]+)*)\'', source) for path in pair if path
    }
    begun = {path for pair in re.findall(r'"([a-z_.]+\.)" ?[~+]|f"([a-z_.]+\.)\{', source) for path in pair if path}
    used = tuple(f"{path}." for path in named if "." in path) + tuple(begun)
    assert [path for path, _ in paths(words.texts) if path not in named and not path.startswith(used)] == []


def test_every_field_topic_and_kind_has_a_name() -> None:
    for code in LANGUAGES:
        words = words_of(code)
        assert set(words.part("rating.field")) == set(FLAGS) and set(words.part("screening.topic")) == set(TOPICS)


def test_language_of_a_browser() -> None:
    assert [preferred(text) for text in ("ko-KR,ko;q=0.9", "fr,KO;q=0.3", "", "de;q=x,en", "*")] == [
        "ko",
        "ko",
        "en",
        "en",
        "en",
    ]
    assert words_of("xx").language == "en"
    with pytest.raises(KeyError):
        words_of("en")("no.such.sentence")


class Tags(HTMLParser):
    """The tags of a piece of HTML, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("<>&\"'\x00\u202e\u200b\ud800\r\n=/"))))
def test_no_text_becomes_a_tag_or_stays_invisible(text: str) -> None:
    found = Tags(str(shown(text)))
    assert {tag for tag, _ in found.tags} <= {"span"} and all(
        attrs[0] == ("class", "hidden-character") for _, attrs in found.tags
    )
    assert not re.search("[\x00-\x08\u202a-\u202e\u200b\ud800-\udfff]", found.text)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_visible_text_is_shown_as_it_is(text: str) -> None:
    assert Tags(str(shown(text))).text == text


def test_joiners_that_scripts_and_emoji_need_stay() -> None:
    for text in ("👩‍👩‍👧", "نمی‌خواهم", "❤️", "a\tb\nc"):
        assert shown(text) == text
    assert 'title="Zeichen U+202E RIGHT-TO-LEFT OVERRIDE"' in shown("\u202e", "Zeichen {code}")
    assert shown("a\r\nb\rc") == 'a\nb<span class="hidden-character" title="Invisible character U+000D">U+000D</span>c'


def test_small_helpers() -> None:
    assert plain("a\x00b\ud83d") == "a\ufffdb\ufffd"
    assert excerpt("a  b\nc", 10) == "a b c" and excerpt("x" * 200, 10) == "x" * 9 + "…"
    assert bold("**a** <b> **c**") == f"<strong>a</strong> {escape('<b>')} <strong>c</strong>"
