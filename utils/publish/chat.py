"""A conversation with several policies at once, with the reward of each answer.

`open_chat` loads the models of a finished run or of folders, `Chat.ask` asks them. scripts/chat.py shows the answers in the
terminal, `utils.lessons.notebook.chat_box` in a notebook.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PreTrainedModel

from utils.config import Config, DataConfig, load_config
from utils.core.errors import UserError
from utils.core.io import PathLike
from utils.core.runtime import choose_device, locate
from utils.data.encoding import encode_prompt
from utils.models.directories import model_directory
from utils.models.loading import context_length
from utils.pipeline.run import Run, settings_of
from utils.publish.model_cards import REWARD
from utils.report.figures import policy_label
from utils.reward.scoring import RewardModel
from utils.sampling.sampler import Sampler

Turn = tuple[str, str]
OnText = Callable[[str, str], None]  # called as on_text(name of the speaker, its answer so far)


@dataclass(frozen=True)
class Answer:
    """What one policy says to a message.

    reward: None without a reward model. cut_at: the length limit in tokens if the answer reached it, else None. problem: why
    there is no answer (a prompt that is too long), else empty. judged_from: how many of the prompt's last tokens the reward
    model read, if the prompt has more than it reads; else None.
    """

    name: str
    text: str = ""
    reward: float | None = None
    cut_at: int | None = None
    problem: str = ""
    judged_from: int | None = None

    @property
    def said(self) -> str:
        """The text, or that there is none."""
        return self.text or "(nothing)"

    def note(self) -> str:
        """Remarks about the answer, such as "reward 1.20, cut off at 32 tokens"; empty if there are none."""
        notes = [] if self.reward is None else [f"reward {self.reward:.2f}"]
        if self.judged_from is not None:
            notes.append(f"the reward model read only the last {self.judged_from} tokens of the prompt")
        return ", ".join(notes + ([f"cut off at {self.cut_at} tokens"] if self.cut_at else []))


@dataclass
class Speaker:
    """One policy and, if the chat keeps turns, its conversation so far."""

    name: str
    sampler: Sampler
    turns: list[Turn] = field(default_factory=list)

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


@dataclass
class Chat:
    """Policies that answer the same messages. asked: messages so far; each has its own random numbers, the same for all
    policies. keep_turns: each prompt includes the conversation so far, as a transcript ("Human: ... Assistant: ...")."""

    speakers: list[Speaker]
    judge: RewardModel | None = None
    seed: int = 1
    keep_turns: bool = False
    asked: int = 0

    @property
    def names(self) -> list[str]:
        """Names of the policies, all different, in the order in which they answer."""
        return [speaker.name for speaker in self.speakers]

    def ask(self, message: str, temperature: float = 1.0, on_text: OnText | None = None) -> Iterator[Answer]:
        """The answer of each policy, one after the other. temperature 0 takes the most likely token.

        on_text: is called with every answer while it is sampled, and does not change it. If a policy cannot answer (the
        prompt is too long for it), its answer holds the problem. Raises UserError if the message is empty.
        """
        check_message(message)
        number, self.asked = self.asked, self.asked + 1
        for speaker in self.speakers:
            try:
                answer = self._answer(speaker, message.strip(), f"chat/{number}", temperature, on_text)
            except UserError as error:
                answer = Answer(speaker.name, problem=str(error))
            yield answer

    def _answer(self, speaker: Speaker, message: str, stream: str, temperature: float, on_text: OnText | None) -> Answer:
        """What one policy says. stream: of its random numbers."""
        prompt = speaker.prompt(message) if self.keep_turns else message
        sampler, data = speaker.sampler, speaker.sampler.data
        _check_length("model", sampler.model, sampler.encode(prompt), data)
        judge = replace(self.judge, data=data) if self.judge is not None else None
        judged_from = None
        if judge is not None:
            read = encode_prompt(judge.tokenizer, prompt, data)
            _check_length("reward model", judge.model, read, data)
            # The policy reads the whole prompt. The reward model reads no more of it than in training.
            judged_from = data.max_prompt_tokens if len(read) > data.max_prompt_tokens else None
        response = sampler.stream(
            prompt, lambda text: on_text(speaker.name, text) if on_text else None,
            seed=self.seed, name=stream, temperature=temperature,
        )  # fmt: skip
        if self.keep_turns:
            speaker.turns.append((message, response.text))
        reward = judge.score_responses([prompt], [response])[0] if judge is not None else None
        cut_at = None if response.finished else data.max_response_tokens
        return Answer(speaker.name, response.text, reward, cut_at, judged_from=judged_from)


def _check_length(what: str, model: PreTrainedModel, prompt: Sequence[int], data: DataConfig) -> None:
    """Raise UserError if the prompt's ids and the longest answer do not fit into a model's context."""
    context = context_length(model)
    if context is not None and len(prompt) + data.max_response_tokens > context:
        raise UserError(
            f"The prompt's {len(prompt)} tokens and {data.max_response_tokens} for the answer exceed the {what}'s context of "
            f"{context}: write a shorter prompt or ask for shorter answers."
        )


def open_chat(
    models: Run | Sequence[PathLike],
    *,
    reward_model: PathLike | None = None,
    profile: str | None = None,
    max_tokens: int | None = None,
    seed: int = 1,
    keep_turns: bool = False,
) -> Chat:
    """Load the policies and the reward model; all are in memory at once.

    models: a finished run (its base, SFT, PPO and PPO-ptx policies, as far as it has them, and its reward model), or
    folders and hub names of policies. Prompts are written as the run that made the policy wrote them; profile: the
    settings for policies that no run has made. reward_model: instead of the run's; for folders there is none by
    default. max_tokens: longest answer (default: the run's). Raises UserError for a model that is not there.
    """
    if isinstance(models, Run):
        folders = labelled_policies(models)
        reward_model = reward_model or (models.model_dir(REWARD) if models.has_model(REWARD) else None)
        settings = [models.config] * len(folders)
    else:
        folders = named_folders(models)
        settings = [load_config(profile) if profile else settings_of(place) for place in folders.values()]
    parts = zip(folders.items(), settings, strict=True)
    speakers = [Speaker(name, sampler_of(place, config, max_tokens)) for (name, place), config in parts]
    judge = None
    if reward_model is not None:
        place = model_directory(locate(reward_model))
        judge = RewardModel.load(place, settings[0].data, device=choose_device(settings[0].device))
    return Chat(speakers, judge, seed, keep_turns)


def labelled_policies(run: Run) -> dict[str, Path]:
    """Folders of the policies of a run by the names in figures and tables."""
    return {policy_label(name): place for name, place in run.policy_dirs().items()}


def named_folders(models: Sequence[PathLike]) -> dict[str, Path]:
    """Local folders of models by their names: the stage of a run's `ppo/model`; the path as given if two are equal."""
    if not models:
        raise UserError("There is no model: give the folder of at least one policy.")
    places = [model_directory(locate(model)) for model in models]
    short = [_short_name(model) for model in models]
    count = Counter(short)
    return {name if count[name] == 1 else str(m): p for name, m, p in zip(short, models, places, strict=True)}


def _short_name(model: PathLike) -> str:
    place = locate(model)
    if not place.is_dir():  # a hub name
        return str(model)
    place = place.resolve()
    return place.parent.name if place.name == "model" else place.name


def sampler_of(place: Path, config: Config, max_tokens: int | None = None) -> Sampler:
    """The policy in a folder, asked as `config` says; max_tokens: longest answer instead of the settings'."""
    data = replace(config.data, max_response_tokens=max_tokens) if max_tokens else config.data
    return Sampler.load(place, data, device=choose_device(config.device))


def check_message(message: str) -> None:
    """Raise UserError if there is nothing to answer."""
    if not message.strip():
        raise UserError("The prompt is empty: write a message.")


def check_settings(temperature: float, max_tokens: int | None) -> None:
    """Raise UserError if a value is out of range."""
    if not 0 <= temperature < math.inf or (max_tokens is not None and max_tokens < 1):
        raise UserError("The temperature must be 0 or more and the longest answer at least 1 token.")
