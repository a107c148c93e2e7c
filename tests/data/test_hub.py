"""Public human data: made-up files of the real schemas through the real loader, and one sentence for all that goes wrong."""

from __future__ import annotations

import errno
import gzip
import importlib
import json
import logging
import os
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow.parquet as pq
import pytest
from hub_fixtures import FIXTURES, message, oasst_messages, parquet, source
from hub_fixtures import OASST_TYPES as TYPES
from huggingface_hub import errors as hub_errors

from utils.config import DataConfig, load_config
from utils.core.errors import UserError
from utils.core.io import COMMIT
from utils.core.runtime import ROOT
from utils.data import hub
from utils.data.formats import load_comparisons, load_demonstrations, load_prompts
from utils.data.hub import adapters, fetch
from utils.data.hub.convert import convert
from utils.data.hub.evaluations import EVALUATIONS, _marked
from utils.data.hub.load import assign_splits, check_source
from utils.data.matching import prompt_key
from utils.data.schemas import SPLITS, Comparison, Demonstration, Prompt
from utils.pipeline.data_stages import check_files

HTTP: Any = importlib.import_module(hub_errors.HTTPError.__module__.split(".")[0])  # httpx, or what took its place
PAIRS = ROOT.parent / "shared" / "data" / "hh-rlhf" / "harmless-base-test.jsonl.gz"
TRAINING = [name for name, row in hub.DATASETS.items() if set(row.kinds) <= {"prompts", "demonstrations", "comparisons"}]
EVALS = [name for name, row in hub.DATASETS.items() if row.kinds == ("evaluation",)]


@pytest.fixture(autouse=True)
def decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Token ids of the fixtures are bytes; GPT-2's tokenizer is not on every disk."""
    monkeypatch.setattr(adapters, "gpt2_decoder", lambda: lambda ids: bytes(i for i in ids if i < 256).decode())


def load(name: str, kind: str, folder: Path) -> hub.Loaded:
    return hub.load_examples(source(name, folder), kind)


def sentence(call: Any, *args: Any) -> str:
    with pytest.raises(UserError) as error:
        call(*args)
    text = str(error.value)
    assert "\n" not in text and text.endswith(".")
    return text


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hub.DATASETS)
def test_a_row_of_the_table_is_well_formed(name: str) -> None:
    row = hub.DATASETS[name]
    assert re.fullmatch(r"[\w-]+(/[\w-]+)?", name)
    if row.repo:
        assert re.fullmatch(r"[\w-]+/[\w.-]+", row.repo), "a namespaced id"
        assert COMMIT.fullmatch(row.revision) or row.revision in ("main", "refs/convert/parquet")
        assert len({other.revision for other in hub.DATASETS.values() if other.repo == row.repo}) == 1
    else:
        assert all(address.startswith("https://") for address in row.files.values())
    suffixes = {"json": (".jsonl", ".json", ".jsonl.gz", ".json*.gz"), "parquet": (".parquet",)}
    assert all(pattern.endswith(suffixes[row.builder]) for pattern in (*row.files.values(), *row.examples.values()))
    assert not set(row.files.values()) & set(row.examples.values()), "examples are not of the evaluated part"
    converted = row.revision == "refs/convert/parquet"
    assert all(len(pattern.split("/")) == 3 for pattern in row.files.values() if converted), "config/split/*.parquet"
    assert row.columns and len(set(row.columns)) == len(row.columns)
    assert row.kinds and set(row.kinds) <= set(hub.KINDS) and not set(row.rejected) & set(row.kinds)
    assert row.adapter in (EVALUATIONS if row.kinds == ("evaluation",) else {*adapters.ADAPTERS, "texts"})
    assert row.licence and name in FIXTURES


def test_the_readme_counts_the_pinned_repositories() -> None:
    revisions = {row.repo: row.revision for row in hub.DATASETS.values() if row.repo}
    pinned = [repo for repo, revision in revisions.items() if COMMIT.fullmatch(revision)]
    numbers = {12: "Twelve", 27: "twenty-seven"}
    said = f"{numbers[len(pinned)]} of the {numbers[len(revisions)]} repositories are pinned to a commit"
    assert said in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", hub.DATASETS)
def test_every_dataset_has_a_card(name: str) -> None:
    row = hub.DATASETS[name]
    text = (ROOT / row.card).read_text(encoding="utf-8")
    for needed in (row.place, row.revision, row.licence.split(" (")[0].split(":")[0], *row.columns):
        assert needed in text, f"{row.card} does not name {needed}"
    for heading in ("What it is", "Who made it", "What the licence allows", "Pitfalls", "How it is split", "In InstructGPT"):
        assert f"**{heading}" in text, f"{row.card}: {heading}"


