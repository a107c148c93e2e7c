"""The checks of the notebooks' exercises: they take the right answer, name every mistake, and never raise."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
import torch

import utils.lessons.exercises
from utils.lessons.exercises import ppo, ppo_ptx, reward, sft, start
from utils.lessons.exercises.common import NO_RETURN, UNWRITTEN, FunctionCheck, same, shown

MODULES = [
    importlib.import_module(f"utils.lessons.exercises.{info.name}")
    for info in pkgutil.iter_modules(utils.lessons.exercises.__path__)
]


NAMED = {f"{m.__name__}.{n}": check for m in MODULES for n, check in vars(m).items() if n.startswith("check_")}


def test_everything_called_a_check_is_one() -> None:
    assert NAMED and all(isinstance(check, FunctionCheck) for check in NAMED.values())


@pytest.mark.parametrize("check", NAMED.values(), ids=NAMED)
def test_function_checks_accept_the_right_answer_and_name_each_mistake(check: FunctionCheck) -> None:
    assert check(check.right) == f"Right, on all {len(check.cases)} cases."
    assert len(check.cases) > 1 and len(check.mistakes) >= 2
    for wrong, sentence in check.mistakes:
        assert check(wrong) == f"Not yet: {sentence}"
    assert check(lambda *_: ...) == UNWRITTEN and check(lambda *_: None) == NO_RETURN
    assert check(lambda *_: 1 / 0) == "Not yet: your function stopped with ZeroDivisionError: division by zero"
    assert check(lambda *_: "?").startswith("Not yet: for ")


def test_a_learner_who_changes_the_case_does_not_spoil_it() -> None:
    check = FunctionCheck(lambda rows: len(rows), [([1, 2],), ([3],)], [])

    def greedy(rows: list[int]) -> int:
        return [rows.pop() for _ in range(len(rows))].__len__()

    assert check(greedy) == check(greedy) == "Right, on all 2 cases."


def test_what_counts_as_the_same() -> None:
    assert same(torch.tensor([1.0, 2.0]), [1, 2.0000001]) and same((1, [2]), [1, (2,)])
    assert same({"a": 1.0}, {"a": 1}) and same("x", "x") and same({1, 2}, {2, 1}) and same(True, 1)
    assert not same([1], [1, 2]) and not same("1", 1) and not same({"a": 1}, {"b": 1}) and not same(1.0, 1.1)
    assert same(1.0, 1.05, tolerance=0.1) and not same(None, 0)


def test_how_cases_are_shown() -> None:
    assert shown([1, 0.123456, "a", (2.0,)]) == "[1, 0.1235, 'a', [2]]"
    assert shown({"x": torch.tensor([0.5])}) == "{x: [0.5]}" and len(shown("y" * 500)) == 120


def test_start_says_what_the_losses_do() -> None:
    from utils.losses import kl_shaped_rewards, kwise_accuracy

    new, old, mask = torch.tensor([[-0.2, -1.0]]), torch.tensor([[-0.5, -0.4]]), torch.ones(1, 2, dtype=torch.bool)
    by_loss = kl_shaped_rewards(torch.tensor([2.0]), new, old, mask, 0.1)[0].tolist()
    assert start.token_rewards(2.0, new[0].tolist(), old[0].tolist(), 0.1) == pytest.approx(by_loss)
    ranks = torch.tensor([[1, 2, 2, 3]])
    scores = torch.tensor([[1.0, 0.0, 0.0, 2.0]])  # two of the pairs are right
    assert float(kwise_accuracy(scores, ranks)) * start.pairs_in_ranking([1, 2, 2, 3]) == pytest.approx(2)


def test_sft_says_what_training_does() -> None:
    from utils.losses import learning_rate, lm_loss
    from utils.sft.rows import Row, make_batch
    from utils.sft.train import select_checkpoint

    ids, _, wanted = make_batch([Row([5, 6, 7, 8, 1], 2)], pad_id=0)
    assert sft.labels([5, 6], [7, 8], 1) == wanted[0].tolist()
    logits, counted = torch.randn(2, 4, 9), torch.tensor([[False, False, True, True], [False, True, True, True]])
    tokens = torch.randint(0, 9, (2, 4))
    found = logits[:, :-1].log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0]
    rows = [found[i][counted[i, 1:]].tolist() for i in range(2)]
    assert sft.batch_loss(rows) == pytest.approx(float(lm_loss(logits, tokens, counted)))
    assert sft.rate(3, 10, 1e-3) == pytest.approx(learning_rate(3, 10, 1e-3, final_fraction=0.1))
    rewards = {1: 0.1, 2: 0.4, 4: 0.4}
    assert str(sft.choose({}, rewards)) == select_checkpoint({str(k): v for k, v in rewards.items()})


def test_reward_says_what_eq_1_and_its_evaluation_do() -> None:
    from utils.losses import kwise_loss
    from utils.reward.metrics import pair_accuracy

    scores, ranks = [0.0, 1.0, 0.5, 0.2], [2, 1, 2, 3]
    by_loss = float(kwise_loss(torch.tensor([scores]), torch.tensor([ranks])))
    assert reward.ranking_loss(scores, ranks) == pytest.approx(by_loss, rel=1e-5)
    gold, off = [8.0, 5.0, 3.0, 6.0], [False, False, True, True]
    assert reward.off_topic_accuracy(scores, gold, off) == pair_accuracy([scores], [gold], marked=[off]).mean


def test_ppo_says_what_the_losses_do() -> None:
    from utils.losses import gae, kl_k1, kl_k3, ppo_policy_loss

    own, ref, mask = torch.tensor([[-0.2, -1.0]]), torch.tensor([[-0.5, -0.4]]), torch.ones(1, 2, dtype=torch.bool)
    found = [float(estimate(own, ref, mask)) for estimate in (kl_k1, kl_k3)]
    assert ppo.kl_estimates(own[0].tolist(), ref[0].tolist()) == pytest.approx(found)
    rewards, values = torch.tensor([[0.1, -0.3]]), torch.tensor([[0.5, 0.2]])
    by_loss = gae(rewards, values, mask, 1.0, 0.9)[0][0].tolist()
    assert ppo.advantages(rewards[0].tolist(), values[0].tolist(), 0.9) == pytest.approx(by_loss)
    one = torch.ones(1, 1, dtype=torch.bool)
    for ratio in (0.5, 1.0, 1.5):
        for advantage in (-2.0, 2.0):
            loss, _ = ppo_policy_loss(torch.tensor([[ratio]]).log(), torch.zeros(1, 1), torch.tensor([[advantage]]), one, 0.2)
            assert ppo.token_loss(ratio, advantage, 0.2) == pytest.approx(float(loss))


def test_the_best_policy_is_where_the_objective_is_highest() -> None:
    reference, scores, beta = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.0, 1.0, 2.0]), 0.7

    def objective(policy: torch.Tensor) -> torch.Tensor:
        return (policy * (scores - beta * (policy / reference).log())).sum()

    theta = torch.zeros(3, requires_grad=True)
    for _ in range(2000):
        (gradient,) = torch.autograd.grad(objective(theta.softmax(0)), theta)
        theta = (theta + 0.5 * gradient).detach().requires_grad_()
    assert ppo.best_policy(reference.tolist(), scores.tolist(), beta) == pytest.approx(theta.softmax(0).tolist(), abs=1e-4)


def test_ppo_ptx_says_what_the_evaluation_does() -> None:
    from utils.evaluation.statistics import gold_wins, paired_difference

    a, b = [8.0, 5.0, 9.0], [7.0, 5.2, 9.5]
    difference = paired_difference(a, b)
    assert ppo_ptx.paired(a, b) == pytest.approx([difference.mean, difference.se])
    assert ppo_ptx.win_rate(a, b, 0.5) == pytest.approx(float(gold_wins(a, b, 0.5).mean()))


def test_the_converted_gamma_keeps_the_direction_of_the_gradient() -> None:
    answer, row, gamma = torch.randn(5, 3), torch.randn(12, 3), 0.7  # gradients of single tokens
    sums = answer.sum(0) + gamma * row.sum(0)
    means = answer.mean(0) + ppo_ptx.same_gamma(gamma, 5, 12) * row.mean(0)
    torch.testing.assert_close(torch.nn.functional.normalize(sums, dim=0), torch.nn.functional.normalize(means, dim=0))
