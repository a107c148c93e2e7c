"""How a notebook shows things: the check at its start, figures with alternative text, tables, quiet training.

Nothing here computes a result. Output is plain: images with alternative text and escaped HTML, no script. Only `text_box` and
`chat_box` use widgets, and both also work without.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from markupsafe import escape
from matplotlib.figure import Figure
from packaging.requirements import Requirement

from utils.config import PPOConfig, shortened
from utils.core.errors import UserError
from utils.core.runtime import ROOT, device_reason, ensure_package, locate, versions
from utils.report.figures import TokenRow, alt_text, in_order, policy_label, token_strips
from utils.report.tables import Table

if TYPE_CHECKING:
    from ipywidgets import HTML
    from transformers import PreTrainedTokenizerBase

    from utils.core.io import PathLike
    from utils.data.schemas import Prompt
    from utils.evaluation.policies import Judged
    from utils.pipeline.run import Run
    from utils.publish.chat import Answer, Chat

SHOWN_VERSIONS = ("python", "torch", "transformers", "numpy")
WIDTH_DPI = 110
PLAIN = "white-space:pre-wrap;line-height:1.4;overflow-wrap:anywhere"  # how a model's text is shown in a widget


def fast() -> bool:
    """True if the environment says FAST=1: the same notebook on a small part of the data, for tests."""
    return os.environ.get("FAST", "") not in ("", "0")


def run_folder(name: str) -> Path:
    """Where a notebook writes: runs/<name>, with FAST=1 runs/<name>_fast; the environment variable RUNS replaces `runs`."""
    return Path(os.environ.get("RUNS", "runs")) / (f"{name}_fast" if fast() else name)


FAST_PPO: dict[str, Any] = {
    "rounds": 4, "episodes_per_round": 32, "minibatch_size": 16, "value_warmup_rounds": 1, "value_warmup_epochs": 1,
    "eval_every_rounds": 2, "eval_prompts": 16,
}  # fmt: skip


def short_ppo(cfg: PPOConfig, rounds: int, **changes: Any) -> PPOConfig:
    """`config.shortened` settings for a lesson's own PPO run; with FAST=1 seconds of it."""
    return shortened(cfg, **({"rounds": rounds} | changes | (FAST_PPO if fast() else {})))


def fast_settings() -> dict[str, Any]:
    """Settings that shrink any run of the tiny world to seconds if FAST=1, else none."""
    if not fast():
        return {}
    settings: dict[str, Any] = {
        "web_documents": 200, "data.n_sft": 96, "data.n_rm": 48, "data.n_ppo": 64, "data.n_valid": 32, "data.n_test": 60,
        "labelers.n_candidates": 50, "sft.epochs": 2, "sft.checkpoints": [1, 2], "init.epochs": 1,
        "init.checkpoints": [1], "reward.cv_groups": 1, "evaluation.best_of": [1, 2], "evaluation.best_of_prompts": 16,
        "evaluation.web_documents": 20, "largest_model": None,
    }  # fmt: skip
    return settings | {f"{stage}.{name}": value for stage in ("ppo", "ppo_ptx") for name, value in FAST_PPO.items()}


def start() -> None:
    """Check that `utils` is this project's and that all packages have fitting versions; print device and versions.

    Raises UserError that names what is missing and the command that installs it. Nothing is installed.
    """
    ensure_package()
    problems = missing_packages(_required())
    if problems:
        raise UserError(
            f"This notebook needs {', '.join(problems)}: run %pip install {' '.join(repr(p) for p in problems)} and "
            "restart the kernel."
        )
    found = versions()
    print(device_reason())
    print(", ".join(f"{name} {found[name]}" for name in SHOWN_VERSIONS))


def _required() -> list[str]:
    """The project's requirements as pyproject.toml lists them."""
    with (ROOT / "pyproject.toml").open("rb") as handle:
        return tomllib.load(handle)["project"]["dependencies"]


def missing_packages(requirements: Sequence[str]) -> list[str]:
    """Those requirements ("torch>=2.6") that are not installed, or in another version."""
    missing = []
    for line in requirements:
        wanted = Requirement(line)
        try:
            fits = wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)
        except metadata.PackageNotFoundError:
            fits = False
        if not fits:
            missing.append(line)
    return missing


# --- training without noise ----------------------------------------------------------------------------------------


class _Screen:
    """The line of progress that is on the screen now, and the real stdout and stderr behind it."""

    def __init__(self, out: TextIO, error: TextIO) -> None:
        self.out, self.error, self.width = out, error, 0

    def progress(self, line: str) -> None:
        """Replace the line of progress by a new one."""
        self.out.write("\r" + line.ljust(self.width))
        self.out.flush()
        self.width = max(self.width, len(line))

    def wipe(self) -> None:
        """Clear the line of progress, so that other text can take its place."""
        if self.width:
            self.out.write("\r" + " " * self.width + "\r")
            self.out.flush()
        self.width = 0


