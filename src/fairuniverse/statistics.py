"""Statistics of counted intervals: how often they cover, overall and in slices of the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.protocols import ONE_SIGMA_CL
from fairuniverse.results import Results


def clopper_pearson(
    k: ArrayLike, n: ArrayLike, confidence_level: float = ONE_SIGMA_CL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Central confidence interval of a binomial probability that never covers less than it claims.

    Clopper and Pearson, Biometrika 26 (1934) 404: the bounds are quantiles of Beta(k, n - k + 1) and
    Beta(k + 1, n - k).

    Args:
        k: Number of successes, any shape.
        n: Number of trials, of a shape that broadcasts with `k`.
        confidence_level: Confidence level of the interval.

    Returns:
        Lower and upper bounds; (0, 1) where n = 0.

    Raises:
        InvalidDataError: Some k is not between 0 and n.

    >>> lower, upper = clopper_pearson(7, 10)
    >>> print(f"{lower:.3f} {upper:.3f}")
    0.492 0.858
    """
    from scipy.stats import beta

    k, n = np.broadcast_arrays(np.asarray(k, float), np.asarray(n, float))
    if np.any((k < 0) | (k > n)):
        raise InvalidDataError("more successes than trials, or fewer than none: 0 <= k <= n is needed")
    tail = (1 - confidence_level) / 2
    # At k = 0 and k = n one shape parameter vanishes: there the bound is 0 or 1 by definition.
    lower = np.where(k > 0, beta.ppf(tail, np.maximum(k, 1), n - k + 1), 0.0)
    upper = np.where(k < n, beta.isf(tail, k + 1, np.maximum(n - k, 1)), 1.0)
    return lower, upper


def binomial_band(
    probability: float, n: ArrayLike, confidence_level: float = ONE_SIGMA_CL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Central range of k/n for k ~ Binomial(n, p): the scatter to expect if the probability is p.

    Args:
        probability: Success probability p.
        n: Number of trials, any shape, at least 1.
        confidence_level: Probability that k/n falls into the range, at least.

    Returns:
        Smallest and largest fraction k/n of the range, both included.

    >>> lower, upper = binomial_band(0.6827, 100)
    >>> print(f"{lower:.2f} {upper:.2f}")
    0.64 0.73
    """
    from scipy.stats import binom

    tail = (1 - confidence_level) / 2
    n = np.asarray(n)
    return binom.ppf(tail, n, probability) / n, binom.ppf(1 - tail, n, probability) / n


def slice_codes(values: ArrayLike, n_slices: int) -> NDArray[np.int64]:
    """Slice that each value belongs to: one per distinct value, or about equally filled if there are more.

    Args:
        values: Shape (n,), finite.
        n_slices: Largest number of slices.

    Returns:
        Shape (n,), slices numbered from 0 in the order of the values.

    >>> slice_codes([0.3, 0.1, 0.3], 10).tolist()
    [1, 0, 1]
    >>> slice_codes([1, 2, 3, 4, 5, 6], 2).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    values = np.asarray(values, float)
    distinct, codes = np.unique(values, return_inverse=True)
    if len(distinct) <= n_slices:
        return codes.astype(np.int64)
    inner = np.quantile(values, np.linspace(0, 1, n_slices + 1)[1:-1])
    # Many equal values (clipped draws) make edges coincide: number only the slices that are filled.
    return np.unique(np.searchsorted(inner, values), return_inverse=True)[1].astype(np.int64)


def coverage_by_slice(
    covers: NDArray[np.bool_],
    values: ArrayLike,
    *,
    n_slices: int = 10,
    confidence_level: float = ONE_SIGMA_CL,
) -> pd.DataFrame:
    """Coverage in slices of a true value (mu or a nuisance parameter), with Clopper-Pearson intervals.

    Args:
        covers: Which toys' intervals contain mu_true, shape (n_toys,); a failed toy does not cover.
        values: The true value in each toy, shape (n_toys,).
        n_slices: Largest number of slices (see `slice_codes`).
        confidence_level: Confidence level of the interval on the coverage.

    Returns:
        One row per slice: ``low, high, mean`` of the values in it, ``n_toys, n_covering, coverage`` and
        the interval ``lower, upper`` of the coverage.

    Raises:
        InvalidDataError: The lengths differ, or a value is not finite.
    """
    values = np.asarray(values, float)
    if values.shape != np.shape(covers) or not np.isfinite(values).all():
        raise InvalidDataError("slices need one finite true value per toy; drop toys whose truth is unknown")
    toys = pd.DataFrame({"value": values, "covers": covers, "slice": slice_codes(values, n_slices)})
    table = toys.groupby("slice", as_index=False).agg(
        low=("value", "min"),
        high=("value", "max"),
        mean=("value", "mean"),
        n_toys=("covers", "size"),
        n_covering=("covers", "sum"),
    )
    table["coverage"] = table["n_covering"] / table["n_toys"]
    table["lower"], table["upper"] = clopper_pearson(table["n_covering"], table["n_toys"], confidence_level)
    return table.drop(columns="slice")


def pulls(results: Results) -> NDArray[np.float64]:
    """Distance of mu_hat from mu_true in units of the claimed standard error, shape (n_toys,).

    The standard error is the part of the interval on the side of mu_true (L. Demortier and L. Lyons,
    CDF note 5776, 2002), divided by the normal quantile of the confidence level: abs(pull) <= 1 at 68.27 %
    means "covers" for every interval that contains its mu_hat.

    Returns:
        One pull per toy; NaN for a failed toy and where mu_hat is not inside its interval on that side.
    """
    from scipy.stats import norm

    t = results.table
    distance = np.asarray(t["mu_hat"] - t["mu_true"], float)
    side = np.where(distance > 0, t["mu_hat"] - t["lower"], t["upper"] - t["mu_hat"]).astype(float)
    sigma = side / norm.ppf((1 + results.confidence_level) / 2)
    pull = np.full(len(t), np.nan)
    np.divide(distance, sigma, out=pull, where=results.is_ok & (sigma > 0))
    return pull
