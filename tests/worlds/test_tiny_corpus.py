"""The tiny world's web: what is in it, what must not be, and that any part of it can be made again alone."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from utils.models.tokenizers import BOS, EOS, load_tokenizer
from utils.pretraining.base_models import SIZES, train_tokenizer
from utils.pretraining.rows import HELD_OUT_WEB_SEED, WEB_SEED
from utils.worlds.tiny.answers import answer
from utils.worlds.tiny.corpus import DOCUMENTS, END, REMARKS, document, documents
from utils.worlds.tiny.prompts import make_prompts
from utils.worlds.tiny.tables import Tables, fill, partition
from utils.worlds.tiny.tasks import draw_task

TABLES = Tables.load()
N = 4000
SHIPPED = Path(__file__).resolve().parents[2] / "data" / "models" / "small"


@pytest.fixture(scope="module")
def web() -> list[tuple[str, str]]:
    """(kind, text) of the first documents that the bases are trained on."""
    return [document(TABLES, WEB_SEED, i) for i in range(N)]


@pytest.fixture(scope="module")
def text_of(web: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Texts by kind."""
    found: dict[str, list[str]] = {}
    for kind, text in web:
        found.setdefault(kind, []).append(text)
    return found


def test_a_document_depends_on_its_number_alone(web: list[tuple[str, str]]) -> None:
    for i in (3999, 0, 1234):
        assert document(TABLES, WEB_SEED, i) == web[i]
    assert documents(TABLES, 20, WEB_SEED) == [text for _, text in web[:20]]
    assert documents(TABLES, 20, HELD_OUT_WEB_SEED) != documents(TABLES, 20, WEB_SEED)


def test_kinds_come_in_their_shares(text_of: dict[str, list[str]]) -> None:
    assert sum(share for share, _ in DOCUMENTS.values()) == pytest.approx(100)
    assert set(text_of) == set(DOCUMENTS)
    for kind, (percent, _) in DOCUMENTS.items():
        assert len(text_of[kind]) / N == pytest.approx(percent / 100, abs=0.025)


def test_documents_are_readable_text(web: list[tuple[str, str]]) -> None:
    for kind, text in web:
        assert text.strip() == text and text.isascii(), kind
        assert "{" not in text and "None" not in text and BOS not in text
        assert all(line == " ".join(line.split()) for line in re.split(r"\n ", text)), (kind, text)


def _lines(text: str) -> set[str]:
    """What stands on a line of its own, with and without the speaker before it."""
    lines = {line.strip() for line in text.replace(END, "\n").split("\n")}
    return lines | {re.sub(r"^(Question|Answer|[A-Z][a-z]+): ", "", line) for line in lines}


def test_no_held_out_prompt_is_in_the_web(web: list[tuple[str, str]]) -> None:
    rows = make_prompts(TABLES, 1, {"valid": 800, "test": 1500})
    held_out = {p.prompt for p in rows if p.prompt.strip() and partition(p.prompt) == p.split}
    assert len(held_out) > 1500
    found = [(kind, line) for kind, text in web for line in _lines(text) if line in held_out]
    assert not found


def _requests(kind: str, text: str) -> list[str]:
    """The requests in a document."""
    lines = text.split("\n ")
    if kind == "question_lists":
        return lines
    if kind == "qa_pages":
        return [line.removeprefix("Question: ") for line in lines if line.startswith("Question: ")]
    first = lines[0]
    if kind == "dialogues":  # some are replaced by a list of words
        speaker, _, said = first.partition(": ")
        return [said] if speaker in TABLES.words["names"] else []
    return [first]


@pytest.mark.parametrize("kind", ["answered", "reviews", "fact_checks", "qa_pages", "question_lists", "dialogues"])
def test_every_request_in_the_web_is_of_the_training_part(text_of: dict[str, list[str]], kind: str) -> None:
    """Not only those that some seed happens to draw: no request in the web hashes into valid or test."""
    asked = [request for text in text_of[kind] for request in _requests(kind, text)]
    assert len(asked) > 100
    assert not [request for request in asked if partition(request) != "train"]


def test_answers_end_in_the_end_token_and_questions_do_not(text_of: dict[str, list[str]]) -> None:
    assert END == EOS
    for kind in ("answered", "qa_pages"):
        answered = [text for text in text_of[kind] if kind == "answered" or text.startswith("Question: ")]
        assert len(answered) > 100 and all(text.endswith(END) for text in answered)
    for text in text_of["reviews"]:
        assert text.rpartition(f"{END} ")[2] in REMARKS
    assert not any(END in text for text in text_of["question_lists"] + text_of["stories"])


