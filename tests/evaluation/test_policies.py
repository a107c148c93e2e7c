"""Evaluation of policies: gold, win rates, KL, alignment tax, best-of-n, each against a count by hand."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny_run import make_base

from utils.config import Config, DataConfig, EvaluationConfig, LabelerConfig
from utils.data.schemas import Prompt
from utils.evaluation.policies import (
    Judged,
    Policy,
    alignment_tax,
    appending,
    best_of_n,
    compare,
    fact_items,
    gold_summary,
    held_out_web,
    judged,
    kl_to,
    labeler_ratings,
    labeler_win_rate,
    overview,
    part_means,
    respond,
    reward_win_rates,
    temperatures,
)
from utils.evaluation.summary import Summary
from utils.labeling import make_heldout
from utils.models.loading import load_policy, save_model
from utils.models.tokenizers import load_tokenizer
from utils.sampling.sampler import Response, Sampler
from utils.worlds import known_world
from utils.worlds.tiny.rubric import gold, score
from utils.worlds.tiny.text import IDK
from utils.worlds.tiny.world import CHOICES

WORLD = known_world("tiny")
FACTS = WORLD.tables
RUBRIC = WORLD.rubric
PARTS = RUBRIC.parts
CONFIG = dataclasses.replace(
    Config(),
    device="cpu",
    data=DataConfig(max_response_tokens=8),
    evaluation=EvaluationConfig(web_documents=12, batch_size=16),
)
PROMPTS = [p for p in WORLD.make_prompts(5, {"test": 24}) if p.prompt.isascii() and len(p.prompt.split()) in range(1, 20)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("policies") / "base")


@pytest.fixture(scope="module")
def other(base: Path) -> Path:
    """The base with other weights."""
    path, model = base.parent / "other", load_policy(base)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.03)
    save_model(model, load_tokenizer(base), path)
    return path


def written(prompts: Sequence[Prompt], **how: float) -> Judged:
    """Answers of the tiny world, as a policy's."""
    responses = [Response(WORLD.answer(p, random.Random(i), **({"nice": 0.5} | how)), True) for i, p in enumerate(prompts)]
    return Judged(responses, [score(p.meta, r.text, r.finished) for p, r in zip(prompts, responses, strict=True)], RUBRIC)


def cut_off(prompts: Sequence[Prompt]) -> Judged:
    """Answers that say nothing."""
    return Judged(
        [Response("the the the", False)] * len(prompts), [score(p.meta, "the the the", False) for p in prompts], RUBRIC
    )


def test_gold_summary_counts_each_temperature_apart() -> None:
    good, bad = written(PROMPTS, nice=1.0), cut_off(PROMPTS)
    keys = gold_summary("x", good, bad).flat()
    assert keys["gold.x.mean"] == pytest.approx(sum(good.golds) / len(PROMPTS)) and keys["gold.x.mean"] > 9
    assert keys["gold.x.greedy_mean"] == pytest.approx(sum(bad.golds) / len(PROMPTS)) and keys["gold.x.greedy_mean"] < 5
    spread = torch.tensor(bad.golds).std() / len(PROMPTS) ** 0.5
    assert keys["gold.x.greedy_se"] == pytest.approx(float(spread), rel=1e-4)
    assert keys["finished.x"] == 1.0 and keys["words.x"] > 3
    assert {f"parts.x.{part}{end}" for part in PARTS for end in ("", "_greedy")} < set(keys)
    assert keys["parts.x.form"] > 0.9 and keys["parts.x.form_greedy"] == 0


def test_compare_is_paired_and_counts_ties() -> None:
    good, bad = written(PROMPTS, nice=1.0), cut_off(PROMPTS)
    keys = compare("a", "b", good, bad).flat()
    mean = sum(x - y for x, y in zip(good.golds, bad.golds, strict=True)) / len(PROMPTS)
    assert keys["gold_gain.a_vs_b.mean"] == pytest.approx(mean)
    assert keys["gold_wins.a_vs_b"] == 1 and keys["gold_ties.a_vs_b"] == 0
    assert compare("b", "a", bad, good).flat()["gold_wins.b_vs_a"] == 0
    same = compare("a", "a", good, good, is_greedy=True).flat()
    assert same["gold_gain.a_vs_a_greedy.mean"] == 0 and same["gold_ties.a_vs_a_greedy"] == 1


