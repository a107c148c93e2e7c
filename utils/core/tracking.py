"""Experiment tracking with accelerate's trackers: off by default; trackers get copies of the records in metrics.jsonl.

`Run.execute` opens `tracked(name, folder)`; every `TrainingLoop` that starts inside also sends its records to the tracker. One
loop is one run of the tracker, named by its folder ("sft", "cross_validation/fold_0"). TensorBoard writes to
`<loop's folder>/tensorboard`, all others to where their own settings say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.core.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

NONE = "none"
PROJECT = "instruct-gpt2"
PACKAGES = {
    "tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "comet_ml": "comet_ml", "aim": "aim",
    "clearml": "clearml", "dvclive": "dvclive", "swanlab": "swanlab", "trackio": "trackio",
}  # fmt: skip
TRACKERS = (NONE, *PACKAGES)

_active: ContextVar[tuple[str, Path] | None] = ContextVar("tracking", default=None)


@contextmanager
def tracked(name: str, folder: Path | str) -> Iterator[None]:
    """Training loops that start inside the block are tracked by `name` ("none": not at all); `folder` is the run's.

    Raises UserError, before anything is trained, for an unknown name or one whose package is not installed.
    """
    if name not in TRACKERS:
        raise UserError(f'tracking is "{name}": use one of {", ".join(TRACKERS)}.')
    if name != NONE and find_spec(PACKAGES[name]) is None:
        extra = ' (or: pip install -e ".[tracking]")' if name == "tensorboard" else ""
        raise UserError(
            f'tracking "{name}" needs the package {PACKAGES[name]}: run pip install {PACKAGES[name]}{extra}, or set '
            "tracking to none."
        )
    token = _active.set(None if name == NONE else (name, Path(folder)))
    try:
        yield
    finally:
        _active.reset(token)


def attach(accelerator: Accelerator, out_dir: Path, start: int) -> None:
    """Give the accelerator of a loop that writes `out_dir` its tracker, if tracking is on and this is the main process.

    start: the first step that will be logged; later records of a killed run are removed if the tracker can do so.
    Raises UserError if the tracker cannot start (no login, no network).
    """
    active = _active.get()
    if active is None or not accelerator.is_main_process:
        return
    from accelerate.tracking import filter_trackers

    name, folder = active
    run = out_dir.relative_to(folder).as_posix() if out_dir.is_relative_to(folder) else out_dir.name
    options: dict[str, dict[str, Any]] = {
        "tensorboard": {"purge_step": start},
        "wandb": {"name": f"{folder.name}/{run}", "group": folder.name},
        "mlflow": {"run_name": f"{folder.name}/{run}"},
    }
    accelerator.project_configuration.set_directories(str(out_dir))
    accelerator.log_with = filter_trackers(name, str(out_dir))
    try:
        accelerator.init_trackers(name if name == "tensorboard" else PROJECT, init_kwargs=options)
    except Exception as error:  # every tracker has its own exceptions
        accelerator.trackers.clear()  # there is nothing to close
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(f'tracking "{name}" did not start ({reason}): log in to it, or set tracking to none.') from None


def send(accelerator: Accelerator, label: str, step: int, metrics: Mapping[str, Any]) -> None:
    """One record of metrics.jsonl to the loop's tracker, as `label`/name."""
    if accelerator.trackers:
        accelerator.log({f"{label}/{name}": float(value) for name, value in metrics.items()}, step=step)


def detach(accelerator: Accelerator) -> None:
    """Close the loop's tracker. (`Accelerator.end_training` would end the process group too, which later stages still need.)"""
    while accelerator.trackers:
        accelerator.trackers.pop().finish()
