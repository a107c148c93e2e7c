"""One function per dataset: (publisher's split, row) -> examples. What cannot be used is counted by reason, never guessed.

Each takes the rows and a counter of what it drops; the columns that it reads are listed in `registry.DATASETS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from utils.core.errors import UserError
from utils.data.hub.examples import Adapter, Drops, Example, Row, Rows, usable_ranking
from utils.data.hub.oasst import oasst
from utils.data.records import Record
from utils.data.rows import completion_of, pair_of, prompt_of, use_case_of

GPT2 = "openai-community/gpt2"
GPT2_TOKENS = 50_257
NEWLINE = 198  # GPT-2's token of "\n", where summaries end
TURNS = ("\n\nHuman:", "\n\nAssistant:")


def _record(**values: Any) -> Record:
    """A row as `utils.data.formats` knows it. Its errors only say that the row is malformed, so it needs no number."""
    return Record("", 0, values, {name: name for name in values}, tuple(values))


def _text(value: Any) -> str:
    """Text without surrounding blanks; "" for anything else."""
    return value.strip() if isinstance(value, str) else ""


def ranked(drops: Drops, prompt: str, completions: tuple[str, ...], ranks: tuple[int, ...], **more: Any) -> Iterator[Example]:
    """The example of a ranking. A ranking without a preference is still a prompt; one without a prompt is dropped."""
    if not prompt.strip():
        drops["no prompt"] += 1
        return
    if problem := usable_ranking(completions, ranks):
        yield Example(prompt, lacking={"comparisons": problem}, **more | {"policies": (), "finished": ()})
    else:
        yield Example(prompt, completions=completions, ranks=ranks, **more)


# --- demonstrations --------------------------------------------------------------------------------------------------


def dolly(rows: Rows, drops: Drops) -> Iterator[Example]:
    """databricks-dolly-15k: instruction and perhaps a passage; tasks about one passage stay together."""
    for split, row in rows:
        instruction, context = _text(row["instruction"]), _text(row["context"])
        if not instruction:
            drops["no prompt"] += 1
            continue
        prompt = "\n\n".join(part for part in (instruction, context) if part)
        lacking = {} if _text(row["response"]) else {"demonstrations": "an empty answer"}
        yield Example(
            prompt, f"passage {context}" if context else "", use_case=use_case_of(_record(use_case=row["category"] or "")),
            publisher_split=split, completion=_text(row["response"]), lacking=lacking,
        )  # fmt: skip


def no_robots(rows: Rows, drops: Drops) -> Iterator[Example]:
    """no_robots: conversations with a use case; the last message is the answer."""
    for split, row in rows:
        record = _record(messages=row["messages"], use_case=row["category"] or "")
        try:
            prompt, completion = prompt_of(record), completion_of(record)
        except UserError:
            drops["malformed conversation"] += 1
            continue
        yield Example(prompt, "", use_case=use_case_of(record), publisher_split=split, completion=completion)


# --- pairs -----------------------------------------------------------------------------------------------------------


def hh_rlhf(rows: Rows, drops: Drops) -> Iterator[Example]:
    """hh-rlhf: two transcripts that differ in the last answer. Conversations that begin alike stay together."""
    for split, row in rows:
        try:
            prompt, chosen, rejected = pair_of(_record(chosen=row["chosen"], rejected=row["rejected"]))
        except UserError:
            drops["no shared beginning"] += 1
            continue
        if any(mark in answer for mark in TURNS for answer in (chosen, rejected)):
            drops["the transcripts differ before the last answer"] += 1
            continue
        first = prompt.strip().partition(TURNS[1])[0]
        yield from ranked(
            drops, prompt, (chosen, rejected), (1, 2), group=f"opening {first}", use_case="chat", publisher_split=split
        )


def tldr(rows: Rows, drops: Drops) -> Iterator[Example]:
    """Reddit posts with two summaries and the worker who chose; comparisons of one post stay together."""
    for split, row in rows:
        info, summaries, choice = row["info"] or {}, row["summaries"] or [], row["choice"]
        if not _text(info.get("post")):
            drops["not a post (news article)"] += 1
            continue
        if len(summaries) != 2 or choice not in (0, 1):
            drops["nobody chose between the two summaries"] += 1
            continue
        prompt = f"SUBREDDIT: r/{info['subreddit']}\n\nTITLE: {_text(info['title'])}\n\nPOST: {_text(info['post'])}\n\nTL;DR:"
        texts = tuple(_text(summary["text"]) for summary in summaries)
        yield from ranked(
            drops, prompt, texts, (1, 2) if choice == 0 else (2, 1), group=f"post {info['id']}", source="customer",
            use_case="summarization", publisher_split=row["split"] or split, labeler_id=row["worker"] or "",
            policies=tuple(str(summary["policy"]) for summary in summaries),
        )  # fmt: skip


def _helpsteer_prompt(row: Row, drops: Drops) -> str | None:
    """The conversation as a prompt; None, counted, if it is of another language or does not end with the user."""
    if row["domain"] == "multilingual":
        drops["another language"] += 1
        return None
    try:
        return prompt_of(_record(prompt=row["context"]))
    except UserError:
        drops["malformed conversation"] += 1
        return None


def _graded(preference: int) -> tuple[int, int]:
    """Ranks of two answers by a grade from -3 (the first is much better) to 3; 0 is a tie."""
    return (1, 1) if preference == 0 else (1, 2) if preference < 0 else (2, 1)


def helpsteer3(rows: Rows, drops: Drops) -> Iterator[Example]:
    """HelpSteer3: two answers and the graded preference of up to three people together."""
    for split, row in rows:
        if (prompt := _helpsteer_prompt(row, drops)) is not None:
            texts = (_text(row["response1"]), _text(row["response2"]))
            if not isinstance(row["overall_preference"], int):
                drops["no preference"] += 1
                continue
            yield from ranked(
                drops, prompt, texts, _graded(row["overall_preference"]), group="", source="customer", publisher_split=split
            )


def helpsteer3_individual(rows: Rows, drops: Drops) -> Iterator[Example]:
    """HelpSteer3, one example per annotator. Annotators are numbered per pair: "annotator 1" may be many people."""
    for split, row in rows:
        if (prompt := _helpsteer_prompt(row, drops)) is None:
            continue
        texts = (_text(row["response1"]), _text(row["response2"]))
        for number, given in enumerate(row["individual_preference"] or [], 1):
            if not isinstance(given.get("score"), int):
                drops["no preference"] += 1
                continue
            yield from ranked(
                drops, prompt, texts, _graded(given["score"]), group="", source="customer", publisher_split=split,
                labeler_id=f"annotator {number}",
            )  # fmt: skip


def webgpt(rows: Rows, drops: Drops) -> Iterator[Example]:
    """WebGPT: two answers with opposite scores; scores of 0 are ties."""
    for split, row in rows:
        scores = (row["score_0"], row["score_1"])
        if None in scores:
            drops["no preference"] += 1
            continue
        ranks = (1, 1) if scores[0] == scores[1] else (1, 2) if scores[0] > scores[1] else (2, 1)
        question = row["question"] or {}
        yield from ranked(
            drops, _text(question.get("full_text")), (_text(row["answer_0"]), _text(row["answer_1"])), ranks,
            group=f"question {question.get('id')}", source="customer", use_case="open_qa", publisher_split=split,
        )  # fmt: skip


# --- best of four ----------------------------------------------------------------------------------------------------


@cache
def gpt2_decoder() -> Callable[[Sequence[int]], str]:
    """Text of GPT-2's token ids, padding left out. Raises UserError if the tokenizer is neither cached nor reachable."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(GPT2)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The answers of lm-human-preferences are token ids, and GPT-2's tokenizer ({GPT2}) cannot be loaded: run "
            f"`hf download {GPT2} tokenizer.json tokenizer_config.json vocab.json merges.txt config.json` on a machine with a "
            "connection."
        ) from error
    return lambda ids: str(tokenizer.decode([i for i in ids if i < GPT2_TOKENS], skip_special_tokens=True))


