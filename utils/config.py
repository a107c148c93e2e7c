"""Every setting of every stage as a frozen dataclass. A profile (configs/*.yaml) fills the same classes.

Each docstring gives the paper's value where the paper prints one ("paper: ...") and says where.
Durations are steps or epochs, learning rates are peaks, lengths are tokens unless a name says otherwise. The type of a
setting says which values it may take (`utils.core.ranges`); `load_config` checks them all before anything runs.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml

from utils.core.errors import UserError
from utils.core.io import PathLike, convert, field_types, plain, read_text, write_text
from utils.core.ranges import (
    Fraction,
    FractionBelowOne,
    Holds,
    InnerFraction,
    NonNegativeFloat,
    NonNegativeInt,
    NotEmpty,
    OneOf,
    PositiveFloat,
    PositiveInt,
    PositiveSum,
    Range,
    Text,
    advice,
    setting_types,
)
from utils.core.runtime import DEVICES, PRECISIONS, ROOT
from utils.core.tracking import TRACKERS

SAMPLING_BATCH = 512  # prompts sampled at once, unless the settings say otherwise

LANGUAGES = (
    "english", "spanish", "french", "german", "italian", "portuguese", "dutch", "swedish", "polish", "turkish", "indonesian",
)  # fmt: skip


@dataclass(frozen=True)
class DataConfig:
    """Prompts and demonstrations (sec. 3.2, App. A).

    prompts, demonstrations, comparisons, pretraining: the user's own files or public datasets ("hub:dolly",
    "hub:dolly@REVISION", "hub:dolly=FILE": utils/data/hub); None takes those of the run's world. Without a world, prompts
    and demonstrations that are None come from the comparisons (their best answers), and pretraining text that is None is
    what the base model itself writes, at most `pretraining_samples` rows (`utils.pretraining.replay`).
    n_sft/n_rm/n_ppo: training prompts of each set (paper, Table 6: 12,725 / 33,207 / 31,144).
    n_valid, n_test: prompts for choices / for final metrics only. max_rows: no more than the first so many rows of each
    split of the user's demonstrations and rankings are used; None takes all.
    cap_per_user: paper 200 (A.2); 0 keeps all. dedup_prefix_chars: a common prefix this long makes two prompts duplicates;
    the paper says "long" and gives no number; 0 leaves only equal prompts out. language: prompts in other languages are
    dropped (paper: English); "any" keeps all; "auto" is English for the tiny world and any for your own data. pii_filter:
    drop training prompts with personal data (paper: yes).
    max_prompt_tokens: longer prompts are dropped (paper: 1,000 of 2,048, App. C).
    max_response_tokens: responses are cut here (paper: 1,000). chat_template: "auto" asks in the tokenizer's chat template
    if it has one, "always" and "never" say so; without it a prompt is followed by prompt_suffix and a completion begins with
    completion_prefix. template_date: the date (YYYY-MM-DD) that a chat template gets when it asks for the current time, so that
    a run gives the same prompts on another day. prompted_template: how the prompted base is asked (the paper's prefix is not
    printed).
    """

    prompts: str | None = None
    demonstrations: str | None = None
    comparisons: str | None = None
    pretraining: str | None = None
    max_rows: PositiveInt | None = None
    pretraining_samples: PositiveInt = 1024
    n_sft: PositiveInt = 1500
    n_rm: PositiveInt = 8000
    n_ppo: PositiveInt = 4000
    n_valid: PositiveInt = 400
    n_test: PositiveInt = 900
    cap_per_user: NonNegativeInt = 200
    dedup_prefix_chars: NonNegativeInt = 64
    language: Annotated[str, OneOf(("auto", "any", *LANGUAGES))] = "auto"
    pii_filter: bool = True
    max_prompt_tokens: PositiveInt = 40
    max_response_tokens: PositiveInt = 32
    chat_template: Annotated[str, OneOf(("auto", "always", "never"))] = "auto"
    template_date: str = "2025-01-01"
    prompt_suffix: str = "\n"
    completion_prefix: str = " "
    prompted_template: Annotated[str, Holds("{prompt}")] = "Question: {prompt}\n Answer:"


@dataclass(frozen=True)
class LabelerConfig:
    """Simulated labelers (sec. 3.4, B.1).

    n_hired: paper about 40. n_candidates: size of the pool that is screened (not in the paper). n_heldout: labelers
    that never make training data. agreement_train / agreement_heldout: targets that noise is calibrated to (paper:
    0.726 / 0.773). screen_*: soft cuts of B.1 (0.75 / 0.75 / 6 of 7; topics). careless_share: candidates who
    answer at random part of the time and whom screening should catch. flaw: chance that a demonstration has a slip.
    nice: chance of each nicety in a demonstration. unsure: chance that a labeler answers a question that has a popular
    wrong answer with "I do not know.".
    """

    n_candidates: PositiveInt = 90
    n_hired: Annotated[int, Range(2)] = 40
    n_heldout: Annotated[int, Range(2)] = 10
    agreement_train: Annotated[float, Range(0.5, 1)] = 0.726
    agreement_heldout: Annotated[float, Range(0.5, 1)] = 0.773
    screen_flagging: Fraction = 0.75
    screen_ranking: Fraction = 0.75
    screen_demonstration: Annotated[float, Range(0, 7)] = 6.0
    careless_share: Fraction = 0.25
    weight_spread: NonNegativeFloat = 0.25
    tie_below: NonNegativeFloat = 0.2
    flaw: Fraction = 0.3
    nice: Fraction = 0.4
    unsure: Fraction = 0.15


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and the clipping of its gradient, the same in every training stage. Learning rates are set by the stages.

    beta1, beta2: paper 0.9 and 0.95 (App. C). eps: the paper prints none (GPT-3's is 1e-8). 1e-5, usual for PPO, keeps Adam
    from turning gradients that are only rounding noise into whole steps; use less for models so large that their
    gradients are that small. weight_decay: of matrices, not of biases and layer norms (not in the paper). max_grad_norm:
    a longer gradient is scaled to this 2-norm (not in the paper; 1 is GPT-3's).
    """

    beta1: FractionBelowOne = 0.9
    beta2: FractionBelowOne = 0.95
    eps: PositiveFloat = 1e-5
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0


