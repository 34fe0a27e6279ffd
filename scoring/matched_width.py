"""Width that the intervals would have, had they been scaled to the right coverage."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
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
        value, drawn = _bootstrapped(results)
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


def matched_width_ratio(results: Results, reference: Results) -> ScoreValue:
    """Ratio of the widths at matched coverage of two submissions on the same toys.

    The bootstrap draws the same toys for both, so that what the toys do to both cancels in the error.

    Raises:
        InvalidDataError: The toys are not the same.
    """
    _require_same_toys(results, reference)
    n, n_failed = len(results.table), int((~results.is_ok).sum())
    ratio, error = math.nan, math.nan
    if n > 1:
        (value, drawn), (value_0, drawn_0) = _bootstrapped(results), _bootstrapped(reference)
        ratio = _ratio(value[:1], value_0[:1])[0]
        ratios = _ratio(drawn[:, 0], drawn_0[:, 0])
        error = ratios.std(ddof=1) if np.isfinite(ratios).all() else math.nan
    meaning = f"Width at matched coverage over that of {reference.submissions[0]}, on the same toys."
    return ScoreValue("width_ratio", finite(ratio), finite(error), "", False, n, n_failed, meaning)


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ratio; NaN where one of the widths does not exist or the denominator vanishes."""
    is_known = np.isfinite(numerator) & np.isfinite(denominator) & (denominator > 0)
    ratio = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=ratio, where=is_known)
    return ratio


def _require_same_toys(results: Results, reference: Results) -> None:
    key = ["i_mu", "i_toy", "mu_true"]
    if not results.table[key].reset_index(drop=True).equals(reference.table[key].reset_index(drop=True)):
        names = " and ".join((*results.submissions, *reference.submissions))
        raise InvalidDataError(f"{names} did not answer the same toys in the same order: no ratio")


def _bootstrapped(results: Results) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Width, factor and coverage, shape (3,), and the same of each bootstrap sample, shape (N_DRAWS, 3)."""
    units = resampling_units(results)
    counts = bootstrap_counts(int(units.max()) + 1).astype(np.float64)
    first = halves(results)
    pair = _Half(results, first, units), _Half(results, ~first, units)
    value = np.array(_cross_fit(*pair, np.ones(counts.shape[1])))
    return value, np.array([_cross_fit(*pair, count) for count in counts])


class _Half:
    """One half of the toys in the order of their reach, summed by unit where only sums are needed."""

    def __init__(self, results: Results, is_in: NDArray[np.bool_], units: NDArray[np.intp]) -> None:
        reach = reach_of_truth(results)
        rows = np.flatnonzero(is_in)
        rows = rows[np.argsort(reach[rows], kind="stable")]
        widths, is_ok, n_units = results.widths()[rows], results.is_ok[rows], int(units.max()) + 1
        self.p = results.confidence_level
        self.reach = reach[rows]
        self.units = units[rows]
        self.scaled = np.bincount(self.units, widths * is_ok, n_units)
        self.fixed = np.bincount(self.units, widths * ~is_ok, n_units)


def _cross_fit(one: _Half, two: _Half, weights: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean scaled width, mean factor and held-out coverage, each unit counted with its weight."""
    sums = [np.cumsum(weights[half.units]) for half in (one, two)]
    factors = [
        float(half.reach[np.searchsorted(c, half.p * c[-1])])
        for half, c in zip((one, two), sums, strict=True)
    ]
    if not np.isfinite(factors).all():
        return np.inf, np.inf, np.nan
    width, covered = 0.0, 0.0
    for half, c, factor in zip((one, two), sums, reversed(factors), strict=True):
        width += float(weights @ (factor * half.scaled + half.fixed))
        n_within = np.searchsorted(half.reach, factor, side="right")
        covered += float(c[n_within - 1]) if n_within else 0.0
    total = float(sums[0][-1] + sums[1][-1])
    return width / total, sum(factors) / 2, covered / total
