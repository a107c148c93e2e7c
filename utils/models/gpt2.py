"""GPT-2's forward pass and incremental decoding, written out over Hugging Face weights.

The same function as `GPT2Model.forward` (tests compare the two), without work that is not needed here: linear layers see
no padding tokens, the last layer runs only at the requested positions, and sampling makes no module calls per token and
keeps keys and values in buffers of fixed size. Measured by benchmarks/ppo_update.py, sampling.py and decoding.py.
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


class _Cache:
    """Keys and values of the tokens so far, (layers, 2, B, heads, tokens, head size), and which of them are padding."""

    def __init__(self, like: Tensor, layers: int, heads: int, size: int, mask: Tensor, more: int) -> None:
        batch, width = mask.shape
        self.heads, self.size, self.length = heads, size, width
        self.buffer = like.new_empty(layers, 2, batch, heads, width + more, size)
        # None: nothing is padded. Otherwise added to the attention scores: 0 at real tokens, -inf at padding.
        self.bias: Tensor | None = None  # (B, 1, 1, P + more)
        if not bool(mask.all()):
            self.bias = like.new_zeros(batch, 1, 1, width + more)
            self.bias[..., :width].masked_fill_(~mask.bool()[:, None, None], -math.inf)

    def fill(self, layer: int, keys_values: Tensor) -> None:
        """Store those of the prompts, (2, B, heads, P, head size)."""
        self.buffer[layer, :, :, :, : self.length] = keys_values

    def attend(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Store those of one more token per row, x (B, C); its attention over all of them (B, C)."""
        qkv = torch.addmm(bias, x, weight).view(len(x), 3, self.heads, 1, self.size)
        self.buffer[layer, :, :, :, self.length] = qkv[:, 1:, :, 0].transpose(0, 1)
        keys, values = self.buffer[layer, :, :, :, : self.length + 1]
        mask = None if self.bias is None else self.bias[..., : self.length + 1]
        return F.scaled_dot_product_attention(qkv[:, 0], keys, values, attn_mask=mask).reshape(len(x), -1)

    def select(self, rows: Tensor) -> None:
        """Keep only `rows` of the batch."""
        old = self.buffer
        self.buffer = old.new_empty(*old.shape[:2], len(rows), *old.shape[3:])
        self.buffer[:, :, :, :, : self.length] = old[:, :, :, :, : self.length].index_select(2, rows)
        if self.bias is not None:
            self.bias = self.bias[rows]


