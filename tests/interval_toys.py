"""Results of known properties: Gaussian estimates with intervals made from closed formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fairuniverse.results import Results
from fairuniverse.seeding import generator

MU_RANGE = (0.1, 3.0)


def gaussian_results(
    *,
    n_mu: int = 10,
    n_toys: int = 100,
    sigma: float = 0.3,
    scale: float = 1.0,
    bias: float = 0.0,
    nuisance_bias: float = 0.0,
    seed: int = 1,
) -> Results:
    """Estimates mu_hat ~ N(mu + bias, sigma) with intervals mu_hat -+ scale * sigma.

    Args:
        n_mu: Values of mu, uniform in the range.
        n_toys: Toys at each.
        sigma: True standard deviation of mu_hat.
        scale: Half-width of the interval in units of sigma: 1 covers.
        bias: Shift of mu_hat, the same in all toys.
        nuisance_bias: Shift of mu_hat for each standard deviation of the nuisance parameter ``tes``.
        seed: Of the toys.
    """
    rng = generator(seed, "interval toys")
    i_mu = np.repeat(np.arange(n_mu), n_toys)
    alpha = rng.standard_normal(n_mu * n_toys)
    mu_true = rng.uniform(*MU_RANGE, n_mu)[i_mu]
    mu_hat = rng.normal(mu_true + bias + nuisance_bias * alpha, sigma)
    return results_of(
        i_mu=i_mu,
        i_toy=np.tile(np.arange(n_toys), n_mu),
        mu_true=mu_true,
        mu_hat=mu_hat,
        lower=mu_hat - scale * sigma,
        upper=mu_hat + scale * sigma,
        nuisance_tes=1 + 0.01 * alpha,
        nuisance_jes=1 + 0.01 * rng.standard_normal(n_mu * n_toys),
    )


def results_of(
    mu_range: tuple[float, float] = MU_RANGE, confidence_level: float = 0.6827, **columns: Any
) -> Results:
    """Results of one submission from some columns, the others filled with harmless values."""
    table = pd.DataFrame(columns)
    n = len(table)
    filled = {
        "submission": "method",
        "i_mu": 0,
        "i_toy": np.arange(n),
        "mu_true": 1.0,
        "mu_hat": 1.0,
        "lower": 0.5,
        "upper": 1.5,
        "status": "ok",
        "message": "",
        "n_events": 1000,
        "wall_time_s": 0.5,
        "cpu_time_s": 0.4,
        "memory_mib": 200.0,
    }
    return Results(
        table.assign(**{k: v for k, v in filled.items() if k not in columns}), mu_range, confidence_level
    )


def failing(results: Results, rows: Any, status: str = "exception") -> Results:
    """The same results with some toys failed."""
    table = results.table.copy()
    table.loc[rows, ["mu_hat", "lower", "upper"]] = np.nan
    table.loc[rows, "status"] = status
    return Results(table, results.mu_range, results.confidence_level, results.manifest)


def data_blind_results(*, n_mu: int = 10, n_toys: int = 100, p: float = 0.6827, seed: int = 1) -> Results:
    """The game that ignores the data: the range of mu with probability p, otherwise an empty interval."""
    honest = gaussian_results(n_mu=n_mu, n_toys=n_toys, seed=seed).table
    low, high = MU_RANGE
    is_whole = generator(seed, "data-blind").random(len(honest)) < p
    # The empty interval lies outside the range, so that it covers nothing.
    return results_of(
        i_mu=honest["i_mu"],
        i_toy=honest["i_toy"],
        mu_true=honest["mu_true"],
        mu_hat=(low + high) / 2,
        lower=np.where(is_whole, low, high + 1e-9),
        upper=np.where(is_whole, high, high + 1e-9),
    )


def answer(results: Results, name: str) -> float:
    """Value of one score of a score card, which must exist."""
    from fairuniverse.scoring import score_card

    value = score_card(results)[name].value
    assert value is not None
    return value
