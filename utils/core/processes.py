"""The processes of one run under `accelerate launch`: which one this is, and how they agree, share work and stop together.

Only the main process writes files. Work on rows is shared: each process does every n-th row, and all processes get the
results of all rows (`map_ranks`), so every process must make these calls. With one process everything
here is a plain call. Only the processes of the run, which started from the same code, read what is sent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from utils.core.errors import UserError

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = timedelta(hours=6)  # how long the others wait for work that only the main process does
STORE_SECONDS = 5.0
WORLD_VARIABLES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
# Environment variables that accelerate's launcher sets for FSDP -> the only supported value.
FSDP = {
    "FSDP_VERSION": "2",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",  # every process reads the weights of a model
}
# The same for DeepSpeed: weights are not sharded (no stage 3), and nothing is offloaded to CPU memory.
USE_DEEPSPEED, ZERO_STAGE = "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_DEEPSPEED_ZERO_STAGE"
DEEPSPEED = {
    ZERO_STAGE: ("2", "1"),
    "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": ("none",),
    "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": ("none",),
    "ACCELERATE_DEEPSPEED_CONFIG_FILE": ("none",),
}
_asked_stage = 0  # of ZeRO, since `join`
LOST = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")


def world() -> int:
    """Number of processes of this run that have joined; 1 in a notebook or without a launcher."""
    return _distributed().get_world_size() if _joined() else 1


def rank() -> int:
    """Rank of this process, from 0; before `join` the rank that the launcher gave it."""
    return _distributed().get_rank() if _joined() else int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """True in the process that writes files and prints."""
    return rank() == 0


def _distributed() -> Any:
    import torch.distributed

    return torch.distributed


def _joined() -> bool:
    """Whether a process group exists (torch is not imported for this check)."""
    if "torch" not in sys.modules:
        return False
    found = _distributed()
    return found.is_available() and found.is_initialized()


def launched() -> bool:
    """Whether a launcher started several processes for this run."""
    return any(int(os.environ.get(name, "1")) > 1 for name in WORLD_VARIABLES)


def join(device: torch.device | str) -> None:
    """Join the process group of all processes that the launcher started, if there are several, for this kind of device.

    Raises UserError as `sharded` does, and for settings of DeepSpeed other than those of configs/accelerate/deepspeed.yaml.
    """
    sharded()
    _take_deepspeed()
    if launched() and not _joined():
        from accelerate import PartialState

        PartialState(cpu=str(device).startswith("cpu"), timeout=PATIENCE)


def leave() -> None:
    """Leave the process group at the end of a successful run."""
    if _joined():
        _distributed().destroy_process_group()


def sharded() -> bool:
    """Whether the launcher asks for models that are sharded over the processes (FSDP) instead of copied to each.

    Raises UserError for settings of FSDP other than those of configs/accelerate/fsdp.yaml.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() != "true":
        return False
    for name, value in FSDP.items():
        given = os.environ.get(name, "1" if name == "FSDP_VERSION" else value).lower()
        if given != value:
            raise UserError(
                f"The launch settings have {name.lower()}: {given}, but only {value} is supported: use "
                "configs/accelerate/fsdp.yaml."
            )
    return True


def shards() -> int:
    """Number of shards of the weights in a training stage: 1 if every process holds all weights."""
    return world() if sharded() else 1


def zero_stage() -> int:
    """ZeRO stage of DeepSpeed that several processes were launched for, known after `join`; else 0."""
    return _asked_stage if world() > 1 else 0


def _take_deepspeed() -> None:
    """Check the launch settings of DeepSpeed and hide them from accelerate, which would make DeepSpeed step one model after
    every backward pass: `utils.training.zero` calls DeepSpeed instead."""
    global _asked_stage
    if os.environ.get(USE_DEEPSPEED, "").lower() != "true":
        return
    given = {name: os.environ.get(name, values[0]).lower() for name, values in DEEPSPEED.items()}
    for name, values in DEEPSPEED.items():
        if given[name] not in values:
            raise UserError(
                f"The launch settings have {name.removeprefix('ACCELERATE_').lower()}: {given[name]}, but only "
                f"{' and '.join(sorted(values))} {'are' if len(values) > 1 else 'is'} supported: use "
                "configs/accelerate/deepspeed.yaml, or configs/accelerate/fsdp.yaml to shard weights as well."
            )
    _asked_stage = int(given[ZERO_STAGE])
    os.environ[USE_DEEPSPEED] = "false"


