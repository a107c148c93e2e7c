"""benchmarks/products.py counts the matrix products of a piece of work, its backward pass and attention included."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from products import product_seconds, recorded


def test_products_of_both_passes_are_counted() -> None:
    x, weight = torch.randn(5, 7, requires_grad=True), torch.randn(7, 3, requires_grad=True)
    with recorded() as products:
        torch.addmm(torch.zeros(3), x, weight).sum().backward()
        x.exp().sum()
    shapes = Counter((left.shape, right.shape) for left, right in products.elements())
    assert shapes == {((5, 7), (7, 3)): 1, ((5, 3), (3, 7)): 1, ((7, 5), (5, 3)): 1}
    assert product_seconds(products) > 0
    assert product_seconds(Counter()) == 0


def test_attention_counts_as_two_products_and_five_more_backward() -> None:
    query, key, value = torch.randn(3, 2, 4, 9, 8, requires_grad=True).unbind(0)
    with recorded() as forward:
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    with recorded() as backward:
        out.sum().backward()
    scores, mixed = ((8, 9, 8), (8, 8, 9)), ((8, 9, 9), (8, 9, 8))
    count = Counter((left.shape, right.shape) for left, right in forward.elements())
    assert count == {scores: 1, mixed: 1}
    count = Counter((left.shape, right.shape) for left, right in backward.elements())
    # Scores again and the gradient of the probabilities; the gradients of values, queries and keys.
    assert count == {scores: 2, mixed: 3}
