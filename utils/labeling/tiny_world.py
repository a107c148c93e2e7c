"""The screening set of the tiny world: what candidates rank, flag and write, made from prompts whose truth is known."""

from __future__ import annotations

import random
from collections.abc import Sequence

from utils.data.schemas import Prompt
from utils.errors import UserError
from utils.labeling.items import HARMFUL_TASK
from utils.labeling.screening import ScreeningMaterial, WriteDemonstration, make_material
from utils.labeling.simulated import SimulatedLabeler
from utils.runtime import python_rng
from utils.world import Scores, World, answer, score

SENSITIVE_SHARE = 1 / 3
FLAWED = 0.5
OFF_TOPIC = 2


def screening_prompts(prompts: Sequence[Prompt], seed: int, n: int = 60) -> list[Prompt]:
    """n prompts of the tiny world, a third of them harmful requests (B.1 screens on sensitive prompts).

    Raises UserError if `prompts` holds no harmful request, or too few others.
    """
    harmful = [one for one in prompts if one.meta.get("task") == HARMFUL_TASK]
    other = [one for one in prompts if one.meta and one.meta.get("task") != HARMFUL_TASK]
    rng = python_rng(seed, "screening", "prompts")
    chosen = rng.sample(harmful, min(len(harmful), round(n * SENSITIVE_SHARE)))
    if not chosen or len(other) < n - len(chosen):
        raise UserError(
            f"screening: {len(harmful)} harmful and {len(other)} other prompts of the tiny world are too few "
            f"for a set of {n}, raise data.n_sft."
        )
    mixed = chosen + rng.sample(other, n - len(chosen))
    rng.shuffle(mixed)
    return mixed


def screening_set(prompts: Sequence[Prompt], seed: int, k: int = 9, n_demonstrations: int = 20) -> ScreeningMaterial:
    """K answers to each prompt: half of them flawed, and two that answer other prompts."""
    world = World.load()
    completions, scores = [], []
    for prompt in prompts:
        rng = python_rng(seed, "screening", prompt.prompt_id)
        texts = [answer(world, prompt.meta, rng, slip=rng.random() < FLAWED) for _ in range(k - OFF_TOPIC)]
        texts += [answer(world, rng.choice(prompts).meta, rng) for _ in range(OFF_TOPIC)]
        completions.append(texts)
        scores.append([score(prompt.meta, text) for text in texts])
    return make_material(scores, prompts, completions, n_demonstrations=n_demonstrations)


def demonstration_writer(prompts: Sequence[Prompt], seed: int) -> WriteDemonstration:
    """How a simulated candidate writes the index-th demonstration: with a slip as often as `labeler.slip` says."""
    world = World.load()

    def write(labeler: SimulatedLabeler, index: int) -> Scores:
        rng: random.Random = python_rng(seed, "screening", "demonstration", labeler.labeler_id, index)
        prompt = prompts[index % len(prompts)]
        return score(prompt.meta, answer(world, prompt.meta, rng, slip=rng.random() < labeler.slip))

    return write
