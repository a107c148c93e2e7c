"""What can go wrong in a run: kill -9 in every stage, bad input of every kind, a loss that is no number, a full disk.

A killed run must end in the same bytes as one that was left alone; bad input must give one sentence and exit code 2.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
from forked import warm_up
from safetensors.torch import load_file
from tiny_run import arguments, make_base, own_files, run, run_as_process, write_lines

from utils.core.cli import EXIT_USER_ERROR, main
from utils.core.io import read_json, read_jsonl
from utils.models.loading import load_policy
from utils.models.tokenizers import load_tokenizer
from utils.pipeline import STAGES

ROOT = Path(__file__).resolve().parents[1]
TRAINED = tuple(stage.name for stage in STAGES if stage.name not in ("base", "evaluate", "report"))
# Enough steps in every training loop that a kill can meet it in the middle, before and after its first checkpoint.
CHANGES = {"sft.batch_size": "8", "init.batch_size": "8", "reward.prompts_per_step": "2"}
CHANGES |= {f"{stage}.rounds": "7" for stage in ("ppo", "ppo_ptx")}
LAST_STEP = {"sft": 12, "init": 7, "reward": 9, "ppo": 6, "ppo_ptx": 6}  # the latest step after which a kill comes
TRIES = 4
LONGEST = 300.0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("faults") / "base")


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that start with everything imported, on one thread."""
    warm_up()
    return multiprocessing.get_context("forkserver")


class Runs:
    """Starts the command line in a process of its own, as often as it takes."""

    def __init__(self, context: ForkServerContext, base: Path, out: Path) -> None:
        self.context, self.base, self.out = context, base, out
        self.log = out.with_suffix(".log")

    def start(self, last: str = TRAINED[-1]) -> multiprocessing.process.BaseProcess:
        stages = TRAINED[: TRAINED.index(last) + 1]
        given = arguments(self.out, self.base, "--only", ",".join(stages), changes=CHANGES)
        process = self.context.Process(target=run_as_process, args=(given, str(self.log)))
        process.start()
        return process

    def finish(self) -> None:
        process = self.start()
        process.join(LONGEST)
        assert process.exitcode == 0, self.log.read_text()[-3000:]

    def kill_when(self, reached: Callable[[], bool], last: str = TRAINED[-1]) -> bool:
        """Run the stages up to `last`, kill -9 as soon as `reached`, and tell whether it came to that before the end."""
        process, until = self.start(last), time.monotonic() + LONGEST
        while process.is_alive() and not reached():
            assert time.monotonic() < until
            time.sleep(0.002)
        hit = process.is_alive()
        process.kill()
        process.join()
        assert hit or process.exitcode == 0, self.log.read_text()[-3000:]
        return hit

    def in_stage(self, name: str) -> bool:
        """True while a stage has begun and not finished."""
        try:
            return not json.loads((self.out / name / "stage.json").read_text())["finished"]
        except (OSError, ValueError):
            return False

    def steps(self, name: str) -> int:
        """Steps that a stage has logged."""
        try:
            return (self.out / name / "metrics.jsonl").read_bytes().count(b"\n")
        except OSError:
            return 0


@pytest.fixture(scope="module")
def whole(processes: ForkServerContext, base: Path) -> Path:
    """Folder of a run up to ppo_ptx that nobody disturbed."""
    runs = Runs(processes, base, base.parent / "whole")
    runs.finish()
    return runs.out


def results(out: Path) -> dict[str, bytes]:
    """Everything that a run has learnt, drawn and logged."""
    files = [*out.rglob("*.safetensors"), *out.rglob("*.jsonl"), *out.rglob("*.json")]
    named = {str(file.relative_to(out)): file for file in files if file.name != "stage.json"}
    return {name: file.read_bytes() for name, file in sorted(named.items())}


# --- kill -9 -------------------------------------------------------------------------------------------------------


def kill_in_stage(runs: Runs, name: str, took: float) -> bool:
    """Kill -9 at a random moment of a stage, in a training loop after a random step; a stage that is over too soon is
    tried again. took: seconds of the stage when undisturbed."""
    for attempt in range(TRIES):
        share, began = random.random() / (attempt + 1), None

        def reached(share: float = share) -> bool:
            nonlocal began
            if not runs.in_stage(name):
                return False
            if name in LAST_STEP:
                return runs.steps(name) >= 1 + share * (LAST_STEP[name] - 1)
            began = began or time.monotonic()
            return time.monotonic() - began >= 0.7 * share * took

        if runs.kill_when(reached, last=name) and runs.in_stage(name):
            print(f"{name}: killed with {runs.steps(name)} steps logged")
            return True
        shutil.rmtree(runs.out / name)
    return False


