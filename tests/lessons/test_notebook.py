"""What notebooks use to show things."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from transformers import PreTrainedTokenizerBase

from utils.config import load_config
from utils.core.errors import UserError
from utils.core.runtime import ROOT, progress
from utils.data.schemas import Prompt
from utils.evaluation.policies import Judged
from utils.lessons.notebook import (
    chat_box,
    compared,
    fast_settings,
    html_table,
    missing_packages,
    picture,
    quiet,
    run_folder,
    short_ppo,
    side_by_side,
    start,
    table,
    text_box,
    token_texts,
    token_view,
)
from utils.lessons.shipped_run import shipped
from utils.publish.chat import Answer, Chat, open_chat
from utils.report.figures import TokenRow, pipeline_map
from utils.sampling.sampler import Response
from utils.worlds import known_world

LESSON = ROOT / "data" / "lessons"


def test_start_prints_device_and_versions(capsys: pytest.CaptureFixture[str]) -> None:
    start()
    device, found = capsys.readouterr().out.splitlines()
    assert device.startswith("device ") and "torch" in found


def test_missing_packages_are_those_absent_or_too_old() -> None:
    wanted = ["numpy>=1.0", "numpy>=999", "no-such-package-here>=1"]
    assert missing_packages(wanted) == ["numpy>=999", "no-such-package-here>=1"]


def test_start_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.lessons.notebook._required", lambda: ["numpy>=999"])
    with pytest.raises(UserError, match=r"needs numpy>=999: run %pip install 'numpy>=999' and restart"):
        start()


def test_quiet_shows_progress_on_one_line_and_wipes_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.core.runtime.PLAIN_PROGRESS_SECONDS", 0.0)
    with quiet():
        for _ in progress(range(3), total=3, label="sft"):
            pass
        print("sft: finished")
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.count("/3, ") == 3
    before, after = shown.out.rsplit("\r", 1)
    assert after == "sft: finished\n" and before.endswith("  ")


def test_quiet_lets_warnings_pass_and_gives_streams_back(capsys: pytest.CaptureFixture[str]) -> None:
    out, error = sys.stdout, sys.stderr
    with pytest.raises(ValueError), quiet():
        print("trouble", file=sys.stderr)
        raise ValueError
    assert (sys.stdout, sys.stderr) == (out, error)
    assert capsys.readouterr().err == "trouble\n"


def test_table_escapes_and_aligns() -> None:
    text = html_table([{"a": "<b>x</b>", "n": 0.12345}, {"a": None, "n": 2}], "c & d", digits=2)
    assert "&lt;b&gt;x&lt;/b&gt;" in text and "<b>" not in text and "c &amp; d" in text
    assert "0.12" in text and text.count("text-align:right") == 3
    with pytest.raises(UserError, match="no rows"):
        html_table([])


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), min_size=1), min_size=1, max_size=4))
def test_no_text_becomes_markup(rows: list[dict[str, str]]) -> None:
    text = html_table(rows)
    assert {tag.strip("</").split()[0].split(">")[0] for tag in text.split("<")[1:]} <= {
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }


def test_picture_and_table_carry_text_for_those_who_do_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[dict[str, Any], dict[str, Any]]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw, metadata=None: shown.append((data, metadata or {})))
    picture(pipeline_map())
    table([{"a": 1}])
    assert (
        shown[0][1]["image/png"]["alt"].startswith("Map of the pipeline")
        and shown[0][0]["text/plain"] == shown[0][1]["image/png"]["alt"]
    )
    assert "<table>" in shown[1][0]["text/html"] and shown[1][0]["text/plain"] == "1"


def test_side_by_side_puts_policies_in_order_and_filters_temperature() -> None:
    row = {"prompt_id": "1", "prompt": "Hi", "temperature": 1.0, "completion": "x", "finished": True, "gold": 3.0}
    rows = [
        {**row, "policy": "ppo"},
        {**row, "policy": "base", "finished": False},
        {**row, "policy": "ppo", "temperature": 0.0, "completion": "y"},
    ]
    assert side_by_side(rows, ["ppo", "base"], 1.0) == [{"prompt": "Hi", "base": "x [cut off] (3.0)", "PPO": "x (3.0)"}]


def test_compared_shows_the_same_prompts_with_gold() -> None:
    prompts = [Prompt("p1", "List two birds.", meta={"task": "list", "kind": "birds", "n": 2})]
    answers = {
        n: Judged([Response(n, True)], [(1.0, 1.0, 1.0, 1.0, 1.0, v)], known_world("tiny").rubric)
        for n, v in (("sft", 1.0), ("base", 0.0))
    }
    assert compared(prompts, answers) == [{"prompt": "List two birds.", "base": "base (8.0)", "SFT": "sft (10.0)"}]


def test_fast_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAST", raising=False)
    assert fast_settings() == {} and run_folder("n") == Path("runs/n")
    monkeypatch.setenv("FAST", "1")
    monkeypatch.setenv("RUNS", "elsewhere")
    assert load_config("tiny", fast_settings()).ppo.rounds < load_config("tiny").ppo.rounds
    assert run_folder("n") == Path("elsewhere/n_fast")


def test_short_runs_are_short_and_in_tests_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = load_config("tiny").ppo
    monkeypatch.delenv("FAST", raising=False)
    found = short_ppo(cfg, 20, beta=0.0)
    assert (found.rounds, found.beta, found.clip) == (20, 0.0, cfg.clip) and found.learning_rate > cfg.learning_rate
    monkeypatch.setenv("FAST", "1")
    assert short_ppo(cfg, 20, beta=0.0).rounds < 20 and short_ppo(cfg, 20, beta=0.0).beta == 0.0


def test_token_view_has_a_text_for_those_who_see_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    token_view([TokenRow("PPO", ["A", " bat"], [0.5, -1.0])], "log-prob (nats)")
    assert shown[0]["text/plain"] == "log-prob (nats)\nPPO: A[0.50]  bat[-1.00]" and "<span" in shown[0]["text/html"]


def test_text_box_without_widgets_is_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert text_box("A bat.").value == "A bat."
    monkeypatch.setattr("utils.lessons.notebook._has_widgets", lambda: True)
    monkeypatch.setenv("WIDGETS", "0")
    assert text_box("A bat.").value == "A bat."


def test_text_box_in_a_kernel_is_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    widgets = pytest.importorskip("ipywidgets")
    shown: list[Any] = []
    monkeypatch.delenv("WIDGETS", raising=False)
    monkeypatch.setattr("utils.lessons.notebook._has_widgets", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    box = text_box("A bat.", "answer")
    assert shown == [box] and isinstance(box, widgets.Textarea) and box.value == "A bat."
    box.value = "A hen."
    assert box.value == "A hen."


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is displayed in a kernel that has widgets."""
    found: list[Any] = []
    monkeypatch.delenv("WIDGETS", raising=False)
    monkeypatch.setattr("utils.lessons.notebook._has_widgets", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, **_: found.append(data))
    return found


