"""Export of models of a finished run: plain transformers directories with model card, settings and licence.

An exported policy is loaded by `AutoModelForCausalLM`, a reward model by `AutoModelForSequenceClassification`, without
any code of this project. Two things that other programs need are written with the model: the card shows as code how a prompt
and an answer are encoded, and config.json holds `reward_shift`, which is subtracted from the score. Only `push` uploads
anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from utils.config import Config, save_config
from utils.core.errors import UserError
from utils.core.io import disk_errors, read_text, write_text
from utils.core.runtime import ROOT, locate
from utils.data.chat import uses_template
from utils.data.encoding import answer_prefix, beginning, stop_ids
from utils.data.hub import is_hub, parse_source
from utils.data.hub.registry import TRAINING_KINDS
from utils.evaluation.summary import Section, Summary
from utils.models.directories import hub_is_reachable
from utils.models.loading import count_parameters, load_policy, load_reward, save_model
from utils.models.tokenizers import load_tokenizer
from utils.pipeline.data_stages import stand_ins
from utils.pipeline.run import CONFIG_FILE, Run
from utils.report.tables import Table
from utils.worlds.registry import known_world, world_of

CARD_FILE = "README.md"
LICENCE_FILE = "LICENSE"
OWN_LICENCE = "apache-2.0"  # of this repository's weights and of models trained from them on generated data only
UNSTATED = "other"
REWARD = "reward"
WHAT = {
    "sft": "supervised fine-tuning on demonstrations, the checkpoint with the highest reward-model score (sec. 3.5)",
    "init": "the model that PPO starts from, fine-tuned with some pretraining text mixed in (C.3)",
    "ppo": "PPO against the reward model with a KL penalty (Eq. 2, gamma = 0)",
    "ppo_ptx": "PPO against the reward model with a KL penalty and pretraining gradients (Eq. 2)",
    REWARD: "the reward model: a scalar for a prompt and its answer, trained on K-wise rankings (Eq. 1)",
}
# Section of the summary and name below the policy -> text on the card.
POLICY_METRICS = {
    ("gold", "mean"): "gold score of simulated rubric, temperature 1, points of 10",
    ("gold", "greedy_mean"): "the same, greedy",
    ("reward", "mean"): "score by the run's own reward model",
    ("finished",): "share of answers that are finished (not cut off)",
    ("kl",): "KL to the model PPO starts from, nats per answer",
    ("pretraining_loss",): "loss on held-out pretraining text, nats per token",
    ("facts",): "closed-book facts, multiple choice",
}
REWARD_METRICS = {
    "accuracy_labels": "pairs of held-out rankings in the right order",
    "pairs": "number of these pairs",
    "accuracy_heldout_labelers": "the same, ranked by held-out labelers",
    "accuracy_gold": "the same, ordered by the simulated rubric",
    "calibration_error": "calibration error of the probability that one answer is preferred",
    "demo_mean": "mean reward of training demonstrations",
    "demo_mean_valid": "mean reward of held-out demonstrations",
}


@dataclass(frozen=True)
class Licence:
    """name: as on the Hugging Face hub, such as "cc-by-sa-3.0"; text: the content of the file LICENSE."""

    name: str
    text: str


# --- export --------------------------------------------------------------------------------------------------------


def export(run: Run, names: Sequence[str], out: Path, licence: Licence | None = None) -> list[Path]:
    """Write the models `names` of a finished run to `out`/NAME and return these folders.

    licence: None means the project's own for a run on generated data, else a text that says that none is stated. Raises
    UserError, before anything is written, if the run lacks a model or its metrics, or if a folder holds other files.
    """
    summary = run.summary()
    if unknown := [name for name in names if name not in WHAT]:
        raise UserError(f'A run has no model "{unknown[0]}" to export: name one of {", ".join(WHAT)}.')
    sources = {name: run.model_dir(name) for name in names}
    folders = {name: out / name for name in names}
    for folder in folders.values():
        if folder.is_file() or (folder.exists() and any(folder.iterdir())) and not (folder / CARD_FILE).exists():
            raise UserError(f"{folder}: holds files that were not written by an export; choose another --out or move them.")
    licence = licence or default_licence(run.config)
    for name, folder in folders.items():
        _export_one(run, name, sources[name], folder, summary, licence)
    return list(folders.values())


def _export_one(run: Run, name: str, source: Path, folder: Path, summary: Summary, licence: Licence) -> None:
    """One model with its tokenizer, card, licence, settings and (for a policy) sampling settings."""
    tokenizer = load_tokenizer(source)
    model = load_reward(source) if name == REWARD else load_policy(source)
    save_model(model, tokenizer, folder)
    save_config(without_places(run.config), folder / CONFIG_FILE)
    if name != REWARD:
        with disk_errors(folder):
            generation(run.config, tokenizer).save_pretrained(folder)
    write_text(folder / LICENCE_FILE, licence.text)
    write_text(folder / CARD_FILE, model_card(run.config, name, model, tokenizer, summary, licence))


def generation(config: Config, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """Settings of `generate` for sampling as here: all tokens (no top-k), temperature of the evaluation, both stop tokens."""
    return GenerationConfig(
        do_sample=True, temperature=config.evaluation.temperature, top_k=0, max_new_tokens=config.data.max_response_tokens,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=list(stop_ids(tokenizer)), pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def without_places(config: Config) -> Config:
    """The settings with the names of local files and folders, without their full paths."""
    data = {kind: _shown(getattr(config.data, kind)) for kind in TRAINING_KINDS}
    return replace(
        config, out=Path(config.out).name, model=_shown(config.model), reward_init=_shown(config.reward_init),
        largest_model=_shown(config.largest_model), data=replace(config.data, **data),
    )  # fmt: skip


def _shown(place: Any) -> Any:
    """A path of the repository, a name of the hub, or the last part of another path."""
    if place is None or str(place) == "":
        return place
    if is_hub(place):
        head, equals, path = place.partition("=")
        return f"{head}{equals}{Path(path).name}" if equals else place
    found = locate(place)
    if found.exists():
        inside = found.resolve().is_relative_to(ROOT)
        return found.resolve().relative_to(ROOT).as_posix() if inside else found.name
    return place if not Path(place).is_absolute() else Path(place).name


# --- licence -------------------------------------------------------------------------------------------------------


def is_simulated(config: Config) -> bool:
    """Whether all text and all judgements of a run are generated: a world, its labelers, a base of data/models."""
    own = any(getattr(config.data, kind) is not None for kind in TRAINING_KINDS)
    return world_of(config) is not None and not own and _own_base(config)


def _own_base(config: Config) -> bool:
    return locate(config.model).resolve().is_relative_to(ROOT / "data" / "models")


def default_licence(config: Config) -> Licence:
    """The project's licence if a run used only the project's data; else a text that lists what must be clarified."""
    if is_simulated(config):
        return Licence(OWN_LICENCE, read_text(ROOT / "LICENSE"))
    lines = "\n".join(f"- {line}" for line in (base_line(config), *data_lines(config)))
    return Licence(
        UNSTATED,
        "No licence of these weights has been stated yet. It follows from the licences of what they were made from:\n\n"
        f"{lines}\n\nBefore you share the weights, clarify the licence and replace this text by it.\n",
    )


def given_licence(name: str, file: Path | None) -> Licence:
    """The licence that the user states. Raises UserError if its text is neither given nor the project's own."""
    if file is not None:
        return Licence(name, read_text(file))
    if name != OWN_LICENCE:
        raise UserError(
            f"--license {name}: also give its text with --license-file FILE; only the text of {OWN_LICENCE} is included."
        )
    return Licence(name, read_text(ROOT / "LICENSE"))


