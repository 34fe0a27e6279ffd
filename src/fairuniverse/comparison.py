"""Do two samples of events agree? Distances with their statistical floor, and histograms with ratios."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.correlations import CorrelationDistance, largest_difference
from fairuniverse.errors import InvalidDataError, MissingDependencyError
from fairuniverse.events import Events

if TYPE_CHECKING:
    import pandas as pd

KS_QUANTILE_95 = 1.358
"""95 % quantile of Kolmogorov's distribution."""

MAX_COUNT = 3
"""Counts of objects from here on are taken together."""

MAX_CLASSIFIER_EVENTS = 20_000
"""Events of each sample that the classifier sees."""

N_FOLDS = 5
"""Parts for cross-fitting the classifier."""


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
        correlations: One entry per process that has two features to correlate.
    """

    distances: tuple[FeatureDistance, ...]
    fractions: tuple[CountFraction, ...]
    separations: tuple[ProcessSeparation, ...]
    notes: tuple[str, ...] = ()
    correlations: tuple[CorrelationDistance, ...] = ()

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

    def to_json(self) -> dict[str, Any]:
        """Distances and separations as plain lists of records; a value that does not exist is None."""
        return {
            "distances": [_finite(asdict(d)) for d in self.distances],
            "fractions": [_finite(asdict(f)) for f in self.fractions],
            "separations": [_finite(asdict(s)) for s in self.separations],
            "correlations": [_finite(asdict(c)) for c in self.correlations],
            "notes": list(self.notes),
        }

    def render(self) -> str:
        """Tables in plain text, a star where the distance exceeds its floor; then a line per process."""
        tables = [self._render_process(s) for s in self.separations]
        summary = "\n".join(["summary", *(self._summary(s) for s in self.separations)])
        return "\n\n".join([*(["\n".join(self.notes)] if self.notes else []), *tables, summary])

    def _summary(self, s: ProcessSeparation) -> str:
        """Worst distance relative to its floor, and the AUC."""
        known = [d for d in self.distances if d.process == s.process and math.isfinite(d.ks)]
        worst = max(known, key=lambda d: d.ks / d.ks_floor, default=None)
        ks = f"worst KS {worst.ks / worst.ks_floor:.2f} x floor ({worst.feature})" if worst else "no KS"
        n_above = sum(d.ks > d.ks_floor for d in known)
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
            if c.process == process:
                yield (
                    f"  largest difference of {c.n_pairs} correlations: {c.first} and {c.second}, "
                    f"{c.rho_sim:+.3f} simulated, {c.rho_ref:+.3f} reference, "
                    f"difference {c.rho_sim - c.rho_ref:+.3f} +- {c.error:.3f}"
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


def compare(simulated: Events, reference: Events, *, with_classifier: bool = True) -> Comparison:
    """Compare two samples, process by process and feature by feature.

    The distances are those of unweighted events if all weights of a process are equal, else of weighted ones,
    with the effective number of events (sum w)^2 / sum w^2 in the floor. Features that one sample has not
    (constant at zero) are compared like any other.

    Args:
        simulated: Events to be judged.
        reference: Events to judge by, of the same schema.
        with_classifier: Whether boosted trees are trained to tell the samples apart; if not, each AUC is
            NaN.

    Returns:
        Distances and separations for the processes that both samples have; for all events together if one
        sample is unlabelled.

    Raises:
        InvalidDataError: Different schemas, no process that both have, or a process without any positive
            weight.
        MissingDependencyError: scikit-learn is not installed, and the classifier was asked for.
    """
    pairs = list(_pairs(simulated, reference))
    distances = [
        _distance(process, i, sim, ref)
        for process, sim, ref in pairs
        for i in range(len(reference.schema.features))
    ]
    fractions = [
        fraction
        for process, sim, ref in pairs
        for i in range(len(reference.schema.features))
        for fraction in _fractions(process, i, sim, ref)
    ]
    separations = [_separation(*pair, with_classifier) for pair in pairs]
    correlations = (largest_difference(*pair) for pair in pairs)
    return Comparison(
        tuple(distances),
        tuple(fractions),
        tuple(separations),
        tuple(_notes(simulated, reference)),
        tuple(c for c in correlations if c is not None),
    )


def comparison_histograms(simulated: Events, reference: Events, *, n_bins: int = 25) -> pd.DataFrame:
    """Histograms of every feature of every process that both samples have.

    Bins are equidistant between the 0.5 % and 99.5 % quantiles of the reference; events outside are in the
    first and last bin. Features that few values fill (such as counts) have one bin per value.

    Args:
        simulated: Events to be judged.
        reference: Events to judge by, of the same schema.
        n_bins: Number of bins.

    Returns:
        One row per process, feature and bin: ``process``, ``feature``, ``bin_left``, ``bin_right``, densities
        of unit area ``density_sim`` and ``density_ref`` with errors ``error_sim`` and ``error_ref``, the
        ``ratio`` of simulated to reference, and ``error_ratio``, that of the reference alone; NaN in bins
        without reference events.

    Raises:
        InvalidDataError: See `compare`.
    """
    import pandas as pd

    tables = [
        _histogram(process, i, sim, ref, n_bins)
        for process, sim, ref in _pairs(simulated, reference)
        for i in range(len(reference.schema.features))
    ]
    return pd.concat([t for t in tables if t is not None], ignore_index=True)


def ks_floor(n_first: float, n_second: float) -> float:
    """95 % critical value of the two-sample Kolmogorov-Smirnov distance (small samples: Stephens 1970).

    A perfect simulation stays below it in 95 % of comparisons with references of that size.

    >>> round(ks_floor(1000, 1000), 4)
    0.0604
    """
    root = math.sqrt(n_first * n_second / (n_first + n_second))
    return KS_QUANTILE_95 / (root + 0.12 + 0.11 / root)


def _pairs(simulated: Events, reference: Events) -> Iterator[tuple[str, Events, Events]]:
    """Events of each process that both samples have."""
    if simulated.schema.names != reference.schema.names:
        raise InvalidDataError("the samples have different features: compare tables of one simulator")
    if simulated.process is None or reference.process is None:
        common = [""] if len(simulated) and len(reference) else []
    else:
        common = [p for p in reference.processes if _has(simulated, p) and _has(reference, p)]
    if not common:
        raise InvalidDataError("no process has events in both samples: nothing to compare")
    for process in common:
        pair = [e if process == "" else e.of_process(process) for e in (simulated, reference)]
        for name, events in zip(("simulated sample", "reference"), pair, strict=True):
            _require_weight(events, process, name)
        yield process, pair[0], pair[1]


def _require_weight(events: Events, process: str, name: str) -> None:
    if events.weights is not None and not (events.weights > 0).any():
        where = f" of process {process!r}" if process else ""
        raise InvalidDataError(
            f"no event{where} in the {name} has a positive weight: "
            "give positive weights, or leave the column of weights out to count every event as one"
        )


def _notes(simulated: Events, reference: Events) -> Iterator[str]:
    """What one sample has and the other has not."""
    names = ("simulated sample", "reference")
    for name, events, other in zip(names, (simulated, reference), (reference, simulated), strict=True):
        if events.weights is None and other.weights is not None:
            yield f"{name} has no weights: its events are compared unweighted"
        if events.process is None and other.process is not None:
            yield f"{name} has no process labels: all events are compared together"


def _has(events: Events, process: str) -> bool:
    return process in events.processes and len(events.of_process(process)) > 0


@dataclass(frozen=True)
class _Column:
    """Values of the events that have a feature, with weights; `missing` is the fraction that has not."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    missing: float

    @property
    def n_effective(self) -> float:
        total: float = self.weights.sum() ** 2 / np.square(self.weights).sum()
        return total

    @property
    def mean(self) -> float:
        return float(np.average(self.values, weights=self.weights))

    def fraction(self, lowest: float, highest: float) -> float:
        """Fraction of values from lowest to highest, both included."""
        inside = (self.values >= lowest) & (self.values <= highest)
        return float(self.weights[inside].sum() / self.weights.sum())