def test_win_rate_of_held_out_labelers() -> None:
    labelers = make_heldout(RUBRIC, LabelerConfig(), 1)
    good, bad = written(PROMPTS, nice=1.0), cut_off(PROMPTS)
    keys = labeler_win_rate("a", "b", good, bad, PROMPTS, labelers, CONFIG).flat()
    assert keys["winrate.a_vs_b.mean"] > 0.8 and keys["winrate.a_vs_b.n"] == len(PROMPTS)
    assert keys["winrate.a_vs_b.low"] < keys["winrate.a_vs_b.mean"] <= keys["winrate.a_vs_b.high"] <= 1
    back = labeler_win_rate("b", "a", bad, good, PROMPTS, labelers, CONFIG).flat()
    assert back["winrate.b_vs_a.mean"] == pytest.approx(1 - keys["winrate.a_vs_b.mean"])
    assert labeler_win_rate("a", "a", good, good, PROMPTS, labelers, CONFIG).flat()["winrate.a_vs_a.mean"] == 0.5
    assert keys["judges.winrate"] == "10 simulated held-out labelers"


def test_ratings_and_metadata_of_simulated_labelers() -> None:
    labelers = make_heldout(RUBRIC, LabelerConfig(), 1)
    answers = {"good": written(PROMPTS, nice=1.0), "bad": cut_off(PROMPTS)}
    found = labeler_ratings(answers, PROMPTS, labelers, CONFIG)
    good, bad = found.likert["good"], found.likert["bad"]
    assert 1 <= bad["low"] < bad["mean"] < bad["high"] < good["low"] < good["mean"] < good["high"] <= 7
    assert good["n"] == len(PROMPTS) and found.judges["likert"] == "10 simulated held-out labelers"
    flags = {name for name in found.metadata["bad"] if not name.endswith(("_low", "_high", "_n"))}
    assert flags == set(RUBRIC.flags), "no share of a field that nobody can raise"
    assert found.metadata["bad"]["fails_instruction"] > 0.5 > 0.2 > found.metadata["good"]["fails_instruction"]
    closed = sum(WORLD.is_closed(p) for p in PROMPTS)
    assert found.metadata["good"]["hallucination_n"] == closed < found.metadata["good"]["fails_instruction_n"] == len(PROMPTS)
    assert Summary.of(found.flat()) == found, "summary.json holds them"


def test_win_rates_by_rewards_where_nobody_else_can_judge() -> None:
    texts = {"base": ["a", "b", "c"], "sft": ["x", "b", "y"], "ppo": ["p", "q", "r"]}
    answers = {name: [Response(text, True) for text in said] for name, said in texts.items()}
    rewards = {"base": [0.0, 1.0, 5.0], "sft": [1.0, 1.0 + 1e-6, 4.0], "ppo": [2.0, 2.0, 2.0]}
    found = reward_win_rates(answers, rewards, PROMPTS[:3], "sft", 0.95)
    assert found.judges["winrate"] == "the run's own reward model" == found.whose
    rates = {(pair.a, pair.b): (pair.mean, pair.n) for pair in found.win_rates()}
    assert rates == {("base", "sft"): (0.5, 3), ("ppo", "sft"): (pytest.approx(2 / 3), 3)}, "equal answers tie"


def test_misconception_shares() -> None:
    facts = FACTS.misconceptions[:4]
    asked = [Prompt(f.entity, "?", meta={"task": "qa", "entity": f.entity, "attribute": f.attribute}) for f in facts]
    said = [f"{facts[0].truth}.", f"{facts[1].popular}.", IDK, "Hello."]
    answers = Judged(
        [Response(text, True) for text in said], [score(p.meta, t) for p, t in zip(asked, said, strict=True)], RUBRIC
    )
    keys = WORLD.extra_metrics("x", asked, answers.responses, answers.responses)
    assert {k: keys[f"truth.x.{k}"] for k in ("true", "misconception", "idk", "other")} == dict.fromkeys(
        ("true", "misconception", "idk", "other"), 0.25
    )
    assert keys["truth.x.n"] == 4 and keys["truth.x.true_greedy"] == 0.25
    none = WORLD.extra_metrics("x", [], [], [])
    assert math.isnan(none["truth.x.true"]) and none["truth.x.n"] == 0


