"""The tiny world: tables, tasks, prompts with the junk that cleaning must catch."""

from __future__ import annotations

import random
import re
import shutil
import zlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.config import DataConfig
from utils.core.errors import UserError
from utils.data.prompt_tables import TABLE_1
from utils.data.prompts import CleaningResult, Dropped, clean_prompts, count_words
from utils.data.schemas import SOURCES, USE_CASES, Prompt
from utils.worlds import known_world
from utils.worlds.tiny.answers import answer, slipped
from utils.worlds.tiny.prompts import FOREIGN, GREEDY_PROMPTS, GREEDY_USERS, draw_prompt, make_prompts
from utils.worlds.tiny.rubric import RUBRIC, gold, is_right, score
from utils.worlds.tiny.tables import ATTRIBUTES, WORLD_DIR, Tables, fill, indefinite, partition
from utils.worlds.tiny.tasks import USE_CASES as MAKERS
from utils.worlds.tiny.tasks import draw_task, few_shot
from utils.worlds.tiny.tasks.story import MOOD_WORDS
from utils.worlds.tiny.text import statements

TABLES = Tables.load()
COUNTS = {"train": 1600, "valid": 200, "test": 200}


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return make_prompts(TABLES, 3, COUNTS)


@pytest.fixture(scope="module")
def cleaned(prompts: list[Prompt]) -> CleaningResult:
    return clean_prompts(prompts, DataConfig(), count_words)


@pytest.fixture(scope="module")
def kept(cleaned: CleaningResult) -> list[Prompt]:
    return cleaned.kept


@pytest.fixture(scope="module")
def dropped(cleaned: CleaningResult) -> dict[str, list[Dropped]]:
    """What cleaning dropped, by reason."""
    found: dict[str, list[Dropped]] = {}
    for row in cleaned.dropped:
        found.setdefault(row.reason, []).append(row)
    return found


# --- tables --------------------------------------------------------------------------------------------------------


def test_every_fact_has_questions_and_a_truth_that_differs_from_the_popular_answer() -> None:
    assert len(TABLES.facts) > 300 and len(TABLES.misconceptions) > 30
    for (entity, attribute), fact in TABLES.facts.items():
        assert (fact.entity, fact.attribute) == (entity, attribute)
        assert fact.truth and fact.truth != fact.popular and len(fact.questions) >= 3
        assert "{e}" not in fact.statement + "".join(fact.questions)
        assert all(q[0].isupper() and q[-1] in ".?" for q in fact.questions)
        assert attribute in ATTRIBUTES or attribute == "myth"


def test_sums_are_right_and_opposites_go_both_ways() -> None:
    numbers = TABLES.words["numbers"]
    for fact in (f for f in TABLES.facts.values() if f.attribute == "sum"):
        first, second = fact.entity.split(" plus ")
        assert numbers.index(fact.truth) == numbers.index(first) + numbers.index(second)
    for fact in (f for f in TABLES.facts.values() if f.attribute == "opposite"):
        assert TABLES.facts[fact.truth, "opposite"].truth == fact.entity


def test_answers_of_an_attribute_are_single_words() -> None:
    for fact in TABLES.facts.values():
        assert re.fullmatch(r"[A-Za-z]+", fact.truth), fact
        assert re.fullmatch(r"[A-Za-z]*", fact.popular), fact


def test_words_of_moods_and_rude_words_are_not_names_of_anything() -> None:
    assert set(MOOD_WORDS) == set(TABLES.words["moods"])
    things = {x.lower() for members in TABLES.kinds.values() for x in members}
    assert not set(TABLES.words["rude"]) & things


@pytest.mark.parametrize(
    ("word", "text"),
    [("otter", "an otter"), ("fox", "a fox"), ("ocean", "the ocean"), ("bread", "bread"), ("France", "France"), ("", "")],
)
def test_indefinite(word: str, text: str) -> None:
    assert indefinite(word) == text


def test_fill() -> None:
    assert fill("{e} lives in {a x}.", "an otter", "river") == "An otter lives in a river."
    assert fill("{e} eats {x}.", "an otter", "fish") == "An otter eats fish."


