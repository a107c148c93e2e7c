"""Talk to policies in the terminal: each line is a prompt, each policy answers, and a reward model scores each answer.

scripts/chat.py                                                     the PPO-ptx policy that the lessons use
scripts/chat.py --run runs/x                                        base, SFT, PPO and PPO-ptx of a run, with its rewards
scripts/chat.py runs/x/sft_select/model runs/x/ppo/model --reward-model runs/x/reward/model
printf 'Name three birds.\\n' | scripts/chat.py DIR                  answers each line, then stops
scripts/chat.py data/models/small --profile tiny                    a base model, with the settings of a profile

In a terminal, answers appear while they are sampled. Prompts are formatted as in the run that made the policy. With
--turns each prompt contains the conversation so far as a transcript ("Human: ... Assistant: ..."), which models trained on
dialogues expect. An empty line does nothing; Ctrl-D (end of input) stops the script.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.runtime import locate
from utils.pipeline import open_run
from utils.publish.chat import Answer, check_settings, open_chat

DEFAULT = "data/lessons/ppo_ptx/model"


def run(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    chat = open_chat(
        open_run(locate(args.run)) if args.run else args.policies or [DEFAULT],
        reward_model=args.reward_model, profile=args.profile, max_tokens=args.max_tokens, seed=args.seed, keep_turns=args.turns,
    )  # fmt: skip
    line = Line(named=len(chat.speakers) > 1)
    for message in lines():
        for answer in chat.ask(message, args.temperature, line.grow if args.stream else None):
            line.end(answer)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", nargs="*", metavar="DIR", help=f"policies (default: {DEFAULT})")
    parser.add_argument("--run", metavar="DIR", help="the policies and the reward model of a finished run")
    parser.add_argument("--reward-model", metavar="DIR", help="print the reward of this model after each answer")
    parser.add_argument("--profile", help="settings for a model that no run made (default: those of its run)")
    parser.add_argument("--temperature", type=float, default=1.0, help="0 takes the most likely token (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, help="longest answer (default: the run's)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random numbers (default: %(default)s)")
    parser.add_argument("--turns", action="store_true", help="keep the conversation as a transcript")
    parser.add_argument(
        "--stream", action=argparse.BooleanOptionalAction, default=sys.stdout.isatty(),
        help="print answers while they are sampled (default: only in a terminal)",
    )  # fmt: skip
    args = parser.parse_args(arguments)
    check_settings(args.temperature, args.max_tokens)
    if args.run and (args.policies or args.profile):
        raise UserError("--run names policies and settings already: leave out DIR and --profile.")
    return args


def lines() -> Iterator[str]:
    """The user's prompts, typed or piped in, one per line; empty lines are ignored."""
    if sys.stdin is None:
        raise UserError("There is no standard input: type prompts in a terminal, or pipe them in, one per line.")
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    while True:
        try:
            message = input("> ").strip()
        except EOFError:
            print()
            return
        if message:
            yield message


@dataclass
class Line:
    """The answer that is being printed. named: print the policy's name before each answer. printed: the text so far."""

    named: bool
    printed: str = ""

    def grow(self, name: str, text: str) -> None:
        """Print the part of the answer that is new."""
        whole = self._label(name) + safe(text)
        if text and whole.startswith(self.printed):
            print(whole[len(self.printed) :], end="", flush=True)
            self.printed = whole

    def end(self, answer: Answer) -> None:
        """Print the rest of an answer and the remarks on it."""
        label, note = self._label(answer.name), answer.note()
        whole = label + safe(answer.said) + (f"   [{note}]" if note else "")
        if answer.problem or not whole.startswith(self.printed):  # some tokenizers change earlier text when more bytes follow
            print(end="\n" if self.printed else "")
            self.printed = ""
        if answer.problem:
            print(label + answer.problem, file=sys.stderr, flush=True)
        else:
            print(whole[len(self.printed) :], flush=True)
        self.printed = ""

    def _label(self, name: str) -> str:
        return f"{name}: " if self.named else ""


def safe(text: str) -> str:
    """Text for the terminal: characters that could move the cursor or change colours become blanks."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


if __name__ == "__main__":
    sys.exit(main(run))
