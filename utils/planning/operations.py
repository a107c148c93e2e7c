"""Cost of a run before it starts: floating-point operations by stage, petaflop/s-days, GPU hours, seconds here.

A forward pass costs 2 operations per token and weight, and 4 per layer, unit of width and query-key pair of attention.
A backward pass costs twice as much (Kaplan et al. 2020, arXiv 2001.08361, sec. 2.1; GPT-3,
arXiv 2005.14165, App. D, which leaves attention out), or the same through weights that LoRA freezes.
`stage_work` lists every pass of every stage; the rest sums them. The same function plans the tiny profile and the paper's
175B run (`paper_plan`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from utils.config import SAMPLING_BATCH, Config, PPOConfig, SFTConfig, load_config
from utils.core.errors import UserError
from utils.core.runtime import locate
from utils.evaluation.policies import EVALUATED, KL_ROWS
from utils.models.directories import model_directory, quiet_transformers
from utils.reward.cross_validation import training_rows
from utils.reward.scoring import SCORE_TOKENS
from utils.sft.rows import EVAL_ROWS
from utils.sft.run import SELECTION_PROMPTS, kept_epochs
from utils.sft.run import plan as split_batch
from utils.worlds.registry import world_of

PF_DAY = 1e15 * 86_400  # operations of one petaflop/s-day
TRAIN = 3  # forward and backward, in forwards
TRAIN_FROZEN = 2  # the same for weights that get no gradient but pass one on
TRAINING = ("train", "ranked")


# --- models --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """What a decoder-only transformer costs.

    matrices: weights of the blocks' matrices, each token is multiplied with each once. head: weights of the unembedding.
    width: of attention (heads times head size). parameters: all weights, tied ones once. sides: inputs plus outputs of
    the blocks' matrices, which is the size of LoRA adapters of rank 1.
    """

    name: str
    layers: int
    width: int
    matrices: int
    head: int
    parameters: int
    sides: int


def gpt_shape(name: str, layers: int, width: int, vocabulary: int = 50_257, context: int = 1024) -> Shape:
    """A GPT-2 or GPT-3: four matrices per block, 12 width^2 weights; tied embedding; learned positions."""
    matrices, head = 12 * layers * width**2, vocabulary * width
    vectors = layers * 13 * width + 2 * width
    return Shape(name, layers, width, matrices, head, matrices + vectors + head + context * width, 16 * layers * width)


KNOWN = {
    shape.name: shape
    for shape in (
        gpt_shape("distilgpt2", 6, 768),
        gpt_shape("gpt2", 12, 768),
        gpt_shape("gpt2-medium", 24, 1024),
        gpt_shape("gpt2-large", 36, 1280),
        gpt_shape("gpt2-xl", 48, 1600),
        gpt_shape("gpt3-1.3b", 24, 2048, context=2048),  # GPT-3 paper, Table 2.1
        gpt_shape("gpt3-6b", 32, 4096, context=2048),
        gpt_shape("gpt3-175b", 96, 12_288, context=2048),
    )
}


def shape_of(model: str | Path) -> Shape:
    """Shape of a model by a known name (`gpt2-xl`, `openai-community/gpt2-xl`, `gpt3-175b`) or from its directory.

    Only config.json is read: the model is built without memory for its weights. Raises UserError if there is neither.
    """
    place = locate(model)
    name = str(model).partition("@")[0].rpartition("/")[2]
    if not place.is_dir() and name in KNOWN:
        return KNOWN[name]
    directory = model_directory(place)
    try:
        with quiet_transformers(), torch.device("meta"):
            config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
            empty = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{model}: its config.json does not describe a causal language model ({reason}).") from None
    return shape_of_model(empty, directory.name)


def shape_of_model(model: Any, name: str) -> Shape:
    """Shape of a causal language model (its weights may be on the meta device)."""
    config, output = model.config, model.get_output_embeddings()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    blocks = [m for m in model.base_model.modules() if isinstance(m, torch.nn.Linear | Conv1D)]
    return Shape(
        name, config.num_hidden_layers, heads * size, sum(m.weight.numel() for m in blocks), output.weight.numel(),
        sum(p.numel() for p in {id(p): p for p in model.parameters()}.values()), sum(sum(m.weight.shape) for m in blocks),
    )  # fmt: skip


# --- data ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """How much each stage reads: rows of the sets, and mean tokens of prompts and answers in them.

    drawn: answers sampled per prompt before ranking. distinct: answers per prompt that the reward model reads.
    """

    n_sft: float
    n_rm: float
    n_valid: float
    n_test: float
    sft_prompt: float
    demonstration: float
    rm_prompt: float
    completion: float
    ppo_prompt: float
    response: float
    drawn: float
    distinct: float


SAMPLED = ("sft", "sft_hot", "init", "base", "prompted")


def data_at_limits(config: Config) -> Data:
    """As many rows as the settings ask for, every prompt and answer at its length limit: the most expensive case."""
    d, s = config.data, config.sampling
    k = (s.k_min + s.k_max) / 2
    share = sum(s.mix.get(name, 0.0) for name in SAMPLED) / sum(s.mix.values())
    prompt, answer = d.max_prompt_tokens, d.max_response_tokens
    lengths = (prompt, answer, prompt, answer, prompt, answer)
    return Data(d.n_sft, d.n_rm, d.n_valid, d.n_test, *lengths, drawn=k * share, distinct=k)


@dataclass(frozen=True)
class Counting:
    """What is counted. attention: query-key pairs too. every_logit: the unembedding at every token, else only where a
    loss or a sample reads it. shared_prompts: the reward model reads a prompt once for all its answers. recompute:
    a training pass runs forward twice (activation checkpointing)."""

    attention: bool = True
    every_logit: bool = False
    shared_prompts: bool = True
    recompute: bool = False


# --- passes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """Passes of one kind of one model in a stage.

    kind: "train" (forward and backward), "ranked" (the same on K-wise batches), "forward", or "decode" (one token per row
    and call, with a cache). tokens, pairs (query-key), logits: over all passes. calls: how often the model is called.
    steps: optimizer steps. rank: of the LoRA adapters that a training pass trains in place of the weights, 0 for none; other
    passes are counted as if the adapters were merged.
    """

    stage: str
    part: str
    kind: str
    shape: Shape
    tokens: float
    pairs: float
    logits: float
    calls: float
    steps: float = 0.0
    recompute: bool = False
    rank: int = 0

    @property
    def flops(self) -> float:
        """Floating-point operations."""
        weights = 2.0 * (self.shape.matrices * self.tokens + self.shape.head * self.logits)
        attention = 4.0 * self.shape.layers * self.shape.width * self.pairs
        if self.kind not in TRAINING:
            return weights + attention
        adapters = 2.0 * self.rank * self.shape.sides * self.tokens
        through = TRAIN_FROZEN if self.rank else TRAIN
        return (through + self.recompute) * weights + (TRAIN + self.recompute) * (attention + adapters)


@dataclass(frozen=True)
class Pass:
    """What is done with sequences: the stage and the part of it that count the work, the kind of `Work`, the model.

    scalar: the model has a scalar head, so it has no logits.
    """

    stage: str
    part: str
    kind: str
    shape: Shape
    scalar: bool = False


@dataclass(frozen=True)
class Texts:
    """`rows` sequences, and the mean tokens of their prompts and answers."""

    rows: float
    prompt: float
    answer: float


def read(done: Pass, texts: Texts, calls: float, counting: Counting, steps: float = 0.0) -> Work:
    """Every sequence in one pass: its prompt and its answer, with logits at the answer.

    calls: how often the model is called. steps: optimizer steps.
    """
    length = texts.prompt + texts.answer
    logits = 0.0 if done.scalar else texts.rows * (length if counting.every_logit else texts.answer)
    pairs = texts.rows * length * (length + 1) / 2 if counting.attention else 0.0
    tokens = texts.rows * length
    return Work(done.stage, done.part, done.kind, done.shape, tokens, pairs, logits, calls, steps, counting.recompute)


@dataclass(frozen=True)
class Batches:
    """How answers are sampled: sequences at once, and the most tokens of one answer."""

    rows: int
    longest: float


def sampling(stage: str, part: str, shape: Shape, texts: Texts, batches: Batches, counting: Counting) -> list[Work]:
    """Sampled answers: each prompt is read once, then each token of the answer alone, with keys and values kept."""
    calls = math.ceil(texts.rows / batches.rows)
    first = read(Pass(stage, f"{part}: prompts", "forward", shape), replace(texts, answer=0.0), calls, counting)
    if not counting.every_logit:
        first = replace(first, logits=texts.rows)  # the last position's
    tokens = texts.rows * texts.answer
    pairs = tokens * (texts.prompt + (texts.answer + 1) / 2) if counting.attention else 0.0
    return [first, Work(stage, part, "decode", shape, tokens, pairs, tokens, calls * batches.longest)]


def stage_work(config: Config, policy: Shape, reward: Shape, data: Data, counting: Counting | None = None) -> list[Work]:
    """Every pass of every stage of a run. The value model has the reward model's shape."""
    counting = counting or Counting()
    work = [
        *_sft(config, "sft", config.sft, policy, data, counting),
        *_sft(config, "init", config.init, policy, data, counting),
        *_comparisons(config, policy, data, counting),
        *_reward(config, reward, data, counting),
        *_selection(config, policy, reward, data, counting),
        *_ppo(config, "ppo", config.ppo, policy, reward, data, counting),
        *_ppo(config, "ppo_ptx", config.ppo_ptx, policy, reward, data, counting),
        *_evaluation(config, policy, reward, data, counting),
    ]
    return [replace(item, rank=config.compute.lora_rank) for item in work]


