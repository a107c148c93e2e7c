"""Models on public evaluations: what they are asked, against a plain loop, resuming; the script."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hub_fixtures import source
from test_scripts import MODELS, load_script

from utils.config import load_config
from utils.core.errors import UserError
from utils.core.io import read_json, read_jsonl
from utils.data.encoding import encode_text, raw_responses, stop_ids
from utils.data.hub import load_evaluation
from utils.evaluation import answering, public
from utils.evaluation.answering import METHODS, Subject
from utils.evaluation.public import load_public
from utils.evaluation.tasks import TASKS, Question, example
from utils.evaluation.text_judges import judges_by_kind
from utils.models.loading import load_policy, reward_from_policy, save_model
from utils.models.tokenizers import load_tokenizer
from utils.reward import RewardModel
from utils.sampling.rollout import Decoding, sample
from utils.sampling.sampler import Response

MODEL = MODELS / "small"


@pytest.mark.parametrize(("text", "answer"), [(" 42 \nand more", "42"), ("\n42", ""), (" \n 42", ""), ("42", "42"), ("", "")])
def test_an_answer_ends_at_its_first_newline(text: str, answer: str) -> None:
    assert answering.first_line(text) == answer


def answers(name: str, questions: list[Question], batch_size: int = 3) -> list[Any]:
    """What the small model makes of some questions."""
    return METHODS[TASKS[name].method](Subject(MODEL), TASKS[name], torch.device("cpu"), batch_size)(questions)


# --- with a model --------------------------------------------------------------------------------------------------


@torch.no_grad()
def plain_logprob(text: list[int], choice: list[int]) -> float:
    """Summed log-probability of a choice by one unpadded pass."""
    logits = load_policy(MODEL)(torch.tensor([text + choice])).logits[0].log_softmax(-1)
    return sum(float(logits[len(text) + i - 1, token]) for i, token in enumerate(choice))


@pytest.mark.parametrize("name", ["crows_pairs", "hellaswag", "sst2", "rte", "truthfulqa/multiple_choice"])
def test_choices_are_compared_as_in_a_plain_loop(name: str, tmp_path: Path) -> None:
    """Items of unequal length in padded batches against one pass a choice, for every prompt."""
    tokenizer, found = load_tokenizer(MODEL), load_public(source(name, tmp_path))
    for prompt in found.task.prompts:
        questions = public.asked_questions(found, prompt)
        for question, (sums, lengths) in zip(questions, answers(name, questions), strict=True):
            text = encode_text(tokenizer, question.text) or [tokenizer.bos_token_id]
            choices = [encode_text(tokenizer, choice) for choice in question.choices]
            text = text[-(load_policy(MODEL).config.n_positions - max(map(len, choices))) :]
            assert lengths == list(map(len, choices))
            assert sums == [pytest.approx(plain_logprob(text, choice), abs=1e-3) for choice in choices]


def test_what_is_written_is_the_greedy_text_up_to_the_first_newline() -> None:
    """Stopping at a newline changes nothing: each text is the greedy one of all tokens, cut afterwards."""
    tokenizer, model = load_tokenizer(MODEL), load_policy(MODEL)
    texts = ["Question: What do owls eat?\nAnswer:", "The capital of France is", "One two three"]
    got = answers("squad_v2", [Question(text) for text in texts])
    whole = Decoding(32, stop_ids(tokenizer), tokenizer.pad_token_id)
    rows = sample(model, [encode_text(tokenizer, text) for text in texts], None, whole).responses()
    assert got == [answering.first_line(text) for text, _ in raw_responses(tokenizer, rows)] and any(got)
    for i in answering.newline_ids(tokenizer):
        assert "\n" in tokenizer.decode([i]) and not tokenizer.decode([i]).strip()
    assert set(encode_text(tokenizer, "\n")) <= set(answering.newline_ids(tokenizer))


def test_rewards_are_those_of_the_reward_model(tmp_path: Path) -> None:
    model = reward_from_policy(MODEL, seed=1)
    save_model(model, load_tokenizer(MODEL), tmp_path / "rm")
    subject = Subject(tmp_path / "rm", load_config("tiny").data)
    public_items = load_public(source("reward_bench", tmp_path))
    work = METHODS["reward"](subject, public_items.task, torch.device("cpu"), 4)
    got = work([public_items.task.ask(item) for item in public_items.items])
    judge = RewardModel.load(tmp_path / "rm", load_config("tiny").data)
    for item, rewards in zip(public_items.items, got, strict=True):
        one_by_one = [judge.score_responses([item.prompt], [Response(choice, True)])[0] for choice in item.choices]
        assert rewards == pytest.approx(one_by_one, abs=1e-5) and len(set(rewards)) > 1


def trained(name: str, folder: Path, other: str) -> str:
    """A file like the fixture's with other texts, as the training split has."""
    table = pq.read_table(source(name, folder / "trained").partition("=")[2])
    changed = json.loads(json.dumps(table.to_pylist()).replace(other, f"very {other}"))
    path = folder / "trained.parquet"
    pq.write_table(pa.Table.from_pylist(changed, schema=table.schema), path)
    return f"hub:{name}={path}"