def _column(events: Events, i_feature: int) -> _Column | None:
    """One feature; None if no event has it."""
    values = events.features[i_feature].astype(np.float64)
    weights = np.ones(len(values)) if events.weights is None else events.weights
    sentinel = events.schema.features[i_feature].missing
    exists = np.full(len(values), True) if sentinel is None else values != sentinel
    exists &= weights > 0
    if not exists.any():
        return None
    missing = 1 - weights[exists].sum() / weights.sum()
    return _Column(values[exists], weights[exists], float(missing))


def _distance(process: str, i_feature: int, simulated: Events, reference: Events) -> FeatureDistance:
    name = reference.schema.names[i_feature]
    sim, ref = _column(simulated, i_feature), _column(reference, i_feature)
    if sim is None or ref is None:
        nothing = math.nan
        gone = (float(sim is None), float(ref is None))
        return FeatureDistance(process, name, nothing, nothing, nothing, nothing, nothing, *gone)
    ks, area = _cumulative_distances(sim, ref)
    spread = math.sqrt(float(np.average((ref.values - ref.mean) ** 2, weights=ref.weights)))
    return FeatureDistance(
        process,
        name,
        ks,
        ks_floor(sim.n_effective, ref.n_effective),
        area / spread if spread > 0 else (0.0 if area == 0 else math.inf),
        sim.mean,
        ref.mean,
        sim.missing,
        ref.missing,
    )


