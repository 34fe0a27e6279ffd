"""What a comparison of two samples finds, as records and as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fairuniverse.comparison.correlations import Correlations
from fairuniverse.errors import InvalidDataError

if TYPE_CHECKING:
    import pandas as pd

MAX_COUNT = 3
"""Counts of objects from here on are taken together."""


@dataclass(frozen=True)
class FeatureDistance:
    """Distance of one feature of one process between two samples.

    Attributes:
        process: Name of the process; empty where events are unlabelled.
        feature: Name of the feature.
        ks: Largest difference of the two cumulative distributions (Kolmogorov-Smirnov), of events that have
            the feature.
        ks_floor: What `ks` stays below in 95 % of comparisons of two equal samples of these sizes.
        wasserstein: Area between the cumulative distributions, in standard deviations of the reference.
        mean_sim: Mean of the simulated sample.
        mean_ref: Mean of the reference.
        missing_sim: Fraction of simulated events without the feature (such as no jet).
        missing_ref: Fraction of reference events without it.
    """

    process: str
    feature: str
    ks: float
    ks_floor: float
    wasserstein: float
    mean_sim: float
    mean_ref: float
    missing_sim: float
    missing_ref: float


@dataclass(frozen=True)
class CountFraction:
    """Fraction of the events of a process in which something is counted so many times.

    Attributes:
        process: Name of the process; empty where events are unlabelled.
        feature: Name of the feature, a number of objects.
        count: How many; the last entry of a feature stands for this many or more.
        fraction_sim: Fraction of simulated events.
        fraction_ref: Fraction of reference events.
        error: Standard error of the difference, if the samples are equal.
    """

    process: str
    feature: str
    count: int
    fraction_sim: float
    fraction_ref: float
    error: float


@dataclass(frozen=True)
class ProcessSeparation:
    """How well a classifier tells two samples of a process apart.

    Attributes:
        process: Name of the process; empty where events are unlabelled.
        auc: Area under the ROC curve of cross-fitted boosted trees on all features; 0.5 if the samples
            cannot be told apart.
        auc_error: Standard error of `auc` where the samples are equal.
        n_sim: Simulated events compared.
        n_ref: Reference events compared.
        n_shared: Reference events that are also in the simulated sample, value for value; 0 where events of
            one sample repeat anyway, as counts do.
    """

    process: str
    auc: float
    auc_error: float
    n_sim: int
    n_ref: int
    n_shared: int = 0


@dataclass(frozen=True)
class Comparison:
    """Answer of `compare`.

    Attributes:
        distances: One entry per process and feature.
        fractions: For features that count objects, one entry per process and count, up to `MAX_COUNT`.
        separations: One entry per process.
        notes: What the samples lack, and how they were compared for that.
        correlations: One entry per process.
    """

    distances: tuple[FeatureDistance, ...]
    fractions: tuple[CountFraction, ...]
    separations: tuple[ProcessSeparation, ...]
    notes: tuple[str, ...] = ()
    correlations: tuple[Correlations, ...] = ()

    def distance(self, process: str, feature: str) -> FeatureDistance:
        """Distance of one feature of one process.

        Raises:
            InvalidDataError: It was not compared.
        """
        for d in self.distances:
            if (d.process, d.feature) == (process, feature):
                return d
        raise InvalidDataError(f"{feature!r} of process {process!r} was not compared")

    def to_frame(self) -> pd.DataFrame:
        """Distances as a table, one row per process and feature."""
        import pandas as pd

        return pd.DataFrame([asdict(d) for d in self.distances])

    def known(self, process: str) -> tuple[list[FeatureDistance], FeatureDistance | None, int]:
        """Distances of a process that exist, the worst relative to its floor, and how many are above it."""
        known = [d for d in self.distances if d.process == process and math.isfinite(d.ks)]
        worst = max(known, key=lambda d: d.ks / d.ks_floor, default=None)
        return known, worst, sum(d.ks > d.ks_floor for d in known)

    def to_json(self) -> dict[str, Any]:
        """Distances and separations as plain lists of records; a value that does not exist is None."""
        return {
            "distances": [finite(asdict(d)) for d in self.distances],
            "fractions": [finite(asdict(f)) for f in self.fractions],
            "separations": [finite(asdict(s)) for s in self.separations],
            "correlations": [finite(asdict(pair)) for c in self.correlations for pair in c.pairs()],
            "notes": list(self.notes),
        }

    def render(self) -> str:
        """Tables in plain text, a star where the distance exceeds its floor; then a line per process."""
        tables = [self._render_process(s) for s in self.separations]
        summary = "\n".join(["summary", *(self._summary(s) for s in self.separations)])
        return "\n\n".join([*(["\n".join(self.notes)] if self.notes else []), *tables, summary])

    def _summary(self, s: ProcessSeparation) -> str:
        """Worst distance relative to its floor, and the AUC."""
        known, worst, n_above = self.known(s.process)
        ks = f"worst KS {worst.ks / worst.ks_floor:.2f} x floor ({worst.feature})" if worst else "no KS"
        return f"  {s.process or 'all events'}: {ks}, {n_above} of {len(known)} above; {_auc_text(s)}"

    def _render_process(self, s: ProcessSeparation) -> str:
        title = (
            f"{s.process or 'all events'}: {s.n_sim} simulated, {s.n_ref} reference events; {_auc_text(s)}"
        )
        head = (
            f"  {'feature':<30}{'KS':>8}{'floor':>8}  {'W/sd':>7}{'mean sim':>11}{'mean ref':>11}"
            f"{'missing sim':>13}{'ref':>8}"
        )
        lines = [
            f"  {d.feature:<30}{d.ks:>8.3f}{d.ks_floor:>8.3f}{'*' if d.ks > d.ks_floor else ' ':<2}"
            f"{d.wasserstein:>7.3f}{d.mean_sim:>11.4g}{d.mean_ref:>11.4g}"
            f"{d.missing_sim:>13.3f}{d.missing_ref:>8.3f}"
            for d in self.distances
            if d.process == s.process
        ]
        extra = (*self._render_fractions(s.process), *self._render_correlation(s.process))
        return "\n".join([title, *_shared_text(s), head, *lines, *extra])

    def _render_correlation(self, process: str) -> Iterator[str]:
        for c in self.correlations:
            if c.process == process and (pair := c.farthest):
                yield (
                    f"  largest pull of {c.n_pairs} correlations, {pair.pull:+.1f}: "
                    f"{pair.first} and {pair.second}, "
                    f"{pair.rho_sim:+.3f} simulated, {pair.rho_ref:+.3f} reference, "
                    f"difference {pair.rho_sim - pair.rho_ref:+.3f} +- {pair.error:.3f}"
                )

    def _render_fractions(self, process: str) -> Iterator[str]:
        for f in self.fractions:
            if f.process == process:
                count = f"{f.feature} {'>=' if f.count == MAX_COUNT else '= '} {f.count}"
                yield (
                    f"  {count:<30}{f.fraction_sim:>8.3f} simulated, {f.fraction_ref:.3f} reference, "
                    f"difference {f.fraction_sim - f.fraction_ref:+.3f} +- {f.error:.3f}"
                )


def _auc_text(s: ProcessSeparation) -> str:
    if math.isnan(s.auc):
        return "AUC not computed"
    is_below = s.auc < 0.5 - 4 * s.auc_error
    remark = "below 0.5: the samples share events" if is_below else "0.5: cannot be told apart"
    return f"AUC {s.auc:.3f} +- {s.auc_error:.3f} ({remark})"


def _shared_text(s: ProcessSeparation) -> Iterator[str]:
    if s.n_shared:
        which = "all" if s.n_shared == s.n_ref else f"{s.n_shared} of {s.n_ref}"
        yield (
            f"  {which} reference events are in the simulated sample, too: "
            "floors and errors hold for independent samples only"
        )


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """A record with None in place of what JSON has not."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
