"""Labeling inside a notebook: one ranking for a lesson, or the tasks of a store, as widgets or as plain cells.

Only core ipywidgets (7.7 and 8). The store is the one of the web pages: a task that was begun there goes on here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from utils.core.errors import UserError
from utils.labeling.labelers import FLAGS, TOPICS
from utils.labeling.web.catalogue import words_of
from utils.labeling.web.text import shown
from utils.lessons.notebook import PLAIN, shows_widgets, table

if TYPE_CHECKING:
    from ipywidgets import Widget

    from utils.labeling.store import Store, Task

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
WIDE = {"description_width": "initial"}


@dataclass
class Ranks:
    """The ranks of K answers, 1 is best, equal ranks tie."""

    ranks: list[int]


def rank_box(prompt: str, answers: Sequence[str], ranks: Sequence[int]) -> Ranks:
    """K answers to one prompt, each with a choice of its rank; `.ranks` holds what is chosen. After a change, run the cell
    that reads it again.

    ranks: where the choice starts. Without widgets (see `text_box`) they are the result: change them in the cell. Raises
    UserError if they are not K whole numbers from 1 to K.
    """
    found = Ranks(_checked(ranks, len(answers)))
    if not shows_widgets():
        rows = [{"answer": name, "rank": rank, "text": text} for name, rank, text in zip(LETTERS, ranks, answers, strict=False)]
        table(rows, prompt)
        return found
    from IPython.display import display
    from ipywidgets import VBox

    board = _Choices(answers, found.ranks)

    def changed() -> None:
        found.ranks = [rank or len(answers) for rank in board.ranks()]

    board.on_change(changed)
    display(VBox([_text(prompt, bold=True), board.box]))
    return found


def _checked(ranks: Sequence[int], k: int) -> list[int]:
    if len(ranks) != k or not all(isinstance(rank, int) and 1 <= rank <= k for rank in ranks):
        raise UserError(f"ranks: {list(ranks)} does not rank {k} answers, give each a whole number from 1 to {k}.")
    return list(ranks)


def label_box(store: Store, labeler_id: int) -> LabelBox:
    """The tasks of a labeler, one after the other, on the same store as the web pages. `.done` counts what was sent.

    Without widgets the task is printed, and `box.submit({...})` sends an answer in the form of
    `utils.labeling.store.forms`.
    """
    box = LabelBox(store, labeler_id)
    if shows_widgets():
        from IPython.display import display

        display(box.widget())
    else:
        box.show()
    return box


class LabelBox:
    """One labeler's tasks in a notebook. task: the one on the screen, None if there is none. done: how many were sent."""

    def __init__(self, store: Store, labeler_id: int) -> None:
        from utils.labeling.store import next_task

        self.store, self.labeler_id, self.done = store, labeler_id, 0
        self._next = next_task
        self._form: _Form | None = None
        self._take()

    def _take(self) -> None:
        """The next task, with a key for its submission and the time at which it was shown."""
        self.task: Task | None = self._next(self.store, self.labeler_id)
        self._key, self._since = secrets.token_urlsafe(16), time.monotonic()
        self._version = self.task.draft_version if self.task else 0

    def show(self) -> None:
        """Print the task and how it is answered."""
        task = self.task
        words = words_of("en")
        if task is None:
            print(words("home.none_left"))
            return
        print(f"{words('kind.' + task.kind)} ({words('phase.' + task.phase)}). {words('phase_rule.' + task.phase)}")
        rows = [{"output": name, "text": one.text} for name, one in zip(LETTERS, task.outputs, strict=False)]
        table(rows or [{"task": words("kind_text." + task.kind)}], task.prompt)
        print(f"box.submit({example_answer(task)})   # your own values; box.skip('reason') leaves it out")

    def submit(self, answer: Mapping[str, Any]) -> None:
        """Send an answer and take the next task. Raises UserError (InvalidAnswer) and keeps the task if it is not complete."""
        from utils.labeling.store import submit

        if self.task is None:
            raise UserError("There is no task to answer.")
        seconds = time.monotonic() - self._since
        submit(self.store, self.labeler_id, self.task.token, answer, key=self._key, seconds=seconds)
        self.done += 1
        self._go_on()

    def skip(self, reason: str) -> None:
        """Leave this task out and take the next one."""
        from utils.labeling.store import skip

        if self.task is not None:
            skip(self.store, self.labeler_id, self.task.token, reason)
        self._go_on()

    def _go_on(self) -> None:
        self._take()
        if self._form is None:
            self.show()
        else:
            self._fill()

    # --- as a widget ---------------------------------------------------------------------------------------------------

    def widget(self) -> Widget:
        """The box of widgets: the task, Submit and Skip, and a line for what is to be said."""
        from ipywidgets import HTML, Button, Dropdown, HBox, VBox

        words = words_of("en")
        reasons = words.part("work.skip_reasons")
        self._message, self._place = HTML(), VBox()
        send = Button(description=words("work.submit"), button_style="primary")
        leave = Button(description=words("work.skip"))
        why = Dropdown(options=[(text, code) for code, text in reasons.items()], description="", style=WIDE)
        send.on_click(lambda _: self._try(lambda: self.submit(self._form.answer() if self._form else {})))
        leave.on_click(lambda _: self._try(lambda: self.skip(why.value)))
        self._fill()
        return VBox([self._place, self._message, HBox([send, leave, why])])

    def _fill(self) -> None:
        """Show the form of the task."""
        words = words_of("en")
        if self.task is None:
            self._place.children = (_text(words("home.none_left")),)
            return
        self._form = _Form(self.task, self._keep)
        self._place.children = self._form.parts

    def _try(self, act: Any) -> None:
        """Do something; an error is a sentence under the form, and what is typed stays."""
        self._message.value = ""
        try:
            act()
            self._message.value = f"<i>{self.done} sent</i>"
        except UserError as error:
            self._message.value = f"<b>{escape(error)}</b>"

    def _keep(self) -> None:
        """Save the draft; another window's newer draft is said, not overwritten."""
        from utils.labeling.store import save_draft

        if self.task is None or self._form is None:
            return
        try:
            draft = self._form.answer()
            self._version = save_draft(self.store, self.labeler_id, self.task.token, draft, self._version)
        except UserError as error:
            self._message.value = f"<b>{escape(error)}</b>"


