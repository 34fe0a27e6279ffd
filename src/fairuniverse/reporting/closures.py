"""Shifts inside the detector against shifts of the finished table: a page with every feature."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fairuniverse.reporting import marks
from fairuniverse.reporting.marks import Spec
from fairuniverse.reporting.page import Figure, Page, Panel, Section, table_of, write_page
from fairuniverse.reporting.render import require_chart_libraries
from fairuniverse.reporting.theme import BLUE, Key, keys

INSIDE = "inside the detector"
READING = (
    "Shift of the mean of each feature, in standard deviations of the feature (of the number of events: "
    "relative), with bootstrap errors. The events are the same, so the distance of two points on a line is "
    "known much better than each of them: its error is in the table."
)
WIDTH, ROW = 330, 17


def write_closure(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write a page that draws both ways beside each other.

    Args:
        frame: Table of `fairuniverse.closure.Closure`.
        path: File to write.

    Raises:
        MissingDependencyError: The libraries of the ``report`` extra are not installed.
        StorageError: The file cannot be written.
    """
    require_chart_libraries()
    modes = list(dict.fromkeys(frame["mode"]))
    legend = (Key(INSIDE, BLUE), *keys(["", *modes])[1:])
    figures = tuple(
        _figure(str(process), group, legend) for process, group in frame.groupby("process", sort=False)
    )
    page = Page(
        "Closure of the systematics",
        "Does shifting a finished table give what shifting inside the detector gives, on the same events?",
        (("Processes", ", ".join(frame["process"].unique())), ("Modes of the table", ", ".join(modes))),
        (Section("Shifts of the means", figures),),
    )
    return write_page(page, path)


def _figure(process: str, frame: pd.DataFrame, legend: tuple[Key, ...]) -> Figure:
    panels = tuple(
        Panel(f"{name} = {value:g}", _chart(group, legend))
        for (name, value), group in frame.groupby(["nuisance", "value"], sort=False)
    )
    return Figure(process, READING, panels, legend, table_of(frame.drop(columns="process")))


def _chart(frame: pd.DataFrame, legend: tuple[Key, ...]) -> Spec:
    first = frame[frame["mode"] == legend[1].label]
    series = [_points(first, "inside")]
    series += [_points(frame[frame["mode"] == key.label], "after") for key in legend[1:]]
    both = pd.concat(series)
    domain = marks.padded([*both["lower"].dropna(), *both["upper"].dropna(), 0.0])
    x = marks.x_axis("shift / standard deviation", domain, tickCount=4)
    y = marks.rows_by("feature") | {"axis": {"labelLimit": 220}}
    shift = marks.offsets(len(legend))
    layers = [
        _layer(data, key, offset, x, y) for data, key, offset in zip(series, legend, shift, strict=True)
    ]
    zero = marks.layer(
        pd.DataFrame({"x": [0.0]}), {"type": "rule", "strokeDash": [5, 3], "opacity": 0.5}, x=x
    )
    return marks.panel(zero, *layers, width=WIDTH, height=ROW * frame["feature"].nunique())


def _points(frame: pd.DataFrame, way: str) -> pd.DataFrame:
    x, error = frame[way], frame[f"{way}_error"]
    hint = [f"{f}: {v:+.4f} ± {e:.4f}" for f, v, e in zip(frame["feature"], x, error, strict=True)]
    return pd.DataFrame(
        {"feature": frame["feature"], "x": x, "lower": x - error, "upper": x + error, "hint": hint}
    )


def _layer(frame: pd.DataFrame, key: Key, offset: float, x: Spec, y: Spec) -> Spec:
    common = {"color": key.color, "yOffset": offset}
    bar = {**common, "type": "rule", "strokeWidth": 2}
    return {
        "layer": [
            marks.layer(
                frame,
                bar,
                x=marks.along(x, "lower"),
                x2=marks.column("upper"),
                y=y,
                description=marks.column("hint"),
            ),
            marks.layer(frame, {**common, **marks.dot(key, 40)}, x=x, y=y, description=marks.column("hint")),
        ]
    }
