"""Width that the intervals would have, had they been scaled to the right coverage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairuniverse.protocols import ScoreValue
from fairuniverse.results import Results

from .resampling import bootstrap_counts, finite, resampling_units


def reach_of_truth(results: Results) -> NDArray[np.float64]:
    """Factor by which each interval must be scaled about mu_hat to just contain mu_true, shape (n_toys,).

    Infinite where no factor does: failed toys, and sides of zero length. A mu_hat outside its own interval is
    replaced by the nearer end.
    """
    table = results.table
    lower, upper, mu = (table[c].to_numpy() for c in ("lower", "upper", "mu_true"))
    centre = np.clip(table["mu_hat"].to_numpy(), lower, upper)
    side = np.where(mu >= centre, upper - centre, centre - lower)
    distance = np.abs(mu - centre)
    reach = np.full(len(mu), np.inf)
    np.divide(distance, side, out=reach, where=side > 0)
    reach[distance == 0] = 0
    reach[~results.is_ok] = np.inf
    return reach


def halves(results: Results) -> NDArray[np.bool_]:
    """Which toys belong to the first half: every other one in the order of (i_mu, i_toy)."""
    order = np.lexsort((results.table["i_toy"], results.table["i_mu"]))
    first = np.empty(len(order), dtype=bool)
    first[order] = np.arange(len(order)) % 2 == 0
    return first


class MatchedWidth:
    """Mean width at matched coverage, by cross-fitting.

    The factor that brings the coverage of one half of the toys to the confidence level scales the widths of
    the other half, and the other way round, so that no interval is scaled with its own truth. A failed toy
    keeps the width of the range of mu and is never covered.

    Notes:
        One factor for all toys: coverage that depends on mu or on a nuisance parameter is not repaired by it.
    """

    def __call__(self, results: Results) -> tuple[ScoreValue, ...]:
        """``width_matched``, ``width_matched_factor`` and ``width_matched_coverage`` (on held-out halves)."""
        n, n_failed = len(results.table), int((~results.is_ok).sum())
        if n < 2:
            return ()
        matched = _CrossFit(results)
        units = resampling_units(results)
        value = matched(np.ones(n))
        counts = bootstrap_counts(int(units.max()) + 1)
        drawn = np.array([matched(count[units].astype(np.float64)) for count in counts])
        error = drawn.std(axis=0, ddof=1) if np.isfinite(drawn).all() else np.full(3, np.nan)
        names = {
            "width_matched": (False, "Mean width after scaling the intervals to the right coverage."),
            "width_matched_factor": (None, "The scale factor; above 1 where intervals are too short."),
            "width_matched_coverage": (None, "Coverage of the scaled intervals on toys held out."),
        }
        return tuple(
            ScoreValue(name, finite(value[i]), finite(error[i]), "", better, n, n_failed, meaning)
            for i, (name, (better, meaning)) in enumerate(names.items())
        )


class _CrossFit:
    """Width, factor and held-out coverage as functions of the weights of the toys."""

    def __init__(self, results: Results) -> None:
        self._p = results.confidence_level
        self._is_ok = results.is_ok
        self._widths = results.widths()
        self._reach = reach_of_truth(results)
        first = halves(results)
        rows = [np.flatnonzero(first), np.flatnonzero(~first)]
        self._rows = [r[np.argsort(self._reach[r], kind="stable")] for r in rows]

    def __call__(self, weights: NDArray[np.float64]) -> tuple[float, float, float]:
        a, b = self._rows
        one, two = (
            self._apply(self._factor(a, weights), b, weights),
            self._apply(self._factor(b, weights), a, weights),
        )
        total = weights.sum()
        return (one[0] + two[0]) / total, (one[1] + two[1]) / 2, (one[2] + two[2]) / total

    def _factor(self, rows: NDArray[np.intp], weights: NDArray[np.float64]) -> float:
        cumulative = np.cumsum(weights[rows])
        i = np.searchsorted(cumulative, self._p * cumulative[-1])
        return float(self._reach[rows[i]])

    def _apply(
        self, factor: float, rows: NDArray[np.intp], weights: NDArray[np.float64]
    ) -> tuple[float, float, float]:
        """Sum of scaled widths, the factor, and the covered weight on these rows."""
        w = weights[rows]
        if not np.isfinite(factor):
            return np.inf, factor, np.nan
        widths = np.where(self._is_ok[rows], factor * self._widths[rows], self._widths[rows])
        return float(w @ widths), factor, float(w @ (self._reach[rows] <= factor))
