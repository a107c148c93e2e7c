"""scripts/chat.py: what is typed or piped in is asked as the run asked, and answered."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from test_scripts import load_script

from utils.cli import main
from utils.data.schemas import Prompt
from utils.lessons import shipped
from utils.models import load_reward, load_tokenizer
from utils.pipeline.training_stages import score_responses
from utils.runtime import ROOT
from utils.sampling import Response, Sampler

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
    prompts = [Prompt("p", text) for text in ASKED]
    rewards = score_responses(load_reward(REWARD), load_tokenizer(REWARD), prompts, responses, data)
    assert all(r.ended for r in responses)
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


def test_turns_go_along_until_the_context_is_full(chat: ModuleType) -> None:
    speaker = chat.Speaker(Sampler.load(POLICY, shipped().config.data), "")
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


def test_answers_cannot_command_the_terminal(chat: ModuleType) -> None:
    assert (
        chat.shown(Response("a\x1b[31mred\rb\nc", True)) == "a [31mred b\nc" and chat.shown(Response("", True)) == "(nothing)"
    )


def test_typed_lines_end_with_the_input(chat: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("Name a bird.\n\nAnd a fish.\n"))
    assert list(chat.lines()) == ["Name a bird.", "And a fish."]


def test_the_command_of_the_readme_works_in_a_pipe(tmp_path: Path) -> None:
    given = b"Name three birds.\n" + b"What is \xff a bat?\n"
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "chat.py")], input=given, capture_output=True, cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) >= 2 and not re.search(rb"Traceback|Error", done.stderr)
