"""Building blocks of the charts, as Vega-Lite specifications: steps, points, bands, reference lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fairuniverse.reporting.theme import HEIGHT, INK, WIDTH, Key

Spec = dict[str, Any]
"""A Vega-Lite specification, or a part of one."""

Domain = tuple[float, float]


def layer(frame: pd.DataFrame, mark: Mapping[str, Any], **encoding: Mapping[str, Any]) -> Spec:
    """Marks for the rows of a table; only the columns that the encoding names are carried along."""
    columns = [c for c in dict.fromkeys(channel.get("field") for channel in encoding.values()) if c]
    # pandas writes what JSON cannot hold (NaN, infinities) as null, which Vega-Lite leaves out.
    rows = json.loads(frame[columns].to_json(orient="records"))
    return {"data": {"values": rows}, "mark": {"clip": True, **mark}, "encoding": encoding}


def panel(*layers: Spec, width: float = WIDTH, height: float = HEIGHT) -> Spec:
    """Layers on common axes."""
    return {"layer": list(layers), "width": width, "height": height}


def stack(*panels: Spec) -> Spec:
    """Panels below each other."""
    return {"vconcat": list(panels), "spacing": 8}


def x_axis(title: str | None, domain: Domain | None = None, **axis: Any) -> Spec:
    """Horizontal quantitative axis over the column ``x``."""
    return _axis("x", title, domain, {"grid": False, **axis})


def y_axis(title: str | None, domain: Domain | None = None, **axis: Any) -> Spec:
    """Vertical quantitative axis over the column ``y``."""
    return _axis("y", title, domain, axis)


def density_axis() -> Spec:
    """Vertical axis of a distribution, from zero."""
    return _axis("y", "density", None, {"tickCount": 4, "format": "~g"}) | {"scale": {"zero": True}}


def along(axis: Spec, column: str) -> Spec:
    """The same axis over another column."""
    return {**axis, "field": column}


def rows_by(column: str) -> Spec:
    """Vertical axis with one line per name, in the order of the names' appearance."""
    return {"field": column, "type": "nominal", "title": None, "sort": None}


def bands(field: str, names: Sequence[str], **axis: Any) -> Spec:
    """Axis with a band for each name, in their order."""
    look = {"labelFontSize": 10, "labelLimit": 250, "ticks": False, "domain": False, **axis}
    return {
        "field": field,
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(names)},
        "axis": look,
    }


def diverging(field: str, limit: float, low: str, high: str) -> Spec:
    """Colours from one over light grey at zero to another."""
    return {
        "field": field,
        "type": "quantitative",
        "title": None,
        "scale": {"domain": [-limit, 0, limit], "range": [low, "#f4f4f4", high], "interpolate": "lab"},
        "legend": {
            "orient": "bottom",
            "direction": "horizontal",
            "gradientLength": 160,
            "gradientThickness": 10,
            "values": [-limit, 0, limit],
        },
    }


def column(name: str) -> Spec:
    """The second end of a mark, or what to show at the pointer."""
    return {"field": name}


def hint(text: str) -> Spec:
    """What to show at the pointer, the same for all marks of a layer."""
    return {"value": text}


def steps(edges: ArrayLike, heights: ArrayLike, key: Key, x: Spec, y: Spec) -> Spec:
    """Outline of a histogram."""
    mark = {"type": "line", "interpolate": "step-after", "color": key.color, "strokeWidth": 2}
    return layer(
        step_frame(edges, y=heights), {**mark, "strokeDash": key.dash}, x=x, y=y, description=hint(key.label)
    )


def step_band(edges: ArrayLike, low: ArrayLike, high: ArrayLike, color: str, x: Spec, y: Spec) -> Spec:
    """Filled range between two histograms."""
    mark = {"type": "area", "interpolate": "step-after", "color": color, "opacity": 0.25}
    return layer(
        step_frame(edges, y=low, y2=high), mark, x=x, y=y, y2=column("y2"), description=hint("range")
    )