def test_what_a_source_may_look_like() -> None:
    plain, pinned = hub.parse_source("hub:dolly"), hub.parse_source("hub:oasst2@abc123")
    assert (plain.dataset.repo, plain.path) == ("databricks/databricks-dolly-15k", None)
    assert plain.revision == hub.DATASETS["dolly"].revision and COMMIT.fullmatch(plain.revision)
    assert (pinned.revision, pinned.path) == ("abc123", None)
    local = hub.parse_source("hub:hh-rlhf/harmless-base=a=b/x.jsonl.gz", "comparisons")
    assert local.path == Path("a=b/x.jsonl.gz")
    assert hub.is_hub("hub:x") and not hub.is_hub("x.jsonl") and not hub.is_hub(None)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("hub:doly", None, 'There is no "hub:doly": use hub:dolly'),
        ("hub:hh-rlhf", None, "use hub:hh-rlhf/helpful-base or hub:hh-rlhf/helpful-online"),
        ("hub:hh-rlhf/red-team-attempts", "comparisons", "use hub:hh-rlhf/helpful-base or"),
        ("hub:dolly@", None, "is incomplete: write hub:dolly, hub:dolly@REVISION or hub:dolly=PATH"),
        ("hub:dolly=", None, "is incomplete"),
        ("hub:lm-human-preferences/tldr@x", None, "is not in a repository and has no revisions"),
        ("hub:dolly", "comparisons", "cannot be used as comparisons, as it is made for prompts, demonstrations: use hub:oas"),
        ("hub:hh-rlhf/harmless-base", "demonstrations", "its card asks that dialogue agents are not trained on these"),
    ],
)
def test_a_wrong_source_is_one_sentence(text: str, kind: str | None, expected: str) -> None:
    assert expected in sentence(hub.parse_source, text, kind)