class _Out(io.TextIOBase):
    """stdout inside `quiet`."""

    def __init__(self, screen: _Screen) -> None:
        self.screen = screen

    def write(self, text: str) -> int:
        self.screen.wipe()
        return self.screen.out.write(text)

    def flush(self) -> None:
        self.screen.out.flush()


class _Error(io.TextIOBase):
    """stderr inside `quiet`: lines of `runtime.progress` become the line of progress, everything else is passed on."""

    def __init__(self, screen: _Screen) -> None:
        self.screen = screen

    def write(self, text: str) -> int:
        line = text.rstrip("\n")
        if line.endswith(" s left"):
            self.screen.progress(line)
        elif line or not self.screen.width:  # the end of a line arrives as a separate text
            self.screen.error.write(text)
        return len(text)

    def flush(self) -> None:
        self.screen.error.flush()


@contextmanager
def quiet() -> Iterator[None]:
    """Inside the block progress is one line on stdout that is cleared at the end; warnings and errors still show."""
    screen = _Screen(sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = _Out(screen), _Error(screen)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = screen.out, screen.error
        screen.wipe()


# --- what is asked -------------------------------------------------------------------------------------------------


@dataclass
class Typed:
    """What `text_box` gives where no widget can be shown: the text typed in the cell."""

    value: str


def text_box(text: str, label: str = "") -> Any:
    """A box to write in, filled with `text`; `.value` is its text. After a change, run the cell that reads it again.

    Without ipywidgets, outside a notebook, or with WIDGETS=0 in the environment (used when notebooks are built, so that they
    hold no widget state) the value is the text itself: edit it in the cell.
    """
    if not shows_widgets():
        return Typed(text)
    from IPython.display import display
    from ipywidgets import Layout, Textarea

    box = Textarea(value=text, description=label, layout=Layout(width="95%", height="5em"))
    display(box)
    return box


def chat_box(
    models: Run | PathLike | Sequence[PathLike],
    prompts: Sequence[str] = (),
    *,
    temperature: float = 1.0,
    max_tokens: int | None = None,
    **named: Any,
) -> None:
    """Talk to several policies side by side: their answers to `prompts` as a table, then a box that sends your own.

    models: a finished run or its folder (its base, SFT, PPO and PPO-ptx answer, its reward model scores), or a list of
    folders of policies. temperature: for `prompts`, and the start of the box's slider. named: the other arguments of
    `utils.publish.open_chat` (reward_model, profile, seed, keep_turns). The table is plain and stays in a saved notebook; the
    box is shown where `text_box` shows one. Raises UserError for a model that is not there.
    """
    from utils.pipeline.run import open_run
    from utils.publish.chat import check_settings, open_chat  # imported here, so that `start` can first report missing packages

    check_settings(temperature, max_tokens)
    found = open_run(locate(models)) if isinstance(models, str | os.PathLike) else models
    chat = open_chat(found, max_tokens=max_tokens, **named)
    if prompts:
        table([{"prompt": prompt} | {a.name: _said(a) for a in chat.ask(prompt, temperature)} for prompt in prompts])
    if shows_widgets():
        from IPython.display import display

        display(_ChatBox(chat, temperature).box)


def _said(answer: Answer) -> str:
    """An answer with what is to be said about it."""
    return answer.problem or "\n".join(part for part in (answer.said, answer.note()) if part)


class _ChatBox:
    """The box of `chat_box`. box: prompt, temperature, button, and the conversation with the newest answers on top."""

    def __init__(self, chat: Chat, temperature: float) -> None:
        from ipywidgets import HTML, Button, FloatSlider, HBox, Layout, Textarea, VBox

        self.chat = chat
        self.message = Textarea(placeholder="Write a prompt", layout=Layout(width="95%", height="5em"))
        highest = max(2.0, temperature)
        self.temperature = FloatSlider(
            value=temperature, min=0, max=highest, step=0.1, description="temperature", style={"description_width": "initial"}
        )
        self.send = Button(description="Send", button_style="primary")
        self.problem, self.conversation = HTML(), VBox()
        self.send.on_click(self.answer)
        self.box = VBox([self.message, HBox([self.temperature, self.send]), self.problem, self.conversation])

    def answer(self, _: object = None) -> None:
        """Send the text of the box; each policy's column fills while it is sampled."""
        from utils.publish.chat import check_message

        message = self.message.value
        self.send.disabled, self.problem.value = True, ""
        try:
            check_message(message)
            columns = self._columns(message)
            for said in self.chat.ask(message, self.temperature.value, lambda name, text: _fill(columns[name], text)):
                _fill(columns[said.name], said.problem or said.said, said.note())
        except UserError as error:
            self.problem.value = escape(error)
        finally:
            self.send.disabled = False

    def _columns(self, message: str) -> dict[str, Any]:
        """A new exchange on top of the conversation: the message, and under it an empty column per policy."""
        from ipywidgets import HTML, HBox, Layout, VBox

        columns = {name: HTML(layout=Layout(flex="1 1 0", margin="0 1em 0 2px")) for name in self.chat.names}
        heads = [HTML(f"<b>{escape(name)}</b>", layout=column.layout) for name, column in columns.items()]
        asked = HTML(f'<div style="{PLAIN}"><b>{escape(message)}</b></div>')
        exchange = VBox([asked, HBox(heads), HBox(list(columns.values()))], layout=Layout(border_top="1px solid lightgrey"))
        self.conversation.children = (exchange, *self.conversation.children)
        return columns


def _fill(column: HTML, text: str, note: str = "") -> None:
    """Show a text, and a note about it, in a column."""
    column.value = f'<div style="{PLAIN}">{escape(text)}</div><i>{escape(note)}</i>'


def shows_widgets() -> bool:
    """Whether a widget is wanted and can be shown."""
    return os.environ.get("WIDGETS") != "0" and _has_widgets()


def _has_widgets() -> bool:
    """Whether this is a notebook's kernel and ipywidgets is there."""
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None and find_spec("ipywidgets") is not None


# --- what is shown -------------------------------------------------------------------------------------------------


def picture(figure: Figure) -> None:
    """Show a figure of utils.report.figures as an image with its alternative text."""
    from IPython.display import display

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=WIDTH_DPI)
    text = alt_text(figure)
    data = {"image/png": base64.b64encode(buffer.getvalue()).decode(), "text/plain": text}
    display(data, raw=True, metadata={"image/png": {"alt": text}})


