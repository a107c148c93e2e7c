"""Cross-validation of the reward model over groups of labelers (sec. 4.1): does it predict labelers it never saw?"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from utils.config import RewardConfig
from utils.core import processes
from utils.core.errors import UserError
from utils.core.io import digest, digest_path, read_json, write_json
from utils.core.runtime import choose_device, stream_seed
from utils.data.schemas import Comparison
from utils.models.loading import reward_start
from utils.models.tokenizers import load_tokenizer
from utils.reward.metrics import clustered_mean, pair_accuracy, rank_values
from utils.reward.scoring import RewardModel
from utils.reward.train import Rankings, fit
from utils.training.setup import StageSetup

RESULT = "cross_validation.json"
_OLD_NAMES = {"inside": "training", "outside": "heldout"}  # in results of older runs


def with_names_of_today(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result of `cross_validate`, or of one fold, in which the keys of older runs have their names of today."""
    renamed: dict[str, Any] = {}
    for key, value in result.items():
        first, sign, rest = key.partition("_")
        renamed[_OLD_NAMES.get(first, first) + sign + rest] = value
    if "folds" in renamed:
        renamed["folds"] = [with_names_of_today(fold) for fold in renamed["folds"]]
    return renamed


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


def training_rows(others: int, n_train: int) -> int:
    """Rows that a fold trains on: `n_train` of the other groups' rows, at most four fifths of them, as the last fifth measures
    the accuracy on unseen prompts."""
    return min(n_train, others * 4 // 5)


class Fold(NamedTuple):
    """Comparisons of one fold: training rows, then unseen prompts ranked by training and by held-out labelers."""

    train: list[Comparison]
    training_labelers: list[Comparison]
    heldout_labelers: list[Comparison]


def split_fold(comparisons: Sequence[Comparison], groups: Mapping[str, int], held_out: int, n_train: int, seed: int) -> Fold:
    """Leave group `held_out` out: `n_train` rows of the others (at most four fifths of them) to train on.

    Both test sets have prompts that no training row has, and at most half as many rows as there are to train on.
    """
    order = sorted(comparisons, key=lambda c: stream_seed(seed, "cross_validation", c.prompt_id))
    others = [c for c in order if groups[c.labeler_id] != held_out]
    train = others[: max(1, training_rows(len(others), n_train))]
    seen, size = {c.prompt_id for c in train}, max(1, len(train) // 2)
    heldout = [c for c in order if groups[c.labeler_id] == held_out and c.prompt_id not in seen]
    return Fold(train, [c for c in others if c.prompt_id not in seen][:size], heldout[:size])


def cross_validate(
    out_dir: Path | str,
    init_dir: Path | str,
    comparisons: Sequence[Comparison],
    cfg: RewardConfig,
    setup: StageSetup,
) -> dict[str, Any]:
    """Cross-validation over groups of labelers (4.1; paper: 72.4 +- 0.4 % training, 69.6 +- 0.9 % held-out).

    For each of `cv_groups` groups a model is trained on `cv_prompts` rows of the others and tested on prompts it never
    saw: "training" as ranked by labelers of the training groups, "heldout" by the group left out. Returns, and writes to
    cross_validation.json, mean and standard error over folds of both, their difference, and the folds. A finished
    fold is not run again.
    """
    groups = labeler_groups(comparisons, cfg.cv_groups, setup.seed)
    key = digest([digest_path(init_dir), cfg, setup.data, setup.seed, comparisons, *setup.compute.lora])
    trial = Trial(init_dir, cfg, setup, key)
    folds = []
    for held_out in range(cfg.cv_groups):
        fold = split_fold(comparisons, groups, held_out, cfg.cv_prompts, setup.seed)
        folds.append(trial.run(Path(out_dir) / f"fold_{held_out}", fold))
    result: dict[str, Any] = {"groups": cfg.cv_groups, "train_rows": folds[0]["train_rows"], "folds": folds}
    for name in ("training", "heldout"):
        result[name], result[f"{name}_se"] = _mean_se([fold[name] for fold in folds])
    result["difference"], result["difference_se"] = _mean_se([f["training"] - f["heldout"] for f in folds])
    if processes.is_main():
        write_json(Path(out_dir) / RESULT, result)
    return result


def _mean_se(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error of independent values."""
    accuracy = clustered_mean(values, [1] * len(values))
    return accuracy.mean, accuracy.se


@dataclass(frozen=True)
class Trial:
    """What all folds share. key: digest of everything that decides their results."""

    init_dir: Path | str
    cfg: RewardConfig
    setup: StageSetup
    key: str

    def run(self, out_dir: Path, fold: Fold) -> dict[str, Any]:
        """Train and test one fold; its model is not kept, its result is `out_dir`.json."""
        done = out_dir.with_suffix(".json")
        known = processes.on_main(lambda: with_names_of_today(read_json(done)) if done.exists() else {})
        if known.get("key") == self.key:
            return known
        # The same training as of the reward model itself, on the fold's rows.
        seed = self.setup.seed
        model = reward_start(self.init_dir, choose_device(self.setup.device), seed)
        judge = RewardModel(model, load_tokenizer(self.init_dir), self.setup.data)
        rankings = Rankings(judge.encode(fold.train).groups)
        loop = fit(out_dir, judge, rankings, self.cfg, seed, f"{self.key} {out_dir.name}", self.setup.compute)
        # Tested on prompts it never saw, as ranked by the labelers it knows and by those it does not.
        result: dict[str, Any] = {"key": self.key, "train_rows": len(fold.train)}
        for name, part in (("training", fold.training_labelers), ("heldout", fold.heldout_labelers)):
            groups = judge.encode(part).groups
            accuracy = pair_accuracy(judge.score_groups(groups), rank_values([group.ranks for group in groups]))
            result |= {name: accuracy.mean, f"{name}_se": accuracy.se, f"{name}_pairs": accuracy.pairs}
        if processes.is_main():
            write_json(done, result)
        loop.finish()
        if processes.is_main():
            shutil.rmtree(out_dir, ignore_errors=True)
        return result
