"""The interval score of Winkler: proper, independent of the number of toys (Gneiting & Raftery 2007)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.protocols import ONE_SIGMA_CL, ScoreValue
from fairuniverse.results import Results

from .resampling import mean_and_error, resampling_units


def interval_score(
    lower: ArrayLike, upper: ArrayLike, truth: ArrayLike, p: float = ONE_SIGMA_CL
) -> NDArray[np.float64]:
    """Width plus 2 / alpha times the distance by which the truth is missed, alpha = 1 - p; smaller is better.

    Eq. 43 of Gneiting & Raftery, J. Am. Stat. Assoc. 102 (2007) 359. Its expectation is smallest for the
    central interval of the true distribution: no method gains by stating another interval than it believes.

    Args:
        lower: Lower ends, any shape.
        upper: Upper ends, not below `lower`.
        truth: True values.
        p: Confidence level.

    Examples:
        >>> float(interval_score(0.0, 1.0, 1.5, p=0.5))
        3.0
    """
    lo, up, x = (np.asarray(a, dtype=np.float64) for a in (lower, upper, truth))
    missed = np.maximum(lo - x, 0) + np.maximum(x - up, 0)
    return up - lo + 2 / (1 - p) * missed


def interval_scores(results: Results) -> NDArray[np.float64]:
    """Interval score of each toy, shape (n_toys,).

    A failed toy is as wide as the range of mu and misses by the distance to its farther end: no valid
    interval inside the range scores worse, so failing never pays.
    """
    table, p = results.table, results.confidence_level
    mu, (low, high) = table["mu_true"].to_numpy(), results.mu_range
    valid = interval_score(table["lower"], table["upper"], mu, p)
    failed = high - low + 2 / (1 - p) * np.maximum(mu - low, high - mu)
    return np.where(results.is_ok, valid, failed)


class Winkler:
    """Mean interval score."""

    def __call__(self, results: Results) -> tuple[ScoreValue, ...]:
        """``winkler``."""
        scores = interval_scores(results)
        mean, error = mean_and_error(scores, resampling_units(results))
        n_failed = int((~results.is_ok).sum())
        meaning = (
            f"Interval (Winkler) score at {results.confidence_level:.2%}: width plus penalty for misses."
        )
        return (ScoreValue("winkler", mean, error, "", False, len(scores), n_failed, meaning),)
