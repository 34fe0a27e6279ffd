"""Do two samples of events have the same correlations? Rank correlations of all pairs of features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from fairuniverse.events import Events

MAX_CORRELATED_EVENTS = 200_000
"""Events of each sample, evenly spread, that correlations are computed of."""

MIN_CORRELATED_EVENTS = 20
"""Effective events that a correlation needs."""


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
        error: Shape (n_features, n_features), standard errors of the differences, if the samples are equal.
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
        return int(np.isfinite(np.tril(self.pulls, -1)[np.tril_indices(len(self.features), -1)]).sum())

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
    (rho_sim, n_sim), (rho_ref, n_ref) = (_rank_correlations(_thinned(e)) for e in (simulated, reference))
    # Large-sample error of a correlation of Gaussian variables.
    error = (1 - np.minimum(rho_ref**2, 0.99)) * np.sqrt(1 / n_sim + 1 / n_ref)
    return Correlations(process, reference.schema.names, rho_sim, rho_ref, error)


def _thinned(events: Events) -> Events:
    if len(events) <= MAX_CORRELATED_EVENTS:
        return events
    return events.select(np.linspace(0, len(events) - 1, MAX_CORRELATED_EVENTS).astype(np.int64))


def _rank_correlations(events: Events) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlations of weighted ranks, and the effective number of events of each pair of features."""
    weights = np.ones(len(events)) if events.weights is None else np.maximum(events.weights, 0)
    n = len(events.schema.features)
    rho, n_effective = np.full((n, n), np.nan), np.full((n, n), np.nan)
    for (first, has_first), (second, has_second) in combinations_with_replacement(_by_existence(events), 2):
        has_both = has_first & has_second & (weights > 0)
        common = weights[has_both]
        size = common.sum() ** 2 / np.square(common).sum() if len(common) else 0.0
        if size >= MIN_CORRELATED_EVENTS:
            ranks = [_ranks(events, i, has_both, common) for i in (first, second)]
            block = (ranks[0] * common) @ ranks[1].T
            for rows, columns, values in ((first, second, block), (second, first, block.T)):
                rho[np.ix_(rows, columns)], n_effective[np.ix_(rows, columns)] = values, size
    return rho, n_effective


def _by_existence(events: Events) -> list[tuple[list[int], NDArray[np.bool_]]]:
    """Features that exist in the same events, together with which these are."""
    groups: dict[bytes, tuple[list[int], NDArray[np.bool_]]] = {}
    for i, feature in enumerate(events.schema.features):
        row = events.features[i]
        exists = np.full(len(row), True) if feature.missing is None else row != feature.missing
        groups.setdefault(exists.tobytes(), ([], exists))[0].append(i)
    return list(groups.values())


def _ranks(
    events: Events, features: list[int], rows: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Standardised ranks of features, shape (n_features, n_rows)."""
    return np.array([_standardised_ranks(events.features[i][rows], weights) for i in features])


def _standardised_ranks(values: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight below each value with half of the weight at it; centred, of unit sum of squares with weights.

    NaN if all values are equal.
    """
    _, place = np.unique(values, return_inverse=True)
    at = np.bincount(place, weights)
    if len(at) == 1:
        return np.full(len(values), np.nan)
    ranks = (np.cumsum(at) - 0.5 * at)[place]
    ranks -= weights @ ranks / weights.sum()
    standardised: NDArray[np.float64] = ranks / np.sqrt(weights @ np.square(ranks))
    return standardised