def texts(widget: Any) -> list[str]:
    """The HTML in a widget and in those within it, from top to bottom."""
    inner = [text for child in getattr(widget, "children", ()) for text in texts(child)]
    return inner or ([widget.value] if type(widget).__name__ == "HTML" else [])


def test_chat_box_without_widgets_is_a_table_of_answers(monkeypatch: pytest.MonkeyPatch, shown: list[Any]) -> None:
    monkeypatch.setenv("WIDGETS", "0")
    chat_box(shipped(), ["Name <b>three</b> birds."], temperature=0)
    (data,) = shown
    answers = list(open_chat(shipped()).ask("Name <b>three</b> birds.", 0))
    assert re.findall("<th [^>]*>(.*?)</th>", data["text/html"]) == ["prompt", "base", "SFT", "PPO", "PPO-ptx"]
    cells = re.findall("<td [^>]*>(.*?)</td>", data["text/html"], re.S)
    assert cells == ["Name &lt;b&gt;three&lt;/b&gt; birds.", *(escape(f"{a.text}\nreward {a.reward:.2f}") for a in answers)]


def test_chat_box_answers_when_its_button_is_clicked(shown: list[Any]) -> None:
    pytest.importorskip("ipywidgets")
    chat_box(LESSON, temperature=0.5, max_tokens=8)
    (box,) = shown
    message, (temperature, send), problem, conversation = box.children[0], box.children[1].children, *box.children[2:]
    assert temperature.value == 0.5
    message.value = "Name three birds."
    send.click()
    message.value, temperature.value = "What is a <bat>?", 0
    send.click()
    talk = open_chat(shipped(), max_tokens=8)
    first, second = list(talk.ask("Name three birds.", 0.5)), list(talk.ask("What is a <bat>?", 0))
    newest, oldest = (texts(exchange) for exchange in conversation.children)
    assert "What is a &lt;bat&gt;?" in newest[0] and "Name three birds." in oldest[0] and problem.value == ""
    for found, answers in ((newest, second), (oldest, first)):
        assert [re.sub("<.*?>", "", text) for text in found[1:5]] == ["base", "SFT", "PPO", "PPO-ptx"]
        assert [re.sub("<.*?>", "", text) for text in found[5:]] == [escape(a.text + a.note()) for a in answers]
    assert not send.disabled


