"""The Gaussian worlds as simulators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fairuniverse.events import Feature, Schema
from fairuniverse.worlds import AnalyticSimulator, require_option, require_positive

from .exact import SIGNAL, GaussianDensities, Rotated, Translated

SCHEMA = Schema((Feature("x0", "", "First coordinate."), Feature("x1", "", "Second coordinate.")))


class Gaussian2D(AnalyticSimulator):
    """A Gaussian signal and a Gaussian background in a plane, with one nuisance parameter z.

    Args:
        toy: ``"rotated"``, the uncertainty-aware toy, where z is the angle of the signal, or
            ``"translated"``, the first challenge's, where all events move by z.
        luminosity: Factor on all yields.
        signal_angle: For the translated toy, direction of the signal, degrees.
        shift_angle: For the translated toy, direction of the shift, degrees.

    Raises:
        InvalidConfigError: An option has an impossible value.
    """

    def __init__(
        self,
        toy: Literal["rotated", "translated"] = "rotated",
        luminosity: float = 1.0,
        signal_angle: float = 0.0,
        shift_angle: float = 45.0,
    ) -> None:
        require_option("toy", toy, ("rotated", "translated"))
        require_positive(luminosity=luminosity)
        self._exact: GaussianDensities = (
            Rotated(luminosity) if toy == "rotated" else Translated(luminosity, signal_angle, shift_angle)
        )
        super().__init__(SCHEMA, self._exact)

    def draw_nominal(self, process: str, n_events: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Gaussian events around the nominal centre."""
        i = _index(process)
        centre = self._exact.centres(self.nuisances[0].nominal)[0][i]
        return np.asarray(centre[:, None] + self._exact.sigmas[i] * rng.standard_normal((2, n_events)))

    def move(
        self, features: NDArray[np.float32], process: str, nuisances: Mapping[str, float]
    ) -> NDArray[np.float32]:
        """Each process follows its centre."""
        nominal, moved = (self._exact.centres(z)[0] for z in (self.nuisances[0].nominal, nuisances["z"]))
        step = (moved - nominal)[_index(process)]
        return np.asarray(features + step[:, None].astype(np.float32))


def _index(process: str) -> int:
    return 0 if process == SIGNAL else 1
