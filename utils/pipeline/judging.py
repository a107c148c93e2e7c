"""Judges and outputs by name, for `scripts/evaluate.py prefer`: of a run, of files, of folders of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from utils.config import load_config
from utils.core.errors import UserError
from utils.core.io import read_text, row_from_dict
from utils.core.runtime import choose_device, locate
from utils.data.outputs import Output, join_outputs, read_outputs
from utils.data.schemas import Comparison, Prompt
from utils.evaluation.judges import PAIRWISE, GoldRubric, Judge, LanguageModelJudge, People, RewardJudge, SimulatedLabelers
from utils.models.directories import model_directory
from utils.models.loading import load_policy
from utils.models.tokenizers import load_tokenizer
from utils.pipeline.run import Run, settings_of
from utils.reward.scoring import RewardModel
from utils.worlds.protocol import World

GROUPS = {"heldout": ("heldout", "held-out"), "training": ("hired", "training")}  # judge -> labelers of a run, in words
IN_A_WORLD = (*GROUPS, "gold")
JUDGES = "heldout, training, gold, reward, reward=DIR, people=FILE or model=DIR"
PROMPT_SETS = ("test", "valid")  # those that no policy was trained on


@dataclass(frozen=True)
class Chosen:
    """How outputs are judged. each: simulated labelers per prompt. template: file with the question for a language model, ""
    for ours. profile: settings of a reward model that no run made. batch_size: questions to a language model in one pass."""

    each: int = 1
    template: str = ""
    profile: str | None = None
    device: str = "auto"
    batch_size: int = 32


def judge_of(name: str, run: Run | None, chosen: Chosen | None = None) -> Judge:
    """The judge of a name of `JUDGES`; the first four are those of the run. Raises UserError if it is not there."""
    kind, _, place = name.partition("=")
    chosen = chosen or Chosen()
    if kind in IN_A_WORLD and not place:
        return _judge_of_world(kind, run, chosen)
    if kind == "reward" and (place or run is not None):
        return _reward_judge(place, run, chosen)
    if kind == "people" and place:
        return People.read(place)
    if kind == "model" and place:
        folder = model_directory(locate(place))
        template = read_text(chosen.template) if chosen.template else PAIRWISE
        model = load_policy(folder, choose_device(chosen.device))
        return LanguageModelJudge(model, load_tokenizer(folder), place, template, chosen.batch_size)
    if kind == "reward":
        raise UserError("The judge reward is the reward model of a run: name the run with --run, or write reward=DIR.")
    raise UserError(f'There is no judge "{name}": use {JUDGES}.')


def _judge_of_world(kind: str, run: Run | None, chosen: Chosen) -> Judge:
    """Simulated labelers or gold, with the prompts of a run."""
    if run is None:
        raise UserError(f"The judge {kind} knows the prompts of a run alone: name the run with --run.")
    world: World | None = run.world
    if world is None:
        raise UserError(f'{run.out_dir}: its setting "world" is "none", so it has no {kind}: use reward, people or model=DIR.')
    prompts = unseen_prompts(run)
    if kind == "gold":
        return GoldRubric(world, prompts)
    group, words = GROUPS[kind]
    return SimulatedLabelers(world, prompts, run.labelers(group), words, run.config.seed, chosen.each)


def _reward_judge(place: str, run: Run | None, chosen: Chosen) -> RewardJudge:
    """The reward model in a folder, or that of a run."""
    if run is not None and not place:
        return RewardJudge(run.reward_model(), f"of the run {run.out_dir.name}")
    folder = model_directory(locate(place))
    data = (load_config(chosen.profile) if chosen.profile else settings_of(folder)).data
    return RewardJudge(RewardModel.load(folder, data, device=choose_device(chosen.device)), place)


def unseen_prompts(run: Run) -> list[Prompt]:
    """The prompts of a run that no policy was trained on."""
    return [prompt for name in PROMPT_SETS for prompt in run.prompts(name)]


# --- outputs -----------------------------------------------------------------------------------------------------------


def outputs_to_judge(
    judge: str,
    files: Sequence[str],
    run: Run | None,
    greedy: bool = False,
    policies: Sequence[str] = (),
    limit: int | None = None,
) -> list[Comparison]:
    """Outputs by prompt for the judge of a name: of files, else those of the run's policies to its test prompts, sampled or
    greedy.

    policies: only these. limit: the first prompts. Raises UserError if no prompt has outputs of two policies.
    """
    if files:
        found, where = read_outputs(files), ", ".join(files)
        found = asked_in(run, found) if run is not None and judge in IN_A_WORLD else found
    elif run is not None:
        found, where = _of_run(run, greedy), str(run.out_dir)
    elif judge.startswith("people="):
        return []  # the file itself holds outputs with their policies
    else:
        raise UserError("There is nothing to judge: give files with --outputs, or --run with a run folder.")
    known = list(dict.fromkeys(one.policy for one in found))
    if missing := [name for name in policies if name not in known]:
        raise UserError(f'{where}: there are no outputs of "{missing[0]}": there are those of {", ".join(known)}.')
    rows = join_outputs(one for one in found if not policies or one.policy in policies)
    rows = [row for row in rows if len(set(row.policies)) > 1][:limit]
    if not rows:
        raise UserError(f"{where}: no prompt has outputs of two policies: give files with outputs to the same prompts.")
    return rows


def _of_run(run: Run, greedy: bool) -> list[Output]:
    """The outputs of the stage evaluate at one temperature."""
    place = run.path("evaluate") / "samples.jsonl"
    wanted = 0.0 if greedy else run.config.evaluation.temperature
    rows = [
        row_from_dict(row, Output, f"{place}, row {number}")
        for number, row in enumerate(run.samples(), 1)
        if row.get("temperature") == wanted
    ]
    if not rows:
        raise UserError(f"{place}: there are no outputs of temperature {wanted:g}: leave out --greedy.")
    return rows


def asked_in(run: Run, outputs: Sequence[Output]) -> list[Output]:
    """The outputs with the ids of the run's prompts, by which its judges know them. Raises UserError for another prompt."""
    ids = {prompt.prompt: prompt.prompt_id for prompt in reversed(unseen_prompts(run))}
    lost = next((one for one in outputs if one.prompt not in ids), None)
    if lost is not None:
        raise UserError(
            f'{lost.place}, field "prompt": it is no test or valid prompt of {run.out_dir}, so its labelers and rubric cannot '
            "judge the output: delete the row, or use the judge reward, people=FILE or model=DIR."
        )
    return [replace(one, prompt_id=ids[one.prompt]) for one in outputs]


def reference_of(policies: Sequence[str], wanted: str | None) -> str:
    """The policy that the others are compared with: the wanted one, else SFT, else the first."""
    if wanted is None:
        return "sft" if "sft" in policies else policies[0]
    if wanted not in policies:
        raise UserError(f'--reference: no output of "{wanted}" was judged: name one of {", ".join(policies)}.')
    return wanted