def _sft(config: Config, stage: str, cfg: SFTConfig, shape: Shape, data: Data, counting: Counting) -> list[Work]:
    """Demonstrations for some epochs, pretraining rows beside them, and the validation loss after every epoch."""
    batch = split_batch(cfg, math.ceil(data.n_sft))
    steps = cfg.epochs * batch.steps_per_epoch
    seen, held_out = (Texts(cfg.epochs * n, data.sft_prompt, data.demonstration) for n in (data.n_sft, data.n_valid))
    parts = [
        read(Pass(stage, "update", "train", shape), seen, steps, counting, steps),
        read(Pass(stage, "validation", "forward", shape), held_out, cfg.epochs * math.ceil(data.n_valid / EVAL_ROWS), counting),
    ]
    if batch.pretrain:
        rows = Texts(steps * batch.pretrain, 0.0, config.ppo_ptx.ptx_length)
        parts.append(read(Pass(stage, "pretraining mix", "train", shape), rows, steps, counting))
    return parts


def _comparisons(config: Config, shape: Shape, data: Data, counting: Counting) -> list[Work]:
    """Answers to rank; none where rankings are given."""
    if config.data.comparisons is not None:
        return []
    rows = (data.n_rm + data.n_valid + data.n_test) * data.drawn
    batches = Batches(config.sampling.batch_size, config.data.max_response_tokens)
    return sampling("comparisons", "sampling", shape, Texts(rows, data.rm_prompt, data.completion), batches, counting)