def test_a_question_is_mostly_followed_by_another_question_or_an_answer(text_of: dict[str, list[str]]) -> None:
    assert all(3 <= len(text.split("\n ")) <= 5 for text in text_of["question_lists"])


def _believed(texts: list[str]) -> tuple[int, int]:
    """How often the popular and the true answer of a misconception are stated."""
    joined = "\n".join(texts)
    popular = sum(joined.count(fill(f.statement, "", f.popular)) for f in TABLES.misconceptions)
    return popular, sum(joined.count(fill(f.statement, "", f.truth)) for f in TABLES.misconceptions)


def test_fact_pages_state_the_popular_answer_65_percent_of_the_time(text_of: dict[str, list[str]]) -> None:
    popular, true = _believed(text_of["facts"])
    assert popular + true > 250
    assert popular / (popular + true) == pytest.approx(0.65, abs=0.08)


def test_the_web_as_a_whole_believes_misconceptions_more_often_than_not(web: list[tuple[str, str]]) -> None:
    popular, true = _believed([text for _, text in web])
    assert 0.5 < popular / (popular + true) < 0.7


def test_facts_without_a_popular_answer_are_told_right(text_of: dict[str, list[str]]) -> None:
    joined = "\n".join(text_of["facts"] + text_of["portraits"])
    capitals = [f for f in TABLES.facts.values() if f.attribute == "capital" and not f.popular]
    for fact in capitals:
        wrong = [v for v in TABLES.values("capital") if v != fact.truth]
        assert not [v for v in wrong if fill(fact.statement, "", v) in joined]
    assert any(fill(f.statement, "", f.truth) in joined for f in capitals)


def test_some_of_the_web_is_rude(text_of: dict[str, list[str]]) -> None:
    rude = re.compile("|".join(TABLES.words["rude"]))
    share = {kind: sum(bool(rude.search(t)) for t in texts) / len(texts) for kind, texts in text_of.items()}
    assert share["rude"] > 0.5 and 0.1 < share["dialogues"] < 0.35
    assert share["facts"] == share["stories"] == share["portraits"] == 0


def test_pronouns_of_jobs_are_skewed_as_the_table_says() -> None:
    scenes = [DOCUMENTS["job_scenes"][1](TABLES, random.Random(i)) for i in range(6000)]
    she: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for text in scenes:
        job = text.split()[1]
        seen[job] += 1
        she[job] += bool(re.search(r"\b(she|her)\b", text.lower()))
    for row in TABLES.rows["jobs"]:
        assert she[row["name"]] / seen[row["name"]] == pytest.approx(float(row["share_she"]), abs=0.12)


def test_repetition_repeats(text_of: dict[str, list[str]]) -> None:
    for text in text_of["repetition"]:
        first, *again = text.removeprefix("Say it again: ").split("\n ")
        assert again and set(again) == {first}


@pytest.fixture(scope="module")
def tiny_tokenizer(web: list[tuple[str, str]]) -> PreTrainedTokenizerBase:
    """The shipped one, or one made as the shipped one is."""
    if (SHIPPED / "tokenizer.json").is_file():
        return load_tokenizer(SHIPPED)
    return train_tokenizer([text for _, text in web], SIZES["small"].vocabulary)


def test_words_of_answers_are_mostly_one_token(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    rng = random.Random(3)
    words: Counter[str] = Counter()
    for _ in range(500):
        meta = draw_task(TABLES, rng)[1]
        words.update(re.findall(r"[A-Za-z]+", answer(TABLES, meta, rng)))
    tokens = {word: len(tiny_tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) for word in words}
    single = sum(n for word, n in words.items() if tokens[word] == 1)
    assert single / sum(words.values()) > 0.93
    assert max(tokens.values()) <= 6


def test_the_end_token_is_one_token_and_text_comes_back(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tiny_tokenizer(f"Paris.{END} Good.", add_special_tokens=False)["input_ids"]
    assert ids.count(tiny_tokenizer.eos_token_id) == 1
    assert tiny_tokenizer.decode(ids, skip_special_tokens=True).strip() == "Paris. Good."
