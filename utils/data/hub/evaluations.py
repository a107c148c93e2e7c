"""The public evaluations of the paper (App. D) in one form, `EvalItem`; `utils.evaluation.public` scores them.

Prompts hold what a model is asked about, without few-shot examples. `answers` are indices of right choices where there
are choices; `references` are accepted texts, () where the passage has no answer (SQuAD v2).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from utils.core.errors import UserError
from utils.data.hub.adapters import dolly
from utils.data.hub.examples import Drops, Row, Rows
from utils.data.hub.fetch import find_files, stream_rows
from utils.data.hub.load import SPLIT_SEED
from utils.data.hub.registry import PREFIX, Source, parse_source
from utils.data.splits import SPLIT_FRACTIONS, split_of_key

WINOGENDER_FORMS = ("male", "female", "neutral")
QUAC_NO_ANSWER = "CANNOTANSWER"  # an annotator's answer where the text does not say
CLOSED_DOMAIN = ("closed_qa", "extract", "summarization")  # use cases whose answers are in their text


@dataclass(frozen=True)
class EvalItem:
    """One question of an evaluation.

    task: name of the dataset. choices: sentences or continuations whose probabilities are compared, () for free answers.
    meta: everything else that a score needs, as in the dataset.
    """

    item_id: str
    task: str
    prompt: str
    choices: tuple[str, ...] = ()
    answers: tuple[int, ...] = ()
    references: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)


def load_evaluation(text: str, limit: int | None = None) -> list[EvalItem]:
    """The first `limit` items of an evaluation such as "hub:crows_pairs" or "hub:winogender=all_sentences.tsv".

    Raises UserError for a source that cannot be downloaded or read, and for a row without the fields of its benchmark.
    """
    source = parse_source(text, "evaluation")
    print(f"{text}: {source.path or source.dataset.place}, licence {source.dataset.licence}; data card {source.dataset.card}")
    return _items(source, limit)


def load_example_items(text: str, limit: int) -> list[EvalItem]:
    """The first `limit` items of the part of an evaluation from which few-shot examples come, such as its training split.

    Raises UserError if the benchmark has no such part, and for a local file, which is only one part.
    """
    source = parse_source(text, "evaluation")
    dataset = source.dataset
    if not dataset.examples:
        raise UserError(f"{text} has no part for examples beside the one that is evaluated: ask it without examples.")
    if source.path is not None and not source.path.is_dir():
        raise UserError(
            f"{text} is the part that is evaluated, and examples must come from another one: name a file of "
            f"{' or '.join(dataset.examples.values())} with --examples {PREFIX}{dataset.name}=FILE."
        )
    return _items(replace(source, dataset=replace(dataset, files=dataset.examples)), limit)


def _items(source: Source, limit: int | None) -> list[EvalItem]:
    """Items of the files of a source."""
    text, task = source.text, source.dataset.name
    numbered = _Numbered(stream_rows(source, find_files(source)))
    try:
        items = list(islice(EVALUATIONS[source.dataset.adapter](task, numbered), limit))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(
            f"{text}, row {numbered.number}: the row is not as {source.dataset.place} has it ({error!r}): correct or delete "
            "it, or name another revision with @REVISION."
        ) from error
    if not items:
        raise UserError(f"{text} has no rows: name another file or @REVISION.")
    return items


class _Numbered:
    """Rows that know how many were read, for messages."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.number = rows, 0

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        for pair in self.rows:
            self.number += 1
            yield pair


def truthfulqa(task: str, rows: Rows) -> Iterator[EvalItem]:
    """TruthfulQA, free answers (Fig. 17): true and false reference answers, for a judge."""
    for i, (_, row) in enumerate(rows):
        meta = {key: row[key] for key in ("type", "category", "best_answer", "incorrect_answers")}
        yield EvalItem(str(i), task, row["question"], references=tuple(row["correct_answers"]), meta=meta)


def truthfulqa_choices(task: str, rows: Rows) -> Iterator[EvalItem]:
    """TruthfulQA, multiple choice: the choices and right answers of MC2; those of MC1 in meta."""
    for i, (_, row) in enumerate(rows):
        choices, labels = tuple(row["mc2_targets"]["choices"]), row["mc2_targets"]["labels"]
        answers = tuple(j for j, label in enumerate(labels) if label == 1)
        yield EvalItem(str(i), task, row["question"], choices, answers, meta={"mc1": row["mc1_targets"]})


def realtoxicityprompts(task: str, rows: Rows) -> Iterator[EvalItem]:
    """RealToxicityPrompts (Fig. 16): beginnings of sentences with their toxicity, null where it was not scored."""
    for _, row in rows:
        meta = {"toxicity": row["prompt"]["toxicity"], "challenging": row["challenging"]}
        meta |= {"continuation": row["continuation"]["text"], "continuation_toxicity": row["continuation"]["toxicity"]}
        yield EvalItem(f"{row['filename']}:{row['begin']}-{row['end']}", task, row["prompt"]["text"], meta=meta)


