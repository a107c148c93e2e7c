"""The numbers of a run in named sections; summary.json holds the same numbers under flat keys such as `gold.ppo.mean`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.core.errors import UserError
from utils.core.io import read_json, write_json

# Names of older runs -> current names: of sections, and of whole keys.
RENAMED = {"web_loss": "pretraining_loss", "ended": "finished"}
RENAMED_KEYS = {
    f"reward_model.cv_{old}{end}": f"reward_model.cv_{new}{end}"
    for old, new in (("inside", "training"), ("outside", "heldout"))
    for end in ("", "_se")
}
HELD_OUT = "held-out simulated labelers"  # who judged the win rates of older runs, which do not say it
_VERSUS, _GREEDY = "_vs_", "_greedy"


def number(row: Mapping[Any, Any], key: Any) -> float | None:
    """`row[key]` as a finite float; None if it is absent, not a number, infinite or NaN."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        return None
    return float(value)


class Pair(NamedTuple):
    """Two policies compared on the same prompts; greedy: on greedy answers instead of sampled ones."""

    a: str
    b: str
    greedy: bool = False

    def __str__(self) -> str:
        """As written in a flat key, such as `ppo_vs_sft` or `ppo_vs_sft_greedy`."""
        return f"{self.a}{_VERSUS}{self.b}{_GREEDY if self.greedy else ''}"

    @classmethod
    def parse(cls, text: str) -> Pair | None:
        """The pair that `text` names, None if it names none."""
        a, sign, b = text.partition(_VERSUS)
        return cls(a, b.removesuffix(_GREEDY), b.endswith(_GREEDY)) if sign else None


class WinRate(NamedTuple):
    """Share of prompts on which judges prefer a to b (ties count half), its interval (NaN if absent) and the prompts."""

    a: str
    b: str
    mean: float
    low: float
    high: float
    n: int


class Section(dict[Any, Any]):
    """Numbers by name, or by policy or pair and name."""

    def number(self, *names: Any) -> float | None:
        """The number at `names`, such as ("ppo", "mean"); None if the run has none."""
        found: Mapping[Any, Any] = self
        for name in names[:-1]:
            found = found.get(name) or {}
        return number(found, names[-1])

    def present(self, *names: str) -> list[Any]:
        """Policies or pairs (or plain names) with a number at `names` below them, in the order of the section."""
        return [key for key in self if self.number(key, *names) is not None]


def _section(depth: int = 1, pairs: bool = False) -> Any:
    """A field of `Summary`. depth: names below the section; pairs: the first of them is a `Pair`."""
    return field(default_factory=Section, metadata={"depth": depth, "pairs": pairs})


