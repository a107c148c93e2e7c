"""Small random models of the architectures people bring, each with a tokenizer as that family has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from utils.worlds import known_world

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GPT = dict(n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.3)
SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=256, initializer_range=0.3)
GROUPED = dict(SMALL, intermediate_size=48, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True)


@dataclass(frozen=True)
class Family:
    """config(vocab_size=...) makes the configuration; special: the tokenizer's special tokens in order of their ids;
    roles: their names for the tokenizer; spare: rows of the model that no token has; auto_bos: the tokenizer puts bos
    before every text; after: bos, eos and pad once the model is prepared."""

    config: Callable[..., PretrainedConfig]
    special: tuple[str, ...]
    roles: dict[str, Any]
    after: tuple[str, str, str]
    spare: int = 0
    auto_bos: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


END, IM = "<|endoftext|>", ("<|im_start|>", "<|im_end|>")
FAMILIES = {
    "gpt2": Family(GPT2Config, (END,), dict(bos_token=END, eos_token=END), (END, "<|end|>", "<|pad|>"), settings=GPT),
    "gpt_neox": Family(
        GPTNeoXConfig, (END, "<|padding|>"), dict(bos_token=END, eos_token=END), (END, "<|end|>", "<|padding|>"),
        spare=7, settings=dict(SMALL, intermediate_size=64, hidden_dropout=0.1),
    ),
    "opt": Family(
        OPTConfig, ("<s>", "<pad>", "</s>"), dict(bos_token="</s>", eos_token="</s>", pad_token="<pad>"),
        ("</s>", "<|end|>", "<pad>"), auto_bos=True,
        settings=dict(SMALL, ffn_dim=64, word_embed_proj_dim=16, do_layer_norm_before=True),
    ),
    "llama": Family(  # as a small chat model of this architecture comes: the end token stands for padding too
        LlamaConfig, (END, *IM), dict(bos_token=IM[0], eos_token=IM[1], pad_token=IM[1], chat_template=CHATML),
        (IM[0], IM[1], "<|pad|>"), settings=GROUPED,
    ),
    "llama_base": Family(  # and its base, without a template
        LlamaConfig, (END, *IM), dict(bos_token=END, eos_token=END, additional_special_tokens=list(IM)),
        (END, IM[1], "<|pad|>"), settings=GROUPED,
    ),
    "mistral": Family(
        MistralConfig, ("<unk>", "<s>", "</s>"), dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>"),
        ("<s>", "</s>", "<|pad|>"), auto_bos=True, settings=dict(GROUPED, tie_word_embeddings=False, sliding_window=24),
    ),
    "qwen2": Family(
        Qwen2Config, (END, *IM), dict(eos_token=IM[1], pad_token=END, chat_template=CHATML), (END, IM[1], "<|pad|>"),
        spare=9, settings={k: v for k, v in GROUPED.items() if k != "head_dim"},
    ),
    "qwen3": Family(
        Qwen3Config, (END, *IM), dict(eos_token=END, pad_token=END), (END, IM[1], "<|pad|>"), spare=9, settings=GROUPED
    ),
}  # fmt: skip


def make_family(name: str, path: Path, vocabulary: int = 400) -> Path:
    """A random model of the family of about 40,000 weights in bfloat16 and its tokenizer, saved in `path`."""
    family = FAMILIES[name]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, show_progress=False, special_tokens=list(family.special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    core.train_from_iterator(known_world("tiny").documents(100, seed=0), trainer)
    if family.auto_bos:
        bos = family.roles["bos_token"]
        ids = [(bos, core.token_to_id(bos))]
        core.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=ids)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **family.roles)
    config = family.config(
        vocab_size=len(tokenizer) + family.spare, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **family.settings,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MODEL_FOR_CAUSAL_LM_MAPPING[family.config](config)
    model.to(torch.bfloat16).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
