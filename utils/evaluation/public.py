"""Models on public evaluations (`tasks`): loading, asking, judging, and a table with intervals; resumable at every step.

What a model answered is written as it grows, and every metric is computed from it, so a change of a metric needs no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from utils.core import processes
from utils.core.errors import UserError
from utils.core.io import digest, digest_path, read_json, write_json, write_jsonl
from utils.core.runtime import progress
from utils.data.hub import EvalItem, load_evaluation, load_example_items, parse_source
from utils.evaluation.answering import METHODS, Subject
from utils.evaluation.statistics import mean_se
from utils.evaluation.tasks import TASKS, Answered, Question, Task, example
from utils.evaluation.text_judges import TextJudge

CHUNK = 256  # answers between two writes
EXAMPLE_ROWS = 2000  # of the part with the examples are read
Work = Callable[[Sequence[Any]], list[Any]]


@dataclass(frozen=True)
class Public:
    """The items of one benchmark to score, and the examples that are shown before each question with their answers."""

    name: str
    items: tuple[EvalItem, ...]
    shots: tuple[EvalItem, ...] = ()

    @property
    def task(self) -> Task:
        """How it is asked and scored."""
        return TASKS[self.name]


# --- loading -------------------------------------------------------------------------------------------------------


def load_public(text: str, limit: int | None = None, shots: int = 0, examples: str | None = None) -> Public:
    """The first `limit` items with a known answer, and `shots` examples from another part of the benchmark.

    text: "hub:NAME" or "hub:NAME=FILE". examples: a text of the same form for the part with the examples; None: the training
    split on the hub. Raises UserError for examples where there is no one right answer to show, for examples that are also
    evaluated, if there are no items, and if a package that the metrics need is missing.
    """
    name = parse_source(text, "evaluation").dataset.name
    task = TASKS[name]
    if shots and task.shown is None:
        raise UserError(f"{text} is scored without examples: omit --shots for it.")
    if task.needs is not None:
        task.needs()
    found = task.choose(load_evaluation(text)) if task.choose else load_evaluation(text, limit)
    items = _answerable(found[:limit])
    if not items:
        raise UserError(f"{text} has no items with an answer: give more rows, or the part of the data that has answers.")
    return Public(name, items, _example_items(text, examples, name, shots, items) if shots else ())


def _answerable(items: Sequence[EvalItem]) -> tuple[EvalItem, ...]:
    """Items with a known answer, and those that need none: pairs without a right sentence, and free answers."""
    return tuple(item for item in items if item.answers or not item.choices or not item.prompt)


def _example_items(text: str, examples: str | None, name: str, shots: int, items: Sequence[EvalItem]) -> tuple[EvalItem, ...]:
    """The first `shots` items of another part, each with a passage of its own. Raises UserError if they are evaluated too."""
    if examples is not None and parse_source(examples, "evaluation").dataset.name.partition("/")[0] != name.partition("/")[0]:
        raise UserError(f"{examples} has no examples for {text}: name a file of the same benchmark.")
    if examples is None:
        loaded = load_example_items(text, EXAMPLE_ROWS)
    else:
        loaded = load_evaluation(examples, EXAMPLE_ROWS)
    asked = {item.prompt for item in items}
    if both := next((item for item in loaded if item.prompt in asked), None):
        raise UserError(f"{examples or text}: item {both.item_id} is among those that are evaluated: take another part.")
    usable = [item for item in _answerable(loaded) if TASKS[name].shows(item)]
    by_passage = {item.prompt.rpartition("\n\n")[0] or item.prompt: item for item in reversed(usable)}
    found = tuple(reversed(by_passage.values()))[:shots]
    if len(found) < shots:
        raise UserError(
            f"{examples or text} has {len(found)} items with different passages: ask for as many examples or fewer."
        )
    return found


def asked_questions(public: Public, prompt: str) -> list[Question]:
    """Every item as a model reads it under one of the task's prompts: instruction, examples, question."""
    before = public.task.prompts[prompt] + "".join(f"{example(item, public.task)}\n\n" for item in public.shots)
    questions = [public.task.ask(item) for item in public.items]
    return [question._replace(text=before + question.text) for question in questions]


# --- answers and judgements, resumable -----------------------------------------------------------------------------


def evaluate_models(
    models: Mapping[str, Subject],
    benchmarks: Sequence[Public],
    judges: Mapping[str, TextJudge],
    out: Path,
    device: torch.device,
    batch_size: int = 32,
) -> list[dict[str, Any]]:
    """Ask every model every benchmark, let the judges of a benchmark read what was written; rows as `summary_rows` makes them.

    judges: by kind, as `text_judges.judges_by_kind` gives them, at least those that the benchmarks need. Answers and judgements
    are written to out/BENCHMARK/MODEL*.json after every `CHUNK` of them; those that are there for the same model, questions and
    judge are not made again. Raises UserError for a model of another kind than a benchmark needs.
    """
    keys = {name: digest_path(subject.path) for name, subject in models.items()}
    rows: list[dict[str, Any]] = []
    for public in benchmarks:
        found: dict[str, dict[str, list[Answered]]] = {}
        seconds: dict[str, float] = {}
        for name, subject in models.items():
            place = out / _file_name(public.name) / f"{_file_name(name)}.json"
            found[name], seconds[name] = _answers(subject, keys[name], public, place, (device, batch_size))
            for kind in public.task.judges:
                found[name], more = _judged(found[name], kind, judges[kind], place, device)
                seconds[name] += more
            if public.task.method == "writes" and processes.is_main():
                write_jsonl(place.with_suffix(".jsonl"), _outputs(name, found[name]))
        names = {kind: judges[kind].name for kind in public.task.judges}
        rows += [row | {"seconds": seconds[row["model"]], "judges": names} for row in summary_rows(public, found)]
    return rows


