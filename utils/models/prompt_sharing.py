"""GPT-2 reward model over K completions of each prompt: the prompt is computed once, linear layers see no padding.

A plain K-wise batch repeats every prompt K times. Here each prompt and completion token appears once in one flat list.
The linear layers run over that list, and only attention uses padded rectangles: prompts attend to themselves, completions
to their prompt and themselves. It computes the same function as a plain forward pass of each prompt + completion (a test
compares scores and gradients). The last block computes only the last token of each completion; the score needs no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2ForSequenceClassification

from utils.models import gpt2
from utils.models.heads import in_float32
from utils.models.lora import effective_weight

Ids = Sequence[int]


class Rectangle(NamedTuple):
    """Places of sequences of different lengths in the flat list of tokens, as rows of a right-padded rectangle.

    slots (B, T): index into the flat list, 0 at padding. real (M,): index of each real token in the rectangle, row by
    row. mask (B, T): True at real tokens.
    """

    slots: Tensor
    real: Tensor
    mask: Tensor

    def flatten(self, rows: Tensor) -> Tensor:
        """(B, T, C) -> (M, C)."""
        return F.embedding(self.real, rows.reshape(-1, rows.shape[-1]))


class Packed(NamedTuple):
    """N prompts and U completions as one flat list: all prompt tokens, then all completion tokens.

    ids, positions (M,); owner (U,) prompt of each completion; ends (U,) flat index of each completion's last token.
    """

    ids: Tensor
    positions: Tensor
    prompts: Rectangle
    completions: Rectangle
    owner: Tensor
    ends: Tensor


def _rectangle(lengths: list[int], offset: int) -> Rectangle:
    """Sequences of these lengths, one after another in the flat list from `offset`."""
    size = torch.tensor(lengths)
    column = torch.arange(max(max(lengths), 1))
    mask = column < size[:, None]
    starts = offset + size.cumsum(0) - size
    slots = (starts[:, None] + column).masked_fill(~mask, 0)
    return Rectangle(slots, mask.flatten().nonzero().squeeze(1), mask)


def pack(prompts: Sequence[Ids], completions: Sequence[Sequence[Ids]], device: torch.device | str = "cpu") -> Packed:
    """Pack N prompts and the completions of each. Every completion has at least one token, a prompt may have none."""
    flat = list(chain.from_iterable(completions))
    owner = torch.tensor([n for n, group in enumerate(completions) for _ in group])
    prompt_lengths, lengths = [len(p) for p in prompts], [len(c) for c in flat]
    left = _rectangle(prompt_lengths, 0)
    right = _rectangle(lengths, sum(prompt_lengths))
    ids = torch.tensor([*chain.from_iterable(prompts), *chain.from_iterable(flat)])
    first = torch.tensor(prompt_lengths)[owner, None]
    columns = (torch.arange(left.mask.shape[1]).expand_as(left.mask), first + torch.arange(right.mask.shape[1]))
    positions = torch.cat([columns[0][left.mask], columns[1][right.mask]])
    ends = right.slots.gather(1, torch.tensor(lengths)[:, None] - 1).squeeze(1)
    left, right = (Rectangle(*(tensor.to(device) for tensor in rectangle)) for rectangle in (left, right))
    return Packed(ids.to(device), positions.to(device), left, right, owner.to(device), ends.to(device))


def can_share(model: nn.Module) -> bool:
    """True for a bare GPT-2 classifier with standard attention and no dropout; other models use the plain forward pass."""
    if type(model) is not GPT2ForSequenceClassification or not gpt2.supported(model):
        return False
    return not (model.training and any(m.p > 0 for m in model.modules() if isinstance(m, nn.Dropout)))


def shared_prompt_scores(model: Any, packed: Packed) -> Tensor:
    """Reward (U,) of each completion at its last token, float32, before the shift is subtracted."""
    trunk = model.transformer
    # What each completion attends to: (U, P + R) places in the flat list, its prompt's and its own.
    seen = torch.cat([packed.prompts.slots[packed.owner], packed.completions.slots], 1)
    visible = _visible(packed)
    x = F.embedding(packed.ids, trunk.wte.weight) + F.embedding(packed.positions, trunk.wpe.weight)
    for block in trunk.h[:-1]:
        x = _block(block, x, packed, seen, visible)
    hidden = trunk.ln_f(_last_block(trunk.h[-1], x, packed, seen, visible))  # (U, C)
    return in_float32(model.score, hidden).squeeze(-1)


def _visible(packed: Packed) -> Tensor:
    """(U, 1, R, P + R) bool: what each completion token attends to: its prompt, and its completion up to itself."""
    width = packed.completions.mask.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=packed.ids.device).tril()
    prompt = packed.prompts.mask[packed.owner]
    rows = len(packed.owner)
    return torch.cat([prompt[:, None].expand(-1, width, -1), causal.expand(rows, -1, -1)], 2)[:, None]


def _heads(block: Any, flat: Tensor, slots: Tensor) -> tuple[Tensor, ...]:
    """Rows of flat (tokens, n C) at slots (B, T), as n tensors (B, heads, T, head size).

    `F.embedding` picks rows as indexing does, with a faster backward pass.
    """
    split = (*slots.shape, -1, block.attn.num_heads, block.attn.head_dim)
    return F.embedding(slots, flat).view(split).permute(2, 0, 3, 1, 4).unbind(0)


def _merge(heads: Tensor) -> Tensor:
    """(B, heads, T, head size) -> (B, T, C)."""
    return heads.transpose(1, 2).flatten(2)


def _block(block: Any, x: Tensor, packed: Packed, seen: Tensor, visible: Tensor) -> Tensor:
    """One transformer block over the flat tokens (M, C)."""
    width = x.shape[-1]
    qkv = block.attn.c_attn(block.ln_1(x))  # (M, 3 C)
    # Prompts attend to themselves: (N, heads, P, size) -> (N, P, C).
    query, keys, values = _heads(block, qkv, packed.prompts.slots)
    left = _merge(F.scaled_dot_product_attention(query, keys, values, is_causal=True))
    # Completions attend to their prompt and to themselves: queries (U, heads, R, size), keys (U, heads, P + R, size).
    (query,) = _heads(block, qkv[:, :width], packed.completions.slots)
    keys, values = _heads(block, qkv[:, width:], seen)
    right = _merge(F.scaled_dot_product_attention(query, keys, values, attn_mask=visible))
    # Back to the flat list without padding: (M, C).
    x = x + block.attn.c_proj(torch.cat([packed.prompts.flatten(left), packed.completions.flatten(right)]))
    return x + block.mlp(block.ln_2(x))


def _last_block(block: Any, x: Tensor, packed: Packed, seen: Tensor, visible: Tensor) -> Tensor:
    """The last block, only at the last token of each completion: (M, C) -> (U, C)."""
    attention, width = block.attn, x.shape[-1]
    y = block.ln_1(x)
    weight, bias = effective_weight(attention.c_attn), attention.c_attn.bias
    # Queries only at the last tokens, (U, C); keys and values at all tokens that these attend to.
    flat_query = torch.addmm(bias[:width], F.embedding(packed.ends, y), weight[:, :width])
    rows = torch.arange(len(packed.ends), device=x.device)
    (query,) = _heads(block, flat_query, rows[:, None])
    keys, values = _heads(block, torch.addmm(bias[width:], y, weight[:, width:]), seen)
    last = packed.completions.mask.sum(1) - 1
    # One row of the mask per completion, that of its last token: (U, 1, 1, P + R).
    mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=visible[rows, :, last][:, :, None])
    x = F.embedding(packed.ends, x) + attention.c_proj(_merge(mixed).squeeze(1))
    return x + block.mlp(block.ln_2(x))