def best_of_4(rows: Rows, drops: Drops) -> Iterator[Example]:
    """Four continuations of a passage, all cut at 24 tokens, and the one that a person liked best; the rest tie."""
    yield from _best_of_4(rows, drops, "generation", lambda ids: (ids, False))


def best_of_4_summaries(rows: Rows, drops: Drops) -> Iterator[Example]:
    """Four summaries, which end at their first line break, and the best one."""
    yield from _best_of_4(rows, drops, "summarization", _first_line)


def _first_line(ids: Sequence[int]) -> tuple[Sequence[int], bool]:
    """The ids before the first line break, and whether there is one."""
    return (ids[: ids.index(NEWLINE)], True) if NEWLINE in ids else (ids, False)


def _best_of_4(
    rows: Rows, drops: Drops, use_case: str, cut: Callable[[Sequence[int]], tuple[Sequence[int], bool]]
) -> Iterator[Example]:
    decode = gpt2_decoder()
    for split, row in rows:
        best, samples = row["best"], [cut(list(row[f"sample{i}"] or [])) for i in range(4)]
        if best not in range(4):
            drops["nobody chose among the four samples"] += 1
            continue
        texts = tuple(decode(ids).strip() for ids, _ in samples)
        yield from ranked(
            drops, decode(row["query"] or []), texts, tuple(1 if text == texts[best] else 2 for text in texts), group="",
            source="customer", use_case=use_case, publisher_split=split, finished=tuple(finished for _, finished in samples),
        )  # fmt: skip


ADAPTERS: dict[str, Adapter] = {
    "dolly": dolly,
    "no_robots": no_robots,
    "oasst": oasst,
    "hh_rlhf": hh_rlhf,
    "tldr": tldr,
    "helpsteer3": helpsteer3,
    "helpsteer3_individual": helpsteer3_individual,
    "webgpt": webgpt,
    "best_of_4": best_of_4,
    "best_of_4_summaries": best_of_4_summaries,
}