# --- card ----------------------------------------------------------------------------------------------------------


def base_line(config: Config) -> str:
    """The base model and its licence, if its card states one."""
    if _own_base(config):
        return f"base model: {_shown(config.model)} of instruct-gpt2, pretrained on generated text; licence {OWN_LICENCE}"
    card = locate(config.model) / CARD_FILE
    head = re.match(r"---\n(.*?)\n---", read_text(card), re.S) if card.is_file() else None
    found = re.search(r"(?m)^license:\s*(\S+)", head[1]) if head else None
    return f"base model: {_shown(config.model)}; licence " + (
        f"{found[1]} (its card)" if found else "not known here: see its card"
    )


def data_lines(config: Config) -> list[str]:
    """One line per kind of training data: its source and its licence."""
    world = world_of(config)
    generated = f"generated by {world.title}" if world else "not given"
    instead = {
        "prompts": "the prompts of the comparisons" if stand_ins(config) else generated,
        "demonstrations": "the best-ranked answers of the comparisons"
        if stand_ins(config)
        else "written by simulated labelers",
        "comparisons": "ranked by simulated labelers",
        "pretraining": generated if world else "text that the base model wrote itself",
    }
    lines = []
    for kind in TRAINING_KINDS:
        place = getattr(config.data, kind)
        if place is None:
            lines.append(f"{kind}: {instead[kind]}")
        elif is_hub(place):
            source = parse_source(place)
            copy = ", read from a local copy" if source.path else ""
            lines.append(f"{kind}: public dataset {source.dataset.name}{copy}; licence {source.dataset.licence}")
        else:
            lines.append(f"{kind}: the user's own file {_shown(place)}; licence not known here")
    return lines