def kwise(part: str, kind: str, shape: Shape, rows: float, calls: float, data: Data, counting: Counting) -> Work:
    """`rows` ranked prompts read by the reward model; the prompt once, or once for each answer."""
    k, prompt = data.distinct, data.rm_prompt
    steps = calls if kind == "ranked" else 0.0
    texts = Texts(rows * k, prompt, data.completion)
    work = read(Pass("reward", part, kind, shape, scalar=True), texts, calls, counting, steps)
    if not counting.shared_prompts:
        return work
    spared = rows * (k - 1) * prompt
    pairs = work.pairs - spared * (prompt + 1) / 2 if counting.attention else 0.0
    return replace(work, tokens=work.tokens - spared, pairs=pairs)


def _reward(config: Config, shape: Shape, data: Data, counting: Counting) -> list[Work]:
    """Training and accuracy on unseen prompts (both groups of labelers); cross-validation over groups of labelers is a stage
    of its own."""
    cfg = config.reward
    size = data.rm_prompt + data.distinct * data.completion
    evaluated = 2 * data.n_test
    trained = data.n_rm if cfg.max_rankings is None else min(data.n_rm, cfg.max_rankings)
    parts = [
        kwise("update", "ranked", shape, cfg.epochs * trained, cfg.epochs * _steps(trained, cfg.prompts_per_step), data,
               counting),
        kwise("evaluation", "forward", shape, evaluated, math.ceil(evaluated * size / SCORE_TOKENS), data, counting),
    ]  # fmt: skip
    if cfg.cv_groups > 1:
        others = round(data.n_rm * (1 - 1 / cfg.cv_groups))
        rows = cfg.cv_groups * cfg.epochs * training_rows(others, cfg.cv_prompts)
        update = kwise("update", "ranked", shape, rows, rows / cfg.prompts_per_step, data, counting)
        parts.append(replace(update, stage="cross_validation"))
    return parts


