"""A project in which a simulated crowd was screened and has worked for a week: for demonstrations and tests of the dashboard.

Three labelers of the crowd are not like the others: one ranks almost by chance, one prefers long answers, one answers most
tasks at random and fast. Nothing in the store says who.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from utils.config import LabelerConfig
from utils.core.errors import UserError
from utils.core.runtime import python_rng
from utils.data.schemas import Prompt
from utils.labeling.items import make_items
from utils.labeling.labelers import SimulatedLabeler, make_candidates
from utils.labeling.ranking import rank_all
from utils.labeling.screening import (
    demonstration_score,
    researcher,
    screening_prompts,
    sensitive_completions,
)
from utils.labeling.store.candidates import demonstrations_to_score, score_demonstration, screening_table
from utils.labeling.store.database import Store
from utils.labeling.store.forms import SCREENING
from utils.labeling.store.people import add_labeler, create_project, decide_labeler
from utils.labeling.store.records import NewItem, Output, Project, ProjectSettings
from utils.labeling.store.simulated import SimulatedClient
from utils.labeling.store.work import add_items, next_task, submit
from utils.worlds.protocol import TRAINING, World

DAY = 86_400.0
MORNING = 9 * 3600.0
DRAWS = 100  # of the outputs of a gold item
SLIPS = {"simulated-careful": 0.1, "simulated-usual": 0.4, "simulated-hasty": 0.8}  # policy -> chance of a mistake
NAMES = ("Ana", "Ben", "Chidi", "Dana", "Emre", "Fatima", "Goro", "Hana", "Ivo", "Jun", "Kofi", "Lena", "Mina", "Noor", "Otto")


@dataclass(frozen=True)
class DemoSize:
    """candidates of whom hired remain (three of them unlike the others); items with overlap; checks: gold items, and as
    many attention checks; screening: items to rank, and as many to flag, in the screening test; days of work."""

    candidates: int = 12
    hired: int = 8
    items: int = 200
    outputs: int = 5
    overlap: int = 3
    checks: int = 14
    screening: int = 12
    demonstrations: int = 3
    days: int = 7


@dataclass(frozen=True)
class Demo:
    """The project, and the names of the three labelers unlike the others: kind -> name."""

    project: Project
    unlike: Mapping[str, str]


def make_demo(store: Store, world: World, seed: int = 0, size: DemoSize | None = None, name: str = "demo (simulated)") -> Demo:
    """Make the project and let the crowd work, by a clock of its own that ends now."""
    size = size or DemoSize()
    asked = world.make_prompts(seed, {"train": 20 * (size.items + 2 * size.checks + size.screening)})
    prompts = list({one.prompt: one for one in asked if world.knows(one)}.values())
    project = create_project(store, name, ProjectSettings(screening=True, overlap=size.overlap, gold_every=3, seed=seed))
    test = screening_prompts(world, prompts, seed, size.screening)
    others = iter([one for one in prompts if one not in test])
    add_items(store, project.id, [*_screening(world, test, size, seed), *_work(world, others, size, seed)])
    by_text = {one.prompt: one for one in prompts}
    people = _people(world, size, seed)
    clients = {who: SimulatedClient(person, world, by_text, seed) for who, person in people.items()}
    # With pseudonyms of their own, orders of outputs are drawn from the seed alone.
    ids = {
        who: add_labeler(store, project.id, who, simulated=True, pseudonym=f"simulated-{place:03d}").id
        for place, who in enumerate(clients, 1)
    }
    with _own_clock(store, size.days + 1) as clock:
        for who, client in clients.items():
            _work_through(store, ids[who], client, clock)
        _score(store, project, world, by_text)
        hired, unlike = _hire(store, project, size)
        crowd = _unlike_the_others(clients, hired, unlike, world)
        clock.now += DAY
        _week(store, ids, crowd, size, clock)
    return Demo(project, unlike)


# --- items ---------------------------------------------------------------------------------------------------------


def _outputs(world: World, prompt: Prompt, n: int, seed: int) -> tuple[Output, ...]:
    rng = python_rng(seed, "demo", "outputs", prompt.prompt_id)
    names = list(SLIPS)
    made = [
        (names[k % len(names)], world.answer(prompt, rng, slip=rng.random() < SLIPS[names[k % len(names)]])) for k in range(n)
    ]
    return tuple(Output(text, policy) for policy, text in made)


def _gold_ranks(world: World, prompt: Prompt, outputs: Sequence[Output], seed: int) -> list[int]:
    items = make_items(world, [[world.score(prompt, one.text) for one in outputs]], [prompt], [[one.text for one in outputs]])
    return rank_all([researcher(world.rubric, LabelerConfig().tie_below)], items, TRAINING, seed)[0, 0].tolist()


def _with_gold(world: World, prompt: Prompt, n: int, seed: int) -> tuple[tuple[Output, ...], list[int]]:
    """Outputs and the researchers' ranks; other outputs are drawn while these tie all of them. Raises UserError."""
    for draw in range(DRAWS):
        outputs = _outputs(world, prompt, n, seed + draw)
        ranks = _gold_ranks(world, prompt, outputs, seed)
        if len(set(ranks)) > 1:
            return outputs, ranks
    raise UserError(f"The world {world.title} has no outputs that its researchers order, for {prompt.prompt[:60]!r}.")