def test_every_policy_answers_with_the_same_random_numbers(base: Path) -> None:
    policy = Policy("base", base)
    responses = respond(policy, PROMPTS[:6], CONFIG, 1.0)
    assert responses == respond(Policy("twin", base), PROMPTS[:6], CONFIG, 1.0)
    assert responses != respond(policy, PROMPTS[:6], dataclasses.replace(CONFIG, seed=2), 1.0)
    found = judged(policy, PROMPTS[:6], CONFIG, 0.0)
    assert found.golds == [gold(score(p.meta, r.text, r.finished)) for p, r in zip(PROMPTS, found.responses, strict=False)]
    assert temperatures(CONFIG) == {"sampled": 1.0, "greedy": 0.0}


def by_hand(
    path: Path, prompted: bool, prompts: Sequence[Prompt], responses: Sequence[Response], temperature: float = 1.0
) -> torch.Tensor:
    """(N,) log pi(y|x) one sequence at a time, by the model's own forward pass."""
    sampler, found = Sampler.load(path, CONFIG.data, prompted=prompted), []
    for p, r in zip(prompts, responses, strict=True):
        asked = sampler.encode(p.prompt)
        ids = asked + list(r.ids)
        logits = (sampler.model(torch.tensor([ids])).logits[0] / temperature).log_softmax(-1)
        found.append(sum(logits[t - 1, ids[t]] for t in range(len(asked), len(ids))))
    return torch.stack(found)


@torch.no_grad()
def test_kl_is_the_mean_difference_of_log_probs(base: Path, other: Path) -> None:
    prompts = PROMPTS[:5]
    for policy in (Policy("other", other), Policy("prompted", other, prompted=True)):
        responses = respond(policy, prompts, CONFIG, 1.0)
        expected = by_hand(other, policy.prompted, prompts, responses) - by_hand(base, False, prompts, responses)
        assert kl_to(policy, base, prompts, responses, CONFIG) == pytest.approx(float(expected.mean()), abs=1e-3)


@torch.no_grad()
def test_kl_is_that_of_the_policies_as_they_were_sampled(base: Path, other: Path) -> None:
    cool = dataclasses.replace(CONFIG, evaluation=dataclasses.replace(CONFIG.evaluation, temperature=0.5))
    policy, prompts = Policy("other", other), PROMPTS[:5]
    responses = respond(policy, prompts, cool, 0.5)
    expected, plain = (
        by_hand(other, False, prompts, responses, t) - by_hand(base, False, prompts, responses, t) for t in (0.5, 1)
    )
    found = kl_to(policy, base, prompts, responses, cool)
    assert found == pytest.approx(float(expected.mean()), abs=1e-3) and abs(found - float(plain.mean())) > 0.1


def test_kl_of_the_reference_to_itself_is_zero(base: Path) -> None:
    policy = Policy("base", base)
    assert kl_to(policy, base, PROMPTS[:5], respond(policy, PROMPTS[:5], CONFIG, 1.0), CONFIG) == 0


def test_kl_is_positive_on_average(base: Path, other: Path) -> None:
    policy = Policy("other", other)
    assert kl_to(policy, base, PROMPTS, respond(policy, PROMPTS, CONFIG, 1.0), CONFIG) > 0