def model_card(
    config: Config,
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    summary: Summary,
    licence: Licence,
) -> str:
    """The card as Markdown: what it is, how to use it (runnable code), data, metrics, settings, limits, licence."""
    is_reward = name == REWARD
    simulated = is_simulated(config)
    versions = ", ".join(f"{k} {v}" for k, v in summary.about.get("versions", {}).items() if v)
    return CARD.format(
        front="\n".join(_front(config, name, licence)),
        title=f"{Path(_shown(config.model)).name}: {name}",
        what=WHAT[name],
        warning=SIMULATED.format(world=known_world(config).title) if simulated else OWN_DATA,
        architecture=type(model).__name__,
        parameters=count_parameters(model),
        profile=config.profile,
        seed=config.seed,
        machine=summary.about.get("machine", "not recorded"),
        versions=versions or "not recorded",
        use=(_use_reward if is_reward else _use_policy)(config, tokenizer),
        data="\n".join(f"- {line}" for line in (base_line(config), *data_lines(config))),
        metrics=Table(("metric", "value"), metrics(summary, name) or [("none in summary.json", "")]).markdown(),
        judges="Gold scores and preferences are of simulated judges."
        if world_of(config)
        else "No person has judged these answers.",
        licence=f"{licence.name}; see LICENSE." if licence.name != UNSTATED else "Not stated yet: see LICENSE.",
    )


def _front(config: Config, name: str, licence: Licence) -> list[str]:
    """The fields that the Hugging Face hub reads."""
    lines = [f"license: {licence.name}"]
    if licence.name == UNSTATED:
        lines += ["license_name: not-stated", f"license_link: {LICENCE_FILE}"]
    lines += ["library_name: transformers", f"pipeline_tag: {'text-classification' if name == REWARD else 'text-generation'}"]
    if not locate(config.model).exists():
        lines.append(f"base_model: {config.model.partition('@')[0]}")
    places = [getattr(config.data, kind) for kind in TRAINING_KINDS]
    repos = [parse_source(place).dataset.repo for place in places if is_hub(place)]
    if any(repos):
        lines += ["datasets:", *(f"- {repo}" for repo in dict.fromkeys(repos) if repo)]
    tags = ["rlhf", "instructgpt", *(["simulated"] if is_simulated(config) else [])]
    return [*lines, "tags:", *(f"- {tag}" for tag in tags)]


def metrics(summary: Summary, name: str) -> list[tuple[str, str]]:
    """(text, value) of every number of summary.json that is about the model."""
    rows = []
    if name == REWARD:
        section = summary.reward_model
        found = [(text, section.number(key), section.number(f"{key}_se")) for key, text in REWARD_METRICS.items()]
    else:
        found = [(text, *_policy_metric(summary, name, *place)) for place, text in POLICY_METRICS.items()]
    for text, value, spread in found:
        if value is not None:
            shown = f"{value:,.0f}" if text == REWARD_METRICS["pairs"] else f"{value:z.3f}"
            rows.append((text, shown + (f" ± {spread:.3f} (standard error)" if spread is not None else "")))
    for pair in summary.win_rates():
        if pair.a == name and math.isfinite(pair.low + pair.high):
            text = f"preferred over {pair.b} by {summary.whose}, ties half"
            rows.append((text, f"{pair.mean:.3f} (95 % interval {pair.low:.3f} to {pair.high:.3f})"))
    return rows


