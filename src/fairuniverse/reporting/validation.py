"""Simulated against reference events: yields, every feature of every process with ratios, correlations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairuniverse.comparison import (
    MAX_CORRELATED_EVENTS,
    MAX_COUNT,
    Comparison,
    CountFraction,
    ProcessSeparation,
    ProcessYield,
    Validation,
)
from fairuniverse.errors import InvalidDataError
from fairuniverse.reporting import marks
from fairuniverse.reporting.marks import Spec
from fairuniverse.reporting.matrices import correlation_figure
from fairuniverse.reporting.page import (
    Cell,
    Figure,
    Page,
    Panel,
    Section,
    Table,
    table_of,
    with_error,
    write_page,
)
from fairuniverse.reporting.render import require_chart_libraries
from fairuniverse.reporting.theme import BLUE, DASHES, INK, PALETTE, Key, keys

COLUMNS = (
    "sample",
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

_READING = (
    "Above: distributions of unit area, with the statistical error of the reference. Below: simulated over "
    "reference, on the same error in grey; ratios outside the panel are drawn at its edge."
)
_SUMMARY = (
    "AUC: how well boosted trees tell the samples apart by all features; 0.5 is not at all. Floor: what the "
    "Kolmogorov-Smirnov distance of equal samples stays below in 95 of 100 cases."
)
_YIELDS = (
    "Expected: the sum of the weights. Selected: which part of it the selection keeps at nominal nuisances. "
    "Acceptance: which part of the generated events is in the file, and leading order: what the cross "
    "section makes of it, where the file's metadata tell them."
)
_FRACTIONS = "Fractions of the events, and differences from the reference with their statistical error."
_CORRELATIONS = (
    "Spearman's correlations of ranks, of the events that have both features; at most "
    f"{MAX_CORRELATED_EVENTS:,} events of each sample. Pull: the difference from the reference over its "
    "statistical error; the largest of some hundred is about 3 for equal samples."
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
    validation: Validation,
    histograms: pd.DataFrame,
    path: str | Path,
    *,
    facts: Mapping[str, str] | None = None,
    title: str = "Simulated against reference events",
) -> Path:
    """Write a page that shows samples of events beside a reference.

    Args:
        validation: What the comparison found.
        histograms: One row per (sample, process, feature, bin), columns as in `COLUMNS`.
        path: File to write.
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
    return write_page(_page(validation, histograms, facts or {}, title), path)


def _page(validation: Validation, histograms: pd.DataFrame, facts: Mapping[str, str], title: str) -> Page:
    reference = Key(f"{validation.reference} (reference)", BLUE, "none")
    samples = _sample_keys(validation.samples)
    fractions = _fraction_table(validation)
    distributions = tuple(
        _distribution(str(feature), group, samples, reference)
        for feature, group in histograms.groupby("feature", sort=False)
    )
    sections = (
        Section("Summary", (_summary_table(validation),)),
        Section("Yields and acceptance", (_yield_table(validation.yields),)),
        *([Section("Counts", (fractions,))] if fractions.rows else []),
        Section("Distributions", distributions, _READING),
        Section("Correlations", tuple(_correlation_figures(validation)), _CORRELATIONS),
        Section("Distances", (table_of(_distance_table(validation), reading=_DISTANCES),)),
    )
    return Page(
        title,
        "Does the simulation reproduce the reference events, process by process and feature by feature?",
        (
            *facts.items(),
            ("Processes", ", ".join(map(str, histograms["process"].unique()))),
            ("Features", str(histograms["feature"].nunique())),
        ),
        sections,
        warnings=tuple(dict.fromkeys(_notes(validation))),
    )


def _sample_keys(samples: Sequence[str]) -> tuple[Key, ...]:
    """Lines of the samples: none in the colour of the reference, each with dashes of its own."""
    colors = [c for c in PALETTE if c != BLUE]
    return tuple(
        Key(k.label, k.color, "none", DASHES[i % len(DASHES)]) for i, k in enumerate(keys(samples, colors))
    )


