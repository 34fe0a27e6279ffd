"""Look of the charts: colours that colour-blind readers tell apart, and text that follows the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INK = "currentColor"
"""Colour of text, axes and references: the page's own, dark on light or light on dark."""

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY = "#E69F00", "#56B4E9"

PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""Okabe and Ito's colours (https://jfly.uni-koeln.de/color), those of lowest contrast last or left out."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
"""Point shapes; seven of them with six colours make 42 different marks."""

DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (6, 2), (2, 2), (8, 2, 2, 2))

WIDTH, HEIGHT = 360, 230
"""Size of a chart with its axes in pixels: one column of a phone."""

LABEL_LIMIT = 110
"""Longest label on an axis in pixels; the rest of a long name is cut."""

CONFIG = {
    "font": "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Helvetica, Arial, sans-serif",
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "tickColor": INK,
        "domainColor": INK,
        "gridColor": INK,
        "gridOpacity": 0.12,
        "domainOpacity": 0.6,
        "tickOpacity": 0.6,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 6,
        "tickCount": 5,
        "labelLimit": LABEL_LIMIT,
    },
    "legend": {"labelColor": INK, "titleColor": INK},
    "text": {"color": INK, "fontSize": 12},
    "title": {"color": INK, "subtitleColor": INK, "fontSize": 14, "subtitleFontSize": 12, "anchor": "start"},
    "axisY": {"minExtent": 40},
    "autosize": {"type": "fit", "contains": "padding"},
    "padding": 2,
}
"""Vega-Lite configuration of every chart."""


@dataclass(frozen=True)
class Key:
    """How one series (a submission, a process, a nuisance parameter) is drawn, in every chart alike.

    Attributes:
        label: Its name.
        color: Colour of its marks.
        shape: Shape of its points.
        dash: Dash pattern of its lines, in pixels.
    """

    label: str
    color: str
    shape: str = "circle"
    dash: tuple[int, ...] = DASHES[0]


def keys(labels: Sequence[str], palette: Sequence[str] = PALETTE) -> tuple[Key, ...]:
    """A key for each label, in order; colours repeat with another shape and dash pattern."""
    n = len(palette)
    return tuple(
        Key(label, palette[i % n], SHAPES[i % len(SHAPES)], DASHES[i // n % len(DASHES)])
        for i, label in enumerate(labels)
    )
