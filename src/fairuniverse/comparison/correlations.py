"""Do two samples of events have the same correlations? Rank correlations of all pairs of features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from fairuniverse.events import Events

MAX_CORRELATED_EVENTS = 200_000
"""Events of each sample, evenly spread, that correlations are computed of."""

MAX_VARIANCE_EVENTS = 20_000
"""Events, evenly spread, that the errors of correlations are computed of."""

MIN_CORRELATED_EVENTS = 20
"""Effective events that a correlation needs."""

MIN_VARIANCE = 1e-4
"""Least variance of a correlation times the number of events, for features that are nearly the same."""


@dataclass(frozen=True)
class CorrelationDistance:
    """A pair of features and their correlation in two samples of a process.

    Attributes:
        process: Name of the process; empty where events are unlabelled.
        first: Name of one feature.
        second: Name of the other.
        rho_sim: Correlation in the simulated sample.
        rho_ref: Correlation in the reference.
        error: Standard error of the difference, if the samples are equal.
    """

    process: str
    first: str
    second: str
    rho_sim: float
    rho_ref: float
    error: float

    @property
    def pull(self) -> float:
        """Difference over its error."""
        return (self.rho_sim - self.rho_ref) / self.error


@dataclass(frozen=True, eq=False)
class Correlations:
    """Matrices of correlations of two samples of a process.

    Correlations are Spearman's, of ranks, of events with their weights; that of a pair, of the events that
    have both features. They are NaN where one of the samples has fewer than `MIN_CORRELATED_EVENTS` of these,
    or where a feature does not vary.

    Attributes:
        process: Name of the process; empty where events are unlabelled.
        features: Names of the features.
        rho_sim: Shape (n_features, n_features), in the simulated sample.
        rho_ref: Shape (n_features, n_features), in the reference.
        error: Shape (n_features, n_features), standard errors of the differences, if the samples are equal:
            by the influence function in the larger sample.
    """

    process: str
    features: tuple[str, ...]
    rho_sim: NDArray[np.float64]
    rho_ref: NDArray[np.float64]
    error: NDArray[np.float64]

    @property
    def pulls(self) -> NDArray[np.float64]:
        """Differences over their errors."""
        return (self.rho_sim - self.rho_ref) / self.error

    def pairs(self) -> Iterator[CorrelationDistance]:
        """Pairs of features that have a correlation in both samples, those farthest apart first."""
        i, j = np.tril_indices(len(self.features), -1)
        known = np.isfinite(self.pulls[i, j])
        i, j = i[known], j[known]
        for k in np.argsort(-np.abs(self.pulls[i, j]), kind="stable"):
            pair = i[k], j[k]
            values = (float(m[pair]) for m in (self.rho_sim, self.rho_ref, self.error))
            yield CorrelationDistance(self.process, self.features[j[k]], self.features[i[k]], *values)

    @property
    def n_pairs(self) -> int:
        """How many there are; the largest of so many pulls is 2.5 to 3.5 for equal samples."""
        return int(np.isfinite(self.pulls[np.tril_indices(len(self.features), -1)]).sum())

    @property
    def farthest(self) -> CorrelationDistance | None:
        """The pair whose correlations differ by most standard errors; None if there is none."""
        return next(self.pairs(), None)


def correlations(process: str, simulated: Events, reference: Events) -> Correlations:
    """Correlations of all pairs of features in both samples.

    Args:
        process: Name of the process of both samples.
        simulated: Events to be judged.
        reference: Events to judge by.
    """
    samples = [_thinned(e, MAX_CORRELATED_EVENTS) for e in (simulated, reference)]
    (rho_sim, n_sim), (rho_ref, n_ref) = (_by_pairs(e, _correlation) for e in samples)
    larger = samples[int(np.nanmax(n_ref, initial=0) > np.nanmax(n_sim, initial=0))]
    variance, _ = _by_pairs(_thinned(larger, MAX_VARIANCE_EVENTS), _variance)
    error = np.sqrt(np.maximum(variance, MIN_VARIANCE) * (1 / n_sim + 1 / n_ref))
    return Correlations(process, reference.schema.names, rho_sim, rho_ref, error)


def _thinned(events: Events, n: int) -> Events:
    if len(events) <= n:
        return events
    return events.select(np.linspace(0, len(events) - 1, n).astype(np.int64))


def _by_pairs(
    events: Events, of_ranks: Callable[[_Ranks, _Ranks], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A number for each pair of features, of the events with both, and the effective number of these."""
    weights = np.ones(len(events)) if events.weights is None else np.maximum(events.weights, 0)
    n = len(events.schema.features)
    found, n_effective = np.full((n, n), np.nan), np.full((n, n), np.nan)
    for (first, has_first), (second, has_second) in combinations_with_replacement(_by_existence(events), 2):
        has_both = has_first & has_second & (weights > 0)
        common = weights[has_both]
        size = common.sum() ** 2 / np.square(common).sum() if len(common) else 0.0
        if size >= MIN_CORRELATED_EVENTS:
            of_first = _Ranks.of([events.features[i][has_both] for i in first], common)
            of_second = of_first
            if second is not first:
                of_second = _Ranks.of([events.features[i][has_both] for i in second], common)
            block = of_ranks(of_first, of_second)
            for rows, columns, values in ((first, second, block), (second, first, block.T)):
                found[np.ix_(rows, columns)], n_effective[np.ix_(rows, columns)] = values, size
    return found, n_effective