def _fractions(process: str, i_feature: int, simulated: Events, reference: Events) -> Iterator[CountFraction]:
    """Fractions of 0, 1, ... objects; nothing for a feature that is not a count in both samples."""
    sim, ref = _column(simulated, i_feature), _column(reference, i_feature)
    if sim is None or ref is None or not (_is_count(sim) and _is_count(ref)):
        return
    inverse_size = 1 / sim.n_effective + 1 / ref.n_effective
    for count in range(MAX_COUNT + 1):
        first, second = (c.fraction(count, count if count < MAX_COUNT else math.inf) for c in (sim, ref))
        error = math.sqrt(second * (1 - second) * inverse_size)
        yield CountFraction(process, reference.schema.names[i_feature], count, first, second, error)


def _is_count(column: _Column) -> bool:
    values = column.values
    return bool((values >= 0).all() and (values == np.rint(values)).all() and values.max() > 0)


def _cumulative_distances(first: _Column, second: _Column) -> tuple[float, float]:
    """Kolmogorov-Smirnov and Wasserstein-1 distance of two weighted samples."""
    grid = np.unique(np.concatenate([first.values, second.values]))
    difference = np.abs(_cumulative(first, grid) - _cumulative(second, grid))
    return float(difference.max()), float((difference[:-1] * np.diff(grid)).sum())


