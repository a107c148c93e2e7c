"""Sampling and reading: prompts -> responses with log-probs; log-probs and values of given responses.

Three separate, replaceable steps: `sample` (which tokens), `response_logprobs` / `response_values` (what the models say of
them) and `utils.losses` (what to make of it). GPT-2 takes the written-out path of `utils.models.gpt2`, any other causal
language model the general one; both have the same interface and the same results. Heads compute in float32 in both
(`utils.models.heads`).

Shapes: B responses, P the longest prompt, R the longest response, S the longest sequence of both, V the vocabulary, N the
positions that are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GPT2LMHeadModel, GPT2Model, PreTrainedModel

from utils.config import SAMPLING_BATCH
from utils.core.errors import UserError
from utils.core.runtime import autocast, is_autocast
from utils.data.encoding import pad_left
from utils.losses import token_logprobs
from utils.models import gpt2
from utils.models.heads import float32_head, in_float32
from utils.models.loading import context_length

OnTokens = Callable[[Tensor, Tensor], None]  # called as on_tokens(rows (A,), tokens (A,)) at each step of sampling
CPU_BATCH = 256  # most rows at once on CPU: keys and values of more do not stay in its cache
COMPACT_BELOW = 0.75  # go on with the unfinished rows alone once they are at most this share of the batch


@dataclass(frozen=True)
class Decoding:
    """How responses are drawn.

    A response ends at the first of `stop_ids`, which it includes, or at max_new_tokens. top_k: draw among the k likeliest
    tokens only. PPO must not: its sampled policy has to be the scored policy, and `response_logprobs` scores with all tokens
    (a lesson shows the KL that comes out below 0). batch_size: most prompts at once (on CPU also at most `CPU_BATCH`); the
    result does not depend on it.
    """

    max_new_tokens: int
    stop_ids: Sequence[int]
    pad_id: int
    temperature: float = 1.0
    top_k: int | None = None
    batch_size: int = SAMPLING_BATCH


@dataclass(frozen=True)
class Rollout:
    """B sampled responses. P: longest prompt, R: max_new_tokens.

    prompt_ids (B, P) long left-padded, prompt_mask (B, P) bool; response_ids (B, R) long right-padded, response_mask
    (B, R) bool, True up to and with the stop token; logprobs (B, R) of the sampled tokens under the sampling
    distribution at the sampling temperature, 0 in the padding; finished (B,) bool, False if cut off at R tokens.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    response_ids: Tensor
    response_mask: Tensor
    logprobs: Tensor
    finished: Tensor

    def __len__(self) -> int:
        return len(self.finished)

    def __getitem__(self, rows: Tensor | slice) -> Rollout:
        """The same fields for some rows."""
        return Rollout(*(getattr(self, field.name)[rows] for field in fields(self)))

    def prompts(self) -> list[list[int]]:
        """Prompt ids without padding."""
        return [ids[mask].tolist() for ids, mask in zip(self.prompt_ids, self.prompt_mask, strict=True)]

    def responses(self) -> list[list[int]]:
        """Response ids without padding, the stop token included."""
        return [ids[mask].tolist() for ids, mask in zip(self.response_ids, self.response_mask, strict=True)]


# Sampling


def episode_uniforms(seeds: Sequence[int], max_new_tokens: int) -> Tensor:
    """(B, max_new_tokens) uniform numbers in [0, 1): row i from the stream of seeds[i] alone."""
    generator = torch.Generator()
    return torch.stack([torch.rand(max_new_tokens, generator=generator.manual_seed(seed)) for seed in seeds])


def sample_tokens(
    logits: Tensor, uniforms: Tensor | None, temperature: float, top_k: int | None = None
) -> tuple[Tensor, Tensor]:
    """tokens (B,) and their log-probs (B,) under softmax(logits (B, V) / temperature), cut to the `top_k` likeliest.

    Inverse CDF: the token at which the running sum of probabilities passes uniforms (B,); None takes the likeliest.
    """
    if temperature != 1.0:
        logits = logits / temperature
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[-1])).values[:, -1:], -torch.inf)
    top = logits.amax(-1, keepdim=True)  # (B, 1)
    weights = (logits - top).exp_()  # (B, V), which overflow for no logit
    if uniforms is None:
        tokens, total = logits.argmax(-1, keepdim=True), weights.sum(-1, keepdim=True)  # (B, 1) each
    else:
        cdf = weights.cumsum(-1)  # (B, V)
        total = cdf[:, -1:]
        # Rounding up to the total would choose the last token whatever its probability.
        target = torch.minimum(uniforms.unsqueeze(1) * total, torch.nextafter(total, torch.zeros_like(total)))
        tokens = torch.searchsorted(cdf, target, right=True).clamp_(max=logits.shape[-1] - 1)
    return tokens.squeeze(1), (logits.gather(1, tokens) - top - total.log()).squeeze(1)


