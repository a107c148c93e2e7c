"""SFT through TRL's SFTTrainer: the same rows, loss, schedule and checkpoints as `utils.sft.train`, which is the default.

TRL is optional (`pip install instruct-gpt2[trl]`). Its trainer leaves a patched `forward` on the model it trained, so
nothing here copies that model: checkpoints are saved and read again.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from utils.core.errors import UserError
from utils.core.io import write_jsonl
from utils.core.runtime import stream_seed
from utils.models.dropout import set_residual_dropout
from utils.sft.rows import IGNORED, Row
from utils.sft.run import SFTRun, remove_checkpoints

if TYPE_CHECKING:
    from trl import SFTTrainer


def to_dataset(rows: Sequence[Row]) -> Any:
    """Rows as TRL reads them when they are tokenised already: input_ids, and labels that are -100 where no loss is.

    TRL's own tokenisation joins prompt and completion as text, where the border between them can merge.
    """
    from datasets import Dataset

    labels = [[IGNORED] * row.loss_from + row.ids[row.loss_from :] for row in rows]
    return Dataset.from_dict({"input_ids": [row.ids for row in rows], "labels": labels})


def make_trainer(run: SFTRun, work_dir: str) -> SFTTrainer:
    """SFTTrainer with the settings of `run.cfg`; `work_dir` is only a place TRL asks for, nothing is saved there.

    Raises UserError if TRL is not installed.
    """
    try:
        from trl import SFTConfig, SFTTrainer
    except ImportError as error:
        raise UserError(f'TRL cannot be imported ({error}): run "pip install trl==1.16.0" or use backend "own".') from None
    cfg = run.cfg
    # FutureWarning: gradient_checkpointing has a new name in transformers, but TRL's default is set under the old one.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        arguments = SFTConfig(
            output_dir=work_dir,
            num_train_epochs=cfg.epochs,
            per_device_train_batch_size=cfg.batch_size,
            learning_rate=cfg.learning_rate,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": cfg.final_lr_fraction},
            optim="adamw_torch_fused",
            adam_beta1=cfg.optimizer.beta1,
            adam_beta2=cfg.optimizer.beta2,
            adam_epsilon=cfg.optimizer.eps,
            weight_decay=cfg.optimizer.weight_decay,
            max_grad_norm=cfg.optimizer.max_grad_norm,
            seed=stream_seed(run.seed, run.label, "trl") % 2**32,
            max_length=None,
            bf16=False,
            use_cpu=run.model.device.type == "cpu",
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
    return SFTTrainer(model=run.model, args=arguments, train_dataset=to_dataset(run.train), processing_class=run.tokenizer)


def train_with_trl(run: SFTRun) -> None:
    """Train with TRL and write what `utils.sft.train` writes. A killed run starts from the beginning.

    Raises UserError if TRL is not installed or a pretraining mix is asked for, which TRL does not have.
    """
    if run.cfg.pretrain_fraction > 0:
        raise UserError('TRL has no pretraining mix: set backend to "own", or pretrain_fraction to 0.')
    remove_checkpoints(run.out_dir)
    by_step: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as work_dir:
        trainer = make_trainer(run, work_dir)
        trainer.add_callback(_epoch_callback(run, by_step))
        set_residual_dropout(run.model, run.cfg.dropout)
        trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    records = [_record(entry) | by_step.get(int(entry["step"]), {}) for entry in logged]
    write_jsonl(run.out_dir / "metrics.jsonl", records)


def _epoch_callback(run: SFTRun, by_step: dict[int, dict[str, float]]) -> Any:
    """Callback that validates and saves after each epoch and puts the validation losses into `by_step`."""
    from transformers import TrainerCallback

    class EndOfEpoch(TrainerCallback):
        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            by_step[state.global_step] = run.end_of_epoch(round(state.epoch))

    return EndOfEpoch()


def _record(entry: dict[str, Any]) -> dict[str, float]:
    """A line of the Trainer's log in our names; our steps count from 0."""
    return {"step": entry["step"] - 1, "loss": entry["loss"], "lr": entry["learning_rate"]}