def test_chat_box_fills_its_columns_while_they_are_sampled(shown: list[Any]) -> None:
    pytest.importorskip("ipywidgets")
    chat_box([LESSON / "ppo" / "model"], temperature=0)
    (box,) = shown
    box.children[0].value = "What is a bat?"
    seen: list[str] = []
    box.children[3].observe(lambda _: box.children[3].children[0].children[2].children[0].observe(
        lambda change: seen.append(change["new"]), "value"), "children")  # fmt: skip
    box.children[1].children[1].click()
    grown = [re.sub("<.*?>", "", text) for text in seen]
    assert len(grown) > 3 and all(later.startswith(text) for text, later in zip(grown, grown[1:], strict=False))


def test_chat_box_escapes_what_models_say(monkeypatch: pytest.MonkeyPatch, shown: list[Any]) -> None:
    pytest.importorskip("ipywidgets")

    def ask(self: Chat, message: str, temperature: float, on_text: Any = None) -> Iterator[Answer]:
        if on_text is not None:
            on_text(self.names[0], "<script>half")
        yield Answer(self.names[0], "<script>alert(1)</script>")

    monkeypatch.setattr(Chat, "ask", ask)
    chat_box([LESSON / "ppo" / "model"], ["Hi."])
    table_data, box = shown
    box.children[0].value = "Hi."
    box.children[1].children[1].click()
    for text in (table_data["text/html"], *texts(box.children[3])):
        assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in texts(box.children[3])[-1]


def test_chat_box_says_what_cannot_be_answered(shown: list[Any]) -> None:
    pytest.importorskip("ipywidgets")
    with pytest.raises(UserError, match="no such model directory"):
        chat_box(["nowhere/at/all"])
    with pytest.raises(UserError, match="temperature must be 0 or more"):
        chat_box(shipped(), temperature=-1)
    with pytest.raises(UserError, match="holds no run"):
        chat_box("nowhere/at/all")
    chat_box([LESSON / "ppo" / "model"])
    (box,) = shown
    send, problem, conversation = box.children[1].children[1], *box.children[2:]
    send.click()
    assert problem.value.startswith("The prompt is empty") and conversation.children == () and not send.disabled
    box.children[0].value = "What is a bat? " * 60
    send.click()
    assert problem.value == "" and "exceed the model&#39;s context of 128" in texts(conversation)[-1]


def test_token_texts_are_what_the_tokens_say(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = token_texts(tokenizer, [*tokenizer("a dog")["input_ids"], tokenizer.eos_token_id])
    assert "".join(texts) == "a dog<|end|>" and texts[-1] == "<|end|>"
