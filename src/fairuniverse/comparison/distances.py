"""Distances of one feature between two samples, with their statistical floor."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fairuniverse.comparison.results import MAX_COUNT, CountFraction, FeatureDistance
from fairuniverse.comparison.samples import Column, feature_column
from fairuniverse.events import Events

KS_QUANTILE_95 = 1.358
"""95 % quantile of Kolmogorov's distribution."""


def ks_floor(n_first: float, n_second: float) -> float:
    """95 % critical value of the two-sample Kolmogorov-Smirnov distance (small samples: Stephens 1970).

    A perfect simulation stays below it in 95 % of comparisons with references of that size.

    >>> round(ks_floor(1000, 1000), 4)
    0.0604
    """
    root = math.sqrt(n_first * n_second / (n_first + n_second))
    return min(1.0, KS_QUANTILE_95 / (root + 0.12 + 0.11 / root))


def feature_distance(process: str, i_feature: int, simulated: Events, reference: Events) -> FeatureDistance:
    """Distance of one feature of one process; NaN where one sample has no event with it."""
    name = reference.schema.names[i_feature]
    sim, ref = feature_column(simulated, i_feature), feature_column(reference, i_feature)
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


def count_fractions(
    process: str, i_feature: int, simulated: Events, reference: Events
) -> Iterator[CountFraction]:
    """Fractions of 0, 1, ... objects; nothing for a feature that is not a count in both samples."""
    sim, ref = feature_column(simulated, i_feature), feature_column(reference, i_feature)
    if sim is None or ref is None or not (_is_count(sim) and _is_count(ref)):
        return
    inverse_size = 1 / sim.n_effective + 1 / ref.n_effective
    for count in range(MAX_COUNT + 1):
        first, second = (c.fraction(count, count if count < MAX_COUNT else math.inf) for c in (sim, ref))
        pooled = (sim.n_effective * first + ref.n_effective * second) / (sim.n_effective + ref.n_effective)
        error = math.sqrt(pooled * max(1 - pooled, 0.0) * inverse_size)
        yield CountFraction(process, reference.schema.names[i_feature], count, first, second, error)


def _is_count(column: Column) -> bool:
    values = column.values
    return bool((values >= 0).all() and (values == np.rint(values)).all() and values.max() > 0)


def _cumulative_distances(first: Column, second: Column) -> tuple[float, float]:
    """Kolmogorov-Smirnov and Wasserstein-1 distance of two weighted samples."""
    grid = np.unique(np.concatenate([first.values, second.values]))
    difference = np.abs(_cumulative(first, grid) - _cumulative(second, grid))
    return float(difference.max()), float((difference[:-1] * np.diff(grid)).sum())


def _cumulative(column: Column, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(column.values)
    sums = np.concatenate([[0.0], np.cumsum(column.weights[order])])
    cumulative: NDArray[np.float64] = (
        sums[np.searchsorted(column.values[order], grid, side="right")] / sums[-1]
    )
    return cumulative