def _steps(rows: float, batch: int) -> int:
    return math.ceil(rows / batch)


def _selection(config: Config, policy: Shape, reward: Shape, data: Data, counting: Counting) -> list[Work]:
    """Every kept SFT checkpoint answers validation prompts, and the reward model scores the answers."""
    kept = len(kept_epochs(config.sft))
    texts = Texts(min(SELECTION_PROMPTS, data.n_valid), data.rm_prompt, data.demonstration)
    batches = Batches(config.evaluation.batch_size, config.data.max_response_tokens)
    answered = sampling("sft_select", "sampling", policy, texts, batches, counting)
    calls = kept * _scoring_calls(texts)
    scored = Pass("sft_select", "scoring", "forward", reward, scalar=True)
    score = read(scored, replace(texts, rows=kept * texts.rows), calls, counting)
    return [*(_times(work, kept) for work in answered), score]


def _scoring_calls(texts: Texts) -> int:
    """Calls in which the reward model scores these texts."""
    return math.ceil(texts.rows * (texts.prompt + texts.answer) / SCORE_TOKENS)


def _ppo(
    config: Config, stage: str, cfg: PPOConfig, policy: Shape, reward: Shape, data: Data, counting: Counting
) -> list[Work]:
    """Sampling, the three readings of each answer, the updates of policy and value, pretraining rows."""
    one = Texts(cfg.episodes_per_round, data.ppo_prompt, data.response)  # a round
    episodes = replace(one, rows=cfg.rounds * cfg.episodes_per_round)
    only = cfg.value_warmup_rounds * cfg.episodes_per_round
    trained = replace(one, rows=cfg.inner_epochs * (episodes.rows - only))
    valued = replace(one, rows=trained.rows + cfg.value_warmup_epochs * only)
    batches, updates, value_updates = (texts.rows / cfg.minibatch_size for texts in (episodes, trained, valued))
    longest = config.data.max_response_tokens
    sample = Batches(config.compute.sampling_batch or SAMPLING_BATCH, longest)
    parts = [
        *(_times(work, cfg.rounds) for work in sampling(stage, "sampling", policy, one, sample, counting)),
        read(Pass(stage, "reward model", "forward", reward, scalar=True), episodes, cfg.rounds * _scoring_calls(one), counting),
        read(Pass(stage, "reference", "forward", policy), episodes, batches, counting),
        read(Pass(stage, "values", "forward", reward, scalar=True), episodes, batches, counting),
        read(Pass(stage, "policy update", "train", policy), trained, updates, counting, updates),
        read(Pass(stage, "value update", "train", reward, scalar=True), valued, value_updates, counting, value_updates),
    ]
    if cfg.gamma_ptx > 0:
        rows = Texts(trained.rows * cfg.ptx_rows_per_episode, 0.0, cfg.ptx_length)
        parts.append(read(Pass(stage, "pretraining mix", "train", policy), rows, updates, counting))
    if world_of(config):
        probes = cfg.rounds // max(1, cfg.eval_every_rounds)
        asked = replace(one, rows=min(cfg.eval_prompts, data.n_valid))
        probe = sampling(stage, "gold probe", policy, asked, Batches(config.evaluation.batch_size, longest), counting)
        parts += [_times(work, probes) for work in probe]
    return parts


def _times(work: Work, n: float) -> Work:
    return replace(work, tokens=n * work.tokens, pairs=n * work.pairs, logits=n * work.logits, calls=n * work.calls)


def _evaluation(config: Config, policy: Shape, reward: Shape, data: Data, counting: Counting) -> list[Work]:
    """Six policies answer every test prompt, at temperature 1 and greedy, with best-of-n on validation prompts; without the
    gold rubric at temperature 1 alone, scored by the reward model. Both models of the KL read what was sampled."""
    cfg = config.evaluation
    one = Texts(data.n_test, data.rm_prompt, data.response)  # answers of one policy
    answered = replace(one, rows=len(EVALUATED) * one.rows)
    sampled = answered.rows
    if world_of(config):
        sampled += answered.rows + max(cfg.best_of) * min(cfg.best_of_prompts, data.n_valid)
    batches = Batches(cfg.batch_size, config.data.max_response_tokens)
    parts = sampling("evaluate", "sampling", policy, replace(one, rows=sampled), batches, counting)
    twice = replace(one, rows=2 * answered.rows)
    parts.append(read(Pass("evaluate", "KL", "forward", policy), twice, math.ceil(twice.rows / KL_ROWS), counting))
    if world_of(config) is None:
        calls = len(EVALUATED) * _scoring_calls(one)
        parts.append(read(Pass("evaluate", "scoring", "forward", reward, scalar=True), answered, calls, counting))
    return parts