# --- agreeing and sharing ------------------------------------------------------------------------------------------


def wait() -> None:
    """Wait until all processes have reached this call."""
    if world() > 1:
        _distributed().barrier()


def on_main(function: Callable[[], Result]) -> Result:
    """Call `function` only in the main process; all processes get its result, or its UserError."""
    if world() == 1:
        return function()
    said: list[tuple[Result | None, str | None]] = [(None, None)]
    if is_main():
        try:
            said = [(function(), None)]
        except UserError as error:
            said = [(None, str(error))]
    _distributed().broadcast_object_list(said, src=0)
    result, sentence = said[0]
    if sentence is not None:
        raise UserError(sentence)
    return result  # type: ignore[return-value]


def map_ranks(rows: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
    """One result per row, in order: `work(part)` on every n-th row in each process, gathered by all.

    `work` must give one result per row, which depends on that row only (random numbers belong to the row).
    """
    size = world()
    if size == 1:
        return list(work(rows))
    own = rows[rank() :: size]
    parts: list[list[Result]] = [[] for _ in range(size)]
    _distributed().all_gather_object(parts, list(work(own)) if own else [])
    result: list[Result] = [None] * len(rows)  # type: ignore[list-item]
    for first, part in enumerate(parts):
        result[first::size] = part
    return result


# --- stopping together ---------------------------------------------------------------------------------------------


def is_lost(error: BaseException) -> bool:
    """True if `error` means that another process has ended, not that this one has a fault."""
    if world() == 1 or not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return isinstance(error, _distributed().DistError) or any(word in text for word in LOST)


def first_to_speak() -> bool:
    """True in the process that prints why the run stops: the first one that asks. So one cause gives one sentence.

    The launcher's store counts the calls; without it only the main process prints.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return True
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not hosted and not _joined():
        return is_main()
    try:
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = _distributed().TCPStore(*place, is_master=False, timeout=timedelta(seconds=STORE_SECONDS))
        return store.add(f"stopped/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1) == 1
    except (RuntimeError, KeyError, ValueError):
        return is_main() or not hosted  # a store of the main process ends with it


# --- processes that the launcher did not start ---------------------------------------------------------------------


def missing() -> int:
    """How many processes `accelerate launch --cpu --num_processes N` was asked for, if it started only this one; else 0.

    accelerate starts several CPU processes only through MPI; without `--mpirun_hostfile` it quietly starts one.
    """
    alone = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_PORT" in os.environ
    if not alone or any(name in os.environ for name in (*WORLD_VARIABLES, "LOCAL_RANK", "RANK")):
        return 0
    import psutil
    from accelerate.commands.launch import launch_command_parser

    try:
        words = psutil.Process().parent().cmdline()
        first = next(i for i, word in enumerate(words) if word.rpartition(".")[2].endswith("launch"))
        asked = launch_command_parser().parse_known_args(words[first + 1 :])[0]
        if asked.num_processes is None or (asked.num_machines or 1) > 1:
            raise ValueError
        return int(asked.num_processes)
    except (psutil.Error, AttributeError, StopIteration, ValueError, SystemExit):
        raise UserError(
            "accelerate has started one CPU process of several: start them with torchrun --nproc_per_node N instead, "
            "see docs/scaling.md."
        ) from None


def start_missing(count: int) -> int:
    """Run this program again as `count` processes on this machine (torchrun's engine); returns the exit code."""
    import logging

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the program itself prints what is wrong
    os.environ.pop("MASTER_ADDR", None), os.environ.pop("MASTER_PORT", None)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, run_id="cpu", rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0, monitor_interval=0.1,
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-u", *sys.argv)
    except ChildFailedError as error:
        return abs(error.get_first_failure()[1].exitcode)
    except SignalException as error:
        return 128 + error.sigval
    return 0
