"""Results of several submissions and their score cards, made from closed formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fairuniverse.protocols import ONE_SIGMA_CL, ScoreValue
from fairuniverse.results import Results
from fairuniverse.seeding import generator

MANIFEST = {
    "benchmark": {"name": "quick", "version": "1.0", "config": {"seed": 42, "nuisances": ["tes", "jes"]}},
    "benchmark_digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "isolation": {"backend": "process", "is_isolated": False},
    "versions": {"numpy": "2.0.0", "pandas": "2.2.2"},
    "machine": {"platform": "Linux", "n_cores": 2},
}


def make_results(
    submissions: Sequence[str] = ("profile_likelihood", "counting"),
    *,
    n_mu: int = 10,
    n_toys: int = 100,
    nuisances: Sequence[str] = ("tes", "jes", "soft_met", "ttbar_scale", "diboson_scale", "bkg_scale"),
    failure_rate: float = 0.01,
    manifest: Mapping[str, object] = MANIFEST,
) -> Results:
    """Gaussian estimates with exact errors; every second submission is wider, every third follows tes."""
    tables = [_answers(name, i, n_mu, n_toys, nuisances, failure_rate) for i, name in enumerate(submissions)]
    return Results(pd.concat(tables, ignore_index=True), (0.1, 3.0), ONE_SIGMA_CL, manifest)


def _answers(
    name: str, i: int, n_mu: int, n_toys: int, nuisances: Sequence[str], failure_rate: float
) -> pd.DataFrame:
    truth, rng = generator(7, "truth"), generator(7, "answers", i)
    n = n_mu * n_toys
    table = pd.DataFrame({"submission": name, "i_mu": np.repeat(np.arange(n_mu), n_toys)})
    table["i_toy"] = np.tile(np.arange(n_toys), n_mu)
    table["mu_true"] = truth.uniform(0.1, 3.0, n_mu)[table["i_mu"]]
    for nuisance in nuisances:
        table[f"nuisance_{nuisance}"] = truth.normal(1.0, 0.01, n)
    sigma = (0.3 if i % 2 == 0 else 0.7) * rng.uniform(0.85, 1.15, n) * (1 + 0.1 * table["mu_true"])
    table["mu_hat"] = rng.normal(table["mu_true"], sigma)
    if i % 3 == 2 and nuisances:
        table["mu_hat"] += 20 * (table[f"nuisance_{nuisances[0]}"] - 1)
    table["lower"], table["upper"] = table["mu_hat"] - sigma, table["mu_hat"] + sigma
    table["status"], table["message"] = "ok", ""
    is_failed = rng.random(n) < failure_rate
    table.loc[is_failed, ["mu_hat", "lower", "upper"]] = np.nan
    table.loc[is_failed, "status"] = "exception"
    table.loc[is_failed, "message"] = "ZeroDivisionError: division by zero"
    return table.assign(
        n_events=rng.poisson(1_050_000, n),
        wall_time_s=rng.lognormal(-3 + i, 0.3, n),
        memory_mib=rng.normal(400 + 50 * i, 5, n),
    )


def make_cards(results: Results) -> dict[str, tuple[ScoreValue, ...]]:
    """A few scores of every submission, in the form of a score card."""
    return {name: _card(results.of(name)) for name in results.submissions}


def _card(results: Results) -> tuple[ScoreValue, ...]:
    n, n_failed = len(results.table), int((~results.is_ok).sum())
    width, coverage = float(results.widths().mean()), float(results.covers().mean())
    return (
        ScoreValue(
            "quantiles_score", -np.log(width + 1e-3), 0.02, "", True, n, n_failed, "Official quantile score."
        ),
        ScoreValue("interval", width, 0.011, "", False, n, n_failed, "Mean width of the intervals."),
        ScoreValue(
            "coverage", coverage, (coverage * (1 - coverage) / n) ** 0.5, "", None, n, n_failed, "Coverage."
        ),
        ScoreValue("cpu_time_median", 0.05, None, "s", False, n, n_failed, "Median time of a prediction."),
        ScoreValue(
            "failed_timeout", 0.0, None, "toys", False, n, n_failed, "Toys without an answer in time."
        ),
        ScoreValue("width_matched", None, None, "", False, n, n_failed, "Width at matched coverage."),
    )