def step_frame(edges: ArrayLike, **heights: ArrayLike) -> pd.DataFrame:
    """Bin contents at the left edges, the last repeated at the right end."""
    columns = {n: np.append(np.asarray(h, float), np.asarray(h, float)[-1]) for n, h in heights.items()}
    return pd.DataFrame({"x": np.asarray(edges, float)} | columns)


def points(
    frame: pd.DataFrame, key: Key, x: Spec, y: Spec, *, offset: float = 0.0, is_joined: bool = False
) -> Spec:
    """Points with vertical error bars.

    Args:
        frame: Columns ``x, y, lower, upper`` and ``hint``, what to show at the pointer.
        key: How to draw them.
        x: Horizontal axis.
        y: Vertical axis.
        offset: Shift to the right in pixels, so that points at the same x do not hide each other.
        is_joined: Whether to join the points with a line.
    """
    common = {"color": key.color, "xOffset": offset}
    line = {**common, "type": "line", "strokeDash": key.dash, "opacity": 0.5}
    bar = {**common, "type": "rule", "strokeWidth": 2}
    joined = [layer(frame, line, x=x, y=y, description=hint(key.label))] if is_joined else []
    return {
        "layer": [
            *joined,
            layer(frame, bar, x=x, y=along(y, "lower"), y2=column("upper"), description=column("hint")),
            layer(frame, {**common, **dot(key)}, x=x, y=y, description=column("hint")),
        ]
    }


def dot(key: Key, size: float = 55) -> Spec:
    """Mark of a filled point."""
    return {
        "type": "point",
        "shape": key.shape,
        "color": key.color,
        "filled": True,
        "size": size,
        "opacity": 1,
    }


def band(
    x_values: ArrayLike, low: ArrayLike, high: ArrayLike, domain: Domain, x: Spec, y: Spec, label: str
) -> Spec:
    """Grey range along x, continued to both ends of the axis."""
    order = np.argsort(np.asarray(x_values, float))
    low, high = (np.asarray(v, float)[order] for v in (low, high))
    frame = pd.DataFrame(
        {
            "x": [domain[0], *np.asarray(x_values, float)[order], domain[1]],
            "y": np.concatenate([low[:1], low, low[-1:]]),
            "y2": np.concatenate([high[:1], high, high[-1:]]),
        }
    )
    mark = {"type": "area", "color": INK, "opacity": 0.12}
    return layer(frame, mark, x=x, y=y, y2=column("y2"), description=hint(label))


def level(value: float, y: Spec, label: str) -> Spec:
    """Dashed horizontal line at a reference value."""
    mark = {"type": "rule", "color": INK, "strokeDash": [5, 3], "opacity": 0.75}
    return layer(pd.DataFrame({"y": [value]}), mark, y=y, description=hint(label))


def curve(x_values: ArrayLike, y_values: ArrayLike, label: str, x: Spec, y: Spec) -> Spec:
    """Dashed reference curve."""
    mark = {"type": "line", "color": INK, "strokeDash": [5, 3], "strokeWidth": 1.5}
    return layer(pd.DataFrame({"x": x_values, "y": y_values}), mark, x=x, y=y, description=hint(label))


def padded(values: Sequence[float] | NDArray[np.float64], fraction: float = 0.05) -> Domain:
    """Range of the values with a margin on both sides; one unit wide if they are all the same."""
    low, high = float(np.min(values)), float(np.max(values))
    margin = fraction * (high - low) if high > low else 0.5
    return low - margin, high + margin


def offsets(n_series: int) -> tuple[float, ...]:
    """Shifts in pixels that spread points at the same x around it."""
    step = min(5.0, 24 / max(n_series, 1))
    return tuple(step * (i - (n_series - 1) / 2) for i in range(n_series))


def _axis(field: str, title: str | None, domain: Domain | None, axis: Spec) -> Spec:
    scale = {"zero": False} if domain is None else {"domain": domain, "nice": False, "zero": False}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}
