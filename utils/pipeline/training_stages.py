"""Stages that train: sft, init, reward, sft_select, ppo, ppo_ptx, cross_validation (sec. 3.5, 4.1, App. C)."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from utils.config import PPOConfig
from utils.core import processes
from utils.core.io import digest_path, read_jsonl, write_json
from utils.core.runtime import choose_device, progress
from utils.data.encoding import encode_prompts
from utils.data.schemas import Comparison, Prompt
from utils.evaluation.minimal_pairs import PAIRS, PAIRS_SEED, judged_right
from utils.evaluation.statistics import mean_se
from utils.models.tokenizers import check_same_vocabulary, load_tokenizer
from utils.pipeline.base import prepared, setup_of
from utils.pipeline.data_stages import pretraining_texts
from utils.pipeline.run import Run
from utils.ppo.train import PPOInputs, train_ppo
from utils.pretraining.replay import replay_rows
from utils.pretraining.rows import WEB_SEED, token_rows, world_rows
from utils.reward.cross_validation import cross_validate
from utils.reward.evaluation import evaluate_reward
from utils.reward.metrics import Accuracy, pair_accuracy, rank_values
from utils.reward.scoring import RewardModel
from utils.reward.train import train_reward
from utils.sampling.sampler import Response, Sampler
from utils.sft.run import SELECTION_PROMPTS, SFTData, plan
from utils.sft.train import select_checkpoint, train_sft
from utils.training.loop import METRICS
from utils.worlds.protocol import World
from utils.worlds.registry import known_world, world_of

FEWEST_ROWS = 32


def pretraining_rows(run: Run, length: int, folder: Path | None = None) -> Tensor:
    """Rows (N, length) for the pretraining mix and for PPO-ptx, from the user's text or the world's documents; if there
    are neither, the base model writes them (`utils.pretraining.replay`)."""
    cfg, world = run.config, world_of(run.config)
    if cfg.data.pretraining is not None:
        return token_rows(run.tokenizer(), pretraining_texts(run, cfg.data.pretraining, folder), length)
    if world is None:
        return _replay(run, length)
    base = run.model_dir("base")
    return _rows_of_world(world.name, cfg.web_documents, length, base, digest_path(base))


@functools.lru_cache(maxsize=2)  # init, PPO-ptx and every run of a sweep read the same rows; nobody changes them
def _rows_of_world(name: str, documents: int, length: int, base: Path, content: str) -> Tensor:
    """Rows (N, length) of a world's text in the tokens of a base. content: digest of its folder, so that a change counts."""
    world = known_world(name)
    return world_rows(world, load_tokenizer(base), world.documents(documents, WEB_SEED), length)


def _replay(run: Run, length: int) -> Tensor:
    """Rows of the base model's own text, as many as the run can use, at most `data.pretraining_samples`."""
    cfg = run.config
    per_step = plan(cfg.init, len(run.demonstrations("train")))
    init_rows = cfg.init.epochs * per_step.steps_per_epoch * per_step.pretrain
    ppo_rows = round(cfg.ppo_ptx.rounds * cfg.ppo_ptx.episodes_per_round * cfg.ppo_ptx.ptx_rows_per_episode)
    count = min(cfg.data.pretraining_samples, max(init_rows, ppo_rows, FEWEST_ROWS))
    if processes.is_main():
        print(
            f"No pretraining text is given (--pretraining FILE): {count} rows of {length} tokens that the base model itself "
            "writes are used instead.",
            flush=True,
        )
    cache = run.path("base") / "replay.safetensors"
    device = choose_device(cfg.device)
    return replay_rows(run.model_dir("base"), cache, count, length, cfg.seed, device, cfg.sampling.batch_size)


def sft_stage(run: Run, folder: Path) -> None:
    """Supervised fine-tuning for up to 16 epochs. Its checkpoints are kept; sft_select chooses one by reward (sec. 3.5)."""
    cfg = run.config
    train, valid = run.demonstrations("train"), run.demonstrations("valid")
    train_sft(folder, run.model_dir("base"), SFTData(train, valid), cfg.sft, setup_of(run, "sft"))


def init_stage(run: Run, folder: Path) -> None:
    """The model that PPO starts from: few epochs with 10 % pretraining text (C.3)."""
    cfg = run.config
    train, valid = run.demonstrations("train"), run.demonstrations("valid")
    rows = pretraining_rows(run, cfg.ppo_ptx.ptx_length, folder) if cfg.init.pretrain_fraction > 0 else None
    train_sft(folder, run.model_dir("base"), SFTData(train, valid, rows), cfg.init, setup_of(run, "init"), label="init")


# --- reward model --------------------------------------------------------------------------------------------------


