"""The report of a run: which method measures mu best, and whether its intervals can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairuniverse._version import __version__
from fairuniverse.errors import InvalidDataError
from fairuniverse.reporting.cards import Cards, References, card_table, score_figure
from fairuniverse.reporting.coverage import (
    calibration_figure,
    coverage_by_mu_figure,
    coverage_by_nuisance_figure,
)
from fairuniverse.reporting.intervals import interval_figure
from fairuniverse.reporting.page import Figure, Page, Section, Table, plain_rows, write_page
from fairuniverse.reporting.precision import bias_figure, pull_figure, width_figure
from fairuniverse.reporting.render import require_chart_libraries
from fairuniverse.reporting.running import account_table, cost_figure, failure_table, retry_table
from fairuniverse.reporting.shapes import shape_figures
from fairuniverse.results import is_isolated, repeatability_warning

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.results import Results


@np.errstate(all="ignore")  # answers of any size are legal; what overflows is drawn as missing
def write_report(
    results: Results,
    path: str | Path,
    *,
    cards: Cards,
    references: References | None = None,
    shapes: pd.DataFrame | None = None,
    title: str | None = None,
    more: Sequence[Section] = (),
    links: Sequence[tuple[str, str]] = (),
    shows_truth: bool = True,
) -> Path:
    """Write the report of one or several submissions as one HTML file that needs nothing else.

    Args:
        results: Results of all submissions on the same toys.
        path: File to write.
        cards: Scores of each submission, by its name in `results`.
        references: Expected scores of methods to compare with, such as the interval that ignores the data: by
            the method's name, then by the score's name.
        shapes: Shapes of signal and background (see `fairuniverse.reporting.shape_table`).
        title: Heading; made from the benchmark's name if not given.
        more: Chapters to put before the provenance.
        links: Other pages that belong to it: text and address relative to this one.
        shows_truth: Whether what would tell the true mu of sets is drawn; not as long as they are in use.

    Returns:
        The path written.

    Raises:
        InvalidDataError: The results hold no toys, or a submission has no score card.
        MissingDependencyError: The libraries of the ``report`` extra are not installed.
        StorageError: The file cannot be written.
    """
    require_chart_libraries()
    if results.table.empty:
        raise InvalidDataError("the results hold no toys: there is nothing to report")
    without = [name for name in results.submissions if name not in cards]
    if without:
        raise InvalidDataError(f"no score card of {without[0]!r}: score every submission before the report")
    page = _page(results, cards, references or {}, shapes, title, more, shows_truth)
    return write_page(replace(page, links=tuple(links)), path)


def _page(
    results: Results,
    cards: Cards,
    references: References,
    shapes: pd.DataFrame | None,
    title: str | None,
    more: Sequence[Section],
    shows_truth: bool,
) -> Page:
    sections = [
        _section(
            "At a glance",
            (calibration_figure(results), interval_figure(results) if shows_truth else None),
        ),
        _scores(results, {name: cards[name] for name in results.submissions}, references),
        _intervals(results, shows_truth),
        _precision(results, shows_truth),
        _running(results),
        _worlds(shapes),
        *more,
        _provenance(results.manifest),
    ]
    benchmark = _benchmark(results.manifest)
    return Page(
        title or ": ".join(filter(None, ("Benchmark report", benchmark[0]))),
        "How precisely does each method measure mu, and does its interval contain the truth as often as it "
        f"claims ({results.confidence_level:.2%}), when the simulation is known only up to its nuisance "
        "parameters?",
        _facts(results, benchmark),
        tuple(s for s in sections if s.blocks),
        _warnings(results),
        f"Made with fairuniverse {__version__}. The page loads nothing and runs no scripts; rest the "
        "pointer on a mark to read its values.",
        _unfinished(results),
    )


def _scores(results: Results, cards: Cards, references: References) -> Section:
    return _section("Scores", (card_table(cards, references, results), score_figure(cards, references)))


def _intervals(results: Results, shows_truth: bool) -> Section:
    by_mu = coverage_by_mu_figure(results) if shows_truth else None
    blocks = (by_mu, coverage_by_nuisance_figure(results))
    return _section(
        "Coverage", blocks, "Do the intervals contain the truth as often as they claim, everywhere?"
    )


def _precision(results: Results, shows_truth: bool) -> Section:
    if not results.is_ok.any():
        return _section("Precision", ())
    width, bias = (width_figure(results), bias_figure(results)) if shows_truth else (None, None)
    blocks = (width, pull_figure(results), bias)
    return _section(
        "Precision", blocks, "How long are the intervals, and are their centres and errors right?"
    )


def _running(results: Results) -> Section:
    blocks = (failure_table(results), cost_figure(results), account_table(results), retry_table(results))
    return _section("Running", blocks)


def _worlds(shapes: pd.DataFrame | None) -> Section:
    if shapes is None or shapes.empty:
        return _section("Signal and background", ())
    return _section("Signal and background", shape_figures(shapes), "What the methods were given to look at.")


def _provenance(manifest: Mapping[str, Any]) -> Section:
    rows = plain_rows(_provenance_rows(manifest))
    reading = "What to keep with the numbers, so that somebody else can make them again."
    return _section("Provenance", (Table(("entry", "value"), rows, "", reading),) if rows else ())


def _section(title: str, blocks: tuple[Figure | Table | None, ...], text: str = "") -> Section:
    return Section(title, tuple(b for b in blocks if b is not None), text)


def _facts(results: Results, benchmark: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    toys = results.table.drop_duplicates(["i_mu", "i_toy"])
    low, high = results.mu_range
    facts = (
        ("Benchmark", " ".join(filter(None, benchmark))),
        ("Submissions", str(len(results.submissions))),
        ("Toys each", f"{len(toys):,} at {toys['i_mu'].nunique()} values of mu"),
        ("Range of mu", f"{low:g} to {high:g}"),
        ("Confidence level", f"{results.confidence_level:.2%}"),
        ("Failed toys", f"{int((~results.is_ok).sum()):,} of {len(results.table):,}"),
        ("Date", datetime.now(UTC).strftime("%-d %B %Y")),
    )
    return tuple((name, value) for name, value in facts if value)


def _benchmark(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Name and version of the benchmark, as far as the manifest knows."""
    entry = manifest.get("benchmark", manifest.get("config", {}))
    if not isinstance(entry, Mapping):
        return str(entry), str(manifest.get("version", ""))
    version = entry.get("version", "")
    return str(entry.get("name", "")), f"version {version}" if version else ""