def test_a_run_killed_in_every_stage_ends_in_the_same_bytes(
    whole: Path, processes: ForkServerContext, base: Path, tmp_path: Path
) -> None:
    runs = Runs(processes, base, tmp_path / "run")
    for name in TRAINED:
        took = read_json(whole / name / "stage.json")["seconds"]
        assert kill_in_stage(runs, name, took), f"{name} was over {TRIES} times before it could be killed"
    runs.finish()
    undisturbed, killed = results(whole), results(runs.out)
    assert undisturbed.keys() == killed.keys()
    assert not [name for name in undisturbed if undisturbed[name] != killed[name]]
    assert sum(name.endswith("model.safetensors") for name in killed) >= 7


def test_weights_moved_in_every_training_stage(whole: Path, base: Path) -> None:
    """Else equal weights would prove nothing."""
    start = load_file(base / "model.safetensors")
    for name in ("sft/epoch_01", "sft/epoch_02", "init/epoch_01", "sft_select/model", "ppo/model", "ppo_ptx/model"):
        weights = load_file(whole / name / "model.safetensors")
        assert not all(torch.equal(weights[key], start[key]) for key in start)
    ppo, ptx = (load_file(whole / name / "model" / "model.safetensors") for name in ("ppo", "ppo_ptx"))
    init = load_file(whole / "init" / "epoch_01" / "model.safetensors")
    assert not all(torch.equal(ppo[key], init[key]) for key in init)
    assert not all(torch.equal(ppo[key], ptx[key]) for key in ppo)


def test_a_killed_run_goes_on_and_does_not_begin_again(
    whole: Path, processes: ForkServerContext, base: Path, tmp_path: Path
) -> None:
    runs = Runs(processes, base, Path(shutil.copytree(whole, tmp_path / "run")))
    shutil.rmtree(runs.out / "ppo_ptx")
    assert runs.kill_when(lambda: runs.steps("ppo_ptx") >= 6)  # the checkpoint comes after five rounds
    runs.finish()
    log = runs.log.read_text()
    assert "ppo_ptx: goes on where it was stopped" in log and log.count("sft: unchanged, skipped") == 2
    assert "ppo_ptx: goes on after step 5 of 7" in log


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return own_files(tmp_path_factory.mktemp("faults-own"))