def by_stage(work: Sequence[Work]) -> dict[str, float]:
    """Operations of each stage, in order."""
    found: dict[str, float] = {}
    for item in work:
        found[item.stage] = found.get(item.stage, 0.0) + item.flops
    return found


# --- the paper -----------------------------------------------------------------------------------------------------

PAPER_PF_DAYS = {"sft": 4.9, "ppo_ptx": 60.0, "pretraining": 3640.0}  # sec. 5.1
PRETRAINING_TOKENS = 300e9  # GPT-3 paper, Table 2.1
PAPER_COUNTING = Counting(attention=False, every_logit=True, shared_prompts=False)
PAPER_MEANS = {"sft_prompt": 408.0, "demonstration": 43.0, "rm_prompt": 199.0, "ppo_prompt": 166.0}  # Tables 9, 11
PAPER_ASSUMPTIONS = (
    "FLOPs: 2 per weight and token forward, 6 with the backward pass; attention's query-key products left out, as in the "
    "table of training compute that gives GPT-3 its 3,640 petaflop/s-days (arXiv 2005.14165, App. D)",
    "length: every sequence costs the full context of 2,048 tokens, as if padded to it (1,024 of prompt, 1,024 of answer). "
    "This is the assumption that makes both numbers fit; the paper does not say how its batches are laid out",
    "data: 12,725 demonstrations for 16 epochs (Table 6, C.1); 256,000 episodes and 8 pretraining examples per episode "
    "(C.4), each a full context",
    "models: policy 175B, reward and value model 6B (GPT-3's 6.7B shape); each answer is sampled once with cached keys and "
    "values, read once by reference, reward and value model, and trained on once by policy and value model",
    "not counted: the init model (C.3), reward-model training and its cross-validation, samples for labelers, evaluation; no "
    "recomputation of activations",
)


def paper_config() -> Config:
    """The full profile with what the paper prints of lengths (App. C) and batch (C.1: 8 at 175B) put in."""
    changes: dict[str, Any] = {
        "data.max_prompt_tokens": 1024, "data.max_response_tokens": 1024, "ppo_ptx.ptx_length": 2048, "sft.batch_size": 8,
        "init.batch_size": 8, "data.comparisons": None,
    }  # fmt: skip
    config = load_config("full", changes)
    return replace(config, data=replace(config.data, n_valid=0, n_test=0))  # the paper's plan has no validation


@dataclass(frozen=True)
class Alternative:
    """Another assumption, and the petaflop/s-days it gives."""

    name: str
    sft: float
    ppo_ptx: float


@dataclass(frozen=True)
class PaperPlan:
    """Petaflop/s-days of the paper's run by stage and part, beside the numbers of the paper.

    stages: cross_validation is an experiment of the paper (4.1) beside its recipe. parts: of PPO-ptx.
    """

    stages: dict[str, float]
    parts: dict[str, float]
    pretraining: float
    alternatives: list[Alternative] = field(default_factory=list)


def paper_plan(policy: str = "gpt3-175b") -> PaperPlan:
    """The paper's run computed from its settings and data (PAPER_ASSUMPTIONS), with other assumptions beside it."""
    config, shape, reward = paper_config(), KNOWN[policy], KNOWN["gpt3-6b"]
    data = data_at_limits(config)
    work = stage_work(config, shape, reward, data, PAPER_COUNTING)
    parts: dict[str, float] = {}
    for item in work:
        if item.stage == "ppo_ptx":
            name = item.part.partition(":")[0]
            parts[name] = parts.get(name, 0.0) + item.flops / PF_DAY
    pretraining = read(Pass("", "", "train", shape), Texts(1, 0, PRETRAINING_TOKENS), 1, PAPER_COUNTING).flops / PF_DAY
    stages = {name: flops / PF_DAY for name, flops in by_stage(work).items()}
    return PaperPlan(stages, parts, pretraining, _alternatives(config, shape, reward, data))


