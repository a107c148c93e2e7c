"""Outputs of policies for people to rank: what `scripts/label.py sample` does. It needs the extra `[labeling]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from utils.config import load_config
from utils.core.errors import UserError
from utils.core.runtime import locate
from utils.data.formats import load_prompts
from utils.data.rows import id_of_prompt
from utils.data.schemas import Comparison, Prompt
from utils.labeling.store import Project, Store, import_outputs
from utils.pipeline.run import open_run, settings_of
from utils.publish.chat import named_folders, sampler_of
from utils.sampling.sampler import Sampler


def sample_into(
    store: Store,
    project: Project,
    prompts: Sequence[Prompt],
    policies: Mapping[str, Sampler],
    *,
    each: int = 1,
    temperature: float = 1.0,
    seed: int = 1,
) -> int:
    """Outputs of policies on prompts, for labelers to rank; `each` per policy and prompt. Returns how many items.

    Equal outputs of a prompt are shown once, for the first policy that said it; prompts with one distinct output are left
    out. Raises UserError if none is left, or if a prompt is too long for a policy.
    """
    names = [p.prompt_id for p in prompts]
    found: list[dict[str, tuple[str, bool]]] = [{} for _ in prompts]
    for policy, sampler in policies.items():
        for k in range(each):
            streams = [f"label {policy} {k} {name}" for name in names]
            answers = sampler([p.prompt for p in prompts], seed=seed, names=streams, temperature=temperature)
            for made, answer in zip(found, answers, strict=True):
                made.setdefault(answer.text, (policy, answer.finished))
    rows = []
    for prompt, made in zip(prompts, found, strict=True):
        texts = [text for text in made if text.strip()]
        if len(texts) > 1:
            said_by, ends = zip(*(made[text] for text in texts), strict=True)
            rows.append(
                Comparison(
                    prompt_id=prompt.prompt_id,
                    prompt=prompt.prompt,
                    completions=tuple(texts),
                    ranks=(),
                    finished=ends,
                    policies=said_by,
                    use_case=prompt.use_case,
                    split=prompt.split,
                )
            )
    if not rows:
        raise UserError("Every prompt got one distinct output only: add policies, or raise --each or --temperature.")
    return import_outputs(store, project.id, rows)


def load_policies(models: Sequence[str], run: str | None = None, profile: str | None = None) -> dict[str, Sampler]:
    """Samplers by name: of folders of models, and of all policies of a run."""
    found: dict[str, Sampler] = {}
    if run:
        source = open_run(locate(run))
        found |= {name: sampler_of(place, source.config) for name, place in source.policy_dirs().items()}
    if models:
        for name, place in named_folders(models).items():
            found[name] = sampler_of(place, load_config(profile) if profile else settings_of(place))
    if not found:
        raise UserError("There is no policy: give folders of models, or --run with a run folder.")
    return found


def prompts_for(file: str | None, run: str | None, which: str, limit: int | None) -> list[Prompt]:
    """Prompts of a file, or the set `which` of a run; the first `limit`, equal ones once."""
    if file is None and run is None:
        raise UserError("There are no prompts: give --prompts FILE, or --run with the run whose prompts are used.")
    rows = load_prompts(file) if file else open_run(locate(str(run))).prompts(which)
    distinct = {one.prompt: one for one in rows if one.prompt.strip()}
    return [replace(one, prompt_id=one.prompt_id or id_of_prompt(one.prompt)) for one in distinct.values()][:limit]
