"""Which architectures of transformers a run can start from: a tiny random model of each goes through the checks of `base`.

    OMP_NUM_THREADS=1 python benchmarks/architectures.py [KIND ...]

Without names, every architecture that transformers has both as a causal language model and as a classifier is tried, and
results/architectures.json is written. With names, these are tried again and the rest of the file stays, if it was written on
this machine with these versions. A model has two layers of width 32
and random weights, so the outcome is about the code of the architecture, not about a published checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from utils.core.errors import UserError
from utils.core.io import read_json, write_json
from utils.core.runtime import ROOT, machine, versions
from utils.models.directories import ANOTHER, quiet_transformers
from utils.models.loading import load_policy
from utils.models.tokenizers import load_tokenizer
from utils.pipeline.base import check_architecture, prepared

RESULT = ROOT / "results" / "architectures.json"
TOKENIZER = ROOT / "data" / "models" / "mini"
PASSES, REFUSED, NOT_BUILT, FAILED = OUTCOMES = ("passes", "refused", "not_built", "failed")
POSITIONS = 256
# Sizes by the names that configurations have for them; each gets those that it knows.
WIDTH = dict.fromkeys(("hidden_size", "d_model", "n_embd", "embedding_size", "emb_dim", "word_embed_proj_dim"), 32)
INNER = dict.fromkeys(("intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "n_inner", "dff", "d_inner"), 48)
LAYERS = dict.fromkeys(
    ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers", "encoder_layers"), 2
)  # fmt: skip
HEADS = dict.fromkeys(
    ("num_attention_heads", "n_head", "num_heads", "n_heads", "decoder_attention_heads", "encoder_attention_heads"), 4
)
HEAD_SIZE = {"num_key_value_heads": 2, "head_dim": 8, "d_head": 8, "kv_channels": 8, "rotary_dim": 4}
LATENT = {"kv_lora_rank": 8, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
}  # fmt: skip
STATE_SPACE = {
    "expert_layer_period": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "mamba_expand": 2,
    "mamba_headdim": 8, "mamba_ngroups": 1, "n_mamba_heads": 2, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip
RANDOM = {"max_position_embeddings": POSITIONS, "n_positions": POSITIONS, "initializer_range": 0.2, "init_std": 0.2}
SIZES: dict[str, Any] = WIDTH | INNER | LAYERS | HEADS | HEAD_SIZE | LATENT | EXPERTS | STATE_SPACE | RANDOM
# What the sizes above do not settle.
MIXED = {"layer_types": ["linear_attention", "full_attention"]}  # both kinds of layers
LATENT_ATTENTION = ("axk1", "axk2", "deepseek_v2", "deepseek_v3", "minicpm3")  # keys and values for every head
ROTARY = {"rope_type": "default", "rope_theta": 1e4}
VISION = {
    "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "image_size": 28, "patch_size": 14,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROTARY, "sliding_attention": ROTARY}},
    "gemma3": {"vision_config": VISION},
    "reformer": {"axial_pos_embds": False},
    "qwen3_next": MIXED,
    "qwen3_5_text": MIXED,
    "zamba": {"layers_block_type": ["mamba", "hybrid"] * 2, "num_hidden_layers": 4},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"]},
} | {kind: {"num_key_value_heads": 4} for kind in LATENT_ATTENTION}
CAUSAL = {"is_decoder": True, "is_encoder_decoder": False}


def kinds() -> list[str]:
    """Architectures that transformers has both as a causal language model and as a classifier."""
    return sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) & set(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES))


def tiny_config(made: type[PretrainedConfig], tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """A configuration with small sizes and the special tokens of the tokenizer; that of its language part if it has parts."""
    known = set(inspect.signature(made.__init__).parameters)
    if dataclasses.is_dataclass(made):
        known = {field.name for field in dataclasses.fields(made)}
    names = getattr(made, "attribute_map", {})  # usual name -> own name
    given = {name: value for name, value in (SIZES | CAUSAL).items() if name in known or name in names}
    for usual, own in names.items():
        if usual in given and own in given:
            del given[usual]
    given |= {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    if text := getattr(made, "sub_configs", {}).get("text_config"):
        return made(text_config=tiny_config(text, tokenizer), **(given | OWN.get(made.model_type, {})))
    return made(vocab_size=len(tokenizer), **(given | OWN.get(made.model_type, {})))


def save_tiny(kind: str, folder: Path) -> None:
    """A random model of the architecture and a tokenizer as a model directory."""
    tokenizer = load_tokenizer(TOKENIZER)
    torch.manual_seed(0)
    with quiet_transformers():
        AutoModelForCausalLM.from_config(tiny_config(CONFIG_MAPPING[kind], tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def outcome(kind: str, folder: Path) -> tuple[str, str]:
    """(one of OUTCOMES, reason): what the checks of the stage `base` say to a tiny model of the architecture in `folder`."""
    try:
        save_tiny(kind, folder / "model")
    except Exception as error:  # noqa: BLE001 -- the code of an architecture may raise anything
        return NOT_BUILT, _short(error, folder)
    try:
        path = prepared(folder / "model", folder / "ready")
        check_architecture(path, load_tokenizer(path), load_policy(path))
    except UserError as error:
        return REFUSED, _short(error, folder)
    except Exception as error:  # noqa: BLE001 -- a fault of the checks: a user would see a traceback
        return FAILED, _short(error, folder)
    return PASSES, ""


def _short(error: Exception, folder: Path) -> str:
    """One line that says what was wrong, without the path and the advice."""
    text = " ".join(str(error).split()).replace(f"; {ANOTHER}.", ".")
    for part in ("ready", "model"):
        text = text.replace(f"{folder / part}: ", "")
    return (text if isinstance(error, UserError) else f"{type(error).__name__}: {text}")[:300]


def here() -> dict[str, Any]:
    """Where and with which versions an outcome was measured."""
    return {"machine": machine(), "versions": versions()}


def recorded(given: Sequence[str]) -> dict[str, dict[str, str]]:
    """Outcomes in the file of the architectures that are not given; none if all are tried."""
    found: dict[str, dict[str, str]] = {name: {} for name in OUTCOMES}
    if not given:
        return found
    record = read_json(RESULT)
    if {name: record[name] for name in here()} != here():
        raise SystemExit(f"{RESULT} was written on another machine or with other versions: run without names.")
    for name in OUTCOMES:
        of_name = dict.fromkeys(record[name], "") if name == PASSES else record[name]
        found[name] = {kind: reason for kind, reason in of_name.items() if kind not in given}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="model types of transformers (default: all)")
    given = parser.parse_args().kinds
    found = recorded(given)
    for kind in given or kinds():
        with tempfile.TemporaryDirectory() as folder:
            result, reason = outcome(kind, Path(folder))
        found[result][kind] = reason
        print(f"{kind}: {result}{': ' * bool(reason)}{reason}", flush=True)
    record: dict[str, Any] = {name: dict(sorted(of_name.items())) for name, of_name in found.items()}
    write_json(RESULT, record | {"passes": list(record[PASSES])} | here())
    print(f"{RESULT}: written", flush=True)


if __name__ == "__main__":
    main()
