"""The on/off problem: n_on ~ Poisson(mu s + b), n_off ~ Poisson(tau b), with b not known.

Li and Ma, Astrophys. J. 272 (1983) 317; Cousins, Linnemann and Tucker, Nucl. Instrum. Meth. A 595 (2008) 480
(CLT below).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.nuisance import NuisanceParameter, Uniform
from fairuniverse.protocols import ONE_SIGMA_CL, Interval, Process

SIGNAL, BACKGROUND = "signal", "background"
_MAX_STEPS = 100


class OnOffDensities:
    """Probability of the two regions, 0 = off and 1 = on, for signal and background.

    Args:
        signal: Expected signal events at mu = 1, all in the on region.
        background: Expected background events in the on region.
        tau: Ratio of the background in the off region to that in the on region.
    """

    def __init__(self, signal: float, background: float, tau: float) -> None:
        self.tau = tau
        self.signal, self.background = signal, background
        self.processes = (
            Process(SIGNAL, signal, is_signal=True),
            Process(BACKGROUND, background * (1 + tau)),
        )
        self.nuisances = (
            NuisanceParameter(
                "bkg_scale",
                Uniform(0.8, 1.2),
                1.0,
                (0.1, 4.0),
                "normalisation",
                (BACKGROUND,),
                "Factor on the background of both regions; the off region alone tells it.",
            ),
        )

    def log_densities(self, x: NDArray[np.float64], nuisances: Mapping[str, float]) -> NDArray[np.float64]:
        """Logarithm of the probability of each event's region, shape (2, n_events)."""
        on = x[0] == 1
        signal = np.where(on, 0.0, -np.inf)
        background = np.where(on, -np.log1p(self.tau), np.log(self.tau / (1 + self.tau)))
        return np.where(on | (x[0] == 0), np.array([signal, background]), -np.inf)

    def scores(
        self, x: NDArray[np.float64], nuisances: Mapping[str, float]
    ) -> Mapping[str, NDArray[np.float64]]:
        """Nothing: no nuisance changes the shapes."""
        return {}

    def quadrature(self, nuisances: Mapping[str, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The two regions: integrals are sums."""
        return np.array([[0.0, 1.0]]), np.ones(2)


def log_likelihood_ratio(
    signal: ArrayLike, n_on: ArrayLike, n_off: ArrayLike, tau: float
) -> NDArray[np.float64]:
    """Twice the log profile likelihood ratio t of a number of signal events, in closed form.

    The best background b solves (1 + tau) b^2 + ((1 + tau) s - n_on - n_off) b - n_off s = 0, and the largest
    likelihood of all has mu s + b = n_on, tau b = n_off. Arguments broadcast.

    Args:
        signal: Expected signal events, mu s; where it is negative, b is at least -mu s.
        n_on: Observed events in the on region.
        n_off: Observed events in the off region.
        tau: Ratio of the backgrounds.
    """
    s, on, off = (np.asarray(a, dtype=np.float64) for a in (signal, n_on, n_off))
    half = ((1 + tau) * s - on - off) / 2
    background = (-half + np.sqrt(half**2 + (1 + tau) * off * s)) / (1 + tau)
    background = np.maximum(background, np.maximum(-s, 0.0))
    return 2 * (_deviance(on, s + background) + _deviance(off, tau * background))


def _deviance(n: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-likelihood that a Poisson mean loses against n itself."""
    n, expected = np.broadcast_arrays(n, expected)
    with np.errstate(divide="ignore"):
        logs = np.log(np.divide(n, expected, out=np.ones_like(expected), where=n > 0))
    return expected - n + n * logs


def profile_interval(
    n_on: float, n_off: float, densities: OnOffDensities, confidence_level: float = ONE_SIGMA_CL
) -> Interval:
    """Estimate mu = (n_on - n_off / tau) / s and the mu whose t is at most the squared normal quantile."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    s, tau = densities.signal, densities.tau
    rise = float(ndtri((1 + confidence_level) / 2)) ** 2
    mu_hat = (n_on - n_off / tau) / s
    reach = (n_on + n_off / tau**2 + 1) ** 0.5 / s

    def excess(mu: float) -> float:
        return float(log_likelihood_ratio(mu * s, n_on, n_off, tau)) - rise

    ends = []
    for side in (-1, 1):
        far = mu_hat + side * reach
        for _ in range(_MAX_STEPS):
            if excess(far) > 0:
                break
            far += side * reach
        ends.append(float(brentq(excess, mu_hat, far, xtol=1e-12)))
    return Interval(mu_hat, ends[0], ends[1])


def coverage(
    mu: float, bkg_scale: float, densities: OnOffDensities, confidence_level: float = ONE_SIGMA_CL
) -> float:
    """Exact coverage of `profile_interval`: the Poisson probability of all counts whose interval holds mu."""
    from scipy.special import ndtri
    from scipy.stats import poisson

    background = densities.background * bkg_scale
    means = mu * densities.signal + background, densities.tau * background
    n_on, n_off = (np.arange(*_range(m)) for m in means)
    rise = float(ndtri((1 + confidence_level) / 2)) ** 2
    covers = log_likelihood_ratio(mu * densities.signal, n_on[:, None], n_off, densities.tau) <= rise
    return float(poisson.pmf(n_on, means[0]) @ covers @ poisson.pmf(n_off, means[1]))


def _range(mean: float) -> tuple[int, int]:
    """Counts that hold all but 1e-15 of a Poisson distribution."""
    return max(int(mean - 9 * mean**0.5 - 10), 0), int(mean + 9 * mean**0.5 + 30)


def li_ma_significance(n_on: float, n_off: float, tau: float) -> float:
    """Root of t at no signal, signed (Li and Ma, eq. 17; CLT's Z_PL)."""
    t = float(log_likelihood_ratio(0.0, n_on, n_off, tau))
    return float(np.copysign(t**0.5, n_on - n_off / tau))


def binomial_significance(n_on: float, n_off: float, tau: float) -> float:
    """CLT's Z_Bi: that of the exact test of n_on among n_on + n_off with probability 1 / (1 + tau)."""
    from scipy.special import betainc, ndtri

    return -float(ndtri(betainc(n_on, 1.0 + n_off, 1 / (1 + tau))))
