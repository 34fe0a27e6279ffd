"""The profile likelihood ratio of one parameter: its value, its crossings, and scans of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import FitError
from fairuniverse.likelihood.fit import FitResult, Likelihood, fit, make_minuit, minimise

_TOLERANCE = 1e-4
"""Relative accuracy of the distance from the estimate to a bound."""

_MAX_EVALUATIONS = 40
_MAX_STRETCH = 3.0
_MARGIN = 1e-3
_MAX_RESTARTS = 3
_NEW_MINIMUM = 1e-3


class ProfileRatio:
    """The test statistic t_mu of one data set: how much worse than the best fit a value of mu is.

    t_mu = twice_nll(mu, nuisances refitted) - twice_nll(best fit), where the best fit is the best with mu at
    least `lowest` (Cowan et al., Eur. Phys. J. C 71 (2011) 1554, eqs. 8 and 11). With `lowest` = 0 this is
    the ordering of Feldman and Cousins with a signal that is not negative.

    Args:
        likelihood: Likelihood of the data.
        name: The parameter of interest.
        lowest: Smallest value that the best fit may have.

    Raises:
        FitError: The fit did not converge.

    >>> from fairuniverse.likelihood import BinnedModel, Templates
    >>> from fairuniverse.protocols import Process
    >>> processes = (Process("signal", 10.0, is_signal=True), Process("background", 100.0))
    >>> model = BinnedModel(Templates(processes, np.array([[10.0], [100.0]]), np.zeros((2, 1))))
    >>> ratio = ProfileRatio(model.likelihood([110]))
    >>> f"{ratio(0.0):.2f} {ratio(1.0):.2f} {ratio(2.0):.2f}"
    '0.97 0.00 0.86'
    """

    def __init__(self, likelihood: Likelihood, name: str = "mu", lowest: float = -np.inf) -> None:
        self._likelihood, self._name, self._lowest = likelihood, name, lowest
        self._restart(None)

    @property
    def estimate(self) -> float:
        """The best value of the parameter, at least the lowest."""
        return max(self._profile.best[self._name], self._lowest)

    def __call__(self, value: float) -> float:
        """The statistic at a value of the parameter.

        Raises:
            FitError: A conditional fit did not converge.
        """
        for _ in range(_MAX_RESTARTS):
            try:
                return max(self._profile(value) - self._offset, 0.0)
            except BetterMinimum as better:
                self._restart(better.values)
        raise FitError(
            f"fits at {self._name} = {value} keep finding better minima: the likelihood has several"
        )

    def _restart(self, start: NDArray[np.float64] | None) -> None:
        """Find the best fit from a starting point, and its height if it has to be at the lowest value."""
        for _ in range(_MAX_RESTARTS):
            best = fit(self._likelihood, start=start)
            self._profile, self._offset = Profile(self._likelihood, best, self._name), 0.0
            if best[self._name] >= self._lowest:
                return
            try:
                self._offset = self._profile(self._lowest)
            except BetterMinimum as better:
                start = better.values
            else:
                return
        raise FitError(f"fits at {self._name} = {self._lowest} keep finding better minima: it has several")


def profile_scan(likelihood: Likelihood, values: ArrayLike, name: str = "mu") -> NDArray[np.float64]:
    """The profile likelihood ratio t_mu at given values of a parameter, for a plot, shape (n_values,).

    Raises:
        FitError: The fit or a conditional fit did not converge.
    """
    ratio = ProfileRatio(likelihood, name)
    return np.array([ratio(value) for value in np.asarray(values, float).tolist()])


class BetterMinimum(Exception):  # noqa: N818 (a signal, not an error)
    """A conditional fit fell below the unconditional one."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        super().__init__()
        self.values = values


class Profile:
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
            BetterMinimum: It is lower than the best fit.
        """
        along_valley = self.best.values + self._valley * (value - self.best.values[self._index])
        self._minuit.values[:] = np.clip(along_valley, self._low, self._high)
        self._minuit.values[self._index] = value
        minimise(self._minuit)
        rise = float(self._minuit.fval) - self.best.twice_nll
        if rise < -_NEW_MINIMUM:
            raise BetterMinimum(np.array(self._minuit.values))
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
