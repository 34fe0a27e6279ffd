"""Do two samples of events have the same correlations? Rank correlations of all pairs of features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairuniverse.events import Events


@dataclass(frozen=True)
class CorrelationDistance:
    """The pair of features whose correlation differs most between two samples of a process.

    Correlations are Spearman's, of ranks, of events with their weights. Features that some events lack are
    left out.

    Attributes:
        process: Name of the process; empty where events are unlabelled.
        first: Name of one feature.
        second: Name of the other.
        rho_sim: Correlation in the simulated sample.
        rho_ref: Correlation in the reference.
        error: Standard error of the difference, if the samples are equal.
        n_pairs: Number of pairs of features; the largest of many pulls is 2.5 to 3.5 for equal samples.
    """

    process: str
    first: str
    second: str
    rho_sim: float
    rho_ref: float
    error: float
    n_pairs: int

    @property
    def pull(self) -> float:
        """Difference over its error."""
        return (self.rho_sim - self.rho_ref) / self.error


def largest_difference(process: str, simulated: Events, reference: Events) -> CorrelationDistance | None:
    """The pair of features whose correlation differs by most standard errors; None if fewer than two compare.

    Args:
        process: Name of the process of both samples.
        simulated: Events to be judged.
        reference: Events to judge by.
    """
    rows = [
        i for i in range(len(reference.schema.features)) if _varies(simulated, i) and _varies(reference, i)
    ]
    if len(rows) < 2:
        return None
    (rho_sim, n_sim), (rho_ref, n_ref) = (_rank_correlations(e, rows) for e in (simulated, reference))
    # Large-sample error of a correlation of Gaussian variables.
    error = (1 - np.minimum(rho_ref**2, 0.99)) * np.sqrt(1 / n_sim + 1 / n_ref)
    upper = np.triu_indices(len(rows), 1)
    pulls = (np.abs(rho_sim - rho_ref) / error)[upper]
    i, j = (int(index[np.argmax(pulls)]) for index in upper)
    names = reference.schema.names
    return CorrelationDistance(
        process,
        names[rows[i]],
        names[rows[j]],
        float(rho_sim[i, j]),
        float(rho_ref[i, j]),
        float(error[i, j]),
        len(pulls),
    )


def _varies(events: Events, i_feature: int) -> bool:
    values, missing = events.features[i_feature], events.schema.features[i_feature].missing
    return bool(np.ptp(values) > 0) and not (missing is not None and (values == missing).any())


def _rank_correlations(events: Events, rows: list[int]) -> tuple[NDArray[np.float64], float]:
    """Matrix of correlations of weighted ranks, and the effective number of events."""
    weights = np.ones(len(events)) if events.weights is None else np.maximum(events.weights, 0)
    weights = weights / weights.sum()
    ranks = np.array([_ranks(events.features[i], weights) for i in rows])
    centred = ranks - (ranks @ weights)[:, None]
    covariance = (centred * weights) @ centred.T
    spread = np.sqrt(np.diag(covariance))
    return covariance / np.outer(spread, spread), float(1 / np.square(weights).sum())


def _ranks(values: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight below each value, with half of the weight at it."""
    _, place = np.unique(values, return_inverse=True)
    at = np.bincount(place, weights)
    ranks: NDArray[np.float64] = (np.cumsum(at) - 0.5 * at)[place]
    return ranks
