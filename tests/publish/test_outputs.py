"""scripts/label.py: files in and out, outputs of policies, and the whole loop: labels train the reward model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_run import arguments
from tiny_run import run as pipeline

pytest.importorskip("sqlalchemy", reason="needs the extra [labeling]")

from utils.core.cli import main  # noqa: E402
from utils.core.errors import UserError  # noqa: E402
from utils.core.io import read_json, read_jsonl, read_rows, write_rows  # noqa: E402
from utils.data.schemas import Comparison, Prompt  # noqa: E402
from utils.labeling import SimulatedLabeler  # noqa: E402
from utils.labeling import store as st  # noqa: E402
from utils.labeling.store.files import outputs_of, potato_rows  # noqa: E402
from utils.labeling.store.simulated import SimulatedClient  # noqa: E402
from utils.pipeline.labels import is_store, store_digest  # noqa: E402
from utils.worlds.registry import known_world  # noqa: E402


def answer_all(store: st.Store, labeler: st.Labeler, answer) -> int:
    done = 0
    while (task := st.next_task(store, labeler.id)) is not None:
        st.submit(store, labeler.id, task.token, answer(task), key="k")
        done += 1
    return done


ROWS = [
    Comparison(f"p{i}", f"prompt {i}", ("a", "b", 'a, "b"\nc'), (1, 3, 2), (True, False, True), labeler_id="Ana")
    for i in range(3)
]


def test_from_nothing_to_rankings_and_back(label, tmp_path: Path) -> None:
    db, source, out = tmp_path / "labels.db", tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_rows(source, ROWS)
    assert "week 1" in label("init", db, "--name", "week 1")
    assert "3 rows" in label("import", db, source, "--form", "comparisons")
    assert "3 rows" in label("export", db, out, "--names")
    assert read_rows(out, Comparison) == ROWS
    label("export", db, tmp_path / "pairs.jsonl", "--form", "pairs")
    assert [row["rejected"] for row in read_jsonl(tmp_path / "pairs.jsonl")][:3] == ["b", ROWS[0].completions[2], "b"]
    label("export", db, tmp_path / "ls.json", "--form", "label-studio", "--names")
    label("export", db, tmp_path / "out.csv", "--form", "csv", "--names")
    assert read_rows(tmp_path / "out.csv", Comparison) == ROWS
    label("init", tmp_path / "two.db")
    label("import", tmp_path / "two.db", tmp_path / "ls.json", "--form", "label-studio")
    label("export", tmp_path / "two.db", tmp_path / "again.jsonl", "--names")
    assert read_rows(tmp_path / "again.jsonl", Comparison) == ROWS
    assert "run it again with --yes" in label("delete", db, "Ana", code=2)
    assert "3 submissions are deleted" in label("delete", db, "Ana", "--yes")
    assert "no labels of this phase yet" in label("export", db, out, code=2)


def test_errors_are_one_sentence(label, tmp_path: Path) -> None:
    assert "does not exist" in label("export", tmp_path / "none.db", "x", code=2)
    db = tmp_path / "labels.db"
    label("init", db)
    assert "exists already" in label("init", db, code=2)
    write_rows(tmp_path / "one.jsonl", [Prompt("p", "text")])
    assert 'row 1: the field "completions" is missing' in label(
        "import", db, tmp_path / "one.jsonl", "--form", "outputs", code=2
    )
    assert "There is no policy" in label("sample", db, "--prompts", tmp_path / "one.jsonl", code=2)
    assert "overlap must be at least 1" in label("init", db, "--name", "x", "--overlap", "0", code=2)


def test_outputs_of_several_policies_are_joined_by_prompt(tmp_path: Path) -> None:
    for name, texts in {"small": ["one", "two"], "large": ["uno", "dos"]}.items():
        rows = [{"prompt": f"prompt {i}", "response": text} for i, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    rows = outputs_of([str(tmp_path / "small.jsonl"), str(tmp_path / "large.jsonl")])
    assert [(row.prompt, row.completions, row.policies) for row in rows] == [
        ("prompt 0", ("one", "uno"), ("small", "large")),
        ("prompt 1", ("two", "dos"), ("small", "large")),
    ]


def test_potatos_folder_is_read(tmp_path: Path) -> None:
    shown = [{"id": str(i), "prompt": f"prompt {i}", "completions": ["a", "b", "c"]} for i in range(2)]
    (tmp_path / "shown.jsonl").write_text("\n".join(json.dumps(row) for row in shown))
    for who, order in (("ana", "C,A,B"), ("ben", "A,B,C")):
        folder = tmp_path / "annotation_output" / who
        folder.mkdir(parents=True)
        rows = [{"id": str(i), "label_annotations": {"quality": {"rank_order": order}}} for i in range(2)]
        (folder / "annotated_instances.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    rows = potato_rows([str(tmp_path / "shown.jsonl"), str(tmp_path / "annotation_output")])
    assert [(row.labeler_id, row.ranks) for row in rows] == [("ana", (2, 3, 1))] * 2 + [("ben", (1, 2, 3))] * 2
    with pytest.raises(UserError, match="need two files"):
        potato_rows([str(tmp_path / "shown.jsonl")])


def test_real_outputs_of_five_models_are_ranked_and_never_trained_on(label, tmp_path: Path) -> None:
    """One file per model with the fields of the published outputs on self-instruct's prompts."""
    models = ("davinci", "davinci-t0-ft", "text-davinci-001", "text-davinci-002", "text-davinci-003")
    for m, model in enumerate(models):
        rows = [
            {"prompt": f"Do {i}.\n\nInput: x\nOutput:", "instruction": f"Do {i}.", "input": "x", "target": "y"}
            | {"response": " same" if i == 0 and m < 2 else f" answer {i} " + "word " * (m + 1)}
            for i in range(12)
        ]
        (tmp_path / f"{model}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    db = tmp_path / "labels.db"
    label("init", db, "--phase", "final_evaluation", "--no-rate", "--gold-every", 0)
    assert "12 rows" in label("import", db, *sorted(tmp_path.glob("*davinci*.jsonl")), "--form", "outputs")
    store = st.open_store(db)
    one = st.add_labeler(store, st.get_project(store).id, "simulated", simulated=True)

    def shortest_first(task: st.Task) -> dict[str, list[int]]:
        by_length = sorted({len(output.text) for output in task.outputs})
        return {"ranks": [by_length.index(len(output.text)) + 1 for output in task.outputs]}

    assert answer_all(store, one, shortest_first) == 12
    store.close()
    label("export", db, tmp_path / "out.jsonl")
    rows = read_rows(tmp_path / "out.jsonl", Comparison)
    assert len(rows) == 12 and all(set(row.policies) == set(models) for row in rows)
    assert all(row.completions[row.ranks.index(1)] == min(row.completions, key=len) for row in rows)
    # The pipeline reads labels of the training phase only.
    assert main(pipeline, ["--comparisons", str(db), "--out", str(tmp_path / "run"), "--only", "prompts"]) == 2


def test_outputs_are_ranked_and_the_rankings_train_the_reward_model(label, base: Path, tmp_path: Path) -> None:
    """sample -> simulated labelers -> the store as --comparisons -> reward model; new labels run the stage again."""
    db, out, world = tmp_path / "labels.db", tmp_path / "run", known_world("tiny")
    stages = "base,prompts,labelers,demonstrations,sft,init,comparisons"
    given = arguments(out, base, "--comparisons", str(db), "--only")
    label("init", db, "--gold-every", 0)
    assert main(pipeline, [*given, "base,prompts"]) == 2, "there are no labels yet"
    assert main(pipeline, arguments(out, base, "--only", "base,prompts")) == 0
    file = out / "prompts" / "rm.jsonl"
    assert "prompts with outputs of" in label("sample", db, base, "--prompts", file, "--each", 3, "--profile", "tiny")
    store = st.open_store(db)
    person = SimulatedLabeler("s", tuple(world.rubric.weights.values()), noise=1.0)
    client = SimulatedClient(person, world, {p.prompt: p for p in read_rows(file, Prompt)})
    one = st.add_labeler(store, st.get_project(store).id, "simulated", simulated=True)
    # Half of the items now, the others after the first training.
    for _ in range(12):
        task = st.next_task(store, one.id)
        st.submit(store, one.id, task.token, client.answer(task)[0], key="k")
    assert is_store(db) and (before := store_digest(str(db)))
    assert main(pipeline, [*given, stages]) == 0
    first = read_jsonl(out / "comparisons" / "train.jsonl")
    assert all(row["labeler_id"].startswith("labeler-") and row["flags"] for row in first)
    assert answer_all(store, one, lambda task: client.answer(task)[0]) > 4
    assert store_digest(str(db)) != before, "the labels are in the log of the file, and are seen"
    store.close()
    assert main(pipeline, [*given, f"{stages},reward"]) == 0
    assert len(read_jsonl(out / "comparisons" / "train.jsonl")) > len(first)
    assert 0 <= read_json(out / "reward" / "evaluation.json")["labels"]["accuracy"] <= 1