@dataclass(frozen=True)
class SFTConfig:
    """Supervised fine-tuning (sec. 3.5, C.1; PPO init: C.3).

    epochs: paper 16 (init: 2). learning_rate: paper 9.65e-6 (1.3B); cosine to `final_lr_fraction` 0.1, no warmup.
    batch_size: paper 32. dropout: paper 0.2, residual. pretrain_fraction: share of rows that are pretraining text
    (paper: 0 for SFT, 0.1 for the PPO init). checkpoints: epochs after which a checkpoint is kept; the final one is
    chosen by reward-model score on validation prompts. backend: "own" or "trl".
    """

    epochs: PositiveInt = 16
    learning_rate: NonNegativeFloat = 1e-3
    final_lr_fraction: Fraction = 0.1
    batch_size: PositiveInt = 32
    dropout: FractionBelowOne = 0.2
    optimizer: OptimizerConfig = OptimizerConfig()
    pretrain_fraction: FractionBelowOne = 0.0
    checkpoints: tuple[PositiveInt, ...] = (1, 2, 4, 8, 16)
    backend: Annotated[str, OneOf(("own", "trl"))] = "own"


@dataclass(frozen=True)
class SamplingConfig:
    """K outputs per prompt for the labelers to rank (sec. 3.5).

    k_min, k_max: paper 4 and 9. mix: policy name -> share of the K outputs; names: sft, sft_hot, init, base,
    prompted, other_same_task, other_any_task (answers to another prompt), repeated (an answer that repeats itself),
    near_miss (right and wrong answers that differ in content alone, written by the world).
    """

    k_min: Annotated[int, Range(2)] = 9
    k_max: Annotated[int, Range(2)] = 9
    mix: Annotated[dict[str, NonNegativeFloat], PositiveSum()] = field(
        default_factory=lambda: {
            "sft": 3.5,
            "init": 2.75,
            "sft_hot": 0.75,
            "base": 0.25,
            "prompted": 0.25,
            "other_same_task": 0.8,
            "other_any_task": 0.4,
            "repeated": 0.3,
            "near_miss": 0.0,
        }
    )
    hot_temperature: PositiveFloat = 1.3
    batch_size: PositiveInt = SAMPLING_BATCH


