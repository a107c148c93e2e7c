"""The stage that prepares the base model: every later stage finds it with its own end token and its own padding token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.config import Config
from utils.core.errors import UserError
from utils.core.io import COMMIT, write_json
from utils.core.runtime import locate
from utils.data.chat import asks_for_date, uses_template
from utils.data.encoding import encode_question
from utils.models.directories import is_reward_model, model_directory, read_config
from utils.models.loading import (
    context_length,
    count_parameters,
    load_as_published,
    load_policy,
    load_reward,
    reward_from_policy,
    save_model,
)
from utils.models.tokenizers import check_same_vocabulary, check_saved_ids, is_ready, load_tokenizer, prepare_tokenizer
from utils.pipeline.run import Run
from utils.pipeline.support import check_policy, check_reward
from utils.planning import memory
from utils.report.tables import Table, print_table
from utils.training.setup import StageSetup


def base_stage(run: Run, folder: Path) -> None:
    """Check the base model, add what its tokenizer lacks (then the copy in `folder`/model is used), write base.json."""
    # A copy is made only if tokens are missing; else the model is used where it is.
    path = prepared(run.config.model, folder / "model")
    tokenizer, model = load_tokenizer(path), load_policy(path)
    # Not every architecture does what sampling, training and scoring rely on: a few tokens show it now.
    check_architecture(path, tokenizer, model)
    if run.config.reward_init is not None:  # it is needed much later, but an error in it should stop the run now
        check_reward_init(run.config.reward_init, tokenizer, path)
    has_date = uses_template(tokenizer, run.config.data) and asks_for_date(tokenizer)
    if has_date:
        date = run.config.data.template_date
        print(f"The chat template asks for the date: all prompts of this run get {date} (data.template_date).", flush=True)
    # Lengths and memory of all later stages, with the settings of this run.
    context = context_length(model)
    folder_name = model_directory(locate(run.config.model)).name
    commit = folder_name if COMMIT.fullmatch(folder_name) else None
    check_lengths(tokenizer, context, run.config)
    needs, free = memory.plan(replace(run.config, model=str(path)))
    if max(need.total for need in needs) > memory.GIB:
        print_table(Table.of(memory.rows(needs)))
        print(free, flush=True)
    write_json(
        folder / "base.json",
        {
            "parameters": count_parameters(model), "vocabulary": len(tokenizer), "context": context, "commit": commit,
            "template_date": run.config.data.template_date if has_date else None,
        },
    )  # fmt: skip


def check_architecture(path: Path, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Raise UserError unless a prepared model, and the classifier on its trunk, do what every stage relies on."""
    check_policy(model, tokenizer)
    check_reward(reward_from_policy(path), tokenizer)


def check_reward_init(place: str, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Raise UserError if the model that the reward model starts from cannot be loaded, or if its vocabulary differs from
    that of the base: the reward model scores the ids that the policy samples."""
    directory = model_directory(locate(place))
    if is_reward_model(read_config(directory)):
        load_reward(directory)
        own = load_tokenizer(directory)
    else:
        own, model = load_as_published(directory)
        if not is_ready(own, model):
            prepare_tokenizer(own, model)
    check_same_vocabulary(tokenizer, path, own, place)


def setup_of(run: Run, stage: str) -> StageSetup:
    """`run.setup` for a training stage on this device: batches in parts if the whole does not fit (`memory.settled`)."""
    compute = memory.settled(replace(run.config, model=str(run.model_dir("base"))), stage)
    return replace(run.setup, compute=compute)


def prepared(path: str | Path, copy: Path) -> Path:
    """The model directory of `path` if it can be used unchanged (`is_ready`); else `copy`, which is made from it.

    A copy is needed for GPT-2, for example: its tokenizer has one special token for all roles. Raises UserError if
    the model cannot be loaded.
    """
    place = model_directory(locate(path))
    if is_reward_model(read_config(place)):  # one that this project has trained
        return place
    tokenizer, model = load_as_published(place)
    if is_ready(tokenizer, model):
        return place
    prepare_tokenizer(tokenizer, model)
    save_model(model, tokenizer, copy)
    check_saved_ids(load_tokenizer(copy), copy)
    return copy


def check_lengths(tokenizer: PreTrainedTokenizerBase, context: int | None, cfg: Config) -> None:
    """Raise UserError if the longest prompt (in the template of the prompted base) and response exceed the context."""
    data = cfg.data
    template = len(encode_question(tokenizer, data.prompted_template.replace("{prompt}", "")))
    needed = data.max_prompt_tokens + template + data.max_response_tokens
    if context is not None and needed > context:
        raise UserError(
            f"Prompts of {data.max_prompt_tokens} tokens, {template} of data.prompted_template and responses of "
            f"{data.max_response_tokens} need {needed} positions, but {cfg.model} has {context}: lower "
            "data.max_prompt_tokens or data.max_response_tokens."
        )
    mixes = cfg.init.pretrain_fraction > 0 or cfg.ppo_ptx.gamma_ptx > 0
    if context is not None and mixes and cfg.ppo_ptx.ptx_length > context:
        raise UserError(
            f"ppo_ptx.ptx_length is {cfg.ppo_ptx.ptx_length} tokens, but {cfg.model} has {context} positions: lower it."
        )
