"""The INFERNO toy as a simulator."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from fairuniverse.events import Feature, Schema
from fairuniverse.worlds import AnalyticSimulator, require_option, require_positive

from .exact import (
    BACKGROUND_CENTRE,
    BACKGROUND_RATE,
    BACKGROUND_VARIANCES,
    BENCHMARKS,
    SIGNAL,
    SIGNAL_RATE,
    InfernoDensities,
    shape_values,
)

SCHEMA = Schema(
    (
        Feature("x0", "", "Gaussian; the background's moves with r."),
        Feature("x1", "", "Gaussian."),
        Feature("x2", "", "Exponential; the background's has the rate lambda."),
    )
)


class InfernoToy(AnalyticSimulator):
    """Fifty signal events on a thousand of background in three dimensions; mu is the signal over 50.

    Args:
        benchmark: Which nuisance parameters there are: 0 none, 1 r, 2 r and the rate, 3 both with
            constraints, 4 also the background yield, to 10 %.
        luminosity: Factor on both yields.
        signal_centre: Centre of the signal in x0 and x1: 0 behind the published numbers, 1 in the text.

    Raises:
        InvalidConfigError: An option has an impossible value.
    """

    def __init__(self, benchmark: int = 4, luminosity: float = 1.0, signal_centre: float = 0.0) -> None:
        require_option("benchmark", benchmark, range(len(BENCHMARKS)))
        require_positive(luminosity=luminosity)
        self._signal_centre = signal_centre
        super().__init__(SCHEMA, InfernoDensities(benchmark, luminosity, signal_centre))

    def draw_nominal(self, process: str, n_events: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Events of one process at r = 0 and rate 3."""
        is_signal = process == SIGNAL
        centre = (self._signal_centre,) * 2 if is_signal else BACKGROUND_CENTRE
        widths = (1.0, 1.0) if is_signal else tuple(sqrt(v) for v in BACKGROUND_VARIANCES)
        rate = SIGNAL_RATE if is_signal else BACKGROUND_RATE
        gaussians = [c + w * rng.standard_normal(n_events) for c, w in zip(centre, widths, strict=True)]
        return np.array([*gaussians, rng.standard_exponential(n_events) / rate])

    def move(
        self, features: NDArray[np.float32], process: str, nuisances: Mapping[str, float]
    ) -> NDArray[np.float32]:
        """The background moves by r and its exponential stretches; the signal stays."""
        if process == SIGNAL:
            return features
        r, rate = shape_values(nuisances)
        return np.array(
            [features[0] + np.float32(r), features[1], features[2] * np.float32(BACKGROUND_RATE / rate)]
        )
