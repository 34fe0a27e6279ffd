"""Figures of a results table: intervals, coverage, pulls, widths, bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairuniverse.protocols import ONE_SIGMA_CL
from fairuniverse.reporting import marks
from fairuniverse.reporting.page import Figure, Panel, Table, table_of
from fairuniverse.reporting.theme import GREEN, INK, ORANGE, PURPLE, Key, keys
from fairuniverse.results import NUISANCE_PREFIX, Results
from fairuniverse.statistics import binomial_band, clopper_pearson, coverage_by_slice, pulls, slice_codes

N_INTERVALS = 100
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


def interval_figure(results: Results, n_shown: int = N_INTERVALS) -> Figure:
    """Some of the intervals of each submission, over the true mu."""
    toys = _evenly_chosen(results, n_shown)
    domain = marks.padded(results.mu_range, 0.2)
    parts = [results.of(name) for name in results.submissions]
    frames = [_interval_frame(part, toys) for part in parts]
    shown = pd.concat(frames)[["submission", "mu_true", "mu_hat", "lower", "upper", "status", "outcome"]]
    return Figure(
        "Intervals",
        "Each horizontal line is the interval of one toy, a dot its mu_hat, the stepped line the true mu. "
        "A triangle at the edge: the interval or its mu_hat goes on beyond the picture. "
        f"About {results.confidence_level:.0%} of the intervals should touch the stepped line. {len(toys)} "
        "toys, chosen evenly along mu and in each true mu by their number, never by their outcome; all "
        "submissions saw the same.",
        tuple(
            Panel(name, _interval_chart(f, domain))
            for name, f in zip(results.submissions, frames, strict=True)
        ),
        OUTCOMES,
        table_of(shown),
    )


def overview_chart(results: Results, n_shown: int = 60, n_submissions: int = 3) -> marks.Spec:
    """The intervals of the first submissions beside each other with their coverage and width: one picture."""
    toys = _evenly_chosen(results, n_shown)
    domain = marks.padded(results.mu_range, 0.2)
    panels = []
    for name in results.submissions[:n_submissions]:
        part = results.of(name)
        score = f"coverage {part.covers().mean():.1%}, mean width {part.widths().mean():.3g}"
        subtitle = f"{score}, {len(part.table):,} toys"
        chart = _interval_chart(_interval_frame(part, toys), domain)
        panels.append({**chart, "title": {"text": name, "subtitle": subtitle}, "width": 300, "height": 330})
    legend = (
        "Intervals for mu, one line a toy. Green contains the true mu (black), purple misses it; "
        "triangles: goes on."
    )
    return {"hconcat": panels, "spacing": 24, "title": {"text": legend, "fontWeight": "normal", "offset": 12}}


# Not the colours of the first two submissions, which the charts beside this one use.
OUTCOMES = (
    Key("contains the true mu", GREEN, "none"),
    Key("does not", PURPLE, "none"),
    Key("no valid answer", ORANGE, "cross"),
    Key("true mu", INK, "none"),
)


def coverage_by_mu_figure(results: Results) -> Figure:
    """Coverage in each true mu."""
    tables = _coverage_tables(results, "mu_true", N_MU_SLICES)
    return Figure(
        "Coverage by true mu",
        _coverage_reading(results, "true mu") + " The official score only sees the average of these points.",
        (Panel("", _coverage_chart(results, tables, "true mu")),),
        submission_keys(results),
        _coverage_table(tables),
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
        _coverage_table({f"{s} · {n}": t for n in varied for s, t in tables[n].items()}),
    )


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


def _evenly_chosen(results: Results, n_shown: int) -> pd.MultiIndex:
    """Toys (i_mu, i_toy) spread evenly over the true mu and the toy numbers."""
    toys = results.table.drop_duplicates(["i_mu", "i_toy"]).sort_values(["mu_true", "i_mu", "i_toy"])
    rows = np.unique(np.linspace(0, len(toys) - 1, min(n_shown, len(toys))).round().astype(int))
    return pd.MultiIndex.from_frame(toys.iloc[rows][["i_mu", "i_toy"]])


def _interval_frame(results: Results, toys: pd.MultiIndex) -> pd.DataFrame:
    table = results.table.assign(
        outcome=np.where(results.covers(), "covers", np.where(results.is_ok, "misses", "failed"))
    )
    table = table.drop_duplicates(["i_mu", "i_toy"]).set_index(["i_mu", "i_toy"])
    shown = table.reindex(toys).dropna(subset=["submission"]).reset_index()
    shown["rank"] = np.arange(len(shown))
    shown["hint"] = [
        f"mu_true {r.mu_true:.3f}: {r.mu_hat:.3f} in [{r.lower:.3f}, {r.upper:.3f}]"
        if r.outcome != "failed"
        else f"mu_true {r.mu_true:.3f}: {r.status}"
        for r in shown.itertuples()
    ]
    return shown


def _interval_chart(frame: pd.DataFrame, domain: marks.Domain) -> marks.Spec:
    x = marks.x_axis("mu", domain)
    rank = marks.y_axis(None, (-1, len(frame))) | {"axis": None}
    common = {"y": marks.along(rank, "rank"), "description": marks.column("hint")}
    layers = []
    frame = frame.assign(low=frame["lower"].clip(*domain), high=frame["upper"].clip(*domain))
    for outcome, key in zip(("covers", "misses"), OUTCOMES, strict=False):
        shown = frame[frame["outcome"] == outcome]
        rule = {"type": "rule", "color": key.color, "strokeWidth": 1.6}
        dot = marks.dot(Key(outcome, key.color), 12)
        layers.append(marks.layer(shown, rule, x=marks.along(x, "low"), x2=marks.column("high"), **common))
        layers.append(marks.layer(shown, dot, x=marks.along(x, "mu_hat"), **common))
        layers += _edge_marks(shown, key, domain, x, common)
    failed = frame[frame["outcome"] == "failed"]
    layers.append(marks.layer(failed, marks.dot(OUTCOMES[2], 80), x=marks.along(x, "mu_true"), **common))
    return marks.panel(*layers, *_truth_steps(frame, x, rank), height=420)


def _edge_marks(
    shown: pd.DataFrame, key: Key, domain: marks.Domain, x: marks.Spec, common: Mapping[str, marks.Spec]
) -> list[marks.Spec]:
    """Triangles at the ends of the axis for what goes on, or lies, beyond them."""
    sides = (
        ("triangle-left", domain[0], shown[["lower", "mu_hat"]].min(axis=1) < domain[0]),
        ("triangle-right", domain[1], shown[["upper", "mu_hat"]].max(axis=1) > domain[1]),
    )
    return [
        marks.layer(
            shown[is_beyond].assign(edge=edge),
            {**marks.dot(Key(key.label, key.color, shape), 45), "clip": False},
            x=marks.along(x, "edge"),
            **common,
        )
        for shape, edge, is_beyond in sides
    ]


def _truth_steps(frame: pd.DataFrame, x: marks.Spec, rank: marks.Spec) -> list[marks.Spec]:
    """The true mu: a vertical line over the rows that share it, joined between the rows."""
    sets = frame.groupby("mu_true")["rank"].agg(low="min", high="max").reset_index()
    sets = sets.assign(low=sets["low"] - 0.5, high=sets["high"] + 0.5, after=sets["mu_true"].shift(-1))
    rule = {"type": "rule", "color": INK, "strokeWidth": 1.4}
    mu, description = marks.along(x, "mu_true"), marks.hint("true mu")
    return [
        marks.layer(
            sets, rule, x=mu, y=marks.along(rank, "low"), y2=marks.column("high"), description=description
        ),
        marks.layer(
            sets.dropna(),
            rule,
            x=mu,
            x2=marks.column("after"),
            y=marks.along(rank, "high"),
            description=description,
        ),
    ]


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


def _coverage_table(tables: Mapping[str, pd.DataFrame]) -> Table:
    return table_of(pd.concat([t.assign(series=name) for name, t in tables.items()]).pipe(_last_first))


def _last_first(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[[frame.columns[-1], *frame.columns[:-1]]]


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
    table = _coverage_table(frames)
    return marks.panel(*layers), table


def _slice_means(valid: pd.DataFrame, expression: str) -> pd.DataFrame:
    toys = pd.DataFrame({"x": valid["mu_true"], "y": valid.eval(expression), "slice": 0})
    toys["slice"] = slice_codes(valid["mu_true"], N_MU_SLICES)
    means = toys.groupby("slice").agg(
        x=("x", "mean"), y=("y", "mean"), std=("y", "std"), n_toys=("y", "size")
    )
    error = means.pop("std").fillna(0.0) / np.sqrt(means["n_toys"])
    return means.assign(lower=means["y"] - error, upper=means["y"] + error)
