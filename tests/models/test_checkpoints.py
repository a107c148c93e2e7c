"""Oddities of public checkpoints: settings of generation, templates, vocabularies, architectures that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from families import make_family
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BartConfig,
    BartForCausalLM,
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RoFormerConfig,
    RoFormerForCausalLM,
)

from utils.config import DataConfig
from utils.core.errors import UserError
from utils.data.encoding import answer_prefix, beginning, decode_response, encode_completion, encode_prompt
from utils.models.loading import load_base, load_policy, reward_from_policy, save_model
from utils.models.tokenizers import (
    SEPARATOR,
    check_saved_ids,
    id_count,
    is_ready,
    load_tokenizer,
)
from utils.pipeline import support
from utils.pipeline.base import prepared
from utils.pipeline.support import check_policy, check_reward

END = "<|endoftext|>"
TEXT = ["Name an animal.", "A whale lives in the sea.", "The dog ran home. It was wet and happy."] * 4
DIALOGUE = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
ROLES = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|endoftext|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def byte_level(special: tuple[str, ...] = (END,)) -> Tokenizer:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False, special_tokens=list(special), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator(TEXT, trainer)
    return core


def checkpoint(path: Path, core: Tokenizer, rows: int | None = None, **roles: Any) -> Path:
    """A random GPT-2 with this tokenizer; rows: of its embedding, if not one for each token."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **roles)
    torch.manual_seed(0)
    size = dict(n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3)
    GPT2LMHeadModel(GPT2Config(vocab_size=rows or id_count(tokenizer), **size)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


# --- generation_config.json -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": False, "temperature": 0.9, "top_p": 0.6},
        {"do_sample": False, "temperature": 0.0},
        {"temperature": "warm"},
        {"num_beams": 1, "early_stopping": True, "length_penalty": 2.0},
        {"num_return_sequences": 3},
        {"do_sample": False, "num_beam_groups": 2, "diversity_penalty": 1.0},
        {"max_new_tokens": -4, "cache_implementation": "unheard of"},
        {"forced_bos_token_id": 5, "forced_eos_token_id": 6, "suppress_tokens": [7, 8], "bad_words_ids": [[9]]},
        "{broken",
    ],
)
def test_the_checkpoints_own_generation_settings_do_no_harm(settings: dict | str, policy_dir: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copytree(policy_dir, tmp_path / "odd"))
    text = settings if isinstance(settings, str) else json.dumps(settings)
    (odd / "generation_config.json").write_text(text)
    save_model(load_policy(odd), load_tokenizer(odd), tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    ids = {name: saved.pop(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    assert ids == {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    assert set(saved) <= {"_from_model_config", "transformers_version"}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "saved").generation_config.suppress_tokens is None


# --- templates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [DIALOGUE, ROLES, "{{ bos_token }}" + DIALOGUE])
def test_a_template_that_ends_turns_in_the_separator_keeps_its_end(template: str, tmp_path: Path) -> None:
    roles = dict(bos_token=END, eos_token=END, unk_token=END, chat_template=template)
    path = checkpoint(tmp_path / "published", byte_level(), **roles)
    place = prepared(path, tmp_path / "ready")
    tokenizer, model = load_tokenizer(place), load_policy(place)
    assert (tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token) == (END, SEPARATOR, "<|pad|>")
    rows = model.get_input_embeddings().weight
    assert torch.equal(rows[tokenizer.bos_token_id], rows[tokenizer.eos_token_id]), "the model knows the separator as END"
    assert is_ready(tokenizer, model) and prepared(place, tmp_path / "again") == place
    for wanted in ("auto", "never"):
        data = DataConfig(chat_template=wanted)
        assert encode_prompt(tokenizer, "Hi.", data)
        assert encode_completion(tokenizer, "No.", True, data)[-1] == tokenizer.eos_token_id
    check_policy(model, tokenizer)


def test_a_separator_that_the_vocabulary_has_is_taken(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "m", byte_level((END, "<s>")), bos_token=END, eos_token=END, chat_template=DIALOGUE)
    tokenizer, model = load_base(path)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", END)
    assert not torch.equal(*model.get_input_embeddings().weight[[tokenizer.bos_token_id, tokenizer.eos_token_id]])


def test_text_begins_as_the_tokenizer_begins_it_also_with_a_new_separator(tmp_path: Path) -> None:
    tokenizer, _ = load_base(make_family("opt", tmp_path / "opt"))
    assert beginning(tokenizer) == [tokenizer.bos_token_id]
    published = AutoTokenizer.from_pretrained(tmp_path / "opt")
    published.chat_template = DIALOGUE
    published.save_pretrained(tmp_path / "opt")
    tokenizer, _ = load_base(tmp_path / "opt")
    assert tokenizer.eos_token == "</s>" != tokenizer.bos_token
    assert beginning(tokenizer) == [tokenizer.eos_token_id], "which its post-processor still writes"


# --- vocabularies that leave ids out --------------------------------------------------------------------------------


def with_hole(core: Tokenizer, after: int = 1) -> Tokenizer:
    """The same with two special tokens `after` ids beyond the next free one."""
    data = json.loads(core.to_str())
    size = len(data["model"]["vocab"])
    for place, name in enumerate(("<|assistant|>", "<|user|>"), size + after):
        data["model"]["vocab"][name] = place
        flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
        data["added_tokens"].append(dict(id=place, content=name, **flags))
    return Tokenizer.from_str(json.dumps(data))


def word_level() -> Tokenizer:
    words = sorted({word for text in TEXT for word in text.replace(".", " .").split()})
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate([END, "<unk>", *words])}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return core


@pytest.mark.parametrize("after", [1, 2, 5, 40])
@pytest.mark.parametrize("make", [byte_level, word_level])
@pytest.mark.parametrize("spare", [0, 61])
def test_new_tokens_follow_the_highest_id(make: Any, after: int, spare: int, tmp_path: Path) -> None:
    core = with_hole(make(), after)
    highest = max(core.get_vocab().values())
    path = checkpoint(tmp_path / "m", core, highest + 1 + spare, bos_token=END, eos_token=END)
    place = prepared(path, tmp_path / "ready")
    tokenizer, model = load_tokenizer(place), load_policy(place)
    old, new = AutoTokenizer.from_pretrained(path).get_vocab(), tokenizer.get_vocab()
    assert {token: new[token] for token in old} == old, "tokens keep their ids"
    assert (new["<|end|>"], new["<|pad|>"]) == (highest + 1, highest + 2)
    assert len(set(new.values())) == len(new)
    assert model.get_input_embeddings().weight.shape[0] == highest + 3
    assert (
        tokenizer.decode([new["<|end|>"]]) == "<|end|>" and tokenizer.decode([new["<|end|>"]], skip_special_tokens=True) == ""
    )
    published = AutoModelForCausalLM.from_pretrained(path).get_input_embeddings().weight[: highest + 1]
    assert torch.equal(model.get_input_embeddings().weight[: highest + 1], published)
    assert prepared(place, tmp_path / "again") == place
    check_policy(model, tokenizer)


def test_a_model_with_a_row_for_every_id_is_used_as_it_is(tmp_path: Path) -> None:
    core = with_hole(byte_level(("<s>", "</s>", "<pad>")))
    path = checkpoint(tmp_path / "m", core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    assert prepared(path, tmp_path / "ready") == path and not (tmp_path / "ready").exists()
    tokenizer, model = load_tokenizer(path), load_policy(path)
    ids = torch.tensor([[tokenizer.convert_tokens_to_ids("<|user|>")]])
    assert int(ids) == len(tokenizer) and model(ids).logits.isfinite().all()


def test_a_model_without_a_row_for_the_highest_id_is_refused(tmp_path: Path) -> None:
    core = with_hole(byte_level())
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=END, eos_token=END)
    path = checkpoint(tmp_path / "m", core, len(tokenizer), bos_token=END, eos_token=END)
    with pytest.raises(UserError, match=f"has ids up to {len(tokenizer)} but the model embeds only {len(tokenizer)} tokens"):
        load_base(path)


def test_a_shared_id_is_said(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> None:
    check_saved_ids(tokenizer, "x")
    monkeypatch.setattr(type(tokenizer), "get_vocab", lambda _: {"<|endoftext|>": 0, "<|end|>": 1, "a": 1, "<|pad|>": 2})
    with pytest.raises(UserError, match=r"x: the token <\|end\|> got the id of another token"):
        check_saved_ids(tokenizer, "x")


# --- SentencePiece --------------------------------------------------------------------------------------------------


def sentence_piece(kind: str) -> Tokenizer:
    """As Llama 1 and 2 come: a blank before every text, by the normalizer (older files) or the pre-tokenizer (newer)."""
    core = Tokenizer(models.Unigram() if kind == "unigram" else models.BPE(unk_token="<unk>"))
    if kind == "legacy":
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first" if kind == "first" else "always", split=False)
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>"]
    if kind == "unigram":
        core.train_from_iterator(TEXT, trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>"))
    else:
        core.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=90, show_progress=False, special_tokens=special))
    return core


@pytest.mark.parametrize("kind", ["legacy", "always", "first", "unigram"])
def test_one_blank_stands_before_an_answer(kind: str) -> None:
    roles = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=sentence_piece(kind), **roles)
    data = DataConfig()
    ids = encode_completion(tokenizer, "A whale.", True, data)
    pieces = "".join(tokenizer.convert_ids_to_tokens(ids[:-1]))
    assert pieces == "▁A▁whale." and decode_response(tokenizer, ids) == ("A whale.", True)
    assert answer_prefix(tokenizer, data) == ""


def test_other_tokenizers_keep_the_prefix_of_the_settings(tokenizer: PreTrainedTokenizerBase) -> None:
    assert (
        answer_prefix(tokenizer, DataConfig()) == " " and answer_prefix(tokenizer, DataConfig(completion_prefix="> ")) == "> "
    )
    assert tokenizer.decode(encode_completion(tokenizer, "A whale.", True, DataConfig())) == " A whale.<|end|>"


# --- architectures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "bart", "architectures": ["BartForConditionalGeneration"]}, "bart is an encoder-decoder"),
        ({"model_type": "bart", "architectures": ["BartModel"]}, "bart is an encoder-decoder"),
        ({"model_type": "t5"}, "t5 is an encoder-decoder"),
        ({"model_type": "mbart", "is_encoder_decoder": True}, "mbart is an encoder-decoder"),
        ({"model_type": "bert"}, "bert without is_decoder in its config.json is an encoder"),
        ({"model_type": "roberta", "architectures": ["RobertaForCausalLM"]}, "roberta without is_decoder .* is an encoder"),
        ({"model_type": "distilbert", "architectures": ["DistilBertForMaskedLM"]}, "distilbert without .* is an encoder"),
        ({"model_type": "codegen"}, "no sequence classifier of the type codegen, and both a language model and a classifier"),
    ],
)
def test_what_cannot_write_text_is_refused_with_the_reason(
    config: dict, sentence: str, policy_dir: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(policy_dir, tmp_path / "m"))
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=sentence) as caught:
        load_base(path)
    assert "use another model" in str(caught.value) and "copy" not in str(caught.value)


SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, initializer_range=0.3)
BART = dict(d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=48, init_std=0.3)


def odd_policy(kind: str, rows: int) -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "bart":
        return BartForCausalLM(BartConfig(vocab_size=rows, is_decoder=True, is_encoder_decoder=False, **BART))
    if kind == "roformer":
        return RoFormerForCausalLM(RoFormerConfig(vocab_size=rows, is_decoder=True, embedding_size=32, **SMALL))
    if kind == "bert":
        return BertLMHeadModel(BertConfig(vocab_size=rows, is_decoder=True, **SMALL))
    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=rows, n_embd=32, n_layer=2, n_head=4, n_positions=64))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("bart", r"The architecture bart \(BartForCausalLM\) reads the same text differently"),
        ("openai-gpt", r"The architecture openai-gpt \(OpenAIGPTLMHeadModel\) cannot sample here"),
    ],
)
def test_an_architecture_that_samples_wrongly_is_refused(
    kind: str, sentence: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    save_model(odd_policy(kind, len(tokenizer)), tokenizer, tmp_path / kind)
    with pytest.raises(UserError, match=sentence) as caught:
        check_policy(load_policy(tmp_path / kind), tokenizer)
    assert str(caught.value).endswith("use another model, such as a GPT-2, GPT-NeoX, OPT, Llama or Qwen.")


@pytest.mark.parametrize("kind", ["bert", "roformer"])
def test_a_classifier_of_another_form_is_refused(kind: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    save_model(odd_policy(kind, len(tokenizer)), tokenizer, tmp_path / kind)
    with pytest.raises(UserError, match="ForSequenceClassification. does not end in one linear layer named score"):
        reward_from_policy(tmp_path / kind)


def test_what_is_right_passes(small_base: Path, policy_dir: Path) -> None:
    for path in (small_base, policy_dir):
        tokenizer = load_tokenizer(path)
        check_policy(load_policy(path), tokenizer)
        check_reward(reward_from_policy(path), tokenizer)


def test_a_reward_model_that_reads_padding_is_refused(policy_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, reward = load_tokenizer(policy_dir), reward_from_policy(policy_dir)
    right = support.reward_at_end
    monkeypatch.setattr(support, "reward_at_end", lambda model, rows: right(model, [[*row, 5] for row in rows]))
    with pytest.raises(UserError, match="GPT2ForSequenceClassification. reads the same text differently in a padded batch"):
        check_reward(reward, tokenizer)