def example_answer(task: Task) -> dict[str, Any]:
    """The form of an answer to a task, with values that only show the form."""
    k = len(task.outputs)
    found: dict[str, Any] = {}
    if task.kind == "demonstration":
        found["text"] = "..."
    if task.kind == "topics":
        found["topics"] = [TOPICS[0]]
    if task.kind == "flagging":
        found["sensitive"] = [False] * k
    if task.kind == "ranking":
        found["ranks"] = list(range(1, k + 1))
    if task.rate:
        found |= {"ratings": [4] * k, "flags": [{"satisfies_constraint": True}] * k}
    return found


class _Form:
    """The widgets of one task. parts: what is shown. keep: called after every change, for the draft."""

    def __init__(self, task: Task, keep: Any) -> None:
        from ipywidgets import Layout, SelectMultiple, Text, Textarea

        words = words_of("en")
        start: Mapping[str, Any] = task.draft or task.submitted or {}
        self.task = task
        rule = f"{words('kind.' + task.kind)}. {words('phase_rule.' + task.phase)}"
        self.parts: tuple[Widget, ...] = (_text(rule), _text(task.prompt, bold=True))
        self.box = Textarea(value=start.get("text", ""), layout=Layout(width="95%", height="9em"))
        self.topics = SelectMultiple(
            options=TOPICS, value=[t for t in start.get("topics", ()) if t in TOPICS], rows=len(TOPICS)
        )
        self.notes = Text(value=start.get("notes", ""), description=words("work.notes"), style=WIDE, layout=Layout(width="95%"))
        self.ratings = [_Rating(i, start) for i in range(len(task.outputs))] if task.rate else []
        self.sensitive = self._sensitive(start) if task.kind == "flagging" else []
        texts = [one.text for one in task.outputs]
        self.choices = _Choices(texts, start.get("ranks") or ()) if task.kind == "ranking" else None
        self._arrange(texts)
        inputs = [self.box, self.topics, self.notes, *self.sensitive, *(w for one in self.ratings for w in one.inputs)]
        for widget in inputs:
            widget.observe(lambda _: keep(), names="value")
        if self.choices:
            self.choices.on_change(keep)

    def _sensitive(self, start: Mapping[str, Any]) -> list[Any]:
        from ipywidgets import Dropdown

        words, before = words_of("en"), start.get("sensitive") or ()
        options = [("–", None), (words("app.yes"), True), (words("app.no"), False)]
        return [
            Dropdown(
                options=options, value=before[i] if i < len(before) else None, description=f"{LETTERS[i % 26]}", style=WIDE
            )
            for i in range(len(self.task.outputs))
        ]

    def _arrange(self, texts: Sequence[str]) -> None:
        """The widgets in the order of the paper: rate each output, then rank all."""
        from ipywidgets import VBox

        if self.task.kind == "demonstration":
            self.parts += (self.box,)
        if self.task.kind == "topics":
            self.parts += (self.topics,)
        for i, text in enumerate(texts):
            inputs = self.ratings[i].inputs if self.ratings else self.sensitive[i : i + 1]
            if inputs:
                self.parts += (VBox([_text(f"{LETTERS[i % 26]}. {text}"), *inputs]),)
        if self.choices:
            self.parts += (self.choices.box,)
        self.parts += (self.notes,)

    def answer(self) -> dict[str, Any]:
        """The answer as `utils.labeling.store.forms` has it; None where nothing is chosen yet."""
        found: dict[str, Any] = {}
        if self.task.kind == "demonstration":
            found["text"] = self.box.value
        if self.task.kind == "topics":
            found["topics"] = list(self.topics.value)
        if self.ratings:
            found["ratings"] = [one.quality.value for one in self.ratings]
            found["flags"] = [{name: name in one.flags.value for name in FLAGS} for one in self.ratings]
        if self.sensitive:
            found["sensitive"] = [one.value for one in self.sensitive]
        if self.choices:
            found["ranks"] = self.choices.ranks()
        return found | ({"notes": self.notes.value} if self.notes.value else {})


