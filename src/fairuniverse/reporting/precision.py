"""Figures of a results table: pulls, widths, bias."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairuniverse.reporting import marks
from fairuniverse.reporting.coverage import N_MU_SLICES, series_table, submission_keys
from fairuniverse.reporting.page import Figure, Panel, Table, table_of
from fairuniverse.results import Results
from fairuniverse.statistics import pulls, slice_codes


def pull_figure(results: Results) -> Figure:
    """Distribution of the pulls with the standard normal."""
    edges = np.arange(-4, 4.01, 0.4)
    x, y = marks.x_axis("pull", (-4, 4)), marks.y_axis("toys per unit of pull")
    grid = np.linspace(-4, 4, 81)
    normal = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    layers: list[marks.Spec] = [marks.curve(grid, normal, "N(0, 1)", x, y)]
    rows = []
    for key in submission_keys(results):
        values = pulls(results.of(key.label))
        finite = values[np.isfinite(values)]
        rows.append(_pull_row(key.label, values))
        if len(finite):
            layers.append(marks.steps(edges, _density(np.clip(finite, -3.999, 3.999), edges), key, x, y))
    return Figure(
        "Pulls",
        "(mu_hat − mu_true) over the claimed error on that side. Right errors follow the dashed N(0, 1); a "
        "wider distribution means errors too small, a shifted one a bias. Pulls beyond ±4 are in the "
        "outermost bins.",
        (Panel("", marks.panel(*layers)),),
        submission_keys(results),
        table_of(pd.DataFrame(rows)),
    )


def width_figure(results: Results) -> Figure:
    """Distribution of the widths, and their mean in each true mu."""
    widths = {k: results.of(k.label).widths()[results.of(k.label).is_ok] for k in submission_keys(results)}
    top = float(np.quantile(np.concatenate(list(widths.values())), 0.995)) * 1.08 or 1.0
    edges = np.linspace(0, top, 41)
    x, y = marks.x_axis("width of the interval", (0, top)), marks.y_axis("fraction of toys")
    outlines = [
        marks.steps(edges, np.histogram(np.clip(values, 0, top), edges)[0] / len(values), key, x, y)
        for key, values in widths.items()
        if len(values)
    ]
    by_mu, table = _mean_by_mu(results, "upper - lower", "mean width")
    return Figure(
        "Widths",
        "Shorter is better at equal coverage. Failed toys are left out here; in the scores each counts "
        "with the width of the whole mu range. Bars: standard error of the mean.",
        (Panel("All toys", marks.panel(*outlines)), Panel("By true mu", by_mu)),
        submission_keys(results),
        table,
    )


def bias_figure(results: Results) -> Figure:
    """Mean error of mu_hat in each true mu."""
    chart, table = _mean_by_mu(results, "mu_hat - mu_true", "mean of mu_hat − mu_true", is_around_zero=True)
    return Figure(
        "Bias",
        "How far the estimate is off on average, by true mu, with the standard error of the mean. "
        "Estimates that are clipped to the range of mu bend towards its middle at both ends. "
        "The errors do not contain the fluctuation of the training sample, which all toys share.",
        (Panel("", chart),),
        submission_keys(results),
        table,
    )


def _density(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = np.histogram(values, edges)[0]
    density: NDArray[np.float64] = counts / (counts.sum() * np.diff(edges))
    return density


def _pull_row(name: str, values: NDArray[np.float64]) -> dict[str, object]:
    finite = values[np.isfinite(values)]
    n = len(finite)
    return {
        "submission": name,
        "mean": float(finite.mean()) if n else float("nan"),
        "width": float(finite.std(ddof=1)) if n > 1 else float("nan"),
        "n_toys": n,
        "without a pull": len(values) - n,
    }


def _valid(results: Results) -> pd.DataFrame:
    return results.table[results.is_ok]


def _mean_by_mu(
    results: Results, expression: str, title: str, *, is_around_zero: bool = False
) -> tuple[marks.Spec, Table]:
    """Mean of an expression of the columns in slices of the true mu, over the toys with a valid answer."""
    frames = {name: _slice_means(_valid(results.of(name)), expression) for name in results.submissions}
    every = pd.concat(frames.values())
    x = marks.x_axis("true mu", marks.padded([*every["x"], *results.mu_range]))
    y = marks.y_axis(title, marks.padded([*every["lower"], *every["upper"], 0.0]))
    layers: list[marks.Spec] = [marks.level(0.0, y, "no bias")] if is_around_zero else []
    for key, offset in zip(submission_keys(results), marks.offsets(len(frames)), strict=True):
        frame = frames[key.label].copy()
        frame["hint"] = [
            f"{key.label}: {r.y:.3f} at true mu {r.x:.3f}, {r.n_toys} toys" for r in frame.itertuples()
        ]
        layers.append(marks.points(frame, key, x, y, offset=offset, is_joined=True))
    table = series_table(frames)
    return marks.panel(*layers), table


def _slice_means(valid: pd.DataFrame, expression: str) -> pd.DataFrame:
    toys = pd.DataFrame({"x": valid["mu_true"], "y": valid.eval(expression), "slice": 0})
    toys["slice"] = slice_codes(valid["mu_true"], N_MU_SLICES)
    means = toys.groupby("slice").agg(
        x=("x", "mean"), y=("y", "mean"), std=("y", "std"), n_toys=("y", "size")
    )
    error = means.pop("std").fillna(0.0) / np.sqrt(means["n_toys"])
    return means.assign(lower=means["y"] - error, upper=means["y"] + error)
