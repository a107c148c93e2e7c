"""GPT-2's forward pass and incremental decoding, written out over Hugging Face weights.

The same function as `GPT2Model.forward` (tests compare the two), without work that is not needed here: linear layers see
no padding tokens, the last layer runs only at the requested positions, and sampling makes no module calls per token and
keeps keys and values in buffers of fixed size. Measured by benchmarks/ppo_update.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel, GPT2Model
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.pytorch_utils import Conv1D

from utils.models.lora import effective_weight
from utils.models.packing import Places, attention_places


def supported(model: nn.Module) -> bool:
    """True if the functions here compute what `model` itself computes; others use the general path."""
    if type(model) not in (GPT2LMHeadModel, GPT2ForSequenceClassification):
        return False
    # Only transformers' own blocks checkpoint. (The model's property for it has different names in different versions.)
    blocks = _blocks(cast(GPT2Model, model.transformer))
    if model.training and any(getattr(block, "gradient_checkpointing", False) for block in blocks):
        return False
    config: Any = model.config  # the type nn.Module does not show that it is one of the two classes above
    return (
        config.activation_function in ("gelu_new", "gelu_pytorch_tanh")
        and config.scale_attn_weights
        and not config.scale_attn_by_inverse_layer_idx
        and not config.reorder_and_upcast_attn
        and not config.add_cross_attention
    )


def _blocks(trunk: GPT2Model) -> Sequence[GPT2Block]:
    """The layers; the type ModuleList only shows that they are modules."""
    return cast(Sequence[GPT2Block], trunk.h)


def _drop(module: nn.Dropout, x: Tensor) -> Tensor:
    return module(x) if module.training and module.p > 0 else x


def _embed(trunk: GPT2Model, ids: Tensor, valid: Tensor | None) -> Tensor:
    """(N, C) token plus position embeddings of the valid tokens of right-padded ids (B, S)."""
    batch, length = ids.shape
    if valid is None:
        x = F.embedding(ids, trunk.wte.weight) + trunk.wpe.weight[:length]
        return _drop(trunk.drop, x).flatten(0, 1)
    positions = torch.arange(length, device=ids.device).repeat(batch)
    x = F.embedding(ids.flatten()[valid], trunk.wte.weight) + F.embedding(positions[valid], trunk.wpe.weight)
    return _drop(trunk.drop, x)


def _attention(block: GPT2Block, x: Tensor, places: Places, wanted: Tensor | None) -> Tensor:
    """(M, C) causal self-attention of the tokens x (N, C) before its output projection, at the places `wanted` (M,).

    wanted: places in the flattened rectangle, None for all of them.
    """
    attn, size = block.attn, places.shape[0] * places.shape[1]
    qkv = attn.c_attn(block.ln_1(x))
    if places.slots is not None:
        qkv = qkv.new_zeros(size, qkv.shape[-1]).index_copy(0, places.slots, qkv)
    query, key, value = qkv.view(*places.shape, 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)
    dropout, visible = attn.attn_dropout.p if attn.training else 0.0, places.visible
    out = F.scaled_dot_product_attention(query, key, value, visible, dropout_p=dropout, is_causal=visible is None)
    out = out.transpose(1, 2).reshape(size, x.shape[-1])
    return out if wanted is None else out.index_select(0, wanted)


def hidden_states(trunk: GPT2Model, ids: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
    """Final hidden states (N, C) at the N positions of `keep`, row by row.

    ids (B, S) right-padded, mask (B, S) bool of the real tokens, keep (B, S) bool, a part of mask. Only real tokens go
    through the linear layers, and the last layer's run only at `keep`. In attention short rows share a row
    (`attention_places`).
    """
    places = attention_places(mask)
    valid = None if places.slots is None else mask.flatten().nonzero().squeeze(1)
    x = _embed(trunk, ids, valid)  # (tokens, C), tokens: the real ones
    kept = keep[mask].nonzero().squeeze(1)  # (N,) of the tokens
    last = len(trunk.h) - 1
    for index, block in enumerate(_blocks(trunk)):
        wanted = places.slots
        if index == last:
            wanted = kept if places.slots is None else places.slots[kept]
        attended = _attention(block, x, places, wanted)
        if index == last:
            x = x.index_select(0, kept)
        x = x + _drop(block.attn.resid_dropout, block.attn.c_proj(attended))
        inner = F.gelu(block.mlp.c_fc(block.ln_2(x)), approximate="tanh")
        x = x + _drop(block.mlp.dropout, block.mlp.c_proj(inner))
    return trunk.ln_f(x)


def _affine(block: GPT2Block) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of each part of a layer, in the order of the forward pass; adapters are merged."""
    attn, mlp = block.attn, block.mlp
    parts: list[nn.LayerNorm | Conv1D] = [block.ln_1, attn.c_attn, attn.c_proj, block.ln_2, mlp.c_fc, mlp.c_proj]
    return [(effective_weight(part), part.bias) for part in parts]