def _warnings(results: Results) -> tuple[str, ...]:
    warnings = []
    bare = [name for name, run in _runs(results).items() if not is_isolated(run)]
    if bare:
        warnings.append(
            f"Run without isolation: {', '.join(bare)}. Nothing kept this code from reading the truth: "
            "believe its scores only if you trust it."
        )
    found = {name: repeatability_warning(run) for name, run in _runs(results).items()}
    warnings += [f"Not a method of one toy alone, {name}: {text}." for name, text in found.items() if text]
    if not results.is_ok.any():
        warnings.append("No submission gave a valid interval for any toy: see the failures.")
    if len(set(map(len, (results.of(n).table for n in results.submissions)))) > 1:
        warnings.append("The submissions did not answer the same number of toys.")
    return tuple(warnings)


def _unfinished(results: Results) -> tuple[str, ...]:
    """What is said of each run that has not ended."""
    texts = []
    for name, run in _runs(results).items():
        status = results.of(name).table["status"]
        n_missing = int((status == "missing").sum())
        if n_missing:
            texts.append(f"Unfinished: {n_missing:,} of {len(status):,} toys of {name} have no answer yet.")
        # Only runs have sessions; predictions scored from files never say that they are finished.
        elif "sessions" in run and "finished" not in run:
            texts.append(f"Unfinished: the run of {name} was stopped before its end.")
    return tuple(texts)


def _runs(results: Results) -> dict[str, Mapping[str, Any]]:
    """Manifest of each submission's run."""
    runs = results.manifest.get("runs", {})
    return {name: runs.get(name, results.manifest) for name in results.submissions}


def _provenance_rows(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Entries that all runs share, then for each run those of its own."""
    runs = manifest.get("runs", {})
    shared = _flat({k: v for k, v in manifest.items() if k != "runs"})
    own = [
        (f"{name}: {key}", value)
        for name, run in runs.items()
        for key, value in _flat(run)
        if (key, value) not in shared
    ]
    return shared + own


def _flat(entry: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested entries as (dotted name, text), in order."""
    if isinstance(entry, Mapping) and (entry or not name):
        return [
            row for key, value in entry.items() for row in _flat(value, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(entry, (list, tuple)):
        return [(name, ", ".join(map(str, entry)) or "none")]
    return [(name, str(entry))]
