"""The official quantile score of the FAIR Universe HiggsML Uncertainty Challenge (arXiv:2410.02867)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.protocols import ONE_SIGMA_CL, ScoreValue
from fairuniverse.results import Results

from .resampling import bootstrap_counts, finite, resampling_units

EPSILON = 1e-3
"""Regulator of zero widths in the official code (one publication prints 1e-2)."""


def coverage_penalty(coverage: ArrayLike, n_toys: ArrayLike, p: float = ONE_SIGMA_CL) -> NDArray[np.float64]:
    """Factor f(c) on the width: 1 within two standard deviations of p, growing steeply outside.

    With sigma = sqrt(p (1 - p) / n_toys), f = 1 + ((p - 2 sigma - c) / sigma)^4 below the band and
    1 + ((c - p - 2 sigma) / sigma)^3 above it.

    Args:
        coverage: Fraction of intervals that contain the truth, any shape.
        n_toys: Number of toys behind it, broadcast against `coverage`.
        p: Confidence level.

    Examples:
        >>> float(coverage_penalty(0.6827, 1000))
        1.0
    """
    c = np.asarray(coverage, dtype=np.float64)
    sigma = np.sqrt(p * (1 - p) / np.asarray(n_toys, dtype=np.float64))
    below = np.maximum((p - 2 * sigma - c) / sigma, 0)
    above = np.maximum((c - p - 2 * sigma) / sigma, 0)
    factor: NDArray[np.float64] = 1 + below**4 + above**3
    return factor


def quantile_score(
    width: ArrayLike,
    coverage: ArrayLike,
    n_toys: ArrayLike,
    p: float = ONE_SIGMA_CL,
    epsilon: float = EPSILON,
) -> NDArray[np.float64]:
    """Official score -ln[(w + epsilon) f(c)]; larger is better.

    Args:
        width: Mean width of the intervals.
        coverage: Fraction of intervals that contain the truth.
        n_toys: Number of toys; the score depends on it at fixed coverage.
        p: Confidence level.
        epsilon: Regulator of zero widths.

    Notes:
        Says nothing without its n_toys, and can be gamed: see `fairuniverse.scoring.references.data_blind`.
    """
    w = np.asarray(width, dtype=np.float64)
    score: NDArray[np.float64] = -np.log((w + epsilon) * coverage_penalty(coverage, n_toys, p))
    return score


@dataclass(frozen=True)
class QuantileScore:
    """Official quantile score, its error by bootstrap over the mu sets.

    Attributes:
        epsilon: Regulator of zero widths.
    """

    epsilon: float = EPSILON

    def __call__(self, results: Results) -> tuple[ScoreValue, ...]:
        """``quantiles_score``, and ``coverage_penalty`` = ln f(c), the part of it lost by wrong coverage."""
        p, n = results.confidence_level, len(results.table)
        n_failed = n - int(results.is_ok.sum())
        if not n:
            return ()
        units = resampling_units(results)
        sums = [np.bincount(units, x) for x in (np.ones(n), results.covers(), results.widths())]
        drawn = [bootstrap_counts(len(sums[0])) @ s for s in sums]

        def both(n_toys: ArrayLike, covered: ArrayLike, width: ArrayLike) -> NDArray[np.float64]:
            c, w = np.divide(covered, n_toys), np.divide(width, n_toys)
            return np.stack(
                [quantile_score(w, c, n_toys, p, self.epsilon), np.log(coverage_penalty(c, n_toys, p))]
            )

        values, errors = both(*(s.sum() for s in sums)), both(*drawn).std(axis=1, ddof=1)
        return (
            ScoreValue(
                "quantiles_score",
                finite(values[0]),
                finite(errors[0]),
                "",
                True,
                n,
                n_failed,
                f"Official quantile score -ln[(w + {self.epsilon:g}) f(c)]; only comparable at the same N.",
            ),
            ScoreValue(
                "coverage_penalty",
                finite(values[1]),
                finite(errors[1]),
                "",
                False,
                n,
                n_failed,
                "ln f(c): what the official score loses because the coverage is off by more than 2 sigma.",
            ),
        )
