"""What simulated labelers look at in the tiny world, whose truth is known: the screening set, and outputs to rank again."""

from __future__ import annotations

import random
from collections.abc import Sequence

from utils.core.errors import UserError
from utils.core.runtime import python_rng
from utils.data.schemas import Comparison, Prompt
from utils.labeling.items import HARMFUL_TASK, Items, make_items
from utils.labeling.labelers import TRAINING, SimulatedLabeler
from utils.labeling.ranking import completion_names, label_comparisons
from utils.labeling.screening import ScreeningMaterial, WriteDemonstration, make_material
from utils.worlds.tiny import Scores, World, answer, score

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


def comparison_parts(comparisons: Sequence[Comparison], prompts: Sequence[Prompt]) -> list[list[Scores]]:
    """Part scores of every completion by the gold rubric; `prompts` holds at least those of the comparisons.

    Raises UserError if a comparison's prompt is not among them.
    """
    metas = {one.prompt_id: one.meta for one in prompts}
    lost = next((row.prompt_id for row in comparisons if row.prompt_id not in metas), None)
    if lost is not None:
        raise UserError(f"labeling: prompt {lost} of the comparisons is not among the prompts: give the set they belong to.")
    return [
        [score(metas[row.prompt_id], text, end) for text, end in zip(row.completions, row.finished, strict=True)]
        for row in comparisons
    ]


def comparison_items(comparisons: Sequence[Comparison], prompts: Sequence[Prompt]) -> Items:
    """The completions of comparisons as labelers look at them, so that others can rank them too."""
    chosen = _in_order(comparisons, prompts)
    names = [completion_names(row.completions, row.finished) for row in comparisons]
    return make_items(comparison_parts(comparisons, prompts), chosen, names)


def relabel(
    comparisons: Sequence[Comparison],
    prompts: Sequence[Prompt],
    labelers: Sequence[SimulatedLabeler],
    seed: int,
    phase: str = TRAINING,
) -> list[Comparison]:
    """The same completions ranked by other labelers, one a prompt, under the priority rule of `phase`."""
    return label_comparisons(
        _in_order(comparisons, prompts), [row.completions for row in comparisons], comparison_parts(comparisons, prompts),
        labelers, phase, seed, finished=[row.finished for row in comparisons], policies=[row.policies for row in comparisons],
    )  # fmt: skip


def _in_order(comparisons: Sequence[Comparison], prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompt of each comparison."""
    by_id = {one.prompt_id: one for one in prompts}
    return [by_id[row.prompt_id] for row in comparisons if row.prompt_id in by_id]
