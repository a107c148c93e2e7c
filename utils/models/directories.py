"""Finding a model (local directory or copy from the hub) and checking that its files can be loaded.

Code from a model directory is never run, and pickled weights are rejected.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import constants, snapshot_download
from transformers import __version__ as transformers_version
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)
from transformers.utils import logging as hf_logging

from utils.core.errors import UserError

HUB_SECONDS = 5.0
ANOTHER = "use another model, such as a GPT-2, GPT-NeoX, OPT, Llama or Qwen"
CAUSAL_BY_OTHER_FIELD = ("xlm",)  # kinds of masked language models whose decoders are not marked by `is_decoder`
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' load report and progress bars: real problems are checked here and raised as UserError."""
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
    """True for `name` or `owner/name`, with or without a revision after @, that is not a directory here."""
    first = Path(path).parts[0] if path else ""
    return bool(re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?(@[\w./-]+)?", path)) and not Path(first).exists()


@cache
def hub_is_reachable() -> bool:
    """False without a network, after a few seconds; the hub's client would retry for half a minute."""
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
    code or pickles. Raises UserError if there is neither a directory nor a copy.
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


def read_config(path: str | Path) -> dict[str, Any]:
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
    """Raise UserError for a model that transformers does not have both as a language model and as a classifier."""
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
    if config.get("is_encoder_decoder", getattr(CONFIG_MAPPING[kind], "is_encoder_decoder", False)):
        raise UserError(
            f"{directory}: {kind} is an encoder-decoder, but a decoder-only language model is needed, which reads prompt "
            f"and answer as one text; {ANOTHER}."
        )
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and kind not in CAUSAL_BY_OTHER_FIELD and not config.get("is_decoder"):
        raise UserError(
            f"{directory}: {kind} without is_decoder in its config.json is an encoder, whose tokens see those after them, "
            f"so it cannot write text; {ANOTHER}."
        )
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or kind not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        missing = "causal language model" if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else "sequence classifier"
        raise UserError(
            f"{directory}: transformers has no {missing} of the type {kind}, and both a language model and a classifier "
            f"(the reward model) are needed; {ANOTHER}."
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


def is_reward_model(config: dict[str, Any]) -> bool:
    """Whether the config of a directory says that it holds a classifier, which is what a reward model is."""
    return any("SequenceClassification" in name for name in config.get("architectures") or [])


def check_kind(config: dict[str, Any], path: str | Path, wanted: str) -> None:
    """Raise if the directory says it holds a reward model where a language model is wanted, or the reverse."""
    names = config.get("architectures") or []
    is_classifier = is_reward_model(config)
    if wanted == "policy" and is_classifier:
        raise UserError(f"{path}: is a reward model ({names[0]}) but a causal language model is needed here.")
    known = {name for found in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() for name in _as_tuple(found)}
    if wanted == "policy" and names and not any(name in known or "CausalLM" in name for name in names):
        raise UserError(f"{path}: is no causal language model ({names[0]}); use one that was trained to continue text.")
    if wanted == "reward" and not is_classifier:
        kind = names[0] if names else "unknown"
        raise UserError(f"{path}: is not a reward model ({kind}); train one with scripts/reward_model.py.")


def _as_tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names
