"""A small training run as a program of its own: tests kill it, interrupt it and start it on several processes.

Usage: training_run.py FOLDER [--steps N] [--every N] [--dropout P] [--pause SECONDS]
Prints one line per step and writes the final weights, and a running average of them, to FOLDER/final-RANK.safetensors.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import nn

from utils.core import processes
from utils.core.io import write_tensors
from utils.core.runtime import torch_generator
from utils.training.loop import LoopSettings, TrainingLoop, make_optimizer
from utils.training.sharding import gathered

SEED = 3
LR = 0.01


def build(dropout: float = 0.3) -> nn.Sequential:
    """A classifier with an embedding and dropout, so that order, momentum and dropout all matter."""
    generator = torch_generator(SEED, "weights")
    model = nn.Sequential(
        nn.Embedding(20, 8), nn.Flatten(), nn.Dropout(dropout), nn.Linear(32, 16), nn.LayerNorm(16), nn.Linear(16, 5)
    )
    for param in model.parameters():
        param.data = torch.randn(param.shape, generator=generator) * 0.3
    return model


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of one step: ids (8, 4) and labels (8,)."""
    generator = torch_generator(SEED, "rows", step)
    return torch.randint(0, 20, (8, 4), generator=generator), torch.randint(0, 5, (8,), generator=generator)


def run(
    folder: Path,
    steps: int = 20,
    every: int = 3,
    dropout: float = 0.3,
    fingerprint: str = "settings",
    each: Callable[[int], None] = lambda step: None,
) -> dict[str, torch.Tensor]:
    """Train, call `each(step)` in the middle of every step, and return everything that was learnt."""
    model = build(dropout)
    optimizer = make_optimizer(model.parameters(), lr=LR, weight_decay=0.1)
    loop = TrainingLoop(
        folder,
        LoopSettings("test", steps, SEED, fingerprint, checkpoint_every=every),
        models={"policy": model},
        optimizers={"policy": optimizer},
        extra=lambda: {"ema": {name: param.detach().clone() for name, param in model.named_parameters()}},
    )
    ema = loop.extra["ema"]
    rank, size = loop.accelerator.process_index, loop.accelerator.num_processes
    for step in loop:
        ids, labels = batch(step)
        loss = nn.functional.cross_entropy(loop.models["policy"](ids[rank::size]), labels[rank::size])
        value = loop.backward("policy", loss)
        each(step)
        norm = loop.optimizer_step("policy", lr=LR * (1 - step / steps), max_grad_norm=0.5)
        for name, param in model.named_parameters():
            ema[name].lerp_(param.detach(), 0.1)
        loop.log(step, loss=value, grad_norm=norm)
    loop.finish()
    learnt = {**model.state_dict(), **{f"ema/{name}": tensor for name, tensor in ema.items()}}
    return {name: gathered(tensor) for name, tensor in learnt.items()}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--pause", type=float, default=0.0)
    args = parser.parse_args()
    if count := processes.missing():
        sys.exit(processes.start_missing(count))
    processes.join("cpu")

    def each(step: int) -> None:
        print(f"step {step}", flush=True)
        time.sleep(args.pause)

    final = run(args.folder, args.steps, args.every, args.dropout, each=each)
    write_tensors(args.folder / f"final-{processes.rank()}.safetensors", final)


if __name__ == "__main__":
    main()
