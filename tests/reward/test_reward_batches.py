"""Rankings as ids and batches: pairs, distinct responses, limits, shares of processes, left-out policies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reward_cases import CFG, DEVICE, PAD
from settings import DATA, comparisons
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.core.errors import UserError
from utils.data.encoding import encode_text
from utils.data.schemas import Comparison
from utils.reward.batches import Group, as_pairs, batch_elements, encode_comparisons, forward_rows, leave_out, usable
from utils.reward.evaluation import evaluate_reward
from utils.reward.scoring import RewardModel
from utils.reward.train import kwise_step
from utils.training.micro_batches import Share, micro_batches


def strict_groups(*ks: int) -> list[Group]:
    """Rankings without ties of K completions each."""
    return [Group([3], [[4 + i, 1] for i in range(k)], list(range(k)), list(range(1, k + 1))) for k in ks]


def test_rankings_of_4_5_6_are_15_rows_and_their_pairs_62() -> None:
    groups = strict_groups(4, 5, 6)
    assert (forward_rows(groups), len(as_pairs(groups)), forward_rows(as_pairs(groups))) == (15, 31, 62)


def test_pairs_take_as_many_steps_as_rankings() -> None:
    groups = strict_groups(4, 5, 6, 5)
    assert batch_elements(groups, CFG) == (groups, 2)
    pairs, per_step = batch_elements(groups, replace(CFG, element="pair"))
    assert (len(pairs), per_step) == (41, 20)
    assert batch_elements([Group([3], [[4], [5]], [0, 1], [1, 1])], replace(CFG, element="pair")) == ([], 2)


def test_processes_average_to_the_loss_of_one(reward_model: PreTrainedModel, groups: list[Group]) -> None:
    batch = groups[:5]
    whole = float(kwise_step(reward_model, batch, PAD, DEVICE).loss.detach())
    for world in (2, 3, 7):
        parts = [part for rank in range(world) for part in micro_batches([1] * len(batch), 2, Share(rank, world))]
        shares = [[batch[row] for row in part.rows] for part in parts]
        losses = [float(kwise_step(reward_model, share, PAD, DEVICE).loss.detach()) for share in shares]
        total = sum(loss * part.mean_weight for loss, part in zip(losses, parts, strict=True))
        assert total / world == pytest.approx(whole, rel=1e-5)


def test_long_prompts_lose_their_beginning_and_are_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    row = Comparison("p", "Old words here. " * 20 + "Name the sea.", ("Paris. " * 30, ""), (1, 2))
    encoded = encode_comparisons(tokenizer, [row], replace(DATA, max_response_tokens=12), context=32)
    (group,) = encoded.groups
    assert encoded.counts == {"comparisons": 1, "prompts_cut": 1, "answers_cut": 1, "equal_after_cut": 0, "all_tied": 0}
    assert len(group.prompt) == 20 and tokenizer.decode(group.prompt).endswith("Name the sea.\n")
    assert len(group.responses[0]) == 12 and tokenizer.eos_token_id not in group.responses[0]
    assert group.responses[1] == [tokenizer.eos_token_id]


def test_answers_that_are_equal_after_the_cut_make_no_pair_anywhere(
    reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    long = "Paris is a city. " * 9
    three = Comparison("p", "Name one.", (f"{long} One.", f"{long} Two.", "Rome"), (1, 3, 2), labeler_id="L0")
    pair = Comparison("q", "Name two.", three.completions[:2], (2, 1), labeler_id="L1")
    data = replace(DATA, max_response_tokens=12)
    encoded = encode_comparisons(tokenizer, [three, pair], data)
    assert [group.ranks for group in encoded.groups] == [[1, 1, 2], [1, 1]]
    assert encoded.counts["equal_after_cut"] == 2 and encoded.counts["all_tied"] == 1
    assert usable(encoded.groups) == encoded.groups[:1], "nothing of the pair is trained on"
    found, _ = evaluate_reward(RewardModel(reward_model, tokenizer, data), [three, pair])
    assert (found["pairs"], found["prompts"]) == (2, 1) and set(found["labelers"]) == {"L0", "L1"}
    assert found["labelers"]["L1"]["pairs"] == 0
    (whole, _) = encode_comparisons(tokenizer, [three, pair], replace(DATA, max_response_tokens=200)).groups
    assert whole.ranks == [1, 3, 2]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (Comparison("a", "x", ("b", "c"), (1,)), r"comparison 1 \(prompt a\) has 2 completions but 1 ranks"),
        (Comparison("a", "x", ("b", "c"), (1, 2), (True,)), "2 completions but 1 in finished"),
        (Comparison("a", "x", ("b", "c"), (1, 2), ids=((3,),)), "2 completions but 1 in ids"),
        (Comparison("a", "x", ("b",), (1,)), "has 1 completions: at least two"),
    ],
)
def test_mismatched_rows_get_one_sentence(tokenizer: PreTrainedTokenizerBase, row: Comparison, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        encode_comparisons(tokenizer, [row], DATA)


def test_a_sampled_completion_is_read_as_it_was_sampled(tokenizer: PreTrainedTokenizerBase) -> None:
    """One character a token is not how the text is encoded; ids that say something else, or too many, are not read."""
    eos = tokenizer.eos_token_id
    spelled = tuple(i for letter in " Paris" for i in encode_text(tokenizer, letter))
    row = Comparison("p", "Name one.", ("Paris", "Paris", "Rome"), (1, 1, 2), (True, False, True))
    (again,) = encode_comparisons(tokenizer, [row], DATA).groups
    assert [*spelled, eos] not in again.responses
    sampled = replace(row, ids=((*spelled, eos), spelled, (*spelled, eos)))
    (group,) = encode_comparisons(tokenizer, [sampled], DATA).groups
    assert group.responses == [[*spelled, eos], list(spelled), again.responses[2]], "the ids of Paris do not say Rome"
    short = replace(DATA, max_response_tokens=len(spelled))
    (cut,) = encode_comparisons(tokenizer, [sampled], short).groups
    assert cut.responses[:2] == [again.responses[0], list(spelled)]
    other = replace(row, ids=((len(tokenizer), eos), (), (eos,)))
    assert encode_comparisons(tokenizer, [other], DATA).groups == [again]


def test_no_room_for_a_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match="data.max_response_tokens 30 leaves no room"):
        encode_comparisons(tokenizer, comparisons(), DATA, context=30)


def test_leaving_out_policies_keeps_the_others_in_step() -> None:
    row = Comparison("p", "Hi.", ("a", "b", "c"), (2, 1, 3), (True, False, True), ("sft", "other", "base"), (5, 6, 1))
    (left,) = leave_out([row], ["other"])
    assert (left.completions, left.ranks, left.finished) == (("a", "c"), (2, 3), (True, True))
    assert (left.policies, left.ratings, left.flags) == (("sft", "base"), (5, 1), ())
    assert leave_out([row], ["other", "base"]) == [] and leave_out([row], []) == [row]