def test_examples_come_before_each_question_with_their_answers(tmp_path: Path) -> None:
    examples = trained("hellaswag", tmp_path, "A cook.")
    found = load_public(source("hellaswag", tmp_path), limit=1, shots=1, examples=examples)
    assert (len(found.items), len(found.shots)) == (1, 1)
    assert example(found.shots[0], found.task) == "Cooking: very A cook. he stirs 3."
    (question,) = public.asked_questions(found, "")
    assert question.text.endswith("reasoning.\n\nCooking: very A cook. he stirs 3.\n\nCooking: A cook. he")
    reading = load_public(source("squad_v2", tmp_path), shots=1, examples=trained("squad_v2", tmp_path, "It is old."))
    assert example(reading.shots[0], reading.task).endswith("very It is old.\n\nQ: How old?\n\nA: old")
    assert example(reading.items[1], reading.task).endswith("Q: How big?\n\nA: Not in background.")


def test_examples_are_never_of_the_evaluated_part(tmp_path: Path) -> None:
    text = source("hellaswag", tmp_path)
    with pytest.raises(UserError, match="is the part that is evaluated, and examples must come from another one"):
        load_public(text, shots=1)
    with pytest.raises(UserError, match="item 0 is among those that are evaluated: take another part"):
        load_public(text, shots=1, examples=text)
    with pytest.raises(UserError, match="has no examples for .*: name a file of the same benchmark"):
        load_public(text, shots=1, examples=source("rte", tmp_path))
    with pytest.raises(UserError, match="has 1 items with different passages: ask for as many examples or fewer"):
        load_public(text, shots=2, examples=trained("hellaswag", tmp_path, "A cook."))


def test_items_without_a_known_answer_are_left_out(tmp_path: Path) -> None:
    text = source("hellaswag", tmp_path)
    assert len(load_evaluation(text)) == 3 and len(load_public(text).items) == 2


def test_a_text_longer_than_the_context_loses_its_beginning_or_what_is_before_its_tail() -> None:
    tokenizer = load_tokenizer(MODEL)
    context = load_policy(MODEL).config.n_positions
    for name, question in (("hellaswag", Question("old " * context, (" a", " b"))), ("squad_v2", Question("old " * context))):
        assert len(answers(name, [question])) == 1
    assert answering.question_ids(tokenizer, Question("one two three"), 2) == encode_text(tokenizer, "one two three")[-2:]
    assert answering.question_ids(tokenizer, Question(""), 5) == [tokenizer.bos_token_id]
    tail = encode_text(tokenizer, "\n\nTL;DR:")
    ids = answering.question_ids(tokenizer, Question("one two three " * 20 + "\n\nTL;DR:", tail="\n\nTL;DR:"), len(tail) + 2)
    assert ids == [*encode_text(tokenizer, "one two three")[:2], *tail], "an article keeps its beginning"
    with pytest.raises(UserError, match=rf"A choice of \d+ tokens does not fit the model's {context} positions"):
        answers("hellaswag", [Question("x", ("old " * context, "a"))])


