"""How gold rises and falls with the distance from the start: the curves of Gao, Schulman and Hilton (2022, arXiv 2210.10760).

d = sqrt(KL(policy || start)), in sqrt(nats). Best-of-n: R(d) = d (alpha - beta d). RL: R(d) = d (alpha - beta log d). R is the
gold gain over the start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BEST_OF_N, RL = "best-of-n", "RL"
FEWEST_POINTS = 3  # two parameters and something to be wrong about


class Fit(NamedTuple):
    """A fitted curve: its parameters, the root mean square of its residuals (in units of gold), and how many points it has."""

    form: str
    alpha: float
    beta: float
    rms: float
    points: int

    def __call__(self, distance: float) -> float:
        """The fitted gold gain at a distance d > 0."""
        return distance * (self.alpha - self.beta * (distance if self.form == BEST_OF_N else math.log(distance)))

    @property
    def peak(self) -> float:
        """The distance at which the curve is highest; infinite if it never falls."""
        if self.beta <= 0:
            return math.inf
        return self.alpha / (2 * self.beta) if self.form == BEST_OF_N else math.exp(self.alpha / self.beta - 1)


def best_of_n_kl(n: int) -> float:
    """KL(best of n || one sample) = log n - (n - 1) / n, in nats, if no two samples tie (Gao et al., sec. 2)."""
    return math.log(n) - (n - 1) / n


def fit_curve(distances: Sequence[float], gains: Sequence[float], form: str) -> Fit:
    """Least-squares fit of one of the two forms to (n,) distances and gold gains; points at distance 0 say nothing and are
    left out.

    Raises ValueError for another form, and for fewer than FEWEST_POINTS points.
    """
    if form not in (BEST_OF_N, RL):
        raise ValueError(f"form is {form!r}; use {BEST_OF_N!r} or {RL!r}.")
    d, gain = (np.asarray(values, dtype=np.float64) for values in (distances, gains))
    d, gain = d[d > 0], gain[d > 0]
    if len(d) < FEWEST_POINTS:
        raise ValueError(f"a fit needs at least {FEWEST_POINTS} points at a distance above 0, got {len(d)}.")
    second = -(d**2) if form == BEST_OF_N else -d * np.log(d)
    design: NDArray[np.float64] = np.stack([d, second], axis=1)  # (n, 2): what alpha and beta are multiplied with
    (alpha, beta), *_ = np.linalg.lstsq(design, gain, rcond=None)
    rms = float(np.sqrt(np.mean((design @ np.array([alpha, beta]) - gain) ** 2)))
    return Fit(form, float(alpha), float(beta), rms, len(d))
