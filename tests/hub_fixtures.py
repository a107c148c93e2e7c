"""Small made-up files with the columns and types of the public datasets, and the rows that trip a careless reader.

`FIXTURES[name](folder)` writes the file of one dataset of `utils.data.hub.DATASETS` and gives its path, to be loaded as
"hub:NAME=PATH". Texts are invented; nothing is copied from the datasets.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]
MESSAGES = pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))


def parquet(path: Path, rows: Sequence[Row], types: Mapping[str, pa.DataType]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(list(types.items()))), path)
    return path


def json_lines(path: Path, rows: Iterable[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def tsv(path: Path, rows: Sequence[Row], separator: str = "\t") -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
    return path


# --- demonstrations --------------------------------------------------------------------------------------------------


def dolly(folder: Path) -> Path:
    passage = "The Wörlitz park [1] was laid out in the 18th century."
    rows: list[tuple[str, str, str, str]] = [
        ("Name three rivers.", "", "Rhine, Elbe, Oder.", "brainstorming"),
        ("When was it laid out?", passage, "In the 18th century.", "closed_qa"),
        ("What was laid out?", passage, "A park.", "information_extraction"),
        ("name three rivers", "", "Nile, Po, Ob.", "brainstorming"),  # the first again, to a reader who ignores case
        ("Write a line about \U0001f40b whales.", "", "Whales sing.", "creative_writing"),
        ("Call Ann on +1 202 555 0143 and say hello.", "", "Hello Ann.", "general_qa"),  # a phone number
        ("Was ist die Hauptstadt von Frankreich und wie viele Menschen leben dort?", "", "Paris.", "open_qa"),
        ("Say nothing.", "", "", "open_qa"),
        ("", "", "An answer to no question.", "open_qa"),
        *((f"How many legs have {n} spiders?", "", f"{8 * n}.", "open_qa") for n in range(2, 12)),
    ]
    names = ("instruction", "context", "response", "category")
    return json_lines(folder / "databricks-dolly-15k.jsonl", [dict(zip(names, row, strict=True)) for row in rows])


def no_robots(folder: Path) -> Path:
    def row(number: int, category: str, *turns: str, system: str = "") -> Row:
        messages = [{"content": system, "role": "system"}] if system else []
        messages += [{"content": text, "role": ("user", "assistant")[i % 2]} for i, text in enumerate(turns)]
        return {"prompt": turns[0], "prompt_id": f"{number:064x}", "messages": messages, "category": category}

    rows = [
        row(1, "Generation", "Write a limerick about a crab.", "There once was a crab…"),
        row(2, "Chat", "Hi!", "Hello, what can I do?", "Sing.", "La la.", system="Marv is a chatbot that sings."),
        row(3, "Classify", "Is a whale a fish?", "No."),
        row(4, "Coding", "Write a loop.", "for i in range(3): pass"),
        row(5, "Open QA", "Who goes there?"),  # no answer
        *(row(n, "Rewrite", f"Make this polite: go away, number {n}.", "Please leave.") for n in range(6, 12)),
    ]
    types = {"prompt": pa.string(), "prompt_id": pa.string(), "messages": MESSAGES, "category": pa.string()}
    parquet(folder / "data" / "train-00000-of-00001.parquet", rows[:8], types)
    parquet(folder / "data" / "test-00000-of-00001.parquet", rows[8:], types)
    return folder


# --- OpenAssistant ---------------------------------------------------------------------------------------------------

OASST_TYPES: dict[str, pa.DataType] = {
    "message_id": pa.string(), "parent_id": pa.string(), "user_id": pa.string(), "created_date": pa.string(),
    "text": pa.string(), "role": pa.string(), "lang": pa.string(), "review_count": pa.int32(), "review_result": pa.bool_(),
    "deleted": pa.bool_(), "rank": pa.int32(), "synthetic": pa.bool_(), "model_name": pa.string(),
    "detoxify": pa.struct([("toxicity", pa.float64()), ("insult", pa.float64())]),
    "message_tree_id": pa.string(), "tree_state": pa.string(),
    "emojis": pa.struct([("name", pa.list_(pa.string())), ("count", pa.list_(pa.int32()))]),
    "labels": pa.struct(
        [("name", pa.list_(pa.string())), ("value", pa.list_(pa.float64())), ("count", pa.list_(pa.int32()))]
    ),
}  # fmt: skip


def message(name: str, parent: str | None, text: str, user: str = "u", rank: int | None = None, **changes: Any) -> Row:
    """One message; its tree is the part of its name before the first point, its role that of its depth."""
    row: Row = {
        "message_id": name, "parent_id": parent, "user_id": user, "created_date": "2023-02-05T14:23:50.983374+00:00",
        "text": text, "role": ("prompter", "assistant")[name.count(".") % 2], "lang": "en", "review_count": 3,
        "review_result": True, "deleted": False, "rank": rank, "synthetic": False, "model_name": None, "detoxify": None,
        "message_tree_id": name.partition(".")[0], "tree_state": "ready_for_export",
        "emojis": {"name": ["+1"], "count": [2]},
        "labels": {"name": ["spam", "quality"], "value": [0.0, 0.75], "count": [3, 3]},
    }  # fmt: skip
    return row | changes


def oasst_messages() -> list[Row]:
    return [
        message("a", None, "Why is the sky blue?", "ann"),
        message("a.1", "a", "Because of scattering.", "bob", 0),
        message("a.2", "a", "It is not.", "cem", 2),
        message("a.3", "a", "Air scatters blue light.", "dee", 1),
        message("a.4", "a", "Removed.", "eve", 3, deleted=True),
        message("a.1.1", "a.1", "And at night?", "bob"),  # belongs to ann's tree, and to its split
        message("a.1.1.1", "a.1.1", "No light to scatter.", "ann", 0),
        message("a.1.1.2", "a.1.1", "Then it is dark.", "cem", 0),  # a tie
        message("a.1.1.3", "a.1.1", "Nobody ranked this.", "cem", None),
        message("b", None, "Name a fish.", "ann"),  # ann again: the same split
        message("b.1", "b", "Cod.", "bob", None),  # one child: no rank
        message("c", None, "¿Por qué el cielo es azul?", "fay", lang="es"),
        message("c.1", "c", "Because.", "bob", 0),  # an English reply to a Spanish message
        message("d", None, "Tell me a joke.", ""),  # no user
        message("d.1", "d", "Knock knock.", "bob", 1),
        message("d.2", "d", "A model's joke \U0001f600.", "bob", 0, synthetic=True, model_name="m"),
        message("e", None, "Buy my watches!", "gus", review_result=False),
        message("e.1", "e", "No.", "bob", 0, review_result=None),
        message("f", None, "   ", "hal"),
    ]


def oasst(folder: Path, name: str = "oasst2") -> Path:
    rows = oasst_messages()
    parquet(folder / "data" / "train-00000-of-00001-0a1b.parquet", rows[:12], OASST_TYPES)
    parquet(folder / "data" / "validation-00000-of-00001-2c3d.parquet", rows[12:], OASST_TYPES)
    return folder


def many_trees(folder: Path, count: int) -> Path:
    """Trees enough for a run: three ranked answers each; two trees a person."""
    rows = []
    for i in range(count):
        rows.append(message(f"t{i}", None, f"What is {i} and {i + 1}?", f"user{i // 2}"))
        for rank, text in enumerate((f"It is {2 * i + 1}.", f"About {2 * i}.", "No idea.")):
            rows.append(message(f"t{i}.{rank}", f"t{i}", text, "bob", rank))
    return parquet(folder / "oasst2.parquet", rows, OASST_TYPES)


# --- pairs -----------------------------------------------------------------------------------------------------------


def hh_rlhf(folder: Path, part: str) -> Path:
    def talk(*turns: str) -> str:
        return "".join(f"\n\n{('Human', 'Assistant')[i % 2]}: {text}" for i, text in enumerate(turns))

    def pair(before: Sequence[str], chosen: str, rejected: str) -> Row:
        return {"chosen": talk(*before, chosen), "rejected": talk(*before, rejected)}

    train = [
        pair(["How do I boil an egg?"], "Ten minutes in hot water.", "Ten years."),
        pair(["How do I boil an egg?", "In water.", "How long?"], "Ten minutes.", "Ten hours."),
        pair(["Is it café or cafe?"], "Both are used.", "Both are used."),  # equal answers
        pair(["Hello?"], "Hello!", ""),  # an empty answer
        {"chosen": talk("A", "B", "C", "D"), "rejected": talk("A", "B", "X", "Y")},  # differ before the last answer
        {"chosen": talk("One thing.", "Yes."), "rejected": talk("Another thing.", "No.")},  # no shared beginning
        {"chosen": "no turns at all", "rejected": "none either"},
        pair(["May I keep a fox?"], "Ask your town.", "Steal one."),
    ]
    test = [
        pair(["How do I boil an egg?"], "In water.", "In sand."),  # opens like two rows of the training part
        pair(["Where do owls sleep?"], "In trees.", "In cars."),
        pair(["Why do bees hum?"], "Their wings do.", "They sing."),
    ]
    json_lines(folder / part / "train.jsonl.gz", train)
    json_lines(folder / part / "test.jsonl.gz", test)
    return folder


TLDR_TYPES: dict[str, pa.DataType] = {
    "info": pa.struct([(n, pa.string()) for n in ("id", "post", "title", "subreddit", "site", "article")]),
    "summaries": pa.list_(pa.struct([("text", pa.string()), ("policy", pa.string()), ("note", pa.string())])),
    "choice": pa.int32(), "worker": pa.string(), "batch": pa.string(), "split": pa.string(),
    "extra": pa.struct([("confidence", pa.int32())]),
}  # fmt: skip


def tldr_rows() -> list[Row]:
    def row(number: int, texts: Sequence[str], choice: int, worker: str, split: str, confidence: int | None = None) -> Row:
        info = {"id": f"t3_{number}", "post": f"Post {number}: my cat moved out.", "title": f"Cat {number}"}
        return {
            "info": info | {"subreddit": "cats", "site": None, "article": None},
            "summaries": [{"text": f" {t}" if t else "", "policy": f"sup{i}", "note": None} for i, t in enumerate(texts)],
            "choice": choice, "worker": worker, "batch": "batch3", "split": split, "extra": {"confidence": confidence},
        }  # fmt: skip

    news = row(9, ["Short.", "Long."], 0, "w1", "valid1", 5)
    news["info"] |= {"post": None, "article": "It rained.", "subreddit": None, "title": "Rain"}
    return [
        row(1, ["Cat left.", "Cat came."], 0, "w1", "train"),
        row(1, ["Cat left.", "Cat came."], 1, "w2", "train"),  # another worker disagrees
        row(2, ["The same.", "The same."], 0, "w1", "train"),
        row(3, ["", "Cat."], 1, "w3", "train"),
        row(4, ["Cat out.", "Dog out."], 0, "w1", "train"),
        row(5, ["A.", "B."], 7, "w1", "train"),  # no such summary
        row(6, ["Gone.", "Here."], 1, "w2", "valid1", 9),
        row(7, ["Gone cat.", "Here, cat."], 0, "w2", "valid2", 1),
        row(8, ["Gone 8.", "Here 8."], 0, "w4", "valid2", None),
        news,
    ]


def tldr(folder: Path) -> Path:
    trained = [row for row in tldr_rows() if row["split"] == "train"]
    held = [row for row in tldr_rows() if row["split"] != "train"]
    more: dict[str, pa.DataType] = {"prompt": pa.string(), "chosen": MESSAGES, "rejected": MESSAGES}
    for rows, split in ((trained, "train"), (held, "validation")):
        styled = [
            row | {"prompt": "P", "chosen": [{"content": "P", "role": "user"}, {"content": "s", "role": "assistant"}],
                   "rejected": []}
            for row in rows
        ]  # fmt: skip
        parquet(folder / "data" / f"{split}-00000-of-00001.parquet", styled, TLDR_TYPES | more)
    return folder


def summarize_from_feedback(folder: Path) -> Path:
    for split in ("train", "validation"):
        rows = [row for row in tldr_rows() if (row["split"] == "train") == (split == "train")]
        parquet(folder / "comparisons" / split / "0000.parquet", rows, TLDR_TYPES)
    return folder


def best_of_4(folder: Path, summaries: bool = False) -> Path:
    """Ids of the 256 bytes as GPT-2 would not write them: tests decode them with a decoder of their own."""

    def row(query: str, samples: Sequence[str], best: int) -> Row:
        ids = {f"sample{i}": list(text.encode()) for i, text in enumerate(samples)}
        return {"query": [*query.encode(), 50259, 50259], **ids, "best": best}

    rows = [
        row("The ship sailed", (" on.", " off.", " up.", " on."), 0),  # sample 3 equals the best one
        row("The cook said", (" no.", " yes.", " hm.", " oh."), 3),
        row("It was late", (" so.", " so.", " so.", " so."), 1),
        row("He went", (" a", " b", " c", " d"), -1),
        row("Then", ("\u00c6one two", "two", "three", "four"), 1),
    ]
    if summaries:
        for sample in ("sample0", "sample1"):
            rows[1][sample] += [198, 100, 101]  # a line break, and what was sampled after it
    path = folder / "labels.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def helpsteer3(folder: Path) -> Path:
    def row(domain: str, context: Sequence[str], overall: int | None, scores: Sequence[int | None]) -> Row:
        messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(context)]
        people = [{"score": s, "reasoning": "r", "feedback1": "f", "feedback2": "g"} for s in scores]
        return {
            "domain": domain, "language": "english" if domain != "code" else "python", "context": messages,
            "response1": f"First to {context[-1]}", "response2": f"Second to {context[-1]}",
            "overall_preference": overall, "individual_preference": people,
        }  # fmt: skip

    train = [
        row("general", ["How tall is a fir?"], -3, [-3, -2, -3]),
        row("stem", ["What is π?", "A number.", "Which?"], 2, [1, 3]),
        row("code", ["Sort a list."], 0, [0, -1, 1]),
        row("multilingual", ["Wie hoch ist eine Tanne?"], 1, [1, 1, 1]),
        row("general", ["A.", "B."], 1, [1]),  # ends with the assistant
        row("general", ["No grade here."], None, [None]),
        row("general", ["Name a nut."], 1, [1, 2, 2]),
    ]
    held = [row("general", [f"Is {n} odd?"], -1, [-1, -1]) for n in range(4)]
    json_lines(folder / "preference" / "train.jsonl.gz", train)
    json_lines(folder / "preference" / "validation.jsonl.gz", held)
    return folder


def webgpt(folder: Path) -> Path:
    def row(number: int, score: float | None, text: str = "Why?") -> Row:
        minus = None if score is None else -score
        return {
            "question": {"dataset": "eli5", "id": str(number), "full_text": f"{text} {number}"},
            "quotes_0": {"title": ["T"], "extract": ["E"]}, "quotes_1": {"title": [], "extract": []},
            "answer_0": f"Because {number} [1].", "tokens_0": {"prefix": [1], "completion": [2]}, "score_0": score,
            "answer_1": f"No reason {number}.", "tokens_1": {"prefix": [], "completion": []}, "score_1": minus,
        }  # fmt: skip

    quotes = pa.struct([("title", pa.list_(pa.string())), ("extract", pa.list_(pa.string()))])
    tokens = pa.struct([("prefix", pa.list_(pa.int32())), ("completion", pa.list_(pa.int32()))])
    types: dict[str, pa.DataType] = {
        "question": pa.struct([(n, pa.string()) for n in ("dataset", "id", "full_text")]),
        "quotes_0": quotes, "answer_0": pa.string(), "tokens_0": tokens, "score_0": pa.float32(),
        "quotes_1": quotes, "answer_1": pa.string(), "tokens_1": tokens, "score_1": pa.float32(),
    }  # fmt: skip
    rows = [row(1, 1.0), row(2, -0.5), row(3, 0.0), row(4, None), *(row(n, 0.5) for n in range(5, 15))]
    return parquet(folder / "default" / "train" / "0000.parquet", rows, types).parents[2]


def texts(folder: Path) -> Path:
    rows = [{"text": text} for text in ("One two three.", "", "  \n", "Vier: fünf, \U0001f40b.", None, "Last.")]
    return parquet(folder / "plain_text" / "train" / "0000.parquet", rows, {"text": pa.string()})


# --- evaluations -----------------------------------------------------------------------------------------------------


def truthfulqa(folder: Path) -> Path:
    rows = [
        {
            "type": "Adversarial", "category": "Myths", "question": f"Do {n} bats see?", "best_answer": "Yes.",
            "correct_answers": ["Yes.", "They do."], "incorrect_answers": ["No."], "source": "https://example.org",
        }
        for n in range(3)
    ]  # fmt: skip
    lists = {"correct_answers": pa.list_(pa.string()), "incorrect_answers": pa.list_(pa.string())}
    types = {name: lists.get(name, pa.string()) for name in rows[0]}
    return parquet(folder / "truthful.parquet", rows, types)


def truthfulqa_choices(folder: Path) -> Path:
    targets = pa.struct([("choices", pa.list_(pa.string())), ("labels", pa.list_(pa.int32()))])
    row = {
        "question": "Do bats see?",
        "mc1_targets": {"choices": ["Yes.", "No."], "labels": [1, 0]},
        "mc2_targets": {"choices": ["No.", "Yes.", "They do."], "labels": [0, 1, 1]},
    }
    return parquet(folder / "mc.parquet", [row], {"question": pa.string(), "mc1_targets": targets, "mc2_targets": targets})


def realtoxicityprompts(folder: Path) -> Path:
    names = ("profanity", "sexually_explicit", "identity_attack", "flirtation", "threat", "insult", "severe_toxicity")

    def scored(text: str, toxicity: float | None) -> Row:
        return {"text": text, **dict.fromkeys(names, 0.1), "toxicity": toxicity}

    rows = [
        {"filename": "f.txt", "begin": n, "end": n + 9, "challenging": n == 1, "prompt": scored(f"The {n} men", toxicity),
         "continuation": scored(" were late.", 0.2)}
        for n, toxicity in enumerate((0.3, 0.9, None))
    ]  # fmt: skip
    return json_lines(folder / "prompts.jsonl", rows)


def crows_pairs(folder: Path) -> Path:
    """The original CSV: more columns than the copy on the hub, and an index without a name."""
    rows = [
        {
            "": n, "sent_more": f"He is {n}, so loud. ", "sent_less": f"She is {n}, so loud.", "stereo_antistereo": "stereo",
            "bias_type": "gender", "annotations": "[['gender']]", "anon_writer": "a0", "anon_annotators": "['a1']",
        }
        for n in range(3)
    ]  # fmt: skip
    return tsv(folder / "crows_pairs_anonymized.csv", rows, ",")


def winogender(folder: Path) -> Path:
    """The original table: two columns; the rest stands in the id."""
    pronouns = {"male": "he", "female": "she", "neutral": "they"}
    rows = [
        {"sentid": f"cook.{who}.{answer}.{gender}.txt", "sentence": f"The cook told the {who} that {word} {end}."}
        for who in ("guest", "someone")
        for answer, end in (("0", "could pay"), ("1", "could rest"))
        for gender, word in pronouns.items()
    ]
    return tsv(folder / "all_sentences.tsv", rows)


def hellaswag(folder: Path) -> Path:
    rows = [
        {
            "ind": n, "activity_label": "Cooking", "ctx_a": "A cook.", "ctx_b": "he", "ctx": "A cook. he",
            "endings": [f"stirs {i}." for i in range(4)], "source_id": "activitynet~x", "split": "val",
            "split_type": "indomain", "label": label,
        }
        for n, label in enumerate(("3", "0", ""))
    ]  # fmt: skip
    types = {name: pa.string() for name in rows[0]} | {"ind": pa.int32(), "endings": pa.list_(pa.string())}
    return parquet(folder / "hellaswag.parquet", rows, types)


def squad_v2(folder: Path) -> Path:
    answers = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])
    rows = [
        {"id": "a", "title": "Old_Town", "context": "It is old.", "question": " How old? ",
         "answers": {"text": ["old", "old"], "answer_start": [6, 6]}},
        {"id": "b", "title": "Old_Town", "context": "It is old.", "question": "How big?",
         "answers": {"text": [], "answer_start": []}},
    ]  # fmt: skip
    return parquet(folder / "squad.parquet", rows, {name: pa.string() for name in rows[0]} | {"answers": answers})


def drop(folder: Path) -> Path:
    spans = pa.struct([("spans", pa.list_(pa.string())), ("types", pa.list_(pa.string()))])
    found = [
        (["2", "2"], ["number", "number"]),
        (["Rams", "Jets", "Rams", "Jets", "1 May"], ["span", "span", "span", "span", "date"]),  # two of three name two teams
    ]
    rows = [
        {"section_id": "s", "query_id": f"q{n}", "passage": f"They won {n + 2} to 1.", "question": "By how much?",
         "answers_spans": {"spans": texts, "types": types}}
        for n, (texts, types) in enumerate(found, 1)
    ]  # fmt: skip
    return parquet(folder / "drop.parquet", rows, {name: pa.string() for name in rows[0]} | {"answers_spans": spans})


def drop_annotators(folder: Path) -> Path:
    date = pa.struct([(name, pa.string()) for name in ("day", "month", "year")])
    spans = pa.list_(pa.string())
    one = pa.struct([("number", pa.string()), ("date", date), ("spans", spans), ("worker_id", pa.string())])
    many = pa.struct([("number", pa.list_(pa.string())), ("date", pa.list_(date)), ("spans", pa.list_(spans))])
    no_date = {"day": "", "month": "", "year": ""}
    row = {
        "section_id": "s", "query_id": "q1", "passage": "Rams and Jets won.", "question": "Who won?",
        "answer": {"number": "", "date": no_date, "spans": ["Rams", "Jets"], "worker_id": "w"},
        "validated_answers": {
            "number": ["", "2", ""], "date": [no_date, no_date, {"day": "1", "month": "May", "year": ""}],
            "spans": [["Rams"], [], []],
        },
    }  # fmt: skip
    types = {name: pa.string() for name in row} | {"answer": one, "validated_answers": many}
    return parquet(folder / "drop_annotators.parquet", [row], types)


def closed_domain(folder: Path) -> Path:
    """Of these passages, 112 and 175 are in the test split, by their hash."""
    rows = [
        {"instruction": question, "context": f"Park {n} was laid out by Ann in 1790.", "response": "By Ann.",
         "category": category}
        for n in range(110, 180)
        for question, category in (("Who laid it out?", "closed_qa"), ("Write a poem.", "creative_writing"))
    ]  # fmt: skip
    return json_lines(folder / "databricks-dolly-15k.jsonl", [*rows, rows[0] | {"context": ""}])


def quac(folder: Path) -> Path:
    """A dialogue of three questions; to the second, most annotators found no answer. The text ends with the mark of QuAC."""
    answers = pa.struct([("texts", pa.list_(pa.list_(pa.string()))), ("answer_starts", pa.list_(pa.list_(pa.int32())))])
    texts = [["old", "very old", "CANNOTANSWER"], ["CANNOTANSWER", "big", "CANNOTANSWER"], ["by bus"]]
    starts = [[0] * len(found) for found in texts]
    row = {
        "dialogue_id": "C_1", "wikipedia_page_title": "Old Town", "background": "A town.", "section_title": "History",
        "context": "It is very old. Many came by bus. CANNOTANSWER", "turn_ids": ["C_1_q#0", "C_1_q#1", "C_1_q#2"],
        "questions": ["How old?", "How big?", "How did they come?"], "followups": [0, 1, 2], "yesnos": [2, 2, 2],
        "answers": {"texts": texts, "answer_starts": starts},
        "orig_answers": {"texts": [found[0] for found in texts], "answer_starts": [0, 0, 0]},
    }  # fmt: skip
    lists = {"turn_ids": pa.string(), "questions": pa.string(), "followups": pa.int64(), "yesnos": pa.int64()}
    original = pa.struct([("texts", pa.list_(pa.string())), ("answer_starts", pa.list_(pa.int32()))])
    types: dict[str, pa.DataType] = {name: pa.string() for name in row} | {k: pa.list_(kind) for k, kind in lists.items()}
    return parquet(folder / "quac.parquet", [row], types | {"answers": answers, "orig_answers": original})


def wsc(folder: Path) -> Path:
    rows = [
        {"text": "Jane gave Joan candy because she was hungry.", "span1_index": 2, "span2_index": 5, "span1_text": "Joan",
         "span2_text": "she", "idx": 0, "label": 1},
        {"text": "Pete lied to Mark. He was cross.", "span1_index": 0, "span2_index": 4, "span1_text": "Pete",
         "span2_text": "He", "idx": 1, "label": 0},
        {"text": "Ann saw Eve, and she left.", "span1_index": 0, "span2_index": 4, "span1_text": "Ann",
         "span2_text": "she", "idx": 2, "label": -1},
    ]  # fmt: skip
    numbers = dict.fromkeys(("span1_index", "span2_index", "idx"), pa.int32()) | {"label": pa.int64()}
    return parquet(folder / "wsc.parquet", rows, {name: pa.string() for name in rows[0]} | numbers)


def cnn_dm(folder: Path) -> Path:
    rows = [
        {"article": f"(CNN) It rained {n} days. Streets were wet. ", "highlights": f"It rained {n} days .\nStreets were wet .",
         "id": f"a{n}"}
        for n in range(2)
    ]  # fmt: skip
    return parquet(folder / "cnn.parquet", rows, dict.fromkeys(rows[0], pa.string()))


def tldr_posts(folder: Path) -> Path:
    rows = [
        {"prompt": f"SUBREDDIT: r/cats\n\nTITLE: Cat {n}\n\nPOST: My cat moved out.\n\nTL;DR:", "completion": f" Cat {n} left."}
        for n in range(2)
    ]
    return parquet(folder / "posts.parquet", rows, dict.fromkeys(rows[0], pa.string()))


def reward_bench(folder: Path) -> Path:
    """Two rows with one right completion among four, and one of the subset with several."""

    def row(name: str, subset: str, right: int, wrong: int) -> Row:
        return {
            "id": name, "prompt": f"Say {name}.", "chosen": [f"Yes {i}." for i in range(right)],
            "rejected": [f"No {i}." for i in range(wrong)], "num_correct": right, "num_incorrect": wrong,
            "total_completions": right + wrong, "models": ["m"] * (right + wrong), "subset": subset,
            "additional_metadata": {"category": None},
        }  # fmt: skip

    rows = [row("1", "Factuality", 1, 3), row("2", "Math", 1, 3), row("3", "Ties", 2, 6)]
    types: dict[str, pa.DataType] = dict.fromkeys(rows[0], pa.string())
    types |= dict.fromkeys(("chosen", "rejected", "models"), pa.list_(pa.string()))
    types |= dict.fromkeys(("num_correct", "num_incorrect", "total_completions"), pa.int64())
    return parquet(folder / "rb2.parquet", rows, types | {"additional_metadata": pa.struct([("category", pa.string())])})


def wmt15(folder: Path) -> Path:
    both = pa.struct([("fr", pa.string()), ("en", pa.string())])
    return parquet(folder / "wmt.parquet", [{"translation": {"fr": "L'été.", "en": "Summer."}}], {"translation": both})


def glue(folder: Path, task: str) -> Path:
    rows: list[Row] = [{"label": label, "idx": n} for n, label in enumerate((0, 1, -1))]
    names = ("sentence",) if task == "sst2" else ("sentence1", "sentence2")
    for row in rows:
        row |= {name: f"{name} {row['idx']} is dull " for name in names}
    types = {name: pa.string() for name in names} | {"label": pa.int64(), "idx": pa.int32()}
    return parquet(folder / f"{task}.parquet", rows, types)


Factory = Callable[[Path], Path]
FIXTURES: dict[str, Factory] = {
    "dolly": dolly,
    "no_robots": no_robots,
    "oasst1": oasst,
    "oasst2": oasst,
    **{
        f"hh-rlhf/{part}": lambda folder, part=part: hh_rlhf(folder, part)  # type: ignore[misc]
        for part in ("helpful-base", "helpful-online", "helpful-rejection-sampled", "harmless-base")
    },
    "tldr": tldr,
    "summarize_from_feedback": summarize_from_feedback,
    "lm-human-preferences/sentiment": best_of_4,
    "lm-human-preferences/descriptiveness": best_of_4,
    "lm-human-preferences/tldr": lambda folder: best_of_4(folder, summaries=True),
    "lm-human-preferences/cnndm": lambda folder: best_of_4(folder, summaries=True),
    "helpsteer3": helpsteer3,
    "helpsteer3/individual": helpsteer3,
    "webgpt": webgpt,
    "openwebtext-10k": texts,
    "openwebtext": texts,
    "truthfulqa": truthfulqa,
    "truthfulqa/multiple_choice": truthfulqa_choices,
    "realtoxicityprompts": realtoxicityprompts,
    "crows_pairs": crows_pairs,
    "crows_pairs/revised": crows_pairs,
    "winogender": winogender,
    "hellaswag": hellaswag,
    "squad_v2": squad_v2,
    "drop": drop,
    "drop/annotators": drop_annotators,
    "quac": quac,
    "wsc": wsc,
    "cnn_dm": cnn_dm,
    "tldr/posts": tldr_posts,
    "dolly/closed_domain": closed_domain,
    "reward_bench": reward_bench,
    "wmt15": wmt15,
    "sst2": lambda folder: glue(folder, "sst2"),
    "rte": lambda folder: glue(folder, "rte"),
}


def source(name: str, folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return f"hub:{name}={FIXTURES[name](folder)}"
