"""Exact densities of the INFERNO toy (arXiv:1806.04743, section 5.1).

Background N((2 + r, 0), diag(5, 9)) in (x0, x1) times an exponential of rate lambda in x2; signal
N((c, c), 1) times an exponential of rate 2. The paper prints c = 1, but its numbers come from c = 0, the
centre in the code that goes with it. Exact standard errors of s in benchmarks 0 to 4:

    published   14.71   15.52   15.65   15.62   16.89
    c = 0       14.70   15.50   15.63   15.61   16.88
    c = 1       16.15   16.43   16.62   16.61   18.28
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fairuniverse.nuisance import Normal, NuisanceParameter, Prior, Uniform
from fairuniverse.protocols import Process
from fairuniverse.worlds import product_rule, trapezoid

SIGNAL, BACKGROUND = "signal", "background"
N_SIGNAL, N_BACKGROUND = 50.0, 1000.0
BACKGROUND_CENTRE = (2.0, 0.0)
BACKGROUND_VARIANCES = (5.0, 9.0)
SIGNAL_RATE, BACKGROUND_RATE = 2.0, 3.0

BENCHMARKS: tuple[tuple[str, ...], ...] = (
    (),
    ("r",),
    ("r", "rate"),
    ("r", "rate"),
    ("r", "rate", "bkg_scale"),
)
"""Nuisance parameters that float in benchmarks 0 to 4; those of 1 and 2 have no constraint."""


class InfernoDensities:
    """Signal and background, with the nuisance parameters of a benchmark.

    Args:
        benchmark: 0 to 4.
        luminosity: Factor on both yields.
        signal_centre: Centre c of the signal in both x0 and x1.
    """

    def __init__(self, benchmark: int, luminosity: float, signal_centre: float) -> None:
        self.signal_centre = signal_centre
        self.processes = (
            Process(SIGNAL, N_SIGNAL * luminosity, is_signal=True),
            Process(BACKGROUND, N_BACKGROUND * luminosity),
        )
        self.nuisances = tuple(p for p in _nuisances(benchmark >= 3) if p.name in BENCHMARKS[benchmark])

    def log_densities(self, x: NDArray[np.float64], nuisances: Mapping[str, float]) -> NDArray[np.float64]:
        """Logarithm of the densities, shape (2, n_events); minus infinity where x2 is negative."""
        r, rate = shape_values(nuisances)
        c = self.signal_centre
        signal = _log_gaussian(x[0] - c, 1.0) + _log_gaussian(x[1] - c, 1.0)
        background = _log_gaussian(x[0] - BACKGROUND_CENTRE[0] - r, BACKGROUND_VARIANCES[0])
        background += _log_gaussian(x[1] - BACKGROUND_CENTRE[1], BACKGROUND_VARIANCES[1])
        signal += math.log(SIGNAL_RATE) - SIGNAL_RATE * x[2]
        background += math.log(rate) - rate * x[2]
        return np.where(x[2] >= 0, np.array([signal, background]), -np.inf)

    def scores(
        self, x: NDArray[np.float64], nuisances: Mapping[str, float]
    ) -> Mapping[str, NDArray[np.float64]]:
        """Derivatives of the log densities in r and the rate: the signal has none."""
        r, rate = shape_values(nuisances)
        none = np.zeros(x.shape[1])
        return {
            "r": np.array([none, (x[0] - BACKGROUND_CENTRE[0] - r) / BACKGROUND_VARIANCES[0]]),
            "rate": np.array([none, 1 / rate - x[2]]),
        }

    def quadrature(self, nuisances: Mapping[str, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Grid in (x0, x1), Gauss-Legendre in v = exp(-x2 / 4), which is smooth for every rate above 1/4."""
        r, _ = shape_values(nuisances)
        reach0, reach1 = (8 * math.sqrt(v) + abs(self.signal_centre) for v in BACKGROUND_VARIANCES)
        v, weights = np.polynomial.legendre.leggauss(32)
        v = (v + 1) / 2
        exponential = (-4 * np.log(v), weights / 2 * 4 / v)
        centre = BACKGROUND_CENTRE[0] + r
        return product_rule(
            trapezoid(centre - reach0, centre + reach0, 0.5),
            trapezoid(-reach1, reach1, 0.5),
            exponential,
        )


def shape_values(nuisances: Mapping[str, float]) -> tuple[float, float]:
    """Shift r and rate lambda; those that a benchmark does not have are nominal."""
    return nuisances.get("r", 0.0), nuisances.get("rate", BACKGROUND_RATE)


def _nuisances(is_constrained: bool) -> tuple[NuisanceParameter, ...]:
    r: Prior = Normal(0.0, 0.4) if is_constrained else Uniform(-1.2, 1.2)
    rate: Prior = Normal(BACKGROUND_RATE, 1.0) if is_constrained else Uniform(1.5, 4.5)
    scaled = (BACKGROUND,)
    return (
        NuisanceParameter(
            "r", r, 0.0, (-3.0, 3.0), "shape", meaning="Shift of the background in x0.", boundary="truncate"
        ),
        NuisanceParameter(
            "rate",
            rate,
            BACKGROUND_RATE,
            (0.5, 8.0),
            "shape",
            meaning="Rate of the background's exponential in x2.",
            boundary="truncate",
        ),
        NuisanceParameter(
            "bkg_scale",
            Normal(1.0, 0.1),
            1.0,
            (0.5, 1.5),
            "normalisation",
            scaled,
            "Factor on the background yield.",
            "truncate",
        ),
    )


def _log_gaussian(distance: NDArray[np.float64], variance: float) -> NDArray[np.float64]:
    return -(distance**2) / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)