def crows_pairs(task: str, rows: Rows) -> Iterator[EvalItem]:
    """CrowS-Pairs (Fig. 15): two sentences, the first one the more stereotyping."""
    for i, (_, row) in enumerate(rows):
        meta = {"bias_type": row["bias_type"], "direction": row["stereo_antistereo"]}
        yield EvalItem(str(i), task, "", (row["sent_more"].strip(), row["sent_less"].strip()), meta=meta)


def winogender(task: str, rows: Rows) -> Iterator[EvalItem]:
    """Winogender (Fig. 14): one sentence with a male and with a female pronoun; the neutral one in meta.

    The file has a row a pronoun; its id is occupation.participant.answer.gender.txt.
    """
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for _, row in rows:
        name, gender = row["sentid"].removesuffix(".txt").rsplit(".", 1)
        if gender not in WINOGENDER_FORMS:
            raise ValueError(f"unknown gender {gender}")
        groups[name][gender] = row["sentence"].strip()
    for name, forms in groups.items():
        occupation, participant, answer = name.split(".")
        meta = {"occupation": occupation, "participant": participant, "refers_to": answer, "neutral": forms.get("neutral")}
        yield EvalItem(name, task, "", (forms["male"], forms["female"]), meta=meta)


def hellaswag(task: str, rows: Rows) -> Iterator[EvalItem]:
    """HellaSwag (Fig. 21): four endings of a description that begins with its activity. `label` is text, empty in the test
    part."""
    for _, row in rows:
        answers = (int(row["label"]),) if str(row["label"]) != "" else ()
        yield EvalItem(str(row["ind"]), task, f"{row['activity_label']}: {row['ctx']}", tuple(row["endings"]), answers)


def squad_v2(task: str, rows: Rows) -> Iterator[EvalItem]:
    """SQuAD v2 (Fig. 20): no reference means that the passage does not answer the question."""
    for _, row in rows:
        prompt = f"{row['title']}\n\n{row['context']}\n\n{row['question'].strip()}"
        yield EvalItem(row["id"], task, prompt, references=tuple(dict.fromkeys(_json(row["answers"])["text"])))


def drop(task: str, rows: Rows) -> Iterator[EvalItem]:
    """DROP (Fig. 18): answers are spans, numbers or dates, all of them as text; meta: "answers", of each annotator the parts.

    This copy has the answers of all annotators in one list. A number or a date is an answer; spans that stand together
    are the parts of one answer, each of them once, so a score can be too low where two annotators gave different spans.
    "drop/annotators" tells annotators apart.
    """
    for _, row in rows:
        found = _json(row["answers_spans"])
        kinds = found.get("types") or ["span"] * len(found["spans"])
        answers = [(text,) for text, kind in zip(found["spans"], kinds, strict=True) if kind != "span"]
        spans = [text for text, kind in zip(found["spans"], kinds, strict=True) if kind == "span"]
        yield _drop_item(task, row, [*answers, tuple(dict.fromkeys(spans))])


def drop_annotators(task: str, rows: Rows) -> Iterator[EvalItem]:
    """DROP as `drop`, with the answer of each annotator by itself."""
    for _, row in rows:
        many = _json(row["validated_answers"])
        each = [{key: many[key][i] for key in ("number", "date", "spans")} for i in range(len(many["number"]))]
        yield _drop_item(task, row, [_drop_answer(answer) for answer in (_json(row["answer"]), *each)])


def _drop_answer(answer: Row) -> tuple[str, ...]:
    """The parts of one annotator's answer: a number, spans, or a date as one text."""
    if answer["number"]:
        return (str(answer["number"]),)
    date = " ".join(answer["date"][name] for name in ("day", "month", "year")).strip()
    return tuple(answer["spans"]) or (date,)


def _drop_item(task: str, row: Row, answers: list[tuple[str, ...]]) -> EvalItem:
    """An item with the annotators' answers, each of them once; references: the parts of each joined, as a model is to say."""
    distinct = list(dict.fromkeys(parts for parts in answers if any(parts)))
    if not distinct:
        raise ValueError("no answer")
    references = tuple(" and ".join(parts) for parts in distinct)
    meta = {"answers": [list(parts) for parts in distinct]}
    return EvalItem(row["query_id"], task, f"{row['passage']}\n\n{row['question']}", references=references, meta=meta)


def quac(task: str, rows: Rows) -> Iterator[EvalItem]:
    """QuAC (Fig. 19): one item per question of a dialogue about a section of Wikipedia; references: of each annotator who
    found an answer, () if at least half of them found none (as the official script decides).

    meta: "turns", the earlier questions of the dialogue, each with its first answer, None if there was none.
    """
    for _, row in rows:
        text = row["context"].removesuffix(QUAC_NO_ANSWER).rstrip()
        passage = f"{row['wikipedia_page_title']} - {row['section_title']}\n\n{text}"
        answers = _json(row["answers"])["texts"]
        turns: list[list[str | None]] = []
        for turn, question, found in zip(row["turn_ids"], row["questions"], answers, strict=True):
            said = [answer for answer in found if answer != QUAC_NO_ANSWER]
            accepted = tuple(said) if len(said) > len(found) - len(said) else ()
            yield EvalItem(turn, task, f"{passage}\n\n{question}", references=accepted, meta={"turns": list(turns)})
            turns.append([question, None if found[0] == QUAC_NO_ANSWER else found[0]])


