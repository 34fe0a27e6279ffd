"""Histograms of two samples, and their ratio."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse.comparison.samples import Column, feature_column, pairs_by_process
from fairuniverse.events import Events

if TYPE_CHECKING:
    import pandas as pd


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
        for process, sim, ref in pairs_by_process(simulated, reference)
        for i in range(len(reference.schema.features))
    ]
    return pd.concat([t for t in tables if t is not None], ignore_index=True)


def _histogram(
    process: str, i_feature: int, simulated: Events, reference: Events, n_bins: int
) -> pd.DataFrame | None:
    import pandas as pd

    sim, ref = feature_column(simulated, i_feature), feature_column(reference, i_feature)
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


def _edges(reference: Column, n_bins: int) -> NDArray[np.float64]:
    values = np.unique(reference.values)
    if len(values) <= n_bins and (values == np.rint(values)).all():
        return np.arange(values[0] - 0.5, values[-1] + 1.5)
    low, high = np.quantile(reference.values, [0.005, 0.995])
    return np.linspace(low, high if high > low else low + 1, n_bins + 1)


def _density(column: Column, edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Density of unit area and its error, events outside the edges in the bins next to them."""
    inside = np.clip(column.values, edges[0], np.nextafter(edges[-1], -math.inf))
    sums = np.histogram(inside, edges, weights=column.weights)[0]
    squares = np.histogram(inside, edges, weights=np.square(column.weights))[0]
    scale = column.weights.sum() * np.diff(edges)
    return sums / scale, np.sqrt(squares) / scale