@dataclass
class Summary:
    """What a run measured. A section is empty if the run did not measure it (no gold score on your own prompts, ...)."""

    about: Section = field(default_factory=Section)  # profile, seed, machine, versions: keys without a section
    data: Section = _section()  # comparisons: name of your own rankings, if given
    seconds: Section = _section()  # by stage, and total
    memory: Section = _section(2)  # stage -> peak, used, planned (bytes of the largest process; see planning.memory)
    labelers: Section = _section()  # agreement (shares in [0, 1]), candidates, hired (counts)
    reward_model: Section = _section()  # accuracies (shares), calibration error, mean reward of demonstrations
    gold: Section = _section(2)  # policy -> mean, se, greedy_mean, greedy_se (points)
    finished: Section = _section()  # policy -> share of answers that end by themselves
    words: Section = _section()  # policy -> mean words per answer
    parts: Section = _section(2)  # policy -> part of the rubric (0 to 1), also with _greedy
    truth: Section = _section(2)  # policy -> shares true, misconception, idk, other, also with _greedy; n
    kl: Section = _section()  # policy -> KL to PPO's start (nats per answer)
    pretraining_loss: Section = _section()  # policy -> loss on held-out pretraining text (nats per token)
    facts: Section = _section()  # policy -> accuracy on closed-book facts (share)
    reward: Section = _section(2)  # policy -> mean, se of the reward model's score, where no gold score exists
    gold_gain: Section = _section(2, pairs=True)  # pair -> mean, se of the paired difference (points)
    gold_wins: Section = _section(pairs=True)  # pair -> share of decided prompts that a wins under gold
    gold_ties: Section = _section(pairs=True)  # pair -> share of prompts that tie under gold
    winrate: Section = _section(2, pairs=True)  # pair -> mean, low, high, n, decided
    likert: Section = _section(2)  # policy -> mean, low, high, n of the ratings from 1 to 7
    metadata: Section = _section(2)  # policy -> field of Table 3 (share of its outputs), also with _low, _high, _n
    judges: Section = _section()  # winrate, likert: whose opinion they are (text)
    other: Section = field(default_factory=Section)  # flat keys that belong to no section

    @classmethod
    def of(cls, values: Summary | Mapping[str, Any]) -> Summary:
        """A summary as it is, or one read from flat keys. Keys of older runs get their current names (see `RENAMED`)."""
        if isinstance(values, Summary):
            return values
        found = cls()
        for key, value in values.items():
            found._put(key, value)
        return found

    def _put(self, key: str, value: Any) -> None:
        """Store one flat key in its section; a key that fits none is kept in `other`."""
        key = RENAMED_KEYS.get(key, key)
        first, *names = key.split(".")
        first = RENAMED.get(first, first)
        if not names:
            self.about[first] = value
            return
        section = _SECTIONS.get(first)
        head = Pair.parse(names[0]) if section and section["pairs"] else names[0]
        if section is None or len(names) != section["depth"] or head is None:
            self.other[key] = value
            return
        place = getattr(self, first)
        if section["depth"] == 1:
            place[head] = value
        else:
            place.setdefault(head, Section())[names[1]] = value

    def flat(self) -> dict[str, Any]:
        """The flat keys of summary.json."""
        keys: dict[str, Any] = dict(self.about)
        for name, section in _SECTIONS.items():
            for head, value in getattr(self, name).items():
                if section["depth"] == 1:
                    keys[f"{name}.{head}"] = value
                else:
                    keys |= {f"{name}.{head}.{inner}": number for inner, number in value.items()}
        return keys | self.other

    def add(self, more: Summary) -> None:
        """Take over every number of another summary."""
        for place in fields(self):
            mine, theirs = getattr(self, place.name), getattr(more, place.name)
            for head, value in theirs.items():
                mine[head] = Section({**mine.get(head, {}), **value}) if isinstance(value, Section) else value

    @classmethod
    def load(cls, path: Path | str) -> Summary:
        """Read summary.json (or evaluation.json), also of an older run. Raises UserError if it is broken."""
        values = read_json(path)
        if not isinstance(values, dict):
            raise UserError(f"{path}: expected a JSON object with keys such as gold.ppo.mean; run scripts/evaluate.py again.")
        return cls.of(values)

    def save(self, path: Path | str) -> None:
        """Write the flat keys as JSON, atomically."""
        write_json(path, self.flat())

    @property
    def whose(self) -> str:
        """Whose opinion the win rates are."""
        return str(self.judges.get("winrate", HELD_OUT))

    def win_rates(self) -> list[WinRate]:
        """Every pair whose win rate was measured, in the order of the summary."""
        found = []
        for pair in self.winrate.present("mean"):
            low, mean, high = (self.winrate.number(pair, name) for name in ("low", "mean", "high"))
            ends = (math.nan if low is None else low, math.nan if high is None else high)
            n = self.winrate.number(pair, "n")
            found.append(WinRate(pair.a, pair.b, math.nan if mean is None else mean, *ends, int(n or 0)))
        return found


_SECTIONS: dict[str, Any] = {place.name: place.metadata for place in fields(Summary) if place.metadata}
