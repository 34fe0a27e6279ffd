"""Means and their errors when toys come in sets that share one value of mu."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fairuniverse.results import Results
from fairuniverse.seeding import generator

N_DRAWS = 400
"""Bootstrap samples: the standard error is known to 1 / sqrt(2 * 400) = 3.5 %."""


def finite(x: float) -> float | None:
    """The number, or None where it is NaN or infinite."""
    return float(x) if math.isfinite(x) else None


def resampling_units(results: Results) -> NDArray[np.intp]:
    """Number of the unit that each toy belongs to, shape (n_toys,).

    A unit is what may be drawn again: the mu set, because its toys share mu. With a single set nothing can be
    said about other values of mu, and each toy is a unit.
    """
    sets, codes = np.unique(results.table["i_mu"].to_numpy(), return_inverse=True)
    return codes if len(sets) > 1 else np.arange(len(codes))


def mean_and_error(x: NDArray[np.float64], units: NDArray[np.intp]) -> tuple[float | None, float | None]:
    """Mean over toys and its standard error from the scatter between units.

    The linearised estimator for a ratio of cluster totals (Cochran 1977, *Sampling Techniques*, eq. 11.24);
    with one toy in each unit it is the ordinary standard error of a mean.

    Args:
        x: One number per toy, shape (n_toys,).
        units: Unit of each toy, shape (n_toys,); see `resampling_units`.

    Returns:
        Mean and error; None where there are no toys, or fewer than two units.
    """
    if not len(x):
        return None, None
    mean = x.mean()
    _, codes = np.unique(units, return_inverse=True)
    scatter = np.bincount(codes, x - mean)
    n_units = len(scatter)
    if n_units < 2:
        return finite(mean), None
    variance = n_units / (n_units - 1) * np.sum(scatter**2)
    return finite(mean), finite(math.sqrt(variance) / len(x))


def bootstrap_counts(n_units: int) -> NDArray[np.int64]:
    """How often each unit appears in each bootstrap sample, shape (N_DRAWS, n_units).

    The stream is fixed, so that the same results always have the same errors.

    Notes:
        With few units the bootstrap is too narrow by sqrt(1 - 1 / n_units): 5 % for ten sets.
    """
    rng = generator(0, "bootstrap over mu sets")
    draws = rng.integers(0, n_units, size=(N_DRAWS, n_units))
    return np.stack([np.bincount(draw, minlength=n_units) for draw in draws])
