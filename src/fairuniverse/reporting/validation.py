"""Simulated against reference events: every feature of every process, with ratios."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fairuniverse.errors import InvalidDataError
from fairuniverse.reporting import marks
from fairuniverse.reporting.marks import Spec
from fairuniverse.reporting.page import Figure, Page, Panel, Section, table_of, write_page
from fairuniverse.reporting.render import require_chart_libraries
from fairuniverse.reporting.theme import BLUE, INK, VERMILLION, Key

COLUMNS = (
    "process",
    "feature",
    "bin_left",
    "bin_right",
    "density_sim",
    "density_ref",
    "error_ref",
    "ratio",
    "error_ratio",
)
"""Columns of the table of histograms; densities have unit area, the ratio is simulated over reference."""

READING = (
    "Above: distributions of unit area, with the statistical error of the reference. Below: simulated over "
    "reference, on the same error in grey; ratios outside the panel are drawn at its edge."
)

_SUMMARY = (
    "AUC: how well boosted trees tell the samples apart by all features; 0.5 is not at all. Floor: what the "
    "Kolmogorov-Smirnov distance of equal samples stays below in 95 of 100 cases."
)
_DISTANCES = (
    "KS: Kolmogorov-Smirnov distance. W: area between the cumulative distributions, in standard deviations."
)
_WORDS = {
    "ks": "KS",
    "ks_floor": "floor",
    "wasserstein": "W",
    "mean_sim": "mean simulated",
    "mean_ref": "mean reference",
    "missing_sim": "without it, simulated",
    "missing_ref": "without it, reference",
}

PLOT_WIDTH = 220


def write_comparison(
    histograms: pd.DataFrame,
    path: str | Path,
    *,
    summary: pd.DataFrame | None = None,
    distances: pd.DataFrame | None = None,
    facts: Mapping[str, str] | None = None,
    title: str = "Simulated against reference events",
) -> Path:
    """Write a page that draws two samples of events over each other, with their ratios.

    Args:
        histograms: One row per (process, feature, bin), columns as in `COLUMNS`.
        path: File to write.
        summary: A table to show first.
        distances: Distances of the features, as `Comparison.to_frame` gives them; shown last.
        facts: Name and value of what identifies the samples.
        title: Heading.

    Returns:
        The path written.

    Raises:
        InvalidDataError: A column is missing, or there is no histogram.
        MissingDependencyError: The libraries of the ``report`` extra are not installed.
        StorageError: The file cannot be written.
    """
    require_chart_libraries()

    missing = [c for c in COLUMNS if c not in histograms.columns]
    if missing or histograms.empty:
        raise InvalidDataError(f"histograms need rows with the columns {', '.join(missing or COLUMNS)}")
    return write_page(_page(histograms, summary, distances, facts or {}, title), path)


def _page(
    histograms: pd.DataFrame,
    summary: pd.DataFrame | None,
    distances: pd.DataFrame | None,
    facts: Mapping[str, str],
    title: str,
) -> Page:
    figures = tuple(_figure(str(f), g) for f, g in histograms.groupby("feature", sort=False))
    sections = [Section("Distributions", figures)]
    if summary is not None:
        sections.insert(0, Section("Summary", (table_of(summary, reading=_SUMMARY),)))
    if distances is not None:
        sections.append(Section("Distances", (table_of(_readable(distances), reading=_DISTANCES),)))
    return Page(
        title,
        "Does the simulation reproduce the reference events, process by process and feature by feature?",
        (
            *facts.items(),
            ("Processes", ", ".join(map(str, histograms["process"].unique()))),
            ("Features", str(histograms["feature"].nunique())),
        ),
        tuple(sections),
    )


def _readable(distances: pd.DataFrame) -> pd.DataFrame:
    """The table under words, what is above its floor marked and first."""
    above = distances["ks"] > distances["ks_floor"]
    table = distances.rename(columns=_WORDS).assign(**{"above floor": np.where(above, "yes", "")})
    order = np.argsort(~above.to_numpy(), kind="stable")
    return table.iloc[order]


def _figure(feature: str, histograms: pd.DataFrame) -> Figure:
    return Figure(
        feature,
        "",
        tuple(
            Panel(str(process), _chart(feature, group))
            for process, group in histograms.groupby("process", sort=False)
        ),
        (Key("simulated", VERMILLION, "none"), Key("reference", BLUE, "none")),
        table_of(histograms.drop(columns="feature")),
    )


def _chart(feature: str, group: pd.DataFrame) -> Spec:
    edges = np.append(group["bin_left"].to_numpy(float), group["bin_right"].iloc[-1])
    domain = (edges[0], edges[-1])
    reference, error = group["density_ref"].to_numpy(float), group["error_ref"].to_numpy(float)
    bare = marks.x_axis("", domain, labels=False, ticks=False)
    y = marks.density_axis()
    shapes = (
        marks.step_band(edges, reference - error, reference + error, BLUE, bare, y),
        marks.steps(edges, reference, Key("reference", BLUE), bare, y),
        marks.steps(edges, group["density_sim"], Key("simulated", VERMILLION), bare, y),
    )
    ratio, ratio_error = (
        np.clip(group["ratio"].to_numpy(float), 0.5, 1.5),
        group["error_ratio"].to_numpy(float),
    )
    x = marks.x_axis(feature, domain)
    ratio_y = marks.y_axis("sim. / ref.", (0.5, 1.5), values=[0.5, 1.0, 1.5])
    ratios = (
        marks.step_band(edges, 1 - ratio_error, 1 + ratio_error, INK, x, ratio_y),
        marks.level(1.0, ratio_y, "equal"),
        marks.steps(edges, ratio, Key("simulated / reference", VERMILLION), x, ratio_y),
    )
    return marks.stack(
        marks.panel(*shapes, width=PLOT_WIDTH, height=120),
        marks.panel(*ratios, width=PLOT_WIDTH, height=70),
    )
