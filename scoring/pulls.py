"""Point estimates: bias, pulls, root-mean-square and mean absolute error of mu_hat."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fairuniverse.protocols import ScoreValue
from fairuniverse.results import Results
from fairuniverse.statistics import pulls

from .resampling import finite, mean_and_error, resampling_units


class Pulls:
    """Bias, pull mean, pull width, RMSE and MAE of mu_hat.

    Failed toys have no mu_hat and are left out; `ScoreValue.n_failed` counts them, and for the pulls also the
    toys whose interval has no extent towards the truth.
    """

    def __call__(self, results: Results) -> tuple[ScoreValue, ...]:
        """``bias``, ``pull_mean``, ``pull_width``, ``mu_hat_rmse`` and ``mu_hat_mae``."""
        table, units, is_ok = results.table, resampling_units(results), results.is_ok
        residual = (table["mu_hat"] - table["mu_true"]).to_numpy()[is_ok]
        pull = pulls(results)
        is_known = np.isfinite(pull)
        pull = pull[is_known]
        n, n_failed, n_no_pull = len(is_ok), int((~is_ok).sum()), int((~is_known).sum())
        rows = (
            ("bias", mean_and_error(residual, units[is_ok]), n_failed, None, "Mean of mu_hat - mu_true."),
            (
                "pull_mean",
                mean_and_error(pull, units[is_known]),
                n_no_pull,
                None,
                "Mean of (mu_hat - mu_true) / sigma, sigma from the side that faces the truth.",
            ),
            ("pull_width", _spread(pull), n_no_pull, None, "Standard deviation of the pulls; 1 is ideal."),
            (
                "mu_hat_rmse",
                _root(*mean_and_error(residual**2, units[is_ok])),
                n_failed,
                False,
                "Root mean square of mu_hat - mu_true over the toys that did not fail.",
            ),
            (
                "mu_hat_mae",
                mean_and_error(np.abs(residual), units[is_ok]),
                n_failed,
                False,
                "Mean of |mu_hat - mu_true| over the toys that did not fail.",
            ),
        )
        return tuple(
            ScoreValue(name, v, e, "", better, n, lost, text) for name, (v, e), lost, better, text in rows
        )


def _spread(x: NDArray[np.float64]) -> tuple[float | None, float | None]:
    if len(x) < 2:
        return None, None
    # The error of a standard deviation, from the fourth moment: pulls are rarely Gaussian in the tails.
    variance = x.var(ddof=1)
    if not variance > 0:
        return finite(math.sqrt(variance)) if variance == 0 else None, None
    fourth = np.mean((x - x.mean()) ** 4)
    error = math.sqrt(max(fourth - variance**2, 0) / len(x)) / (2 * math.sqrt(variance))
    return finite(math.sqrt(variance)), finite(error)


def _root(mean: float | None, error: float | None) -> tuple[float | None, float | None]:
    if mean is None:
        return None, None
    root = math.sqrt(mean)
    return root, None if error is None or root == 0 else error / (2 * root)
