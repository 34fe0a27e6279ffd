"""Nuisance values as the network is told them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fairuniverse.nuisance import NuisanceParameter


def coordinate(parameter: NuisanceParameter, theta: float) -> float:
    """What the network is told of a nuisance: its pull, or added noise over the median of its prior."""
    prior = parameter.prior
    return theta / prior.from_alpha(0.0) if parameter.is_noise else prior.to_alpha(theta)


def coordinates(nuisances: Sequence[NuisanceParameter], point: NDArray[np.float64]) -> list[float]:
    """Coordinates of a point given by one value of each nuisance."""
    return [coordinate(p, float(theta)) for p, theta in zip(nuisances, point, strict=True)]


def seen_from(parameter: NuisanceParameter) -> float:
    """Value of a nuisance at which an anchor takes scores: some noise, otherwise the nominal value."""
    return parameter.prior.from_alpha(0.0) if parameter.is_noise else parameter.nominal