class Command:
    """The command line in this process; it must fail with one sentence."""

    def __init__(self, base: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.base, self.out, self.capsys = base, out, capsys

    def fails(self, *more: str, changes: Mapping[str, str] | None = None, model: Path | None = None) -> str:
        """The one sentence on stderr, after checking that it is one, and the exit code."""
        self.capsys.readouterr()
        code = main(run, arguments(self.out, model or self.base, *more, changes=CHANGES | dict(changes or {})))
        output = self.capsys.readouterr()
        lines = [line for line in output.err.splitlines() if not line.endswith(" s left")]
        assert code == EXIT_USER_ERROR, output
        assert "Traceback" not in output.err + output.out
        assert len(lines) == 1 and lines[0].endswith((".", ")", "'")), lines
        return lines[0]


@pytest.fixture
def command(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(base, tmp_path / "run", capsys)


KINDS = ("prompts", "demonstrations", "comparisons")


def user_files(own: Mapping[str, Path], **changed: Path) -> list[str]:
    files = {"prompts": own["prompts"], "demonstrations": own["demonstrations"], "comparisons": own["rankings"]} | changed
    return [part for kind in KINDS for part in (f"--{kind}", str(files[kind]))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_file(command: Command, own: dict[str, Path], tmp_path: Path, kind: str) -> None:
    missing = tmp_path / "nowhere.jsonl"
    assert command.fails(*user_files(own, **{kind: missing})) == f"{missing} does not exist: check the path."


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file(command: Command, own: dict[str, Path], tmp_path: Path, kind: str) -> None:
    empty = write_lines(tmp_path / "empty.jsonl", [])
    assert command.fails(*user_files(own, **{kind: empty})) == f"{empty} is empty: expected at least one row."


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_json_line(command: Command, own: dict[str, Path], tmp_path: Path, kind: str) -> None:
    source = own["rankings" if kind == "comparisons" else kind]
    lines = source.read_text().splitlines()
    lines[2] = lines[2][:25]
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join(lines))
    sentence = command.fails(*user_files(own, **{kind: broken}))
    assert sentence.startswith(f"{broken}, row 3, column ") and "broken JSON" in sentence
    assert sentence.endswith("correct or delete this row.")


@pytest.mark.parametrize(
    ("kind", "field", "sentence"),
    [
        (
            "prompts",
            "prompt",
            ", row 1: no field prompt, question, query, instruction, messages or conversations; the row has text",
        ),
        ("demonstrations", "completion", ", row 1: no field completion, response, output, answer, messages or conversations"),
        ("comparisons", "ranks", ", row 1: no field ranks or best; the row has prompt, completions, text"),
    ],
)
def test_a_missing_field(command: Command, own: dict[str, Path], tmp_path: Path, kind: str, field: str, sentence: str) -> None:
    rows = read_jsonl(own["rankings" if kind == "comparisons" else kind])
    renamed = [{k: v for k, v in row.items() if k != field} | {"text": row[field]} for row in rows]
    path = write_lines(tmp_path / "renamed.jsonl", renamed)
    assert command.fails(*user_files(own, **{kind: path})).startswith(f"{path}{sentence}")


def test_ranks_that_do_not_match_the_completions(command: Command, own: dict[str, Path], tmp_path: Path) -> None:
    rows = read_jsonl(own["rankings"])
    rows[6]["ranks"] = [1, 2]
    path = write_lines(tmp_path / "ranks.jsonl", rows)
    sentence = command.fails(*user_files(own, comparisons=path))
    assert sentence == f'{path}, row 7, field "ranks": 2 ranks for 3 completions: give one rank for each.'
    assert not (command.out / "sft").exists(), "said before anything is trained"


def test_rankings_that_are_all_tied(command: Command, own: dict[str, Path], tmp_path: Path) -> None:
    path = write_lines(tmp_path / "tied.jsonl", [row | {"ranks": [1, 1, 1]} for row in read_jsonl(own["rankings"])])
    sentence = command.fails("--comparisons", str(path))
    assert sentence.startswith(f"{path}: none of its ") and "their completions are all tied or equal" in sentence


def test_rankings_without_a_test_split_take_rows_of_train_and_say_so(
    command: Command, own: dict[str, Path], tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "train.jsonl", [row | {"split": "train"} for row in read_jsonl(own["rankings"])])
    stages = TRAINED[: TRAINED.index("reward") + 1]  # the reward stage reads the test split
    given = arguments(command.out, command.base, "--comparisons", str(path), "--only", ",".join(stages), changes=CHANGES)
    assert main(run, given) == 0
    output = command.capsys.readouterr()
    assert f"{path}: no row is in the split test" in output.out + output.err
    assert read_jsonl(command.out / "comparisons" / "test.jsonl")


def test_a_demonstration_of_a_test_prompt(command: Command, own: dict[str, Path], tmp_path: Path) -> None:
    rows = [row | {"split": "train"} for row in read_jsonl(own["demonstrations"])]
    sentence = command.fails(*user_files(own, demonstrations=write_lines(tmp_path / "leak.jsonl", rows)))
    assert "is in the split 'test' of the prompts but in 'train' of the demonstrations" in sentence or (
        "is in the split 'valid' of the prompts but in 'train' of the demonstrations" in sentence
    )


def test_a_model_directory_that_is_missing(command: Command, tmp_path: Path) -> None:
    gone = tmp_path / "models" / "gone"
    assert command.fails(model=gone) == f"{gone} does not exist: check the path."


def test_a_model_directory_without_weights(command: Command, base: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(base, tmp_path / "model"))
    (model / "model.safetensors").unlink()
    assert command.fails(model=model) == f"{model}: has no weights; expected model.safetensors in it."


def test_pickled_weights(command: Command, base: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(base, tmp_path / "model"))
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    sentence = command.fails(model=model)
    assert sentence.startswith(f"{model / 'pytorch_model.bin'}: pickled weights can run code and are not loaded; convert")


def test_weights_that_are_cut_off(command: Command, base: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(base, tmp_path / "model"))
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[: len(content) // 2])
    assert "model.safetensors is damaged or cut off" in command.fails(model=model)


def test_a_broken_tokenizer(command: Command, base: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(base, tmp_path / "model"))
    (model / "tokenizer.json").write_text("{")
    assert f"{model}: the tokenizer cannot be loaded" in command.fails(model=model)


def test_a_reward_model_as_base(command: Command, whole: Path) -> None:
    model = whole / "reward" / "model"
    sentence = command.fails(model=model)
    assert sentence.startswith(f"{model}: is a reward model") and "a causal language model is needed" in sentence


def test_a_tokenizer_without_padding_or_end_token_is_completed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = make_base(tmp_path / "gpt2", plain=True), tmp_path / "run"
    assert main(run, arguments(out, model, "--only", "prompts")) == 0
    tokenizer, policy = load_tokenizer(out / "base" / "model"), load_policy(out / "base" / "model")
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert policy.get_input_embeddings().weight.shape[0] >= len(tokenizer)


def test_prompts_over_the_context(command: Command) -> None:
    sentence = command.fails(changes={"data.max_prompt_tokens": "110"})
    assert sentence.startswith("Prompts of 110 tokens, ") and "but " + str(command.base) + " has 128: " in sentence
    assert sentence.endswith("lower data.max_prompt_tokens or data.max_response_tokens.")


def test_pretraining_rows_over_the_context(command: Command) -> None:
    sentence = command.fails(changes={"ppo_ptx.ptx_length": "129"})
    assert sentence == f"ppo_ptx.ptx_length is 129 tokens, but {command.base} has 128 positions: lower it."


def test_prompts_that_are_all_too_long_are_counted_and_named(command: Command, own: dict[str, Path], tmp_path: Path) -> None:
    rows = [row | {"prompt": row["prompt"] * 30} for row in read_jsonl(own["prompts"])]
    sentence = command.fails(*user_files(own, prompts=write_lines(tmp_path / "long.jsonl", rows)))
    assert sentence.startswith("After cleaning no prompt is left for ") and "data.max_prompt_tokens" in sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ppo.betta": "0.1"}, 'unknown setting "ppo.betta"; the nearest one is "ppo.beta".'),
        ({"ppo.beta": "much"}, 'setting "ppo.beta": expected a number, found the text "much"'),
        ({"sft.batch_size": "-1"}, 'setting "sft.batch_size": -1 is out of range; use a number of 1 or more.'),
        ({"device": "tpu"}, 'setting "device": "tpu" is unknown; use auto or cpu or cuda or mps.'),
    ],
)
def test_settings_that_cannot_be(command: Command, changes: dict[str, str], sentence: str) -> None:
    assert sentence in command.fails(changes=changes)
    assert not command.out.exists()


def test_a_profile_and_a_stage_that_do_not_exist(command: Command) -> None:
    assert 'Unknown profile "tyni": use ' in command.fails("--profile", "tyni")
    assert command.fails("--only", "ppo,rward").startswith('There is no stage "rward": use one of base, prompts, ')


@pytest.mark.parametrize(
    ("stage", "setting"), [("sft", "sft.learning_rate"), ("reward", "reward.learning_rate"), ("ppo", "ppo.learning_rate")]
)
def test_a_loss_that_is_no_number(
    whole: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str, setting: str
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "run"))
    before = results(whole)
    sentence = Command(base, out, capsys).fails("--only", stage, changes={setting: "1e9"})
    assert sentence.startswith(f"{stage}: the ") and " at step " in sentence and "lower the learning rate" in sentence
    assert not read_json(out / stage / "stage.json")["finished"]
    after = results(out)
    assert not [name for name in before if not name.startswith(f"{stage}/") and after[name] != before[name]]
    assert main(run, arguments(out, base, "--only", stage, changes=CHANGES)) == 0, "with the right setting it runs again"


def test_a_full_disk(whole: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a disk of 512 kB a run stops with one sentence; given space, the same command ends in the same weights."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount")
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], check=False).returncode:
        pytest.skip("a small disk can only be made by root")
    try:
        out, stages = disk / "run", ("--only", "prompts,labelers,demonstrations,sft")
        sentence = Command(base, out, capsys).fails(*stages)
        assert sentence.startswith(f"The disk is full: {out}/sft/") and sentence.endswith("run the same command again.")
        for name in ("prompts", "labelers", "demonstrations"):
            assert read_json(out / name / "stage.json")["finished"]
        assert read_jsonl(out / "demonstrations" / "train.jsonl") == read_jsonl(whole / "demonstrations" / "train.jsonl")
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        assert main(run, arguments(out, base, *stages, changes=CHANGES)) == 0
        ours, theirs = (load_file(x / "sft" / "epoch_02" / "model.safetensors") for x in (out, whole))
        assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
