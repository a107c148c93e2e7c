"""utils.pipeline.run: unchanged stages are skipped, changed ones run again, killed ones go on, one writer at a time."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import worker_targets
from forked import Program

from utils.config import Config, load_config, save_config
from utils.core.errors import UserError
from utils.core.io import read_json, write_json, write_text
from utils.pipeline import run as stages_module
from utils.pipeline.run import Run, Stage, open_run, settings_of

ROOT = Path(__file__).resolve().parents[2]


class Pipeline:
    """Three stages that count their runs: prompts -> sft -> ppo; prompts reads the user's file, ppo a model."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.stages = [
            Stage("prompts", self.prompts, settings=lambda c: c.data, reads=lambda c: [c.data.prompts]),
            Stage("sft", self.sft, ("prompts",), lambda c: c.sft),
            Stage("ppo", self.ppo, ("prompts", "sft"), lambda c: [c.ppo.beta], lambda c: [c.model]),
        ]

    def prompts(self, run: Run, folder: Path) -> None:
        self.ran.append("prompts")
        source = run.config.data.prompts
        write_text(folder / "rows.txt", Path(source).read_text() if source else "world")

    def sft(self, run: Run, folder: Path) -> None:
        self.ran.append("sft")
        write_text(folder / "model.txt", f"{(run.path('prompts') / 'rows.txt').read_text()} {run.config.sft.epochs}")

    def ppo(self, run: Run, folder: Path) -> None:
        self.ran.append("ppo")
        write_text(folder / "model.txt", f"{(run.path('sft') / 'model.txt').read_text()} {run.config.ppo.beta}")

    def execute(self, folder: Path, config: Config | None = None, **more: Any) -> list[str]:
        """Names of the stages that ran."""
        self.ran = []
        Run(folder, config or Config()).execute(self.stages, **more)
        return self.ran


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def changed(**overrides: Any) -> Config:
    return load_config("tiny", {name.replace("__", "."): value for name, value in overrides.items()})


def message(action: Any, *args: Any, **more: Any) -> str:
    """The sentence of the UserError that the call raises."""
    with pytest.raises(UserError) as error:
        action(*args, **more)
    return str(error.value)


def test_a_finished_stage_is_skipped_and_says_so(
    tmp_path: Path, pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipeline.execute(tmp_path) == ["prompts", "sft", "ppo"]
    assert (tmp_path / "ppo" / "model.txt").read_text() == f"world {Config().sft.epochs} {Config().ppo.beta}"
    capsys.readouterr()
    assert pipeline.execute(tmp_path) == []
    assert [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"{name}: unchanged, skipped" for name in ("prompts", "sft", "ppo")
    ]


def test_what_a_stage_writes(tmp_path: Path, pipeline: Pipeline) -> None:
    config = changed(seed=4, ppo__beta=0.3)
    pipeline.execute(tmp_path, config)
    assert load_config(tmp_path / "sft" / "config.yaml") == config
    state = read_json(tmp_path / "sft" / "stage.json")
    assert state["finished"] is True
    assert state["fingerprint"] == Run(tmp_path, config).fingerprints(pipeline.stages)["sft"]
    run = Run(tmp_path, config)
    assert list(run.seconds()) == ["prompts", "sft", "ppo"]
    assert run.seconds()["sft"] == state["seconds"] >= 0
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seed": 2}, ["prompts", "sft", "ppo"]),
        ({"data__n_sft": 3}, ["prompts", "sft", "ppo"]),
        ({"sft__epochs": 3}, ["sft", "ppo"]),
        ({"ppo__beta": 0.3}, ["ppo"]),
        ({"ppo__clip": 0.3}, []),
        ({"out": "elsewhere", "device": "cpu"}, []),
    ],
)
def test_a_change_runs_what_depends_on_it(
    tmp_path: Path, pipeline: Pipeline, change: dict[str, Any], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.execute(tmp_path)
    capsys.readouterr()
    assert pipeline.execute(tmp_path, changed(**change)) == expected
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if "settings or inputs changed" in line] == expected


def test_a_stage_that_runs_again_starts_in_an_empty_folder(tmp_path: Path, pipeline: Pipeline) -> None:
    pipeline.execute(tmp_path)
    (tmp_path / "sft" / "old.txt").write_text("x")
    pipeline.execute(tmp_path, changed(sft__epochs=3))
    assert sorted(file.name for file in (tmp_path / "sft").iterdir()) == ["config.yaml", "model.txt", "stage.json"]
    assert not (tmp_path / ".old-sft").exists()