class CachedDecoder:
    """The interface of `gpt2.Decoder` for any causal language model, by its own forward pass and a DynamicCache."""

    def __init__(self, model: PreTrainedModel, prompt_ids: Tensor, prompt_mask: Tensor, max_new_tokens: int) -> None:
        self.model, self.prompt_ids, self.mask = model, prompt_ids, prompt_mask
        self.cache = DynamicCache(config=model.config)
        self.head: nn.Module = model.get_output_embeddings()

    def prefill(self) -> Tensor:
        """Next-token logits (B, V) after the prompts."""
        return self._forward(self.prompt_ids, (self.mask.long().cumsum(1) - 1).clamp(min=0))

    def step(self, tokens: Tensor) -> Tensor:
        """Next-token logits (B, V) after one more token a row, tokens (B,)."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        return self._forward(tokens.unsqueeze(1), self.mask.long().sum(1, keepdim=True) - 1)

    def select(self, rows: Tensor) -> None:
        """Keep only `rows` (long) of the batch, in that order."""
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        with float32_head(self.head), autocast(ids.device):
            output = self.model(
                input_ids=ids, attention_mask=self.mask.long(), position_ids=positions,
                past_key_values=self.cache, use_cache=True, logits_to_keep=1,
            )  # fmt: skip
        return output.logits[:, -1].float()  # (B, 1, V) -> (B, V)


def _sample_batch(
    model: PreTrainedModel, rollout: Rollout, uniforms: Tensor | None, how: Decoding, on_tokens: OnTokens | None
) -> None:
    """Fill the response fields of a rollout that holds the prompts."""
    n_new, device = how.max_new_tokens, rollout.prompt_ids.device
    stops = torch.tensor(list(how.stop_ids), dtype=torch.long, device=device)
    make = gpt2.Decoder if gpt2.supported(model) and not is_autocast(device) else CachedDecoder
    # A rows are still in the decoder: `rows` (A,) says which of the batch they are, `alive` (A,) which of them go on.
    rows = torch.arange(len(rollout), device=device)
    alive = torch.ones_like(rows, dtype=torch.bool)
    decoder, logits = _prefilled(make, model, rollout, n_new)
    for t in range(n_new):
        drawn = None if uniforms is None else uniforms[rows, t]  # (A,)
        tokens, logprobs = sample_tokens(logits, drawn, how.temperature, how.top_k)  # (A,) each
        # Rows that ended earlier are still in the decoder until it is made smaller; what they draw is not kept.
        written = rows[alive]
        rollout.response_ids[written, t] = tokens[alive]
        rollout.logprobs[written, t] = logprobs[alive]
        rollout.response_mask[written, t] = True
        if on_tokens is not None:
            on_tokens(written, tokens[alive])
        stopped = alive & torch.isin(tokens, stops)
        rollout.finished[rows[stopped]] = True
        alive = alive & ~stopped
        n_alive = int(alive.sum())
        if n_alive == 0 or t + 1 == n_new:
            break
        # Fewer rows per step are faster, but moving the cache costs time too: only when many have ended.
        if n_alive <= COMPACT_BELOW * len(rows):
            kept = alive.nonzero().squeeze(1)
            decoder.select(kept)
            rows, tokens, alive = rows[kept], tokens[kept], alive[kept]
        logits = decoder.step(tokens)


def _prefilled(
    make: type[gpt2.Decoder] | type[CachedDecoder], model: PreTrainedModel, rollout: Rollout, n_new: int
) -> tuple[gpt2.Decoder | CachedDecoder, Tensor]:
    """A decoder that has read the prompts, and its next-token logits (B, V); a prompt that comes again is read once."""
    plain = cast(GPT2LMHeadModel, model)  # if `make` is gpt2.Decoder; CachedDecoder takes any
    width = rollout.prompt_ids.shape[1]
    both = torch.cat([rollout.prompt_ids, rollout.prompt_mask.long()], 1)  # (B, 2 P)
    distinct, place = both.unique(dim=0, return_inverse=True)
    if len(distinct) == len(both):
        decoder = make(plain, rollout.prompt_ids, rollout.prompt_mask, n_new)
        return decoder, decoder.prefill()
    decoder = make(plain, distinct[:, :width], distinct[:, width:].bool(), n_new)
    logits = decoder.prefill()
    decoder.select(place)
    return decoder, logits[place]


def _check_context(model: PreTrainedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    limit = context_length(model)
    for row, prompt in enumerate(prompts):
        if not prompt:
            raise UserError(f"prompt {row}: is empty after encoding; remove it from the prompts.")
        if limit is not None and len(prompt) + max_new_tokens > limit:
            raise UserError(
                f"prompt {row}: {len(prompt)} tokens and {max_new_tokens} for the response exceed the model's context "
                f"of {limit}; lower data.max_prompt_tokens or data.max_response_tokens."
            )


@contextmanager
def eval_mode(model: PreTrainedModel) -> Iterator[None]:
    """The model in eval mode, and afterwards in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    uniforms: Tensor | None,
    how: Decoding,
    on_tokens: OnTokens | None = None,
) -> Rollout:
    """One response for each prompt, in the order given, on the model's device.

    prompts: B lists of token ids. uniforms (B, max_new_tokens) in [0, 1), row i decides response i; None is greedy.
    Prompts of similar length share a batch. Runs in eval mode without gradients.
    on_tokens: hears every step while it is sampled, as (numbers of the prompts that go on (A,), their tokens (A,)).
    The log-probs are those of the distribution that was drawn from, so of the cut one with `how.top_k`.
    Raises UserError for an empty prompt or one that does not fit the context.
    """
    _check_context(model, prompts, how.max_new_tokens)
    device = next(model.parameters()).device
    result = _without_responses(prompts, how, device)
    uniforms = None if uniforms is None else uniforms.to(device)
    lengths = result.prompt_mask.sum(1)  # (B,)
    size = min(how.batch_size, CPU_BATCH) if device.type == "cpu" else how.batch_size
    with eval_mode(model):
        for rows in lengths.sort(stable=True).indices.split(size):
            # Left padding beyond the longest prompt of this batch is cut away.
            width = int(lengths[rows].max())
            part = result[rows]
            part = replace(part, prompt_ids=part.prompt_ids[:, -width:], prompt_mask=part.prompt_mask[:, -width:])
            drawn = None if uniforms is None else uniforms[rows]
            _sample_batch(model, part, drawn, how, _of_rows(on_tokens, rows))
            # Indexing has made copies: the responses go back to their rows.
            for name in ("response_ids", "response_mask", "logprobs", "finished"):
                getattr(result, name)[rows] = getattr(part, name)
    return result