class _SmallHeadsCache(_Cache):
    """The same as (layers, 2, tokens, heads, head size, B).

    With the rows innermost, the attention of one token per row is two elementwise products over all rows at once. On a CPU
    this is faster than a matrix product per row and head if heads are small, and slower if they have GPT-2's size of 64
    (benchmarks/decoding.py).
    """

    def __init__(self, like: Tensor, layers: int, heads: int, size: int, mask: Tensor, more: int) -> None:
        super().__init__(like, layers, heads, size, mask, more)
        self.buffer = like.new_empty(layers, 2, mask.shape[1] + more, heads, size, len(mask))
        if self.bias is not None:
            self.bias = self.bias[:, 0].permute(2, 1, 0).contiguous()  # (P + more, 1, B)

    def fill(self, layer: int, keys_values: Tensor) -> None:
        self.buffer[layer, :, : self.length] = keys_values.permute(0, 3, 2, 4, 1)

    def attend(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        # The product is made transposed, (3 C, B), so that keys and values are as the buffer has them.
        qkv = torch.addmm(bias.unsqueeze(1), weight.t(), x.t()).view(3, self.heads, self.size, -1)
        self.buffer[layer, :, self.length] = qkv[1:]
        keys, values = self.buffer[layer, :, : self.length + 1]
        scores = (keys * (qkv[0] * self.size**-0.5)).sum(2)  # (tokens, heads, B)
        if self.bias is not None:
            scores.add_(self.bias[: len(keys)])
        return (values * scores.softmax(0).unsqueeze(2)).sum(0).view(-1, len(x)).t()

    def select(self, rows: Tensor) -> None:
        # `gather` takes a quarter of the time of `index_select` in the innermost dimension.
        old = self.buffer
        self.buffer = old.new_empty(*old.shape[:-1], len(rows))
        written = old[:, :, : self.length]
        torch.gather(written, -1, rows.expand(*written.shape[:-1], -1), out=self.buffer[:, :, : self.length])
        if self.bias is not None:
            self.bias = self.bias[..., rows]


SMALL_HEAD = 32  # largest head size for which `_SmallHeadsCache` is used


class Decoder:
    """Left-padded prompts (B, P) and their growing continuations, one token per step, without gradients.

    `prefill()` gives the next-token logits (B, V), `step(tokens (B,))` those after one more token, `select(rows)` keeps
    some rows only. Keys and values live in one buffer of fixed size, `cache`.
    """

    def __init__(self, model: GPT2LMHeadModel, prompt_ids: Tensor, prompt_mask: Tensor, max_new_tokens: int) -> None:
        trunk, config = model.transformer, model.config
        self.prompt_ids, self.prompt_mask = prompt_ids, prompt_mask
        self.width, self.heads, self.size = config.n_embd, config.n_head, config.n_embd // config.n_head
        self.eps = config.layer_norm_epsilon
        self.wte, self.wpe, self.head = trunk.wte.weight, trunk.wpe.weight, model.lm_head.weight.t()
        self.final = (trunk.ln_f.weight, trunk.ln_f.bias)
        self.layers = [_affine(block) for block in _blocks(trunk)]
        is_small = self.size <= SMALL_HEAD and self.wte.device.type == "cpu"
        make = _SmallHeadsCache if is_small else _Cache
        self.cache = make(self.wte, len(self.layers), self.heads, self.size, prompt_mask, max_new_tokens)
        self.positions = (prompt_mask.long().cumsum(1) - 1).clamp(min=0)  # (B, P); of the next token (B,) after prefill

    def prefill(self) -> Tensor:
        """Next-token logits (B, V) after the prompts."""
        batch, width = self.prompt_ids.shape
        mask = self._prompt_mask()
        x = (F.embedding(self.prompt_ids, self.wte) + F.embedding(self.positions, self.wpe)).view(batch * width, -1)
        for index, layer in enumerate(self.layers):
            (w1, b1), (wa, ba) = layer[:2]
            qkv = torch.addmm(ba, self._norm(x, w1, b1), wa).view(batch, width, 3, self.heads, self.size)
            query, key, value = qkv = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, P, head size) each
            self.cache.fill(index, qkv[1:])
            # Of the last layer only the last position is read.
            is_last = index + 1 == len(self.layers)
            if is_last:
                query, x = query[:, :, -1:], x.view(batch, width, -1)[:, -1]
                mask = None if mask is None else mask[:, :, -1:]
            causal = mask is None and not is_last
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
            x = self._after_attention(layer, x, out.transpose(1, 2).reshape(len(x), -1))
        self.positions = self.positions[:, -1] + 1
        return self._logits(x)

    def step(self, tokens: Tensor) -> Tensor:
        """Next-token logits (B, V) after one more token per row, tokens (B,)."""
        x = F.embedding(tokens, self.wte).add_(F.embedding(self.positions, self.wpe))  # (B, C)
        for index, layer in enumerate(self.layers):
            (w1, b1), (wa, ba) = layer[:2]
            x = self._after_attention(layer, x, self.cache.attend(index, self._norm(x, w1, b1), wa, ba))
        self.cache.length, self.positions = self.cache.length + 1, self.positions + 1
        return self._logits(x)

    def select(self, rows: Tensor) -> None:
        """Keep only `rows` (long) of the batch, in that order."""
        self.cache.select(rows)
        self.positions = self.positions[rows]

    def _prompt_mask(self) -> Tensor | None:
        """(B, 1, P, P) bool for the prompts' attention, None if nothing is padded."""
        if bool(self.prompt_mask.all()):
            return None
        width = self.prompt_mask.shape[1]
        causal = torch.ones(width, width, dtype=torch.bool, device=self.prompt_mask.device).tril()
        # A padded query sees at least itself: a row without any key would be NaN.
        return (causal & self.prompt_mask.bool()[:, None, None]) | torch.eye(width, dtype=torch.bool, device=causal.device)

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
