"""What running the submissions took: failures, time and memory, and what had to be done again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fairuniverse.accounting import Account, accounts
from fairuniverse.reporting import marks
from fairuniverse.reporting.coverage import submission_keys
from fairuniverse.reporting.page import Cell, Figure, Panel, Table, number, plain_rows, table_of
from fairuniverse.reporting.theme import Key
from fairuniverse.results import STATUSES, Results

N_RETRIES = 20
"""Kinds of things done again that a page shows."""


def failure_table(results: Results) -> Table | None:
    """Toys without a valid interval, by submission and kind; None if there are none."""
    failed = results.table[~results.is_ok]
    if failed.empty:
        return None
    rows = [
        (
            Cell(str(name)),
            Cell(str(status), STATUSES[str(status)]),
            Cell(f"{len(group)} of {len(results.of(str(name)).table)}"),
            Cell(_messages(group["message"])),
        )
        for (name, status), group in failed.groupby(["submission", "status"], sort=False)
    ]
    return Table(
        ("submission", "kind", "toys", "message"),
        tuple(rows),
        "Failures",
        "Toys without a valid interval. Each counts as not covering, with the width of the whole mu range; "
        "none is left out of a score.",
    )


def account_table(results: Results) -> Table | None:
    """What each run took; None if the answers are of no run of ours."""
    known = {name: found for name, found in accounts(results).items() if found.n_sessions}
    if not known:
        return None
    return Table(
        (
            "submission",
            "answers",
            "core-hours",
            "seconds per toy",
            "processor seconds per toy",
            "sessions",
            "workers lost",
            "done again",
        ),
        tuple(_account_row(name, found) for name, found in known.items()),
        "What it took",
        "Core-hours of the answers, one core each, and of the fit; means per toy. A run that was interrupted "
        "has several sessions; what was lost with a worker was done again, with the same answers.",
        "numbers",
    )


def retry_table(results: Results) -> Table | None:
    """What was lost and done again, as often as it was; None if nothing was."""
    counts = Counter((name, retry) for name, found in accounts(results).items() for retry in found.retries)
    if not counts:
        return None
    rows = [(name, retry, str(n)) for (name, retry), n in counts.most_common(N_RETRIES)]
    if len(counts) > N_RETRIES:
        rows.append(("", f"and {len(counts) - N_RETRIES:,} more", ""))
    return Table(("submission", "what and why", "times"), plain_rows(rows), "Done again")


def cost_figure(results: Results) -> Figure | None:
    """Time and memory per prediction; None if neither was recorded."""
    costs = {"wall_time_s": "seconds per toy", "memory_mib": "peak memory, MiB"}
    tables = {c: _cost_table(results, c) for c in costs}
    known = [c for c in costs if not tables[c].empty]
    if not known:
        return None
    return Figure(
        "Time and memory",
        "Wall time and peak memory of one prediction: dot at the median, thick bar from 5 % to 95 % of the "
        "toys, thin bar to the largest.",
        tuple(Panel(costs[c], _cost_chart(tables[c], costs[c], submission_keys(results))) for c in known),
        submission_keys(results),
        table_of(pd.concat([tables[c].assign(quantity=costs[c]) for c in known]).drop(columns="hint")),
    )


def _account_row(name: str, found: Account) -> tuple[Cell, ...]:
    values = (
        found.n_answered,
        found.core_hours,
        found.wall_s_per_toy,
        found.cpu_s_per_toy,
        found.n_sessions,
        found.n_workers_lost,
        len(found.retries),
    )
    return tuple(map(Cell, (name, *map(number, values))))


def _cost_table(results: Results, column: str) -> pd.DataFrame:
    rows = []
    for name in results.submissions:
        values = results.of(name).table[column].to_numpy(float)
        values = values[np.isfinite(values) & (values > 0)]
        if len(values):
            low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
            hint = f"{name}: median {median:.3g}, 95 % below {high:.3g}, largest {values.max():.3g}"
            rows.append((name, low, median, high, values.max(), len(values), hint))
    return pd.DataFrame(rows, columns=["submission", "5 %", "median", "95 %", "largest", "n_toys", "hint"])


def _cost_chart(table: pd.DataFrame, title: str, series: Sequence[Key]) -> marks.Spec:
    frame = table.rename(columns={"5 %": "low", "median": "x", "95 %": "high"})
    x = marks.x_axis(title, grid=True, tickCount=4)
    if frame["largest"].max() > 20 * frame["low"].min():
        x |= {"scale": {"type": "log"}, "axis": {"grid": False, "tickCount": 4, "format": "~g"}}
    else:
        x |= {"scale": {"zero": True}}
    common = {"y": marks.rows_by("submission"), "description": marks.column("hint")}
    low = marks.along(x, "low")
    layers = []
    for key in series:
        shown, rule = frame[frame["submission"] == key.label], {"type": "rule", "color": key.color}
        layers += [
            marks.layer(shown, {**rule, "strokeWidth": 1}, x=low, x2=marks.column("largest"), **common),
            marks.layer(shown, {**rule, "strokeWidth": 4}, x=low, x2=marks.column("high"), **common),
            marks.layer(shown, marks.dot(key, 90), x=x, **common),
        ]
    return marks.panel(*layers, height=max(30 * len(frame), 60) + 50)


def _messages(messages: pd.Series[str], n_shown: int = 3, n_characters: int = 240) -> str:
    texts = messages.fillna("").astype(str).str.strip()
    distinct = texts[texts != ""].value_counts()
    shown = [m if len(m) <= n_characters else m[: n_characters - 1] + "…" for m in distinct.index[:n_shown]]
    more = f" (and {len(distinct) - n_shown} more)" if len(distinct) > n_shown else ""
    return " · ".join(shown) + more if shown else "–"