def _screening(world: World, prompts: Sequence[Prompt], size: DemoSize, seed: int) -> list[NewItem]:
    """The test: outputs to flag and to rank, demonstrations, topics."""
    made = [NewItem("topics", phase=SCREENING)]
    for i, prompt in enumerate(prompts):
        outputs, ranks = _with_gold(world, prompt, size.outputs, seed)
        common = {"prompt": prompt.prompt, "prompt_id": prompt.prompt_id, "phase": SCREENING, "use_case": prompt.use_case}
        items = make_items(world, [[world.score(prompt, one.text) for one in outputs]], [prompt])
        sensitive = sensitive_completions(world, items)[0].tolist()
        made.append(NewItem("flagging", outputs=outputs, gold={"sensitive": sensitive}, **common))  # type: ignore[arg-type]
        made.append(NewItem("ranking", outputs=outputs, gold={"ranks": ranks}, **common))  # type: ignore[arg-type]
        if i < size.demonstrations:
            made.append(NewItem("demonstration", **common))  # type: ignore[arg-type]
    return made


def _work(world: World, prompts: Iterator[Prompt], size: DemoSize, seed: int) -> list[NewItem]:
    """Rankings, gold items, and attention checks: one answer to the prompt among answers to another one."""
    made = []
    for i in range(size.items + 2 * size.checks):
        prompt, other = next(prompts), next(prompts)
        outputs = _outputs(world, prompt, size.outputs, seed)
        role, gold = "work", None
        if i >= size.items and i % 2:
            wrong = [Output(one.text, "other prompt") for one in _outputs(world, other, size.outputs - 1, seed)]
            right = Output(world.answer(prompt, python_rng(seed, "demo", "check", i)), "right")
            outputs, role, gold = (right, *wrong), "attention", {"ranks": [1] + [2] * len(wrong)}
        elif i >= size.items:
            outputs, ranks = _with_gold(world, prompt, size.outputs, seed)
            role, gold = "gold", {"ranks": ranks}
        made.append(
            NewItem("ranking", prompt.prompt, outputs, prompt.prompt_id, prompt.use_case, prompt.split, role=role, gold=gold)
        )
    return made


# --- people --------------------------------------------------------------------------------------------------------


def _people(world: World, size: DemoSize, seed: int) -> dict[str, SimulatedLabeler]:
    cfg = LabelerConfig(n_candidates=size.candidates, careless_share=0.25)
    names = [NAMES[i] if i < len(NAMES) else f"{NAMES[i % len(NAMES)]} {i // len(NAMES) + 1}" for i in range(size.candidates)]
    # Less noise than an uncalibrated candidate, so that the crowd agrees about as often as the paper's.
    pool = make_candidates(world.rubric, cfg, seed)
    return {name: replace(one, noise=0.4 * one.noise) for name, one in zip(names, pool, strict=True)}


def _score(store: Store, project: Project, world: World, prompts: Mapping[str, Prompt]) -> None:
    """The simulated researcher scores the candidates' demonstrations."""
    for one in demonstrations_to_score(store, project.id, "simulated researcher"):
        points = np.array(world.gold(prompts[one.prompt], one.text))
        score = int(np.rint(demonstration_score(world.rubric, points)))
        score_demonstration(store, project.id, one.submission_id, score, "simulated researcher")


def _hire(store: Store, project: Project, size: DemoSize) -> tuple[list[str], dict[str, str]]:
    """Hire the best of the screening; who of them will be unlike the others."""
    table = screening_table(store, project.id)
    for place, row in enumerate(table):
        status = "hired" if place < size.hired else "rejected"
        decide_labeler(store, row.labeler.id, status, "" if row.passed else f"below the cut: {', '.join(row.failed)}")
    hired = [row.labeler.name for row in table[: size.hired]]
    drawn = python_rng(project.settings.seed, "demo", "unlike").sample(hired, 3)
    return hired, dict(zip(("noise", "bias", "careless"), drawn, strict=True))


def _unlike_the_others(
    clients: Mapping[str, SimulatedClient], hired: Sequence[str], unlike: Mapping[str, str], world: World
) -> dict[str, SimulatedClient]:
    crowd = {name: clients[name] for name in hired}
    points = world.rubric.maximum
    noisy, biased, careless = (crowd[unlike[kind]] for kind in ("noise", "bias", "careless"))
    crowd[unlike["noise"]] = replace(noisy, person=replace(noisy.person, noise=0.6 * points))
    crowd[unlike["bias"]] = replace(biased, likes_length=0.8 * points)
    crowd[unlike["careless"]] = replace(careless, person=replace(careless.person, carelessness=0.7))
    return crowd


# --- work ----------------------------------------------------------------------------------------------------------


class _Clock:
    """Seconds since 1970, moved by the simulation."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@contextmanager
def _own_clock(store: Store, days: int) -> Iterator[_Clock]:
    real = store.clock
    clock = _Clock((real() // DAY - days) * DAY + MORNING)
    store.clock = clock
    try:
        yield clock
    finally:
        store.clock = real


def _work_through(store: Store, labeler_id: int, client: SimulatedClient, clock: _Clock, most: int | None = None) -> None:
    """Answer tasks until there are none, or `most`."""
    done = 0
    while (most is None or done < most) and (task := next_task(store, labeler_id)) is not None:
        answer, seconds = client.answer(task)
        clock.now += seconds
        submit(store, labeler_id, task.token, answer, key=f"simulated {task.token}", seconds=seconds)
        done += 1


def _week(store: Store, ids: Mapping[str, int], crowd: Mapping[str, SimulatedClient], size: DemoSize, clock: _Clock) -> None:
    """Every day each of the crowd does the same number of tasks, so that on the last day nothing is left."""
    tasks = size.items * size.overlap + 2 * size.checks * len(crowd)
    share = -(-tasks // (size.days * len(crowd)))
    morning = clock.now
    for day in range(size.days):
        for who, client in crowd.items():
            clock.now = morning + day * DAY
            _work_through(store, ids[who], client, clock, share)