@dataclass(frozen=True)
class RewardConfig:
    """Reward model (Eq. 1, C.2).

    epochs: paper 1. learning_rate: paper 9e-6 (6B), cosine to 0.1. prompts_per_step: paper 64 distinct prompts.
    element: what one element of a batch is: "prompt", a whole ranking (the paper), or "pair", one pair of it (the
    shuffled pairs that the paper found to overfit, footnote 5). cv_groups, cv_prompts: cross-validation over groups of
    labelers (paper: 5 groups, 4.1); cv_prompts training prompts per fold. max_rankings: no more than the first so many
    rankings are trained on; None takes all. demonstration_mean: the mean reward of demonstrations after the shift that ends
    the training (paper: 0, C.2); None leaves the rewards as they were trained.
    """

    epochs: PositiveInt = 2
    learning_rate: NonNegativeFloat = 1e-3
    final_lr_fraction: Fraction = 0.1
    prompts_per_step: PositiveInt = 8
    optimizer: OptimizerConfig = OptimizerConfig()
    element: Annotated[str, OneOf(("prompt", "pair"))] = "prompt"
    max_rankings: PositiveInt | None = None
    demonstration_mean: Annotated[float, Range(-100, 100)] | None = 0.0
    cv_groups: NonNegativeInt = 5
    cv_prompts: PositiveInt = 400


@dataclass(frozen=True)
class PPOConfig:
    """PPO and PPO-ptx (Eq. 2, C.3-C.4, E.6-E.11).

    episodes_per_round: paper 512. minibatch_size: paper 64. inner_epochs: paper 1. rounds: paper 256k / 512 = 500.
    learning_rate: the paper's final value is not printed (swept 2.55e-6 .. 2.55e-5, E.9); value_learning_rate: paper
    9e-6. warmup_rounds: paper 10, linearly from `warmup_from` = 0.1 of the peak, then constant. beta: KL reward
    coefficient, paper 0.02. clip: paper 0.2. gae_gamma: paper 1. gae_lambda: not reported. temperature: paper 1.
    ema_decay: paper 0.992 per policy step. gamma_ptx: paper 27.8, multiplies the pretraining gradient; here it
    multiplies the mean loss per pretraining token, beside a policy loss that is a mean per response token.
    ptx_rows_per_episode: paper 8 pretraining examples per episode. value_warmup_rounds: rounds in which only the
    value model is trained (not in the paper). value_init: what the value model starts as: the "reward" model (paper) or the
    start of the "policy" with a new head.
    """

    rounds: PositiveInt = 60
    episodes_per_round: PositiveInt = 256
    minibatch_size: PositiveInt = 64
    inner_epochs: PositiveInt = 1
    learning_rate: NonNegativeFloat = 2.5e-4
    value_learning_rate: NonNegativeFloat = 7e-4
    warmup_rounds: NonNegativeInt = 10
    warmup_from: Fraction = 0.1
    value_warmup_rounds: NonNegativeInt = 3
    value_warmup_epochs: PositiveInt = 3
    value_init: Annotated[str, OneOf(("reward", "policy"))] = "reward"
    beta: NonNegativeFloat = 0.05
    clip: PositiveFloat = 0.2
    value_clip: PositiveFloat = 0.2
    gae_gamma: Fraction = 1.0
    gae_lambda: Fraction = 0.95
    whiten_advantages: bool = True
    temperature: PositiveFloat = 1.0
    ema_decay: FractionBelowOne = 0.95
    gamma_ptx: NonNegativeFloat = 0.0
    ptx_rows_per_episode: PositiveFloat = 0.125
    ptx_length: Annotated[int, Range(2)] = 96
    optimizer: OptimizerConfig = OptimizerConfig()
    eval_every_rounds: PositiveInt = 10
    eval_prompts: PositiveInt = 128


