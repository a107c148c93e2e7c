"""Shared fixtures: a tiny tokenizer and tiny random models, made here, nothing downloaded."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # so stages run in this process, unless a test sets compute.processes

import torch  # noqa: E402
from families import make_family  # noqa: E402
from forked import Program  # noqa: E402
from tiny_run import arguments, make_base, run  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast  # noqa: E402

from utils.core.cli import main  # noqa: E402
from utils.models.loading import gpt2_config, load_reward, new_policy, reward_from_policy, save_model  # noqa: E402
from utils.pipeline.base import prepared  # noqa: E402

TEXT = [
    "Name an animal that lives in the sea.\n A whale lives in the sea.",
    "What is the capital of France?\n Paris is the capital of France.",
    "Write a story about a dog and a rainy day.\n The dog ran home. It was wet and happy.",
]


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What a test, or what it calls, sets in the environment is not there for the next one and the programs it starts."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def label(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs scripts/label.py and returns what it printed; fails unless its exit code is the expected one."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("script_label", ROOT / "scripts" / "label.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "script_label", module)
    spec.loader.exec_module(module)

    def call(*given: object, code: int = 0) -> str:
        assert main(module.run, [str(one) for one in given]) == code
        shown = capsys.readouterr()
        return shown.out if code == 0 else shown.err

    return call


@pytest.fixture
def start_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Program]]:
    """Starts a `Program`; those that still run when the test is over are killed."""
    started: list[Program] = []

    def start(target: Callable[..., object], *arguments: object) -> Program:
        started.append(Program(tmp_path_factory.mktemp("program"), target, *arguments))
        return started[-1]

    yield start
    for program in started:
        program.kill()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level BPE of 320 tokens: <|endoftext|> 0 (bos), <|end|> 1 (eos), <|pad|> 2."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, show_progress=False, special_tokens=["<|endoftext|>", "<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    core.train_from_iterator(TEXT * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<|endoftext|>", eos_token="<|end|>", pad_token="<|pad|>")


@pytest.fixture
def policy(tokenizer: PreTrainedTokenizerBase) -> GPT2LMHeadModel:
    """A random 2-layer GPT-2 of about 20k weights, wide enough apart that probabilities differ between tokens."""
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return new_policy(gpt2_config(len(tokenizer), 32, 2, 4, 64, init_std=0.3, special_ids=special), seed=0)


@pytest.fixture(scope="session")
def policy_dir(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy fixture's model, saved."""
    path = tmp_path_factory.mktemp("models") / "policy"
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    model = new_policy(gpt2_config(len(tokenizer), 32, 2, 4, 64, init_std=0.3, special_ids=special), seed=0)
    save_model(model, tokenizer, path)
    return path


@pytest.fixture(scope="session")
def reward_dir(policy_dir: Path, tokenizer: PreTrainedTokenizerBase) -> Path:
    """A reward model on the policy's trunk with a head of visible size and a shift of 0.25, saved."""
    path = policy_dir.parent / "reward"
    model = reward_from_policy(policy_dir, seed=3)
    model.score.weight.data.mul_(20.0)
    model.config.reward_shift = 0.25
    save_model(model, tokenizer, path)
    return path


@pytest.fixture
def reward_model(reward_dir: Path) -> torch.nn.Module:
    """The reward model of `reward_dir`."""
    return load_reward(reward_dir)


@pytest.fixture(scope="session", params=["gpt2", "llama_base"])
def small_base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models of two architectures, one with a written-out forward pass here and one without."""
    folder = tmp_path_factory.mktemp(request.param)
    return prepared(make_family(request.param, folder / "published"), folder / "ready")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model of `tiny_run`, with the tiny world's tokenizer."""
    return make_base(tmp_path_factory.mktemp("pipeline") / "base")


@pytest.fixture(scope="session")
def finished(base: Path) -> Path:
    """Folder of a whole run of the tiny world on `base`. Tests read it; a test that writes takes a copy."""
    out = base.parent / "world"
    assert main(run, arguments(out, base)) == 0
    return out
