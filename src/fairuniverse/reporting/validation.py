"""Simulated against reference events: every feature of every process, with ratios."""

from __future__ import annotations

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

PLOT_WIDTH = 220


def write_comparison(
    histograms: pd.DataFrame,
    path: str | Path,
    *,
    distances: pd.DataFrame | None = None,
    title: str = "Simulated against reference events",
) -> Path:
    """Write a page that draws two samples of events over each other, with their ratios.

    Args:
        histograms: One row per (process, feature, bin), columns as in `COLUMNS`.
        path: File to write.
        distances: A table to show first, such as the Kolmogorov-Smirnov distances and their floors.
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
    return write_page(_page(histograms, distances, title), path)


def _page(histograms: pd.DataFrame, distances: pd.DataFrame | None, title: str) -> Page:
    sections = [
        Section(
            "Distributions", tuple(_figure(str(f), g) for f, g in histograms.groupby("feature", sort=False))
        )
    ]
    if distances is not None:
        reading = "The closer to the value that statistics alone would give, the better."
        sections.insert(0, Section("Distances", (table_of(distances, reading=reading),)))
    return Page(
        title,
        "Does the simulation reproduce the reference events, process by process and feature by feature?",
        (
            ("Processes", ", ".join(map(str, histograms["process"].unique()))),
            ("Features", str(histograms["feature"].nunique())),
        ),
        tuple(sections),
    )


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
