"""Figures of a results table: the intervals themselves, toy by toy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fairuniverse.reporting import marks
from fairuniverse.reporting.page import Figure, Panel, table_of
from fairuniverse.reporting.theme import GREEN, INK, ORANGE, PURPLE, Key
from fairuniverse.results import Results

N_INTERVALS = 100

# Not the colours of the first two submissions, which the charts beside this one use.
OUTCOMES = (
    Key("contains the true mu", GREEN, "none"),
    Key("does not", PURPLE, "none"),
    Key("no valid answer", ORANGE, "cross"),
    Key("true mu", INK, "none"),
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