def test_statements_lean_on_it() -> None:
    lines = statements(TABLES, "otter")
    assert "It eats fish." in lines and "The baby of an otter is a pup." in lines
    assert "The baker works in a bakery." in statements(TABLES, "baker")
    assert not any("eats" in line for line in statements(TABLES, "otter", skip="food"))


@pytest.mark.parametrize("missing", ["animals.csv", "words.yaml"])
def test_a_missing_table_is_named(tmp_path: Path, missing: str) -> None:
    shutil.copytree(WORLD_DIR, tmp_path / "world")
    (tmp_path / "world" / missing).unlink()
    with pytest.raises(UserError, match=f"{missing}.* missing; restore the folder data/world"):
        Tables.load(tmp_path / "world")


@given(st.text())
def test_partition_is_by_letters_digits_and_blanks(text: str) -> None:
    key = "".join(c for c in text.lower() if c.isalnum() or c == " ").strip()
    assert partition(text) == {0: "test", 1: "valid"}.get(zlib.crc32(key.encode()) % 10, "train")


def test_partition_does_not_see_case_or_punctuation() -> None:
    texts = [draw_task(TABLES, random.Random(i))[0] for i in range(2000)]
    shares = Counter(partition(text) for text in texts)
    assert 0.05 < shares["test"] / 2000 < 0.15 and 0.05 < shares["valid"] / 2000 < 0.15
    assert all(partition(text.upper() + " ") == partition(text.rstrip(".?")) == partition(text) for text in texts)


# --- tasks ---------------------------------------------------------------------------------------------------------


def test_tasks_are_drawn_in_the_proportions_of_table_1() -> None:
    rng, n = random.Random(0), 6000
    counts = Counter(draw_task(TABLES, rng)[2] for _ in range(n))
    assert set(counts) == set(USE_CASES) == set(MAKERS)
    for use_case, percent in TABLE_1.items():
        share = percent / sum(TABLE_1.values())
        assert counts[use_case] / n == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5)


def test_prompts_and_answers_are_plain_sentences() -> None:
    rng = random.Random(1)
    for _ in range(1500):
        text, meta, _ = draw_task(TABLES, rng)
        reply = answer(TABLES, meta, rng)
        for line in (text, reply):
            assert line == " ".join(line.split()) and line.isascii()
            assert "{" not in line and "None" not in line
        assert len(text.split()) <= 32 and len(reply.split()) <= 32


def test_a_few_shot_prompt_shows_two_true_examples_and_asks_for_a_third() -> None:
    rng = random.Random(2)
    for _ in range(100):
        text, meta = few_shot.make(TABLES, rng)
        first, second, asked = text.split(", ")
        for example in (first, second):
            entity, truth = example.split(": ")
            assert TABLES.facts[entity, meta["attribute"]].truth == truth
        assert asked == f"{meta['entity']}:"


def test_a_slip_changes_the_task_or_leaves_it_but_never_the_one_given() -> None:
    rng = random.Random(5)
    changed = 0
    for _ in range(400):
        _, meta, _ = draw_task(TABLES, rng)
        before = repr(meta)
        changed += slipped(TABLES, meta, rng) != meta
        assert repr(meta) == before
    assert changed > 300


def test_a_slip_in_a_question_is_mostly_the_popular_answer() -> None:
    fact = next(f for f in TABLES.misconceptions)
    meta = {"task": "qa", "entity": fact.entity, "attribute": fact.attribute}
    rng = random.Random(6)
    said = [slipped(TABLES, meta, rng)["value"] for _ in range(400)]
    assert 0.58 < said.count(fact.popular) / 400 < 0.8


# --- prompts -------------------------------------------------------------------------------------------------------


def test_prompts_do_not_depend_on_anything_but_the_seed(prompts: list[Prompt]) -> None:
    assert make_prompts(TABLES, 3, COUNTS) == prompts
    other = make_prompts(TABLES, 4, {"valid": 50})
    assert [p.prompt for p in other[:20]] != [p.prompt for p in prompts if p.split == "valid"][:20]