@dataclass(frozen=True)
class EvaluationConfig:
    """Final evaluation on test prompts (sec. 3.6, 4.1): every policy at temperature 1 and greedy.

    best_of: values of n for best-of-n against gold on validation prompts. confidence: of all intervals.
    """

    temperature: PositiveFloat = 1.0
    best_of: Annotated[tuple[PositiveInt, ...], NotEmpty()] = (1, 2, 4, 8, 16)
    best_of_prompts: PositiveInt = 200
    confidence: InnerFraction = 0.95
    batch_size: PositiveInt = SAMPLING_BATCH
    web_documents: PositiveInt = 400


@dataclass(frozen=True)
class ComputeConfig:
    """How the models compute and how they fit into memory (not in the paper).

    processes: worker processes of one thread each on a CPU, which run stages at the same time and share the work of a stage
    (`utils.pipeline.schedule`). 1 is none: all stages run one after another in this process. 0 chooses: one per core for a
    small model, else 1.
    precision: number format of the forward and backward passes: "auto" is bf16 on a GPU that has it in hardware, else fp32;
    "fp16" (with scaled losses) is for GPUs without bf16, such as a T4.
    Weights, gradients, optimizer, losses, KL and values are fp32 in any case. micro_batch: most sequences in one forward
    and backward pass of training; a step adds up as many passes as its batch needs, with the same result up to rounding.
    0 is as many as the memory plan allows (`utils.planning.memory`). sampling_batch: the same for what PPO samples at once.
    gradient_checkpointing: keep only each block's input and compute the rest again in the backward pass.
    lora_rank: rank of the LoRA adapters that are trained in place of the weights (`utils.models.lora`); 0 trains all weights.
    lora_alpha: the product of an adapter's two factors is multiplied by lora_alpha / lora_rank (Hu et al. 2021, arXiv
    2106.09685: 32 with rank 4 for GPT-2).
    """

    processes: NonNegativeInt = 0
    precision: Annotated[str, OneOf(PRECISIONS)] = "auto"
    micro_batch: NonNegativeInt = 0
    sampling_batch: NonNegativeInt = 0
    gradient_checkpointing: bool = False
    lora_rank: NonNegativeInt = 0
    lora_alpha: PositiveFloat = 32.0

    @property
    def lora(self) -> tuple[float, ...]:
        """The settings of LoRA that a result depends on; nothing if all weights are trained."""
        return (self.lora_rank, self.lora_alpha) if self.lora_rank else ()


@dataclass(frozen=True)
class Config:
    """One run. `model`: directory of the base causal LM. `largest_model`: the largest base, compared when prompted.

    world: name of the place whose truth is known, from which prompts, labelers, text and the gold score come
    (`utils.worlds`); "none" for the user's own data. web_documents: documents of pretraining text.

    tracking: where training stages send a copy of their metrics (none, tensorboard, wandb, ...: utils/core/tracking.py).
    """

    profile: Text = "tiny"
    seed: Annotated[int, Range(0, 2**63 - 1)] = 1
    out: Text = "runs/tiny"
    model: Text = "data/models/small"
    reward_init: str | None = None
    largest_model: str | None = "data/models/large"
    world: str = "tiny"
    web_documents: PositiveInt = 20_000
    device: Annotated[str, OneOf(DEVICES, numbered=True)] = "auto"
    tracking: Annotated[str, OneOf(TRACKERS)] = "none"
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    data: DataConfig = field(default_factory=DataConfig)
    labelers: LabelerConfig = field(default_factory=LabelerConfig)
    sft: SFTConfig = field(default_factory=SFTConfig)
    init: SFTConfig = field(default_factory=lambda: SFTConfig(epochs=8, dropout=0.0, pretrain_fraction=0.1, checkpoints=(8,)))
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    ppo_ptx: PPOConfig = field(default_factory=lambda: PPOConfig(gamma_ptx=1.0, ptx_rows_per_episode=0.375))
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def shortened(cfg: PPOConfig, rounds: int, **changes: Any) -> PPOConfig:
    """Settings for a short PPO run: few rounds need larger steps, a shorter warm-up and a shorter weight average."""
    short: dict[str, Any] = {
        "rounds": rounds,
        "warmup_rounds": 3,
        "learning_rate": 3e-4,
        "ema_decay": 0.9,
        "eval_every_rounds": 4,
    }
    return dataclasses.replace(cfg, **{**short, **changes})


