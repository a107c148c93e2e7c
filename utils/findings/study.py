"""A study: a question, a prediction written before the run, the settings of its runs, the metric, the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from utils.config import Config, config_to_dict, load_config
from utils.core.errors import UserError

SEEDS = (1, 2, 3, 4, 5)
PROFILE = "tiny"


@dataclass(frozen=True)
class Arm:
    """The runs of one setting, one per seed.

    changes: settings by dotted name in which it differs from its control, or a control from what is common to the study.
    control: name of the arm from which it differs in one variable; None for a control. keep: stages that are taken from the
    control's runs although their inputs differ, so that the variable acts only where the question is about it.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    control: str | None = None
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A prediction: the metric of `arm` minus that of `against`, over seeds, is expected to be greater, less or the same.

    against: name of an arm; by default the same arm with `other` as its metric. constant: a number that takes the place of the
    second metric. margin: see `verdict.judge`. paper: what the paper says and where.
    """

    text: str
    paper: str
    metric: str
    arm: str
    against: str | None = None
    other: str | None = None
    constant: float | None = None
    expected: str = "greater"
    margin: float = 0.0

    @property
    def second(self) -> tuple[str, str]:
        """Arm and metric that are subtracted."""
        return self.against or self.arm, self.other or self.metric


@dataclass(frozen=True)
class Panel:
    """One panel of a figure: a metric of every arm, and what its axis says."""

    metric: str
    label: str


@dataclass(frozen=True)
class Curve:
    """A figure of rows that each run wrote: y against x, a line per arm. measure: the stage whose rows they are; "": of all."""

    x: str
    y: str
    xlabel: str
    ylabel: str
    measure: str = ""


@dataclass(frozen=True)
class Study:
    """One finding of the paper, asked again in the tiny world.

    number: of the list of findings in docs/findings.md. measures: names of the stages that measure a run
    (`utils.findings.measures`); their metrics are joined. common: settings by dotted name that all runs share. together: groups
    of settings that make one variable. unasked: why the question cannot be asked here; then there are no runs. Seeds are listed
    here, before any run.
    """

    name: str
    number: int
    question: str
    arms: tuple[Arm, ...] = ()
    claims: tuple[Claim, ...] = ()
    measures: tuple[str, ...] = ()
    common: Mapping[str, Any] = field(default_factory=dict)
    panels: tuple[Panel, ...] = ()
    curves: tuple[Curve, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()
    seeds: tuple[int, ...] = SEEDS
    profile: str = PROFILE
    unasked: str = ""

    def arm(self, name: str) -> Arm:
        """The arm of this name. Raises KeyError if there is none."""
        return next((arm for arm in self.arms if arm.name == name), None) or _missing(name)

    def config(self, arm: Arm, seed: int, overrides: Mapping[str, Any] | None = None) -> Config:
        """Settings of one run. overrides: the last word, for smaller runs. Raises UserError for a wrong setting."""
        control = self.arm(arm.control).changes if arm.control is not None else {}
        fixed = {"seed": seed, "compute.processes": 1}
        return load_config(self.profile, {**self.common, **control, **arm.changes, **(overrides or {}), **fixed})

    def differing(self, arm: Arm) -> list[str]:
        """Names of the settings in which an arm differs from its control; none for a control."""
        if arm.control is None:
            return []
        mine, other = (flat(config_to_dict(self.config(one, self.seeds[0]))) for one in (arm, self.arm(arm.control)))
        return [name for name in mine if mine[name] != other.get(name)]

    def variables(self, arm: Arm) -> list[tuple[str, ...]]:
        """The variables in which an arm differs from its control: settings, those of a group in `together` as one."""
        groups = [next((group for group in self.together if name in group), (name,)) for name in self.differing(arm)]
        return list(dict.fromkeys(groups))


def _missing(name: str) -> Arm:
    raise KeyError(f"the study has no arm {name!r}")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def chosen(studies: Sequence[Study], names: Sequence[str]) -> list[Study]:
    """The studies of these names, all without any. Raises UserError for an unknown name."""
    known = {study.name: study for study in studies}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f'There is no study "{unknown[0]}": use {", ".join(known)}.')
    return [known[name] for name in names] if names else list(studies)
