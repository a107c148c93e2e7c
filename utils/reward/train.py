"""Reward model from K-wise rankings (Eq. 1; sec. 3.5, 4.1, C.2): training, shift, evaluation, cross-validation.

All pairs of one prompt are one batch element and each distinct completion is forwarded once; ties are dropped. The
reward is read at the last token of the answer: the end token if the answer ended itself, else whatever token it was
cut off at. So the model can tell the two apart.
"""

from __future__ import annotations

import itertools
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from utils import processes
from utils.config import ComputeConfig, DataConfig, RewardConfig
from utils.data.encoding import encode_completion, encode_completions, encode_prompt, encode_prompts, pad_right
from utils.data.schemas import Comparison, Demonstration
from utils.errors import UserError
from utils.io import digest, digest_path, read_json, write_json
from utils.lora import add_adapters
from utils.losses import kwise_accuracy, kwise_loss, learning_rate
from utils.models import checkpoint_gradients, context_length, load_tokenizer, reward_from_policy
from utils.prompt_sharing import can_share, pack, shared_prompt_scores
from utils.reward_metrics import Accuracy, calibration, calibration_error, clustered_mean, pair_accuracy, rank_values
from utils.rollout import eval_mode, score
from utils.runtime import choose_device, lowered, stream_seed, torch_generator
from utils.sharding import whole
from utils.training import TrainingLoop, save_trained, stage_optimizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SCORE_TOKENS = 8192
PER_COMPLETION = ("completions", "ranks", "ended", "policies", "ratings", "flags")  # fields of a Comparison


class Group(NamedTuple):
    """One ranked prompt: its ids, its distinct responses, and for each of the K completions its response and rank."""

    prompt: list[int]
    responses: list[list[int]]
    which: list[int]
    ranks: list[int]


class Targets(NamedTuple):
    """Ranked completions of a batch of N prompts: `which` indexes the flat scores; `mask` is False beyond a prompt's K.

    All (N, K).
    """

    which: Tensor
    ranks: Tensor
    mask: Tensor


class Encoded(NamedTuple):
    """Encoded comparisons in order, and counts of what the length limits cut."""

    groups: list[Group]
    counts: dict[str, int]


def prompt_limit(data_cfg: DataConfig, context: int | None) -> int:
    """Most tokens of a prompt that are read: `data.max_prompt_tokens`, or what the context leaves beside an answer.

    Raises UserError if that is nothing.
    """
    limit = data_cfg.max_prompt_tokens
    if context is not None:
        limit = min(limit, context - data_cfg.max_response_tokens)
    if limit < 1:
        raise UserError(
            f"data.max_response_tokens {data_cfg.max_response_tokens} leaves no room for a prompt in the model's "
            f"{context} positions: lower it."
        )
    return limit


def encode_comparisons(
    tokenizer: PreTrainedTokenizerBase,
    comparisons: Sequence[Comparison],
    data_cfg: DataConfig,
    context: int | None = None,
) -> Encoded:
    """Ids of ranked completions; identical responses become one.

    A prompt over `prompt_limit` loses its beginning, so that the last turns of a dialogue stay; a longer answer is cut
    and so counts as not ended. Both are counted. An empty answer is the end token alone. Raises UserError naming the
    row if ranks or `ended` do not match the completions, or if the context has no room for a prompt.
    """
    limit = prompt_limit(data_cfg, context)
    counts = {"comparisons": len(comparisons), "prompts_cut": 0, "answers_cut": 0, "all_tied": 0}
    for row, comparison in enumerate(comparisons, 1):
        _check(comparison, row)
    ends = [comparison.ended or (True,) * len(comparison.completions) for comparison in comparisons]
    texts = [text for comparison in comparisons for text in comparison.completions]
    flat = [end or not text for text, end in zip(texts, itertools.chain.from_iterable(ends), strict=True)]
    encoded = iter(encode_completions(tokenizer, texts, flat, data_cfg))
    prompts = encode_prompts(tokenizer, [comparison.prompt for comparison in comparisons], data_cfg)
    groups = []
    for comparison, prompt, ended in zip(comparisons, prompts, ends, strict=True):
        distinct: dict[tuple[int, ...], int] = {}
        which = []
        for end, ids in zip(ended, itertools.islice(encoded, len(ended)), strict=True):
            counts["answers_cut"] += end and ids[-1] != tokenizer.eos_token_id
            which.append(distinct.setdefault(tuple(ids), len(distinct)))
        counts["prompts_cut"] += len(prompt) > limit
        counts["all_tied"] += len(set(comparison.ranks)) < 2
        groups.append(Group(prompt[-limit:], [list(ids) for ids in distinct], which, list(comparison.ranks)))
    return Encoded(groups, counts)


