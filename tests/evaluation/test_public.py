"""The paper's public evaluations scored: by hand, as properties, against a plain loop; the script."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hub_fixtures import source
from hypothesis import given
from hypothesis import strategies as st
from test_scripts import MODELS, load_script

from utils.core.errors import UserError
from utils.core.io import read_json
from utils.data.encoding import encode_text
from utils.data.hub import DATASETS, EvalItem, load_evaluation
from utils.evaluation import public
from utils.evaluation.public import BIAS, TASKS, UNSCORED, Public, entropy_bits, load_public, token_f1
from utils.models.loading import load_policy
from utils.models.tokenizers import load_tokenizer

MODEL = MODELS / "small"
numbers = st.floats(-30, 30)
words = st.lists(st.sampled_from(["the", "old", "town", "Town.", "is", "42", "a"]), max_size=6).map(" ".join)


# --- scores --------------------------------------------------------------------------------------------------------


def test_entropy_by_hand() -> None:
    assert entropy_bits([-40.0, -40.0]) == pytest.approx(1.0)
    assert entropy_bits([math.log(0.75), math.log(0.25)]) == pytest.approx(0.8112781)
    assert entropy_bits([0.0, -5000.0]) == 0.0
    assert entropy_bits([1.0] * 4) == pytest.approx(2.0)


@given(st.lists(numbers, min_size=2, max_size=5), numbers)
def test_entropy_is_between_none_and_all_and_knows_only_differences(logprobs: list[float], shift: float) -> None:
    value = entropy_bits(logprobs)
    assert -1e-9 <= value <= math.log2(len(logprobs)) + 1e-9
    assert entropy_bits([x + shift for x in reversed(logprobs)]) == pytest.approx(value, abs=1e-6)


def test_f1_by_hand() -> None:
    assert token_f1("The old town.", "old TOWN") == 1.0
    assert token_f1("in the old town", "old town") == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))
    assert token_f1("town town", "town") == pytest.approx(2 / 3), "a word counts as often as it is in both"
    assert token_f1("42", "24") == 0.0
    assert token_f1("", "town") == 0.0
    assert token_f1("", "the") == 1.0, "articles are no words"


@given(words, words)
def test_f1_is_symmetric_and_one_for_the_same_words_only(a: str, b: str) -> None:
    value = token_f1(a, b)
    assert 0 <= value <= 1 and value == token_f1(b, a)
    assert (value == 1) == (public._words(a) == public._words(b))


def test_choices_are_compared_per_token_and_biased_sentences_as_a_whole() -> None:
    item = EvalItem("1", "hellaswag", "x", ("long", "short"), (0,))
    assert public.choice_score(item, [-6.0, -4.0], [6, 1]) == {"accuracy": 1.0}
    assert public.bias_score(item, [-6.0, -4.0], [6, 1]) == {"entropy": entropy_bits([0.0, 2.0]), "first": 0.0}
    assert public.bias_score(item, [-4.0, -4.0], [6, 1])["first"] == 0.5


def test_truthfulness_by_hand() -> None:
    meta = {"mc1": {"choices": ["Yes.", "No."], "labels": [1, 0]}}
    item = EvalItem("1", "truthfulqa/multiple_choice", "Do bats see?", ("No.", "Yes.", "They do."), (1, 2), meta=meta)
    found = public.truthful_score(item, [math.log(0.5), math.log(0.3), math.log(0.2)], [1, 1, 2])
    assert found == {"mc1": 0.0, "mc2": pytest.approx(0.5)}
    assert public._guessed_truth(item) == {"mc1": 0.5, "mc2": 2 / 3}
    other = replace(item, meta={"mc1": {"choices": ["Maybe."], "labels": [1]}})
    with pytest.raises(UserError, match=r'item 1: mc1_targets has "Maybe\.", mc2_targets does not: correct the row'):
        public.truthful_score(other, [0.0] * 3, [1] * 3)


def test_a_passage_that_does_not_say_has_an_answer_of_its_own() -> None:
    item = EvalItem("b", "squad_v2", "Old Town\n\nIt is old.\n\nHow big?")
    assert public.reading_score(item, "Not in the passage.") == {"f1": 1.0, "exact": 1.0}
    assert public.reading_score(item, "42") == {"f1": 0.0, "exact": 0.0}
    best = public.reading_score(replace(item, references=("very old", "old")), "old")
    assert best == {"f1": 1.0, "exact": 1.0}


# --- with a model --------------------------------------------------------------------------------------------------


@torch.no_grad()
def plain_logprob(text: list[int], choice: list[int]) -> float:
    """Summed log-probability of a choice by one unpadded pass."""
    logits = load_policy(MODEL)(torch.tensor([text + choice])).logits[0].log_softmax(-1)
    return sum(float(logits[len(text) + i - 1, token]) for i, token in enumerate(choice))


@pytest.mark.parametrize("name", ["crows_pairs", "winogender", "hellaswag", "sst2", "rte", "truthfulqa/multiple_choice"])
def test_scores_are_those_of_a_plain_loop(name: str, tmp_path: Path) -> None:
    """Items of unequal length in one padded batch against one pass a choice, for every prompt."""
    model, tokenizer, found = load_policy(MODEL), load_tokenizer(MODEL), load_public(source(name, tmp_path))
    got = public.scores(model, tokenizer, found, batch_size=3)
    expected: dict[str, list[float]] = {key: [] for key in got}
    for prompt, words in found.task.prompts.items():
        for item in found.items:
            question = found.task.ask(item)
            text = encode_text(tokenizer, f"{words}\n{question.text}" if words else question.text) or [tokenizer.bos_token_id]
            choices = [encode_text(tokenizer, choice) for choice in question.choices]
            logprobs = [plain_logprob(text, choice) for choice in choices]
            for metric, value in found.task.score(item, logprobs, list(map(len, choices))).items():
                expected[f"{prompt}.{metric}" if prompt else metric].append(value)
    assert got == {key: pytest.approx(values, abs=1e-4) for key, values in expected.items()}


def test_the_three_prompts_of_the_bias_benchmarks_are_told_apart(tmp_path: Path) -> None:
    found = public.scores(load_policy(MODEL), load_tokenizer(MODEL), load_public(source("crows_pairs", tmp_path)))
    assert list(found) == [f"{prompt}.{metric}" for prompt in public.PREFIXES for metric in ("entropy", "first")]
    assert found["basic.entropy"] != found["respectful.entropy"] != found["biased.entropy"]


def test_examples_come_before_each_question_with_their_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_public(source("hellaswag", tmp_path), limit=1, shots=1)
    assert (len(found.items), len(found.shots)) == (1, 1) and found.items[0].item_id != found.shots[0].item_id
    assert public.shown(found.shots[0], found.task) == "A cook. he stirs 3."
    asked = []
    monkeypatch.setattr(public, "_chosen", lambda *a: asked.extend(q.text for q in a[3]) or [{"accuracy": 1.0}] * len(a[3]))
    public.scores(load_policy(MODEL), load_tokenizer(MODEL), found)
    assert asked == ["A cook. he stirs 3.\n\nA cook. he"]
    reading = load_public(source("squad_v2", tmp_path), shots=1)
    assert public.shown(reading.shots[0], reading.task).endswith("Q: How old?\nA: old")
    assert public.shown(reading.items[0], reading.task).endswith(f"Q: How big?\nA: {public.NO_ANSWER}")


def test_items_without_a_known_answer_are_left_out(tmp_path: Path) -> None:
    text = source("hellaswag", tmp_path)
    assert len(load_evaluation(text)) == 3 and len(load_public(text).items) == 2
    with pytest.raises(UserError, match="2 items with an answer leave none to score after 2 examples"):
        load_public(text, shots=2)


def test_a_text_longer_than_the_context_loses_its_beginning() -> None:
    model, tokenizer = load_policy(MODEL), load_tokenizer(MODEL)
    context = model.config.n_positions
    for name, text, choices in (("hellaswag", "old " * context, ("a", "b")), ("squad_v2", "old " * context + "\n\nx", ())):
        items = (EvalItem("1", name, text, choices, (0,) if choices else (), ("old",)),)
        assert len(public.scores(model, tokenizer, Public(name, items))) > 0
    ids = public.question_ids(tokenizer, "one two three", 2)
    assert ids == encode_text(tokenizer, "one two three")[-2:]
    assert public.question_ids(tokenizer, "", 5) == [tokenizer.bos_token_id]
    with pytest.raises(UserError, match=rf"hellaswag: a choice of \d+ tokens does not fit the model's {context} positions"):
        public.scores(model, tokenizer, Public("hellaswag", (EvalItem("1", "hellaswag", "x", ("old " * context, "a"), (0,)),)))


@pytest.mark.parametrize("name", UNSCORED)
def test_what_is_not_scored_says_why(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^hub:{name}=.* cannot be scored: .*Use one of: crows_pairs, winogender"):
        load_public(source(name, tmp_path))


def test_every_evaluation_is_scored_or_says_why_not() -> None:
    assert {name for name, row in DATASETS.items() if "evaluation" in row.kinds} == {*TASKS, *UNSCORED}


@pytest.mark.parametrize("name", [name for name in TASKS if TASKS[name] is BIAS or name.startswith("truthful")])
def test_no_examples_where_there_is_no_answer_to_show(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is scored without examples: omit --shots"):
        load_public(source(name, tmp_path), shots=1)


# --- the script ----------------------------------------------------------------------------------------------------


def test_the_script_scores_every_benchmark_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load_script("public_evaluation", monkeypatch)
    line = [str(MODEL), str(MODELS / "mini"), "--out", str(tmp_path / "out"), "--limit", "2", "--device", "cpu", "--data"]
    line += [source(name, tmp_path) for name in TASKS]
    script.run(line)
    said = capsys.readouterr().out
    rows = read_json(tmp_path / "out" / "results.json")["rows"]
    assert {row["benchmark"] for row in rows} == set(TASKS) and {row["policy"] for row in rows} == {"small", "mini"}
    assert all(math.isfinite(row["mean"]) and (row["difference"] == 0 or row["policy"] == "mini") for row in rows)
    assert "respectful.entropy" in said and "licence" in said and "results.json" in said
    monkeypatch.setattr(public, "load_policy", None)  # no model is loaded again
    script.run(line)
    assert read_json(tmp_path / "out" / "results.json")["rows"] == rows
    changed = tmp_path / "out" / "rte" / "small.json"
    changed.write_text('{"key": "of other items"}')
    with pytest.raises(TypeError):
        script.run(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--data", "hub:rte"], "Name the policies: --run with the folder of a run, or the folders of models"),
        ([str(MODEL), "--data", "hub:rte", "--limit", "0"], "--limit and --batch-size must be 1 or more"),
        ([str(MODEL), "--data", "hub:nothing"], "nothing"),
    ],
)
def test_a_wrong_line_is_told_in_a_sentence(line: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=said):
        load_script("public_evaluation", monkeypatch).run(line)