def table(rows: Sequence[Mapping[str, Any]], caption: str = "", digits: int = 3) -> None:
    """Show rows as a table. All text is escaped; numbers are right-aligned, floats with `digits` decimals."""
    from IPython.display import display

    text = "\n".join(" | ".join(str(value) for value in row.values()) for row in rows)
    display({"text/html": html_table(rows, caption, digits), "text/plain": text}, raw=True)


def token_view(rows: Sequence[TokenRow], label: str, span: float | None = None) -> None:
    """Show answers token by token on a common scale of colours (`report.figures.token_strips`): log-probs, KL, advantages."""
    from IPython.display import display

    lines = (f"{r.name}: " + " ".join(f"{t}[{v:.2f}]" for t, v in zip(r.tokens, r.values, strict=True)) for r in rows)
    display({"text/html": token_strips(rows, label, span), "text/plain": f"{label}\n" + "\n".join(lines)}, raw=True)


def html_table(rows: Sequence[Mapping[str, Any]], caption: str = "", digits: int = 3) -> str:
    """The HTML of `table`. Raises UserError if there is no row."""
    if not rows:
        raise UserError("table: there are no rows to show; run the stage that writes them.")
    return str(Table.of(rows, caption, digits).notebook_html())


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text of each token; special tokens by name."""
    return [str(tokenizer.decode([i], clean_up_tokenization_spaces=False)) for i in ids]


def compared(prompts: Sequence[Prompt], answers: Mapping[str, Judged]) -> list[dict[str, str]]:
    """Rows for `table`: the answers of several models to the same prompts, with their gold points (`side_by_side`)."""
    from utils.pipeline.evaluation_stages import sample_rows  # imported here, so that `start` can first report missing packages

    rows = sample_rows(list(prompts), {name: {"": found} for name, found in answers.items()}, {"": 1.0})
    return side_by_side(rows, list(answers), 1.0)


def side_by_side(rows: Sequence[Mapping[str, Any]], policies: Sequence[str], temperature: float) -> list[dict[str, str]]:
    """Rows for `table`: the answers of several policies to the same prompts, with their gold points.

    rows: of evaluate/samples.jsonl. temperature: of the answers shown (0: greedy).
    """
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["policy"] in policies and float(row["temperature"]) == temperature:
            cut = "" if row["finished"] else " [cut off]"
            line = found.setdefault(row["prompt_id"], {"prompt": row["prompt"]})
            line[row["policy"]] = f"{row['completion']}{cut} ({row['gold']:.1f})"
    names = in_order(policies)
    return [{"prompt": line["prompt"]} | {policy_label(p): line.get(p, "") for p in names} for line in found.values()]