def reward_stage(run: Run, folder: Path) -> None:
    """Train the reward model, shift it to mean 0 on demonstrations, and evaluate it on prompts that it never saw: against
    labels, held-out labelers and gold."""
    cfg = run.config
    # Training; the shift is part of the model that is saved.
    comparisons, demonstrations = run.comparisons("train")[: cfg.reward.max_rankings], run.demonstrations("train")
    start, setup = reward_init_dir(run, folder), setup_of(run, "reward")
    train_reward(folder, start, comparisons, demonstrations, cfg.reward, setup)
    # Accuracy and calibration on test prompts, and the mean reward of demonstrations (0 in training after the shift).
    judge = RewardModel.load(folder / "model", cfg.data, device=choose_device(cfg.device))
    result = judge_reward(run, judge)
    bins = result["labels"].pop("calibration")
    calibration = {"bins": bins, "error": result["labels"]["calibration_error"]}
    for name, split in (("demo_mean", "train"), ("demo_mean_valid", "valid")):
        result[name] = _mean(judge.score_demonstrations(run.demonstrations(split)))
    if processes.is_main():
        write_json(folder / "calibration.json", calibration)
        write_json(folder / "evaluation.json", result)


def cross_validation_stage(run: Run, folder: Path) -> None:
    """Does the reward model generalize to labelers that it was not trained on (E.2)? Nothing is done if there are too few
    labelers to tell, or with `reward.cv_groups` 0 or 1."""
    cfg = run.config.reward
    if cfg.cv_groups < 2:
        return
    comparisons = run.comparisons("train")
    if len({comparison.labeler_id for comparison in comparisons}) >= cfg.cv_groups:
        cross_validate(folder, reward_init_dir(run, folder), comparisons, cfg, setup_of(run, "reward"))


def judge_reward(run: Run, judge: RewardModel) -> dict[str, Any]:
    """A reward model on the run's test prompts: keys labels (`evaluate_reward`) and, where the labelers are simulated,
    heldout_labelers, gold, gold_sft (pairs of SFT samples alone), each with accuracy, accuracy_se, pairs; minimal_pairs
    holds the same for each kind that the world has."""
    comparisons = run.comparisons("test")
    labels, scores = evaluate_reward(judge, comparisons)
    if not run.has_heldout_comparisons():
        return {"labels": labels}
    others = rank_values([group.ranks for group in judge.encode(run.comparisons("test_heldout")).groups])  # the same outputs
    heldout = _accuracy(pair_accuracy(scores, others))
    found = {"labels": labels, "heldout_labelers": heldout, **_gold_accuracy(run, comparisons, scores)}
    if pairs := known_world(run.config).minimal_pairs(PAIRS, PAIRS_SEED):
        marks = judged_right(judge, pairs)
        found["minimal_pairs"] = {k: _accuracy(Accuracy(*mean_se(row), prompts=len(row))) for k, row in marks.items()}
    return found


def reward_init_dir(run: Run, folder: Path) -> Path:
    """What the reward model starts from: the first kept SFT checkpoint without its unembedding (sec. 3.5), or
    `reward_init`, with a copy in `folder`/init if its tokenizer lacks tokens."""
    if run.config.reward_init is not None:
        place = run.config.reward_init
        ready = processes.on_main(lambda: prepared(place, folder / "init"))
        check_same_vocabulary(run.tokenizer(), run.model_dir("base"), load_tokenizer(ready), place)
        return ready
    return run.checkpoint("sft", run.kept_epochs("sft")[0])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _gold_accuracy(run: Run, comparisons: Sequence[Comparison], scores: list[list[float]]) -> dict[str, dict[str, float]]:
    """Accuracy against gold on the test prompts' outputs: the whole mix, and the pairs of SFT samples alone."""
    rubric = known_world(run.config).rubric
    values = [[rubric.gold(s) for s in row] for row in run.gold_parts("test")]
    only = [[i for i, name in enumerate(c.policies) if name == "sft"] for c in comparisons]
    pure = pair_accuracy(_pick(scores, only), _pick(values, only), rubric.tie)
    return {"gold": _accuracy(pair_accuracy(scores, values, rubric.tie)), "gold_sft": _accuracy(pure)}


def _pick(rows: list[list[float]], chosen: list[list[int]]) -> list[list[float]]:
    return [[row[i] for i in which] for row, which in zip(rows, chosen, strict=True)]


def _accuracy(found: Accuracy) -> dict[str, float]:
    return {"accuracy": found.mean, "accuracy_se": found.se, "pairs": found.pairs}


# --- choice of the SFT checkpoint ----------------------------------------------------------------------------------


