"""Shapes of signal and background, and how the shape nuisance parameters move them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.nuisance import complete
from fairuniverse.reporting import marks
from fairuniverse.reporting.marks import Spec
from fairuniverse.reporting.page import Figure, Panel, table_of
from fairuniverse.reporting.theme import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, VERMILLION, Key, keys
from fairuniverse.seeding import Streams

if TYPE_CHECKING:
    from fairuniverse.events import Events, Feature
    from fairuniverse.nuisance import NuisanceParameter
    from fairuniverse.protocols import Simulator

N_BINS = 25
UP, DOWN = "_up", "_down"
TINY = 1e-300
PLOT_WIDTH = 300


def shape_table(
    simulator: Simulator, events: Events, features: Sequence[str], *, seed: int, n_threads: int = 1
) -> pd.DataFrame:
    """Histograms of features by process: nominal, and with each shape nuisance up and down by one sigma.

    The values at plus and minus one sigma are those of the prior, clipped to the parameter's range; nominal
    is the nominal value, which need not lie between them (soft_met is nominally 0 and never negative). All
    variations share their random streams, so they differ by the nuisance parameter only.

    Args:
        simulator: The world.
        events: Its nominal weighted events, with process codes.
        features: Which features to draw.
        seed: Seed of the random streams that shifting needs.
        n_threads: Threads to use; the answer does not depend on it.

    Returns:
        One row per (feature, process, bin): ``feature, unit, meaning, process, bin_left, bin_right, nominal,
        error`` (statistical), ``is_signal`` and ``<name>_up, <name>_down`` per shape nuisance parameter;
        contents in expected events. Missing values and those beyond the drawn range (0.2 % to 98 % of each
        process) are in no bin.

    Raises:
        InvalidDataError: The events have no weights or process codes, or a feature is not in the schema.
    """
    if events.weights is None or events.process is None:
        raise InvalidDataError("shapes need nominal events with weights and process codes")
    shape_nuisances = [p for p in simulator.nuisances if p.kind == "shape"]
    varied = {p.name + UP: {p.name: _at(p, 1.0)} for p in shape_nuisances} | {
        p.name + DOWN: {p.name: _at(p, -1.0)} for p in shape_nuisances
    }

    def shifted(values: dict[str, float]) -> Events:
        every = complete(simulator.nuisances, values)
        return simulator.shift(events, every, streams=Streams(seed), n_threads=n_threads)

    nominal = shifted({})
    wanted = [events.schema.features[events.schema.index(name)] for name in features]
    edges = {f.name: bin_edges(nominal, f) for f in wanted}
    table = pd.concat([_histograms(nominal, f, edges[f.name]) for f in wanted], ignore_index=True)
    table["is_signal"] = table["process"].map({p.name: p.is_signal for p in simulator.processes})
    for column, values in varied.items():
        moved = shifted(values)
        table[column] = np.concatenate([_histograms(moved, f, edges[f.name])["nominal"] for f in wanted])
    return table


def bin_edges(events: Events, feature: Feature, n_bins: int = N_BINS) -> NDArray[np.float64]:
    """Bins for drawing: of width one around whole numbers, else equal ones over the bulk of every process."""
    values = events[feature.name]
    is_present = np.ones(len(events), bool) if feature.missing is None else values != feature.missing
    if not is_present.any():
        return np.array([0.0, 1.0])
    ranges = np.array(
        [
            np.quantile(values[is_present & (events.process == code)], [0.002, 0.98])
            for code in range(len(events.processes))
            if (is_present & (events.process == code)).any()
        ],
        dtype=float,
    )
    low, high = float(ranges[:, 0].min()), float(ranges[:, 1].max())
    if high - low < n_bins and np.all(values[is_present] == np.round(values[is_present])):
        return np.arange(np.floor(low) - 0.5, np.ceil(high) + 1.0)
    return np.linspace(low, high if high > low else low + 1.0, n_bins + 1)


def shape_figures(table: pd.DataFrame) -> tuple[Figure, ...]:
    """Figures of a table made by `shape_table`."""
    return (
        (_process_figure(table), _shift_figure(table)) if nuisance_names(table) else (_process_figure(table),)
    )


def nuisance_names(table: pd.DataFrame) -> tuple[str, ...]:
    """Shape nuisance parameters that a table made by `shape_table` varies."""
    return tuple(c.removesuffix(UP) for c in table.columns if c.endswith(UP))


def _at(parameter: NuisanceParameter, alpha: float) -> float:
    low, high = parameter.bounds
    return min(max(parameter.prior.from_alpha(alpha), low), high)


def _histograms(events: Events, feature: Feature, edges: NDArray[np.float64]) -> pd.DataFrame:
    values = events[feature.name]
    assert events.weights is not None
    parts = []
    for code, process in enumerate(events.processes):
        rows = events.process == code
        if feature.missing is not None:
            rows &= values != feature.missing
        weights = events.weights[rows]
        parts.append(
            pd.DataFrame(
                {
                    "feature": feature.name,
                    "unit": feature.unit,
                    "meaning": feature.meaning,
                    "process": process,
                    "bin_left": edges[:-1],
                    "bin_right": edges[1:],
                    "nominal": np.histogram(values[rows], edges, weights=weights)[0],
                    "error": np.sqrt(np.histogram(values[rows], edges, weights=weights**2)[0]),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _process_figure(table: pd.DataFrame) -> Figure:
    first = table["feature"].iloc[0]
    yields = table[table["feature"] == first].groupby("process", sort=False)["nominal"].sum()
    counted = ", ".join(f"{name} {total:,.0f}" for name, total in yields.items())
    legend = _process_keys(table)
    return Figure(
        "Shapes by process",
        "Each outline has unit area: compare the shapes, not the sizes. Expected events inside the range "
        f"drawn for {first}: {counted}.",
        tuple(
            Panel(_heading(group), _process_chart(group, legend))
            for _, group in table.groupby("feature", sort=False)
        ),
        legend,
        table_of(table.drop(columns=["unit", "meaning"])),
    )


def _shift_figure(table: pd.DataFrame) -> Figure:
    varied = _nuisance_keys(table)
    return Figure(
        "What the nuisance parameters do to them",
        "Above: all signal and all background, each of unit area, with a band from the shape nuisance "
        "parameters at ±1 sigma, added in quadrature. Below: expected events over nominal when one parameter "
        "moves by +1 sigma (line) or −1 sigma (dotted), for background and signal, where the statistical "
        "error of the simulated events (grey) is below 5%.",
        tuple(
            Panel(_heading(group), _shift_chart(group, varied))
            for _, group in table.groupby("feature", sort=False)
        ),
        (Key("signal", VERMILLION, "none"), Key("background", BLUE, "none"), *varied),
    )


def _heading(group: pd.DataFrame) -> str:
    return f"{group['feature'].iloc[0]}: {group['meaning'].iloc[0]}"


def _process_keys(table: pd.DataFrame) -> tuple[Key, ...]:
    """Keys of the processes; the signal comes first."""
    found = keys(_signal_first(table), (VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY))
    return tuple(replace(key, shape="none") for key in found)


def _nuisance_keys(table: pd.DataFrame) -> tuple[Key, ...]:
    """Keys of the nuisance parameters, in colours that signal and background leave free."""
    return tuple(
        replace(key, shape="none") for key in keys(nuisance_names(table), (GREEN, PURPLE, ORANGE, SKY))
    )


def _signal_first(table: pd.DataFrame) -> list[str]:
    processes = table[["process", "is_signal"]].drop_duplicates()
    return list(processes.sort_values("is_signal", ascending=False, kind="stable")["process"])


def _title(group: pd.DataFrame) -> str:
    name, unit = group["feature"].iloc[0], group["unit"].iloc[0]
    return f"{name} [{unit}]" if unit else str(name)


def _edges(group: pd.DataFrame) -> NDArray[np.float64]:
    bins = group[["bin_left", "bin_right"]].drop_duplicates()
    return np.append(bins["bin_left"].to_numpy(float), bins["bin_right"].iloc[-1])


def _process_chart(group: pd.DataFrame, series: Sequence[Key]) -> Spec:
    edges = _edges(group)
    x, y = (
        marks.x_axis(_title(group), (edges[0], edges[-1])),
        marks.density_axis(),
    )
    outlines = []
    for key in reversed(series):  # the first, the signal, on top
        events = group.loc[group["process"] == key.label, "nominal"].to_numpy(float)
        outlines.append(marks.steps(edges, _unit_area(events, edges), key, x, y))
    return marks.panel(*outlines)


def _shift_chart(group: pd.DataFrame, series: Sequence[Key]) -> Spec:
    edges = _edges(group)
    x = marks.x_axis("", (edges[0], edges[-1]), labels=False, ticks=False)
    y = marks.density_axis()
    shapes: list[marks.Spec] = []
    ratios = []
    for key, is_signal in ((Key("background", BLUE), False), (Key("signal", VERMILLION), True)):
        sums = _sums(group[group["is_signal"] == is_signal])
        low, high = _envelope(sums, series)
        scale = 1 / max(sums["nominal"].sum(), TINY) / np.diff(edges)
        shapes.append(marks.step_band(edges, low * scale, high * scale, key.color, x, y))
        shapes.append(marks.steps(edges, sums["nominal"] * scale, key, x, y))
        ratios.append(_ratio_chart(sums, edges, series, key.label, _title(group) if is_signal else ""))
    return marks.stack(marks.panel(*shapes, width=PLOT_WIDTH, height=130), *ratios)


def _sums(group: pd.DataFrame) -> pd.DataFrame:
    """Sum over processes, bin by bin; statistical errors in quadrature."""
    numbers = group.drop(columns=["feature", "unit", "meaning", "process", "is_signal", "bin_right"])
    sums = numbers.assign(error=numbers["error"] ** 2).groupby("bin_left").sum()
    return sums.assign(error=np.sqrt(sums["error"]))


def _ratio_chart(
    sums: pd.DataFrame, edges: NDArray[np.float64], series: Sequence[Key], title: str, x_title: str
) -> Spec:
    nominal = sums["nominal"].to_numpy(float)
    ratios = {
        c: _ratio(sums[c].to_numpy(float), nominal) for k in series for c in (k.label + UP, k.label + DOWN)
    }
    statistical = _ratio(sums["error"].to_numpy(float), nominal)
    # Ratios of a few simulated events are noise, and would set the scale of the whole panel.
    bulk = statistical < 0.05
    ratios = {c: np.where(bulk, r, np.nan) for c, r in ratios.items()}
    reach = max(0.004, 1.25 * max(float(np.nanmax(np.abs(r - 1), initial=0.0)) for r in ratios.values()))
    x = marks.x_axis(x_title, (edges[0], edges[-1]), **({} if x_title else {"labels": False, "ticks": False}))
    y = marks.y_axis(title, (1 - reach, 1 + reach), tickCount=3)
    layers: list[marks.Spec] = [
        marks.step_band(edges, 1 - statistical, 1 + statistical, INK, x, y),
        marks.level(1.0, y, "nominal"),
    ]
    for key in series:
        for suffix, dash in ((UP, (1, 0)), (DOWN, (3, 2))):
            drawn = replace(key, label=key.label + suffix, dash=dash)
            layers.append(marks.steps(edges, ratios[key.label + suffix], drawn, x, y))
    return marks.panel(*layers, width=PLOT_WIDTH, height=75)


def _envelope(sums: pd.DataFrame, series: Sequence[Key]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper edge of the range that all variations span, added in quadrature bin by bin."""
    nominal = sums["nominal"].to_numpy(float)
    moves = np.array([sums[k.label + s].to_numpy(float) - nominal for k in series for s in (UP, DOWN)])
    pairs = moves.reshape(len(series), 2, -1)
    up = np.sqrt((np.maximum(pairs, 0).max(axis=1) ** 2).sum(axis=0))
    down = np.sqrt((np.minimum(pairs, 0).min(axis=1) ** 2).sum(axis=0))
    return nominal - down, nominal + up


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio


def _unit_area(heights: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    density: NDArray[np.float64] = heights / max(heights.sum(), TINY) / np.diff(edges)
    return density
