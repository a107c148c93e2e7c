"""Loading, checking and saving models: what is refused, with which sentence, and what stays equal."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_run import make_base
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from utils.config import load_config
from utils.core.errors import UserError
from utils.models import directories, dropout, tokenizers
from utils.models import loading as models
from utils.pipeline.base import base_stage
from utils.pipeline.run import Run


@pytest.fixture
def broken(policy_dir: Path, tmp_path: Path) -> Path:
    """A copy of the policy directory to damage."""
    return Path(shutil.copytree(policy_dir, tmp_path / "model"))


def fails(function: object, path: Path | str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        function(path)  # type: ignore[operator]
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and text.endswith(".")


def test_a_model_without_a_limit_of_positions_has_no_context() -> None:
    """XLNet gives -1."""
    for positions, context in ((-1, None), (64, 64), (None, None)):
        model: Any = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=positions))
        assert models.context_length(model) == context


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    for function in (models.load_policy, models.load_reward, models.reward_from_policy, models.load_base):
        fails(function, tmp_path / "nothing", "no such model directory")
    fails(tokenizers.load_tokenizer, tmp_path / "nothing", "no such model directory")


def test_a_hub_name_without_a_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(directories, "hub_is_reachable", lambda: False)
    for function in (models.load_policy, models.load_base, tokenizers.load_tokenizer):
        fails(function, "nobody/nothing", "no copy from the Hugging Face hub .there is no network.; check the path")
    (tmp_path / "runs").mkdir()
    fails(models.load_policy, "runs/nothing", "no such model directory; give")  # a path here, not a hub name


@pytest.mark.parametrize("addresses", [[("address",)], OSError("no name service")])
def test_the_hub_counts_as_reachable_if_its_name_resolves(addresses: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: object) -> object:
        if isinstance(addresses, OSError):
            raise addresses
        return addresses

    monkeypatch.setattr(directories.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(directories.socket, "getaddrinfo", look_up)
    directories.hub_is_reachable.cache_clear()
    assert directories.hub_is_reachable() == isinstance(addresses, list)
    directories.hub_is_reachable.cache_clear()
    monkeypatch.setattr(directories.constants, "HF_HUB_OFFLINE", True)
    assert not directories.hub_is_reachable()
    directories.hub_is_reachable.cache_clear()


def test_a_hub_name_is_loaded_from_the_hubs_copy(policy_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict] = []

    def copy(name: str, **kwargs: object) -> str:
        asked.append({"name": name, **kwargs})
        return str(policy_dir)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(directories, "snapshot_download", copy)
    models.load_policy("someone/model")
    assert (asked[0]["name"], asked[0]["revision"]) == ("someone/model", None)
    assert directories.model_directory("someone/model@v1/x") == policy_dir
    assert (asked[-1]["name"], asked[-1]["revision"]) == ("someone/model", "v1/x")
    fails(directories.model_directory, Path("someone/model@"), "no such model directory")
    assert not any(pattern.endswith((".py", ".bin")) for pattern in asked[0]["allow_patterns"])


def test_a_directory_without_weights_is_refused(broken: Path) -> None:
    (broken / "model.safetensors").unlink()
    fails(models.load_policy, broken, "has no weights; expected model.safetensors")


def test_pickled_weights_are_refused(broken: Path) -> None:
    (broken / "model.safetensors").unlink()
    (broken / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=r"pytorch_model.bin: pickled weights .* convert them to model.safetensors"):
        models.load_policy(broken)


def test_cut_off_weights_are_refused(broken: Path) -> None:
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:4000])
    fails(models.load_policy, broken, "model.safetensors is damaged or cut off")


def test_weights_of_another_shape_or_that_are_no_numbers_are_refused(broken: Path) -> None:
    file = broken / "model.safetensors"
    weights = load_file(file)
    cut = {name: weight[:-1].contiguous() if name.endswith("ln_f.weight") else weight for name, weight in weights.items()}
    save_file(cut, file, metadata={"format": "pt"})
    fails(models.load_policy, broken, "a weight has another shape than config.json says")
    name = next(name for name in weights if name.endswith("ln_f.weight"))
    weights[name][3] = math.nan
    save_file(weights, file, metadata={"format": "pt"})
    fails(models.load_policy, broken, f"the weight .*{name.split('.', 1)[-1]} holds numbers that are NaN or infinite")


def test_a_start_of_the_reward_model_that_is_broken_is_refused_before_any_training(
    policy_dir: Path, broken: Path, tmp_path: Path
) -> None:
    (broken / "model.safetensors").write_bytes(b"cut")
    config = load_config("tiny", {"model": str(policy_dir), "reward_init": str(broken)})
    with pytest.raises(UserError, match="model.safetensors is damaged or cut off"):
        base_stage(Run(tmp_path / "run", config), tmp_path / "run" / "base")


def test_a_reward_model_is_a_start_of_the_reward_model(policy_dir: Path, reward_dir: Path, tmp_path: Path) -> None:
    """With its head, and without its shift, which is measured again after training."""
    model = models.load_reward(reward_dir)
    model.config.reward_shift = 1.5
    models.save_model(model, tokenizers.load_tokenizer(reward_dir), tmp_path / "start")
    assert models.load_reward(tmp_path / "start").config.reward_shift == 1.5
    start = models.reward_start(tmp_path / "start")
    assert start.config.reward_shift == 0 and torch.equal(start.score.weight, model.score.weight)
    fresh = models.reward_start(policy_dir, seed=3)
    assert torch.equal(fresh.score.weight, models.reward_from_policy(policy_dir, seed=3).score.weight)
    lengths = {"data.max_prompt_tokens": 8, "data.max_response_tokens": 8, "ppo.ptx_length": 16, "ppo_ptx.ptx_length": 16}
    config = load_config("tiny", {"model": str(policy_dir), "reward_init": str(tmp_path / "start"), **lengths})
    base_stage(Run(tmp_path / "run", config), tmp_path / "run" / "base")


def test_a_start_of_the_reward_model_with_another_vocabulary_is_refused_before_any_training(
    policy_dir: Path, tmp_path: Path
) -> None:
    other = make_base(tmp_path / "other", plain=True)
    config = load_config("tiny", {"model": str(policy_dir), "reward_init": str(other)})
    with pytest.raises(UserError, match="its vocabulary differs from that of .*train both models from the same base"):
        base_stage(Run(tmp_path / "run", config), tmp_path / "run" / "base")


def test_a_broken_or_missing_config_is_refused(broken: Path) -> None:
    (broken / "config.json").write_text('{"model_type": ')
    with pytest.raises(UserError, match="config.json: cannot be read as JSON"):
        models.load_policy(broken)
    (broken / "config.json").write_text("{}")
    with pytest.raises(UserError, match="field 'model_type' is missing"):
        models.load_policy(broken)
    (broken / "config.json").unlink()
    fails(models.load_policy, broken, "has no config.json")


def test_code_in_a_model_directory_is_never_run(broken: Path) -> None:
    config = json.loads((broken / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "own.py").write_text(f"open({str(broken / 'ran')!r}, 'w')")
    fails(models.load_policy, broken, "needs Python code from its directory, which is never run")
    assert not (broken / "ran").exists()


def test_reward_model_and_policy_are_not_confused(policy_dir: Path, reward_dir: Path) -> None:
    fails(models.load_policy, reward_dir, "is a reward model .* a causal language model is needed")
    fails(models.reward_from_policy, reward_dir, "is a reward model")
    fails(models.load_reward, policy_dir, "is not a reward model")


def test_a_classifier_with_several_labels_is_no_reward_model(reward_dir: Path, tmp_path: Path) -> None:
    model = models.load_reward(reward_dir)
    model.config.num_labels = 3
    model.score = torch.nn.Linear(32, 3, bias=False)
    model.save_pretrained(tmp_path / "three")
    fails(models.load_reward, tmp_path / "three", "has 3 labels")


def test_a_tokenizer_without_pad_token_is_refused(broken: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|endoftext|>")
    bare.save_pretrained(broken)
    fails(tokenizers.load_tokenizer, broken, "has no bos and no pad token; .*--only base --out DIR. writes a copy")
    same = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>",
        pad_token="<|pad|>",
    )  # fmt: skip
    same.save_pretrained(broken)
    fails(tokenizers.load_tokenizer, broken, "uses one token for two of bos, eos and pad")


def test_a_missing_or_broken_tokenizer_is_refused(broken: Path) -> None:
    (broken / "tokenizer.json").write_text("{broken")
    fails(tokenizers.load_tokenizer, broken, "the tokenizer cannot be loaded")
    (broken / "tokenizer.json").unlink()
    (broken / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match="tokenizer"):
        tokenizers.load_tokenizer(broken)


def test_a_tokenizer_of_another_model_is_refused(policy: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase) -> None:
    small = models.new_policy(models.gpt2_config(100, 8, 1, 2, 16, 0.02), 0)
    with pytest.raises(UserError, match="the tokenizer has ids up to 319 but the model embeds only 100 tokens"):
        tokenizers.check_vocabulary(small, tokenizer, "x")
    tokenizers.check_vocabulary(policy, tokenizer, "x")


def gpt2_like(broken: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make `broken` what a published GPT-2 is: one special token, no padding, dropout 0.1."""
    vocab = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    vocab = [token for token in vocab if token not in ("<|end|>", "<|pad|>")]
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    data["model"]["vocab"] = {token: index for index, token in enumerate(vocab)}
    data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] == "<|endoftext|>"]
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(data)), bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    ).save_pretrained(broken)
    small = models.new_policy(models.gpt2_config(len(vocab), 32, 2, 4, 64, 0.3), 0)
    small.config.resid_pdrop = small.config.attn_pdrop = small.config.embd_pdrop = 0.1
    small.save_pretrained(broken)