# --- every dataset through one loader --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRAINING)
def test_every_use_of_a_dataset_gives_rows(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = source(name, tmp_path)
    for kind, schema in zip(("prompts", "demonstrations", "comparisons"), (Prompt, Demonstration, Comparison), strict=True):
        if kind in hub.DATASETS[name].kinds:
            loaded = hub.load_examples(where, kind)
            rows = hub.rows_of(loaded)
            assert rows and all(isinstance(row, schema) and row.prompt.strip() and row.split in SPLITS for row in rows)
            if kind == "prompts":
                assert len({row.prompt for row in rows}) == len(rows)
            for row in rows:
                if isinstance(row, Comparison):
                    assert len(row.completions) == len(row.ranks) == len(row.finished) >= 2
                    assert len(set(row.ranks)) > 1 and min(row.ranks) == 1 and all(row.completions)
                if isinstance(row, Demonstration):
                    assert row.completion.strip() == row.completion != ""
    assert f"licence {hub.DATASETS[name].licence}" in capsys.readouterr().out


@pytest.mark.parametrize("name", TRAINING)
def test_no_group_and_no_prompt_is_in_two_splits_nor_moves_with_the_use(name: str, tmp_path: Path) -> None:
    where = source(name, tmp_path)
    split_of: dict[str, str] = {}
    for kind in set(hub.DATASETS[name].kinds):
        for example in hub.load_examples(where, kind).examples:
            for key in (example.group, prompt_key(example.prompt)):
                assert not key or split_of.setdefault(key, example.split) == example.split


@pytest.mark.parametrize("name", ["dolly", "oasst2", "hh-rlhf/harmless-base", "webgpt"])
def test_a_missing_column_is_named(name: str, tmp_path: Path) -> None:
    path = FIXTURES[name](tmp_path)
    file = path if path.is_file() else next(f for f in sorted(path.rglob("*")) if f.is_file())
    gone = hub.DATASETS[name].columns[1]
    if file.suffix == ".parquet":
        pq.write_table(pq.read_table(file).drop_columns([gone]), file)
    else:
        fetch_rows = fetch.stream_rows(hub.parse_source(f"hub:{name}={file}"), fetch.Files({"": (str(file),)}))
        rows = [{k: v for k, v in row.items() if k != gone} for _, row in fetch_rows]
        file = file.with_name("without.jsonl")
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kind = hub.DATASETS[name].kinds[0]
    assert f'has no column "{gone}" (it has ' in sentence(check_source, f"hub:{name}={file}", kind)


def test_dolly(tmp_path: Path) -> None:
    loaded = load("dolly", "demonstrations", tmp_path)
    rows = {e.prompt: e for e in loaded.examples}
    about = [e for e in loaded.examples if "Wörlitz" in e.prompt]
    assert [e.use_case for e in about] == ["closed_qa", "extract"] and len({e.split for e in about}) == 1
    assert about[0].prompt == "When was it laid out?\n\nThe Wörlitz park [1] was laid out in the 18th century."
    assert rows["Write a line about \U0001f40b whales."].use_case == "generation"
    assert loaded.rows == 19 and loaded.dropped == {"no prompt": 1, "an empty answer": 1}
    train = replace(loaded, examples=[replace(e, split="train") for e in loaded.examples])
    cleaned = hub.clean_examples(train, DataConfig())
    assert {k: v for k, v in cleaned.dropped.items() if k.startswith("prompt:")} == {
        "prompt: language": 1, "prompt: pii": 1, "prompt: duplicate": 1,
    }  # fmt: skip
    held_out = replace(loaded, examples=[replace(e, split="test") for e in loaded.examples])
    assert "prompt: pii" not in hub.clean_examples(held_out, DataConfig()).dropped, "sec. 3.2: of the training split"
    assert loaded.dropped == {"no prompt": 1, "an empty answer": 1}, "cleaning leaves what it was given as it was"


def test_no_robots(tmp_path: Path) -> None:
    loaded = load("no_robots", "demonstrations", tmp_path)
    chat = next(e for e in loaded.examples if "Marv" in e.prompt)
    assert chat.prompt.startswith("Marv is a chatbot that sings.\n\nHuman: Hi!\n\nAssistant: Hello")
    assert (chat.completion, chat.use_case) == ("La la.", "chat")
    assert {e.use_case for e in loaded.examples} == {"generation", "chat", "classification", "other", "rewrite"}
    assert loaded.dropped["malformed conversation"] == 1
    assert {e.split for e in loaded.examples if e.publisher_split == "test"} <= {"valid", "test"}
    assert {e.split for e in loaded.examples if e.publisher_split == "train"} == {"train"}


def test_oasst_rankings(tmp_path: Path) -> None:
    loaded = load("oasst2", "comparisons", tmp_path)
    rows = {row.prompt: row for row in hub.rows_of(loaded)}
    assert set(rows) == {"Why is the sky blue?", "Tell me a joke."}
    sky = rows["Why is the sky blue?"]
    assert isinstance(sky, Comparison)
    assert sky.completions == ("Because of scattering.", "Air scatters blue light.", "It is not.") and sky.ranks == (1, 2, 3)
    joke = rows["Tell me a joke."]
    assert isinstance(joke, Comparison) and joke.policies == ("model", "person")
    assert loaded.dropped == {
        "deleted": 1, "another language": 1, "rejected in review": 1, "an empty message": 1,
        "a message before it is missing": 2,  # replies to the Spanish and to the refused message
        "all answers tied": 1, "fewer than two ranked answers": 1,
    }  # fmt: skip


def test_oasst_demonstrations_are_first_answers_of_rank_0_by_people(tmp_path: Path) -> None:
    loaded = load("oasst2", "demonstrations", tmp_path)
    assert [(e.prompt, e.completion) for e in loaded.examples] == [("Why is the sky blue?", "Because of scattering.")]
    assert loaded.dropped["no answer of rank 0 by a person"] == 2 and loaded.dropped["not the first message"] == 1


def test_oasst_prompts_belong_to_who_began_the_conversation(tmp_path: Path) -> None:
    loaded = load("oasst2", "prompts", tmp_path)
    by_prompt = {e.prompt: e for e in loaded.examples}
    deep = by_prompt[
        "\n\nHuman: Why is the sky blue?\n\nAssistant: Because of scattering.\n\nHuman: And at night?\n\nAssistant:"
    ]
    assert deep.user_id == "ann" and deep.use_case == "chat"
    assert len({e.split for e in loaded.examples if e.user_id == "ann"}) == 1
    assert by_prompt["Tell me a joke."].group == "tree d" and by_prompt["Tell me a joke."].user_id == ""


def test_oasst_trees_with_a_loop_end(tmp_path: Path) -> None:
    rows = [*oasst_messages(), message("x", "x.1", "Round?", "z"), message("x.1", "x", "And round.", "z", 0)]
    path = parquet(tmp_path / "loop.parquet", rows, TYPES)
    assert hub.load_examples(f"hub:oasst2={path}", "prompts").dropped["a message before it is missing"] == 4


def test_hh_rlhf(tmp_path: Path) -> None:
    loaded = load("hh-rlhf/harmless-base", "comparisons", tmp_path)
    assert loaded.dropped == {
        "no shared beginning": 2, "the transcripts differ before the last answer": 1, "equal answers": 1, "an empty answer": 1,
        "its author, post or opening is in the publisher's held-out part": 2,
    }  # fmt: skip
    assert {e.prompt: e.split for e in loaded.examples if e.split == "train"} == {
        "\n\nHuman: May I keep a fox?\n\nAssistant:": "train"
    }
    assert all(e.split != "train" for e in loaded.examples if e.publisher_split == "test")
    egg = next(e for e in loaded.examples if "egg" in e.prompt)
    assert (egg.completions, egg.ranks) == (("In water.", "In sand."), (1, 2))


@pytest.mark.parametrize("name", ["tldr", "summarize_from_feedback"])
def test_tldr_keeps_workers(name: str, tmp_path: Path) -> None:
    loaded = load(name, "comparisons", tmp_path)
    rows = [row for row in hub.rows_of(loaded) if isinstance(row, Comparison)]
    disagree = [row for row in rows if "Post 1:" in row.prompt]
    assert [(row.labeler_id, row.ranks) for row in disagree] == [("w1", (1, 2)), ("w2", (2, 1))]
    assert disagree[0].prompt == "SUBREDDIT: r/cats\n\nTITLE: Cat 1\n\nPOST: Post 1: my cat moved out.\n\nTL;DR:"
    assert disagree[0].policies == ("sup0", "sup1")
    assert loaded.dropped == {
        "not a post (news article)": 1, "nobody chose between the two summaries": 1, "equal answers": 1, "an empty answer": 1
    }  # fmt: skip


def test_best_of_4_ties_the_rest_and_what_equals_the_best(tmp_path: Path) -> None:
    loaded = load("lm-human-preferences/sentiment", "comparisons", tmp_path)
    first, second, last = loaded.examples
    assert (first.prompt, first.completions, first.ranks) == ("The ship sailed", ("on.", "off.", "up.", "on."), (1, 2, 2, 1))
    assert second.ranks == (2, 2, 2, 1) and last.completions[0] == "Æone two"
    assert second.finished == (False,) * 4, "cut at 24 tokens"
    assert loaded.dropped == {"all answers tied": 1, "nobody chose among the four samples": 1}
    summaries = load("lm-human-preferences/tldr", "comparisons", tmp_path / "s")
    assert summaries.examples[1].completions[:2] == ("no.", "yes.")
    assert summaries.examples[1].finished == (True, True, False, False)


def test_helpsteer3_grades(tmp_path: Path) -> None:
    loaded = load("helpsteer3", "comparisons", tmp_path)
    ranks = {e.prompt.splitlines()[0] or "chat": e.ranks for e in loaded.examples if e.split == "train"}
    assert ranks == {"How tall is a fir?": (1, 2), "chat": (2, 1), "Name a nut.": (2, 1)}
    assert loaded.dropped == {
        "another language": 1, "malformed conversation": 1, "no preference": 1, "all answers tied": 1
    }  # fmt: skip
    people = load("helpsteer3/individual", "comparisons", tmp_path / "p")
    sort = [(e.labeler_id, e.ranks) for e in people.examples if "Sort" in e.prompt]
    assert sort == [("annotator 2", (1, 2)), ("annotator 3", (2, 1))]


def test_webgpt_scores_of_zero_are_ties(tmp_path: Path) -> None:
    loaded = load("webgpt", "comparisons", tmp_path)
    ranks = {e.prompt: e.ranks for e in loaded.examples}
    assert ranks["Why? 1"] == (1, 2) and ranks["Why? 2"] == (2, 1) and len(ranks) == 12
    assert loaded.dropped == {"all answers tied": 1, "no preference": 1}


def test_pretraining_text(tmp_path: Path) -> None:
    where = source("openwebtext-10k", tmp_path)
    texts, record = hub.load_texts(where)
    assert texts == ["One two three.", "Vier: fünf, \U0001f40b.", "Last."]
    assert record["rows"] == 6 and record["used"] == 3 and record["dropped"] == {"an empty text": 3}
    assert hub.load_texts(where, 1)[0] == texts[:1]


def test_tied_and_useless_data_is_said(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", [m for m in oasst_messages() if m["message_id"] in ("b", "b.1")], TYPES)
    said = sentence(hub.load_examples, f"hub:oasst2={path}", "comparisons")
    assert "nothing in it can be used as comparisons (fewer than two ranked answers 1)" in said


# --- splits ----------------------------------------------------------------------------------------------------------


def test_one_prompt_by_two_authors_is_in_one_split_and_the_others_are_counted() -> None:
    many = [hub_example(f"Prompt {i}", f"user {i}") for i in range(300)]
    same = [hub_example("Hello!", f"user {i}") for i in range(300)]
    dropped: Any = defaultdict(int)
    kept = assign_splits(many + same, dropped)
    assert {e.split for e in kept if e.prompt == "Hello!"} == {"test"}, "some of 300 users are in the test split"
    assert dropped["its prompt is also in a held-out split"] == 600 - len(kept) > 200
    shares = [sum(e.split == s for e in kept if e.prompt != "Hello!") / 300 for s in SPLITS]
    assert shares[0] == pytest.approx(0.9, abs=0.06) and min(shares) > 0.01


def hub_example(prompt: str, group: str) -> Any:
    from utils.data.hub.examples import Example

    return Example(prompt, group)


def test_first_rows_are_whole_prompts_that_the_seed_chooses() -> None:
    rows = [Comparison(f"p{i // 2}", f"P {i // 2}", ("a", "b"), (1, 2)) for i in range(40)]
    chosen = hub.first_rows(rows, {"train": 5, "test": 5}, seed=1)
    assert len(chosen["train"]) == 10 and len({r.prompt_id for r in chosen["train"]}) == 5 and chosen["test"] == []
    assert chosen == hub.first_rows(rows[::1], {"train": 5, "test": 5}, seed=1)
    assert {r.prompt_id for r in chosen["train"]} != {r.prompt_id for r in hub.first_rows(rows, {"train": 5}, seed=2)["train"]}
    assert hub.without_prompts_of(rows, [Prompt("x", " p 3 ")]) == [r for r in rows if r.prompt_id != "p3"]


# --- evaluations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVALS)
def test_every_evaluation_comes_in_one_form(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = hub.load_evaluation(source(name, tmp_path))
    assert items and len({item.item_id for item in items}) == len(items)
    for item in items:
        assert item.task == name and (item.prompt or item.choices) and len(item.choices) != 1
        assert all(0 <= answer < len(item.choices) for answer in item.answers)
    assert hub.load_evaluation(source(name, tmp_path), 1) == items[:1]
    assert "licence" in capsys.readouterr().out


def test_closed_domain_tasks_are_those_that_no_run_trains_on(tmp_path: Path) -> None:
    """The same file as training data: its training and validation rows share no passage with the evaluation."""
    evaluated = {item.prompt.partition("\n\n")[0] for item in hub.load_evaluation(source("dolly/closed_domain", tmp_path))}
    rows = hub.load_examples(
        source("dolly/closed_domain", tmp_path).replace("dolly/closed_domain", "dolly"), "prompts"
    ).examples
    trained = {row.prompt.partition("\n\n")[2] for row in rows if row.split != "test"}
    assert evaluated and trained and not evaluated & trained


@pytest.mark.parametrize(
    ("text", "index", "marked"),
    [
        ("She saw her, and she left.", 4, "She saw her, and *she* left."),
        ("They left. (she stayed)", 1, "They left. (*she* stayed)"),
    ],
)
def test_the_pronoun_is_marked_where_it_stands_or_nearest(text: str, index: int, marked: str) -> None:
    assert _marked(text, "she", index) == marked
    with pytest.raises(ValueError, match="does not have the word he"):
        _marked("The end.", "he", 0)


def test_what_evaluations_hold(tmp_path: Path) -> None:
    def items(name: str) -> list[hub.EvalItem]:
        return hub.load_evaluation(source(name, tmp_path / name))

    cook = items("winogender")
    assert len(cook) == 4 and cook[0].choices == (
        "The cook told the guest that he could pay.", "The cook told the guest that she could pay."
    )  # fmt: skip
    assert cook[0].meta["participant"] == "guest" and cook[2].meta["participant"] == "someone"
    assert items("crows_pairs")[0].choices == ("He is 0, so loud.", "She is 0, so loud.")
    assert [i.answers for i in items("hellaswag")] == [(3,), (0,), ()]
    assert [i.references for i in items("squad_v2")] == [("old",), ()]
    old, big, bus = items("quac")
    assert old.prompt == "Old Town - History\n\nIt is very old. Many came by bus.\n\nHow old?" and old.meta == {"turns": []}
    assert [i.references for i in (old, big, bus)] == [("old", "very old"), (), ("by bus",)]
    assert bus.meta == {"turns": [["How old?", "old"], ["How big?", None]]}
    jane, pete, ann = items("wsc")
    assert jane.prompt == "Jane gave Joan candy because *she* was hungry." and jane.meta == {"noun": "Joan", "pronoun": "she"}
    assert [i.answers for i in (jane, pete, ann)] == [(1,), (0,), ()] and pete.prompt == "Pete lied to Mark. *He* was cross."
    assert items("cnn_dm")[0].references == ("It rained 0 days .\nStreets were wet .",)
    assert items("tldr/posts")[0].prompt.endswith("POST: My cat moved out.")
    assert items("tldr/posts")[1].references == ("Cat 1 left.",)
    closed = items("dolly/closed_domain")
    assert [i.prompt for i in closed] == [f"Park {n} was laid out by Ann in 1790.\n\nWho laid it out?" for n in (112, 175)]
    ranked = items("reward_bench")
    assert [i.answers for i in ranked] == [(0,), (0,), (0, 1)] and ranked[0].choices == ("Yes 0.", "No 0.", "No 1.", "No 2.")
    assert items("squad_v2")[0].prompt == "Old_Town\n\nIt is old.\n\nHow old?"
    assert items("hellaswag")[0].prompt == "Cooking: A cook. he"
    one, two = items("drop")
    assert one.references == ("2",) and one.meta["answers"] == [["2"]]
    assert two.references == ("1 May", "Rams and Jets") and two.meta["answers"] == [["1 May"], ["Rams", "Jets"]]
    (each,) = items("drop/annotators")
    assert each.meta["answers"] == [["Rams", "Jets"], ["Rams"], ["2"], ["1 May"]]
    assert items("truthfulqa/multiple_choice")[0].answers == (1, 2)
    assert [i.meta["toxicity"] for i in items("realtoxicityprompts")] == [0.3, 0.9, None]
    assert [i.answers for i in items("sst2")] == [(0,), (1,), ()]
    assert items("wmt15")[0].references == ("Summer.",)


def test_a_row_that_no_benchmark_has_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "w.tsv"
    path.write_text("sentid\tsentence\ncook.guest.0.male.txt\tA.\ncook.guest.0.robot.txt\tB.\n")
    said = sentence(hub.load_evaluation, f"hub:winogender={path}")
    assert f"hub:winogender={path}, row 2: the row is not as oskarvanderwal/winogender has it" in said
    path.write_text("sentid\tsentence\ncook.guest.0.male.txt\tA.\n")
    assert "KeyError('female')" in sentence(hub.load_evaluation, f"hub:winogender={path}")


def test_examples_come_from_another_part(tmp_path: Path) -> None:
    (trained,) = [item for item in hub.load_evaluation(source("rte", tmp_path / "a"), 1)]
    folder = tmp_path / "glue" / "rte"
    for split in ("train", "validation"):
        file = FIXTURES["rte"](tmp_path / split)
        folder.mkdir(parents=True, exist_ok=True)
        file.rename(folder / f"{split}-00000-of-00001.parquet")
    assert hub.load_example_items(f"hub:rte={folder.parent}", 1) == [trained]
    (folder / "train-00000-of-00001.parquet").unlink()
    said = sentence(hub.load_example_items, f"hub:rte={folder / 'validation-00000-of-00001.parquet'}", 1)
    assert "examples must come from another one: name a file of rte/train-*.parquet with --examples hub:rte=FILE" in said
    assert "has no part for examples" in sentence(hub.load_example_items, "hub:winogender", 1)


# --- files: local, downloaded, streamed ------------------------------------------------------------------------------


def test_local_files_of_every_shape(tmp_path: Path) -> None:
    folder = FIXTURES["hh-rlhf/harmless-base"](tmp_path)
    files = fetch.find_files(hub.parse_source(f"hub:hh-rlhf/harmless-base={folder}"))
    assert set(files.by_split) == {"train", "test"} and files.names() == ["train.jsonl.gz", "test.jsonl.gz"]
    inner = fetch.find_files(hub.parse_source(f"hub:hh-rlhf/harmless-base={folder / 'harmless-base'}"))
    assert set(inner.by_split) == {"train", "test"}, "told apart by their names"
    one = fetch.find_files(hub.parse_source(f"hub:hh-rlhf/harmless-base={folder / 'harmless-base' / 'test.jsonl.gz'}"))
    assert set(one.by_split) == {""}, "a file alone serves for all splits"
    pattern = fetch.find_files(hub.parse_source(f"hub:hh-rlhf/harmless-base={folder / 'harmless-base' / 't*.gz'}"))
    assert set(pattern.by_split) == {"train", "test"}
    (folder / "harmless-base" / "train.jsonl.gz").unlink()
    for place in (folder, folder / "harmless-base"):
        alone = fetch.find_files(hub.parse_source(f"hub:hh-rlhf/harmless-base={place}"))
        assert set(alone.by_split) == {""}, "so do files of one split"
    assert "there is no file at" in sentence(fetch.find_files, hub.parse_source(f"hub:dolly={tmp_path / 'no.jsonl'}"))
    (tmp_path / "x.pdf").write_text("x")
    said = sentence(lambda: check_source(f"hub:dolly={tmp_path / 'x.pdf'}", "prompts"))
    assert "x.pdf has an unknown format; use .parquet, .jsonl" in said


def downloaded(monkeypatch: pytest.MonkeyPatch, folder: Path, seen: list[dict[str, Any]]) -> None:
    """Let the hub's download give `folder`."""

    def snapshot_download(repo: str, **options: Any) -> str:
        seen.append({"repo": repo, **options})
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def test_a_download_is_read_by_the_same_loader_and_its_commit_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit, seen = "0123456789abcdef" * 2 + "01234567", []
    FIXTURES["oasst2"](tmp_path / commit)
    downloaded(monkeypatch, tmp_path / commit, seen)
    loaded = hub.load_examples("hub:oasst2@v1", "comparisons")
    local = hub.load_examples(f"hub:oasst2={tmp_path / commit}", "comparisons")
    assert loaded.examples == local.examples
    assert seen[0]["repo"] == "OpenAssistant/oasst2" and seen[0]["revision"] == "v1" and seen[0]["repo_type"] == "dataset"
    record = hub.source_record(loaded, 2)
    assert record["commit"] == commit and record["revision"] == "v1" and record["dataset"] == "OpenAssistant/oasst2"
    assert json.loads(json.dumps(record)) == record
    assert hub.source_record(local, 2)["commit"] is None and hub.source_record(local, 2)["revision"] is None


def test_names_are_checked_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    downloaded(monkeypatch, ROOT, seen)
    config = load_config("gpt2", {"data.comparisons": "hub:dolly"})
    assert config.data.demonstrations == "hub:dolly"
    assert "hub:dolly cannot be used as comparisons" in sentence(check_files, config) and not seen


def test_what_is_in_the_cache_needs_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit, folder = hub.DATASETS["oasst2"].revision, tmp_path / "datasets--OpenAssistant--oasst2"
    FIXTURES["oasst2"](folder / "snapshots" / commit)
    FIXTURES["oasst2"](folder / "snapshots" / ("89abcdef" * 5))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("89abcdef" * 5)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert hub.load_examples("hub:oasst2", "comparisons").files.commit == commit
    assert hub.load_examples("hub:oasst2@main", "comparisons").files.commit == "89abcdef" * 5
    assert "which is not on this disk" in sentence(check_source, "hub:dolly", "prompts")


def test_a_repository_without_the_files_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    downloaded(monkeypatch, tmp_path, [])
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    said = sentence(check_source, "hub:hh-rlhf/harmless-base", "comparisons")
    assert "The dataset Anthropic/hh-rlhf has no file harmless-base/train.jsonl.gz at 09be8c5bbc57" in said
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "run `python scripts/fetch_data.py hh-rlhf/harmless-base` on a machine" in sentence(
        check_source, "hub:hh-rlhf/harmless-base", "comparisons"
    )


def test_large_text_is_streamed_at_the_commit_of_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    class Info:
        sha = "f" * 40

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, repo, revision: Info())
    files = fetch.find_files(hub.parse_source("hub:openwebtext"))
    root = f"hf://datasets/Skylion007/openwebtext@{'f' * 40}"
    assert files.by_split == {"train": (f"{root}/plain_text/partial-train/*.parquet",)} and files.commit == "f" * 40


# --- what goes wrong -------------------------------------------------------------------------------------------------


def refusal(kind: Any, status: int) -> Exception:
    request = HTTP.Request("GET", "https://huggingface.co/x")
    return kind("said no", response=HTTP.Response(status, request=request))


OASST2 = hub.DATASETS["oasst2"].revision
FAULTS = {
    "gated": (refusal(hub_errors.GatedRepoError, 403), "is gated: accept its terms at https://huggingface.co/datasets/Op"),
    "missing": (refusal(hub_errors.RepositoryNotFoundError, 404), "The hub has no public dataset OpenAssistant/oasst2"),
    "revision": (refusal(hub_errors.RevisionNotFoundError, 404), f"has no revision {OASST2}: write hub:oasst2@main or"),
    "entry": (refusal(hub_errors.RemoteEntryNotFoundError, 404), f"has no such file at {OASST2}: name another @REVISION"),
    "rate": (refusal(hub_errors.HfHubHTTPError, 429), "allows no more downloads from here for now (status 429"),
    "forbidden": (refusal(hub_errors.HfHubHTTPError, 401), "access to OpenAssistant/oasst2 (status 401): run `hf auth login`"),
    "server": (refusal(hub_errors.HfHubHTTPError, 503), "(status 503): try again later"),
    "cache": (hub_errors.LocalEntryNotFoundError("nothing"), "needs the dataset OpenAssistant/oasst2, which is not on this"),
    "offline": (ConnectionError("offline mode"), "run `python scripts/fetch_data.py oasst2` on a machine with a connection"),
    "timeout": (HTTP.ReadTimeout("slow"), "and the hub cannot be reached"),
    "dns": (OSError("Temporary failure: could not resolve host"), "and the hub cannot be reached"),
    "script": (RuntimeError("Dataset scripts are no longer supported, but found x.py"), "is a loading script, which `"),
    "config": (ValueError("BuilderConfig 'x' not found. Available: ['y']"), "has no such configuration (BuilderConfig 'x'"),
    "full": (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "The disk is full: hub:oasst2 did not fit; delete"),
    "quota": (OSError(errno.EDQUOT, "quota"), "HF_HOME name a folder on a larger disk"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_hub_raises_becomes_one_sentence(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error, expected = FAULTS[fault]

    def fail(*args: Any, **options: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    assert expected in sentence(check_source, "hub:oasst2", "comparisons")


def test_a_wrong_revision_of_ones_own_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> str:
        raise refusal(hub_errors.RevisionNotFoundError, 404)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    said = sentence(check_source, "hub:oasst2@v9", "comparisons")
    assert said.endswith("has no revision v9: leave it out or name one that exists.")


def test_a_full_disk_behind_another_error_is_still_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> str:
        try:
            raise OSError(errno.ENOSPC, "no space")
        except OSError as error:
            raise RuntimeError("Data processing error: CAS service") from error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    assert sentence(check_source, "hub:oasst2", "comparisons").startswith("The disk is full")


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ZeroDivisionError):
        check_source("hub:oasst2", "comparisons")


@pytest.mark.parametrize(
    ("name", "kind", "spoil"),
    [
        ("hh-rlhf/harmless-base", "comparisons", lambda content: content[: len(content) // 2]),
        ("oasst2", "comparisons", lambda content: content[: len(content) // 2]),
        ("dolly", "prompts", lambda content: content[:200] + b'{"instruction": "cut o'),
        ("dolly", "prompts", lambda content: b"<html>Sign in</html>"),
        ("webgpt", "prompts", lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    ],
)
def test_a_broken_file_is_one_sentence(
    name: str, kind: str, spoil: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("datasets"), "propagate", True)
    path = FIXTURES[name](tmp_path)
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    for file in files:
        file.write_bytes(spoil(file.read_bytes()))
    said = sentence(hub.load_examples, f"hub:{name}={files[0]}", kind)
    assert "a file is broken or incomplete (" in said and said.endswith("): copy or download it again.")
    assert "Failed to load" not in caplog.text


@pytest.mark.parametrize(
    ("name", "content"), [("x.jsonl", b""), ("x.jsonl.gz", b""), ("x.jsonl.gz", gzip.compress(b"", mtime=0))]
)
def test_an_empty_file_is_one_sentence(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    said = sentence(hub.load_examples, f"hub:dolly={tmp_path / name}", "prompts")
    assert f"{name} is empty: give a file with at least one row." in said


def test_a_column_that_a_local_file_lacks_needs_another_file(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"instruction": "a"}\n')
    said = sentence(hub.load_examples, f"hub:dolly={tmp_path / 'x.jsonl'}", "prompts")
    assert 'has no column "context" (it has instruction)' in said and said.endswith("; give its publisher's file.")


def test_a_broken_download_says_which_folder_to_delete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = FIXTURES["dolly"](tmp_path)
    file.write_bytes(file.read_bytes()[:150])
    downloaded(monkeypatch, tmp_path, [])
    said = sentence(hub.load_examples, "hub:dolly", "prompts")
    assert f"delete its folder below {huggingface_hub.constants.HF_HUB_CACHE} and download it again with `python" in said


def test_the_tokenizer_of_gpt2_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def fail(*args: Any) -> None:
        raise OSError("We couldn't connect")

    monkeypatch.undo()
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", fail)
    adapters.gpt2_decoder.cache_clear()
    assert "run `hf download openai-community/gpt2 tokenizer.json" in sentence(adapters.gpt2_decoder)


# --- files of one's own ----------------------------------------------------------------------------------------------


def test_converted_files_are_read_as_files_of_ones_own(tmp_path: Path) -> None:
    records = convert(source("oasst2", tmp_path / "in"), tmp_path / "out", load_config("gpt2").data)
    assert [record["kind"] for record in records] == ["prompts", "demonstrations", "comparisons"]
    assert json.loads((tmp_path / "out" / "source.json").read_text()) == records
    prompts, ranked = load_prompts(tmp_path / "out" / "prompts.jsonl"), load_comparisons(tmp_path / "out" / "comparisons.jsonl")
    assert {p.prompt: p.split for p in prompts}.items() >= {c.prompt: c.split for c in ranked}.items()
    assert load_demonstrations(tmp_path / "out" / "demonstrations.jsonl")[0].completion == "Because of scattering."
    assert ranked[0].ranks == (1, 2, 3) and ranked[1].policies == ("model", "person")
    convert(source("openwebtext", tmp_path / "w"), tmp_path / "text", DataConfig(), limit=2)
    assert len((tmp_path / "text" / "pretraining.jsonl").read_text().splitlines()) == 2
    assert "limit it with --rows" in sentence(convert, "hub:openwebtext", tmp_path, DataConfig())
    (record,) = convert(source("winogender", tmp_path / "e"), tmp_path / "eval", DataConfig())
    assert record["used"] == 4 and (tmp_path / "eval" / "evaluation.jsonl").exists()


def test_profiles_name_datasets_that_can_be_used_so() -> None:
    for profile in ("gpt2", "full"):
        data = load_config(profile).data
        for kind in ("prompts", "demonstrations", "comparisons", "pretraining"):
            assert hub.parse_source(getattr(data, kind), kind).path is None


@pytest.mark.skipif(not PAIRS.is_file(), reason="the hh-rlhf pairs are not beside this checkout")
def test_real_pairs_of_hh_rlhf() -> None:
    loaded = hub.load_examples(f"hub:hh-rlhf/harmless-base={PAIRS}", "comparisons")
    assert loaded.rows == 2312 and len(loaded.examples) + sum(loaded.dropped.values()) == 2312
    assert loaded.dropped["the transcripts differ before the last answer"] == 5 and loaded.dropped["an empty answer"] == 4
    assert not any("\n\nHuman:" in text for e in loaded.examples for text in e.completions)


# --- with a connection -----------------------------------------------------------------------------------------------


@pytest.mark.hub
@pytest.mark.parametrize("name", hub.DATASETS)
def test_the_hub_has_what_the_table_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads the files of every dataset: `HF_HUB_OFFLINE=0 pytest -m hub tests/data/test_hub.py -k dolly` for one."""
    monkeypatch.undo()
    row = hub.DATASETS[name]
    if row.kinds == ("evaluation",):
        assert hub.load_evaluation(f"hub:{name}", 20)
    elif row.kinds == ("pretraining",):
        assert len(hub.load_texts(f"hub:{name}", 20)[0]) == 20
    else:
        for kind in row.kinds:
            loaded = hub.load_examples(f"hub:{name}", kind)
            assert len(loaded.examples) > 0.2 * loaded.rows or name.startswith("oasst")
            assert {e.split for e in loaded.examples} == set(SPLITS)