def sft_select_stage(run: Run, folder: Path) -> None:
    """Choose the final SFT model: the checkpoint whose samples for validation prompts have the highest reward (sec. 3.5)."""
    # Gold is written too, so that the report can show what this choice gains; it has no part in the choice.
    paths = [run.checkpoint("sft", epoch) for epoch in run.kept_epochs("sft")]
    scored = score_checkpoints(run, paths, run.prompts("valid")[:SELECTION_PROMPTS])
    rewards = {row["checkpoint"]: row["reward"] for row in scored}
    golds = {row["checkpoint"]: row["gold"] for row in scored if "gold" in row}
    chosen = select_checkpoint(rewards)
    if processes.is_main():
        shutil.rmtree(folder / "model", ignore_errors=True)
        shutil.copytree(run.path("sft") / chosen, folder / "model")
        write_json(folder / "selection.json", {"chosen": chosen, "reward": rewards, "gold": golds})


def score_checkpoints(run: Run, paths: Sequence[Path], prompts: list[Prompt]) -> list[dict[str, Any]]:
    """Reward, and gold where there is a rubric, of one sample per prompt at temperature 1 from each checkpoint.

    Rows {checkpoint, reward, reward_se}, with gold and gold_se where the prompts have a rubric. All checkpoints use the
    same random numbers.
    """
    rows, judge, world = [], run.reward_model(), judging_world(run, prompts)
    for path in progress(paths, total=len(paths), label="sft_select"):
        responses = sample_prompts(run.sampler(path), prompts, run.config.seed, "select", 1.0)
        reward = mean_se(judge.score_responses([p.prompt for p in prompts], responses))
        row: dict[str, Any] = {"checkpoint": path.name, "reward": reward.mean, "reward_se": reward.se}
        if world is not None:
            points = mean_se(golds_of(world, prompts, responses))
            row |= {"gold": points.mean, "gold_se": points.se}
        rows.append(row)
    return rows


def sample_prompts(sampler: Sampler, prompts: list[Prompt], seed: int, name: str, temperature: float) -> list[Response]:
    """One response per prompt; the random numbers depend on `name` and the prompt, not on the policy."""
    names = [f"{name}/{p.prompt_id}" for p in prompts]
    return sampler([p.prompt for p in prompts], seed=seed, names=names, temperature=temperature)


def judging_world(run: Run, prompts: Sequence[Prompt]) -> World | None:
    """The run's world if it knows all these prompts; None for the user's own, which have no gold score."""
    world = world_of(run.config)
    return world if world is not None and all(world.knows(p) for p in prompts) else None


def golds_of(world: World, prompts: Sequence[Prompt], responses: Sequence[Response]) -> list[float]:
    """Gold points of each response."""
    return [world.gold(p, r.text, r.finished) for p, r in zip(prompts, responses, strict=True)]


# --- PPO -----------------------------------------------------------------------------------------------------------


def ppo_stage(run: Run, folder: Path) -> None:
    """PPO without the pretraining term (gamma = 0)."""
    train_policy(run, folder, run.config.ppo, "ppo")


def ppo_ptx_stage(run: Run, folder: Path) -> None:
    """PPO-ptx: the same with gamma > 0."""
    train_policy(run, folder, run.config.ppo_ptx, "ppo_ptx")


def train_policy(run: Run, folder: Path, cfg: PPOConfig, label: str = "ppo") -> list[dict[str, Any]]:
    """PPO (or PPO-ptx) with settings `cfg` from a run's init, reward model and prompts into `folder`; its metrics.

    `folder` can be outside the run's folder: a finished run can be trained again with other settings.
    """
    # Prompts above the length limit are left out: they do not fit the model's context.
    data = run.config.data
    texts = [p.prompt for p in run.prompts("ppo")]
    encoded = encode_prompts(run.tokenizer("init"), texts, data)
    prompts = [text for text, ids in zip(texts, encoded, strict=True) if len(ids) <= data.max_prompt_tokens]
    rows = pretraining_rows(run, cfg.ptx_length, folder) if cfg.gamma_ptx > 0 else None
    inputs = PPOInputs(run.model_dir("init"), run.model_dir("reward"), prompts, rows)
    train_ppo(folder, inputs, cfg, setup_of(run, label), gold_probe(run, cfg), label)
    return read_jsonl(folder / METRICS)


def gold_probe(run: Run, cfg: PPOConfig) -> Callable[[PreTrainedModel], float] | None:
    """A function policy -> mean gold on a few validation prompts, for the learning curve only; None without a rubric."""
    prompts = run.prompts("valid")[: cfg.eval_prompts]
    world = judging_world(run, prompts)
    if world is None:
        return None
    plain = run.sampler("init")

    def probe(policy: PreTrainedModel) -> float:
        responses = sample_prompts(replace(plain, model=policy), prompts, run.config.seed, "probe", 1.0)
        return _mean(golds_of(world, prompts, responses))

    return probe