def _alternatives(config: Config, shape: Shape, reward: Shape, data: Data) -> list[Alternative]:
    """What other readings of the paper would give."""
    means = replace(data, **PAPER_MEANS, response=43.0)

    def cost(name: str, config: Config, data: Data, counting: Counting) -> Alternative:
        found = by_stage(stage_work(config, shape, reward, data, counting))
        return Alternative(name, found["sft"] / PF_DAY, found["ppo_ptx"] / PF_DAY)

    short = load_config("full", {"ppo_ptx.ptx_length": 1024, "sft.batch_size": 8})
    return [
        cost("attention's query-key products counted too", config, data, replace(PAPER_COUNTING, attention=True)),
        cost("activations recomputed in the backward pass: 4 forwards for 3 in training", config, data,
             replace(PAPER_COUNTING, recompute=True)),
        cost("a context of 2,000 tokens", replace(config, ppo_ptx=replace(config.ppo_ptx, ptx_length=2000)),
             _scaled(data, 2000 / 2048), PAPER_COUNTING),
        cost("no padding: mean lengths of Tables 9 and 11, answers of 43 tokens", config, means, PAPER_COUNTING),
        cost("no padding, answers of the 1,000 tokens allowed", config, replace(means, response=1000.0), PAPER_COUNTING),
        cost("no padding, pretraining examples of 1,024 tokens", replace(config, ppo_ptx=short.ppo_ptx), means,
             PAPER_COUNTING),
    ]  # fmt: skip


def _scaled(data: Data, factor: float) -> Data:
    names = ("sft_prompt", "demonstration", "rm_prompt", "completion", "ppo_prompt", "response")
    return replace(data, **{name: factor * getattr(data, name) for name in names})


def paper_record(plan: PaperPlan) -> dict[str, Any]:
    """The paper's plan as one JSON object."""
    return {
        "sft_175b_pf_days": plan.stages["sft"],
        "ppo_ptx_175b_pf_days": plan.stages["ppo_ptx"],
        "pretraining_175b_pf_days": plan.pretraining,
        "paper_sft_175b_pf_days": PAPER_PF_DAYS["sft"],
        "paper_ppo_ptx_175b_pf_days": PAPER_PF_DAYS["ppo_ptx"],
        "paper_pretraining_175b_pf_days": PAPER_PF_DAYS["pretraining"],
        "ppo_ptx_parts_pf_days": plan.parts,
        "other_stages_pf_days": {k: v for k, v in plan.stages.items() if k not in ("sft", "ppo_ptx")},
        "assumptions": list(PAPER_ASSUMPTIONS),
        "other_assumptions": [
            {"assumption": a.name, "sft_175b_pf_days": a.sft, "ppo_ptx_175b_pf_days": a.ppo_ptx} for a in plan.alternatives
        ],
    }  # fmt: skip


# --- memory --------------------------------------------------------------------------------------------------------

# Bytes per weight: bf16 weight and gradient, and in fp32 the weight itself and Adam's two moments (ZeRO, arXiv 1910.02054,
# sec. 3.1); a model that is only read has the bf16 weight alone; the averaged policy is kept in fp32.
TRAINED_BYTES, READ_BYTES, AVERAGE_BYTES = 16, 2, 4
CACHE_BYTES = 2


@dataclass(frozen=True)
class Resident:
    """One model of PPO in memory: gigabytes of all that is kept of it, over all GPUs."""

    role: str
    shape: Shape
    bytes_per_weight: int

    @property
    def gigabytes(self) -> float:
        """10^9 bytes."""
        return self.shape.parameters * self.bytes_per_weight / 1e9


def residents(policy: Shape, reward: Shape) -> list[Resident]:
    """The four models of PPO (C.4: policy, value, reward, and the initial policy as reference) and the averaged policy."""
    return [
        Resident("policy, trained", policy, TRAINED_BYTES),
        Resident("value, trained", reward, TRAINED_BYTES),
        Resident("reference, read", policy, READ_BYTES),
        Resident("reward, read", reward, READ_BYTES),
        Resident("averaged policy, fp32 (may lie in CPU memory)", policy, AVERAGE_BYTES),
    ]


def cache_gigabytes(shape: Shape, tokens: float) -> float:
    """Keys and values of `tokens` tokens in bf16 while sampling, with as many key heads as query heads."""
    return 2 * shape.layers * shape.width * CACHE_BYTES * tokens / 1e9