def _without_responses(prompts: Sequence[Sequence[int]], how: Decoding, device: torch.device) -> Rollout:
    """The prompts as a rollout whose responses are all padding."""
    prompt_ids, prompt_mask = (x.to(device) for x in pad_left(prompts, how.pad_id))  # (B, P)
    shape = (len(prompts), how.max_new_tokens)  # (B, R)
    return Rollout(
        prompt_ids,
        prompt_mask,
        response_ids=torch.full(shape, how.pad_id, dtype=torch.long, device=device),
        response_mask=torch.zeros(shape, dtype=torch.bool, device=device),
        logprobs=torch.zeros(shape, device=device),
        finished=torch.zeros(len(prompts), dtype=torch.bool, device=device),
    )


def _of_rows(on_tokens: OnTokens | None, rows: Tensor) -> OnTokens | None:
    """`on_tokens` for a batch that holds the prompts `rows`."""
    return None if on_tokens is None else lambda places, tokens: on_tokens(rows[places], tokens)


# Reading given tokens


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside a wrapper for several processes."""
    return getattr(model, "module", model)


def _forward(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """`logits` of the model's own forward over right-padded ids (B, S)."""
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    return model(input_ids=ids, attention_mask=mask.long(), position_ids=positions, use_cache=False).logits