def _policy_metric(summary: Summary, policy: str, section: str, name: str = "") -> tuple[float | None, float | None]:
    """One metric of a policy and its standard error; None where the summary has none. name: mean or greedy_mean."""
    found: Section = getattr(summary, section)
    if not name:
        return found.number(policy), None
    return found.number(policy, name), found.number(policy, name.replace("mean", "se"))


def _encoding(config: Config, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """Python code that encodes `prompt` as `ids`, and the literal text before an answer."""
    if uses_template(tokenizer, config.data):
        return (
            'text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, '
            'add_generation_prompt=True)\nids = tokenizer(text, add_special_tokens=False)["input_ids"]',
            "",
        )
    special = bool(beginning(tokenizer))
    code = f'ids = tokenizer(prompt + {config.data.prompt_suffix!r}, add_special_tokens={special})["input_ids"]'
    return code, answer_prefix(tokenizer, config.data)


def _use_policy(config: Config, tokenizer: PreTrainedTokenizerBase) -> str:
    encode, _ = _encoding(config, tokenizer)
    return USE_POLICY.format(encode=encode)


def _use_reward(config: Config, tokenizer: PreTrainedTokenizerBase) -> str:
    encode, prefix = _encoding(config, tokenizer)
    return USE_REWARD.format(encode=encode, prefix=repr(prefix))


SIMULATED = """**All data of this model are simulated.** Prompts, labelers, demonstrations, rankings and the gold score are
generated; nothing was written or judged by people. It knows only {world} and is for learning and testing."""
OWN_DATA = """A prototype, made with instruct-gpt2 from the data below. It can be wrong, biased or rude; it has not been tested
for any use."""
USE_POLICY = """```python
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # the folder of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
prompt = "Name three birds."
{encode}
made = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long))
answer = tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True).strip()
```

`generate` samples by generation_config.json: from all tokens (`top_k` 0), until one of two stop tokens. Batches are
padded on the left."""
USE_REWARD = """```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."  # the folder of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
prompt, answer = "Name three birds.", "Owl, hen, goose."
{encode}
ids += tokenizer({prefix} + answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
with torch.no_grad():
    reward = model(torch.tensor([ids])).logits.item() - model.config.reward_shift
```

The reward is the logit minus `reward_shift` of config.json, which makes the training demonstrations average 0 (the paper's
bias, C.2). A constant does not change the comparison of two answers; subtract it if you use rewards as numbers. The end token
belongs to a finished answer; leave it out for an answer that was cut off. Batches are padded on the right."""
CARD = """---
{front}
---
# {title}

{what}

{warning}

| | |
|---|---|
| architecture | {architecture}, {parameters:,} parameters, float32, safetensors |
| made by | instruct-gpt2, profile `{profile}`, seed {seed} (all settings: config.yaml) |
| method | InstructGPT, Ouyang et al. 2022, [arXiv 2203.02155](https://arxiv.org/abs/2203.02155) |
| machine | {machine} |
| versions | {versions} |

## Use
{use}

## Data
{data}

## Metrics
From the run's summary.json. {judges}

{metrics}

## Licence
{licence} This card: CC BY 4.0.
"""


# --- hub -----------------------------------------------------------------------------------------------------------


def push(folder: Path, repo: str, private: bool = True) -> str:
    """Upload an exported folder to the Hugging Face hub as OWNER/NAME, private by default; returns its address.

    Raises UserError if the card states no licence, if the hub cannot be reached or rejects it.
    """
    if re.search(r"(?m)^license_name: not-stated$", read_text(folder / CARD_FILE)):
        raise UserError(f"{folder}: states no licence, so it is not pushed; clarify it and export again with --license.")
    if not hub_is_reachable():
        raise UserError(
            f"{repo}: not pushed, as the Hugging Face hub cannot be reached (no network, or HF_HUB_OFFLINE is set); the "
            f"export is complete: push it later with `hf upload {repo} {folder}`."
        )
    try:
        api = HfApi()
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload the model with its card")
    except LocalTokenNotFoundError:
        raise UserError(
            f"{repo}: pushing needs an account; run `hf auth login` with a token that may write, then export again."
        ) from None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{repo}: the Hugging Face hub rejected the export ({reason}); check the name and the token.") from None
    return str(address)
