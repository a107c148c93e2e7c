"""One process and two: are the trained weights the same, and how much faster are two?

    OMP_NUM_THREADS=1 python benchmarks/processes.py > results/benchmarks/processes.json

Both run the training stages of the tiny profile with `accelerate launch --cpu`, one run after the other, each
process with one thread: first with the few steps of --smoke, whose final weights are compared, then with the full batch
sizes and fewer steps, whose seconds are compared. Prints one line of JSON. Needs one core per process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils.core.io import read_json, read_tensors
from utils.core.runtime import machine, versions

STAGES = "base,prompts,labelers,demonstrations,sft,init,comparisons,reward,sft_select,ppo,ppo_ptx"
TRAINED = {"sft": "epoch_02", "init": "epoch_01", "reward": "model", "ppo": "model", "ppo_ptx": "model"}
TIMED = ("sft", "init", "comparisons", "reward", "ppo", "ppo_ptx")
SHORT = {
    "sft.epochs": 4, "sft.checkpoints": [1, 2, 4], "init.epochs": 2, "init.checkpoints": [2], "data.n_rm": 1000,
    "reward.epochs": 1, "reward.cv_prompts": 40, "ppo.rounds": 12, "ppo_ptx.rounds": 12,
}  # fmt: skip


def run(out: Path, processes: int, *options: str) -> None:
    """One run of the training stages; if it fails, the benchmark stops with its output."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes)]
    command += ["scripts/pipeline.py", "--profile", "tiny", "--only", STAGES, "--out", str(out), *options]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])


def largest_difference(one: Path, other: Path) -> float:
    """Largest absolute difference between the weights of two models."""
    left, right = (read_tensors(path / "model.safetensors")[0] for path in (one, other))
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    short = [word for name, value in SHORT.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    seconds: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        places = {count: Path(folder) / str(count) for count in (1, args.processes)}
        for count, place in places.items():
            run(place / "smoke", count, "--smoke", "--seed", str(args.seed))
            run(place / "short", count, "--seed", str(args.seed), *short)
            seconds[str(count)] = {stage: read_json(place / "short" / stage / "stage.json")["seconds"] for stage in TIMED}
        differences = {
            stage: largest_difference(*(place / "smoke" / stage / model for place in places.values()))
            for stage, model in TRAINED.items()
        }
    single, several = seconds.values()
    result = {
        "benchmark": "processes", **vars(args), "largest_weight_difference": differences, "seconds": seconds,
        "speedup": {stage: round(single[stage] / several[stage], 2) for stage in TIMED},
        "machine": machine(), "versions": versions(),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
