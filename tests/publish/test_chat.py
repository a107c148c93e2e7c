"""What is typed or piped into the chat is asked as the run asked, and answered, streamed or at once."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from test_scripts import load_script

from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.runtime import ROOT
from utils.data.encoding import encode_text
from utils.lessons.shipped_run import shipped
from utils.models.loading import load_reward, save_model
from utils.models.tokenizers import load_tokenizer
from utils.pipeline.run import Run
from utils.publish.chat import Answer, Speaker, open_chat
from utils.reward.scoring import RewardModel
from utils.sampling import rollout
from utils.sampling.sampler import UNDECODED, Sampler

LESSON = ROOT / "data" / "lessons"
POLICY, SFT, REWARD = (str(LESSON / stage / "model") for stage in ("ppo_ptx", "sft_select", "reward"))
ASKED = ["Name three birds.", "What is a bat?"]


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_script("chat", monkeypatch)


def piped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_each_piped_line_is_answered_as_the_run_asks_with_its_reward(
    chat: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(monkeypatch, f"{ASKED[0]}\n\n  {ASKED[1]}")
    assert main(chat.run, [POLICY, "--reward-model", REWARD, "--seed", "5"]) == 0
    data = shipped().config.data
    responses = Sampler.load(POLICY, data)(ASKED, seed=5, names=["chat/0", "chat/1"])
    rewards = RewardModel.load(REWARD, data).score_responses(ASKED, responses)
    assert all(r.finished for r in responses)
    said = [f"{r.text}   [reward {x:.2f}]" for r, x in zip(responses, rewards, strict=True)]
    assert capsys.readouterr().out.splitlines() == said


def test_several_policies_answer_under_their_names_and_cut_answers_say_so(
    chat: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(monkeypatch, ASKED[0])
    main(chat.run, [SFT, POLICY, "--temperature", "0", "--max-tokens", "2"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("sft_select: ") and second.startswith("ppo_ptx: ")
    assert first.endswith("   [cut off at 2 tokens]") and second.endswith("   [cut off at 2 tokens]")


def test_turns_go_along_until_the_context_is_full() -> None:
    speaker = Speaker("", Sampler.load(POLICY, shipped().config.data))
    speaker.turns = [("What is a bat?", "A mammal.")]
    assert speaker.prompt("And an owl?") == (
        "\n\nHuman: What is a bat?\n\nAssistant: A mammal.\n\nHuman: And an owl?\n\nAssistant:"
    )
    speaker.turns = [(f"What is a bat, number {i}?", "A mammal that flies at night.") for i in range(9)]
    text = speaker.prompt("And an owl?")
    assert 0 < len(speaker.turns) < 9 and "number 8" in text and "number 0" not in text
    assert len(speaker.sampler.encode(text)) + 32 <= 128


def test_a_line_that_is_too_long_stops_nothing(
    chat: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(monkeypatch, f"{'What is a bat? ' * 60}\n{ASKED[1]}\n")
    assert main(chat.run, [POLICY]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1 and "exceed the model's context of 128" in shown.err


def test_a_base_model_needs_a_profile(
    chat: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = str(ROOT / "data" / "models" / "mini")
    piped(monkeypatch, ASKED[0])
    assert main(chat.run, [base]) == 2 and "name a --profile" in capsys.readouterr().err
    assert main(chat.run, [base, "--profile", "tiny"]) == 0 and capsys.readouterr().out.strip()
    assert main(chat.run, ["nowhere/at/all"]) == 2


@pytest.mark.parametrize("temperature", ["0", "1"])
def test_streamed_answers_are_the_same_text(
    chat: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], temperature: str
) -> None:
    shown = {}
    for stream in ("--stream", "--no-stream"):
        piped(monkeypatch, f"{ASKED[0]}\n{'What is a bat? ' * 60}\n{ASKED[1]}\n")
        assert main(chat.run, ["--run", str(LESSON), "--temperature", temperature, stream]) == 0
        shown[stream] = capsys.readouterr()
    assert shown["--stream"] == shown["--no-stream"]
    names = [line.split(":")[0] for line in shown["--stream"].out.splitlines()]
    assert names == ["base", "SFT", "PPO", "PPO-ptx"] * 2 and shown["--stream"].out.count("reward") == 8


def test_a_terminal_gets_answers_as_they_grow_and_a_pipe_does_not(chat: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    assert chat.parse([]).stream and not chat.parse(["--no-stream"]).stream
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert not chat.parse([]).stream and chat.parse(["--stream"]).stream


def test_what_was_printed_grows_token_by_token(chat: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *words, end="\n", **_: printed.append("".join(words) + end))
    line = chat.Line(named=True)
    for text in ("", "A", "A bat", "A bat"):
        line.grow("PPO", text)
    line.end(Answer("PPO", "A bat.", reward=1.0))
    assert printed == ["PPO: A", " bat", "", ".   [reward 1.00]\n"]


def test_a_line_that_cannot_be_taken_back_is_written_again(chat: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    line = chat.Line(named=False)
    line.grow("PPO", "A bat")
    line.grow("PPO", "A cat")
    line.end(Answer("PPO", "A cat."))
    assert capsys.readouterr().out == "A bat\nA cat.\n"
    line.grow("PPO", "A")
    line.end(Answer("PPO", problem="Too long."))
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("A\n", "Too long.\n")


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_no_half_character_is_streamed(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    """Each byte of these characters is a token of its own; with `cut` the answer ends inside of one."""
    sampler = Sampler.load(POLICY, shipped().config.data)
    ids = encode_text(sampler.tokenizer, " \u00e9 \u20ac \N{BAT}")
    ids = [*ids[: len(ids) - cut], sampler.tokenizer.eos_token_id]
    steps = iter(ids)
    monkeypatch.setattr(rollout, "sample_tokens", lambda *_: (torch.tensor([next(steps)]), torch.zeros(1)))
    heard: list[str] = []
    whole = sampler.stream("Hi.", heard.append, seed=1, name="x")
    assert whole.finished and whole.text.startswith("\u00e9 \u20ac") and (whole.text.endswith("\N{BAT}") or cut)
    assert len(heard) == len(ids) > len(whole.text) and all(UNDECODED not in text for text in heard)
    assert all(whole.text.startswith(text) for text in heard)
    assert heard[-1].strip() == whole.text.rstrip(UNDECODED).strip()


def test_sampling_tells_its_steps_under_the_numbers_of_the_prompts() -> None:
    sampler = Sampler.load(POLICY, shipped().config.data)
    prompts = [sampler.encode(text) for text in (ASKED[0] * 3, "Hi.", ASKED[1])]
    heard: dict[int, list[int]] = {0: [], 1: [], 2: []}

    def hear(rows: torch.Tensor, tokens: torch.Tensor) -> None:
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            heard[row].append(token)

    uniforms = rollout.episode_uniforms([1, 2, 3], 32)
    how = rollout.Decoding(32, stop_ids=[0, 2], pad_id=1, batch_size=2)
    made = rollout.sample(sampler.model, prompts, uniforms, how, on_tokens=hear)
    assert list(heard.values()) == made.responses()


def test_a_run_gives_the_models_it_has_and_folders_their_names(tmp_path: Path) -> None:
    lesson = shipped()
    part = Run(tmp_path / "run", lesson.config)
    (tmp_path / "run" / "ppo").mkdir(parents=True)
    (tmp_path / "run" / "ppo" / "model").symlink_to(lesson.model_dir("ppo"))
    found = open_chat(part)
    assert found.names == ["base", "PPO"] and found.judge is None
    assert [answer.reward for answer in found.ask("Hi.")] == [None, None]
    other = tmp_path / "run" / "ppo" / "model"
    assert open_chat([LESSON / "ppo" / "model", SFT], max_tokens=3).names == ["ppo", "sft_select"]
    assert open_chat([str(other), POLICY, f"{LESSON}/ppo/model"], profile="tiny").names == [
        str(other), "ppo_ptx", f"{LESSON}/ppo/model"
    ]  # fmt: skip


def test_one_sentence_says_what_cannot_be_asked() -> None:
    with pytest.raises(UserError, match="no such model directory"):
        open_chat(["nowhere/at/all"])
    with pytest.raises(UserError, match="There is no model"):
        open_chat([])
    talk = open_chat([POLICY])
    with pytest.raises(UserError, match="The prompt is empty"):
        list(talk.ask(" \n"))
    assert talk.asked == 0
    (answer,) = talk.ask("What is a bat? " * 60)
    assert "exceed the model's context of 128" in answer.problem and answer.text == ""


def test_a_reward_model_with_a_smaller_context_says_so(tmp_path: Path) -> None:
    judge = load_reward(REWARD)
    judge.config.n_positions = judge.config.max_position_embeddings = 40
    judge.transformer.wpe.weight = torch.nn.Parameter(judge.transformer.wpe.weight[:40].detach().clone())
    save_model(judge, load_tokenizer(REWARD), tmp_path)
    assert [a.problem for a in open_chat([POLICY], reward_model=tmp_path, max_tokens=9).ask("What is a bat?")] == [""]
    (answer,) = open_chat([POLICY], reward_model=tmp_path).ask("What is a bat? What is a hen?")
    assert "exceed the reward model's context of 40" in answer.problem


def test_an_answer_says_that_the_reward_model_read_a_part_of_the_prompt(
    chat: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The policy reads a prompt over `data.max_prompt_tokens` as a whole, the reward model only its end."""
    data, message = shipped().config.data, "What is a bat? " * 12
    assert data.max_prompt_tokens < len(Sampler.load(POLICY, data).encode(message.strip())) <= 128 - 9
    said = f"the reward model read only the last {data.max_prompt_tokens} tokens of the prompt"
    piped(monkeypatch, f"{message}\n{ASKED[0]}\n")
    assert main(chat.run, [POLICY, "--reward-model", REWARD, "--max-tokens", "9"]) == 0
    long, short = capsys.readouterr().out.splitlines()
    assert said in long and "reward" in long and said not in short
    (answer,) = open_chat([POLICY], max_tokens=9).ask(message)
    assert answer.judged_from is None, "there is no reward model"


