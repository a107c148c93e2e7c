"""Models, Eq. 1 in plain loops and gradients for tests of the reward model."""

from __future__ import annotations

import itertools

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedModel

from utils.config import RewardConfig
from utils.reward.batches import Group

PAD = 2
DEVICE = torch.device("cpu")
CFG = RewardConfig(epochs=1, prompts_per_step=2, learning_rate=3e-3)


def llama() -> LlamaForSequenceClassification:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, pad_token_id=PAD, num_labels=1,
    )  # fmt: skip
    return LlamaForSequenceClassification(config).eval()


def one_by_one(model: PreTrainedModel, group: Group) -> list[torch.Tensor]:
    """Reward of each of the K completions by the model's own unpadded forward."""
    return [model(torch.tensor([[*group.prompt, *group.responses[i]]]), use_cache=False).logits[0, 0] for i in group.which]


def brute_force(model: PreTrainedModel, groups: list[Group]) -> torch.Tensor:
    """Eq. 1 in plain loops: mean over prompts of the mean over pairs that are not tied."""
    prompts = []
    for group in groups:
        r = one_by_one(model, group)
        pairs = [(i, j) for i, j in itertools.permutations(range(len(r)), 2) if group.ranks[i] < group.ranks[j]]
        prompts.append(sum(-torch.log(torch.sigmoid(r[i] - r[j])) for i, j in pairs) / len(pairs))
    return sum(prompts) / len(prompts)


def gradient(model: PreTrainedModel, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