# --- loading -------------------------------------------------------------------------------------------------------

Section = TypeVar("Section")

PROFILES = ROOT / "configs"
RETIRED = ("reward.read",)  # settings with one legal value that are gone; files that hold them stay readable
PUBLIC = "hub:"  # begins the name of a public dataset where a file could stand
# What `world` could be before worlds had names, in files and on command lines -> its name.
WORLD_BEFORE = {"true": "tiny", "false": "none", "none": "none", "null": "none"}
# Settings that stood in each training stage before its group `optimizer`: files and command lines may still say so.
OPTIMIZER_BEFORE = {
    "adam_beta1": "beta1",
    "adam_beta2": "beta2",
    "adam_eps": "eps",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
}


def load_config(profile: PathLike = "tiny", overrides: Mapping[str, Any] | None = None) -> Config:
    """Settings of a profile (`tiny`, `gpt2`, `full`: the files in configs/) or of a YAML file of one's own.

    What a file leaves out keeps the default of the dataclass. `overrides`: dotted names, such as {"ppo.beta": 0.02};
    text is read as the type of the setting. Raises UserError for an unknown profile or setting (with the nearest name
    that exists), for a wrong type and for a value out of range.
    """
    path = _profile_path(profile)
    config = _fill(Config(), _read_yaml(path), "", str(path))
    for name, value in ((_own_data(config, overrides) | dict(overrides)) if overrides else {}).items():
        nested: Any = value
        for part in reversed(name.split(".")):
            nested = {part: nested}
        config = _fill(config, nested, "", "the settings given", merge=True)
    check_config(config, f"{path} with the changes given" if overrides else str(path))
    return config


def _own_data(config: Config, overrides: Mapping[str, Any]) -> dict[str, None]:
    """Settings that a file of one's own rankings changes: the profile's public datasets for the other kinds of data go,
    unless they are asked for too, so that nothing is mixed that nobody chose and no network is needed."""
    given = str(overrides.get("data.comparisons") or "")
    if not given or (given.startswith(PUBLIC) and "=" not in given):  # "hub:NAME=FILE" is a file of one's own
        return {}
    return {
        f"data.{name}": None
        for name in ("prompts", "demonstrations", "pretraining")
        if str(getattr(config.data, name)).startswith(PUBLIC)
    }


def config_to_dict(config: Any) -> dict[str, Any]:
    """Settings (a Config or one of its sections) as nested dicts of plain values, as YAML and JSON hold them."""
    return plain(config)


def save_config(config: Config, path: PathLike) -> None:
    """Write all settings as YAML (ASCII, others escaped), atomically; `load_config(path)` gives them back equal."""
    write_text(path, yaml.safe_dump(config_to_dict(config), sort_keys=False))


def _profile_path(profile: PathLike) -> Path:
    """File of a profile's name or of a path."""
    path = Path(profile)
    if path.suffix in (".yaml", ".yml"):
        return path
    names = sorted(file.stem for file in PROFILES.glob("*.yaml"))
    if str(profile) not in names:
        raise UserError(f'Unknown profile "{profile}": use {", ".join(names)}, or the path of a .yaml file.')
    return PROFILES / f"{profile}.yaml"


def _read_yaml(path: Path) -> Mapping[str, Any]:
    """Top-level mapping of a YAML file (an empty file is an empty mapping)."""
    try:
        values = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", row {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path}{place}: broken YAML ({getattr(error, 'problem', error)}).") from None
    if values is not None and not isinstance(values, Mapping):
        raise UserError(f'{path}: expected settings such as "seed: 1", found something else.')
    return values or {}