def test_the_content_of_the_users_file_counts_and_not_its_age(tmp_path: Path, pipeline: Pipeline) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text("one")
    config = changed(data__prompts=str(mine))
    assert pipeline.execute(tmp_path / "run", config) == ["prompts", "sft", "ppo"]
    os.utime(mine, (1, 1))
    assert pipeline.execute(tmp_path / "run", config) == []
    mine.write_text("two")
    assert pipeline.execute(tmp_path / "run", config) == ["prompts", "sft", "ppo"]
    assert (tmp_path / "run" / "ppo" / "model.txt").read_text().startswith("two")


def test_the_content_of_a_model_folder_counts_and_a_hub_name_stands_for_itself(tmp_path: Path, pipeline: Pipeline) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("1")
    config = changed(model=str(model))
    pipeline.execute(tmp_path / "run", config)
    (model / "weights").write_text("2")
    assert pipeline.execute(tmp_path / "run", config) == ["ppo"]
    assert pipeline.execute(tmp_path / "run", changed(model="openai-community/gpt2")) == ["ppo"]
    assert pipeline.execute(tmp_path / "run", changed(model="Qwen/Qwen2.5-0.5B")) == ["ppo"]
    assert pipeline.execute(tmp_path / "run", changed(model="Qwen/Qwen2.5-0.5B")) == []
    assert pipeline.execute(tmp_path / "run", changed(model="Qwen/Qwen2.5-0.5B@main")) == ["ppo"]


@pytest.mark.parametrize("name", ["mine.jsonl", "folder/mine.csv", "/nowhere/model"])
def test_a_missing_input_is_one_sentence(tmp_path: Path, pipeline: Pipeline, name: str) -> None:
    assert message(pipeline.execute, tmp_path, changed(data__prompts=name)) == f"{name} does not exist: check the path."


def test_only_runs_what_was_asked_for_and_needs_the_rest(tmp_path: Path, pipeline: Pipeline) -> None:
    assert message(pipeline.execute, tmp_path, only=["sft"]) == (
        f'The stage "sft" needs "prompts", which has not finished in {tmp_path}: run "prompts" first.'
    )
    assert pipeline.execute(tmp_path, only=["prompts"]) == ["prompts"]
    assert pipeline.execute(tmp_path, only=["sft"]) == ["sft"]
    assert message(pipeline.execute, tmp_path, changed(seed=2), only=["sft"]) == (
        f'The stage "sft" needs "prompts", which has other settings in {tmp_path}: run "prompts" first.'
    )
    assert message(pipeline.execute, tmp_path, only=["stf"]) == ('There is no stage "stf": use one of prompts, sft, ppo.')


def test_force_runs_an_unchanged_stage(tmp_path: Path, pipeline: Pipeline) -> None:
    pipeline.execute(tmp_path)
    (tmp_path / "sft" / "old.txt").write_text("x")
    assert pipeline.execute(tmp_path, only=["sft"], force=True) == ["sft"]
    assert not (tmp_path / "sft" / "old.txt").exists()


def test_stages_in_a_wrong_order(tmp_path: Path, pipeline: Pipeline) -> None:
    pipeline.stages.reverse()
    assert message(pipeline.execute, tmp_path) == 'The stage "ppo" needs "prompts", which does not come before it.'


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, pipeline: Pipeline) -> None:
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "thesis.txt").write_text("years of work")
    assert message(pipeline.execute, tmp_path) == (
        f"{tmp_path / 'sft'} holds files that no run has written: choose another --out or move them away."
    )
    assert (tmp_path / "sft" / "thesis.txt").read_text() == "years of work"


def test_a_stage_killed_before_its_first_file_is_no_obstacle(tmp_path: Path, pipeline: Pipeline) -> None:
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / ".stage.json.77.tmp").write_text("{")
    assert pipeline.execute(tmp_path) == ["prompts", "sft", "ppo"]


def counting(total: int, stop: int) -> Stage:
    """A stage that writes the files 0, 1, ... total-1, one each start it lacks, and stops after `stop` of them."""

    def work(run: Run, folder: Path) -> None:
        for number in range(total):
            if not (folder / f"{number}.txt").exists():
                if number == stop:
                    raise KeyboardInterrupt
                (folder / f"{number}.txt").write_text("done")
        write_json(folder / "made.json", sorted(file.name for file in folder.glob("*.txt")))

    return Stage("count", work, settings=lambda config: config.sft)


def test_a_stopped_stage_goes_on_in_the_same_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path, Config()).execute([counting(4, stop=2)])
    state = read_json(tmp_path / "count" / "stage.json")
    assert state["finished"] is False
    assert not (tmp_path / ".lock").exists()
    write_json(tmp_path / "count" / "stage.json", {**state, "seconds": 100.0})
    assert Run(tmp_path, Config()).seconds() == {}
    Run(tmp_path, Config()).execute([counting(4, stop=9)])
    assert "count: goes on where it was stopped" in capsys.readouterr().out
    assert 100 < Run(tmp_path, Config()).seconds()["count"] < 160


