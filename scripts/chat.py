"""Talk to policies in the terminal: each line is a prompt, each policy answers, a reward model says what it thinks.

scripts/chat.py                                                     the PPO-ptx policy that the lessons use
scripts/chat.py runs/x/sft_select/model runs/x/ppo/model --reward-model runs/x/reward/model
printf 'Name three birds.\\n' | scripts/chat.py DIR                  answers each line and ends
scripts/chat.py data/models/small --profile tiny                    a base model, with the settings of a profile

Prompts are written as the run that made the policy wrote them. With --turns the conversation so far goes along as a
transcript ("Human: ... Assistant: ..."), which models trained on dialogues expect. An empty line does nothing; the end of
the input (Ctrl-D) ends.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import _bootstrap  # noqa: F401  (first: makes `utils` ours)
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.cli import main
from utils.config import load_config
from utils.data.schemas import Prompt
from utils.errors import UserError
from utils.models import context_length, load_reward, load_tokenizer, model_directory
from utils.pipeline.training_stages import score_responses
from utils.runtime import choose_device, locate
from utils.sampling import Response, Sampler
from utils.stages import settings_of

DEFAULT = "data/lessons/ppo_ptx/model"
Turn = tuple[str, str]


def run(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    speakers = [load(name, args) for name in args.policies]
    judge = None
    if args.reward_model:
        place = model_directory(locate(args.reward_model))
        judge = (load_reward(place, next(speakers[0].sampler.model.parameters()).device), load_tokenizer(place))
    for number, message in enumerate(lines()):
        for speaker in speakers:
            try:
                print(speaker.reply(message, number, args, judge), flush=True)
            except UserError as error:  # of this one line, such as a prompt that is too long
                print(f"{speaker.label}{error}", file=sys.stderr, flush=True)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", nargs="*", default=[DEFAULT], metavar="DIR", help=f"policies (default: {DEFAULT})")
    parser.add_argument("--reward-model", metavar="DIR", help="print its reward beside each answer")
    parser.add_argument("--profile", help="settings for a model that no run has made (default: those of its run)")
    parser.add_argument("--temperature", type=float, default=1.0, help="0 takes the likeliest token (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, help="longest answer (default: the run's)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: %(default)s)")
    parser.add_argument("--turns", action="store_true", help="keep the conversation, as a transcript")
    args = parser.parse_args(arguments)
    if args.temperature < 0 or (args.max_tokens is not None and args.max_tokens < 1):
        raise UserError("--temperature must be 0 or more and --max-tokens 1 or more.")
    return args


def lines() -> Iterator[str]:
    """Prompts of the user: typed, or piped in a line each; empty ones are left out."""
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
class Speaker:
    """One policy and, with --turns, its conversation so far. label: what stands before its answers."""

    sampler: Sampler
    label: str
    turns: list[Turn] = field(default_factory=list)

    def reply(
        self,
        message: str,
        number: int,
        args: argparse.Namespace,
        judge: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None,
    ) -> str:
        """The answer to a message as it is printed. Its random numbers belong to the message's number."""
        prompt = self.prompt(message) if args.turns else message
        names = [f"chat/{number}"]
        response = self.sampler([prompt], seed=args.seed, names=names, temperature=args.temperature)[0]
        if args.turns:
            self.turns.append((message, response.text))
        notes = [] if response.ended else [f"cut off at {self.sampler.data.max_response_tokens} tokens"]
        if judge is not None:
            reward = score_responses(*judge, [Prompt("chat", prompt)], [response], self.sampler.data)[0]
            notes.insert(0, f"reward {reward:.2f}")
        return f"{self.label}{shown(response)}" + (f"   [{', '.join(notes)}]" if notes else "")

    def prompt(self, message: str) -> str:
        """The transcript that now waits for an answer, without the oldest turns if the model's context is too small."""
        context = context_length(self.sampler.model)
        while True:
            text = "".join(f"\n\nHuman: {asked}\n\nAssistant: {said}" for asked, said in self.turns)
            text += f"\n\nHuman: {message}\n\nAssistant:"
            room = context is None or len(self.sampler.encode(text)) + self.sampler.data.max_response_tokens <= context
            if room or not self.turns:
                return text
            del self.turns[0]


def load(name: str, args: argparse.Namespace) -> Speaker:
    """A policy with the data settings of the run that made it, or of --profile."""
    place = model_directory(locate(name))
    config = load_config(args.profile) if args.profile else settings_of(place)
    data = replace(config.data, max_response_tokens=args.max_tokens) if args.max_tokens else config.data
    label = "" if len(args.policies) == 1 else f"{label_of(place)}: "
    return Speaker(Sampler.load(place, data, device=choose_device(config.device)), label)


def label_of(place: Path) -> str:
    """The name of a model's folder; of a run's `ppo/model`, the stage."""
    return place.parent.name if place.name == "model" else place.name


def shown(response: Response) -> str:
    """An answer for the terminal: what could move its cursor or change its colours becomes a blank."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in response.text) or "(nothing)"


if __name__ == "__main__":
    sys.exit(main(run))