# --- growth --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Growth:
    """One panel: petaflop/s-days of some stages (by label) at the values `x` of one setting, all else as in the paper."""

    label: str
    x: list[float]
    lines: dict[str, list[float]]
    log_x: bool = True


SIZES = ("gpt2", "gpt2-medium", "gpt3-1.3b", "gpt3-6b", "gpt3-175b")
STAGES_SHOWN = {"sft": "SFT", "reward": "reward model", "ppo": "PPO", "ppo_ptx": "PPO-ptx"}


def growth() -> list[Growth]:
    """How the paper's run grows with the policy's size, K, episodes and pretraining examples per episode."""
    config, reward = paper_config(), KNOWN["gpt3-6b"]

    def stages(config: Config, policy: str = "gpt3-175b", data: Data | None = None) -> dict[str, float]:
        work = stage_work(config, KNOWN[policy], reward, data or data_at_limits(config), PAPER_COUNTING)
        return {name: flops / PF_DAY for name, flops in by_stage(work).items()}

    def panel(label: str, x: Sequence[float], found: Sequence[dict[str, float]], shown: Mapping[str, str]) -> Growth:
        return Growth(label, list(x), {name: [costs[key] for costs in found] for key, name in shown.items()})

    sizes = panel("parameters of the policy", [KNOWN[name].parameters for name in SIZES],
                  [stages(config, name) for name in SIZES], STAGES_SHOWN)  # fmt: skip
    ks = range(2, 10)
    by_k = [stages(replace(config, sampling=replace(config.sampling, k_min=k, k_max=k))) for k in ks]
    answers = panel("K, answers ranked per prompt", ks, by_k, {"comparisons": "sampling K answers",
                    "reward": "reward model, K passes per prompt"})  # fmt: skip
    pairs = [costs["reward"] * (k - 1) for k, costs in zip(ks, by_k, strict=True)]  # 2 C(K, 2) passes instead of K
    answers = replace(answers, lines={**answers.lines, "reward model, two passes per pair": pairs}, log_x=False)
    rounds = (50, 100, 250, 500, 1000)
    by_rounds = [stages(_with_ppo(config, rounds=n)) for n in rounds]
    episodes = panel("episodes", [n * config.ppo.episodes_per_round for n in rounds], by_rounds,
                     {"ppo": "PPO", "ppo_ptx": "PPO-ptx"})  # fmt: skip
    ratios = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
    by_ratio = [stages(_with_ppo(config, ptx_rows_per_episode=ratio)) for ratio in ratios]
    ratio = panel("pretraining examples per episode", ratios, by_ratio, {"ppo": "PPO", "ppo_ptx": "PPO-ptx"})
    return [sizes, answers, episodes, replace(ratio, log_x=False)]


def _with_ppo(config: Config, **changes: Any) -> Config:
    return replace(config, ppo=replace(config.ppo, **changes), ppo_ptx=replace(config.ppo_ptx, **changes))


# --- GPUs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GPU:
    """A GPU type: memory in GB, and peak dense operations per second by number format, as the manufacturer states them."""

    name: str
    memory: float
    peak: Mapping[str, float]


GPUS = {
    gpu.name: gpu
    for gpu in (
        GPU("T4", 16, {"fp32": 8.1e12, "fp16": 65e12}),
        GPU("V100", 32, {"fp32": 15.7e12, "fp16": 125e12}),
        GPU("L4", 24, {"fp32": 30.3e12, "fp16": 121e12, "bf16": 121e12}),
        GPU("A100", 80, {"fp32": 19.5e12, "fp16": 312e12, "bf16": 312e12}),
        GPU("H100", 80, {"fp32": 67e12, "fp16": 989e12, "bf16": 989e12}),
    )
}
# Assumed, not measured: the share of the peak that a pass reaches. A decoding step reads all weights for one token per row.
UTILISATION = {"train": 0.35, "ranked": 0.35, "forward": 0.35, "decode": 0.05}


def gpu_hours(work: Sequence[Work], gpu: GPU, number_format: str, utilisation: Mapping[str, float] = UTILISATION) -> float:
    """GPU hours on this kind of GPU. Raises UserError if the GPU lacks the number format."""
    if number_format not in gpu.peak:
        raise UserError(f"{gpu.name} has no {number_format} in hardware: use {' or '.join(gpu.peak)}.")
    peak = gpu.peak[number_format]
    return sum(item.flops / (peak * utilisation[item.kind]) for item in work) / 3600
