"""Width of the intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairuniverse.protocols import ScoreValue
from fairuniverse.results import Results

from .resampling import finite, mean_and_error, resampling_units


def median_and_error(x: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Median and half the distance of the order statistics n/2 -+ sqrt(n)/2, its 1-sigma interval.

    Args:
        x: Independent numbers, shape (n,).
    """
    n = len(x)
    if n < 2:
        return (finite(x[0]) if n else None), None
    ordered, reach = np.sort(x), math.sqrt(n) / 2
    first, last = max(int((n - 1) / 2 - reach), 0), min(math.ceil((n - 1) / 2 + reach), n - 1)
    return finite(np.median(ordered)), finite((ordered[last] - ordered[first]) / 2)


def width_by_mu(results: Results) -> pd.DataFrame:
    """Mean, its error, and median of the width for each mu set.

    Returns:
        Columns ``i_mu, mu_true, n_toys, mean, error, median``, one row per set.
    """
    table = results.table[["i_mu", "mu_true"]].assign(width=results.widths())
    by_mu = table.groupby("i_mu")
    widths = by_mu["width"]
    summary = pd.DataFrame(
        {
            "mu_true": by_mu["mu_true"].first(),
            "n_toys": widths.size(),
            "mean": widths.mean(),
            "error": widths.sem(),
            "median": widths.median(),
        }
    )
    return summary.reset_index()


class Width:
    """Mean and median width of the intervals; a failed toy is as wide as the range of mu."""

    def __call__(self, results: Results) -> tuple[ScoreValue, ...]:
        """``interval`` (the official name of the mean width) and ``width_median``."""
        widths = results.widths()
        n, n_failed = len(widths), int((~results.is_ok).sum())
        mean, mean_error = mean_and_error(widths, resampling_units(results))
        median, median_error = median_and_error(widths)
        return (
            ScoreValue("interval", mean, mean_error, "", False, n, n_failed, "Mean width of the intervals."),
            ScoreValue(
                "width_median", median, median_error, "", False, n, n_failed, "Median width of the intervals."
            ),
        )
