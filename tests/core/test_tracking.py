"""utils.core.tracking: a copy of metrics.jsonl to a tracker, off unless asked for, one sentence if it cannot begin."""

from __future__ import annotations

import argparse
from pathlib import Path

import accelerate.tracking
import pytest
from training_run import run

from utils.config import Config, load_config
from utils.core import tracking
from utils.core.cli import add_settings, given_settings
from utils.core.errors import UserError
from utils.core.io import read_jsonl
from utils.core.tracking import tracked
from utils.pipeline.run import Run, Stage
from utils.training.loop import METRICS


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Tag -> step -> value of the TensorBoard events in a folder."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_off_by_default_writes_nothing(tmp_path: Path) -> None:
    with tracked(Config().tracking, tmp_path):
        run(tmp_path / "sft", steps=2)
    assert [path.name for path in (tmp_path / "sft").iterdir()] == [METRICS]


def test_tensorboard_has_what_metrics_jsonl_has(tmp_path: Path) -> None:
    with tracked("tensorboard", tmp_path):
        run(tmp_path / "sft", steps=5)
    found = scalars(tmp_path / "sft" / "tensorboard")
    rows = read_jsonl(tmp_path / "sft" / METRICS)
    assert set(found) == {"test/loss", "test/grad_norm"}
    for tag, values in found.items():
        assert values == pytest.approx({row["step"]: row[tag.removeprefix("test/")] for row in rows})


def test_weights_do_not_depend_on_tracking(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", steps=4)
    with tracked("tensorboard", tmp_path):
        followed = run(tmp_path / "followed", steps=4)
    assert all((plain[name] == followed[name]).all() for name in plain)


def test_a_resumed_run_shows_every_step_once(tmp_path: Path) -> None:
    def stop(step: int) -> None:
        if step == 4:
            raise RuntimeError

    with tracked("tensorboard", tmp_path), pytest.raises(RuntimeError):
        run(tmp_path / "sft", steps=6, every=3, each=stop)  # step 3 was logged, and is done again
    with tracked("tensorboard", tmp_path):
        run(tmp_path / "sft", steps=6, every=3)
    rows = read_jsonl(tmp_path / "sft" / METRICS)
    found = scalars(tmp_path / "sft" / "tensorboard")["test/loss"]
    assert found == pytest.approx({row["step"]: row["loss"] for row in rows}) and sorted(found) == list(range(6))


def test_a_run_tracks_its_stages_as_the_settings_say(tmp_path: Path) -> None:
    def train(_: Run, folder: Path) -> None:
        run(folder, steps=2)

    config = load_config("tiny", given_settings(_parse("--track", "tensorboard")))
    Run(tmp_path, config).execute([Stage("sft", train)])
    assert sorted(scalars(tmp_path / "sft" / "tensorboard")["test/loss"]) == [0, 1]
    assert tracking._active.get() is None


def _parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_settings(parser)
    return parser.parse_args(arguments)


def test_tracking_is_no_part_of_a_stage_s_fingerprint(tmp_path: Path) -> None:
    stages = [Stage("sft", lambda run, folder: None, settings=lambda c: c.sft)]
    found = [Run(tmp_path, load_config("tiny", {"tracking": name})).fingerprints(stages) for name in ("none", "tensorboard")]
    assert found[0] == found[1]


def test_unknown_tracker_is_named() -> None:
    with pytest.raises(UserError, match='"tracking": "tensorbord" is unknown; use none or tensorboard or wandb'):
        load_config("tiny", {"tracking": "tensorbord"})


def test_a_missing_package_is_one_sentence_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the package wandb: run pip install wandb, or set tracking to none"):
        Run(tmp_path, load_config("tiny", {"tracking": "wandb"})).execute([Stage("sft", lambda run, folder: 1 / 0)])
    assert not any(tmp_path.iterdir())


def test_a_tracker_that_wants_a_login_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoLogin(accelerate.tracking.TensorBoardTracker):
        def start(self) -> None:
            raise RuntimeError("api_key not configured\n(no-tty)")

    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", NoLogin)
    monkeypatch.setattr("accelerate.accelerator.LOGGER_TYPE_TO_CLASS", accelerate.tracking.LOGGER_TYPE_TO_CLASS)
    wanted = r'"tensorboard" did not start \(api_key not configured \(no-tty\)\): log in to it, or set tracking to none'
    with tracked("tensorboard", tmp_path), pytest.raises(UserError, match=wanted):
        run(tmp_path / "sft", steps=2)
