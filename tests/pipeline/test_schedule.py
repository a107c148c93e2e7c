"""utils.pipeline.schedule: stages at the same time give what they give one after another, and stop together."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import worker_targets as targets
from forked import Program, warm_up

from utils.config import Config, load_config
from utils.core import workers
from utils.core.errors import UserError
from utils.core.io import read_json
from utils.pipeline import run as run_module
from utils.pipeline.run import Run, Stage, covered, worker_count
from utils.pipeline.schedule import StageCrash, processes_of
from utils.pipeline.smoke import smoke_settings
from utils.pipeline.stages import STAGES, run_pipeline

pytestmark = pytest.mark.skipif(not workers.supported(), reason="workers need Linux")
TWO = load_config("tiny", {"compute.processes": 2})


@pytest.fixture(scope="module", autouse=True)
def server() -> None:
    """Workers are forked from a process that has imported what they do."""
    warm_up()


def test_stages_that_need_nothing_of_each_other_run_at_the_same_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [
        Stage("left", targets.meet),
        Stage("right", targets.meet),
        Stage("both", targets.count, needs=("left", "right"), shared=True),
        Stage("last", targets.count, needs=("both",)),
    ]
    Run(tmp_path, TWO).execute(stages)
    assert (tmp_path / "both" / "result").read_text() == "2 []"
    assert (tmp_path / "last" / "result").read_text() == "1 ['both']"
    lines = capsys.readouterr().out.splitlines()
    assert {"left saw the other", "right saw the other"} <= set(lines) and lines[-1].startswith("last: finished in ")
    assert (tmp_path / "logs" / "left.log").read_text() == "left saw the other\n"
    state = read_json(tmp_path / "both" / "stage.json")
    assert state["finished"] and state["cpu_seconds"] > 0 and state["peak_bytes"] > 2**20
    run = Run(tmp_path, TWO)
    assert 0 < run.total_seconds() < sum(run.seconds().values())  # left and right count once
    assert set(run.memory()) == {"left", "right", "both", "last"}
    assert run.memory()["both"] == {"peak": state["peak_bytes"], "used": state["used_bytes"]}
    # Nothing changed: nothing runs.
    run.execute(stages)
    assert all("unchanged, skipped" in line for line in capsys.readouterr().out.splitlines())


def test_a_failing_stage_stops_the_others_after_they_have_saved(tmp_path: Path) -> None:
    stages = [
        Stage("waits", targets.wait_for_interrupt),
        Stage("fails", targets.refuse),
        Stage("never", targets.count, ("fails",)),
    ]
    with pytest.raises(UserError, match="the rows are wrong"):
        Run(tmp_path, TWO).execute(stages)
    assert (tmp_path / "waits" / "saved").exists() and not (tmp_path / "never").exists()
    assert not read_json(tmp_path / "waits" / "stage.json")["finished"]
    assert not (tmp_path / ".lock").exists()


def test_a_stage_that_is_rejected_keeps_its_old_result(tmp_path: Path) -> None:
    Run(tmp_path, TWO).execute([Stage("fails", targets.count)])
    (tmp_path / "waits").mkdir()
    (tmp_path / "waits" / "pid").write_text("")
    with pytest.raises(UserError):
        Run(tmp_path, TWO).execute([Stage("fails", targets.refuse, settings=lambda c: ["changed"])])
    assert (tmp_path / "fails" / "result").read_text() == "1 []"


def test_an_error_of_the_program_shows_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(StageCrash, match=r"worker_targets\.py(.|\n)*ValueError: a slip"):
        Run(tmp_path, TWO).execute([Stage("crashes", targets.crash)])


def test_a_stage_that_waits_for_others_needs_them_finished(tmp_path: Path) -> None:
    stages = [Stage("first", targets.count), Stage("second", targets.count, ("first",))]
    with pytest.raises(UserError, match='run "first" first'):
        Run(tmp_path, TWO).execute(stages, only=["second"])


def begin(tmp_path: Path, start_program: Callable[..., Program]) -> tuple[Program, list[int]]:
    """A program with two stages that run until Ctrl-C, and the numbers of their processes."""
    program = start_program(targets.run_until_interrupted, tmp_path / "run")
    files = [tmp_path / "run" / name / "pid" for name in ("one", "two")]
    program.wait_until(lambda: all(file.exists() and file.read_text() for file in files))
    return program, [int(file.read_text()) for file in files]


def test_ctrl_c_saves_every_stage_and_says_so_in_one_sentence(tmp_path: Path, start_program: Callable[..., Program]) -> None:
    program, _ = begin(tmp_path, start_program)
    program.signal(signal.SIGINT)
    assert program.wait(60) == 130
    assert program.err.strip() == "Stopped (one: saved, two: saved): run the same command again to continue."
    assert all((tmp_path / "run" / name / "saved").exists() for name in ("one", "two"))


def test_kill_9_leaves_no_process_and_the_run_can_go_on(tmp_path: Path, start_program: Callable[..., Program]) -> None:
    program, pids = begin(tmp_path, start_program)
    program.kill()
    until = time.monotonic() + 10
    while any(_is_alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_is_alive(pid) for pid in pids)
    state = json.loads((tmp_path / "run" / "one" / "stage.json").read_text())
    assert not state["finished"]
    Run(tmp_path / "run", TWO).execute([Stage(name, targets.count) for name in ("one", "two")])


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_stage_gets_its_share_of_the_processes_but_one_at_least() -> None:
    half, whole, alone = (
        Stage("a", targets.count, shared=True, share=0.5),
        Stage("b", targets.count, shared=True),
        Stage("c", targets.count),
    )
    assert [processes_of(half, n) for n in (2, 3, 4, 8)] == [1, 1, 2, 4]
    assert [processes_of(whole, n) for n in (2, 8)] == [2, 8] and processes_of(alone, 8) == 1


def test_every_stage_comes_after_what_it_needs_and_pairs_share_the_machine() -> None:
    shares = {stage.name: stage.share for stage in STAGES if stage.shared}
    assert shares["sft"] + shares["init"] == 1 and shares["ppo"] + shares["ppo_ptx"] == 1
    names: set[str] = set()
    for stage in STAGES:
        assert names.issuperset(stage.needs)
        names.add(stage.name)


def test_how_many_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def automatic(**more: str) -> Config:
        return load_config("tiny", {"compute.processes": 0, **more})

    assert worker_count(Config()) == 1  # in this process, unless the setting says otherwise
    monkeypatch.setattr(run_module, "threads", lambda: 4)
    assert worker_count(automatic()) == 4
    assert worker_count(load_config("tiny", {"compute.processes": 3})) == 3
    monkeypatch.setattr(run_module, "threads", lambda: 64)
    assert worker_count(automatic()) == run_module.MOST_WORKERS
    large = tmp_path / "large"
    large.mkdir()
    with (large / "model.safetensors").open("wb") as file:
        file.truncate(500 * 2**20)
    assert worker_count(automatic(model=str(large))) == 1
    assert worker_count(automatic(model="hub/of-unknown-size")) == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert worker_count(automatic()) == 1


def test_seconds_that_overlap_count_once() -> None:
    assert covered([]) == 0
    assert covered([(0, 2), (1, 3), (5, 6)]) == 4
    assert covered([(0, 10), (2, 3)]) == 10


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_schedule(tmp_path: Path) -> None:
    given = {"seed": 3, "compute.processes": 2, "largest_model": None}
    config = load_config("tiny", smoke_settings(load_config("tiny", given)) | given)
    together, apart = tmp_path / "together", tmp_path / "apart"
    trained = [stage.name for stage in STAGES if stage.name not in ("base", "evaluate", "report")]
    run_pipeline(config, together, only=trained)
    for name in trained:  # one after another, each alone
        run_pipeline(config, apart, only=[name])
    files = sorted(file.relative_to(together) for file in together.glob("*/**/*.safetensors"))
    assert len(files) > 5
    for file in files:
        assert (together / file).read_bytes() == (apart / file).read_bytes(), file