def _file_name(name: str) -> str:
    return name.replace("/", "_")


def _answers(
    subject: Subject, key: str, public: Public, place: Path, how: tuple[torch.device, int]
) -> tuple[dict[str, list[Answered]], float]:
    """The answers of a model by prompt, and the seconds that they took."""
    task = public.task
    by_prompt = {prompt: asked_questions(public, prompt) for prompt in task.prompts}
    questions = [question for asked in by_prompt.values() for question in asked]
    whole = digest([key, public.name, task.method, task.tokens, repr(subject.data), questions])
    found, seconds = resumed(place, whole, questions, lambda: METHODS[task.method](subject, task, *how))
    size = len(public.items)
    parts = {prompt: found[i * size : (i + 1) * size] for i, prompt in enumerate(by_prompt)}
    return {name: [Answered(*pair) for pair in zip(public.items, part, strict=True)] for name, part in parts.items()}, seconds


def _judged(
    answers: Mapping[str, list[Answered]], kind: str, judge: TextJudge, place: Path, device: torch.device
) -> tuple[dict[str, list[Answered]], float]:
    """The answers with what one judge says of them, and the seconds that it took."""
    rows = [row for part in answers.values() for row in part]
    key = digest([judge.key, [(row.item.prompt, row.answer) for row in rows]])
    found, seconds = resumed(place.with_name(f"{place.stem}.{kind}.json"), key, rows, lambda: judge.open(device))
    values = iter(found)
    return {
        prompt: [row._replace(judged={**row.judged, kind: next(values)}) for row in part] for prompt, part in answers.items()
    }, seconds


def resumed(place: Path, key: str, rows: Sequence[Any], open_work: Callable[[], Work]) -> tuple[list[Any], float]:
    """What the work makes of each row, and the seconds that it took in all. It is written to `place` after every `CHUNK` rows;
    what is there under the same key is kept. The work is opened only if something is left."""
    known = read_json(place) if place.exists() else {}
    if known.get("key") != key:
        known = {"key": key, "seconds": 0.0, "done": []}
    done, before, start = known["done"], known["seconds"], perf_counter()
    firsts = range(len(done), len(rows), CHUNK)
    if not firsts:
        return done, before
    work, seconds = open_work(), before
    for first in progress(firsts, total=len(firsts), label=f"{place.parent.name}, {place.stem}"):
        done = [*done, *work(rows[first : first + CHUNK])]
        seconds = before + perf_counter() - start
        if processes.is_main():
            write_json(place, {"key": key, "seconds": seconds, "done": done})
    return done, seconds


def _outputs(model: str, answers: Mapping[str, list[Answered]]) -> list[dict[str, Any]]:
    """What a model wrote as a table with the columns of the released outputs, with judgements if there are any, so that other
    programs and people can judge it too."""
    return [
        {
            "model_type": model, "prompt_type": prompt or "zeroshot", "context": row.item.prompt, "sample": row.answer,
            "ref_text": row.item.meta.get("answers") or list(row.item.references), **row.judged, **_truthful_columns(row),
        }
        for prompt, part in answers.items()
        for row in part
    ]  # fmt: skip


def _truthful_columns(row: Answered) -> dict[str, Any]:
    """The columns that the released outputs of TruthfulQA have instead of context and sample."""
    if "incorrect_answers" not in row.item.meta:
        return {}
    return {"question": row.item.prompt, "answer": row.answer, "adversarial": row.item.meta["type"] == "Adversarial"}


# --- the table -----------------------------------------------------------------------------------------------------


def summary_rows(
    public: Public, found: Mapping[str, Mapping[str, Sequence[Answered]]], confidence: float = 0.95
) -> list[dict[str, Any]]:
    """One row per metric and model: its value with its interval over items, the score of guessing, and the difference to the
    first model on the same items with half of its interval. found: model -> prompt -> one answer per item."""
    guessed = [public.task.chance(item) for item in public.items]
    chance = {name: mean_se([row[name] for row in guessed]).mean for name in guessed[0]}
    rows = []
    for prompt in public.task.prompts:
        metrics = {name: public.task.measure(answers[prompt]) for name, answers in found.items()}
        first = next(iter(metrics.values()))
        for metric in first:
            for name, by_metric in metrics.items():
                value, gap = by_metric[metric].estimate(confidence), by_metric[metric].minus(first[metric], confidence)
                rows.append(
                    {
                        "benchmark": public.name, "prompt": prompt, "shots": len(public.shots), "metric": metric, "model": name,
                        **value._asdict(), "chance": chance.get(metric), "difference": gap.value,
                        "difference_half_width": gap.half_width,
                    }
                )  # fmt: skip
    return rows
