"""The loss of TRL's RewardTrainer on our pairs, to show that for K = 2 it is Eq. 1 (its trainer has no K-wise loss).

TRL is optional (`pip install instruct-gpt2[trl]`).
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from utils.core.errors import UserError
from utils.reward.batches import Group, as_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def to_dataset(groups: Sequence[Group]) -> Any:
    """Every pair that is not tied as TRL reads pairs that are tokenised already: chosen_ids and rejected_ids."""
    from datasets import Dataset

    pairs = as_pairs(groups)
    best = [min((0, 1), key=pair.ranks.__getitem__) for pair in pairs]
    ids = [[[*pair.prompt, *pair.responses[i]] for i in pair.which] for pair in pairs]
    chosen = [both[i] for both, i in zip(ids, best, strict=True)]
    rejected = [both[1 - i] for both, i in zip(ids, best, strict=True)]
    return Dataset.from_dict({"chosen_ids": chosen, "rejected_ids": rejected})


def trl_pair_loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, groups: Sequence[Group]) -> Tensor:
    """Scalar loss with gradient of TRL's RewardTrainer on all pairs of the groups as one batch.

    Raises UserError if TRL is not installed.
    """
    try:
        from trl import RewardConfig, RewardTrainer
    except ImportError as error:
        raise UserError(f'TRL cannot be imported ({error}): run "pip install trl==1.16.0".') from None
    with tempfile.TemporaryDirectory() as work_dir, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # as in utils.sft.trl
        arguments = RewardConfig(
            output_dir=work_dir, max_length=None, bf16=False, use_cpu=model.device.type == "cpu", report_to="none",
            gradient_checkpointing=False, disable_tqdm=True,
        )  # fmt: skip
        rows = to_dataset(groups)
        trainer = RewardTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
        batch = trainer.data_collator(list(rows))
        loss: Tensor = trainer.compute_loss(model, dict(batch))
    return loss
