"""Statistics of the intervals: how often they cover, how far they pull, how their numbers are rounded."""

from __future__ import annotations

import math

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


def coverage_by_slice(results: Results, values: ArrayLike, n_slices: int) -> pd.DataFrame:
    """Coverage in slices of a true value, with Clopper-Pearson intervals at the results' confidence level.

    Args:
        results: Results of one submission; a failed toy does not cover.
        values: The true value (mu or a nuisance parameter) in each toy, shape (n_toys,). Toys in which it is
            not known (NaN) are left out.
        n_slices: Largest number of slices (see `slice_codes`).

    Returns:
        One row per slice: ``low, high, mean`` of the values in it, ``n_toys, n_failed, n_covered, coverage``
        and the interval ``lower, upper`` of the coverage.
    """
    values = np.asarray(values, float)
    rows = np.flatnonzero(np.isfinite(values))
    codes = slice_codes(values[rows], n_slices)
    by_slice = pd.Series(values[rows]).groupby(codes)
    n_toys = np.bincount(codes)
    n_covered = np.bincount(codes, results.covers()[rows]).astype(np.int64)
    lower, upper = clopper_pearson(n_covered, n_toys, results.confidence_level)
    return pd.DataFrame(
        {
            "low": by_slice.min(),
            "high": by_slice.max(),
            "mean": by_slice.mean(),
            "n_toys": n_toys,
            "n_failed": np.bincount(codes, ~results.is_ok[rows]).astype(np.int64),
            "n_covered": n_covered,
            "coverage": n_covered / n_toys,
            "lower": lower,
            "upper": upper,
        }
    )


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


def pdg_round(value: float, error: float | None = None) -> str:
    """Value and error as text, rounded by the rule of the Particle Data Group.

    The three leading digits of the error decide: up to 354 two digits are kept, up to 949 one, and above
    it is rounded up to 1000 and keeps two (Review of Particle Physics, introduction, section 5.3).

    >>> pdg_round(0.827, 0.119), pdg_round(0.827, 0.367), pdg_round(0.827, 0.95)
    ('0.83 ± 0.12', '0.8 ± 0.4', '0.8 ± 1.0')
    >>> pdg_round(1234.5), pdg_round(1234.5, 20)
    ('1234', '1234 ± 20')
    """
    if error is None or not math.isfinite(error) or error <= 1e-9 * abs(value):  # no error, or rounding noise
        return f"{value:.4g}"
    exponent = math.floor(math.log10(error))
    leading = round(error / 10.0 ** (exponent - 2))
    if leading >= 950:
        exponent += 1
        error = 10.0**exponent
    decimals = (0 if 355 <= leading < 950 else 1) - exponent
    if decimals < 0:
        return f"{round(value, decimals):.0f} ± {round(error, decimals):.0f}"
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