def selected_logits(model: PreTrainedModel, ids: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
    """Next-token logits (N, V) at the N positions of `keep`, float32; ids, mask, keep (B, S), right-padded.

    Only these positions go through the unembedding: all logits of a batch would be larger than the model.
    """
    if gpt2.supported(model):
        with autocast(ids.device):
            hidden = gpt2.hidden_states(cast(GPT2Model, model.transformer), ids, mask, keep)  # (N, C)
        return in_float32(cast(nn.Module, model.lm_head), hidden)
    head = unwrapped(model).get_output_embeddings()  # type: ignore[operator]
    # (B, S, C) -> (1, N, C) before the head, whatever the model does with the logits after it.
    with float32_head(head, lambda hidden: hidden[keep].unsqueeze(0)), autocast(ids.device):
        return _forward(model, ids, mask).squeeze(0).float()  # (N, V)


def selected_scores(model: PreTrainedModel, ids: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
    """Scalar head minus `config.reward_shift` (N,) at the N positions of `keep`, float32; as in `selected_logits`."""
    plain = unwrapped(model)
    score = cast(nn.Module, plain.score)
    if gpt2.supported(model):
        with autocast(ids.device):
            hidden = gpt2.hidden_states(cast(GPT2Model, model.transformer), ids, mask, keep)  # (N, C)
    else:
        seen: list[Tensor] = []  # what goes into the head, (B, S, C); its own output is not used

        def note(states: Tensor) -> Tensor:
            seen.append(states)
            return states

        with float32_head(score, note), autocast(ids.device):
            _forward(model, ids, mask)
        hidden = seen[0][keep]  # (N, C)
    shift = float(getattr(plain.config, "reward_shift", 0.0))
    return in_float32(score, hidden).squeeze(-1) - shift  # (N, 1) -> (N,)


def sequence_logprobs(model: PreTrainedModel, ids: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
    """(B, S) log-prob of each token of `targets` given those before it, 0 elsewhere.

    ids, mask (B, S) right-padded; targets (B, S) bool, a part of mask; the first column cannot be a target. Logits
    exist only where they are needed. `nll(sequence_logprobs(...), targets)` equals `losses.lm_loss`.
    """
    targets = targets.clone()
    targets[:, 0] = False
    flat = token_logprobs(selected_logits(model, *_before(ids, mask, targets)), ids[targets])
    return _spread(flat, targets)


def _before(ids: Tensor, mask: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a model reads to predict `targets`, and where, each (B, S - 1): a token is predicted one position earlier.

    The last token of each row predicts nothing, so it is not read.
    """
    return ids[:, :-1], mask[:, 1:], targets[:, 1:]


def _spread(flat: Tensor, mask: Tensor) -> Tensor:
    """Values (N,) back at the N True places of mask (B, R), 0 elsewhere."""
    index = mask.flatten().nonzero().squeeze(1)
    return flat.new_zeros(mask.numel()).index_copy(0, index, flat).view(mask.shape)


def join(prompt_ids: Tensor, prompt_mask: Tensor, response_ids: Tensor, response_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Right-padded ids (B, S), mask (B, S) and targets (B, S): prompts followed directly by their responses.

    Positions then count from 0 in every row and causal attention alone hides the padding, so log-probs do not depend on
    how the input was padded. targets marks the response tokens.
    """
    both, mask = torch.cat([prompt_ids, response_ids], 1), torch.cat([prompt_mask, response_mask], 1)
    order = (~mask).long().sort(dim=1, stable=True).indices  # (B, P + R): real tokens first, each in its order
    width = int(mask.sum(1).max())
    is_response = torch.cat([torch.zeros_like(prompt_mask), response_mask], 1)
    return tuple(x.gather(1, order)[:, :width] for x in (both, mask, is_response))  # type: ignore[return-value]


def _at_responses(
    read: Callable[[PreTrainedModel, Tensor, Tensor, Tensor], Tensor], model: PreTrainedModel, parts: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """(N, ...) result of `read` at the positions that predict the N response tokens, and the tokens' ids (N,)."""
    ids, mask, targets = join(*parts)
    return read(model, *_before(ids, mask, targets)), ids[targets]


def response_logprobs(
    model: PreTrainedModel,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    response_ids: Tensor,
    response_mask: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """(B, R) log-prob of each response token at the temperature it was sampled at, 0 in the padding.

    prompt_* (B, P) padded on either side, response_* (B, R) right-padded; gradients flow if enabled.
    """
    logits, tokens = _at_responses(selected_logits, model, (prompt_ids, prompt_mask, response_ids, response_mask))
    if temperature != 1.0:
        logits = logits / temperature
    return _spread(token_logprobs(logits, tokens), response_mask)


def response_values(
    model: PreTrainedModel, prompt_ids: Tensor, prompt_mask: Tensor, response_ids: Tensor, response_mask: Tensor
) -> Tensor:
    """(B, R) value of the state in which each response token was chosen (read one token earlier), 0 in the padding."""
    values, _ = _at_responses(selected_scores, model, (prompt_ids, prompt_mask, response_ids, response_mask))
    return _spread(values, response_mask)
