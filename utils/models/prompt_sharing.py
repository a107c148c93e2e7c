"""GPT-2 reward model over K completions of each prompt: the prompt is computed once, linear layers see no padding.

A plain K-wise batch repeats every prompt K times. Here each prompt and completion token appears once in one flat list.
The linear layers run over that list, and only attention uses padded rectangles: prompts attend to themselves, completions
to their prompt and themselves. Short completions of one prompt share a row of the rectangle, one after another, and a mask
keeps them apart, so that few places are padding. It computes the same function as a plain forward pass of each prompt +
completion (a test compares scores and gradients). The last block computes only the last token of each completion; the score
needs no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2ForSequenceClassification

from utils.models import gpt2
from utils.models.heads import in_float32
from utils.models.lora import effective_weight
from utils.models.packing import causal_parts, shared_rows

Ids = Sequence[int]


class Rectangle(NamedTuple):
    """Rows of different lengths as a right-padded rectangle: where each place is found in a flat list, and the way back.

    slots (B, T): index into the flat list, 0 at padding. real (M,): index of each real place in the rectangle, row by row.
    mask (B, T): True at real places.
    """

    slots: Tensor
    real: Tensor
    mask: Tensor

    def flatten(self, rows: Tensor) -> Tensor:
        """(B, T, C) -> (M, C)."""
        return F.embedding(self.real, rows.reshape(-1, rows.shape[-1]))

    def to(self, device: torch.device | str) -> Rectangle:
        """The same on another device."""
        return Rectangle(*(tensor.to(device) for tensor in self))


class Packed(NamedTuple):
    """N prompts and U completions as one flat list: all prompt tokens, then all completion tokens, row by row.

    ids, positions (M,). prompts: one row per prompt (N, P). rows: one or more completions of one prompt per row (B, R).
    seen (B, P + R): places in the flat list of the prompt of each row and of the row itself. visible (B, 1, R, P + R): True
    where a token of a row attends. ends (U,): place of each completion's last token in the flat list, row by row. last:
    the same as a rectangle (B, E) over `ends`, E the most completions of one row. last_visible (B, 1, E, P + R): the rows of
    `visible` at the last tokens. order (U,): index in `ends` of each completion as it was given.
    """

    ids: Tensor
    positions: Tensor
    prompts: Rectangle
    rows: Rectangle
    seen: Tensor
    visible: Tensor
    ends: Tensor
    last: Rectangle
    last_visible: Tensor
    order: Tensor

    def to(self, device: torch.device | str) -> Packed:
        """The same on another device."""
        moved = {name: part.to(device) for name, part in self._asdict().items()}
        return self._replace(**moved)


def _rectangle(lengths: list[int], offset: int) -> Rectangle:
    """Rows of these lengths, one after another in the flat list from `offset`."""
    size = torch.tensor(lengths)
    column = torch.arange(max(max(lengths), 1))
    mask = column < size[:, None]
    starts = offset + size.cumsum(0) - size
    slots = (starts[:, None] + column).masked_fill(~mask, 0)
    return Rectangle(slots, mask.flatten().nonzero().squeeze(1), mask)


def pack(prompts: Sequence[Ids], completions: Sequence[Sequence[Ids]], device: torch.device | str = "cpu") -> Packed:
    """Pack N prompts and the completions of each. Every completion has at least one token, a prompt may have none."""
    room = max(len(ids) for group in completions for ids in group)
    firsts = accumulate((len(group) for group in completions), initial=0)
    # Which prompt a row belongs to, the lengths of its completions, and which completions, as given, these are.
    owners: list[int] = []
    parts: list[list[int]] = []
    given: list[int] = []
    flat: list[int] = []
    for n, (group, first) in enumerate(zip(completions, firsts, strict=False)):
        for row in shared_rows([len(ids) for ids in group], room):
            owners.append(n)
            parts.append([len(group[i]) for i in row])
            given += [first + i for i in row]
            flat += chain.from_iterable(group[i] for i in row)
    starts = [len(ids) for ids in prompts]  # of the positions of a prompt's completions
    positions = [*map(range, starts)]
    positions += [range(starts[n], starts[n] + size) for n, sizes in zip(owners, parts, strict=True) for size in sizes]
    left, right = _rectangle(starts, 0), _rectangle([sum(sizes) for sizes in parts], sum(starts))
    owner = torch.tensor(owners)
    visible = torch.cat([left.mask[owner][:, None].expand(-1, room, -1), causal_parts(parts, room)], 2)  # (B, R, P + R)
    last = _rectangle([len(sizes) for sizes in parts], 0)
    columns = torch.tensor([end - 1 for sizes in parts for end in accumulate(sizes)])[last.slots]  # (B, E)
    return Packed(
        ids=torch.tensor([*chain.from_iterable(prompts), *flat]),
        positions=torch.tensor([*chain.from_iterable(positions)]),
        prompts=left,
        rows=right,
        seen=torch.cat([left.slots[owner], right.slots], 1),
        visible=visible[:, None],
        ends=right.slots.gather(1, columns)[last.mask],
        last=last,
        last_visible=visible.gather(1, columns[:, :, None].expand(-1, -1, visible.shape[2]))[:, None],
        order=torch.tensor(given).argsort(),
    ).to(device)


def can_share(model: nn.Module) -> bool:
    """True for a bare GPT-2 classifier with standard attention and no dropout; other models use the plain forward pass."""
    if type(model) is not GPT2ForSequenceClassification or not gpt2.supported(model):
        return False
    return not (model.training and any(m.p > 0 for m in model.modules() if isinstance(m, nn.Dropout)))


def shared_prompt_scores(model: Any, packed: Packed) -> Tensor:
    """Reward (U,) of each completion at its last token, float32, before the shift is subtracted."""
    trunk = model.transformer
    x = F.embedding(packed.ids, trunk.wte.weight) + F.embedding(packed.positions, trunk.wpe.weight)
    for block in trunk.h[:-1]:
        x = _block(block, x, packed)
    hidden = trunk.ln_f(_last_block(trunk.h[-1], x, packed))  # (U, C)
    return in_float32(model.score, hidden).squeeze(-1)[packed.order]


def _heads(block: Any, flat: Tensor, slots: Tensor) -> tuple[Tensor, ...]:
    """Rows of flat (tokens, n C) at slots (B, T), as n tensors (B, heads, T, head size).

    `F.embedding` picks rows as indexing does, with a faster backward pass.
    """
    split = (*slots.shape, -1, block.attn.num_heads, block.attn.head_dim)
    return F.embedding(slots, flat).view(split).permute(2, 0, 3, 1, 4).unbind(0)


def _merge(heads: Tensor) -> Tensor:
    """(B, heads, T, head size) -> (B, T, C)."""
    return heads.transpose(1, 2).flatten(2)


def _block(block: Any, x: Tensor, packed: Packed) -> Tensor:
    """One transformer block over the flat tokens (M, C)."""
    width = x.shape[-1]
    qkv = block.attn.c_attn(block.ln_1(x))  # (M, 3 C)
    # Prompts attend to themselves: (N, heads, P, size) -> (N, P, C).
    query, keys, values = _heads(block, qkv, packed.prompts.slots)
    left = _merge(F.scaled_dot_product_attention(query, keys, values, is_causal=True))
    # Completions attend to their prompt and to themselves: queries (B, heads, R, size), keys (B, heads, P + R, size).
    (query,) = _heads(block, qkv[:, :width], packed.rows.slots)
    keys, values = _heads(block, qkv[:, width:], packed.seen)
    right = _merge(F.scaled_dot_product_attention(query, keys, values, attn_mask=packed.visible))
    # Back to the flat list without padding: (M, C).
    x = x + block.attn.c_proj(torch.cat([packed.prompts.flatten(left), packed.rows.flatten(right)]))
    return x + block.mlp(block.ln_2(x))


def _last_block(block: Any, x: Tensor, packed: Packed) -> Tensor:
    """The last block, only at the last token of each completion: (M, C) -> (U, C)."""
    attention, width = block.attn, x.shape[-1]
    y = block.ln_1(x)
    weight, bias = effective_weight(attention.c_attn), attention.c_attn.bias
    # Queries only at the last tokens, (U, C); keys and values at all tokens that these attend to.
    flat_query = torch.addmm(bias[:width], F.embedding(packed.ends, y), weight[:, :width])
    (query,) = _heads(block, flat_query, packed.last.slots)
    keys, values = _heads(block, torch.addmm(bias[width:], y, weight[:, width:]), packed.seen)
    mixed = _merge(F.scaled_dot_product_attention(query, keys, values, attn_mask=packed.last_visible))  # (B, E, C)
    x = F.embedding(packed.ends, x) + attention.c_proj(packed.last.flatten(mixed))
    return x + block.mlp(block.ln_2(x))