def test_a_stopped_stage_with_other_settings_starts_anew(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path, Config()).execute([counting(4, stop=3)])
    Run(tmp_path, changed(sft__epochs=3)).execute([counting(2, stop=9)])
    assert read_json(tmp_path / "count" / "made.json") == ["0.txt", "1.txt"]


def refusing(after: int) -> Stage:
    """A stage that writes `after` files and then finds its input wrong, if its settings have 3 epochs."""

    def work(run: Run, folder: Path) -> None:
        for number in range(after if run.config.sft.epochs == 3 else 5):
            write_text(folder / f"{number}.txt", f"{run.config.sft.epochs}")
        if run.config.sft.epochs == 3:
            raise UserError("Wrong.")

    return Stage("count", work, settings=lambda config: config.sft)


@pytest.mark.parametrize("force", [False, True])
def test_a_refused_command_leaves_what_was_finished(tmp_path: Path, force: bool, capsys: pytest.CaptureFixture[str]) -> None:
    Run(tmp_path, Config()).execute([refusing(0)])
    before = {file.name: file.read_bytes() for file in (tmp_path / "count").iterdir()}
    assert message(Run(tmp_path, changed(sft__epochs=3)).execute, [refusing(0)], force=force) == "Wrong."
    assert {file.name: file.read_bytes() for file in (tmp_path / "count").iterdir()} == before
    capsys.readouterr()
    Run(tmp_path, Config()).execute([refusing(0)])
    assert "count: unchanged, skipped" in capsys.readouterr().out


def test_what_was_finished_is_kept_until_a_run_with_other_settings_has_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Run(tmp_path, Config()).execute([refusing(2)])
    message(Run(tmp_path, changed(sft__epochs=3)).execute, [refusing(2)])
    assert (tmp_path / "count" / "1.txt").read_text() == "3", "a run that has begun can go on"
    message(Run(tmp_path, changed(sft__epochs=3)).execute, [refusing(2)])
    assert "count: goes on where it was stopped" in capsys.readouterr().out
    Run(tmp_path, Config()).execute([refusing(2)])
    assert "count: unchanged, skipped" in capsys.readouterr().out
    assert (tmp_path / "count" / "1.txt").read_text() == str(Config().sft.epochs)
    Run(tmp_path, changed(sft__epochs=4)).execute([refusing(2)])
    assert (tmp_path / "count" / "1.txt").read_text() == "4" and not (tmp_path / ".before").exists()


