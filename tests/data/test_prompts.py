"""Cleaning, splitting and tabulating prompts (utils.data.prompts, pii, language)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils.config import LANGUAGES, DataConfig
from utils.core.errors import UserError
from utils.data.language import FUNCTION_WORDS, foreign_language
from utils.data.left_out import Notes
from utils.data.matching import normalise
from utils.data.pii import find_pii, luhn, mask_pii
from utils.data.prompt_tables import (
    TABLE_1,
    cleaning_table,
    length_table,
    prompts_per_user_table,
    shorten,
    source_table,
    use_case_table,
)
from utils.data.prompts import (
    REASONS,
    CleaningResult,
    cap_per_user,
    clean_prompts,
    count_words,
    deduplicate,
    drop_pii,
    drop_too_long,
    left_out_by_cleaning,
    token_length,
)
from utils.data.schemas import USE_CASES, Comparison, Demonstration, Prompt
from utils.data.splits import check_leaks, check_user_splits, fill_splits, split_by_user
from utils.worlds import known_world

CONFIG = DataConfig(cap_per_user=3, dedup_prefix_chars=12, max_prompt_tokens=30)


def rows(*texts: str, **fields: str) -> list[Prompt]:
    return [Prompt(prompt_id=f"p{i}", prompt=text, **fields) for i, text in enumerate(texts)]


def texts(prompts: list[Prompt]) -> list[str]:
    return [prompt.prompt for prompt in prompts]


# Few words and users, so that duplicates, capped users and personal data happen.
WORDS = st.sampled_from(
    ["tell", "me", "the", "Tell", "me,", "3", "+", "-", "wie", "ist", "das", "a@b.org", "Привет", "", "555-0123", "?"]
)
TEXTS = st.one_of(st.lists(WORDS, max_size=9).map(" ".join), st.text(max_size=20))
PROMPT_LISTS = st.lists(
    st.tuples(TEXTS, st.sampled_from(["", "u1", "u2", "u3"]), st.sampled_from(["customer", "labeler_plain"])),
    max_size=40,
).map(lambda xs: [Prompt(f"p{i}", text, user_id=user, source=source) for i, (text, user, source) in enumerate(xs)])


# ---------------------------------------------------------------- properties


@given(PROMPT_LISTS)
@settings(deadline=None, max_examples=150)
def test_cleaning_twice_changes_nothing_and_no_row_is_lost(prompts: list[Prompt]) -> None:
    once = clean_prompts(prompts, CONFIG)
    twice = clean_prompts(once.kept, CONFIG)
    assert twice.kept == once.kept and twice.dropped == []
    assert clean_prompts(prompts, CONFIG) == once
    position = {prompt.prompt_id: i for i, prompt in enumerate(prompts)}
    kept = [position[prompt.prompt_id] for prompt in once.kept]
    assert kept == sorted(kept)
    assert sorted(kept + [position[d.prompt.prompt_id] for d in once.dropped]) == list(range(len(prompts)))


def test_cleaning_twice_changes_nothing_when_the_cap_makes_a_preamble_rare() -> None:
    """60 of 960 prompts share a template, but one user wrote them: 10 stay, too few to tell a template from a repetition."""
    template = "Below is an instruction that describes a task. Write: "
    made = [Prompt(f"t{i}", f"{template}{i} things", user_id="u", source="customer") for i in range(60)]
    others = [Prompt(f"o{i}", f"{i} {i * 7} {i * 13}: tell me more of it", source="customer") for i in range(900)]
    config = replace(CONFIG, cap_per_user=10, dedup_prefix_chars=12, language="any", pii_filter=False)
    once = clean_prompts([*made, *others], config)
    assert clean_prompts(once.kept, config) == CleaningResult(once.kept, [])
    assert {d.reason for d in once.dropped} == {"user_cap", "duplicate"} and len(once.kept) + len(once.dropped) == 960


@given(PROMPT_LISTS, st.integers(1, 20))
@settings(deadline=None, max_examples=150)
def test_deduplicate_agrees_with_comparing_all_pairs(prompts: list[Prompt], prefix_chars: int) -> None:
    def same(a: Prompt, b: Prompt) -> bool:
        x, y = normalise(a.prompt), normalise(b.prompt)
        long = min(len(x), len(y)) >= prefix_chars and x[:prefix_chars] == y[:prefix_chars]
        return x == y or (long and a.source == b.source == "customer")

    expected: list[Prompt] = []
    for prompt in prompts:
        if not any(same(prompt, other) for other in expected):
            expected.append(prompt)
    result = deduplicate(prompts, prefix_chars)
    assert result.kept == expected
    assert deduplicate(result.kept, prefix_chars).kept == result.kept


@given(PROMPT_LISTS, st.integers(1, 5))
@settings(deadline=None)
def test_cap_is_never_exceeded_and_keeps_the_first(prompts: list[Prompt], cap: int) -> None:
    result = cap_per_user(prompts, cap)
    for user in {prompt.user_id for prompt in prompts} - {""}:
        of_user = [prompt for prompt in prompts if prompt.user_id == user]
        assert [prompt for prompt in result.kept if prompt.user_id == user] == of_user[:cap]
    assert [p for p in result.kept if not p.user_id] == [p for p in prompts if not p.user_id]


@given(PROMPT_LISTS, st.integers(0, 3))
@settings(deadline=None)
def test_split_by_fractions_never_divides_a_user(prompts: list[Prompt], seed: int) -> None:
    fractions = {"train": 0.5, "valid": 0.25, "test": 0.25}
    split = split_by_user(prompts, fractions=fractions, seed=seed)
    check_user_splits(split)
    assert [replace(p, split="train") for p in split] == prompts
    # A user's split does not depend on the other rows or their order.
    again = split_by_user(prompts[::-1][: len(prompts) // 2], fractions=fractions, seed=seed)
    assert {p.prompt_id: p.split for p in again}.items() <= {p.prompt_id: p.split for p in split}.items()


@given(st.text(max_size=80))
@example("[PHONE] 12345678 a@b.org555-0123")
@example("password: hunter22a@b.org")
@example("4111111111111111@b.org")
@example("https://jo:pass@a.example/x")
@settings(deadline=None)
def test_masked_text_has_nothing_left_to_find(text: str) -> None:
    masked = mask_pii(text)
    assert find_pii(masked) == []
    assert mask_pii(masked) == masked
    findings = find_pii(text)
    assert (masked == text) == (findings == [])
    assert all(a.end <= b.start for a, b in zip(findings, findings[1:], strict=False))


# ---------------------------------------------------------------- personal data


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Mail jo.lee+x@mail.example.org.", "Mail [EMAIL]."),
        ("call 555-0123 now", "call [PHONE] now"),
        ("my phone number is 030 1234567", "my phone number is [PHONE]"),
        ("ring +49 30 1234567", "ring [PHONE]"),
        ("(415) 555-2671 or 415-555-2672", "[PHONE] or [PHONE]"),
        ("ssn 123-45-6789", "ssn [SSN]"),
        ("card 4111 1111 1111 1111!", "card [CREDIT_CARD]!"),
        ("card 5500-0000-0000-0004", "card [CREDIT_CARD]"),
        ("from 192.0.2.14.", "from [IPV4]."),
        ("see https://a.example/x?id=1&token=abcd1234 and", "see [URL_TOKEN] and"),
        ("see https://jo:pass@a.example/x", "see [URL_TOKEN]"),
        ("use sk-abcdefghijklmnop1234", "use [API_KEY]"),
        ("AKIAABCDEFGHIJKLMNOP", "[API_KEY]"),
        ("ghp_abcdefghijklmnopqrst12", "[API_KEY]"),
        ("the password is hunter22", "the [PASSWORD]"),
        ("mina@school.example로 보내세요", "[EMAIL]로 보내세요"),  # Korean particles follow without a blank
        ("번호는 900101-1234567입니다", "번호는 [RESIDENT_NUMBER]입니다"),
        ("010-1234-5678로, 01012345678로, 02-312-3456로", "[PHONE]로, [PHONE]로, [PHONE]로"),
        ("+82 10-1234-5678", "[PHONE]"),
    ],
)
def test_pii_is_found_and_masked(text: str, masked: str) -> None:
    assert mask_pii(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "What is 12 + 13?",
        "the war of 1914-1918",
        "on 2024-01-15 10:30",
        "10,000,000 people",
        "pi is 3.14159265358979",
        "card 4111 1111 1111 1112",  # wrong check digit
        "0000 0000 0000 0000",
        "ssn 666-45-6789",
        "version 1.2.3",
        "256.1.1.1",
        "127.0.0.1 is the machine itself",
        "https://en.example.org/wiki/Token?page=2",
        "What is a password?",
        "The password is secret",
        "call me in 5 or 10 minutes",
        "write @ someone",
        "991301-1234567",  # no date
        "0.12 - 345 - 6789",
    ],
)
def test_ordinary_text_is_not_personal_data(text: str) -> None:
    assert find_pii(text) == []


def test_luhn() -> None:
    assert luhn("79927398713")
    assert not any(luhn(f"7992739871{d}") for d in "012456789")


def test_pii_is_dropped_from_the_train_split_only() -> None:
    prompts = [Prompt("a", "mail a@b.org"), Prompt("b", "mail a@b.org", split="test")]
    result = drop_pii(prompts)
    assert [p.prompt_id for p in result.kept] == ["b"]
    assert result.dropped[0].detail == "email"
    assert drop_pii(prompts, splits=("train", "test")).kept == []


# ---------------------------------------------------------------- language


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "Translate to French: I am a man",
        "Say hello in Japanese: こんにちは",
        "apple, pear, plum, fig",
        "def f(x): return x",
        "Bonjour",
        "",
        "sort o, e, é, a",
        "Who wrote Les Misérables?",
        "Write about the Champs-Élysées and die Katze",
        "Yih et al, 2016 and Kim et al, 2017",
        "Los Angeles pizza",
        "Translate into English what the man said: das ist sehr gut",
    ],
)
def test_english_and_undecided_text_stays(text: str) -> None:
    assert foreign_language(text) == ""


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Was ist die Hauptstadt von Frankreich?", "german"),
        ("Wie heißt du?", "german"),
        ("¿Cuál es la capital de Francia?", "spanish"),
        ("Quelle est la capitale de la France ?", "french"),
        ("Qual è il colore del cielo?", "italian"),
        ("Qual é a capital do Brasil e quem é você?", "portuguese"),
        ("Wat is het grootste dier van de wereld?", "dutch"),
        ("Сколько будет 2+2?", "script"),
        ("世界上最大的动物是什么?", "script"),
        ("Napisz krótką historię o lisie i niedźwiedziu w lesie.", "unknown"),
        ("Täna õhtul lähme kõik koos metsa, sest väljas päike särab", "unknown"),
    ],
)
def test_other_languages_are_recognised(text: str, language: str) -> None:
    assert foreign_language(text) == language


# ---------------------------------------------------------------- duplicates, length, order of steps


def test_normalised_prompts_are_equal_but_arithmetic_is_not() -> None:
    assert normalise("What's  the SUM?!") == normalise("“whats the sum”")
    assert texts(deduplicate(rows("3 + 4?", "3 - 4?", "3 + 4"), 64).kept) == ["3 + 4?", "3 - 4?"]
    assert texts(deduplicate(rows("???", "!!!", "..."), 64).kept) == ["???", "!!!", "..."]


def test_long_common_prefix_is_a_duplicate_for_customers_only() -> None:
    same = ["Write a story about a frog who sings", "Write a story about a frog who swims"]
    assert texts(deduplicate(rows(*same), 20).kept) == same[:1]
    assert texts(deduplicate(rows(*same), 40).kept) == same
    assert texts(deduplicate(rows(*same, source="labeler_few_shot"), 20).kept) == same
    assert texts(deduplicate(rows("ten frogs!", "ten frogs sing"), 9).kept) == ["ten frogs!"]  # just as long
    assert deduplicate(rows(*same), 20).dropped[0].detail == "same first 20 characters as p0"


PREAMBLE = "Below is an instruction that describes a task. Write a response that completes it."
ASKED = [f"What does animal number {i} eat in the {season}?" for i in range(30) for season in ("spring", "autumn")]


@pytest.mark.parametrize(
    "template",
    [
        PREAMBLE + "\n\n### Instruction:\n{}\n\n### Response:",
        "You are a helpful and honest assistant who answers briefly and kindly at all times.\n\n{}",
        "You are a helpful and honest assistant who answers briefly.\n\n"
        + PREAMBLE
        + "\n\n{} Explain it in many words and take "
        "your time to do so, please.",
    ],
)
def test_a_shared_preamble_makes_no_duplicate(template: str) -> None:
    prompts = rows(*(template.format(text) for text in ASKED))
    config = replace(CONFIG, dedup_prefix_chars=64, max_prompt_tokens=999)
    assert clean_prompts(prompts, config).kept == prompts
    mixed = rows(*(template.format(text) if i % 2 else text for i, text in enumerate(ASKED)))
    assert clean_prompts(mixed, config).kept == mixed
    again = [*prompts, *rows(*(template.format(text.upper()) for text in ASKED))]
    once = clean_prompts(again, config)
    assert once.kept == prompts and clean_prompts(once.kept, config).dropped == []


def test_two_preambles_one_within_the_other() -> None:
    system = "You are a helpful and honest assistant who answers briefly and kindly at all times. "
    prompts = rows(*(system + (PREAMBLE if i % 2 else "") + text for i, text in enumerate(ASKED)))
    assert clean_prompts(prompts, replace(CONFIG, dedup_prefix_chars=64, max_prompt_tokens=999)).kept == prompts


def test_a_few_prompts_that_begin_alike_are_still_duplicates() -> None:
    prompts = rows(*(f"{PREAMBLE} {text}" for text in ASKED[:3]), *(f"{i} {text}" for i, text in enumerate(ASKED)))
    assert len(clean_prompts(prompts, replace(CONFIG, dedup_prefix_chars=64, max_prompt_tokens=999)).kept) == 1 + len(ASKED)


def test_every_filter_has_an_off_switch() -> None:
    prompts = rows(
        "Was ist die Hauptstadt von Polen?", "Write to jo@example.org", "one frog eats", "one frog eats flies", user_id="u"
    )
    off = replace(CONFIG, language="any", pii_filter=False, dedup_prefix_chars=0, cap_per_user=0)
    assert clean_prompts(prompts, off).kept == prompts
    assert texts(clean_prompts(rows("one frog", "One frog!", "one"), off).kept) == ["one frog", "one"], (
        "equal prompts stay once"
    )


@pytest.mark.parametrize("language", ["german", "spanish", "french"])
def test_another_language_can_be_asked_for(language: str) -> None:
    prompts = rows(
        "Was ist die Hauptstadt von Polen?",
        "¿Cuál es la capital de Francia?",
        "Quelle est la capitale de la France ?",
        "What is the capital of France?",
    )
    kept = clean_prompts(prompts, replace(CONFIG, language=language)).kept
    assert kept == [prompts[("german", "spanish", "french").index(language)]]


def test_the_languages_of_the_settings_are_those_that_can_be_told() -> None:
    assert set(LANGUAGES) == set(FUNCTION_WORDS)


def test_each_reason_of_cleaning_is_counted_with_the_setting_that_keeps_the_prompts() -> None:
    prompts = rows(
        " ",
        "word " * 31,
        "word word " * 31,
        "Was ist die Hauptstadt von Polen?",
        "Write to jo@example.org",
        "What is rain made of?",
        "what is RAIN made of",
        "what is rain made of really",
        "one frog",
        "two frogs",
        "three frogs",
        user_id="u1",
    )
    result = clean_prompts(prompts, CONFIG)
    found = left_out_by_cleaning(result, CONFIG, lambda prompt: prompt.prompt_id)
    assert [(entry.count, entry.setting.partition(",")[0], entry.first) for entry in found] == [
        (1, "", "p0"),
        (2, "data.max_prompt_tokens=30", "p1"),
        (1, "data.language=auto", "p3"),
        (1, "data.pii_filter=true", "p4"),
        (1, "", "p6"),
        (1, "data.dedup_prefix_chars=12", "p7"),
        (1, "data.cap_per_user=3", "p10"),
    ]
    assert sum(entry.count for entry in found) == len(result.dropped)
    assert all("jo@example.org" not in entry.line() for entry in found)


def test_length_by_function_words_and_tokenizer() -> None:
    class Tokenizer:
        chat_template = bos_token_id = eos_token_id = None

        def encode(self) -> None: ...

        def __call__(self, text: str | list[str], **_: object) -> dict[str, list]:
            return {"input_ids": list(text.encode()) if isinstance(text, str) else [list(t.encode()) for t in text]}

    prompts = rows("a b c", "abcdefgh")
    assert texts(clean_prompts(prompts, replace(CONFIG, max_prompt_tokens=2)).kept) == ["abcdefgh"]
    assert texts(clean_prompts(prompts, replace(CONFIG, max_prompt_tokens=5), len).kept) == ["a b c"]
    # With the tokenizer the suffix counts, as it is part of what the models read.
    assert texts(clean_prompts(prompts, replace(CONFIG, max_prompt_tokens=6), Tokenizer()).kept) == ["a b c"]  # type: ignore[arg-type]
    assert texts(clean_prompts(prompts, replace(CONFIG, max_prompt_tokens=5), Tokenizer()).kept) == []  # type: ignore[arg-type]
    assert drop_too_long(prompts, count_words, 2).dropped[0].detail == "length 3, at most 2"


def test_expected_texts_are_encoded_in_one_call_and_any_other_when_asked() -> None:
    calls: list[int] = []

    class Tokenizer:
        chat_template = bos_token_id = eos_token_id = None

        def encode(self) -> None: ...

        def __call__(self, text: str | list[str], **_: object) -> dict[str, list]:
            calls.append(1 if isinstance(text, str) else len(text))
            return {"input_ids": list(text.encode()) if isinstance(text, str) else [list(t.encode()) for t in text]}

    expected = ["a b c", " ", "a b c", "abcdefgh"]
    length = token_length(Tokenizer(), CONFIG, expected)  # type: ignore[arg-type]
    made = len(calls)
    assert max(calls) == 2  # each text once, and no text that cleaning drops as empty
    assert [length(text) for text in ("a b c", "abcdefgh")] == [6, 9] and len(calls) == made  # with the suffix
    assert length("new") == 4 and len(calls) > made


def test_every_reason_in_the_table_with_its_count() -> None:
    prompts = rows(
        " ", "word " * 31, "Was ist die Hauptstadt von Polen?", "Write to jo@example.org", "What is rain?",
        "what is RAIN", "one frog", "two frogs", "three frogs", user_id="u1",
    )  # fmt: skip
    result = clean_prompts(prompts, CONFIG)
    assert texts(result.kept) == ["What is rain?", "one frog", "two frogs"]
    table = cleaning_table(result)
    assert [row["reason"] for row in table] == [*REASONS, "kept"]
    assert [row["prompts"] for row in table] == [1, 1, 1, 1, 1, 1, 3]
    assert sum(row["share %"] for row in table) == pytest.approx(100)
    assert table[3]["example"] == "Write to [EMAIL] (email)"
    kept = texts(clean_prompts(prompts, replace(CONFIG, pii_filter=False)).kept)
    assert "Write to jo@example.org" in kept


def test_cleaning_table_of_nothing() -> None:
    assert cleaning_table(clean_prompts([], CONFIG))[-1] == {"reason": "kept", "prompts": 0, "share %": 0.0}


def test_deduplicate_is_linear() -> None:
    # 50,000 prompts that share 40 characters: comparing all pairs would take minutes.
    prompts = rows(*(f"{'the same beginning of forty characters, ':40}{i}" for i in range(50_000)))
    assert len(deduplicate(prompts, 64).kept) == 50_000


# ---------------------------------------------------------------- split


def test_split_by_counts_is_exact_and_by_user() -> None:
    prompts = [Prompt(f"p{i}", f"text {i}", user_id=f"u{i % 37}" if i % 2 else "") for i in range(300)]
    split = split_by_user(prompts, counts={"valid": 40, "test": 90}, seed=1)
    assert Counter(p.split for p in split) == {"train": 170, "valid": 40, "test": 90}
    check_user_splits(split)
    assert split == split_by_user(prompts, counts={"valid": 40, "test": 90}, seed=1)
    assert split != split_by_user(prompts, counts={"valid": 40, "test": 90}, seed=2)


def test_split_by_counts_takes_whole_users_only() -> None:
    prompts = [Prompt(f"p{i}", f"text {i}", user_id=f"u{i % 20}") for i in range(220)]  # 11 each
    split = split_by_user(prompts, counts={"valid": 46, "test": 100}, seed=1)
    assert Counter(p.split for p in split) == {"train": 77, "valid": 44, "test": 99}
    check_user_splits(split)


def test_split_counts_that_cannot_be_met() -> None:
    one_user = [Prompt(f"p{i}", f"text {i}", user_id="u") for i in range(10)]
    with pytest.raises(UserError, match="10 prompts of 1 users cannot be split by user into 5 valid and a rest for train"):
        split_by_user(one_user, counts={"valid": 5}, seed=1)
    with pytest.raises(UserError, match="ask for fewer"):
        split_by_user(rows("a", "b"), counts={"test": 2}, seed=1)
    with pytest.raises(ValueError, match="either"):
        split_by_user(one_user, seed=1)


def test_split_shares_are_near_the_fractions() -> None:
    prompts = rows(*(f"text {i}" for i in range(2000)))
    counts = Counter(p.split for p in split_by_user(prompts, fractions={"train": 8, "valid": 1, "test": 1}, seed=1))
    assert counts["train"] == pytest.approx(1600, abs=80) and counts["test"] == pytest.approx(200, abs=60)


def test_a_given_split_is_kept_and_checked() -> None:
    given_split = [Prompt("a", "x", user_id="u"), Prompt("b", "y", user_id="v", split="test")]
    assert split_by_user(given_split, fractions={"train": 0.1, "test": 0.9}, seed=3) == given_split
    divided = [*given_split, Prompt("c", "z", user_id="u", split="test")]
    with pytest.raises(UserError, match="Prompt c is in the split 'test' but user u is already in 'train'"):
        split_by_user(divided, fractions={"train": 1.0}, seed=1)
    with pytest.raises(UserError, match="but the same text is already in 'train'"):
        check_user_splits([Prompt("a", "X y?"), Prompt("b", "x y", split="valid")])
    with pytest.raises(UserError, match="has the split 'dev': write one of train, valid, test"):
        check_user_splits([Prompt("a", "x", split="dev")])


def test_a_missing_split_is_taken_from_train_by_user_and_said() -> None:
    prompts = [Prompt(f"p{i}", f"text {i}", user_id=f"u{i % 20}", split="test" if i % 20 == 0 else "train") for i in range(200)]
    notes = Notes()
    filled = fill_splits("mine.jsonl", prompts, ("valid", "test"), 1, notes)
    counts = Counter(p.split for p in filled)
    assert counts["test"] == 10 and counts["valid"] == 20 and counts["train"] == 170
    check_user_splits(filled)
    assert notes.remarks == ["mine.jsonl: no row is in the split valid, so 20 of its 190 training rows are taken for it."]
    assert fill_splits("mine.jsonl", filled, ("valid", "test"), 1, Notes()) == filled


@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_one_user_is_divided_by_prompt_where_a_split_is_missing(n: int) -> None:
    prompts = [Prompt(f"p{i}", f"text {i}", user_id="u") for i in range(n)]
    counts = Counter(p.split for p in fill_splits("mine.jsonl", prompts, ("valid", "test"), 1, Notes()))
    assert counts["train"] >= 1 and counts["valid"] >= 1 and (n == 2 or counts["test"] >= 1)
    assert fill_splits("mine.jsonl", prompts[:1], ("valid",), 1, Notes()) == prompts[:1]


def test_the_prompt_and_not_the_user_divides_rankings() -> None:
    rankings = [Comparison(f"{i}", f"text {i % 10}", ("a", "b"), (1, 2)) for i in range(40)]
    filled = fill_splits("mine.jsonl", rankings, ("test",), 1, Notes())
    assert Counter(row.split for row in filled) == {"train": 36, "test": 4}
    assert len({row.prompt for row in filled if row.split == "test"}) == 1


def test_leak_between_sets_is_found() -> None:
    prompts = [Prompt("a", "What is rain?", split="test")]
    demonstrations = [Demonstration("b", "what is rain", "Water.", split="train")]
    with pytest.raises(UserError, match="Prompt b is in the split 'train' of the demonstrations but in 'test' of the pr"):
        check_leaks(dict(prompts=prompts, demonstrations=demonstrations))
    check_leaks(dict(prompts=prompts, demonstrations=[replace(demonstrations[0], split="test")]))


# ---------------------------------------------------------------- tables


def test_table_1_is_the_paper_s() -> None:
    assert set(TABLE_1) == set(USE_CASES)
    assert sum(TABLE_1.values()) == pytest.approx(99.9)  # the printed figures are rounded


def test_use_case_table() -> None:
    table = use_case_table(rows("a", "b", use_case="chat") + rows("c", "d"))
    shares = {row["use case"]: row["share %"] for row in table}
    assert shares["chat"] == 50.0 and shares["other"] == 50.0 and shares["generation"] == 0.0
    assert [row["use case"] for row in table][0] == "generation" and table[-1]["use case"] == "other"


def test_length_table_matches_hand_count() -> None:
    prompts = rows("a", "a b", "a b c", "a b c d e f")
    (row,) = length_table(prompts)
    expected = {"n": 4, "mean": 3.0, "min": 1, "q25": 1.75, "median": 2.5, "q75": 3.75, "max": 6}
    assert {key: row[key] for key in expected} == expected
    assert row["sd"] == pytest.approx((((1 - 3) ** 2 + 1 + 0 + 9) / 3) ** 0.5)
    by_use_case = length_table({"PPO": prompts}, len, by="use_case")
    assert by_use_case[0]["set"] == "PPO" and by_use_case[0]["max"] == 11


def test_user_and_source_tables() -> None:
    prompts = [
        Prompt("a", "x", user_id="u"),
        Prompt("b", "y", user_id="u"),
        Prompt("c", "z"),
        Prompt("d", "w", source="labeler_plain", user_id="l", split="valid"),
    ]
    assert prompts_per_user_table(prompts) == [
        {"set": "prompts", "split": "train", "prompts": 3, "users": 2, "mean": 1.5, "max": 2}
    ]
    assert source_table({"RM": prompts, "PPO": prompts[:2]}) == [
        {"split": "train", "source": "customer", "RM": 3, "PPO": 2},
        {"split": "valid", "source": "labeler_plain", "RM": 1, "PPO": 0},
    ]


def test_shorten_masks_before_it_cuts() -> None:
    assert shorten("write to somebody@example.org " + "x" * 80, 20) == "write to [EMAIL] xx…"


def test_the_tiny_world_s_prompts_come_out_clean() -> None:
    prompts = known_world("tiny").make_prompts(3, {"train": 1500, "valid": 100, "test": 200})
    config = DataConfig()
    result = clean_prompts(prompts, config)
    dropped = Counter(d.reason for d in result.dropped)
    assert set(dropped) == set(REASONS)
    assert dropped["language"] == pytest.approx(0.01 * len(prompts), rel=0.6)
    assert len({normalise(prompt.prompt) for prompt in result.kept}) == len(result.kept)
    assert max(Counter(prompt.user_id for prompt in result.kept).values()) == config.cap_per_user
    assert all(prompt.prompt.isascii() for prompt in result.kept)
    assert not any("@" in prompt.prompt for prompt in result.kept if prompt.split == "train")
    check_user_splits(result.kept)
    check_leaks(dict(prompts=result.kept))
