"""What the public challenge calls ``rmse`` and ``mae``: errors of mu_hat and of its uncertainty, mixed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairuniverse.protocols import ScoreValue
from fairuniverse.results import Results

from .resampling import mean_and_error

DELTA = "delta_mu_hat"
"""Optional column of the results table: the uncertainty that official submissions state for mu_hat."""


def stated_uncertainty(results: Results) -> NDArray[np.float64]:
    """Uncertainty of mu_hat, shape (n_toys,): the stated one where there is one, else half the width."""
    half = results.widths() / 2
    if DELTA not in results.table:
        return half
    stated = results.table[DELTA].to_numpy(dtype=np.float64)
    return np.where(np.isfinite(stated), stated, half)


class OfficialErrors:
    """``rmse`` and ``mae`` of the official board, for comparison with it only.

    With d = mu_hat - mu_true and the stated uncertainty s of one toy, rmse averages
    sqrt(d^2 + (d^2 - s^2)^2) and mae averages |d| + ||d| - s|: first over the toys of a set, then over sets.
    The textbook quantities are ``mu_hat_rmse`` and ``mu_hat_mae``. Failed toys are left out.
    """

    def __call__(self, results: Results) -> tuple[ScoreValue, ...]:
        """``rmse`` and ``mae``."""
        is_ok = results.is_ok
        d = (results.table["mu_hat"] - results.table["mu_true"]).to_numpy()[is_ok]
        s = stated_uncertainty(results)[is_ok]
        i_mu = results.table["i_mu"].to_numpy()[is_ok]
        per_toy = {
            "rmse": np.sqrt(d**2 + (d**2 - s**2) ** 2),
            "mae": np.abs(d) + np.abs(np.abs(d) - s),
        }
        n, n_failed = len(is_ok), int((~is_ok).sum())
        meaning = "As the public challenge defines it; not a textbook {}, see mu_hat_{}."
        return tuple(
            ScoreValue(
                name, *_mean_of_sets(x, i_mu), "", False, n, n_failed, meaning.format(name.upper(), name)
            )
            for name, x in per_toy.items()
        )


def _mean_of_sets(x: NDArray[np.float64], i_mu: NDArray[np.int64]) -> tuple[float | None, float | None]:
    _, sets = np.unique(i_mu, return_inverse=True)
    if not len(sets) or sets.max() == 0:
        return mean_and_error(x, np.arange(len(x)))
    means = np.bincount(sets, x) / np.bincount(sets)
    return mean_and_error(means, np.arange(len(means)))
