"""Sampling of the outputs that labelers rank: shares of the mix, streams of their own, answers made from others."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import make_base

from utils.config import DataConfig, SamplingConfig
from utils.core.errors import UserError
from utils.data.encoding import decode_response
from utils.data.schemas import Prompt
from utils.sampling.sampler import Draw, Response, Sampler, allot, completions_to_rank, repeated

DATA = DataConfig(max_response_tokens=8)
PROMPTS = [Prompt(f"p{i}", f"Describe thing {i}.", ("chat", "rewrite", "extract")[i % 3]) for i in range(60)]
SAMPLED = ("sft", "sft_hot", "init", "base", "prompted")
MADE = ("other_same_task", "other_any_task", "repeated")
MIX = dict(zip((*SAMPLED, *MADE), (3.0, 1.0, 2.0, 0.5, 0.5, 1.0, 0.7, 0.3), strict=True))
NINE = SamplingConfig(k_min=9, k_max=9, mix=MIX)

mixes = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 5), min_size=1).filter(lambda m: sum(m.values()) > 0.1)


@settings(deadline=None)
@given(mixes, st.integers(2, 12), st.floats(0, 1, exclude_max=True))
def test_allot_gives_every_policy_its_share_up_to_one(mix: dict[str, float], k: int, offset: float) -> None:
    names = allot(mix, k, offset)
    assert len(names) == k
    for name, weight in mix.items():
        share = k * weight / sum(mix.values())
        assert abs(names.count(name) - share) < 1 + 1e-6


def test_allot_is_exact_on_average() -> None:
    mix = {"a": 3.0, "b": 0.5, "c": 0.0}
    counts = Counter(name for i in range(1000) for name in allot(mix, 4, i / 1000))
    assert counts["a"] / 4000 == pytest.approx(3 / 3.5, abs=0.002) and counts["c"] == 0


def test_repeated_says_the_last_words_again() -> None:
    for seed in range(50):
        found = repeated(Response("A fox ran home.", True), random.Random(seed))
        words = found.text.split()
        tail = words[4:]
        assert words[:4] == "A fox ran home.".split() and 2 <= len(tail) <= 12
        assert set(tail) <= {"fox", "ran", "home."} and tail[-1] == "home."
    assert repeated(Response("", False), random.Random(0)).text.split()[0] == "the"


# --- the K outputs of a prompt -------------------------------------------------------------------------------------


def fake(name: str) -> Draw:
    """A policy whose answer says who was asked what, from which stream."""

    def draw(prompts: Sequence[str], names: Sequence[str]) -> list[Response]:
        return [Response(f"{name}: {p} [{n}]", True) for p, n in zip(prompts, names, strict=True)]

    return draw


FAKES = {name: fake(name) for name in SAMPLED}


def ranked(cfg: SamplingConfig, prompts: Sequence[Prompt] = PROMPTS, seed: int = 1) -> list[list[tuple[str, Response]]]:
    return completions_to_rank(prompts, FAKES, cfg, seed)


def test_every_prompt_gets_k_outputs_in_the_shares_of_the_mix() -> None:
    cfg = SamplingConfig(k_min=4, k_max=9, mix=MIX)
    rows = ranked(cfg)
    assert {len(row) for row in rows} == set(range(4, 10))
    counts = Counter(name for row in rows for name, _ in row)
    total = sum(counts.values())
    for name, weight in MIX.items():
        assert counts[name] / total == pytest.approx(weight / sum(MIX.values()), abs=0.035)


def test_sampled_outputs_answer_their_own_prompt_from_streams_of_their_own() -> None:
    streams = []
    for prompt, row in zip(PROMPTS, ranked(NINE), strict=True):
        for name, response in row:
            if name in SAMPLED:
                assert response.text.startswith(f"{name}: {prompt.prompt} [rank/{name}/{prompt.prompt_id}/")
                streams.append(response.text)
    assert len(streams) == len(set(streams))


def test_other_outputs_answer_another_prompt_and_repeated_ones_the_same() -> None:
    by_text = {p.prompt: p for p in PROMPTS}
    seen: Counter[str] = Counter()
    for prompt, row in zip(PROMPTS, ranked(NINE), strict=True):
        for name, response in row:
            if name in SAMPLED:
                continue
            source = by_text[response.text.split(": ")[1].split(" [")[0]]
            seen[name] += 1
            if name == "repeated":
                assert source == prompt
            else:
                assert source != prompt
            if name == "other_same_task":
                assert source.use_case == prompt.use_case
    assert set(seen) == set(MADE)


def test_places_tell_nothing_of_the_policy() -> None:
    first = Counter(row[0][0] for row in ranked(NINE, [Prompt(f"q{i}", f"{i}.") for i in range(900)]))
    assert first["sft"] / 900 == pytest.approx(1 / 3, abs=0.06)
    assert first["init"] / 900 == pytest.approx(2 / 9, abs=0.06)


def test_outputs_depend_on_seed_and_prompt_alone() -> None:
    cfg = NINE
    assert ranked(cfg) == ranked(cfg)
    assert ranked(cfg) != ranked(cfg, seed=2)
    own = [[r for r in row if r[0] in SAMPLED] for row in ranked(cfg)]
    alone = [[r for r in row if r[0] in SAMPLED] for row in ranked(cfg, PROMPTS[:7])]
    assert [sorted(map(str, row)) for row in alone] == [sorted(map(str, row)) for row in own[:7]]


def test_a_single_prompt_can_be_ranked() -> None:
    (row,) = ranked(NINE, PROMPTS[:1])
    assert len(row) == 9


def test_a_mix_of_mostly_made_outputs_works_and_one_of_nothing_else_is_refused() -> None:
    mix = dict.fromkeys(MIX, 0.0) | {"base": 0.5, "repeated": 2.0, "other_same_task": 2.0}
    rows = ranked(SamplingConfig(k_min=2, k_max=2, mix=mix))
    assert all(len(row) == 2 for row in rows)
    with pytest.raises(UserError, match="sampling.mix has no policy that answers prompts: give sft or"):
        ranked(SamplingConfig(mix=mix | {"base": 0.0}))


def test_near_misses_are_right_and_wrong_answers_in_turn() -> None:
    def pair(prompt: Prompt, rng: random.Random) -> tuple[str, str]:
        number = rng.randrange(10**9)
        return f"right {number}", f"wrong {number}"

    cfg = SamplingConfig(k_min=6, k_max=6, mix=dict.fromkeys(MIX, 0.0) | {"sft": 1.0, "near_miss": 1.0})
    rows = completions_to_rank(PROMPTS, FAKES, cfg, 1, pair)
    for row in rows:
        texts = sorted(response.text for name, response in row if name == "near_miss")
        assert all(response.finished for name, response in row if name == "near_miss")
        assert len(texts) == 3  # one pair, and the right answer of a second one
        numbers = Counter(text.split()[1] for text in texts)
        assert sorted(numbers.values()) == [1, 2]
        (whole,) = (number for number, times in numbers.items() if times == 2)
        assert f"wrong {whole}" in texts
    assert len({response.text for row in rows for _, response in row}) == sum(map(len, rows))
    with pytest.raises(UserError, match="sampling.mix has near_miss, which only a world can write: set its share to 0"):
        ranked(cfg)


# --- text in, text out ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("sampling") / "base")


ASKED = ["What is an otter?", "List three colors.", "I lost my hat."]
NAMES = ["a", "b", "c"]


def test_a_response_depends_on_its_stream_and_not_on_its_batch(base: Path) -> None:
    sampler = Sampler.load(base, DATA)
    together = sampler(ASKED, seed=1, names=NAMES)
    small = Sampler.load(base, DATA, batch_size=1)
    assert [small([p], seed=1, names=[n])[0] for p, n in zip(ASKED, NAMES, strict=True)] == together
    assert sampler(ASKED[::-1], seed=1, names=NAMES[::-1]) == together[::-1]
    assert sampler(ASKED, seed=2, names=NAMES) != together != sampler(ASKED, seed=1, names=["x", "y", "z"])


def test_a_response_keeps_its_tokens(base: Path) -> None:
    sampler = Sampler.load(base, DATA)
    for response in sampler(ASKED, seed=1, names=NAMES):
        assert 0 < len(response.ids) <= DATA.max_response_tokens
        assert decode_response(sampler.tokenizer, response.ids) == (response.text, response.finished)


def test_temperature_0_is_greedy(base: Path) -> None:
    sampler = Sampler.load(base, DATA)
    greedy = sampler(ASKED, seed=1, names=NAMES, temperature=0.0)
    assert greedy == sampler(ASKED, seed=9, names=["x", "y", "z"], temperature=0.0)
    assert greedy != sampler(ASKED, seed=1, names=NAMES)


def test_the_prompted_base_is_asked_in_its_template(base: Path) -> None:
    plain, prompted = Sampler.load(base, DATA), Sampler.load(base, DATA, prompted=True)
    decoded = prompted.tokenizer.decode(prompted.encode(ASKED[0]))
    assert decoded.strip() == "Question: What is an otter?\n Answer:"
    assert plain.tokenizer.decode(plain.encode(ASKED[0])).strip() == ASKED[0]
    assert plain.encode(ASKED[0]) != plain.encode("What is an otter?{prompt}")