class Decoder:
    """Left-padded prompts (B, P) and their growing continuations, one token per step, without gradients.

    `prefill()` gives the next-token logits (B, V), `step(tokens (B,))` those after one more token, `select(rows)` keeps
    some rows only. Keys and values live in one buffer (layers, 2, B, heads, P + max_new_tokens, head size).
    """

    def __init__(self, model: GPT2LMHeadModel, prompt_ids: Tensor, prompt_mask: Tensor, max_new_tokens: int) -> None:
        trunk, config = model.transformer, model.config
        self.prompt_ids, self.length = prompt_ids, 0
        batch, width = prompt_ids.shape
        self.width, self.heads, self.size = config.n_embd, config.n_head, config.n_embd // config.n_head
        self.eps = config.layer_norm_epsilon
        self.wte, self.wpe, self.head = trunk.wte.weight, trunk.wpe.weight, model.lm_head.weight.t()
        self.final = (trunk.ln_f.weight, trunk.ln_f.bias)
        self.layers = [_affine(block) for block in _blocks(trunk)]
        total = width + max_new_tokens
        self.cache = self.wte.new_empty(len(self.layers), 2, batch, self.heads, total, self.size)
        # None: nothing is padded. Otherwise added to the attention scores: 0 at real tokens, -inf at padding.
        self.bias: Tensor | None = None
        if not bool(prompt_mask.all()):
            self.bias = self.cache.new_zeros(batch, 1, 1, total)
            self.bias[..., :width].masked_fill_(~prompt_mask[:, None, None, :], -math.inf)
        self.positions = (prompt_mask.long().cumsum(1) - 1).clamp(min=0)

    def prefill(self) -> Tensor:
        """Next-token logits (B, V) after the prompts."""
        logits = self._forward(self.prompt_ids, self.positions)
        self.positions = self.positions[:, -1:] + 1
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """Next-token logits (B, V) after one more token per row, tokens (B,)."""
        logits = self._forward(tokens.unsqueeze(1), self.positions)
        self.positions = self.positions + 1
        return logits

    def select(self, rows: Tensor) -> None:
        """Keep only `rows` (long) of the batch, in that order."""
        old = self.cache
        self.cache = old.new_empty(old.shape[0], 2, len(rows), *old.shape[3:])
        self.cache[..., : self.length, :] = old[:, :, rows, :, : self.length]
        self.positions = self.positions[rows]
        if self.bias is not None:
            self.bias = self.bias[rows]

    def _prompt_mask(self, width: int) -> Tensor | None:
        """(B, 1, width, width) bool for the prompts' attention, None if nothing is padded."""
        if self.bias is None:
            return None
        causal = torch.ones(width, width, dtype=torch.bool, device=self.bias.device).tril()
        # A padded query sees at least itself: a row without any key would be NaN.
        return (causal & (self.bias[..., :width] == 0)) | torch.eye(width, dtype=torch.bool, device=causal.device)

    def _attend_one(self, query: Tensor, cache: Tensor) -> Tensor:
        """(B, C) attention of one query per row, query (B, heads, size), over the cached keys and values.

        Two batched products: on CPU about four times as fast as the fused kernel, which is built for many queries.
        """
        batch, end = len(query), self.length + 1
        keys, values = cache.view(2, batch * self.heads, -1, self.size)[:, :, :end].unbind(0)
        scores = torch.bmm(query.reshape(-1, 1, self.size) * self.size**-0.5, keys.transpose(1, 2))
        if self.bias is not None:
            scores.view(batch, self.heads, 1, end).add_(self.bias[..., :end])
        return torch.bmm(scores.softmax(-1), values).view(batch, -1)

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        batch, width = ids.shape
        start, end = self.length, self.length + width
        shape = (self.width,)
        mask = None if start else self._prompt_mask(width)
        x = (F.embedding(ids, self.wte) + F.embedding(positions, self.wpe)).view(batch * width, -1)
        for ((w1, b1), (wa, ba), (wo, bo), (w2, b2), (wf, bf), (wg, bg)), cache in zip(self.layers, self.cache, strict=True):
            # Queries, keys and values of the new tokens; keys and values go to the cache.
            qkv = torch.addmm(ba, F.layer_norm(x, shape, w1, b1, self.eps), wa)
            qkv = qkv.view(batch, width, 3, self.heads, self.size)
            cache[:, :, :, start:end] = qkv[:, :, 1:].permute(2, 0, 3, 1, 4)
            # One new token attends to the whole cache; the prompts attend to themselves.  out: (B * width, C)
            if start:
                out = self._attend_one(qkv[:, 0, 0], cache)
            else:
                query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
                out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
                out = out.transpose(1, 2).reshape(batch * width, -1)
            # Output projection and MLP, each with its residual connection.
            x = torch.addmm(bo, out, wo).add_(x)
            inner = F.gelu(torch.addmm(bf, F.layer_norm(x, shape, w2, b2, self.eps), wf), approximate="tanh")
            x = torch.addmm(bg, inner, wg).add_(x)
        self.length = end
        return F.layer_norm(x.view(batch, width, -1)[:, -1], shape, *self.final, self.eps) @ self.head
