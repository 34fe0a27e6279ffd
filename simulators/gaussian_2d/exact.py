"""Exact densities of the Gaussian worlds, and where their processes are centred."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fairuniverse.nuisance import Normal, NuisanceParameter, Uniform
from fairuniverse.protocols import Process
from fairuniverse.worlds import product_rule, trapezoid

SIGNAL, BACKGROUND = "signal", "background"
N_SIGMAS = 9.0
"""Reach of the numerical integration."""


class GaussianDensities(ABC):
    """Isotropic Gaussians, signal first, whose centres depend on one nuisance parameter z.

    Args:
        signal: Expected signal events.
        background: Expected background events.
        sigmas: Standard deviations of signal and background.
        z: The nuisance parameter.
    """

    def __init__(
        self, signal: float, background: float, sigmas: tuple[float, float], z: NuisanceParameter
    ) -> None:
        self.processes = (Process(SIGNAL, signal, is_signal=True), Process(BACKGROUND, background))
        self.sigmas = sigmas
        self.nuisances = (z,)

    @abstractmethod
    def centres(self, z: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres of signal and background, rows (x0, x1), and their derivatives in z, shape (2, 2)."""

    def log_densities(self, x: NDArray[np.float64], nuisances: Mapping[str, float]) -> NDArray[np.float64]:
        """Logarithm of the densities, shape (2, n_events)."""
        centres, _ = self.centres(nuisances["z"])
        return np.array(
            [
                -((x - c[:, None]) ** 2).sum(axis=0) / (2 * s**2) - math.log(2 * math.pi * s**2)
                for c, s in zip(centres, self.sigmas, strict=True)
            ]
        )

    def scores(
        self, x: NDArray[np.float64], nuisances: Mapping[str, float]
    ) -> Mapping[str, NDArray[np.float64]]:
        """Derivative of the log densities in z."""
        centres, slopes = self.centres(nuisances["z"])
        rows = [d @ (x - c[:, None]) / s**2 for c, d, s in zip(centres, slopes, self.sigmas, strict=True)]
        return {"z": np.array(rows)}

    def quadrature(self, nuisances: Mapping[str, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Square grid over both Gaussians, half a standard deviation of the narrower one apart."""
        centres, _ = self.centres(nuisances["z"])
        reach, step = N_SIGMAS * max(self.sigmas), min(self.sigmas) / 2
        low, high = centres.min(axis=0) - reach, centres.max(axis=0) + reach
        return product_rule(*(trapezoid(a, b, step) for a, b in zip(low, high, strict=True)))


class Rotated(GaussianDensities):
    """Signal at (cos z, sin z), background opposite, both with sigma = 0.7 (arXiv:2105.08742, section 3).

    z ~ N(pi/4, 0.5), one signal event in a hundred background events.
    """

    def __init__(self, luminosity: float) -> None:
        nominal = math.pi / 4
        bounds = (nominal - 2.0, nominal + 2.0)
        z = NuisanceParameter(
            "z",
            Normal(nominal, 0.5),
            nominal,
            bounds,
            "shape",
            meaning="Angle of the signal, rad.",
            boundary="truncate",
        )
        super().__init__(1000.0 * luminosity, 100_000.0 * luminosity, (0.7, 0.7), z)

    def centres(self, z: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres on the unit circle, opposite to each other."""
        centre, slope = np.array([math.cos(z), math.sin(z)]), np.array([-math.sin(z), math.cos(z)])
        return np.array([centre, -centre]), np.array([slope, -slope])


class Translated(GaussianDensities):
    """Background N(0, 1), signal of sigma = 0.3 at distance 2, all moved by z in a direction.

    The toy of the first challenge (Codabench 674 and its successor): z ~ U(-10, 10), one event in ten is
    signal. `signal_angle` and `shift_angle` are in degrees; an aligned shift is the hardest.
    """

    def __init__(self, luminosity: float, signal_angle: float, shift_angle: float) -> None:
        self.signal_centre = 2.0 * _direction(signal_angle)
        self.direction = _direction(shift_angle)
        z = NuisanceParameter(
            "z",
            Uniform(-10.0, 10.0),
            0.0,
            (-12.0, 12.0),
            "shape",
            meaning="Length of the translation.",
        )
        super().__init__(10_000.0 * luminosity, 90_000.0 * luminosity, (0.3, 1.0), z)

    def centres(self, z: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Nominal centres, translated."""
        shift = z * self.direction
        return np.array([self.signal_centre + shift, shift]), np.array([self.direction, self.direction])


def _direction(degrees: float) -> NDArray[np.float64]:
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