@pytest.mark.parametrize(
    ("name", "package"), [("wmt15", "sacrebleu"), ("cnn_dm", "rouge_score"), ("tldr/posts", "rouge_score")]
)
def test_a_missing_package_is_told_before_a_model_answers(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics" if package == "sacrebleu" else "rouge_score.rouge_scorer", None)
    with pytest.raises(UserError, match=rf"needs the package {package.replace('_', '-')}"):
        load_public(source(name, tmp_path))


@pytest.mark.parametrize("name", [name for name in TASKS if TASKS[name].shown is None])
def test_no_examples_where_there_is_no_answer_to_show(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is scored without examples: omit --shots"):
        load_public(source(name, tmp_path), shots=1)


# --- the script ----------------------------------------------------------------------------------------------------


def test_the_script_scores_every_benchmark_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load_script("evaluate", monkeypatch)
    line = ["model", "--model", str(MODEL), str(MODELS / "mini"), "--out", str(tmp_path / "out"), "--limit", "2"]
    line += ["--device", "cpu", "--tasks"]
    names = [name for name in TASKS if TASKS[name].method != "reward"]
    line += [source(name, tmp_path / name.replace("/", "_")) for name in names]
    script.run(line)
    said, record = capsys.readouterr().out, read_json(tmp_path / "out" / "results.json")
    rows = record["rows"]
    assert {row["benchmark"] for row in rows} == set(names) and {row["model"] for row in rows} == {"small", "mini"}
    assert record["command"].startswith("scripts/evaluate.py model --model ") and record["machine"] and record["versions"]
    known = [row for row in rows if row["n"]]
    assert all(row["low"] <= row["value"] <= row["high"] or math.isnan(row["low"]) for row in known)
    assert all(row["difference"] == 0 for row in known if row["model"] == "small")
    assert all(row["seconds"] > 0 for row in rows)
    assert "respectful" in said and "licence" in said and "results.json" in said
    assert "toxicity as judged by: alt-profanity-check" in said
    toxic = read_jsonl(tmp_path / "out" / "realtoxicityprompts" / "small.jsonl")
    assert [row["prompt_type"] for row in toxic] == ["basic"] * 2 + ["respectful"] * 2 + ["biased"] * 2
    assert all(0 <= row["toxicity"] <= 1 for row in toxic)
    # The same line again: no model is loaded, and the table is the same.
    monkeypatch.setattr(answering, "load_policy", None)
    script.run(line)
    assert read_json(tmp_path / "out" / "results.json")["rows"] == rows
    (tmp_path / "out" / "rte" / "small.json").write_text('{"key": "of other items"}')
    with pytest.raises(TypeError):
        script.run(line)


def test_what_a_model_wrote_is_read_by_the_command_for_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same scores from the file of outputs as from the model."""
    script = load_script("evaluate", monkeypatch)
    for name, task in (("drop/annotators", "drop"), ("squad_v2", "squadv2"), ("truthfulqa", "truthful_qa")):
        out, file = tmp_path / "out", name.replace("/", "_")
        line = ["model", "--model", str(MODEL), "--out", str(out), "--device", "cpu", "--tasks", source(name, tmp_path / file)]
        script.run(line)
        rows = read_json(out / "results.json")["rows"]
        samples = str(out / file / "small.jsonl")
        script.run(["score", "--task", task, "--samples", samples, "--out", str(tmp_path / task), "--models", "small"])
        again = read_json(tmp_path / task / "scores.json")["scores"]
        values = {(row["prompt"], row["metric"]): row["value"] for row in again if row["questions"] == "all"}
        assert values == {(row["prompt"] or "zeroshot", row["metric"]): row["value"] for row in rows}


def test_the_script_scores_a_reward_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(reward_from_policy(MODEL, seed=1), load_tokenizer(MODEL), tmp_path / "rm")
    line = ["model", "--model", str(tmp_path / "rm"), "--tasks", source("reward_bench", tmp_path), "--device", "cpu"]
    line += ["--out", str(tmp_path / "out")]
    script = load_script("evaluate", monkeypatch)
    with pytest.raises(UserError, match="no config.yaml in it or above it says how prompts are written; name a --profile"):
        script.run(line)
    script.run([*line, "--profile", "tiny"])
    rows = read_json(tmp_path / "out" / "results.json")["rows"]
    assert [(row["metric"], row["n"], row["chance"]) for row in rows] == [
        ("accuracy", 2, 0.25), ("accuracy, Factuality", 1, None), ("accuracy, Math", 1, None)
    ]  # fmt: skip


def test_answers_grow_and_a_stopped_run_gives_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while a model answers and again while a judge reads: no answer is made twice, and the table is the same."""
    benchmark, judges = load_public(source("realtoxicityprompts", tmp_path)), judges_by_kind(("toxicity",))
    monkeypatch.setattr(public, "CHUNK", 1)
    seen: list[str] = []
    method, judge = METHODS["writes"], judges["toxicity"]

    def stops(work: Callable[[Any], list[Any]], at: int) -> Callable[[Any], list[Any]]:
        def one(rows: Any) -> list[Any]:
            seen.append(repr(rows))
            if len(seen) == at:
                raise KeyboardInterrupt
            return work(rows)

        return one

    models, device = {"small": Subject(MODEL)}, torch.device("cpu")
    stopping = {"toxicity": judge._replace(open=lambda device: stops(judge.open(device), 10))}
    monkeypatch.setitem(answering.METHODS, "writes", lambda *given: stops(method(*given), 3))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            public.evaluate_models(models, [benchmark], stopping, tmp_path / "out", device)
    rows = public.evaluate_models(models, [benchmark], stopping, tmp_path / "out", device)
    assert len(seen) == 6 + 1 + 6 + 1 and seen[2] == seen[3] and seen[9] == seen[10], "only what was interrupted is done again"
    monkeypatch.undo()
    whole = public.evaluate_models(models, [benchmark], judges, tmp_path / "other", device)
    assert [row | {"seconds": 0} for row in rows] == [row | {"seconds": 0} for row in whole]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--tasks", "rte"], "Name the policies: --run with the folder of a run, or --model with folders of models"),
        (["--model", str(MODEL), "--tasks", "hub:rte", "--limit", "0"], "--limit and --batch-size must be 1 or more"),
        (["--model", str(MODEL), "--tasks", "nothing"], 'There is no "hub:nothing"'),
        (
            ["--model", str(MODEL), "--tasks", "TRUTH", "--judge", "taste=x"],
            '"taste=x" names no judge: write KIND=DIR with one',
        ),
    ],
)
def test_a_wrong_line_is_told_in_a_sentence(
    line: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [source("truthfulqa", tmp_path) if word == "TRUTH" else word for word in line]
    with pytest.raises(UserError, match=said):
        load_script("evaluate", monkeypatch).run(["model", *line])
