"""Tokenizers: loading them, and giving each three special tokens with different roles (docs/architecture.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from utils.core.errors import UserError
from utils.data.chat import end_of_turn
from utils.models.directories import model_directory, quiet_transformers

BOS, EOS, PAD = "<|endoftext|>", "<|end|>", "<|pad|>"
SEPARATOR = "<|startoftext|>"  # where BOS ends the turns of a chat template
# Names of the same tokens in other tokenizers, most common first; one of them is used before a token is added.
END_NAMES = (EOS, "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end_of_turn|>")
PAD_NAMES = (PAD, "<pad>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>")
BOS_NAMES = (BOS, "<|end_of_text|>", "<|begin_of_text|>", "<s>")


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Tokenizer of a model directory whose bos, eos and pad exist and differ.

    Raises UserError if there is none, it is empty, or a special token is missing: such a tokenizer (for
    example GPT-2's own) must be loaded by `load_base`, which adds the tokens to tokenizer and model together.
    """
    tokenizer = read_tokenizer(path)
    ids = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}
    missing = [name for name, token in ids.items() if token is None]
    if missing or len(set(ids.values())) < 3:
        what = f"has no {' and no '.join(missing)} token" if missing else "uses one token for two of bos, eos and pad"
        raise UserError(
            f"{path}: the tokenizer {what}; `python scripts/pipeline.py --profile gpt2 --model {path} --only base --out DIR` "
            "writes a copy that has them to DIR/base/model."
        )
    return tokenizer


def read_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    directory = model_directory(path)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # noqa: BLE001 -- the tokenizers library raises plain Exception for broken files
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: the tokenizer cannot be loaded ({reason}); put a complete tokenizer.json beside the weights."
        ) from None
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise UserError(f"{path}: the tokenizer is empty; put tokenizer.json beside the weights.")
    return tokenizer


def prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Make sure that both have separate separator, end and padding tokens, and the model one row per token (in place).

    The end token is the one that the chat template writes after an answer; else the tokenizer's own if it is not the
    document separator (bos) as well; else one of END_NAMES that the vocabulary has; else EOS is added. GPT-2's only
    special token stays the separator; if a chat template ends its turns in that token, it becomes the end token, and a
    separator is added that starts as a copy of it. Rows of other new tokens are the mean of the old ones, so that a new
    token starts with average probability. Rows after the last token (a vocabulary rounded up) are removed, so
    that no response holds an id without text.
    """
    old = id_count(tokenizer)
    bos, end, pad = roles = _roles(tokenizer)
    new = [token for token in dict.fromkeys(roles) if token not in tokenizer.get_vocab()]
    if new and old > len(tokenizer):
        _add_after_highest(tokenizer, new)
    tokenizer.add_special_tokens({"bos_token": bos, "eos_token": end, "pad_token": pad})

    rows = id_count(tokenizer)
    if rows != _embedded(model):
        model.resize_token_embeddings(rows, mean_resizing=False)
    if new:
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            if layer is not None:
                weight = layer.get_parameter("weight").data  # (rows, width)
                weight[old:] = weight[:old].mean(0)
                if bos in new and bos == SEPARATOR:
                    weight[tokenizer.bos_token_id] = weight[tokenizer.eos_token_id]
    set_special_ids(model, tokenizer)


def _roles(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, str]:
    """Three different tokens for bos, eos and pad; the caller adds those that the vocabulary lacks."""
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    end = end_of_turn(tokenizer) or (eos if eos != bos and bos is not None else None)
    end = end or _known(tokenizer, END_NAMES, (bos, eos)) or EOS
    if bos in (None, end):
        bos = _known(tokenizer, (eos or BOS, *BOS_NAMES), (end,)) or (BOS if end != BOS else SEPARATOR)
    pad = tokenizer.pad_token
    if pad is None or pad in (bos, end):
        pad = _known(tokenizer, PAD_NAMES, (bos, end)) or PAD
    return bos, end, pad


def id_count(tokenizer: PreTrainedTokenizerBase) -> int:
    """Highest id + 1: the rows that a model needs. Larger than `len(tokenizer)` if the vocabulary has unused ids."""
    return max(tokenizer.get_vocab().values()) + 1


def _add_after_highest(tokenizer: PreTrainedTokenizerBase, new: list[str]) -> None:
    """Add tokens after the highest id of a vocabulary that has unused ids.

    The tokenizers library would number them by the count of tokens when it reads its file, and so give them the ids of
    other tokens. In a dictionary from token to id they keep their ids; a vocabulary that is a list has no unused ids.
    """
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = data["model"]["vocab"]
    if isinstance(vocabulary, dict):
        first = id_count(tokenizer)
        vocabulary |= {token: first + place for place, token in enumerate(new)}
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(data))


def check_saved_ids(tokenizer: PreTrainedTokenizerBase, path: str | Path) -> None:
    """Raise UserError if bos, eos or pad of the tokenizer that was saved in `path` shares its id with another token."""
    ids = list(tokenizer.get_vocab().values())
    for token in (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token):
        if ids.count(cast(int, tokenizer.convert_tokens_to_ids(token))) > 1:  # one token, so one id
            raise UserError(
                f"{path}: the token {token} got the id of another token, as the vocabulary leaves ids out; give every id "
                "from 0 to the highest a token in tokenizer.json."
            )


def _embedded(model: PreTrainedModel) -> int:
    """Number of token ids that the model has an embedding for."""
    return model.get_input_embeddings().get_parameter("weight").shape[0]


def _known(tokenizer: PreTrainedTokenizerBase, names: tuple[str, ...], taken: tuple[str | None, ...]) -> str | None:
    """The first of `names` that is a token of the vocabulary and has no other role."""
    vocabulary = tokenizer.get_vocab()
    return next((name for name in names if name in vocabulary and name not in taken), None)


def is_ready(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> bool:
    """Whether model and tokenizer can be used as they are: `prepare_tokenizer` would change nothing."""
    ids = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    return (
        None not in ids
        and len(ids) == 3
        and tokenizer.eos_token == (end_of_turn(tokenizer) or tokenizer.eos_token)
        and id_count(tokenizer) == _embedded(model)
    )


def set_special_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the tokenizer's bos, eos and pad ids into the model's configs, for other programs that load it."""
    for config in (model.config, getattr(model, "generation_config", None)):
        if config is not None:
            config.bos_token_id = tokenizer.bos_token_id
            config.eos_token_id = tokenizer.eos_token_id
            config.pad_token_id = tokenizer.pad_token_id


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str | Path) -> None:
    """Raise UserError if the tokenizer has ids that the model has no embedding for."""
    rows, ids = _embedded(model), id_count(tokenizer)
    if ids > rows:
        raise UserError(
            f"{path}: the tokenizer has ids up to {ids - 1} but the model embeds only {rows} tokens, from 0; use the "
            "tokenizer that belongs to this model."
        )


def check_same_vocabulary(
    tokenizer: PreTrainedTokenizerBase, path: str | Path, other: PreTrainedTokenizerBase, other_path: str | Path
) -> None:
    """Raise UserError if two models that read the same token ids have different vocabularies."""
    if tokenizer.get_vocab() != other.get_vocab() or tokenizer.eos_token_id != other.eos_token_id:
        raise UserError(f"{other_path}: its vocabulary differs from that of {path}; train both models from the same base.")
