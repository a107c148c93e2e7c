"""RewardModel: where a reward is read, order, limits, shift; the functions it is made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reward_cases import DEVICE, PAD, llama
from settings import DATA, GOOD, comparisons
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.data.encoding import decode_response, encode_completion, encode_completions, encode_prompt, pad_right
from utils.data.schemas import Comparison, Demonstration
from utils.models import gpt2
from utils.reward import scoring
from utils.reward.batches import Group, encode_comparisons
from utils.reward.scoring import RewardModel, reward_at_end
from utils.reward.train import kwise_step
from utils.sampling.sampler import Response


@pytest.fixture
def judge(reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> RewardModel:
    return RewardModel(reward_model, tokenizer, DATA)


def test_each_distinct_completion_is_forwarded_once(
    reward_model: PreTrainedModel, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarded = []
    monkeypatch.setattr(scoring, "shared_prompt_scores", lambda m, p: forwarded.append(p) or torch.zeros(len(p.ends)))
    kwise_step(reward_model, groups, PAD, DEVICE)
    assert sum(len(group.which) for group in groups) == 18
    assert len(forwarded[0].ends) == sum(len(group.responses) for group in groups) == 16
    assert len(forwarded[0].prompts.mask) == len(groups)


def test_reward_is_read_at_the_end_and_tells_ended_from_cut_off(
    judge: RewardModel, reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    row = Comparison("p", "Name one.", ("Paris is", "Paris is"), (1, 2), (True, False))
    (group,) = encode_comparisons(tokenizer, [row], DATA).groups
    assert group.responses[0] == [*group.responses[1], tokenizer.eos_token_id]
    finished, cut = judge.score_comparisons([row])[0]
    assert abs(finished - cut) > 1e-3
    sequences = [[*group.prompt, *response] for response in group.responses]
    assert [finished, cut] == pytest.approx(reward_at_end(reward_model, sequences).tolist(), abs=1e-5)
    hidden = reward_model.transformer(torch.tensor([sequences[0]])).last_hidden_state[0, -1]
    last = float(reward_model.score(hidden).detach()) - reward_model.config.reward_shift
    assert finished == pytest.approx(last, abs=1e-5)


def test_scores_come_back_in_order_whatever_the_batch(judge: RewardModel) -> None:
    rows = comparisons(9)
    whole = judge.score_comparisons(rows)
    assert [len(row) for row in whole] == [len(row.ranks) for row in rows]
    for a, b in zip(replace(judge, batch_tokens=1).score_comparisons(rows), whole, strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_shift_stays_zero_without_demonstrations(judge: RewardModel) -> None:
    assert judge.set_shift([]) == judge.model.config.reward_shift == 0.0


def test_rewards_along_an_answer_end_with_its_reward(
    judge: RewardModel, reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    ids, rewards = judge.score_along("Name one.", GOOD)
    prompt = encode_prompt(tokenizer, "Name one.", DATA)
    assert ids == encode_completion(tokenizer, GOOD, True, DATA) and len(rewards) == len(ids)
    for n in (1, len(ids)):
        alone = reward_model(torch.tensor([prompt + ids[:n]]), use_cache=False).logits[0, 0].detach()
        assert rewards[n - 1] == pytest.approx(float(alone) - reward_model.config.reward_shift, abs=1e-5)


def test_reward_is_read_at_the_end_token_and_tells_ended_from_cut_off(reward_model: PreTrainedModel) -> None:
    eos = 1
    sequences = [[10, 11, 60, 61, eos], [10, 11, 60, 61], [20, 70, eos], [30, 31, 32, 33, 34, 35, 80, eos]]
    with torch.no_grad():
        got = reward_at_end(reward_model, sequences)
        for row, sequence in enumerate(sequences):
            hidden = reward_model.transformer(torch.tensor([sequence])).last_hidden_state[0, -1]
            torch.testing.assert_close(got[row], reward_model.score(hidden)[0] - 0.25, atol=2e-5, rtol=1e-5)
        # Hugging Face's own head reads the last token that is not padding: the same end token.
        ids, mask = pad_right(sequences, PAD)
        assert reward_model.config.pad_token_id == PAD
        theirs = reward_model(ids, attention_mask=mask.long()).logits.squeeze(-1) - 0.25
    torch.testing.assert_close(got, theirs, atol=2e-5, rtol=1e-5)
    assert (got[0] - got[1]).abs() > 0.01


def test_score_in_several_batches_keeps_the_order(reward_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = [[5 + i] * (1 + (7 * i) % 11) for i in range(20)]
    with torch.no_grad():
        one = reward_at_end(reward_model, sequences)
        several = reward_at_end(reward_model, sequences, batch_tokens=24)
        monkeypatch.setattr(gpt2, "supported", lambda model: False)
        general = reward_at_end(reward_model, sequences)
    torch.testing.assert_close(one, several, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(one, general, atol=2e-5, rtol=1e-5)


def test_score_works_for_another_architecture() -> None:
    model = llama()
    sequences = [[10, 11, 12, 1], [20, 1]]
    with torch.no_grad():
        for row, value in enumerate(reward_at_end(model, sequences)):
            theirs = model(torch.tensor([sequences[row]])).logits[0, 0]
            torch.testing.assert_close(value, theirs, atol=2e-5, rtol=1e-5)


def test_no_sequence_is_no_reward(judge: RewardModel) -> None:
    assert judge.score_ids([]) == judge.score_demonstrations([]) == judge.score_responses([], []) == []


def test_every_way_to_score_gives_the_same_reward(judge: RewardModel) -> None:
    """In training mode and with gradients on, with a prompt over the limit: ids, response, demonstration, ranking."""
    judge = replace(judge, data=replace(DATA, max_prompt_tokens=9))
    prompt = "Name one of the animals that live in the sea."
    ids = encode_prompt(judge.tokenizer, prompt, DATA)
    assert len(ids) > 9
    for module in judge.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    judge.model.train()
    (row,) = judge.score_comparisons([Comparison("p", prompt, (GOOD, "Paris is"), (1, 2), (True, False))])
    assert judge.score_responses([prompt] * 2, [Response(GOOD, True), Response("Paris is", False)]) == pytest.approx(
        row, abs=1e-5
    )
    assert judge.score_demonstrations([Demonstration("p", prompt, GOOD)]) == pytest.approx(row[:1], abs=1e-5)
    answer = encode_completion(judge.tokenizer, GOOD, True, DATA)
    assert judge.score_ids([ids[-9:] + answer]) == pytest.approx(row[:1], abs=1e-5)
    assert judge.score_along(prompt, GOOD)[1][-1] == pytest.approx(row[0], abs=1e-5)
    assert judge.model.training


def test_load_reads_model_and_tokenizer(reward_dir: Path, judge: RewardModel) -> None:
    loaded = RewardModel.load(reward_dir, DATA)
    assert loaded.score_comparisons(comparisons(3)) == judge.score_comparisons(comparisons(3))


def test_a_response_is_scored_by_the_ids_that_were_sampled(judge: RewardModel) -> None:
    """Not by another row of tokens with the same text; a separator at the end is read as the end token, as in PPO."""
    tokenizer, prompt = judge.tokenizer, "Name one."
    pieces = [tokenizer.encode(letter)[0] for letter in " Paris"]  # the letters one by one
    (whole,) = encode_completions(tokenizer, ["Paris"], [True], DATA)
    assert len(whole) < len(pieces) + 1 and decode_response(tokenizer, pieces)[0] == "Paris"
    for end in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        got = judge.score_responses([prompt], [Response("Paris", True, (*pieces, end))])
        assert got == judge.score_ids([[*encode_prompt(tokenizer, prompt, DATA), *pieces, tokenizer.eos_token_id]])
    text = judge.score_ids([[*encode_prompt(tokenizer, prompt, DATA), *whole]])
    assert text != pytest.approx(got, abs=1e-3)
    other = [Response("Paris", True), Response("Paris", True, (5, 6, 1)), Response("Paris", True, (10**6, 1))]
    assert judge.score_responses([prompt] * 3, other) == pytest.approx(text * 3, abs=1e-5), "no ids, or another vocabulary's"