def _notes(validation: Validation) -> Iterator[str]:
    yield from validation.notes
    for name, comparison in zip(validation.samples, validation.comparisons, strict=True):
        for note in comparison.notes:
            yield f"{note} ({name})" if len(validation.samples) > 1 else note


# ---- tables ----


def _summary_table(validation: Validation) -> Table:
    rows = [
        {"sample": name} | _overview(comparison, s)
        for name, comparison in zip(validation.samples, validation.comparisons, strict=True)
        for s in comparison.separations
    ]
    table = pd.DataFrame(rows)
    if not any(s.n_shared for c in validation.comparisons for s in c.separations):
        table = table.drop(columns="in both")
    if len(validation.samples) == 1:
        table = table.drop(columns="sample")
    return table_of(table, reading=_SUMMARY)


def _overview(comparison: Comparison, s: ProcessSeparation) -> dict[str, Any]:
    known, worst, n_above = comparison.known(s.process)
    matrix = next((c for c in comparison.correlations if c.process == s.process), None)
    pair = matrix.farthest if matrix else None
    return {
        "process": _process(s.process),
        "AUC": "not computed" if math.isnan(s.auc) else with_error(s.auc, s.auc_error),
        "features above floor": f"{n_above} of {len(known)}",
        "farthest": f"{worst.feature}: {worst.ks:.3f}, floor {worst.ks_floor:.3f}" if worst else None,
        "correlations farthest apart": (
            f"{pair.first}, {pair.second}: {with_error(pair.rho_sim - pair.rho_ref, pair.error)}"
            if pair
            else None
        ),
        "simulated": f"{s.n_sim:,}",
        "reference": f"{s.n_ref:,}",
        "in both": f"{s.n_shared:,}",
    }


def _yield_table(yields: Sequence[ProcessYield]) -> Table:
    order = list(dict.fromkeys(y.process for y in yields))
    rows = [
        {
            "process": _process(y.process),
            "sample": y.sample,
            "events": f"{y.n_events:,}",
            "effective": f"{y.n_effective:,.0f}",
            "expected": with_error(y.expected, y.expected_error),
            "selected": _percent(y.selected, y.selected_error),
            "acceptance": "–" if math.isnan(y.acceptance) else f"{100 * y.acceptance:.3g} %",
            "leading order": "–" if math.isnan(y.leading_order) else f"{y.leading_order:,.0f}",
        }
        for y in sorted(yields, key=lambda y: order.index(y.process))
    ]
    return table_of(pd.DataFrame(rows), reading=_YIELDS)


def _percent(fraction: float, error: float) -> str:
    return f"{100 * fraction:.4g} %" if error == 0 else f"({with_error(100 * fraction, 100 * error)}) %"


def _fraction_table(validation: Validation) -> Table:
    """A row for each process, feature and count; two columns for each sample."""
    rows: dict[tuple[str, str, int], list[tuple[str, CountFraction]]] = {}
    for name, comparison in zip(validation.samples, validation.comparisons, strict=True):
        for f in comparison.fractions:
            rows.setdefault((f.process, f.feature, f.count), []).append((name, f))
    header = ["process", "feature", "reference"]
    header += [h for name in validation.samples for h in (name, "difference")]
    return Table(
        tuple(header),
        tuple(_fraction_row(key, dict(found), validation.samples) for key, found in rows.items()),
        reading=_FRACTIONS,
        kind="numbers",
    )


def _fraction_row(
    key: tuple[str, str, int], found: Mapping[str, CountFraction], samples: Sequence[str]
) -> tuple[Cell, ...]:
    process, feature, count = key
    reference = next(iter(found.values())).fraction_ref
    texts = [_process(process), f"{feature} {'≥' if count == MAX_COUNT else '='} {count}", f"{reference:.3f}"]
    for name in samples:
        f = found.get(name)
        difference = f and _signed(f.fraction_sim - f.fraction_ref, f.error)
        texts += [f"{f.fraction_sim:.3f}" if f else "–", difference or "–"]
    return tuple(map(Cell, texts))