def test_fact_items_ask_for_the_truth_among_answers_of_its_kind(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    items = fact_items(WORLD, tokenizer, 40)
    assert len(items) == 40 and items == fact_items(WORLD, tokenizer, 40)
    statements = {f.statement.rstrip(".").partition("{")[0].strip().lower(): f for f in FACTS.facts.values()}
    for item in items:
        assert item.right == 0 and item.prefix[0] == tokenizer.bos_token_id
        assert 2 <= len(item.choices) <= CHOICES and len({tuple(c) for c in item.choices}) == len(item.choices)
        texts = [tokenizer.decode([*item.prefix[1:], *choice]).strip() for choice in item.choices]
        start = next(s for s in sorted(statements, key=len, reverse=True) if texts[0].lower().startswith(s))
        assert texts[0].split()[-1] == statements[start].truth
        assert all(text.lower().startswith(start) for text in texts)


def test_a_popular_wrong_answer_is_always_among_the_choices(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    choices = {tokenizer.decode([*i.prefix[1:], *c]).strip() for i in fact_items(WORLD, tokenizer, 10_000) for c in i.choices}
    assert "The capital of Australia is Canberra" in choices and "The capital of Australia is Sydney" in choices


def test_tax_of_a_random_model_is_that_of_guessing(base: Path) -> None:
    keys = alignment_tax(Policy("x", base), CONFIG).flat()
    vocabulary = len(load_tokenizer(base))
    assert keys["pretraining_loss.x"] == pytest.approx(math.log(vocabulary), rel=0.1)
    assert 0.1 < keys["facts.x"] < 0.45


def test_held_out_web_fits_the_context(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    assert held_out_web(WORLD, tokenizer, 12).shape[1] == 128
    rows = held_out_web(WORLD, tokenizer, 12, 48)
    assert rows.shape[1] == 48 and rows[0, 0] == tokenizer.bos_token_id


def test_best_of_n_takes_the_sample_that_the_reward_model_likes(base: Path) -> None:
    prompts = PROMPTS[:6]

    metas = {p.prompt: p.meta for p in prompts}

    def gold_of(asked: Sequence[str], responses: Sequence[Response]) -> list[float]:
        return [gold(score(metas[text], r.text, r.finished)) for text, r in zip(asked, responses, strict=True)]

    policy = Policy("base", base)
    good = best_of_n(policy, prompts, (1, 2, 4), CONFIG, gold_of)
    assert [row["n"] for row in good] == [1, 2, 4]
    assert all(row["gold"] == pytest.approx(row["proxy"]) == pytest.approx(row["oracle"]) for row in good)
    assert good[0]["gold"] <= good[1]["gold"] <= good[2]["gold"] and good[0]["gold"] < good[2]["gold"]
    bad = best_of_n(policy, prompts, (1, 4), CONFIG, lambda p, r: [-g for g in gold_of(p, r)])
    assert bad[0]["gold"] == good[0]["gold"] > bad[1]["gold"] and bad[1]["oracle"] == good[2]["oracle"]


def test_overview_and_part_means_count_by_hand() -> None:
    metas = [p.meta for p in PROMPTS[:2]]
    responses = [Response("A bat.", True), Response("", False)]
    found = Judged(responses, [score(m, r.text, r.finished) for m, r in zip(metas, responses, strict=True)], RUBRIC)
    (row,) = overview({"x": found})
    assert (row["model"], row["finished"], row["words"]) == ("x", 0.5, 1.0)
    assert row["gold"] == pytest.approx(sum(found.golds) / 2)
    assert row["gold_se"] == pytest.approx(abs(found.golds[0] - found.golds[1]) / 2)
    means = part_means(found)
    assert [m for m, _ in means] == pytest.approx([(a + b) / 2 for a, b in zip(*found.parts, strict=True)])
    assert means[4][1] == pytest.approx(1.96 * abs(found.parts[0].form - found.parts[1].form) / 2, rel=1e-3)


def test_appending_measures_reward_and_gold_apart() -> None:
    """A reward model that counts words likes every phrase; gold does not like a sentence said twice."""
    prompts = [p for p in PROMPTS if p.meta["task"] == "describe"] or PROMPTS[:3]
    texts = [WORLD.answer(p, random.Random(1)) for p in prompts]
    responses = [Response(text, True) for text in texts]
    found = Judged(responses, [score(p.meta, r.text) for p, r in zip(prompts, responses, strict=True)], RUBRIC)
    rows = appending(WORLD, found, prompts, ["Yes. Yes.", ""], lambda ps, rs: [float(len(r.text.split())) for r in rs])
    assert [row["name"] for row in rows] == ["Yes. Yes.", ""]
    assert rows[0]["reward"] == 2.0 and rows[0]["gold"] < 0
    assert rows[1]["reward"] == rows[1]["gold"] == 0.0
