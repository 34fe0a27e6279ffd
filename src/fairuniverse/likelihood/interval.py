"""Confidence intervals from the profile likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import FitError
from fairuniverse.likelihood.fit import FitResult, Likelihood, fit, make_minuit, minimise
from fairuniverse.protocols import ONE_SIGMA_CL, Interval

_TOLERANCE = 1e-4
"""Relative accuracy of the distance from the estimate to a bound."""

_MAX_EVALUATIONS = 40
_MAX_STRETCH = 3.0
_MARGIN = 1e-3
_MAX_RESTARTS = 3
_NEW_MINIMUM = 1e-3


@dataclass(frozen=True, eq=False)
class ProfileInterval:
    """Profile-likelihood interval of one parameter.

    Attributes:
        lower: Lower bound.
        upper: Upper bound.
        best: The unconditional fit.
        name: The parameter.
        at_limit: Whether the lower and the upper bound are limits of the parameter, reached before the
            likelihood fell far enough.
    """

    lower: float
    upper: float
    best: FitResult
    name: str
    at_limit: tuple[bool, bool]

    @property
    def interval(self) -> Interval:
        """The answer of a submission: estimate and bounds."""
        return Interval(self.best[self.name], self.lower, self.upper)


def profile_interval(
    likelihood: Likelihood,
    name: str = "mu",
    confidence_level: float = ONE_SIGMA_CL,
    *,
    start: NDArray[np.float64] | None = None,
) -> ProfileInterval:
    """Interval of the values whose profile likelihood ratio is above the asymptotic threshold.

    t_mu = twice_nll(mu, nuisances refitted) - twice_nll(best fit) <= z^2 with z the two-sided normal quantile
    (1 for 68.27 %; Wilks' theorem; Cowan et al., Eur. Phys. J. C 71 (2011) 1554, eq. 8). This is what MINOS
    computes; the nuisances are refitted at every step, from a start extrapolated along the valley.

    Args:
        likelihood: Likelihood of the data.
        name: The parameter of interest.
        confidence_level: Confidence level.
        start: Where the fit starts instead of at the parameters' own starting values.

    Returns:
        The interval, not clipped to any range but that of the parameter itself.

    Raises:
        FitError: The fit or one of the conditional fits did not converge.

    Notes:
        Coverage is asymptotic: expect deviations for a handful of events, or where the best fit is near the
        limit of a parameter.
    """
    from scipy.special import ndtri

    rise = float(ndtri((1 + confidence_level) / 2)) ** 2
    for _ in range(_MAX_RESTARTS):
        profile = _Profile(likelihood, fit(likelihood, start=start), name)
        try:
            lower, lower_at_limit = profile.crossing(-1, rise)
            upper, upper_at_limit = profile.crossing(+1, rise)
        except _BetterMinimum as better:
            start = better.values
            continue
        return ProfileInterval(lower, upper, profile.best, name, (lower_at_limit, upper_at_limit))
    raise FitError(
        f"the scan of {name} keeps finding better minima: the likelihood has several; scan it by hand"
    )


class _BetterMinimum(Exception):  # noqa: N818 (a signal, not an error)
    """A conditional fit fell below the unconditional one."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        super().__init__()
        self.values = values


class _Profile:
    """Twice the log profile likelihood ratio of one parameter, above its minimum."""

    def __init__(self, likelihood: Likelihood, best: FitResult, name: str) -> None:
        self.best = best
        self._index = best.names.index(name)
        self._limits = likelihood.parameters[self._index].bounds
        self._minuit = make_minuit(likelihood, best.values)
        self._minuit.fixed[name] = True
        self._sigma, self._valley = _valley(best, self._index)
        if not self._sigma:  # the best fit is at a limit of the parameter itself
            self._sigma = likelihood.parameters[self._index].step
        # On a limit Minuit's internal coordinate has no slope: start a little inside.
        margin = _MARGIN * np.array([p.step for p in likelihood.parameters])
        limits = np.array([p.bounds for p in likelihood.parameters]).T
        self._low, self._high = limits[0] + margin, limits[1] - margin

    def __call__(self, value: float) -> float:
        """Height of the profile over the best fit, nuisances refitted.

        Raises:
            FitError: The conditional fit did not converge.
            _BetterMinimum: It is lower than the best fit.
        """
        along_valley = self.best.values + self._valley * (value - self.best.values[self._index])
        self._minuit.values[:] = np.clip(along_valley, self._low, self._high)
        self._minuit.values[self._index] = value
        minimise(self._minuit)
        rise = float(self._minuit.fval) - self.best.twice_nll
        if rise < -_NEW_MINIMUM:
            raise _BetterMinimum(np.array(self._minuit.values))
        return max(rise, 0.0)

    def crossing(self, side: int, rise: float) -> tuple[float, bool]:
        """Where the profile has risen by `rise`, and whether the parameter's limit came first.

        The distance from the best fit is nearly proportional to the root of the rise, so false position on
        that root (Illinois variant) needs two or three conditional fits.
        """
        centre, limit = float(self.best.values[self._index]), self._limits[side > 0]
        reach = abs(limit - centre)
        inside, f_inside, outside, f_outside = 0.0, -1.0, np.inf, np.inf
        distance, was_inside = min(self._sigma * np.sqrt(rise), reach), None
        for _ in range(_MAX_EVALUATIONS):
            f = np.sqrt(self(centre + side * distance) / rise) - 1
            if abs(f) < _TOLERANCE:
                return float(centre + side * distance), False
            if f < 0 and distance >= reach:
                return limit, True
            if f < 0:
                inside, f_inside = distance, f
                f_outside /= 2 if was_inside is True else 1
            else:
                outside, f_outside = distance, f
                f_inside /= 2 if was_inside is False else 1
            was_inside = f < 0
            if np.isfinite(outside):
                distance = (inside * f_outside - outside * f_inside) / (f_outside - f_inside)
            else:
                distance = min(distance * min(1 / (1 + f), _MAX_STRETCH), reach)
        raise FitError(f"no crossing of the profile likelihood within {_MAX_EVALUATIONS} fits: is it flat?")


def _valley(best: FitResult, index: int) -> tuple[float, NDArray[np.float64]]:
    """Standard error of a parameter, and how all parameters move along the profile per unit of it."""
    column = best.covariance[:, index]
    variance = float(column[index])
    return variance**0.5, column / variance if variance else np.zeros_like(column)