def _signed(value: float, error: float) -> str:
    text = with_error(value, error) if error > 0 else f"{value:.3f}"
    return text if text[0] in "-−–" else f"+{text}"


def _distance_table(validation: Validation) -> pd.DataFrame:
    """The table under words, what is above its floor marked and first."""
    frames = [
        comparison.to_frame().assign(sample=name)
        for name, comparison in zip(validation.samples, validation.comparisons, strict=True)
    ]
    distances = pd.concat(frames, ignore_index=True)
    above = distances["ks"] > distances["ks_floor"]
    table = distances.rename(columns=_WORDS).assign(**{"above floor": np.where(above, "yes", "")})
    table["process"] = [_process(p) for p in table["process"]]
    columns = [c for c in table.columns if c != "sample"]
    columns = columns if len(validation.samples) == 1 else ["sample", *columns]
    return table[columns].iloc[np.argsort(~above.to_numpy(), kind="stable")]


def _process(name: str) -> str:
    return name or "all events"


# ---- charts ----


def _distribution(feature: str, histograms: pd.DataFrame, samples: Sequence[Key], reference: Key) -> Figure:
    return Figure(
        feature,
        "",
        tuple(
            Panel(str(process), _chart(feature, group, samples))
            for process, group in histograms.groupby("process", sort=False)
        ),
        (*samples, reference),
        table_of(histograms.drop(columns="feature")),
    )


def _chart(feature: str, group: pd.DataFrame, samples: Sequence[Key]) -> Spec:
    """Distributions of the samples over that of the reference, and ratios below."""
    drawn = [(key, part) for key in samples if len(part := group[group["sample"] == key.label])]
    first = drawn[0][1]
    edges = np.append(first["bin_left"].to_numpy(float), first["bin_right"].iloc[-1])
    domain = (edges[0], edges[-1])
    reference, error = first["density_ref"].to_numpy(float), first["error_ref"].to_numpy(float)
    bare, y = marks.x_axis("", domain, labels=False, ticks=False), marks.density_axis()
    shapes = (
        marks.step_band(edges, reference - error, reference + error, BLUE, bare, y),
        marks.steps(edges, reference, Key("reference", BLUE), bare, y),
        *(marks.steps(edges, part["density_sim"], key, bare, y) for key, part in drawn),
    )
    x, ratio_y = (
        marks.x_axis(feature, domain),
        marks.y_axis("sim. / ref.", (0.5, 1.5), values=[0.5, 1.0, 1.5]),
    )
    ratio_error = first["error_ratio"].to_numpy(float)
    ratios = (
        marks.step_band(edges, 1 - ratio_error, 1 + ratio_error, INK, x, ratio_y),
        marks.level(1.0, ratio_y, "equal"),
        *(
            marks.steps(edges, np.clip(part["ratio"].to_numpy(float), 0.5, 1.5), key, x, ratio_y)
            for key, part in drawn
        ),
    )
    return marks.stack(
        marks.panel(*shapes, width=PLOT_WIDTH, height=120),
        marks.panel(*ratios, width=PLOT_WIDTH, height=70),
    )


def _correlation_figures(validation: Validation) -> Iterator[Figure]:
    """A figure for each process and sample, those of a process together."""
    found = [
        (name, matrices)
        for name, comparison in zip(validation.samples, validation.comparisons, strict=True)
        for matrices in comparison.correlations
    ]
    order = list(dict.fromkeys(matrices.process for _, matrices in found))
    for name, matrices in sorted(found, key=lambda entry: order.index(entry[1].process)):
        yield correlation_figure(_process(matrices.process), validation.reference, name, matrices)
