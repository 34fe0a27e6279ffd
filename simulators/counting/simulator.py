"""The on/off counting experiment as a simulator of events that are nothing but counted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fairuniverse.events import Feature, Schema
from fairuniverse.worlds import AnalyticSimulator, require_positive

from .exact import SIGNAL, OnOffDensities

SCHEMA = Schema((Feature("region", "", "1 in the on region, 0 in the off region."),))


class OnOffCounting(AnalyticSimulator):
    """Signal in the on region over a background that only the off region tells.

    Args:
        signal: Expected signal events at mu = 1.
        background: Expected background events in the on region.
        tau: Ratio of the background in the off region to that in the on region.

    Raises:
        InvalidConfigError: An option is not positive.
    """

    def __init__(self, signal: float = 100.0, background: float = 400.0, tau: float = 2.0) -> None:
        require_positive(signal=signal, background=background, tau=tau)
        self._tau = tau
        super().__init__(SCHEMA, OnOffDensities(signal, background, tau))

    def draw_nominal(self, process: str, n_events: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """All signal is on, one background event in 1 + tau."""
        if process == SIGNAL:
            return np.ones((1, n_events))
        return (rng.random((1, n_events)) < 1 / (1 + self._tau)).astype(np.float64)

    def move(
        self, features: NDArray[np.float32], process: str, nuisances: Mapping[str, float]
    ) -> NDArray[np.float32]:
        """Nothing moves: the nuisance scales a yield."""
        return features