def _fill(section: Section, values: Mapping[str, Any], prefix: str, where: str, merge: bool = False) -> Section:
    """`section` with `values` put in, section by section. `merge`: change single entries of a dict setting."""
    hints = field_types(type(section))
    values = _with_optimizer(values) if "optimizer" in hints else values
    changes = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name in RETIRED:
            continue
        if key not in hints:
            raise UserError(f'{where}: unknown setting "{name}"{_suggest(name, prefix, list(hints))}.')
        old = getattr(section, key)
        if name == "world":
            value = WORLD_BEFORE.get(str(value).lower(), value)
        if dataclasses.is_dataclass(old):
            if not isinstance(value, Mapping):
                raise UserError(f'{where}, setting "{name}": it is a group of settings; give {name}.NAME.')
            changes[key] = _fill(old, value, f"{name}.", where, merge)
            continue
        try:
            new = convert(value, hints[key])
        except ValueError as error:
            raise UserError(f'{where}, setting "{name}": {error}.') from None
        if isinstance(old, dict):
            for entry in new:
                if entry not in old:
                    raise UserError(f'{where}: unknown setting "{name}.{entry}"{_suggest(entry, name + ".", list(old))}.')
            new = {**old, **new} if merge else new
        changes[key] = new
    return dataclasses.replace(section, **changes)  # type: ignore[type-var]


def _with_optimizer(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of a stage with the optimizer's in their group, wherever they were given. The group itself goes first."""
    flat = {OPTIMIZER_BEFORE[key]: value for key, value in values.items() if key in OPTIMIZER_BEFORE}
    given = values.get("optimizer", {})
    if not flat or not isinstance(given, Mapping):
        return values
    rest = {key: value for key, value in values.items() if key not in OPTIMIZER_BEFORE}
    return {**rest, "optimizer": {**flat, **given}}


def _suggest(name: str, prefix: str, keys: list[str]) -> str:
    """The nearest setting that exists: of the same group, else of any group, else the names of the group."""
    last = name.rpartition(".")[2]
    near = [f"{prefix}{key}" for key in difflib.get_close_matches(last, keys, 1)]
    if not near:
        every = {full.rpartition(".")[2]: full for full, _ in _settings(Config())}
        near = [every[key] for key in difflib.get_close_matches(last, list(every), 1)]
    return f'; the nearest one is "{near[0]}"' if near else f"; use one of {', '.join(keys)}"


def _settings(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every single setting."""
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            yield from _settings(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value


def _check_ranges(section: Any, prefix: str, where: str) -> None:
    """Raise UserError for a setting whose value its type does not allow, group by group."""
    kind: Any = type(section)
    for name, hint in setting_types(kind).items():
        value = getattr(section, name)
        if dataclasses.is_dataclass(value):
            _check_ranges(value, f"{prefix}{name}.", where)
        elif said := advice(value, hint):
            raise UserError(f'{where}, setting "{prefix}{name}": {said}.')


def check_config(config: Config, where: str = "the settings") -> None:
    """Raise UserError, naming the setting, for a value that no run can use. `where`: what holds the settings."""
    _check_ranges(config, "", where)
    labelers, sampling = config.labelers, config.sampling
    if sampling.k_min > sampling.k_max:
        raise UserError(f'{where}, setting "sampling.k_min": it must be at most sampling.k_max, {sampling.k_max}.')
    if labelers.n_hired > labelers.n_candidates:
        raise UserError(
            f'{where}, setting "labelers.n_hired": {labelers.n_hired} cannot be hired from {labelers.n_candidates} '
            "labelers.n_candidates; lower the one or raise the other."
        )
    try:
        date.fromisoformat(config.data.template_date)
    except ValueError:
        raise UserError(
            f'{where}, setting "data.template_date": "{config.data.template_date}" is no date; write it as 2025-01-31.'
        ) from None
    for name, ppo in (("ppo", config.ppo), ("ppo_ptx", config.ppo_ptx)):
        if ppo.episodes_per_round % ppo.minibatch_size:
            raise UserError(f'{where}, setting "{name}.minibatch_size": it must divide {name}.episodes_per_round.')
        if ppo.rounds <= ppo.value_warmup_rounds:
            raise UserError(
                f'{where}, setting "{name}.rounds": it is {ppo.rounds}, but the first {ppo.value_warmup_rounds} rounds train '
                f"the value model alone; raise it or lower {name}.value_warmup_rounds."
            )