def test_gpt2_gets_its_own_end_and_padding_token(broken: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    gpt2_like(broken, tokenizer)
    new_tokenizer, model = models.load_base(broken)
    assert (new_tokenizer.bos_token, new_tokenizer.eos_token, new_tokenizer.pad_token) == (
        "<|endoftext|>", "<|end|>", "<|pad|>",
    )  # fmt: skip
    assert len(new_tokenizer) == 320 and model.get_input_embeddings().weight.shape[0] == 320
    rows = model.get_input_embeddings().weight
    torch.testing.assert_close(rows[319], rows[:318].mean(0))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (model.config.eos_token_id, model.config.pad_token_id) == (318, 319)
    models.save_model(model, new_tokenizer, tmp_path / "saved")
    assert tokenizers.load_tokenizer(tmp_path / "saved").eos_token_id == 318
    again = models.load_policy(tmp_path / "saved")
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(again(ids).logits, model(ids).logits)


def test_everything_is_float32_eval_and_without_dropout(broken: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    gpt2_like(broken, tokenizer)
    half = GPT2LMHeadModel.from_pretrained(broken, dtype=torch.bfloat16)
    half.save_pretrained(broken)
    for model in (models.load_policy(broken), models.reward_from_policy(broken), models.load_base(broken)[1]):
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert all(m.p == 0 for m in model.modules() if isinstance(m, torch.nn.Dropout))
        assert not model.training and model.config.resid_pdrop == 0.0


def test_residual_dropout_is_where_the_paper_has_it_and_is_not_saved(
    policy: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    dropout.set_residual_dropout(policy, 0.2)
    changed = {name for name, m in policy.named_modules() if isinstance(m, torch.nn.Dropout) and m.p == 0.2}
    assert changed == {f"transformer.h.{i}.{m}" for i in (0, 1) for m in ("attn.resid_dropout", "mlp.dropout")}
    models.save_model(policy, tokenizer, tmp_path / "m")
    assert GPT2LMHeadModel.from_pretrained(tmp_path / "m").config.resid_pdrop == 0.0
    with pytest.raises(UserError, match="has no place for residual dropout; set sft.dropout to 0"):
        dropout.set_residual_dropout(torch.nn.Linear(2, 2), 0.1)  # type: ignore[arg-type]


def test_the_fused_gelu_is_gpt2s_function_and_the_config_stays_gpt2s(policy_dir: Path) -> None:
    fused, plain = models.load_policy(policy_dir), GPT2LMHeadModel.from_pretrained(policy_dir).eval()
    assert isinstance(fused.transformer.h[0].mlp.act, torch.nn.GELU)
    assert not isinstance(plain.transformer.h[0].mlp.act, torch.nn.GELU)
    assert fused.config.activation_function == "gelu_new"
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(fused(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)


def test_a_new_reward_model_keeps_the_trunk_and_starts_near_zero(policy_dir: Path) -> None:
    policy = models.load_policy(policy_dir)
    first, second, other = (models.reward_from_policy(policy_dir, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.score.weight, second.score.weight)
    assert not torch.equal(first.score.weight, other.score.weight)
    for (name, a), b in zip(policy.transformer.named_parameters(), first.transformer.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert first.score.weight.abs().max() < 0.1 and first.config.reward_shift == 0.0


def test_the_reward_shift_is_saved_with_the_model(reward_dir: Path) -> None:
    assert models.load_reward(reward_dir).config.reward_shift == 0.25


def test_loading_is_silent(policy_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    models.reward_from_policy(policy_dir)
    models.load_policy(policy_dir)
    out, err = capfd.readouterr()
    assert out == "" and err == ""


def test_saving_replaces_a_model_as_a_whole(
    policy: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    path = tmp_path / "deep" / "model"
    models.save_model(policy, tokenizer, path)
    (path / "stale.txt").write_text("old")
    with torch.no_grad():
        policy.lm_head.weight.add_(1.0)
    models.save_model(policy, tokenizer, path)
    assert not (path / "stale.txt").exists()
    assert [p.name for p in path.parent.iterdir()] == ["model"]
    torch.testing.assert_close(models.load_policy(path).lm_head.weight, policy.lm_head.weight)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="file"):
        models.save_model(policy, tokenizer, blocked / "model")


def test_a_new_policy_depends_on_its_seed_alone() -> None:
    sizes = models.gpt2_config(vocab_size=50, n_embd=8, n_layer=1, n_head=2, n_positions=16, init_std=0.06)
    state = torch.random.get_rng_state()
    a, b, c = (models.new_policy(sizes, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(a.lm_head.weight, b.lm_head.weight) and not torch.equal(a.lm_head.weight, c.lm_head.weight)
    assert a.lm_head.weight.std().item() == pytest.approx(0.06, rel=0.2)
    assert models.count_parameters(a) == sum(p.numel() for p in a.parameters())


def test_models_of_different_vocabulary_do_not_go_together(tokenizer: PreTrainedTokenizerBase, policy_dir: Path) -> None:
    other = tokenizers.load_tokenizer(policy_dir)
    tokenizers.check_same_vocabulary(tokenizer, "a", other, "b")
    other.add_tokens(["new"])
    with pytest.raises(UserError, match="b: its vocabulary differs from that of a"):
        tokenizers.check_same_vocabulary(tokenizer, "a", other, "b")