def _by_existence(events: Events) -> list[tuple[list[int], NDArray[np.bool_]]]:
    """Features that exist in the same events, together with which these are."""
    groups: dict[bytes, tuple[list[int], NDArray[np.bool_]]] = {}
    for i, feature in enumerate(events.schema.features):
        row = events.features[i]
        exists = np.full(len(row), True) if feature.missing is None else row != feature.missing
        groups.setdefault(exists.tobytes(), ([], exists))[0].append(i)
    return list(groups.values())


@dataclass(frozen=True, eq=False)
class _Ranks:
    """Ranks of features: the weight below a value with half of the weight at it, as a part of all.

    Attributes:
        weights: Shape (n_events,), of sum one.
        places: Index of each value among the different ones, shape (n_features, n_events).
        standard: Ranks with mean zero and variance one, shape (n_features, n_events); NaN where all values
            are equal.
        spreads: Standard deviations of the ranks, shape (n_features,).
    """

    weights: NDArray[np.float64]
    places: NDArray[np.int64]
    standard: NDArray[np.float64]
    spreads: NDArray[np.float64]

    @classmethod
    def of(cls, columns: Sequence[NDArray[np.float32]], weights: NDArray[np.float64]) -> _Ranks:
        """Ranks of columns of equal length."""
        weights = weights / weights.sum()
        places = np.array([np.unique(column, return_inverse=True)[1] for column in columns], dtype=np.int64)
        standard, spreads = np.empty(places.shape), np.empty(len(columns))
        for row, place in enumerate(places):
            at = np.bincount(place, weights)
            ranks = (np.cumsum(at) - 0.5 * at)[place] - 0.5
            spreads[row] = math.sqrt(weights @ np.square(ranks))
            standard[row] = ranks / spreads[row] if len(at) > 1 else math.nan
        return cls(weights, places, standard, spreads)

    def above(self, row: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of values over the events in which a feature is larger, those with the same count half."""
        sums = np.bincount(self.places[row], self.weights * values)
        total: NDArray[np.float64] = (sums[::-1].cumsum()[::-1] - 0.5 * sums)[self.places[row]]
        return total


def _correlation(first: _Ranks, second: _Ranks) -> NDArray[np.float64]:
    rho: NDArray[np.float64] = (first.standard * first.weights) @ second.standard.T
    return rho


def _variance(first: _Ranks, second: _Ranks) -> NDArray[np.float64]:
    """Variance of a correlation of ranks times the number of events, by the square of its influence function.

    An event changes a correlation by its own product, by what it adds to the variances, and by the ranks of
    all events with larger values, which it raises (Croux and Dehon, Statistical Methods & Applications 19
    (2010) 497, section 2, here with ties).
    """
    rho = _correlation(first, second)
    variance = np.full(rho.shape, np.nan)
    for i, j in np.argwhere(np.isfinite(rho)):
        u, v, r = first.standard[i], second.standard[j], rho[i, j]
        influence = u * v - 0.5 * r * (u * u + v * v)
        influence += first.above(i, v - r * u) / first.spreads[i]
        influence += second.above(j, u - r * v) / second.spreads[j]
        mean = first.weights @ influence
        variance[i, j] = first.weights @ np.square(influence - mean)
    return variance