def _check(comparison: Comparison, row: int) -> None:
    """Raise UserError if the lists of a comparison differ in length."""
    k = len(comparison.completions)
    where = f"comparison {row} (prompt {comparison.prompt_id})"
    if k < 2:
        raise UserError(f"{where} has {k} completions: at least two are needed to compare.")
    if len(comparison.ranks) != k:
        raise UserError(f"{where} has {k} completions but {len(comparison.ranks)} ranks: give one rank a completion.")
    if comparison.ended and len(comparison.ended) != k:
        raise UserError(f"{where} has {k} completions but {len(comparison.ended)} in ended: give one each, or none.")


def make_targets(groups: Sequence[Group]) -> Targets:
    """Where each completion's score is, and its rank."""
    width = max(len(group.which) for group in groups)
    which, ranks = torch.zeros(2, len(groups), width, dtype=torch.long)
    mask = torch.zeros(len(groups), width, dtype=torch.bool)
    offset = 0
    for row, group in enumerate(groups):
        k = len(group.which)
        which[row, :k] = torch.tensor(group.which) + offset
        ranks[row, :k] = torch.tensor(group.ranks)
        mask[row, :k] = True
        offset += len(group.responses)
    return Targets(which, ranks, mask)


def plain_scores(model: nn.Module, groups: Sequence[Group], pad_id: int, device: torch.device) -> Tensor:
    """Rewards (U,) as in `score_groups`, by the model's own forward over each prompt + response."""
    ids, mask = pad_right([[*group.prompt, *response] for group in groups for response in group.responses], pad_id)
    mask = mask.long().to(device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with lowered(device):
        output = model(input_ids=ids.to(device), attention_mask=mask, position_ids=positions, use_cache=False)
    return output.logits.squeeze(-1).float()


def score_groups(model: nn.Module, groups: Sequence[Group], pad_id: int, device: torch.device) -> Tensor:
    """Rewards (U,) of all distinct responses of the groups, at their last token, without the shift."""
    if not can_share(model):
        return plain_scores(model, groups, pad_id, device)
    packed = pack([group.prompt for group in groups], [group.responses for group in groups], device)
    with lowered(device):
        return shared_prompt_scores(model, packed).float()


Scorer = Callable[[nn.Module, Sequence[Group], int, torch.device], Tensor]


class Step(NamedTuple):
    """Loss (Eq. 1, mean over prompts), share of pairs ordered right, and completion scores (N, K)."""

    loss: Tensor
    accuracy: Tensor
    scores: Tensor


def kwise_step(
    model: nn.Module, groups: Sequence[Group], pad_id: int, device: torch.device, scorer: Scorer = score_groups
) -> Step:
    """Forward of one batch: each distinct response once, every pair of a prompt in the loss, ties dropped."""
    targets = Targets(*(tensor.to(device) for tensor in make_targets(groups)))
    scores = scorer(model, groups, pad_id, device)[targets.which]
    accuracy = kwise_accuracy(scores.detach(), targets.ranks, targets.mask)
    return Step(kwise_loss(scores, targets.ranks, targets.mask), accuracy, scores)


def usable(groups: Sequence[Group]) -> list[Group]:
    """Groups with at least one pair that is not tied."""
    return [group for group in groups if len(set(group.ranks)) > 1]


def as_pairs(groups: Sequence[Group]) -> list[Group]:
    """Every pair that is not tied as a group of its own: the data set of shuffled pairs of footnote 5 (sec. 3.5)."""
    pairs = []
    for group in groups:
        for i, j in itertools.combinations(range(len(group.which)), 2):
            if group.ranks[i] != group.ranks[j]:
                rows = list(dict.fromkeys((group.which[i], group.which[j])))
                which = [rows.index(group.which[i]), rows.index(group.which[j])]
                pairs.append(Group(group.prompt, [group.responses[r] for r in rows], which, [group.ranks[i], group.ranks[j]]))
    return pairs


def forward_rows(groups: Sequence[Group]) -> int:
    """Sequences that one pass over the groups sends through the model: one for each distinct response of each group."""
    return sum(len(group.responses) for group in groups)


def batch_elements(groups: Sequence[Group], cfg: RewardConfig) -> tuple[list[Group], int]:
    """Batch elements that have a pair, and how many of them make a step.

    `cfg.element` "prompt": a ranking each, `prompts_per_step` of them. "pair": a pair each, as many as that number of
    rankings holds on average, so that both ways take the same number of steps over the same number of pairs.
    """
    groups = usable(groups)
    if cfg.element == "prompt" or not groups:
        return groups, cfg.prompts_per_step
    pairs = as_pairs(groups)
    return pairs, max(1, round(cfg.prompts_per_step * len(pairs) / len(groups)))


def micro_batches(
    share: Sequence[Group], size: int, batch: Sequence[Group], world: int = 1
) -> Iterator[tuple[Sequence[Group], float]]:
    """Parts of a process's share of a batch, and what the mean over each counts for in the mean over the share.

    As many groups in each as surely have no more than `size` distinct responses, at least one; 0: the whole share. Every
    process has as many parts; one that runs out of groups runs along with weight 0.
    """
    if not size:
        yield share, 1.0
        return
    per_pass = max(1, size // max(len(group.responses) for group in batch))
    for start in range(0, -(-len(batch) // world), per_pass):
        part = share[start : start + per_pass]
        yield (part, len(part) / len(share)) if part else (share[:1], 0.0)


def n_pairs(groups: Sequence[Group]) -> int:
    """Pairs of completions that are not tied."""
    return sum(a != b for group in groups for a, b in itertools.combinations(group.ranks, 2))


def leave_out(comparisons: Sequence[Comparison], policies: Sequence[str]) -> list[Comparison]:
    """The rankings without the completions that these policies wrote; rankings of fewer than two are dropped."""
    rows = []
    for comparison in comparisons:
        kept = [i for i, name in enumerate(comparison.policies) if name not in policies]
        if len(kept) > 1:
            lists = {name: getattr(comparison, name) for name in PER_COMPLETION}
            left: dict[str, Any] = {name: tuple(v[i] for i in kept) for name, v in lists.items() if v}
            rows.append(replace(comparison, **left))
    return rows


def shard(batch: Sequence[Group], rank: int, world: int) -> tuple[Sequence[Group], float]:
    """Prompts of process `rank` of `world`, and the weight of their mean loss.

    The weighted losses average over processes to the mean over the whole batch. A process without a prompt takes the
    whole batch with weight 0, so that every process runs the same collective operations.
    """
    share = batch[rank::world]
    return (share, len(share) * world / len(batch)) if share else (batch, 0.0)


def train_reward(
    out_dir: Path | str,
    init_dir: Path | str,
    comparisons: Sequence[Comparison],
    cfg: RewardConfig,
    data_cfg: DataConfig,
    seed: int,
    demonstrations: Sequence[Demonstration],
    *,
    device: str = "auto",
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
) -> None:
    """Train a reward model from the policy in `init_dir`; write it to `out_dir/model`, with metrics and data.json.

    The shift makes the mean reward of `demonstrations` (those of training prompts) 0; without any it stays 0. A
    killed run goes on where it was. Raises UserError if no comparison has a pair that is not tied.
    """
    tokenizer = load_tokenizer(init_dir)
    model = reward_from_policy(init_dir, choose_device(device), seed)
    encoded = encode_comparisons(tokenizer, comparisons, data_cfg, context_length(model))
    if processes.is_main():
        write_json(Path(out_dir) / "data.json", encoded.counts)
    fingerprint = digest([digest_path(init_dir), cfg, data_cfg, encoded.groups, *compute.lora])
    loop = fit(out_dir, model, encoded.groups, cfg, seed, tokenizer.pad_token_id, fingerprint, compute=compute)
    set_reward_shift(model, tokenizer, demonstrations, data_cfg)
    save_trained(model, tokenizer, Path(out_dir) / "model")
    loop.finish()


def fit(
    out_dir: Path | str,
    model: PreTrainedModel,
    groups: Sequence[Group],
    cfg: RewardConfig,
    seed: int,
    pad_id: int,
    fingerprint: str,
    valid: Sequence[Group] = (),
    valid_per_epoch: int = 4,
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
) -> TrainingLoop:
    """Train `model` in place: AdamW, cosine to `final_lr_fraction` without warmup, `prompts_per_step` prompts a step.

    valid: rankings whose loss and accuracy are logged about `valid_per_epoch` times an epoch, with the passes over the
    training data done until then. Returns the loop, to be finished when the model is saved.
    """
    if cfg.read != "end":
        raise UserError(f'reward.read is "{cfg.read}": only "end", the last token of the answer, is known.')
    elements, per_step = batch_elements(groups, cfg)
    if not elements:
        raise UserError(
            f"None of the comparisons in {Path(out_dir).name} has two completions of different rank: rankings that tie "
            "everything teach nothing, so give others."
        )
    per_epoch = -(-len(elements) // per_step)
    total = cfg.epochs * per_epoch
    add_adapters(model, compute, seed, "reward")
    loop = TrainingLoop(
        out_dir,
        label="reward",
        total_steps=total,
        models={"reward": model},
        optimizers={"reward": stage_optimizer(model.parameters(), cfg.learning_rate, cfg)},
        seed=seed,
        fingerprint=fingerprint,
        checkpoint_every=max(1, total // 10),
    )
    device, rank, world = loop.accelerator.device, loop.accelerator.process_index, loop.accelerator.num_processes
    every = max(1, per_epoch // valid_per_epoch)
    model.train()
    if compute.gradient_checkpointing:
        checkpoint_gradients(model)
    for step in loop:
        epoch, index = divmod(step, per_epoch)
        order = torch.randperm(len(elements), generator=torch_generator(seed, "reward", "epoch", epoch)).tolist()
        batch = [elements[i] for i in order[index * per_step : (index + 1) * per_step]]
        share, weight = shard(batch, rank, world)
        loss, counted = 0.0, torch.zeros(2, device=device)  # pairs ordered right, pairs
        for part, fraction in micro_batches(share, compute.micro_batch, batch, world):
            done = kwise_step(loop.models["reward"], part, pad_id, device)
            loss += loop.backward("reward", done.loss * (weight * fraction))
            if weight * fraction > 0:
                counted += torch.stack([done.accuracy, torch.ones_like(done.accuracy)]) * n_pairs(part)
        rate = learning_rate(step, total, cfg.learning_rate, final_fraction=cfg.final_lr_fraction)
        norm = loop.optimizer_step("reward", lr=rate, max_grad_norm=cfg.max_grad_norm)
        now = valid and ((index + 1) % every == 0 or index + 1 == per_epoch)
        held_out = {"passes": (step + 1) / per_epoch, **_held_out(model, valid, pad_id)} if now else {}
        right, pairs = loop.accelerator.reduce(counted, reduction="sum").tolist()
        loop.log(step, loss=loss, accuracy=right / pairs, lr=rate, grad_norm=norm, **held_out)
    model.eval()
    return loop


def _held_out(model: PreTrainedModel, groups: Sequence[Group], pad_id: int) -> dict[str, float]:
    """valid_loss (Eq. 1, mean over prompts) and valid_accuracy of encoded rankings."""
    with torch.no_grad():
        scores = _score_encoded(model, groups, pad_id)
    ranks = [group.ranks for group in groups]
    return {"valid_loss": ranking_loss(scores, ranks), "valid_accuracy": pair_accuracy(scores, rank_values(ranks)).mean}


@torch.no_grad()
def score_comparisons(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    comparisons: Sequence[Comparison],
    data_cfg: DataConfig,
) -> list[list[float]]:
    """Reward of every completion, minus the shift: K numbers a comparison, in order. Several processes share the rows."""
    groups = encode_comparisons(tokenizer, comparisons, data_cfg, context_length(model)).groups
    return _score_encoded(model, groups, tokenizer.pad_token_id)


def _score_encoded(model: PreTrainedModel, groups: Sequence[Group], pad_id: int) -> list[list[float]]:
    """Shifted rewards of encoded comparisons, shared by the processes."""
    with whole(model):
        return processes.shared(groups, lambda part: _score_part(model, part, pad_id))


def _score_part(model: PreTrainedModel, groups: Sequence[Group], pad_id: int) -> list[list[float]]:
    """Shifted rewards in batches of similar size of at most about SCORE_TOKENS tokens."""
    device = next(model.parameters()).device
    sizes = [len(g.responses) * (len(g.prompt) + max(map(len, g.responses))) for g in groups]
    result: list[list[float]] = [[] for _ in groups]
    with eval_mode(model):
        for rows in size_batches(sizes, SCORE_TOKENS):
            part = [groups[i] for i in rows]
            scores = score_groups(model, part, pad_id, device).float() - model.config.reward_shift
            which = make_targets(part).which.to(device)
            for i, row in zip(rows, scores[which].tolist(), strict=True):
                result[i] = row[: len(groups[i].which)]
    return result


def size_batches(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Indices by rising size in batches whose padded size (largest times number) stays within `limit` if it can."""
    batches: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if batches and sizes[i] * (len(batches[-1]) + 1) <= limit:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


@torch.no_grad()
def score_demonstrations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Demonstration],
    data_cfg: DataConfig,
) -> list[float]:
    """Reward of each demonstration, minus the shift. Several processes share the rows."""
    if not demonstrations:
        return []
    limit = prompt_limit(data_cfg, context_length(model))
    prompts = encode_prompts(tokenizer, [row.prompt for row in demonstrations], data_cfg)
    completions = encode_completions(
        tokenizer, [row.completion for row in demonstrations], [True] * len(demonstrations), data_cfg
    )
    sequences = [prompt[-limit:] + completion for prompt, completion in zip(prompts, completions, strict=True)]
    with whole(model), eval_mode(model):
        return processes.shared(sequences, lambda part: score(model, part).tolist())


@torch.no_grad()
def rewards_along(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str, data_cfg: DataConfig
) -> tuple[list[int], list[float]]:
    """Ids of an ended completion and what the reward model says at each of them, minus the shift.

    Only the last number is a reward as it was trained. Those before are what the model says of the answer so far, as
    if it had been cut off there.
    """
    start = encode_prompt(tokenizer, prompt, data_cfg)[-prompt_limit(data_cfg, context_length(model)) :]
    ids = encode_completion(tokenizer, completion, True, data_cfg)
    with eval_mode(model):
        rewards = score(model, [start + ids[: i + 1] for i in range(len(ids))])
    return ids, rewards.tolist()


def set_reward_shift(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Demonstration],
    data_cfg: DataConfig,
) -> float:
    """Set `config.reward_shift` so that demonstrations average 0 (C.2); Eq. 1 does not see a shift. Returns it."""
    model.config.reward_shift = 0.0
    rewards = score_demonstrations(model, tokenizer, demonstrations, data_cfg)
    model.config.reward_shift = sum(rewards) / len(rewards) if rewards else 0.0
    return model.config.reward_shift


def evaluate_reward(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    comparisons: Sequence[Comparison],
    data_cfg: DataConfig,
) -> tuple[dict[str, Any], list[list[float]]]:
    """Accuracy on the labelers' own pairs, loss, calibration, accuracy of each labeler's pairs; and the scores they are
    of, as `score_comparisons` gives them.

    Keys: accuracy, accuracy_se (clustered by prompt), pairs, prompts, loss (Eq. 1, mean over prompts), calibration
    (bins), calibration_error, labelers {id: Accuracy}, counts (what was cut).
    """
    encoded = encode_comparisons(tokenizer, comparisons, data_cfg, context_length(model))
    scores = _score_encoded(model, encoded.groups, tokenizer.pad_token_id)
    ranks = [comparison.ranks for comparison in comparisons]
    accuracy = pair_accuracy(scores, rank_values(ranks))
    table = calibration(scores, rank_values(ranks))
    found = {
        "accuracy": accuracy.mean,
        "accuracy_se": accuracy.se,
        "pairs": accuracy.pairs,
        "prompts": accuracy.prompts,
        "loss": ranking_loss(scores, ranks),
        "calibration": [row._asdict() for row in table],
        "calibration_error": calibration_error(table),
        "labelers": {name: row._asdict() for name, row in accuracy_by_labeler(scores, comparisons).items()},
        "counts": encoded.counts,
    }
    return found, scores


def ranking_loss(scores: Sequence[Sequence[float]], ranks: Sequence[Sequence[int]]) -> float:
    """Eq. 1, mean over prompts that have a pair, of scores that are there already; NaN if none has."""
    losses = [
        float(kwise_loss(torch.tensor([row]), torch.tensor([list(order)])))
        for row, order in zip(scores, ranks, strict=True)
        if len(set(order)) > 1
    ]
    return sum(losses) / len(losses) if losses else float("nan")


def accuracy_by_labeler(scores: Sequence[Sequence[float]], comparisons: Sequence[Comparison]) -> dict[str, Accuracy]:
    """Pair accuracy on each labeler's own rankings."""
    rows: dict[str, list[int]] = defaultdict(list)
    for i, comparison in enumerate(comparisons):
        rows[comparison.labeler_id].append(i)
    return {
        name: pair_accuracy([scores[i] for i in part], rank_values([comparisons[i].ranks for i in part]))
        for name, part in sorted(rows.items())
    }


def labeler_groups(comparisons: Sequence[Comparison], n_groups: int, seed: int) -> dict[str, int]:
    """Labeler id -> group, groups of about equal data (4.1): the labeler with most rows to the smallest group.

    Raises UserError if there are fewer labelers than groups.
    """
    rows: dict[str, int] = defaultdict(int)
    for comparison in comparisons:
        rows[comparison.labeler_id] += 1
    if len(rows) < n_groups:
        raise UserError(
            f"Cross-validation over {n_groups} groups of labelers needs at least {n_groups} labelers, found "
            f"{len(rows)}: fill labeler_id in the comparisons, or lower reward.cv_groups."
        )
    sizes, result = [0] * n_groups, {}
    for name in sorted(rows, key=lambda name: (-rows[name], stream_seed(seed, "labeler_groups", name))):
        group = sizes.index(min(sizes))
        result[name], sizes[group] = group, sizes[group] + rows[name]
    return result


class Fold(NamedTuple):
    """Comparisons of one fold: training rows, then unseen prompts ranked by training and by held-out labelers."""

    train: list[Comparison]
    inside: list[Comparison]
    outside: list[Comparison]


def split_fold(comparisons: Sequence[Comparison], groups: Mapping[str, int], held_out: int, n_train: int, seed: int) -> Fold:
    """Leave group `held_out` out: `n_train` rows of the others (at most four fifths of them) to train on.

    Both test sets have prompts that no training row has, and at most half as many rows as there are to train on.
    """
    order = sorted(comparisons, key=lambda c: stream_seed(seed, "cross_validation", c.prompt_id))
    inside = [c for c in order if groups[c.labeler_id] != held_out]
    train = inside[: max(1, min(n_train, len(inside) * 4 // 5))]
    seen, size = {c.prompt_id for c in train}, max(1, len(train) // 2)
    outside = [c for c in order if groups[c.labeler_id] == held_out and c.prompt_id not in seen]
    return Fold(train, [c for c in inside if c.prompt_id not in seen][:size], outside[:size])


def cross_validate(
    out_dir: Path | str,
    init_dir: Path | str,
    comparisons: Sequence[Comparison],
    cfg: RewardConfig,
    data_cfg: DataConfig,
    seed: int,
    *,
    device: str = "auto",
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
) -> dict[str, Any]:
    """Cross-validation over groups of labelers (4.1; paper: 72.4 +- 0.4 % inside, 69.6 +- 0.9 % outside).

    For each of `cv_groups` groups a model is trained on `cv_prompts` rows of the others and tested on prompts it never
    saw: "inside" as ranked by labelers of the training groups, "outside" by the group left out. Returns, and writes
    to cross_validation.json, mean and standard error over folds of both, their difference, and the folds. A finished
    fold is not run again.
    """
    groups = labeler_groups(comparisons, cfg.cv_groups, seed)
    key = digest([digest_path(init_dir), cfg, data_cfg, seed, comparisons, *compute.lora])
    folds = []
    for held_out in range(cfg.cv_groups):
        fold = split_fold(comparisons, groups, held_out, cfg.cv_prompts, seed)
        folds.append(_run_fold(Path(out_dir) / f"fold_{held_out}", fold, init_dir, cfg, data_cfg, seed, device, key, compute))
    result: dict[str, Any] = {"groups": cfg.cv_groups, "train_rows": folds[0]["train_rows"], "folds": folds}
    for name in ("inside", "outside"):
        result[name], result[f"{name}_se"] = _mean_se([fold[name] for fold in folds])
    result["difference"], result["difference_se"] = _mean_se([f["inside"] - f["outside"] for f in folds])
    if processes.is_main():
        write_json(Path(out_dir) / "cross_validation.json", result)
    return result


def _mean_se(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error of independent values."""
    accuracy = clustered_mean(values, [1] * len(values))
    return accuracy.mean, accuracy.se


def _run_fold(
    out_dir: Path,
    fold: Fold,
    init_dir: Path | str,
    cfg: RewardConfig,
    data_cfg: DataConfig,
    seed: int,
    device: str,
    key: str,
    compute: ComputeConfig,
) -> dict[str, Any]:
    """Train and test one fold; its model is not kept, its result is `out_dir`.json."""
    done = out_dir.with_suffix(".json")
    known = processes.decide(lambda: read_json(done) if done.exists() else {})
    if known.get("key") == key:
        return known
    tokenizer = load_tokenizer(init_dir)
    model = reward_from_policy(init_dir, choose_device(device), seed)
    encoded = encode_comparisons(tokenizer, fold.train, data_cfg, context_length(model))
    loop = fit(out_dir, model, encoded.groups, cfg, seed, tokenizer.pad_token_id, f"{key} {out_dir.name}", compute=compute)
    result: dict[str, Any] = {"key": key, "train_rows": len(fold.train)}
    for name, part in (("inside", fold.inside), ("outside", fold.outside)):
        scores = score_comparisons(model, tokenizer, part, data_cfg)
        accuracy = pair_accuracy(scores, rank_values([c.ranks for c in part]))
        result |= {name: accuracy.mean, f"{name}_se": accuracy.se, f"{name}_pairs": accuracy.pairs}
    if processes.is_main():
        write_json(done, result)
    loop.finish()
    if processes.is_main():
        shutil.rmtree(out_dir, ignore_errors=True)
    return result
