"""A small training run as a program of its own: tests kill it, interrupt it and start it on several processes.

Usage: training_run.py FOLDER [--steps N] [--every N] [--lr X] [--pause SECONDS]
Prints one line a step, and at the end the sha256 of the final weights and of the weight average.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn

from utils.runtime import torch_generator
from utils.training import TrainingLoop, make_optimizer

SEED = 3


def build() -> nn.Sequential:
    """A classifier with an embedding and dropout, so that order, momentum and dropout all matter."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(20, 8), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 5)
    )


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of one step: ids (8, 4) and labels (8,)."""
    generator = torch_generator(SEED, "rows", step)
    return torch.randint(0, 20, (8, 4), generator=generator), torch.randint(0, 5, (8,), generator=generator)


def run(folder: Path, steps: int, every: int, lr: float, pause: float) -> str:
    """Train and return the digest of everything that was learnt."""
    model = build()
    optimizer = make_optimizer(model.parameters(), lr=lr, weight_decay=0.1)
    ema = {name: param.detach().clone() for name, param in model.named_parameters()}
    loop = TrainingLoop(
        folder,
        label="test",
        total_steps=steps,
        models={"policy": model},
        optimizers={"policy": optimizer},
        seed=SEED,
        fingerprint=f"lr {lr}",
        checkpoint_every=every,
        extra={"ema": ema},
    )
    rank, size = loop.accelerator.process_index, loop.accelerator.num_processes
    for step in loop:
        ids, labels = batch(step)
        loss = nn.functional.cross_entropy(loop.models["policy"](ids[rank::size]), labels[rank::size])
        loop.backward(loss)
        norm = loop.optimizer_step("policy", lr=lr * (1 - step / steps), max_grad_norm=0.5)
        for name, param in model.named_parameters():
            ema[name].lerp_(param.detach(), 0.1)
        loop.log(step, loss=loss.detach(), grad_norm=norm)
        print(f"step {step}", flush=True)
        time.sleep(pause)
    loop.finish()
    tensors = [*model.state_dict().values(), *ema.values()]
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--pause", type=float, default=0.0)
    args = parser.parse_args()
    print("final", run(args.folder, args.steps, args.every, args.lr, args.pause))
