"""Coverage: how often the intervals contain the truth, overall and where it might fail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.protocols import ONE_SIGMA_CL, ScoreValue
from fairuniverse.results import NUISANCE_PREFIX, Results
from fairuniverse.statistics import clopper_pearson, coverage_by_slice

N_SLICES = 5
"""Slices of equal population into which the toys are cut along each nuisance parameter."""


def binomial_p_value(n_covered: ArrayLike, n_toys: ArrayLike, p: float = ONE_SIGMA_CL) -> NDArray[np.float64]:
    """Exact two-sided binomial test: twice the smaller tail, at most 1; Clopper–Pearson inverts it."""
    from scipy.special import bdtr, bdtrc

    k, n = np.asarray(n_covered, dtype=np.float64), np.asarray(n_toys, dtype=np.float64)
    at_least = np.where(k > 0, bdtrc(np.maximum(k - 1, 0), n.astype(np.int64), p), 1.0)
    at_most = bdtr(k, n.astype(np.int64), p)
    p_value: NDArray[np.float64] = np.minimum(2 * np.minimum(at_least, at_most), 1.0)
    return p_value


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """P-values corrected for the number of looks, dependent or not (Holm, Scand. J. Stat. 6 (1979) 65).

    Examples:
        >>> holm([0.01, 0.5, 0.02]).tolist()
        [0.03, 0.5, 0.04]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return corrected


def coverage_by_mu(results: Results) -> pd.DataFrame:
    """Coverage at each value of mu.

    Returns:
        One row per set: ``i_mu, mu_true``, then ``n_toys, n_failed, n_covered, coverage, lower, upper``
        (Clopper–Pearson at the results' confidence level), ``p_value`` of the hypothesis that the intervals
        cover, and ``p_value_holm``, the same corrected for the number of rows.
    """
    sets = results.table[["i_mu", "mu_true"]].drop_duplicates("i_mu").sort_values("i_mu", ignore_index=True)
    slices = coverage_by_slice(results, results.table["i_mu"], n_slices=len(results.table))
    slices = slices.drop(columns=["low", "high", "mean"])
    return pd.concat([sets, _with_p_values(slices, results.confidence_level)], axis=1)


def coverage_by_nuisance(results: Results, name: str, n_slices: int = N_SLICES) -> pd.DataFrame:
    """Coverage in slices of equal population of the true value of a nuisance parameter.

    Equal values share a slice (see `fairuniverse.statistics.slice_codes`), so a parameter that does not vary
    has a single one. Toys whose true value is not known are left out.

    Args:
        results: Results of one submission.
        name: Nuisance parameter.
        n_slices: Number of slices asked for.

    Returns:
        One row per slice: ``low, high`` (smallest and largest value in it) and ``mean``, then as
        `coverage_by_mu`.

    Raises:
        InvalidDataError: The true values of that parameter are not in the table.
    """
    if name not in results.nuisance_names:
        known = ", ".join(results.nuisance_names) or "none"
        raise InvalidDataError(f"no true values of a nuisance parameter {name!r}; the table has: {known}")
    theta = results.table[NUISANCE_PREFIX + name].to_numpy(dtype=np.float64)
    return _with_p_values(coverage_by_slice(results, theta, n_slices), results.confidence_level)


@dataclass(frozen=True)
class WorstSlice:
    """The slice whose coverage is least compatible with the confidence level.

    Attributes:
        axis: ``"mu"`` or the name of a nuisance parameter.
        low: Smallest value of it in the slice.
        high: Largest value of it in the slice.
        n_toys: Toys in the slice.
        coverage: Their coverage.
        p_value: Exact binomial p-value of this slice alone.
        p_value_holm: The same corrected for `n_looks` (Holm).
        n_looks: Number of slices looked at.
    """

    axis: str
    low: float
    high: float
    n_toys: int
    coverage: float
    p_value: float
    p_value_holm: float
    n_looks: int


def worst_slice(results: Results, n_slices: int = N_SLICES) -> WorstSlice | None:
    """Worst of all mu sets and of all slices of every nuisance parameter that varies; None without toys.

    Notes:
        The test takes toys as independent. Toys drawn from one finite pool of events share its fluctuation,
        which adds to the binomial spread.
    """
    by_mu = coverage_by_mu(results)
    tables = {"mu": by_mu.assign(low=by_mu["mu_true"], high=by_mu["mu_true"])}
    for name in results.nuisance_names:
        slices = coverage_by_nuisance(results, name, n_slices)
        if len(slices) > 1:
            tables[name] = slices
    looks = pd.concat(tables, names=["axis"]).reset_index("axis")
    if looks.empty:
        return None
    looks["p_value_holm"] = holm(looks["p_value"])
    # Equal p-values can occur (both 0 far off): then the coverage farther from the level is the worse one.
    distance = (looks["coverage"] - results.confidence_level).abs()
    worst = looks.iloc[np.lexsort((-distance, looks["p_value"]))[0]]
    return WorstSlice(
        str(worst["axis"]),
        float(worst["low"]),
        float(worst["high"]),
        int(worst["n_toys"]),
        float(worst["coverage"]),
        float(worst["p_value"]),
        float(worst["p_value_holm"]),
        len(looks),
    )


class Coverage:
    """Coverage with its Clopper–Pearson interval, and the worst slice. A failed toy does not cover."""

    def __call__(self, results: Results) -> tuple[ScoreValue, ...]:
        """``coverage, coverage_lower, coverage_upper, coverage_worst_slice, coverage_worst_p_value``."""
        n, n_failed = len(results.table), int((~results.is_ok).sum())
        worst = worst_slice(results)
        if worst is None:
            return ()
        n_covered, level = int(results.covers().sum()), results.confidence_level
        lower, upper = (float(end) for end in clopper_pearson(n_covered, n, level))
        place = f"{worst.axis} in [{worst.low:.4g}, {worst.high:.4g}], {worst.n_toys} toys"
        rows = (
            (
                "coverage",
                n_covered / n,
                (upper - lower) / 2,
                f"Fraction of intervals with the truth; {level:g} is right.",
            ),
            ("coverage_lower", lower, None, f"Lower end of the {level:.2%} Clopper–Pearson interval."),
            ("coverage_upper", upper, None, f"Upper end of the {level:.2%} Clopper–Pearson interval."),
            (
                "coverage_worst_slice",
                worst.coverage,
                None,
                f"Coverage of the least compatible slice: {place}.",
            ),
            (
                "coverage_worst_p_value",
                worst.p_value_holm,
                None,
                f"Exact binomial p-value of that slice, corrected for {worst.n_looks} looks (Holm).",
            ),
        )
        return tuple(ScoreValue(name, v, e, "", None, n, n_failed, text) for name, v, e, text in rows)


def _with_p_values(slices: pd.DataFrame, p: float) -> pd.DataFrame:
    """Slices with the p-value of the hypothesis that the intervals cover with probability p."""
    p_value = binomial_p_value(slices["n_covered"], slices["n_toys"], p)
    return slices.assign(p_value=p_value, p_value_holm=holm(p_value))
