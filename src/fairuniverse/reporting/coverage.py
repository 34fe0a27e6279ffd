"""Figures of a results table: coverage, over all toys and in slices of true values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fairuniverse.protocols import ONE_SIGMA_CL
from fairuniverse.reporting import marks
from fairuniverse.reporting.page import Figure, Panel, Table, table_of
from fairuniverse.reporting.theme import Key, keys
from fairuniverse.results import NUISANCE_PREFIX, Results
from fairuniverse.statistics import binomial_band, clopper_pearson, coverage_by_slice

N_MU_SLICES = 12
N_NUISANCE_SLICES = 8
TWO_SIGMA_CL = 0.9545


def submission_keys(results: Results) -> tuple[Key, ...]:
    """How each submission is drawn."""
    return keys(results.submissions)


def calibration_figure(results: Results) -> Figure:
    """Mean width against coverage, one point per submission."""
    rows = pd.DataFrame([_calibration(results.of(name)) for name in results.submissions])
    n_toys = int(rows["n_toys"].max())
    x = marks.x_axis("mean width of the interval", marks.padded([*rows["width"], 0.0, *rows["width"] * 1.05]))
    shown = [*rows["lower"], *rows["upper"], *_band_edges(results, n_toys, TWO_SIGMA_CL)]
    y = marks.y_axis("coverage", marks.padded(shown, 0.08), format=".0%")
    layers: list[marks.Spec] = _nominal(results, [0.0], [n_toys], (-1e3, 1e3), x, y)
    frame = rows.rename(columns={"width": "x", "coverage": "y"})
    for i, key in enumerate(submission_keys(results)):
        layers.append(marks.points(frame.iloc[[i]], key, x, y))
    return Figure(
        "Width and coverage",
        f"A good method stands on the dashed line ({results.confidence_level:.2%}) and as far left as "
        "possible: short intervals that still contain the truth as often as they claim. Below the bands a "
        "method promises more than it holds, above them it wastes width. Bars: Clopper–Pearson, 68.27%; "
        f"bands: where a method of exact coverage lands 68.27% and 95.45% of the time with {n_toys} toys.",
        (Panel("", marks.panel(*layers)),),
        submission_keys(results),
        table_of(rows.drop(columns="hint")),
    )


def coverage_by_mu_figure(results: Results) -> Figure:
    """Coverage in each true mu."""
    tables = _coverage_tables(results, "mu_true", N_MU_SLICES)
    return Figure(
        "Coverage by true mu",
        _coverage_reading(results, "true mu") + " The official score only sees the average of these points.",
        (Panel("", _coverage_chart(results, tables, "true mu")),),
        submission_keys(results),
        series_table(tables),
    )


def coverage_by_nuisance_figure(results: Results) -> Figure | None:
    """Coverage in slices of each nuisance parameter that varies; None if none does."""
    varied = [n for n in results.nuisance_names if results.table[NUISANCE_PREFIX + n].nunique() > 1]
    if not varied:
        return None
    tables = {n: _coverage_tables(results, NUISANCE_PREFIX + n, N_NUISANCE_SLICES) for n in varied}
    return Figure(
        "Coverage by nuisance parameter",
        _coverage_reading(results, "nuisance parameter's true value")
        + " A slope means that the method does not follow this nuisance parameter: its errors average out "
        "over the prior, but not for the one value that nature has.",
        tuple(Panel(n, _coverage_chart(results, tables[n], n)) for n in varied),
        submission_keys(results),
        series_table({f"{s} · {n}": t for n in varied for s, t in tables[n].items()}),
    )


def _calibration(results: Results) -> dict[str, object]:
    covers, widths = results.covers(), results.widths()
    n, k = len(covers), int(covers.sum())
    lower, upper = clopper_pearson(k, n, ONE_SIGMA_CL)
    name = results.submissions[0]
    return {
        "submission": name,
        "n_toys": n,
        "width": float(widths.mean()),
        "width_error": float(widths.std() / np.sqrt(n)),
        "coverage": k / n,
        "lower": float(lower),
        "upper": float(upper),
        "hint": f"{name}: coverage {k / n:.2%}, mean width {widths.mean():.3f}, {n} toys",
    }


def _band_edges(results: Results, n: int, confidence_level: float) -> tuple[float, float]:
    low, high = binomial_band(results.confidence_level, n, confidence_level)
    return float(low), float(high)


def _nominal(
    results: Results,
    x_values: Sequence[float],
    n_toys: Sequence[int],
    domain: marks.Domain,
    x: marks.Spec,
    y: marks.Spec,
) -> list[marks.Spec]:
    """Where the coverage of an exact method lands: the claimed level and its binomial bands."""
    p = results.confidence_level
    layers: list[marks.Spec] = []
    for content in (TWO_SIGMA_CL, ONE_SIGMA_CL):
        low, high = binomial_band(p, np.asarray(n_toys), content)
        layers.append(marks.band(x_values, low, high, domain, x, y, f"binomial band, {content:.2%}"))
    return [*layers, marks.level(p, y, f"claimed coverage {p:.2%}")]


def _coverage_tables(results: Results, column: str, n_slices: int) -> dict[str, pd.DataFrame]:
    parts = {name: results.of(name) for name in results.submissions}
    return {name: coverage_by_slice(part, part.table[column], n_slices) for name, part in parts.items()}


def _coverage_chart(results: Results, tables: Mapping[str, pd.DataFrame], title: str) -> marks.Spec:
    every = pd.concat(tables.values())
    reference = next(iter(tables.values()))
    n_least = int(reference["n_toys"].min())
    edges = [*every["lower"], *every["upper"], *_band_edges(results, n_least, TWO_SIGMA_CL)]
    domain = marks.padded([*every["low"], *every["high"]])
    x = marks.x_axis(title, domain)
    y = marks.y_axis("coverage", (max(min(edges) - 0.03, -0.02), min(max(edges) + 0.03, 1.02)), format=".0%")
    layers = _nominal(results, list(reference["mean"]), list(reference["n_toys"]), domain, x, y)
    for key, offset in zip(submission_keys(results), marks.offsets(len(tables)), strict=True):
        frame = tables[key.label].rename(columns={"mean": "x", "coverage": "y"})
        frame["hint"] = [
            f"{key.label}: {r.y:.1%} ({r.lower:.1%} to {r.upper:.1%}) of {r.n_toys} toys, {title} "
            f"{r.low:.4g} to {r.high:.4g}"
            for r in frame.itertuples()
        ]
        layers.append(marks.points(frame, key, x, y, offset=offset))
    return marks.panel(*layers)


def _coverage_reading(results: Results, what: str) -> str:
    return (
        f"Fraction of the intervals that contain the true mu, by {what}. Dashed: the claimed "
        f"{results.confidence_level:.2%}; bands: where a method of exact coverage lands 68.27% and 95.45% "
        "of the time (looking at many points, expect one in twenty outside the outer band). Bars: "
        "Clopper–Pearson, 68.27%."
    )


def series_table(tables: Mapping[str, pd.DataFrame]) -> Table:
    """The numbers of several series below one another, the name of the series in front."""
    return table_of(pd.concat([t.assign(series=name) for name, t in tables.items()]).pipe(_last_first))


def _last_first(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[[frame.columns[-1], *frame.columns[:-1]]]
