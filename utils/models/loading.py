"""Loading, checking and saving models and tokenizers. Everything is a plain Hugging Face directory with safetensors.

Policies are causal language models, reward and value models are one-label sequence classifiers over the same trunk
(paper, App. C: "the unembedding layer replaced by a projection to a scalar"). Any architecture that transformers has in
both forms will do. Weights are always float32, whatever the checkpoint holds; no code from a model directory is ever
run, and pickled weights are refused.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
import torch.nn.functional as F
from huggingface_hub import constants, snapshot_download
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers import __version__ as transformers_version
from transformers.activations import NewGELUActivation
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)
from transformers.utils import logging as hf_logging

from utils.core.errors import UserError
from utils.core.io import disk_errors
from utils.core.runtime import stream_seed, torch_generator
from utils.data.chat import end_of_turn
from utils.models.lora import merged_state

BOS, EOS, PAD = "<|endoftext|>", "<|end|>", "<|pad|>"
# What other tokenizers call the same, the likeliest first: taken before a token is added.
END_NAMES = (EOS, "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end_of_turn|>")
PAD_NAMES = (PAD, "<pad>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>")
BOS_NAMES = (BOS, "<|end_of_text|>", "<|begin_of_text|>", "<s>")
SCORE_INIT_STD = 0.01
HUB_SECONDS = 5.0
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
_RESIDUAL = r"(resid_dropout|resid_drop|mlp\.dropout|post_attention_dropout|post_mlp_dropout)$"
_DROPOUT_FIELDS = ("resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout", "attention_dropout",
                   "hidden_dropout", "dropout", "activation_dropout", "classifier_dropout", "layerdrop")  # fmt: skip


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' load report and weight bars: what matters in them is checked and said as a UserError."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def _is_hub_name(path: str) -> bool:
    """True for `name` or `owner/name`, with a revision after @ or without, that cannot be meant as a directory here."""
    first = Path(path).parts[0] if path else ""
    return bool(re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?(@[\w./-]+)?", path)) and not Path(first).exists()


@cache
def hub_is_reachable() -> bool:
    """False without a network, known in seconds; the hub's client would try again for half a minute."""
    if constants.HF_HUB_OFFLINE:
        return False
    found: list[Any] = []

    def look_up() -> None:
        with suppress(OSError):
            found.extend(socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443))

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    return bool(found)