def test_a_replaced_result_is_announced_kept_aside_and_used_again(
    tmp_path: Path, pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.execute(tmp_path, changed(ppo__beta=0.1))
    first = (tmp_path / "ppo" / "model.txt").read_text()
    capsys.readouterr()
    assert pipeline.execute(tmp_path, changed(ppo__beta=0.2)) == ["ppo"]
    said = capsys.readouterr().out.splitlines()[0]
    assert "changed for finished stages: ppo (" in said and str(tmp_path / ".earlier") in said
    assert (tmp_path / ".earlier" / "ppo" / "model.txt").read_text() == first
    assert pipeline.execute(tmp_path, changed(ppo__beta=0.1)) == [], "the earlier result is used again"
    assert (tmp_path / "ppo" / "model.txt").read_text() == first
    assert pipeline.execute(tmp_path, changed(ppo__beta=0.2)) == [], "and so is the one that it replaced"


def test_a_smoke_run_never_replaces_a_full_run(tmp_path: Path, pipeline: Pipeline) -> None:
    pipeline.execute(tmp_path)
    small = changed(sft__epochs=3)
    said = message(Run(tmp_path, small, smoke=True).execute, pipeline.stages)
    assert "holds a finished run that is no smoke run" in said and "(sft, ppo)" in said
    assert pipeline.execute(tmp_path) == [], "nothing was touched"
    Run(tmp_path / "new", small, smoke=True).execute(pipeline.stages)
    Run(tmp_path / "new", changed(sft__epochs=2), smoke=True).execute(pipeline.stages)
    assert pipeline.execute(tmp_path / "new") == ["sft", "ppo"], "a full run may replace a smoke run"


def test_kill_9_keeps_the_folder_and_the_seconds_and_frees_the_lock(
    tmp_path: Path, pipeline: Pipeline, start_program: Callable[..., Program]
) -> None:
    process = start_program(worker_targets.run_one_stage, tmp_path, 600)
    process.wait_until(lambda: process.out == "working\n")
    time.sleep(0.5)
    assert message(pipeline.execute, tmp_path) == (
        f"Another process (pid {process.pid}) is writing to {tmp_path}: wait for it, choose another --out, or delete "
        f"{tmp_path / '.lock'} if you are sure that it has ended."
    )
    process.kill()
    assert process.code == -signal.SIGKILL
    before = read_json(tmp_path / "work" / "stage.json")
    assert before["finished"] is False
    assert before["seconds"] > 0.05
    assert (tmp_path / ".lock").exists()
    assert start_program(worker_targets.run_one_stage, tmp_path, 0).wait() == 0
    assert (tmp_path / "work" / "begun.txt").read_text() == "xx"
    assert Run(tmp_path, Config()).seconds()["work"] > before["seconds"]


def lock(folder: Path, age: float = 0.0, **more: Any) -> None:
    """Plant a lock of this very process, changed by `more`."""
    pid = os.getpid()
    me = {"pid": pid, "host": stages_module.socket.gethostname(), "started": stages_module._started(pid)}
    file = folder / ".lock"
    file.write_text(json.dumps({**me, **more}))
    os.utime(file, (time.time() - age, time.time() - age))


@pytest.mark.parametrize(
    ("change", "age", "free"),
    [
        ({}, 0, False),
        ({"pid": 2**22 + 12345}, 0, True),
        ({"started": "another process had this number"}, 0, True),
        ({"host": "another-machine"}, 0, False),
        ({"host": "another-machine"}, 10_000, True),
        ({"pid": "?"}, 0, False),
        ({"pid": "?"}, 10_000, True),
    ],
)
def test_a_lock_is_obeyed_while_its_holder_lives(
    tmp_path: Path, pipeline: Pipeline, change: dict[str, Any], age: float, free: bool
) -> None:
    lock(tmp_path, age, **change)
    if free:
        assert pipeline.execute(tmp_path) == ["prompts", "sft", "ppo"]
    else:
        assert "is writing to" in message(pipeline.execute, tmp_path)
        assert (tmp_path / ".lock").exists()


def test_a_process_of_another_user_is_alive(tmp_path: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    lock(tmp_path, pid=77)
    assert "(pid 77)" in message(pipeline.execute, tmp_path)


def test_two_processes_that_begin_at_the_same_moment(
    tmp_path: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(file: Path) -> int | None:
        raise FileNotFoundError

    lock(tmp_path)
    monkeypatch.setattr(stages_module, "_holder", too_late)
    assert "has just begun to write" in message(pipeline.execute, tmp_path)


def test_the_lock_stays_young_while_a_stage_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages_module, "HEARTBEAT_SECONDS", 0.02)
    ages = []

    def work(run: Run, folder: Path) -> None:
        os.utime(tmp_path / ".lock", (1, 1))
        for _ in range(500):
            time.sleep(0.02)
            if (tmp_path / ".lock").stat().st_mtime > 1:
                break
        ages.append(time.time() - (tmp_path / ".lock").stat().st_mtime)

    Run(tmp_path, Config()).execute([Stage("work", work)])
    assert ages[0] < 60


def test_dataclasses_count_in_a_fingerprint_by_value(tmp_path: Path) -> None:
    def fingerprint(settings: Sequence[Any]) -> str:
        stage = Stage("x", lambda run, folder: None, settings=lambda config: settings)
        return Run(tmp_path, Config()).fingerprints([stage])["x"]

    sft = Config().sft
    assert fingerprint([sft]) == fingerprint([dataclasses.replace(sft)])
    assert fingerprint([sft]) != fingerprint([dataclasses.replace(sft, epochs=3)])


# --- opening what is there ------------------------------------------------------------------------------------------


def test_a_run_is_opened_with_the_settings_of_its_last_stage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run; make one with"):
        open_run(tmp_path)
    for i, (name, seed) in enumerate((("sft", 5), ("base", 4))):
        save_config(load_config("tiny", {"seed": seed}), tmp_path / name / "config.yaml")
        os.utime(tmp_path / name / "config.yaml", (i, i))
    assert open_run(tmp_path).config.seed == 4
    save_config(load_config("tiny", {"seed": 9}), tmp_path / "config.yaml")
    assert open_run(tmp_path).config.seed == 9


def test_settings_of_a_model_are_the_nearest_above_it(tmp_path: Path) -> None:
    model = tmp_path / "a" / "b" / "c" / "run" / "ppo" / "model"
    model.mkdir(parents=True)
    save_config(load_config("tiny", {"seed": 1}), tmp_path / "a" / "config.yaml")
    with pytest.raises(UserError, match="no config.yaml in it or above it .* name a --profile"):
        settings_of(model)
    for folder, seed in ((model.parents[1], 2), (model.parent, 3), (model, 4)):
        save_config(load_config("tiny", {"seed": seed}), folder / "config.yaml")
        assert settings_of(model).seed == seed