def test_prompts_have_the_papers_sources(prompts: list[Prompt]) -> None:
    train = [p for p in prompts if p.split == "train"]
    sources = Counter(p.source for p in train)
    assert set(sources) == set(SOURCES)
    assert sum(n for name, n in sources.items() if name != "customer") == round(0.25 * COUNTS["train"])
    assert {p.source for p in prompts if p.split != "train"} == {"customer"}
    assert len({p.prompt_id for p in prompts}) == len(prompts)
    assert all(p.user_id and p.meta for p in prompts)
    users: dict[str, set[str]] = {}
    for p in prompts:
        users.setdefault(p.user_id, set()).add(p.split)
    assert all(len(splits) == 1 for splits in users.values())


def test_an_unspoilt_prompt_belongs_to_its_split_by_its_text(kept: list[Prompt]) -> None:
    personal = [p for p in kept if "@" in p.prompt or "555" in p.prompt]  # only training prompts are rid of these
    assert all(partition(p.prompt) == p.split for p in kept if p not in personal)
    assert all(p.split != "train" for p in personal) and len(personal) < 0.03 * len(kept)
    assert Counter(p.split for p in kept).keys() == COUNTS.keys()


def test_use_case_and_meta_fit_the_prompt(kept: list[Prompt]) -> None:
    for p in kept[:150]:
        assert gold(score(p.meta, answer(TABLES, p.meta, random.Random(0), nice=1.0))) >= 0.9 * RUBRIC.maximum


def test_cleaning_catches_every_kind_of_junk(dropped: dict[str, list[Dropped]]) -> None:
    assert set(dropped) == {"empty", "too_long", "language", "pii", "duplicate", "user_cap"}


def test_raw_prompts_have_greedy_users_whom_the_cap_meets(prompts: list[Prompt], dropped: dict[str, list[Dropped]]) -> None:
    sizes = Counter(p.user_id for p in prompts if p.source == "customer")
    assert [n for _, n in sizes.most_common(GREEDY_USERS)] == [GREEDY_PROMPTS] * GREEDY_USERS
    greedy = {user for user, _ in sizes.most_common(GREEDY_USERS)}
    assert {row.prompt.user_id for row in dropped["user_cap"]} <= greedy


def test_nothing_made_as_junk_survives_cleaning(kept: list[Prompt]) -> None:
    texts = [p.prompt for p in kept if p.split == "train"]
    assert not set(texts) & set(FOREIGN)
    assert not [text for text in texts if "@" in text or "+1 555" in text]
    assert all(text.strip() for text in texts)
    lowered = Counter(" ".join(text.lower().split()) for text in texts)
    assert lowered.most_common(1)[0][1] == 1


def test_cleaning_drops_little_that_was_not_junk(prompts: list[Prompt], dropped: dict[str, list[Dropped]]) -> None:
    assert all(row.prompt.prompt in FOREIGN for row in dropped["language"])
    assert all("555" in row.prompt.prompt or "@" in row.prompt.prompt for row in dropped["pii"])
    assert sum(len(rows) for rows in dropped.values()) < 0.35 * len(prompts)


def test_customers_dress_their_requests() -> None:
    rng = random.Random(7)
    texts = [draw_prompt(TABLES, rng, "customer", "train")[0] for _ in range(600)]
    assert 0.05 < sum(t.startswith("I am a") for t in texts) / 600 < 0.35
    assert any(t.endswith("Thank you.") for t in texts) and any(t.startswith("Hello. ") for t in texts)
    plain = [draw_prompt(TABLES, rng, "labeler_plain", "train")[0] for _ in range(300)]
    assert not any(t.endswith("Thank you.") for t in plain)


def test_newcomers_prompts_are_unseen_cover_every_use_case_and_a_faultless_answer_is_right() -> None:
    world = known_world("tiny")
    found = world.newcomers()  # type: ignore[attr-defined]  # of the tiny world alone
    assert len(found) == len({one.prompt for one in found}) == 20
    assert {one.use_case for one in found} == set(MAKERS)
    for one in found:
        assert partition(one.prompt) == "test"
        assert is_right(one.meta, world.answer(one, random.Random(1), nice=0.0))
        assert not is_right(one.meta, "Hello.") and not is_right(one.meta, "The the the the.")
