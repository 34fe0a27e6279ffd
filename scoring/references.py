"""Lines to compare a score with: what costs nothing, and what counting events would give."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fairuniverse.protocols import ONE_SIGMA_CL

from .quantile import EPSILON, quantile_score


@dataclass(frozen=True)
class ReferenceLine:
    """What a method that needs no data analysis scores.

    Attributes:
        name: Its name in tables and plots.
        quantiles_score: Its expected official score.
        coverage: Its coverage.
        width: Its mean width.
        winkler: Its expected interval score.
        meaning: One sentence for the report.
    """

    name: str
    quantiles_score: float
    coverage: float
    width: float
    winkler: float
    meaning: str


def data_blind(
    n_toys: int, mu_range: tuple[float, float], p: float = ONE_SIGMA_CL, epsilon: float = EPSILON
) -> ReferenceLine:
    """The whole range of mu with probability p, otherwise an empty interval, whatever the data.

    It covers with probability p at every mu. The official score is exact: its mean over the binomial number
    of toys that get the range. The interval score takes mu uniform in the range and the empty interval at its
    centre, where it misses least.

    Args:
        n_toys: Number of toys in the official score.
        mu_range: Range of mu of the benchmark.
        p: Confidence level.
        epsilon: Regulator of the official score.
    """
    from scipy.stats import binom

    whole = mu_range[1] - mu_range[0]
    k = np.arange(n_toys + 1)
    scores = quantile_score(k / n_toys * whole, k / n_toys, n_toys, p, epsilon)
    return ReferenceLine(
        "data-blind",
        float(binom.pmf(k, n_toys, p) @ scores),
        p,
        p * whole,
        p * whole + 2 * whole / 4,
        f"{mu_range[0]:g} to {mu_range[1]:g} with probability {p:g}, otherwise empty: ignores the data.",
    )


def counting_half_width(
    mu: ArrayLike, signal: float, background: float, background_error: float = 0.0
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Standard error of mu from the number of selected events, sqrt(mu s + b + delta_b^2) / s.

    Args:
        mu: True values.
        signal: Expected signal events at mu = 1.
        background: Expected background events.
        background_error: Standard error of `background` from nuisance parameters, events.

    Examples:
        >>> round(float(counting_half_width(1.0, 1015, 1050370)), 2)
        1.01
    """
    expected = np.asarray(mu, dtype=np.float64) * signal + background
    return np.sqrt(expected + background_error**2) / signal


def inclusive_counting(
    mu: ArrayLike,
    signal: float,
    background: float,
    background_error: float = 0.0,
    p: float = ONE_SIGMA_CL,
    epsilon: float = EPSILON,
) -> ReferenceLine:
    """Ideal Gaussian interval from the number of events alone, averaged over the given values of mu.

    Its interval score is 2 sigma (z + (2 / alpha) (phi(z) - z alpha / 2)), z the quantile of p: the mean
    distance of a Gaussian beyond z, on both sides.
    """
    from scipy.stats import norm

    sigma = float(np.mean(counting_half_width(mu, signal, background, background_error)))
    z, alpha = float(norm.ppf((1 + p) / 2)), 1 - p
    width = 2 * z * sigma
    return ReferenceLine(
        "inclusive counting",
        -math.log(width + epsilon),
        p,
        width,
        width + 2 / alpha * 2 * sigma * (float(norm.pdf(z)) - z * alpha / 2),
        "Number of selected events against its expectation, no event features.",
    )
