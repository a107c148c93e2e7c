"""SFT, reward model and PPO-ptx on a small model, and what a process holds of it: a program to start on several processes.

Usage: sharded_run.py FOLDER BASE [--parts]
Writes the models to FOLDER, and to FOLDER/held-RANK.json the bytes of weights and optimizer state after one step.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from settings import DATA, DEMOS, PPO, PPO_DATA, REWARD, SFT, TEXTS, comparisons
from torch.distributed.tensor import DTensor

from utils.config import ComputeConfig
from utils.core import processes
from utils.core.io import write_json
from utils.models.loading import load_policy
from utils.ppo import train as ppo
from utils.reward import train as reward
from utils.sampling.rollout import selected_logits
from utils.sft import train as sft
from utils.sft.run import SFTData
from utils.training.loop import LoopSettings, TrainingLoop, make_optimizer
from utils.training.setup import StageSetup


def train(folder: Path, base: Path, compute: ComputeConfig) -> None:
    """The three stages, with what adds gradients or passes: a pretraining mix, averaged weights."""
    rows = torch.randint(5, 300, (12, 20), generator=torch.Generator().manual_seed(0))
    cfg = replace(SFT, epochs=1, dropout=0.0, pretrain_fraction=0.25, learning_rate=1e-4)
    setup = StageSetup(DATA, 5, "cpu", compute)
    sft.train_sft(folder / "sft", base, SFTData(DEMOS, DEMOS[:3], rows), cfg, setup)
    ranking = replace(REWARD, learning_rate=1e-4)
    reward.train_reward(folder / "reward", base, comparisons(), DEMOS, ranking, setup)
    rl = replace(PPO, rounds=3, learning_rate=3e-4, value_learning_rate=1e-4, gamma_ptx=1.0, ptx_rows_per_episode=1.0)
    rl = replace(rl, ema_decay=0.5)
    judge = folder / "reward" / "model"
    ppo.train_ppo(folder / "ppo", ppo.PPOInputs(base, judge, TEXTS, rows), rl, replace(setup, data=PPO_DATA))


def held(folder: Path, base: Path) -> dict[str, int]:
    """Bytes that this process holds after a step."""
    model = load_policy(base)
    optimizer = make_optimizer(model.parameters(), lr=1e-3)
    settings = LoopSettings("held", total_steps=1, seed=0)
    loop = TrainingLoop(folder / "held", settings, models={"policy": model}, optimizers={"policy": optimizer})
    ids = torch.arange(5, 15)[None]
    mask = torch.ones_like(ids, dtype=torch.bool)
    for _ in loop:
        loop.backward("policy", selected_logits(model, ids, mask, mask).square().mean())
        loop.optimizer_step("policy", lr=1e-3)
    loop.finish()
    moments = [t for state in optimizer.state.values() for name, t in state.items() if name != "step"]
    return {"weights": own_bytes(model.parameters()), "moments": own_bytes(moments)}


def own_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of memory that tensors, or this process's parts of them, keep; what several are views of counts once."""
    parts = (tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors)
    storages = {storage.data_ptr(): storage.nbytes() for storage in (part.untyped_storage() for part in parts)}
    return sum(storages.values())


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("--parts", action="store_true", help="parts of a batch, with checkpointed gradients")
    args = parser.parse_args()
    torch.set_num_threads(1)
    processes.join("cpu")
    train(args.folder, args.base, ComputeConfig(micro_batch=3, gradient_checkpointing=True) if args.parts else ComputeConfig())
    write_json(args.folder / f"held-{processes.rank()}.json", held(args.folder, args.base))
    processes.leave()


if __name__ == "__main__":
    main()
