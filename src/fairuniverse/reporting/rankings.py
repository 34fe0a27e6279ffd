"""Charts of a fit: ranking of the nuisance parameters, their pulls and constraints, the profile likelihood.

save_chart(ranking_chart(impacts(likelihood)), "ranking.svg")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fairuniverse.errors import InvalidDataError
from fairuniverse.reporting import marks
from fairuniverse.reporting.marks import Spec
from fairuniverse.reporting.theme import BLUE, HEIGHT, INK, ORANGE, WIDTH, Key, keys

if TYPE_CHECKING:
    from fairuniverse.likelihood import Impact, Impacts, ProfileInterval

ROW_HEIGHT = 26
PANEL_WIDTH = 270
MAX_ROWS = 30
"""Parameters on a chart, those of the highest rank; nobody reads more."""

SIDES = (Key("+1σ", BLUE), Key("−1σ", ORANGE))
SMALLEST_PULL_RANGE = 1.5
MAX_PREFIT = 3.0
"""Longest outline, in units of the longest filled bar."""


def ranking_chart(impacts: Impacts) -> Spec:
    """Impacts on the parameter of interest, the largest first, with pulls and constraints beside them.

    Filled bars are the shifts for one post-fit standard deviation of a nuisance, outlines those for one prior
    standard deviation. Points are pulls, their bars the post-fit over the prior uncertainty; parameters
    without a constraint have none.

    Args:
        impacts: Answer of `fairuniverse.likelihood.impacts`.

    Raises:
        InvalidDataError: The fit has no nuisance parameters.
    """
    rows = _rows(impacts)
    panels = [_impact_panel(rows, impacts.name), _pull_panel(rows, is_labelled=False)]
    shown = f"the first {len(rows)} of {len(impacts.ranking)}, " if len(rows) < len(impacts.ranking) else ""
    explained = f"{shown}filled: ±1 post-fit σ, outlined: ±1 prior σ of the nuisance parameter"
    estimate = f"{impacts.name} = {impacts.best[impacts.name]:.3g} ± {impacts.best.error(impacts.name):.2g}"
    return {
        "hconcat": panels,
        "spacing": 16,
        "title": {"text": estimate, "subtitle": explained, "offset": 10},
    }


def pull_chart(impacts: Impacts) -> Spec:
    """Pulls and post-fit constraints of the nuisance parameters, by rank.

    Args:
        impacts: Answer of `fairuniverse.likelihood.impacts`.

    Raises:
        InvalidDataError: The fit has no nuisance parameters.
    """
    return _pull_panel(_rows(impacts), is_labelled=True)


def profile_chart(
    values: ArrayLike,
    curves: Mapping[str, ArrayLike],
    interval: ProfileInterval | None = None,
    name: str = "mu",
) -> Spec:
    """Profile likelihood ratios of a parameter, with the thresholds of one and two standard deviations.

    Args:
        values: Shape (n_values,), ascending values of the parameter.
        curves: For each curve its values of t, shape (n_values,), such as those of `profile_scan` with all
            nuisance parameters free and with all of them known.
        interval: Interval to mark.
        name: The parameter, for its axis.

    Raises:
        InvalidDataError: There is no curve, or one has another shape than the values.
    """
    values = np.asarray(values, float)
    heights = {label: np.asarray(t, float) for label, t in curves.items()}
    if not heights or any(t.shape != values.shape for t in heights.values()):
        raise InvalidDataError(f"curves {list(heights)} over {values.shape} values: give each value a height")
    top = min(1.05 * max(t.max() for t in heights.values()), 10.0)
    x, y = marks.x_axis(name, (values[0], values[-1])), marks.y_axis(f"t({name})", (0.0, max(top, 1.2)))
    layers = [marks.level(z**2, y, f"{z} standard deviations") for z in (1, 2) if z**2 <= top]
    if interval is not None:
        layers += _interval_marks(interval, x)
    style = {"type": "line", "strokeWidth": 2}
    drawn = keys(list(heights))
    frame = pd.concat([pd.DataFrame({"x": values, "y": t, "curve": label}) for label, t in heights.items()])
    layers.append(marks.layer(frame, style, x=x, y=y, color=_color("curve", drawn)))
    return marks.panel(*layers, width=WIDTH, height=HEIGHT)


def _interval_marks(interval: ProfileInterval, x: Spec) -> list[Spec]:
    bounds = pd.DataFrame({"x": [interval.lower], "x2": [interval.upper]})
    estimate = pd.DataFrame({"x": [interval.best[interval.name]]})
    label = f"{interval.lower:.4g} to {interval.upper:.4g}"
    area = {"type": "rect", "color": INK, "opacity": 0.1}
    line = {"type": "rule", "color": INK, "opacity": 0.75}
    return [
        marks.layer(bounds, area, x=x, x2=marks.column("x2"), description=marks.hint(label)),
        marks.layer(estimate, line, x=x, description=marks.hint("best fit")),
    ]


def _rows(impacts: Impacts) -> tuple[Impact, ...]:
    if not impacts.ranking:
        raise InvalidDataError("the fit has no nuisance parameters: there is nothing to rank")
    return impacts.ranking[:MAX_ROWS]


def _impact_panel(rows: tuple[Impact, ...], name: str) -> Spec:
    """Bars from 0 to the shift of the parameter of interest, by nuisance parameter and direction."""
    frame = pd.DataFrame(
        [
            {
                "name": impact.name,
                "side": key.label,
                "zero": 0.0,
                "postfit": impact.postfit[i],
                "prefit": impact.prefit[i],
                "hint": f"{impact.name} {key.label}: post-fit {impact.postfit[i]:+.3g}, "
                f"prior {impact.prefit[i]:+.3g}",
            }
            for impact in rows
            for i, key in ((1, SIDES[0]), (0, SIDES[1]))
        ]
    )
    postfit, prefit = (np.nanmax(np.abs(frame[c]), initial=0.0) for c in ("postfit", "prefit"))
    # A prior far wider than what the data allow would hide all bars but its own: its outline is cut off.
    reach = 1.1 * float(max(postfit, min(prefit, MAX_PREFIT * postfit))) or 1.0
    x, y = marks.x_axis(f"Δ{name}", (-reach, reach)), marks.rows_by("name")
    common = {"y": y, "x2": marks.column("zero"), "color": _color("side", SIDES)}
    common["description"] = marks.column("hint")
    outline = {"type": "bar", "filled": False, "strokeWidth": 1.5, "size": 19}
    filled = {"type": "bar", "size": 12, "opacity": 0.85}
    return _panel(
        len(rows),
        marks.layer(frame, outline, x=marks.along(x, "prefit"), **common),
        marks.layer(frame, filled, x=marks.along(x, "postfit"), **common),
        _vertical(0.0, x, dash=[1, 0]),
    )


def _pull_panel(rows: tuple[Impact, ...], *, is_labelled: bool) -> Spec:
    """Pulls with the post-fit over the prior uncertainty as their bars, over the range of the prior."""
    frame = pd.DataFrame(
        [
            {
                "name": impact.name,
                "x": impact.pull,
                "lower": impact.pull - impact.constraint[0],
                "upper": impact.pull + impact.constraint[1],
                "hint": f"{impact.name}: {impact.pull:+.2f} ± {np.mean(impact.constraint):.2f}",
            }
            for impact in rows
        ]
    )
    ends = frame[["lower", "upper"]].to_numpy(float)
    reach = max(SMALLEST_PULL_RANGE, 1.05 * float(np.max(np.abs(ends[np.isfinite(ends)]), initial=0.0)))
    x = marks.x_axis("pull, in prior σ", (-reach, reach), tickMinStep=1)
    y = marks.rows_by("name") | ({} if is_labelled else {"axis": None})
    prior = pd.DataFrame({"x": [-1.0], "x2": [1.0]})
    band = {"type": "rect", "color": INK, "opacity": 0.1}
    bars = {"type": "rule", "color": INK, "strokeWidth": 2}
    shown = {"y": y, "description": marks.column("hint")}
    return _panel(
        len(rows),
        marks.layer(prior, band, x=x, x2=marks.column("x2"), description=marks.hint("prior, ±1σ")),
        _vertical(0.0, x, dash=[5, 3]),
        marks.layer(frame, bars, x=marks.along(x, "lower"), x2=marks.column("upper"), **shown),
        marks.layer(frame, marks.dot(Key("pull", INK)), x=x, **shown),
    )


def _panel(n_rows: int, *layers: Spec) -> Spec:
    return marks.panel(*layers, width=PANEL_WIDTH, height=ROW_HEIGHT * n_rows)


def _vertical(value: float, x: Spec, dash: list[int]) -> Spec:
    mark = {"type": "rule", "color": INK, "strokeDash": dash, "opacity": 0.6}
    return marks.layer(pd.DataFrame({"x": [value]}), mark, x=x)


def _color(field: str, drawn: tuple[Key, ...]) -> Spec:
    """Colours by name, with a legend above the panel."""
    scale = {"domain": [key.label for key in drawn], "range": [key.color for key in drawn]}
    legend = {"orient": "top", "title": None, "labelColor": INK, "labelFontSize": 12, "labelLimit": 200}
    return {"field": field, "type": "nominal", "scale": scale, "legend": legend}
