"""Loading, checking and saving models and tokenizers. Everything is a plain Hugging Face directory with safetensors.

Policies are causal language models, reward and value models are one-label sequence classifiers over the same trunk
(paper, App. C: "the unembedding layer replaced by a projection to a scalar"). Any architecture that transformers has in
both forms works. Weights are always float32, whatever the checkpoint holds. Code from a model directory is never run,
and pickled weights are rejected.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.activations import NewGELUActivation

from utils.core.errors import UserError
from utils.core.io import disk_errors
from utils.core.runtime import stream_seed, torch_generator
from utils.models.directories import ANOTHER, check_kind, is_reward_model, model_directory, quiet_transformers, read_config
from utils.models.dropout import disable_dropout
from utils.models.lora import merged_state
from utils.models.tokenizers import check_vocabulary, prepare_tokenizer, read_tokenizer, set_special_ids

SCORE_INIT_STD = 0.01
_DROPOUT_FIELDS = ("resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout", "attention_dropout",
                   "hidden_dropout", "dropout", "activation_dropout", "classifier_dropout", "layerdrop")  # fmt: skip


def _load(auto_class: type, path: str | Path, new: tuple[str, ...] = (), **kwargs: Any) -> PreTrainedModel:
    """float32, safetensors, no dropout, no remote code. new: weights that the checkpoint may lack."""
    directory = model_directory(path)
    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        with quiet_transformers():
            # Dropout is switched off in the config, before the model is built: some architectures copy the value.
            config = AutoConfig.from_pretrained(directory, **safe, **kwargs)
            for name in _DROPOUT_FIELDS:
                if isinstance(getattr(config, name, None), int | float):
                    setattr(config, name, 0.0)
            model, report = auto_class.from_pretrained(  # type: ignore[attr-defined]
                directory, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True,
                generation_config=GenerationConfig(), **safe
            )  # fmt: skip
    except SafetensorError as error:
        raise UserError(f"{path}: model.safetensors is damaged or cut off ({error}); copy it again.") from None
    except (OSError, ValueError, LookupError, RuntimeError, AssertionError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        if "ignore_mismatched_sizes" in reason:
            reason = "a weight has another shape than config.json says"
        raise UserError(f"{path}: the model cannot be loaded ({reason}); check the directory or name.") from None
    _check_loaded(model, sorted(set(report["missing_keys"]) - set(new)), new, path)
    return model


def _check_loaded(model: PreTrainedModel, missing: list[str], new: tuple[str, ...], path: str | Path) -> None:
    """Raise UserError if a weight is missing or not finite, or if the classifier lacks the linear layer `score`."""
    head = [name for name in missing if new and not name.startswith(f"{model.base_model_prefix}.")]
    if head or any(name not in dict(model.named_parameters()) for name in new):
        raise UserError(
            f"{path}: the classifier of transformers for {model.config.model_type} ({type(model).__name__}) does not end in "
            f"one linear layer named score, which the reward model needs; {ANOTHER}."
        )
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of the model's weights are not in its files (the first: {missing[0]}); copy the "
            "model directory again."
        )
    broken = next((name for name, weight in model.named_parameters() if not weight.isfinite().all()), None)
    if broken is not None:
        raise UserError(f"{path}: the weight {broken} holds numbers that are NaN or infinite; copy the model again.")


def context_length(model: PreTrainedModel) -> int | None:
    """Number of positions that the model can read, None if its config does not give it or has no limit (XLNet: -1)."""
    positions = getattr(model.config, "max_position_embeddings", None)
    return positions if positions is None or positions > 0 else None


def _ready(model: PreTrainedModel, device: torch.device | str) -> PreTrainedModel:
    fuse_gelu(model)
    disable_dropout(model)
    return model.to(device).eval()  # type: ignore[arg-type]  # transformers wraps `to` and loses its signature


def load_as_published(path: str | Path) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """(tokenizer, causal LM) of a local directory or hub name, unchanged, on the CPU. Raises UserError (see above)."""
    check_kind(read_config(path), path, "policy")
    tokenizer, model = read_tokenizer(path), _load(AutoModelForCausalLM, path)
    check_vocabulary(model, tokenizer, path)
    return tokenizer, model


def load_base(path: str | Path, device: torch.device | str = "cpu") -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """(tokenizer, causal LM) of any local directory or hub name, prepared for this project (`prepare_tokenizer`)."""
    tokenizer, model = load_as_published(path)
    prepare_tokenizer(tokenizer, model)
    return tokenizer, _ready(model, device)


def load_policy(path: str | Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """Causal language model in eval mode, float32, dropout 0. Raises UserError (see the module's checks)."""
    check_kind(read_config(path), path, "policy")
    return _ready(_load(AutoModelForCausalLM, path), device)


def load_reward(path: str | Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """Reward model in eval mode; `model.config.reward_shift` is what `RewardModel` subtracts (0 if absent)."""
    check_kind(read_config(path), path, "reward")
    model = _load(AutoModelForSequenceClassification, path)
    if model.config.num_labels != 1:
        raise UserError(f"{path}: the classifier has {model.config.num_labels} labels; a reward model has exactly one.")
    model.config.reward_shift = float(getattr(model.config, "reward_shift", 0.0))
    return _ready(model, device)


def reward_from_policy(path: str | Path, device: torch.device | str = "cpu", seed: int = 0) -> PreTrainedModel:
    """One-label classifier on the trunk of the policy in `path` (sec. 3.5: SFT model without its unembedding).

    The projection starts at N(0, 0.01^2) from the stream (seed, "score"), so all rewards start close to 0.
    """
    check_kind(read_config(path), path, "policy")
    model = _load(AutoModelForSequenceClassification, path, new=("score.weight",), num_labels=1)
    weight = model.get_parameter("score.weight")
    generator = torch_generator(seed, "score")
    weight.data.copy_(torch.randn(weight.shape, generator=generator) * SCORE_INIT_STD)
    model.config.reward_shift = 0.0
    return _ready(model, device)


def reward_start(path: str | Path, device: torch.device | str = "cpu", seed: int = 0) -> PreTrainedModel:
    """What a reward model is trained from: the reward model in `path`, without its shift, or `reward_from_policy`."""
    if not is_reward_model(read_config(path)):
        return reward_from_policy(path, device, seed)
    model = load_reward(path, device)
    model.config.reward_shift = 0.0
    return model


def key_biases(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """Biases of attention keys with a mask of what may be trained: (bias (n,), mask (n,): 0 for keys, else 1).

    The same vector added to all keys changes no attention weight, so the true gradient of these biases is 0. Rounding noise
    is left, which Adam would turn into steps of full size. (Rotary positions turn each key differently, so it does not hold.)
    """
    found = []
    for name, weight in model.named_parameters():
        kind = getattr(getattr(model, "config", None), "model_type", None)
        if kind == "gpt2" and name.endswith("attn.c_attn.bias"):
            third = len(weight) // 3
            found.append((weight, torch.cat([torch.ones(third), torch.zeros(third), torch.ones(third)])))
        elif kind == "opt" and name.endswith("k_proj.bias"):
            found.append((weight, torch.zeros(len(weight))))
    return [(weight, moving.to(weight.device)) for weight, moving in found]


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    path: str | Path,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write model and tokenizer as one Hugging Face directory; an old one is replaced only when the new one is complete.

    generation_config.json holds only the three special ids.

    weights: by name, tied ones once; default: those of the model. LoRA adapters are merged into the written weights; the
    model itself keeps them. Raises UserError if the disk is full or the tokenizer has more ids than the model.
    """
    check_vocabulary(model, tokenizer, path)
    if model.can_generate():  # sampling settings and forced or suppressed tokens of the base do not apply to this model
        model.generation_config = GenerationConfig()
    set_special_ids(model, tokenizer)
    final = Path(path)
    temporary = final.with_name(f".{final.name}.partial")
    try:
        with disk_errors(final), quiet_transformers():
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            model.save_pretrained(temporary, state_dict=weights or merged_state(model))
            tokenizer.save_pretrained(temporary)
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
    except SafetensorError as error:
        message = f"{final}: the weights cannot be written ({error}); free some space or choose another folder."
        raise UserError(message) from None


def fuse_gelu(model: nn.Module) -> None:
    """Replace GPT-2's `gelu_new` by PyTorch's tanh GELU: the same function in one kernel (the config is unchanged)."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))


def checkpoint_gradients(model: PreTrainedModel) -> None:
    """Keep only the input of each block and recompute the rest in the backward pass; only in training mode.

    Raises UserError if the architecture does not support it."""
    if not model.supports_gradient_checkpointing:
        raise UserError(
            f"{type(model).__name__} does not support gradient checkpointing: set compute.gradient_checkpointing to false."
        )
    # Newer releases of transformers renamed it and warn about the old name.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    model.train()


def gpt2_config(
    vocab_size: int,
    n_embd: int,
    n_layer: int,
    n_head: int,
    n_positions: int,
    init_std: float,
    special_ids: tuple[int, int, int] = (0, 1, 2),
) -> GPT2Config:
    """Sizes of a GPT-2 without dropout. init_std: of its random weights; special_ids: bos, eos, pad."""
    bos, eos, pad = special_ids
    return GPT2Config(
        vocab_size=vocab_size, n_embd=n_embd, n_layer=n_layer, n_head=n_head, n_positions=n_positions,
        initializer_range=init_std, bos_token_id=bos, eos_token_id=eos, pad_token_id=pad,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, summary_first_dropout=0.0,
    )  # fmt: skip


def new_policy(config: GPT2Config, seed: int) -> GPT2LMHeadModel:
    """A GPT-2 with random weights from the stream (seed, "init")."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "init"))
        model = GPT2LMHeadModel(config)
    fuse_gelu(model)
    return model.eval()


def count_parameters(model: nn.Module) -> int:
    """Number of weights, tied ones counted once."""
    weights: dict[int, Tensor] = {id(p): p for p in model.parameters()}
    return sum(p.numel() for p in weights.values())
