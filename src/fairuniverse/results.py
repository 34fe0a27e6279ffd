"""Results of a run: one row per (submission, mu index, toy index), and a manifest beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError

STATUSES: Mapping[str, str] = {
    "ok": "a valid interval",
    "non_finite": "mu_hat, lower or upper is NaN or infinite",
    "swapped": "lower > upper",
    "invalid_type": "an answer that is not a number",
    "missing_key": "mu_hat, lower or upper is missing from the answer",
    "exception": "predict raised an exception",
    "timeout": "no answer within the time limit",
    "out_of_memory": "the worker exceeded its memory limit",
    "crashed": "the worker process died",
    "fit_failed": "fit raised an exception, ran out of time or died: no toy could be answered",
    "missing": "no answer was recorded for this toy",
}
"""Status of a row and what it means; every status but "ok" counts as not covering."""

COLUMNS: Mapping[str, str] = {
    "submission": "object",
    "i_mu": "int64",
    "i_toy": "int64",
    "mu_true": "float64",
    "mu_hat": "float64",
    "lower": "float64",
    "upper": "float64",
    "status": "object",
    "message": "object",
    "n_events": "int64",
    "wall_time_s": "float64",
    "memory_mib": "float64",
}
"""Columns of the table and their types. True nuisance values follow as ``nuisance_<name>``, float64."""

OPTIONAL_COLUMNS: Mapping[str, str] = {"cpu_time_s": "float64", "delta_mu_hat": "float64"}
"""Columns that are there if they are known: the processor time of an answer, and the uncertainty of mu_hat
that a submission states beside its interval, for the official errors."""

NUISANCE_PREFIX = "nuisance_"


@dataclass(frozen=True, eq=False)
class Results:
    """Results of one or several submissions on the same pseudo-experiments.

    Attributes:
        table: One row per (submission, i_mu, i_toy), columns as in `COLUMNS`.
        mu_range: Smallest and largest mu of the benchmark.
        confidence_level: Confidence level the intervals claim.
        manifest: Provenance: configuration digest, versions, machine, seeds.
    """

    table: pd.DataFrame
    mu_range: tuple[float, float]
    confidence_level: float = 0.6827
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [c for c in COLUMNS if c not in self.table.columns]
        if missing:
            raise InvalidDataError(f"the results table lacks the columns {', '.join(missing)}")
        unknown = sorted(set(self.table["status"]) - set(STATUSES))
        if unknown:
            raise InvalidDataError(f"unknown status {unknown[0]!r}; known are {', '.join(STATUSES)}")

    @property
    def submissions(self) -> tuple[str, ...]:
        """Names of the submissions, in order of appearance."""
        return tuple(self.table["submission"].unique())

    @property
    def nuisance_names(self) -> tuple[str, ...]:
        """Names of the nuisance parameters whose true values are known."""
        return tuple(
            c.removeprefix(NUISANCE_PREFIX) for c in self.table.columns if c.startswith(NUISANCE_PREFIX)
        )

    def of(self, submission: str) -> Results:
        """Results of one submission.

        Raises:
            InvalidDataError: No row belongs to it.
        """
        rows = self.table[self.table["submission"] == submission]
        if rows.empty:
            raise InvalidDataError(f"no results of {submission!r}; there are {', '.join(self.submissions)}")
        return Results(rows.reset_index(drop=True), self.mu_range, self.confidence_level, self.manifest)

    def is_reference(self, submission: str) -> bool:
        """Whether a submission was told the true nuisance values: a line to compare with, not a method."""
        run = self.manifest.get("runs", {}).get(submission, self.manifest)
        entry = run.get("submission", {})
        return isinstance(entry, Mapping) and entry.get("is_reference") is True

    @property
    def is_ok(self) -> NDArray[np.bool_]:
        """Which toys have a valid interval, shape (n_toys,)."""
        return np.asarray(self.table["status"] == "ok")

    def covers(self) -> NDArray[np.bool_]:
        """Which intervals contain mu_true, bounds included; a failed toy does not cover."""
        t = self.table
        inside = (t["lower"] <= t["mu_true"]) & (t["mu_true"] <= t["upper"])
        covered: NDArray[np.bool_] = self.is_ok & np.asarray(inside)
        return covered

    def widths(self) -> NDArray[np.float64]:
        """Width of each interval; a failed toy takes the width of the whole mu range."""
        whole = self.mu_range[1] - self.mu_range[0]
        return np.where(self.is_ok, np.asarray(self.table["upper"] - self.table["lower"]), whole)


def is_isolated(manifest: Mapping[str, Any]) -> bool:
    """Whether a run was isolated, as far as its manifest says."""
    isolation = manifest.get("isolation", {})
    return not isinstance(isolation, Mapping) or bool(isolation.get("is_isolated", True))


def repeatability_warning(manifest: Mapping[str, Any]) -> str:
    """What a reader must know if a run's answers depend on more than the toy; empty otherwise."""
    found = manifest.get("repeatability", {})
    if not isinstance(found, Mapping) or found.get("status") not in ("order_dependent", "not_repeatable"):
        return ""
    return str(found.get("message", "")) or str(found["status"])