def model_directory(path: str | Path) -> Path:
    """Local directory of a model: `path` itself or, for a hub name, a copy of the hub's files (downloaded once).

    NAME@REVISION is a hub name at a branch, tag or commit. Only configs, tokenizers and safetensors are downloaded, never
    code or pickles.
    """
    directory = Path(path)
    if directory.is_dir():
        return directory
    if not _is_hub_name(str(path)):
        raise UserError(f"{path}: no such model directory; give a directory with config.json and model.safetensors.")
    name, _, revision = str(path).partition("@")
    try:
        with quiet_transformers():
            copy = snapshot_download(
                name, revision=revision or None, local_files_only=not hub_is_reachable(),
                allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"], ignore_patterns=["*/*"],
            )  # fmt: skip
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:150] if hub_is_reachable() else "there is no network"
        raise UserError(
            f"{path}: no such model directory, and no copy from the Hugging Face hub ({reason}); check the path, "
            "or load the model once with a network."
        ) from None
    return Path(copy)


def _read_config(path: str | Path) -> dict[str, Any]:
    """config.json of a model directory, after checking that the directory can be loaded safely."""
    directory = model_directory(path)
    file = directory / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (directory / "adapter_config.json").is_file():
            raise UserError(
                f"{directory}: holds a LoRA adapter alone; merge it into its base model (peft: merge_and_unload) and save that."
            ) from None
        raise UserError(f"{directory}: has no config.json, so it is not a Hugging Face model directory.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}); copy the model directory again.") from None
    if not isinstance(config, dict) or not config.get("model_type"):
        raise UserError(f"{file}: field 'model_type' is missing; copy the model directory again.")
    _check_architecture(config, directory)
    _check_weights(directory)
    return config


def _check_architecture(config: dict[str, Any], directory: Path) -> None:
    """Raise UserError for a model that transformers itself does not have as a language model and as a classifier."""
    kind = config["model_type"]
    if kind not in CONFIG_MAPPING_NAMES:
        if "auto_map" in config:
            raise UserError(
                f"{directory}: the model type {kind} needs Python code from its directory, which is never run; use a "
                "model whose architecture transformers has itself."
            )
        raise UserError(
            f"{directory}: transformers {transformers_version} does not know the model type {kind}; upgrade "
            "transformers, or use another model."
        )
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or kind not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        missing = "causal language model" if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else "sequence classifier"
        raise UserError(
            f"{directory}: transformers has no {missing} of the type {kind}, and both are needed; use another model, such "
            "as a GPT-2, GPT-NeoX, OPT, Llama or Qwen."
        )
    if "quantization_config" in config:
        raise UserError(
            f"{directory}: its weights are quantised, which cannot be trained here; use the same model with its full weights."
        )


def _check_weights(directory: Path) -> None:
    if any((directory / name).is_file() for name in _WEIGHTS):
        return
    pickles = sorted(file.name for pattern in _PICKLES for file in directory.glob(pattern))
    if pickles:
        raise UserError(
            f"{directory / pickles[0]}: pickled weights can run code and are not loaded; convert them to "
            "model.safetensors (load them where you trust them and call save_pretrained)."
        )
    if any(directory.glob("*.gguf")):
        raise UserError(f"{directory}: has weights in GGUF only, which cannot be trained; expected model.safetensors in it.")
    raise UserError(f"{directory}: has no weights; expected model.safetensors in it.")


def _load(auto_class: type, path: str | Path, new: tuple[str, ...] = (), **kwargs: Any) -> PreTrainedModel:
    """float32, safetensors, no dropout, no remote code. new: weights that the checkpoint need not have."""
    directory = model_directory(path)
    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(directory, **safe, **kwargs)
            for name in _DROPOUT_FIELDS:  # before the model is built: some architectures copy the number
                if isinstance(getattr(config, name, None), int | float):
                    setattr(config, name, 0.0)
            model, report = auto_class.from_pretrained(  # type: ignore[attr-defined]
                directory, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **safe
            )
    except SafetensorError as error:
        raise UserError(f"{path}: model.safetensors is damaged or cut off ({error}); copy it again.") from None
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        if "ignore_mismatched_sizes" in reason:
            reason = "a weight has another shape than config.json says"
        raise UserError(f"{path}: the model cannot be loaded ({reason}); check the directory or name.") from None
    missing = sorted(set(report["missing_keys"]) - set(new))
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of the model's weights are not in its files (the first: {missing[0]}); copy the "
            "model directory again."
        )
    broken = next((name for name, weight in model.named_parameters() if not weight.isfinite().all()), None)
    if broken is not None:
        raise UserError(f"{path}: the weight {broken} holds numbers that are NaN or infinite; copy the model again.")
    return model


def _as_tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _check_kind(config: dict[str, Any], path: str | Path, wanted: str) -> None:
    """Raise if the directory says it holds a reward model where a language model is wanted, or the other way round."""
    names = config.get("architectures") or []
    is_classifier = any("SequenceClassification" in name for name in names)
    if wanted == "policy" and is_classifier:
        raise UserError(f"{path}: is a reward model ({names[0]}) but a causal language model is needed here.")
    known = {name for found in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() for name in _as_tuple(found)}
    if wanted == "policy" and names and not any(name in known or "CausalLM" in name for name in names):
        raise UserError(f"{path}: is no causal language model ({names[0]}); use one that was trained to continue text.")
    if wanted == "reward" and not is_classifier:
        kind = names[0] if names else "unknown"
        raise UserError(f"{path}: is not a reward model ({kind}); train one with scripts/reward_model.py.")


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Tokenizer of a model directory whose bos, eos and pad exist and differ.

    Raises UserError if there is none, it is empty, or a special token is missing: such a tokenizer (GPT-2's own, for
    one) goes through `load_base`, which adds the tokens to tokenizer and model together.
    """
    tokenizer = _load_tokenizer(path)
    ids = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}
    missing = [name for name, token in ids.items() if token is None]
    if missing or len(set(ids.values())) < 3:
        what = f"has no {' and no '.join(missing)} token" if missing else "uses one token for two of bos, eos and pad"
        raise UserError(
            f"{path}: the tokenizer {what}; `python scripts/pipeline.py --profile gpt2 --model {path} --only base --out DIR` "
            "writes a copy that has them to DIR/base/model."
        )
    return tokenizer


def _load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    directory = model_directory(path)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # noqa: BLE001 -- the tokenizers library raises plain Exception for broken files
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: the tokenizer cannot be loaded ({reason}); a whole tokenizer.json must lie beside the weights."
        ) from None
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise UserError(f"{path}: the tokenizer is empty; tokenizer.json must lie beside the weights.")
    return tokenizer


def prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Give both an end-of-answer token and a padding token of their own, and the model one row a token (in place).

    The end token is the one that the chat template writes after an answer; else the tokenizer's own if it is not the
    document separator (bos) as well; else one of END_NAMES that the vocabulary has; else EOS is added. GPT-2's one
    special token stays the separator. Rows of new tokens are the mean of the old ones, so that a new token starts
    neither favoured nor impossible; rows that no token has (a vocabulary rounded up) go, so that no response holds an
    id without text.
    """
    old = len(tokenizer)
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    end = end_of_turn(tokenizer) or (eos if eos != bos and bos is not None else None)
    end = end or _known(tokenizer, END_NAMES, (bos, eos)) or EOS
    if bos in (None, end):
        bos = _known(tokenizer, (eos or BOS, *BOS_NAMES), (end,)) or BOS
    taken = (bos, end)
    pad = tokenizer.pad_token
    if pad is None or pad in taken:
        pad = _known(tokenizer, PAD_NAMES, taken) or PAD
    tokenizer.add_special_tokens({"bos_token": bos, "eos_token": end, "pad_token": pad})
    if len(tokenizer) != _embedded(model):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if len(tokenizer) > old:
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            if layer is not None:
                weight = layer.get_parameter("weight")
                weight.data[old:] = weight.data[:old].mean(0)
    set_special_ids(model, tokenizer)


def _embedded(model: PreTrainedModel) -> int:
    """Number of token ids that the model has an embedding for."""
    return model.get_input_embeddings().get_parameter("weight").shape[0]


def _known(tokenizer: PreTrainedTokenizerBase, names: tuple[str, ...], taken: tuple[str | None, ...]) -> str | None:
    """The first of `names` that is a token of the vocabulary and has no other role."""
    vocabulary = tokenizer.get_vocab()
    return next((name for name in names if name in vocabulary and name not in taken), None)


def is_ready(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> bool:
    """Whether model and tokenizer can be used as they are: what `prepare_tokenizer` would do is done."""
    ids = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    return (
        None not in ids
        and len(ids) == 3
        and tokenizer.eos_token == (end_of_turn(tokenizer) or tokenizer.eos_token)
        and len(tokenizer) == _embedded(model)
    )


def set_special_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the tokenizer's bos, eos and pad ids into the model's configs, for whoever loads it elsewhere."""
    for config in (model.config, getattr(model, "generation_config", None)):
        if config is not None:
            config.bos_token_id = tokenizer.bos_token_id
            config.eos_token_id = tokenizer.eos_token_id
            config.pad_token_id = tokenizer.pad_token_id


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str | Path) -> None:
    """Raise UserError if the tokenizer has ids that the model has no embedding for."""
    rows = _embedded(model)
    if len(tokenizer) > rows:
        raise UserError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens but the model embeds only {rows}; "
            "use the tokenizer that belongs to this model."
        )


def check_same_vocabulary(
    tokenizer: PreTrainedTokenizerBase, path: str | Path, other: PreTrainedTokenizerBase, other_path: str | Path
) -> None:
    """Raise UserError if two models that read the same token ids have different vocabularies."""
    if tokenizer.get_vocab() != other.get_vocab() or tokenizer.eos_token_id != other.eos_token_id:
        raise UserError(f"{other_path}: its vocabulary differs from that of {path}; train both models from the same base.")


def context_length(model: PreTrainedModel) -> int | None:
    """Most positions that the model can read, None if it does not say."""
    return getattr(model.config, "max_position_embeddings", None)


def _ready(model: PreTrainedModel, device: torch.device | str) -> PreTrainedModel:
    fuse_gelu(model)
    disable_dropout(model)
    return model.to(device).eval()  # type: ignore[arg-type]  # transformers wraps `to` and loses its signature


def load_as_published(path: str | Path) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """(tokenizer, causal LM) of a local directory or hub name as they are, on the CPU. Raises UserError (see above)."""
    _check_kind(_read_config(path), path, "policy")
    tokenizer, model = _load_tokenizer(path), _load(AutoModelForCausalLM, path)
    check_vocabulary(model, tokenizer, path)
    return tokenizer, model


def load_base(path: str | Path, device: torch.device | str = "cpu") -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """(tokenizer, causal LM) of any local directory or hub name, prepared for this project (`prepare_tokenizer`)."""
    tokenizer, model = load_as_published(path)
    prepare_tokenizer(tokenizer, model)
    return tokenizer, _ready(model, device)


def load_policy(path: str | Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """Causal language model in eval mode, float32, dropout 0. Raises UserError (see the module's checks)."""
    _check_kind(_read_config(path), path, "policy")
    return _ready(_load(AutoModelForCausalLM, path), device)


def load_reward(path: str | Path, device: torch.device | str = "cpu") -> PreTrainedModel:
    """Reward model in eval mode; `model.config.reward_shift` is what `rollout.score` subtracts (0 if absent)."""
    _check_kind(_read_config(path), path, "reward")
    model = _load(AutoModelForSequenceClassification, path)
    if model.config.num_labels != 1:
        raise UserError(f"{path}: the classifier has {model.config.num_labels} labels; a reward model has exactly one.")
    model.config.reward_shift = float(getattr(model.config, "reward_shift", 0.0))
    return _ready(model, device)


def reward_from_policy(path: str | Path, device: torch.device | str = "cpu", seed: int = 0) -> PreTrainedModel:
    """One-label classifier on the trunk of the policy in `path` (sec. 3.5: SFT model without its unembedding).

    The projection starts at N(0, 0.01^2) from the stream (seed, "score"), so all rewards start close to 0.
    """
    _check_kind(_read_config(path), path, "policy")
    model = _load(AutoModelForSequenceClassification, path, new=("score.weight",), num_labels=1)
    weight = model.get_parameter("score.weight")
    generator = torch_generator(seed, "score")
    weight.data.copy_(torch.randn(weight.shape, generator=generator) * SCORE_INIT_STD)
    model.config.reward_shift = 0.0
    return _ready(model, device)


def key_biases(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """Biases of attention keys with what may move of them: (bias (n,), 0 where it belongs to a key and else 1 (n,)).

    One number added to all keys of a query changes no attention weight, so these biases have no gradient but rounding
    noise, which Adam would turn into steps of full size. (Not so with rotary positions, which turn each key differently.)
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
    """Write model and tokenizer as one Hugging Face directory; an old one is replaced only when the new is whole.

    weights: by name, tied ones once, if they are not to be asked of the model. LoRA adapters are merged into what is
    written; the model itself keeps them.
    """
    check_vocabulary(model, tokenizer, path)
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
    """Replace GPT-2's `gelu_new` by PyTorch's tanh GELU: the same function as one kernel (config stays as it is)."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))


def checkpoint_gradients(model: PreTrainedModel) -> None:
    """Keep only each block's input for the backward pass, which computes the rest again; in training mode alone."""
    if not model.supports_gradient_checkpointing:
        raise UserError(f"{type(model).__name__} cannot do it: set compute.gradient_checkpointing to false.")
    # Newer releases of transformers renamed it and warn of the old name.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    model.train()


def disable_dropout(model: nn.Module) -> None:
    """All dropout modules 0: in RL dropout would make the sampled and the scored policy two policies."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def set_residual_dropout(model: PreTrainedModel, p: float) -> None:
    """Dropout on the output of each attention and MLP block in training mode (sec. 3.5: "residual dropout of 0.2").

    Of the running model only: a saved one has none. GPT-2 and GPT-NeoX have modules for it and OPT a number; in other
    architectures it is hooked to the outputs of the blocks' `self_attn` and `mlp`. Raises UserError if p > 0 and the
    model has none of these.
    """
    found = False
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and re.search(_RESIDUAL, name):
            module.p, found = p, True
        elif isinstance(getattr(module, "dropout", None), float) and hasattr(module, "self_attn"):
            module.dropout, found = p, True  # type: ignore[assignment]
    if not found:
        blocks = [module for name, module in model.named_modules() if re.search(r"\.(self_attn|mlp)$", name)]
        found = bool(blocks)
        for module in blocks:
            _hook_dropout(module, p)
    if p > 0 and not found:
        raise UserError(f"{type(model).__name__} has no place for residual dropout; set sft.dropout to 0.")


def _hook_dropout(module: nn.Module, p: float) -> None:
    """Dropout on a module's output (the first of several), in place of an earlier one."""
    if (handle := getattr(module, "_residual_dropout", None)) is not None:
        handle.remove()
        module._residual_dropout = None  # type: ignore[assignment]
    if p == 0:
        return

    def drop(block: nn.Module, _: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (F.dropout(output[0], p, block.training), *output[1:])
        return F.dropout(output, p, block.training)

    module._residual_dropout = module.register_forward_hook(drop)  # type: ignore[assignment]


def new_policy(
    vocab_size: int,
    n_embd: int,
    n_layer: int,
    n_head: int,
    n_positions: int,
    init_std: float,
    seed: int,
    special_ids: tuple[int, int, int] = (0, 1, 2),
) -> GPT2LMHeadModel:
    """A random GPT-2 without dropout, its weights from the stream (seed, "init"). special_ids: bos, eos, pad."""
    bos, eos, pad = special_ids
    config = GPT2Config(
        vocab_size=vocab_size, n_embd=n_embd, n_layer=n_layer, n_head=n_head, n_positions=n_positions,
        initializer_range=init_std, bos_token_id=bos, eos_token_id=eos, pad_token_id=pad,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, summary_first_dropout=0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "init"))
        model = GPT2LMHeadModel(config)
    fuse_gelu(model)
    return model.eval()


def count_parameters(model: nn.Module) -> int:
    """Number of weights, tied ones counted once."""
    weights: dict[int, Tensor] = {id(p): p for p in model.parameters()}
    return sum(p.numel() for p in weights.values())