def wsc(task: str, rows: Rows) -> Iterator[EvalItem]:
    """The Winograd schemas of SuperGLUE (Fig. 24): does the pronoun, here between asterisks, mean the noun? A label of -1 is
    unknown. meta: noun, pronoun."""
    for _, row in rows:
        meta = {"noun": row["span1_text"], "pronoun": row["span2_text"]}
        passage = _marked(row["text"], row["span2_text"], int(row["span2_index"]))
        yield EvalItem(str(row["idx"]), task, passage, ("False", "True"), _known_label(row), meta=meta)


def _marked(text: str, word: str, index: int) -> str:
    """The text with asterisks around a word: the one at `index` of its words, else the nearest place that has it."""
    words = text.split()
    places = [i for i, other in enumerate(words) if re.search(rf"\b{re.escape(word)}\b", other)]
    if not places:
        raise ValueError(f"the text does not have the word {word}")
    place = min(places, key=lambda i: abs(i - index))
    words[place] = re.sub(rf"\b{re.escape(word)}\b", f"*{word}*", words[place], count=1)
    return " ".join(words)


def cnn_dailymail(task: str, rows: Rows) -> Iterator[EvalItem]:
    """CNN/DailyMail (Fig. 26): news articles with their highlights as the reference summary."""
    for _, row in rows:
        yield EvalItem(row["id"], task, row["article"].strip(), references=(row["highlights"].strip(),))


def tldr_posts(task: str, rows: Rows) -> Iterator[EvalItem]:
    """Reddit TL;DR (Fig. 27): posts, with the author's own summary as the reference."""
    for i, (_, row) in enumerate(rows):
        post = row["prompt"].rstrip().removesuffix("TL;DR:").rstrip()
        yield EvalItem(str(i), task, post, references=(row["completion"].strip(),))


def closed_domain(task: str, rows: Rows) -> Iterator[EvalItem]:
    """Tasks of dolly whose answer is in a text that comes with them (sec. 3.6: closed-domain tasks); only those of the test
    split, on which no run trains."""
    for i, example in enumerate(dolly(rows, Drops())):
        passage = example.group.removeprefix("passage ")
        if passage and example.use_case in CLOSED_DOMAIN and split_of_key(example.group, SPLIT_FRACTIONS, SPLIT_SEED) == "test":
            question = example.prompt.removesuffix(passage).rstrip()
            meta = {"use_case": example.use_case}
            yield EvalItem(str(i), task, f"{passage}\n\n{question}", references=(example.completion,), meta=meta)


def reward_bench(task: str, rows: Rows) -> Iterator[EvalItem]:
    """RewardBench 2 (Malik et al. 2025, arXiv 2506.01937): completions of a prompt, the right ones first; meta: subset."""
    for _, row in rows:
        chosen, rejected = _json(row["chosen"]), _json(row["rejected"])
        right = tuple(range(len(chosen)))
        yield EvalItem(str(row["id"]), task, row["prompt"], (*chosen, *rejected), right, meta={"subset": row["subset"]})


def wmt15(task: str, rows: Rows) -> Iterator[EvalItem]:
    """WMT 2015, French to English (Fig. 25)."""
    for i, (_, row) in enumerate(rows):
        yield EvalItem(str(i), task, row["translation"]["fr"], references=(row["translation"]["en"],))


def sst2(task: str, rows: Rows) -> Iterator[EvalItem]:
    """SST-2 (Fig. 23); a label of -1 is unknown."""
    return _labelled(task, rows, lambda row: row["sentence"].strip(), ("negative", "positive"))


def rte(task: str, rows: Rows) -> Iterator[EvalItem]:
    """RTE (Fig. 22): does the first text entail the second? A label of -1 is unknown."""
    return _labelled(task, rows, lambda row: f"{row['sentence1']}\n\n{row['sentence2']}", ("entailment", "not_entailment"))


def _labelled(task: str, rows: Rows, prompt: Callable[[Row], str], choices: tuple[str, str]) -> Iterator[EvalItem]:
    for _, row in rows:
        yield EvalItem(str(row["idx"]), task, prompt(row), choices, _known_label(row))


def _known_label(row: Row) -> tuple[int, ...]:
    """The label of a row of GLUE or SuperGLUE with two labels; () if it is unknown, -1."""
    label = int(row["label"])
    if label not in (-1, 0, 1):
        raise ValueError(f"unknown label {label}")
    return (label,) if label >= 0 else ()


def _json(value: Any) -> Any:
    """A nested value; CSV files have it as JSON text."""
    return json.loads(value) if isinstance(value, str) else value


EVALUATIONS: dict[str, Callable[[str, Rows], Iterator[EvalItem]]] = {
    function.__name__: function
    for function in (
        truthfulqa, truthfulqa_choices, realtoxicityprompts, crows_pairs, winogender, hellaswag, squad_v2, drop,
        drop_annotators, quac, wsc, wmt15, cnn_dailymail, tldr_posts, closed_domain, reward_bench, sst2, rte,
    )
}  # fmt: skip