class _Rating:
    """Overall quality and the fields of Table 3 of one output; a field that is not selected is a no."""

    def __init__(self, i: int, start: Mapping[str, Any]) -> None:
        from ipywidgets import Dropdown, Layout, SelectMultiple

        words = words_of("en")
        quality, flags = start.get("ratings") or (), start.get("flags") or ()
        options = [("–", None), *((str(n), n) for n in range(1, 8))]
        value = quality[i] if i < len(quality) else None
        self.quality = Dropdown(options=options, value=value, description=f"{words('rating.overall')} (7 = best)", style=WIDE)
        raised = [name for name, yes in flags[i].items() if yes and name in FLAGS] if i < len(flags) else []
        labels = [(words(f"rating.field.{name}"), name) for name in FLAGS]
        self.flags = SelectMultiple(
            options=labels, value=raised, rows=len(FLAGS), description=words("app.yes"), style=WIDE, layout=Layout(width="95%")
        )
        self.inputs = [self.quality, self.flags]


class _Choices:
    """K answers with a choice of rank each; answers of one rank are tied. box: what is shown."""

    def __init__(self, texts: Sequence[str], ranks: Sequence[int | None]) -> None:
        from ipywidgets import Dropdown, HBox, Layout, VBox

        words = words_of("en")
        options = [("–", None), *((str(n), n) for n in range(1, len(texts) + 1))]
        self.inputs = [
            Dropdown(
                options=options,
                value=ranks[i] if i < len(ranks) else None,
                description=LETTERS[i % 26],
                style=WIDE,
                layout=Layout(width="7em", flex="none"),
            )
            for i in range(len(texts))
        ]
        rows = [HBox([choice, _text(text)]) for choice, text in zip(self.inputs, texts, strict=True)]
        self.box = VBox([_text(words("ranking.help_notebook")), *rows])

    def ranks(self) -> list[int | None]:
        """The rank chosen for each answer; None: not chosen yet."""
        return [choice.value for choice in self.inputs]

    def on_change(self, act: Any) -> None:
        """Call `act` after every change."""
        for choice in self.inputs:
            choice.observe(lambda _: act(), names="value")


def _text(text: str, bold: bool = False) -> Widget:
    """A text of a model or of ours, escaped."""
    from ipywidgets import HTML

    inside = Markup("<b>{}</b>").format(shown(text)) if bold else shown(text)
    return HTML(Markup('<div style="{}">{}</div>').format(PLAIN, inside))
