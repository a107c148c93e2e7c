"""One PPO update on a GPU: seconds by part, sampled tokens and model FLOP per second, memory beside the planner's number.

    pip install torch transformers accelerate
    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --sizes tiny --batch 16 --minibatch 8 --prompt 16 --response 8   # a trial

Random GPT-2 (124M) and gpt2-xl (1.5B), prompts and responses of 128 tokens that never end early, 64 episodes per update.
It ends within --minutes (8): a size for which no time or no memory is left is named with the reason. Forward passes compute
in the number format that a run would take on the device ("auto": bfloat16 where the hardware has it), weights in float32.
Writes results/benchmarks/gpu.json. No result of a GPU is committed yet: no GPU was available when this was written, and
only small models were tried on a CPU.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import ppo_update
import torch
from transformers import GPT2LMHeadModel

from utils.config import Config, DataConfig, PPOConfig
from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import write_json
from utils.core.runtime import choose_device, choose_dtype, machine, precision, versions
from utils.planning import memory
from utils.planning.operations import GPUS, Shape, data_at_limits, shape_of_model, stage_work

RESULT = ROOT / "results" / "benchmarks" / "gpu.json"
# part of an update as ppo_update.py times it -> parts of the stage ppo whose operations the planner counts
PARTS = {
    "sample": ("sampling: prompts", "sampling"), "reward": ("reward model",), "reference_forward": ("reference",),
    "value_forward": ("values",), "train_policy": ("policy update",), "train_value": ("value update",),
}  # fmt: skip
MATMUL = {"cuda": 8192, "mps": 4096, "cpu": 1024}  # rows and columns of the matrices whose product gives the measured peak
FORMATS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds by the wall clock, after all work that the device was given."""
    if device.type == "cpu":
        return time.perf_counter

    def now() -> float:
        torch.accelerator.synchronize()
        return time.perf_counter()

    return now


def peak(device: torch.device, dtype: torch.dtype) -> dict[str, float | None]:
    """Operations per second: as the manufacturer states them (None if the GPU is not in the planner's list), and measured
    with one large product of matrices."""
    stated = None
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        stated = next((gpu.peak.get(FORMATS[dtype]) for gpu in GPUS.values() if gpu.name in name.split()[-1]), None)
    size, now = MATMUL[device.type], clock(device)
    a = torch.randn(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(5):
        start = now()
        torch.mm(a, a)
        seconds.append(now() - start)
    return {"stated": stated, "measured": 2 * size**3 / min(seconds)}


@functools.cache
def shape(size: str) -> Shape:
    """What a model of this size costs; it is built without memory for its weights."""
    with torch.device("meta"):
        return shape_of_model(GPT2LMHeadModel(ppo_update.model_config(size)), size)


def settings(args: argparse.Namespace) -> Config:
    """One round of PPO as the planner sees it."""
    ppo = PPOConfig(
        rounds=1, episodes_per_round=args.batch, minibatch_size=args.minibatch, inner_epochs=args.inner_epochs,
        value_warmup_rounds=0,
    )  # fmt: skip
    data = DataConfig(max_prompt_tokens=args.prompt, max_response_tokens=args.response)
    return Config(world="none", ppo=ppo, data=data)


def planned(args: argparse.Namespace, dtype: torch.dtype) -> tuple[dict[str, float], int]:
    """Operations of each part of an update, and the bytes that it needs, by the planner."""
    config, model = settings(args), shape(args.size)
    work = [item for item in stage_work(config, model, model, data_at_limits(config)) if item.stage == "ppo"]
    flops = {part: sum(item.flops for item in work if item.part in names) for part, names in PARTS.items()}
    [need] = [need for need in memory.needs(config, model, model, dtype) if need.stage == "ppo"]
    return flops, need.total


def held(device: torch.device) -> int:
    """The most memory in bytes so far: of the GPU's tensors, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    maxrss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return maxrss if sys.platform == "darwin" else maxrss * 1024


def measure(args: argparse.Namespace, device: torch.device, latest: float) -> dict[str, Any]:
    """The numbers of one size. Raises UserError if the device has too little memory for it."""
    dtype = choose_dtype(device)
    flops, need = planned(args, dtype)
    free = memory.free_bytes(device)
    if need > memory.SHARE * free:
        raise UserError(f"needs about {need / memory.GIB:.1f} GiB, but {free / memory.GIB:.1f} GiB are free")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    before = 0 if device.type == "cuda" else held(device)
    with precision("auto"):
        seconds, parts = ppo_update.ppo_updates(args, str(device), clock(device), latest)
    by_part = {name: statistics.median(part.get(name, 0.0) for part in parts) for name in (*PARTS, "ema")}
    highest = peak(device, dtype)
    best = highest["stated"] or highest["measured"] or 1.0
    rates = {name: flops[name] / by_part[name] for name in PARTS}
    return {
        "parameters": shape(args.size).parameters, "number_format": FORMATS[dtype], "updates": len(seconds),
        "seconds_per_update": statistics.median(seconds), "seconds_by_part": by_part,
        "sampled_tokens_per_second": args.batch * args.response / by_part["sample"],
        "flops_per_second": rates, "peak_flops_per_second": highest,
        "share_of_peak": {name: rate / best for name, rate in rates.items()},
        "share_of_peak_of_the_update": sum(flops.values()) / statistics.median(seconds) / best,
        "memory_bytes": {"predicted": need, "measured": held(device) - before},
    }  # fmt: skip


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", nargs="+", choices=ppo_update.SIZES, default=["gpt2", "gpt2-xl"])
    parser.add_argument("--updates", type=int, default=5, help="updates timed for each size")
    parser.add_argument("--warmup", type=int, default=1, help="updates before the clock starts")
    parser.add_argument("--inner-epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--minibatch", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--response", type=int, default=128)
    parser.add_argument("--minutes", type=float, default=8.0, help="no update starts in the last quarter of this time")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args(arguments)
    device = choose_device(args.device)
    latest = time.monotonic() + 0.75 * 60 * args.minutes
    sizes: dict[str, Any] = {}
    for size in args.sizes:
        args.size = size
        try:
            if sizes and time.monotonic() > latest:
                raise UserError(f"not measured: the {args.minutes:g} minutes are over")
            sizes[size] = measure(args, device, latest)
        except UserError as error:
            sizes[size] = {"left_out": str(error)}
        print(f"{size}: {sizes[size].get('left_out') or round(sizes[size]['seconds_per_update'], 3)}", flush=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else machine()
    kept = ("batch", "minibatch", "inner_epochs", "prompt", "response")
    command = f"python benchmarks/gpu.py {' '.join(arguments)}".strip()
    about = {"device": name, "command": command, "versions": versions(), "settings": {key: getattr(args, key) for key in kept}}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, {**about, "sizes": sizes})
    print(f"written to {args.out}")


if __name__ == "__main__":
    sys.exit(main(run))
