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
    some rows only. Keys and values live in one buffer (layers, 2, P + max_new_tokens, heads, head size, B). With the rows
    innermost, the attention of one token per row is two elementwise products over all rows at once. On CPU and with small
    heads this takes a quarter of the time of a matrix product for each row and head (benchmarks/sampling.py).
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
        self.cache = self.wte.new_empty(len(self.layers), 2, total, self.heads, self.size, batch)
        # None: nothing is padded. Otherwise added to the attention scores: 0 at real tokens, -inf at padding.
        self.bias: Tensor | None = None  # (P + max_new_tokens, 1, B)
        if not bool(prompt_mask.all()):
            self.bias = self.cache.new_zeros(total, 1, batch)
            self.bias[:width].masked_fill_(~prompt_mask.t().unsqueeze(1), -math.inf)
        self.positions = (prompt_mask.long().cumsum(1) - 1).clamp(min=0)  # (B, P); of the next token (B,) after prefill

    def prefill(self) -> Tensor:
        """Next-token logits (B, V) after the prompts."""
        batch, width = self.prompt_ids.shape
        mask = self._prompt_mask(width)
        x = (F.embedding(self.prompt_ids, self.wte) + F.embedding(self.positions, self.wpe)).view(batch * width, -1)
        for index, (layer, cache) in enumerate(zip(self.layers, self.cache, strict=True)):
            (w1, b1), (wa, ba) = layer[:2]
            qkv = torch.addmm(ba, self._norm(x, w1, b1), wa).view(batch, width, 3, self.heads, self.size)
            cache[:, :width] = qkv[:, :, 1:].permute(2, 1, 3, 4, 0)
            query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, P, head size) each
            # Of the last layer only the last position is read.
            is_last = index + 1 == len(self.layers)
            if is_last:
                query, x = query[:, :, -1:], x.view(batch, width, -1)[:, -1]
                mask = None if mask is None else mask[:, :, -1:]
            causal = mask is None and not is_last
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
            x = self._after_attention(layer, x, out.transpose(1, 2).reshape(len(x), -1))
        self.length, self.positions = width, self.positions[:, -1] + 1
        return self._logits(x)

    def step(self, tokens: Tensor) -> Tensor:
        """Next-token logits (B, V) after one more token per row, tokens (B,)."""
        x = F.embedding(tokens, self.wte).add_(F.embedding(self.positions, self.wpe))  # (B, C)
        for layer, cache in zip(self.layers, self.cache, strict=True):
            (w1, b1), (wa, ba) = layer[:2]
            # The product is made transposed, (3 C, B), so that keys and values are as the buffer has them.
            qkv = torch.addmm(ba.unsqueeze(1), wa.t(), self._norm(x, w1, b1).t())
            qkv = qkv.view(3, self.heads, self.size, -1)
            cache[:, self.length] = qkv[1:]
            x = self._after_attention(layer, x, self._attend(qkv[0], cache[:, : self.length + 1]).t())
        self.length, self.positions = self.length + 1, self.positions + 1
        return self._logits(x)

    def select(self, rows: Tensor) -> None:
        """Keep only `rows` (long) of the batch, in that order."""
        old = self.cache
        self.cache = old.new_empty(*old.shape[:-1], len(rows))
        # `gather` takes a quarter of the time of `index_select` in the innermost dimension.
        written = old[:, :, : self.length]
        torch.gather(written, -1, rows.expand(*written.shape[:-1], -1), out=self.cache[:, :, : self.length])
        self.positions = self.positions[rows]
        if self.bias is not None:
            self.bias = self.bias[..., rows]

    def _prompt_mask(self, width: int) -> Tensor | None:
        """(B, 1, width, width) bool for the prompts' attention, None if nothing is padded."""
        if self.bias is None:
            return None
        causal = torch.ones(width, width, dtype=torch.bool, device=self.bias.device).tril()
        real = (self.bias[:width] == 0).permute(2, 1, 0).unsqueeze(1)  # (B, 1, 1, width)
        # A padded query sees at least itself: a row without any key would be NaN.
        return (causal & real) | torch.eye(width, dtype=torch.bool, device=causal.device)

    def _attend(self, query: Tensor, cache: Tensor) -> Tensor:
        """(C, B) attention of one query per row, (heads, head size, B), over keys and values (2, tokens, *, *, B)."""
        keys, values = cache
        scores = (keys * (query * self.size**-0.5)).sum(2)  # (tokens, heads, B)
        if self.bias is not None:
            scores.add_(self.bias[: len(keys)])
        return (values * scores.softmax(0).unsqueeze(2)).sum(0).view(self.width, -1)

    def _norm(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,), weight, bias, self.eps)

    def _after_attention(self, layer: Sequence[tuple[Tensor, Tensor]], x: Tensor, attended: Tensor) -> Tensor:
        """The rest of a layer: output projection and MLP, each with its residual connection; all (N, C)."""
        (wo, bo), (w2, b2), (wf, bf), (wg, bg) = layer[2:]
        x = torch.addmm(bo, attended, wo).add_(x)
        inner = F.gelu(torch.addmm(bf, self._norm(x, w2, b2), wf), approximate="tanh")
        return torch.addmm(bg, inner, wg).add_(x)

    def _logits(self, x: Tensor) -> Tensor:
        return self._norm(x, *self.final) @ self.head
