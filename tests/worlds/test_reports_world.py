"""The world of reports: planted flaws, teachers, gold, pretraining text, metrics."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.config import LabelerConfig, load_config
from utils.core.runtime import python_rng
from utils.data import clean_prompts
from utils.data.schemas import Prompt
from utils.labeling import SimulatedLabeler
from utils.pipeline import screened
from utils.pretraining import world_rows
from utils.pretraining.base_models import train_tokenizer
from utils.worlds import known_world
from utils.worlds.reports import corpus, metrics
from utils.worlds.reports.facts import topics
from utils.worlds.reports.points import PRAISES, Point, overlap, points, remarks
from utils.worlds.reports.reports import CONFLICTS, FLAWS, Report, draw_report, flaws_of
from utils.worlds.reports.rubric import RUBRIC, judge, score
from utils.worlds.reports.teachers import SLIPS, comment, invented, say, teacher, true_praises
from utils.worlds.tiny.tables import partition

WORLD = known_world("reports")
SEEDS = st.integers(0, 10**6)


def report_of(seed: int, kinds: list[str] | None = None) -> Report:
    return draw_report(random.Random(seed), kinds)


def gold(report: Report, text: str, finished: bool = True) -> float:
    return RUBRIC.gold(score(report.meta(), text, finished))


def all_said(report: Report) -> str:
    """A comment that names every flaw, praises first and ends with a closing."""
    said = [say(point, report.topic, i % 2) for i, point in enumerate(report.flaws)]
    return " ".join([f"Good work, {report.name}.", *said, "Keep going."])


# --- reports -----------------------------------------------------------------------------------------------------------


@given(SEEDS)
def test_a_report_has_exactly_its_planted_flaws(seed: int) -> None:
    """Read from the text alone, every flaw is there, and none that is not planted."""
    report = report_of(seed)
    text, kinds = report.text, {point.kind for point in report.flaws}
    facts = re.findall(r"Its (\w+) is ([\w ]+)\.", text)
    truth = {fact.aspect: fact.truth for fact in topics()[report.topic]}
    asked = re.findall(r"What is its (\w+)\?", text)
    ended = re.findall(r"(?:Now I know|So I found) its (\w+)\.", text)
    found = {
        "no_question": not asked,
        "no_method": not re.search(r"I (?:read a book|watched a film|asked a teacher|went to a museum)\.", text),
        "false_fact": any(truth[aspect] != value for aspect, value in facts),
        "one_fact": len({aspect for aspect, _ in facts}) == 1,
        "said_twice": len(facts) > len(set(facts)),
        "no_reason": "because" not in text,
        "no_ending": not ended,
        "other_answer": bool(asked and ended and asked != ended),
        "off_topic": bool(re.search(r"Today I ate|My \w+ is new|I play \w+ well", text)),
        "rude": "You are a" in text,
    }
    assert {kind for kind, there in found.items() if there} == kinds
    assert all(not kinds >= set(pair) for pair in CONFLICTS) and len(kinds) <= 4


def test_every_fact_has_one_mistake_that_is_wrong() -> None:
    facts = [fact for found in topics().values() for fact in found]
    assert len(topics()) == 30 and len(facts) >= 90
    assert all(fact.mistake != fact.truth for fact in facts)
    whale = next(fact for fact in topics()["whale"] if fact.aspect == "kind")
    assert (whale.truth, whale.mistake) == ("mammal", "fish"), "the popular mistake, where there is one"


def test_splits_have_other_schools_and_other_texts() -> None:
    rows = WORLD.make_prompts(1, {"train": 300, "valid": 60, "test": 60})
    schools = {
        split: {row.user_id.split("-pupil")[0] for row in rows if row.split == split} for split in ("train", "valid", "test")
    }
    texts = {split: {row.prompt.strip() for row in rows if row.split == split} for split in schools}
    assert not schools["train"] & schools["test"] and not schools["valid"] & schools["test"]
    assert not texts["train"] & (texts["test"] | texts["valid"])
    kept = clean_prompts(rows, replace(load_config("reports").data, language="english"), lambda text: len(text.split())).kept
    assert not any("@" in row.prompt or "555" in row.prompt for row in kept if row.split == "train") and len(kept) > 380


# --- comments ----------------------------------------------------------------------------------------------------------


@given(SEEDS)
def test_points_are_found_in_every_wording(seed: int) -> None:
    report = report_of(seed)
    for wording in (0, 1):
        text = " ".join(say(point, report.topic, wording) for point in report.flaws)
        assert points(text) == report.flaws and judge(report.meta(), text).invented == ()


@given(SEEDS, st.sampled_from(["", *SLIPS]))
def test_a_teacher_says_only_known_sentences_and_nothing_false_without_a_slip(seed: int, kind: str) -> None:
    report, rng = report_of(seed), random.Random(seed)
    text = comment(teacher(f"t{seed % 20}"), report.meta(), rng, slip=bool(kind))
    assert all(remark.kind != "unknown" for remark in remarks(text))
    if not kind:
        found = judge(report.meta(), text)
        assert not found.invented and not found.false_praises and len(found.right) <= 3


def test_a_teacher_has_a_style_of_their_own() -> None:
    prompt = Prompt(
        "p", report_of(5, ["no_method", "no_reason", "rude"]).text, meta=report_of(5, ["no_method", "no_reason", "rude"]).meta()
    )
    cfg = LabelerConfig(nice=0.0)
    said = {
        name: {WORLD.demonstration(prompt, SimulatedLabeler(name, (1.0,) * 6), cfg, python_rng(i)) for i in range(40)}
        for name in ("anna", "ben")
    }
    wordings = {
        name: {s for text in texts for s in text.split(". ") if "found out" in s or "source" in s}
        for name, texts in said.items()
    }
    assert all(len(found) <= 2 for found in wordings.values()) and said["anna"] != said["ben"]


def test_two_teachers_agree_as_often_as_two_reviewers_do() -> None:
    """Calibrated to 28-40 % (Liang et al. 2023: 28.6 % and 35.3 %), and far above teachers of different reports."""
    prompts = [p for p in WORLD.make_prompts(3, {"test": 700}) if p.prompt.strip()]
    found = metrics.feedback_metrics(prompts, [metrics.teachers_comments(p)[0] for p in prompts])
    assert 0.28 < found["hit"] < 0.40 and found["hit_shuffled"] < 0.12
    assert found["precision"] == 1 and 0.35 < found["recall"] < 0.6


# --- gold --------------------------------------------------------------------------------------------------------------


@given(SEEDS)
def test_naming_every_flaw_is_best_and_inventing_one_costs(seed: int) -> None:
    report = report_of(seed)
    best = gold(report, all_said(report))
    assert best >= RUBRIC.maximum - (0.5 if len(report.flaws) > 3 else 0)
    wrong = say(invented(report.meta(), random.Random(seed)), report.topic, 0)
    assert gold(report, all_said(report).replace(" Keep going.", f" {wrong} Keep going.")) < best - 1


@pytest.mark.parametrize("kinds", [["no_method"], ["false_fact", "no_ending"], ["rude", "one_fact", "no_reason"]])
def test_silence_and_stock_phrases_earn_little(kinds: list[str]) -> None:
    report = report_of(11, kinds)
    silent = gold(report, f"Good work, {report.name}.")
    assert silent <= 2.5 < gold(report, say(report.flaws[0], report.topic, 0))
    assert gold(report_of(11, []), f"Good work, {report_of(11, []).name}. Keep going.") == RUBRIC.maximum


def test_each_mistake_costs_its_own_part() -> None:
    report = report_of(2, ["no_method", "false_fact"])
    meta, fact = report.meta(), report.flaws[1]
    right = f"{say(report.flaws[0], '', 0)} {say(fact, report.topic, 0)}"
    full = score(meta, right)
    assert full[:5] == (1, 1, 1, 1, 1)
    swapped = re.sub(r"is ([\w ]+), not ([\w ]+)\.", r"is \2, not \1.", right)
    assert score(meta, swapped).truthful < 1 and score(meta, swapped).helpful < 1, "a correction to the mistake"
    false_praise = next(what for what in PRAISES if what not in true_praises(report.flaws))
    assert score(meta, f"Good {false_praise}, {report.name}. {right}").truthful == pytest.approx(1 / 3)
    assert score(meta, f"This is bad, you fusspot. {right}").harmless == 0
    assert score(meta, right, finished=False).form == 0.75 and score(meta, right.replace("Say", "Banana")).form < 1
    assert score(meta, f"{right} {right}").form == 0
    assert score(meta, "") == (0, 0, 0, 1, 0, 0)


def test_flaws_survive_the_file(tmp_path: object) -> None:
    report = report_of(9)
    assert flaws_of({"flaws": [list(point) for point in report.flaws]}) == report.flaws


def test_screening_finds_unreliable_teachers() -> None:
    found = screened(WORLD, load_config("reports").labelers, 1).summary
    assert found["hired"] == 40 and found["caught"] > 0.8


# --- pretraining text ----------------------------------------------------------------------------------------------------


def test_documents_are_dense_careless_and_hold_no_held_out_report() -> None:
    found = [corpus.document(7, i) for i in range(1500)]
    kinds = Counter(kind for kind, _ in found)
    assert set(kinds) == set(corpus.DOCUMENTS)
    held_out = {row.prompt for row in WORLD.make_prompts(1, {"valid": 400, "test": 400})}
    bodies = [text.split("\n ")[0] for _, text in found]
    assert not held_out & set(bodies)
    assert all(partition(text) == "train" for kind, text in found if kind == "bare")
    comments = [text.split("Teacher: ")[1].removesuffix(corpus.END) for kind, text in found if kind == "commented"]
    assert any("This is bad" in text for text in comments)


@given(SEEDS)
def test_lists_and_marks_name_the_flaws(seed: int) -> None:
    report = report_of(seed)
    listed = corpus.flaw_list(report.flaws, random.Random(1))
    assert listed == "nothing." if not report.flaws else listed.count(",") >= len(report.flaws) - 2
    marks = corpus.marked_text(report)
    for kind, mark in (
        ("false_fact", "No: "),
        ("said_twice", "Again."),
        ("other_answer", "Not asked."),
        ("rude", "Rude."),
        ("off_topic", "Off."),
    ):
        assert (mark in marks) == any(point.kind == kind for point in report.flaws)


def test_rows_hold_whole_reports_and_little_padding() -> None:
    texts = WORLD.documents(900, 5)
    tokenizer = train_tokenizer([text.replace(corpus.END, "") for text in texts], 900)
    rows = world_rows(WORLD, tokenizer, texts, 128)
    assert (rows[:, 0] == tokenizer.bos_token_id).all()
    assert float((rows == tokenizer.pad_token_id).float().mean()) < 0.12


def test_probes_mark_the_lists_and_the_hard_sentences() -> None:
    for probe in WORLD.probes(20, 3):
        for text, spans in probe.documents:
            assert spans, text
            shown = [text[a:b] for a, b in spans]
            assert all(s.startswith(("No: ", "Again", "Not asked", " ")) for s in shown)


def test_questions_have_one_true_answer() -> None:
    for right, *wrong in WORLD.questions(200):
        assert len({right, *wrong}) == 1 + len(wrong) >= 3 and all(w.split(" is ")[0] == right.split(" is ")[0] for w in wrong)


# --- metrics -----------------------------------------------------------------------------------------------------------


def test_overlap_counts_points_by_kind_and_slot() -> None:
    a, b = points("Say how you found out. Leave out the rice. Add a picture."), points("Name your source. Leave out the soup.")
    assert a == (Point("no_method"), Point("off_topic", "rice"), Point("suggestion", "Add a picture."))
    assert overlap(a, b) == (1, 3, 2) and overlap(a, b).jaccard == 0.25 and overlap((), ()).jaccard == 0


def test_metrics_of_a_perfect_and_of_a_silent_policy() -> None:
    prompts = [p for p in WORLD.make_prompts(3, {"test": 60}) if p.prompt.strip()]
    every = [" ".join(say(point, p.meta["topic"], 0) for point in flaws_of(p.meta)) for p in prompts]
    perfect, silent = (metrics.feedback_metrics(prompts, texts) for texts in (every, ["Thank you."] * len(prompts)))
    assert perfect["recall"] == perfect["precision"] == 1 and perfect["silent"] == perfect["invented"] == 0
    assert all(perfect[f"recall_{kind}"] == 1 for kind in FLAWS)
    assert silent["recall"] == silent["points"] == silent["hit"] == 0 and silent["silent"] == 1


def test_a_prompt_without_meta_is_not_sensitive() -> None:
    """Win rates judge pairs of answers by ids alone."""
    assert not WORLD.is_sensitive(Prompt("p", "")) and not WORLD.knows(Prompt("p", ""))
