"""Settings, data and helpers that tests of several rooms share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from utils.config import DataConfig, PPOConfig, RewardConfig, SFTConfig
from utils.core.io import read_jsonl, read_tensors
from utils.data.schemas import Comparison, Demonstration
from utils.sampling.rollout import response_logprobs

DATA = DataConfig(max_prompt_tokens=30, max_response_tokens=30)
WORDS = ("sea", "dog", "rain", "whale", "Paris", "story")
DEMOS = [Demonstration(f"p{i}", f"Name {word}.", f"The {word} ran {'home ' * (i % 3)}now.") for i, word in enumerate(WORDS)]
SFT = SFTConfig(epochs=3, learning_rate=3e-3, batch_size=4, dropout=0.0, checkpoints=(1, 3))
REWARD = RewardConfig(epochs=2, learning_rate=1e-3, prompts_per_step=3)
GOOD, BAD = "The whale ran home.", "The rain ran now now."
PPO = PPOConfig(
    rounds=4, episodes_per_round=16, minibatch_size=4, learning_rate=2e-3, value_learning_rate=2e-3, warmup_rounds=2,
    value_warmup_rounds=1, value_warmup_epochs=2, ema_decay=0.9, eval_every_rounds=2,
)  # fmt: skip
PPO_DATA = DataConfig(max_response_tokens=10)
TEXTS = ["Name an animal.", "What is the capital of France?", "Write a story.", "Hi"]


def benchmark(name: str) -> ModuleType:
    """The program benchmarks/`name`.py as a module; what it adds to the import path is taken back."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).resolve().parents[1] / "benchmarks" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def comparisons(n: int = 6, labelers: int = 3) -> list[Comparison]:
    """Ragged K, one identical completion twice, one tie: 'whale' answers are good, 'rain' answers bad."""
    rows = []
    for i in range(n):
        texts = (GOOD + f" {i}", BAD, "Paris.", BAD)[: 2 + i % 3]
        ranks = (1, 3, 2, 3)[: 2 + i % 3]
        finished = tuple(j != 2 for j in range(len(texts)))
        rows.append(Comparison(f"p{i}", f"Name {i}.", texts, ranks, finished, labeler_id=f"L{i % labelers}"))
    return rows


def weights(path: Path) -> dict[str, Tensor]:
    return read_tensors(path / "model.safetensors")[0]


def assert_same(a: Path, b: Path, atol: float = 2e-5) -> None:
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], atol=atol, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}")


def losses(folder: Path, name: str = "loss") -> list[float]:
    return [row[name] for row in read_jsonl(folder / "metrics.jsonl") if name in row]


def saved_bytes(model: torch.nn.Module, ids: Tensor) -> int:
    """What one forward pass keeps for the backward pass, weights left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        response_logprobs(model, ids[:, :1], mask[:, :1], ids[:, 1:], mask[:, 1:])  # type: ignore[arg-type]
    return sum(seen.values())