def test_arguments_that_cannot_be_are_refused(chat: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    for given, sentence in (
        (["--temperature", "-1"], "temperature must be 0 or more"),
        (["--temperature", "nan"], "temperature must be 0 or more"), (["--max-tokens", "0"], "at least 1 token"),
        (["--run", str(LESSON), POLICY], "leave out DIR and --profile"), (["--run", "nowhere"], "holds no run"),
    ):  # fmt: skip
        assert main(chat.run, given) == 2 and sentence in capsys.readouterr().err


def test_answers_cannot_command_the_terminal(chat: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert chat.safe("a\x1b[31mred\rb\nc") == "a [31mred b\nc"
    line = chat.Line(named=False)
    line.grow("PPO", "a\x1b[31m")
    line.end(Answer("PPO", "a\x1b[31m"))
    line.end(Answer("PPO"))
    assert capsys.readouterr().out == "a [31m\n(nothing)\n"


def test_typed_lines_end_with_the_input(chat: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("Name a bird.\n\nAnd a fish.\n"))
    assert list(chat.lines()) == ["Name a bird.", "And a fish."]


def test_a_closed_input_is_one_sentence(chat: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="no standard input: type prompts in a terminal, or pipe them in"):
        next(chat.lines())


def test_the_command_of_the_readme_works_in_a_pipe(tmp_path: Path) -> None:
    given = b"Name three birds.\n" + b"What is \xff a bat?\n"
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "chat.py")], input=given, capture_output=True, cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) >= 2 and not re.search(rb"Traceback|Error", done.stderr)
