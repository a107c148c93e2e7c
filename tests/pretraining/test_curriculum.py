"""What each step of pretraining reads: fresh rows, the same again after a stop, and only what is to be predicted counts."""

from __future__ import annotations

import pytest
import torch
from tiny_run import make_base
from transformers import PreTrainedTokenizerBase

from utils.losses import lm_loss
from utils.models.loading import gpt2_config, new_policy
from utils.models.tokenizers import load_tokenizer
from utils.pretraining.curriculum import Mix, StepRows, batches, encode_exercises, rows_loss
from utils.worlds import known_world
from utils.worlds.protocol import Part

MIXES = (
    (2, Mix(circuits={"copy": 3, "said_twice": 2})),
    (2, Mix({"owners": 4}, separators=0.0)),
    (3, Mix({"drills": 2, "verdicts": 2}, {"look_up": 2}, separators=1.0)),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return load_tokenizer(make_base(tmp_path_factory.mktemp("batches") / "base"))


@pytest.fixture(scope="module")
def rows(tokenizer: PreTrainedTokenizerBase) -> StepRows:
    return StepRows("tiny", tokenizer, MIXES, 1)


def test_a_step_reads_what_its_mix_says(rows: StepRows, tokenizer: PreTrainedTokenizerBase) -> None:
    assert len(rows) == 7
    sizes = [{source: len(found.ids) for source, found in rows[step].items()} for step in (0, 1, 2, 4, 6)]
    assert sizes == [{"circuits": 5}, {"circuits": 5}, {"exercises": 4}, *[{"exercises": 4, "circuits": 2}] * 2]
    assert (rows[6]["exercises"].ids[:, 0] == tokenizer.bos_token_id).all(), "all with a separator"
    assert (rows[2]["exercises"].ids[:, 0] != tokenizer.bos_token_id).all(), "none with a separator"


def test_only_real_tokens_count(rows: StepRows) -> None:
    for found in rows[6].values():
        assert not (found.counted & ~found.mask).any() and found.counted.any(1).all() and not found.counted[:, 0].any()


def test_the_loss_is_that_of_the_whole_model_every_row_alike(rows: StepRows, tokenizer: PreTrainedTokenizerBase) -> None:
    model = new_policy(gpt2_config(len(tokenizer), 16, 2, 4, 128, 0.2), 1)
    for found in rows[6].values():
        with torch.no_grad():
            logits = model(input_ids=found.ids, attention_mask=found.mask.long()).logits
            by_row = [lm_loss(logits[i : i + 1], found.ids[i : i + 1], found.counted[i : i + 1]) for i in range(len(found.ids))]
            assert rows_loss(model, found) == pytest.approx(float(torch.stack(by_row).mean()), rel=1e-5)


def test_every_step_is_fresh_and_the_same_when_it_is_made_again(rows: StepRows) -> None:
    again = StepRows("tiny", rows.tokenizer, MIXES, 1)
    for source, found in rows[5].items():
        assert torch.equal(found.ids, again[5][source].ids)
        assert found.ids.shape != rows[6][source].ids.shape or not torch.equal(found.ids, rows[6][source].ids)


def test_another_process_makes_the_same_rows_from_any_step_on(rows: StepRows) -> None:
    ahead = list(batches(rows, 5))
    assert len(ahead) == 2
    for step, batch in zip((5, 6), ahead, strict=True):
        assert all(torch.equal(found.ids, batch[source].ids) for source, found in rows[step].items())


def test_without_a_mix_nothing_is_read(tokenizer: PreTrainedTokenizerBase) -> None:
    assert list(batches(StepRows("tiny", tokenizer, [(3, Mix())], 1), 1)) == [{}, {}]


def test_parts_are_encoded_apart_and_the_mark_is_the_end_token(tokenizer: PreTrainedTokenizerBase) -> None:
    end = known_world("tiny").end
    (row,) = encode_exercises(tokenizer, [(Part("Is it an owl?\n", False), Part(f" Yes.{end}", True))], end)
    question, answer = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("Is it an owl?\n", " Yes."))
    assert row.ids == [*question, *answer, tokenizer.eos_token_id]
    assert row.counted == [False] * len(question) + [True] * (len(answer) + 1)
