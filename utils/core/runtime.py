"""The environment of a run: the package check, device and dtype, named streams of random numbers, progress.

All randomness of the project comes from `stream_seed`: a seed and a path of names give one independent stream. A draw
depends on its purpose only, never on earlier draws, on the process, or on the batch.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from utils.core import processes
from utils.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch

Item = TypeVar("Item")

ROOT = Path(__file__).resolve().parents[2]
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "safetensors", "tokenizers", "numpy", "trl", "peft")
PLAIN_PROGRESS_SECONDS = 15.0


def ensure_package(root: Path | str = ROOT) -> None:
    """Check that the package called `utils` that Python found is the one of this repository.

    `root`: the repository's folder. Raises UserError if a foreign `utils` was imported instead (Colab, a file
    utils.py beside the notebook, an installed package of that name).
    """
    found = getattr(sys.modules.get("utils"), "__file__", None)
    expected = Path(root).resolve() / "utils"
    if found is None or Path(found).resolve().parent != expected:
        raise UserError(
            f"Python found another package called utils ({found or 'without a file'}) instead of {expected}: "
            f"put {expected.parent} first on sys.path, before any other import, and start Python again."
        )


def locate(path: str | os.PathLike[str]) -> Path:
    """`path` if it exists, else the same path inside the repository if that exists (so a notebook finds shipped models
    and tables), else `path` unchanged."""
    below = ROOT / path
    return below if not Path(path).exists() and below.exists() else Path(path)


def stream_seed(seed: int, *names: str | int) -> int:
    """Seed in [0, 2**63) of the stream `names`: the first 63 bits of sha256(JSON [seed, names...]).

    Text and number are different names: ("a", 1) is not ("a", "1").
    """
    digest = hashlib.sha256(json.dumps([int(seed), *names]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def python_rng(seed: int, *names: str | int) -> random.Random:
    """The stream `names` as a `random.Random`."""
    return random.Random(stream_seed(seed, *names))


def numpy_rng(seed: int, *names: str | int) -> np.random.Generator:
    """The stream `names` as a numpy generator (PCG64)."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(stream_seed(seed, *names)))


def torch_generator(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """The stream `names` as a torch generator on `device`."""
    import torch

    return torch.Generator(device=device).manual_seed(stream_seed(seed, *names))


def choose_device(name: str = "auto") -> torch.device:
    """Device for `name` (auto, cpu, cuda, cuda:N, mps); `device_reason` gives the reason in words.

    Raises UserError for an unknown name or a device that this machine does not have.
    """
    return _choose(name)[0]


def device_reason(name: str = "auto") -> str:
    """One line on the device that `choose_device(name)` gives, the number format of its weights, and why."""
    device, why = _choose(name)
    return f"device {device} ({why}), float32"


def _choose(name: str) -> tuple[torch.device, str]:
    """Device and reason for `name`."""
    import torch

    kind = name.split(":")[0]
    if kind not in DEVICES or (":" in name and not name.split(":")[1].isdigit()):
        raise UserError(f'Unknown device "{name}": use one of {", ".join(DEVICES)}.')
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind != "auto":
        if not present[kind]:
            raise UserError(f'Device "{name}" was asked for, but PyTorch finds none here: use "auto" or "cpu".')
        return torch.device(name), "asked for"
    if present["cuda"]:
        rank = os.environ.get("LOCAL_RANK")  # set by accelerate launch: one process for each GPU
        device = torch.device(f"cuda:{rank}" if rank else "cuda")
        return device, f"a GPU is here: {torch.cuda.get_device_name(device)}"
    if present["mps"]:
        return torch.device("mps"), "an Apple GPU is here"
    return torch.device("cpu"), "no GPU found"


def choose_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """Number format of forward and backward passes; weights stay float32. "auto": bf16 on a GPU that has it in
    hardware, else fp32. fp16 needs loss scaling and is used only on request.

    PyTorch reports bfloat16 for a T4, but only emulates it; hardware support starts at compute capability 8.0.
    Raises UserError for another name, or if a GPU would only emulate it.
    """
    import torch

    if precision not in PRECISIONS:
        raise UserError(f'Unknown number format "{precision}": use {", ".join(PRECISIONS)}.')
    has = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    if precision == "bf16" and not has and device.type != "cpu":
        raise UserError(f"The device {device} has no bfloat16 in hardware: use compute.precision fp16 or fp32.")
    if precision == "fp16":
        return torch.float16
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and has) else torch.float32


_precision = "fp32"


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Inside the block models compute in this number format (`PRECISIONS`); outside they compute in fp32."""
    global _precision
    before, _precision = _precision, name
    try:
        yield
    finally:
        _precision = before


def pass_dtype(device: torch.device) -> torch.dtype:
    """The number format in which passes on this device run now."""
    return choose_dtype(device, _precision)


def is_autocast(device: torch.device) -> bool:
    """True if passes on this device now run in a 16-bit format."""
    return pass_dtype(device).itemsize < 4


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast to the number format of `precision` around one forward pass, nothing in fp32."""
    import torch

    return torch.autocast(device.type, pass_dtype(device)) if is_autocast(device) else nullcontext()


def threads() -> int:
    """CPU threads that torch uses in this process: OMP_NUM_THREADS, else one per core."""
    import torch

    return torch.get_num_threads()


def set_threads(count: int | None = None) -> int:
    """Use `count` CPU threads (default: OMP_NUM_THREADS, else all cores) and return the number in use."""
    import torch

    wanted = count or int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1
    if wanted != torch.get_num_threads():
        torch.set_num_threads(wanted)
    return torch.get_num_threads()


def machine() -> str:
    """One line on this machine: processor, cores, GPU, system. No host or user name."""
    import torch

    parts = [_processor(), f"{os.cpu_count()} cores", f"{torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"{platform.system()} {platform.machine()}"])


def _processor() -> str:
    """Name of the processor as Linux gives it, else what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or "unknown processor"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect the numbers; missing packages are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def progress(iterable: Iterable[Item], *, total: int, label: str, start: int = 0) -> Iterator[Item]:
    """Iterate; the main process shows the label, the share done, the elapsed and the remaining time on stderr.

    A bar on a terminal; elsewhere (log file, notebook) a line at most every 15 seconds, so that logs stay short.
    total: number of all items. start: items done before (a resumed run).
    """
    if not processes.is_main():
        yield from iterable
        return
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(iterable, total=total, initial=start, desc=label, leave=False, dynamic_ncols=True)
        return
    began = last = time.monotonic()
    for done, item in enumerate(iterable, start + 1):
        yield item
        now = time.monotonic()
        if now - last >= PLAIN_PROGRESS_SECONDS:
            last = now
            left = (now - began) / (done - start) * (total - done)
            print(f"{label}: {done}/{total}, {now - began:.0f} s, {left:.0f} s left", file=sys.stderr, flush=True)