def _cumulative(column: _Column, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(column.values)
    sums = np.concatenate([[0.0], np.cumsum(column.weights[order])])
    cumulative: NDArray[np.float64] = (
        sums[np.searchsorted(column.values[order], grid, side="right")] / sums[-1]
    )
    return cumulative


def _separation(
    process: str, simulated: Events, reference: Events, with_classifier: bool
) -> ProcessSeparation:
    n_sim, n_ref = (min(len(e), MAX_CLASSIFIER_EVENTS) for e in (simulated, reference))
    n_sim = min(n_sim, max(2 * n_ref, 1000))  # far more simulated events teach nothing more
    rows = [_spread(len(e), n) for e, n in ((simulated, n_sim), (reference, n_ref))]
    weights = [_relative_weights(e, r) for e, r in zip((simulated, reference), rows, strict=True)]
    m_sim, m_ref = (w.sum() ** 2 / np.square(w).sum() for w in weights)
    # Variance of the rank sum of equal samples (Mann and Whitney 1947), of effective events.
    error = math.sqrt((m_sim + m_ref + 1) / (12 * m_sim * m_ref))
    auc = math.nan
    if with_classifier and min(n_sim, n_ref) >= 10:
        first, second = (
            np.ascontiguousarray(e.features[:, r].T)
            for e, r in zip((simulated, reference), rows, strict=True)
        )
        auc = _cross_fitted_auc(first, second, np.concatenate(weights))
    n_shared = _n_shared(_row_keys(simulated.features), _row_keys(reference.features))
    return ProcessSeparation(process, auc, error, len(simulated), len(reference), n_shared)


def _row_keys(features: NDArray[np.float32]) -> NDArray[np.uint64]:
    """A number for each event, equal for events of equal features and otherwise different in practice."""
    factors = np.random.default_rng(0).integers(1, 2**63, len(features), dtype=np.uint64) * 2 + 1
    keys = np.zeros(features.shape[1], dtype=np.uint64)
    for factor, row in zip(factors, features, strict=True):
        keys += (row + np.float32(0)).view(np.uint32) * factor  # adding 0 makes -0.0 a 0.0; sums wrap around
    return keys


def _n_shared(simulated: NDArray[np.uint64], reference: NDArray[np.uint64]) -> int:
    """How many reference events are in the other sample; 0 if events repeat within a sample anyway."""
    # Where a tenth of a sample repeats, features are discrete: equal rows are then different events.
    if any(len(np.unique(keys)) < 0.9 * len(keys) for keys in (simulated, reference)):
        return 0
    return int(np.isin(reference, simulated).sum())


def _spread(n_events: int, n: int) -> NDArray[np.int64]:
    """Rows of n events, evenly spread over a sample."""
    return np.linspace(0, n_events - 1, n).astype(np.int64)


def _relative_weights(events: Events, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights of mean one; those that are not positive count nothing."""
    if events.weights is None:
        return np.ones(len(rows))
    positive = np.maximum(events.weights[rows], 0)
    return positive / (positive.mean() or 1.0)


def _cross_fitted_auc(
    simulated: NDArray[np.float32], reference: NDArray[np.float32], weights: NDArray[np.float64]
) -> float:
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import roc_auc_score
        from sklearn.model_selection import PredefinedSplit, cross_val_predict
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingDependencyError(
            "comparing with a classifier needs scikit-learn: pip install 'fairuniverse[baselines]'"
        ) from error
    features = np.concatenate([simulated, reference])
    truth = np.repeat([0, 1], [len(simulated), len(reference)])
    trees = HistGradientBoostingClassifier(max_depth=3, max_iter=60, learning_rate=0.08, random_state=0)
    folds = PredefinedSplit(_folds(simulated, reference))
    with threadpool_limits(1):  # waiting threads cost more than they bring when other programs run, too
        scores = cross_val_predict(
            trees, features, truth, cv=folds, method="predict_proba", params={"sample_weight": weights}
        )[:, 1]
    return float(roc_auc_score(truth, scores, sample_weight=weights))


def _folds(simulated: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.int64]:
    """Fold of each event, simulated ones first; both samples are spread evenly over the folds.

    An event that is in both samples is in one fold: trained on its copy, trees would tell the wrong sample.
    """
    keys = [_row_keys(sample.T) for sample in (simulated, reference)]
    rng = np.random.default_rng(0)
    folds = np.concatenate([rng.permutation(len(k)) % N_FOLDS for k in keys])
    if _n_shared(keys[0], keys[1]):
        order = np.argsort(keys[0])
        place = np.minimum(np.searchsorted(keys[0], keys[1], sorter=order), len(order) - 1)
        is_shared = keys[0][order[place]] == keys[1]
        folds[len(keys[0]) :][is_shared] = folds[order[place]][is_shared]
    return folds


def _histogram(
    process: str, i_feature: int, simulated: Events, reference: Events, n_bins: int
) -> pd.DataFrame | None:
    import pandas as pd

    sim, ref = _column(simulated, i_feature), _column(reference, i_feature)
    if sim is None or ref is None:
        return None
    edges = _edges(ref, n_bins)
    (density_sim, error_sim), (density_ref, error_ref) = (_density(c, edges) for c in (sim, ref))
    filled = np.where(density_ref > 0, density_ref, math.nan)
    return pd.DataFrame(
        {
            "process": process,
            "feature": reference.schema.names[i_feature],
            "bin_left": edges[:-1],
            "bin_right": edges[1:],
            "density_sim": density_sim,
            "density_ref": density_ref,
            "error_sim": error_sim,
            "error_ref": error_ref,
            "ratio": density_sim / filled,
            "error_ratio": error_ref / filled,
        }
    )


def _edges(reference: _Column, n_bins: int) -> NDArray[np.float64]:
    values = np.unique(reference.values)
    if len(values) <= n_bins and (values == np.rint(values)).all():
        return np.arange(values[0] - 0.5, values[-1] + 1.5)
    low, high = np.quantile(reference.values, [0.005, 0.995])
    return np.linspace(low, high if high > low else low + 1, n_bins + 1)


def _density(column: _Column, edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Density of unit area and its error, events outside the edges in the bins next to them."""
    inside = np.clip(column.values, edges[0], np.nextafter(edges[-1], -math.inf))
    sums = np.histogram(inside, edges, weights=column.weights)[0]
    squares = np.histogram(inside, edges, weights=np.square(column.weights))[0]
    scale = column.weights.sum() * np.diff(edges)
    return sums / scale, np.sqrt(squares) / scale


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
