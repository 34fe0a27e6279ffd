"""Events as the classifier sees them from one point of the nuisances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairuniverse.learning import deterministic

from . import settings
from .ratios import Ratios


@dataclass(frozen=True, eq=False)
class View:
    """Events as the classifier sees them from one point of the nuisances.

    Attributes:
        z: Coordinates of the point, shape (n_axes,).
        spacing: Distance to the next points, shape (n_axes,); infinite where there are none.
        yields: Expected events of each process there.
        scales: Shape (n_scales, n_processes): relative effect of mu and of every normalisation nuisance.
    """

    z: NDArray[np.float64]
    spacing: NDArray[np.float64]
    yields: NDArray[np.float64]
    scales: NDArray[np.float64]

    def log_intensity(self, ratios: Ratios, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logarithm of the expected density over the reference density, shape (n_events,)."""
        return np.asarray(np.log(np.exp(ratios(x, self.z), dtype=np.float64) @ self.yields))

    def scores(self, ratios: Ratios, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Derivatives of the log intensity in scales and shape nuisances, shape (n_events, n_parameters)."""
        starts = range(0, max(len(x), 1), settings.CHUNK)
        with deterministic(seed=0):
            return np.concatenate([self._scores(ratios, x[i : i + settings.CHUNK]) for i in starts])

    def _scores(self, ratios: Ratios, x: NDArray[np.float32]) -> NDArray[np.float32]:
        logs, slopes = ratios.with_slopes(x, self.z)
        densities = self.yields.astype(np.float32) * np.exp(logs - logs.max(axis=1, keepdims=True))
        shares = densities / densities.sum(axis=1, keepdims=True)
        of_shapes = (shares[:, None] * slopes).sum(axis=2)
        return np.hstack([shares @ self.scales.T.astype(np.float32), of_shapes])
