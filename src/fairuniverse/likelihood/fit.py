"""Maximum-likelihood fits with iminuit, whose status is never ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import FitError
from fairuniverse.nuisance import NuisanceParameter

if TYPE_CHECKING:
    from iminuit import Minuit

_TOLERANCE = 1e-3
"""Migrad stops at an expected distance to the minimum of 0.002 * this in twice the log-likelihood."""

_HESSIAN_STEP = 1e-3
"""Step of numerical second derivatives, in typical uncertainties of the parameter."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a fit.

    Attributes:
        name: Its name.
        start: Where the fit starts.
        step: Typical uncertainty, the first step of the minimiser.
        bounds: Smallest and largest value.
        prior: Centre and width of its constraint term; None if only the data determine it.
    """

    name: str
    start: float
    step: float
    bounds: tuple[float, float] = (-np.inf, np.inf)
    prior: tuple[float, float] | None = None


def parameters_in_pulls(
    nuisances: Sequence[NuisanceParameter], steps: ArrayLike, mu_bounds: tuple[float, float]
) -> tuple[Parameter, ...]:
    """Fit parameters x = (mu, alpha_1, ...), from mu = 1 and all pulls 0.

    Args:
        nuisances: The nuisance parameters.
        steps: Typical uncertainties of mu and of the pulls, shape (1 + n_nuisances,).
        mu_bounds: Smallest and largest mu.
    """
    mu_step, *pull_steps = np.asarray(steps, float).tolist()
    return (
        Parameter("mu", float(np.clip(1.0, *mu_bounds)), mu_step, mu_bounds),
        *(
            Parameter(p.name, 0.0, step, p.pull_bounds, (0.0, 1.0) if p.prior.is_constraint else None)
            for p, step in zip(nuisances, pull_steps, strict=True)
        ),
    )


def centred(parameters: Sequence[Parameter], centres: ArrayLike) -> tuple[Parameter, ...]:
    """The same parameters with their constraints around other centres, shape (n_parameters,)."""
    pairs = zip(parameters, np.asarray(centres, float).tolist(), strict=True)
    return tuple(replace(p, prior=p.prior and (centre, p.prior[1])) for p, centre in pairs)


class Likelihood(Protocol):
    """Likelihood of one data set: anything with this shape can be fitted."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Fit parameters, in the order of the vectors x."""
        ...

    def twice_nll(self, x: NDArray[np.float64]) -> float:
        """Twice the negative log-likelihood."""
        ...

    def gradient(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of `twice_nll`."""
        ...


@runtime_checkable
class InformedLikelihood(Likelihood, Protocol):
    """A likelihood that also knows its curvature: Minuit then needs a third of the evaluations."""

    def information(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimate of the Fisher information, half the second derivatives of `twice_nll`, shape (n, n)."""
        ...


@dataclass(frozen=True, eq=False)
class FitResult:
    """A valid fit.

    Attributes:
        names: Names of the parameters.
        values: Best-fit values, shape (n_parameters,).
        covariance: Inverse of half the second derivatives of `twice_nll`, shape (n_parameters, n_parameters);
            rows of parameters that are fixed or at a limit are 0. An approximation where the likelihood is
            not parabolic: use `profile_interval` for intervals.
        twice_nll: Value at the minimum.
        n_calls: Evaluations of the likelihood.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    covariance: NDArray[np.float64]
    twice_nll: float
    n_calls: int

    def __getitem__(self, name: str) -> float:
        """Best-fit value of one parameter."""
        return float(self.values[self.names.index(name)])

    def error(self, name: str) -> float:
        """Standard error of one parameter from `covariance`."""
        i = self.names.index(name)
        return float(np.sqrt(self.covariance[i, i]))


def fit(
    likelihood: Likelihood, fixed: Mapping[str, float] | None = None, start: NDArray[np.float64] | None = None
) -> FitResult:
    """Maximise a likelihood.

    Args:
        likelihood: What to maximise.
        fixed: Parameters to keep at a value.
        start: Where to start instead of at the parameters' own starting values.

    Returns:
        The fit, which is valid: Migrad converged, and the value at the minimum is finite.

    Raises:
        FitError: No strategy found a valid minimum.
    """
    minuit = make_minuit(likelihood, start)
    for name, value in (fixed or {}).items():
        minuit.values[name] = value
        minuit.fixed[name] = True
    minimise(minuit)
    values = np.array(minuit.values)
    free = ~np.array(minuit.fixed) & ~_at_limit(likelihood, values)
    return FitResult(
        tuple(minuit.parameters),
        values,
        _covariance(likelihood, values, free),
        float(minuit.fval),
        int(minuit.nfcn),
    )


def make_minuit(likelihood: Likelihood, start: NDArray[np.float64] | None = None) -> Minuit:
    """Minimiser of a likelihood, at a starting point."""
    from iminuit import Minuit

    parameters = likelihood.parameters
    names = [p.name for p in parameters]
    start = np.array([p.start for p in parameters]) if start is None else start
    curvature = _curvature(likelihood, start) if isinstance(likelihood, InformedLikelihood) else None
    minuit = Minuit(likelihood.twice_nll, start, grad=likelihood.gradient, g2=curvature, name=names)
    minuit.errordef = Minuit.LEAST_SQUARES  # errors at a rise of twice the log-likelihood by 1
    minuit.tol = _TOLERANCE
    for p in parameters:
        minuit.errors[p.name] = p.step
        minuit.limits[p.name] = p.bounds
    return minuit


def _curvature(
    likelihood: InformedLikelihood, start: NDArray[np.float64]
) -> Callable[[ArrayLike], NDArray[np.float64]]:
    """Second derivatives in each parameter as Minuit asks for them, taken from where it starts.

    They only scale its first steps; without them it finds them by many evaluations of the likelihood.
    """
    diagonal = 2 * np.diag(likelihood.information(start))
    return lambda _: diagonal


def minimise(minuit: Minuit) -> None:
    """Bring a minimiser to its minimum, with more patience each time it fails.

    Raises:
        FitError: The minimum is not valid after all attempts.
    """
    for attempt in _attempts(minuit):
        minuit.strategy = attempt
        minuit.migrad()
        # With nothing left to vary Minuit calls the value itself the distance to the minimum.
        if (minuit.valid or minuit.nfit == 0) and np.isfinite(minuit.fval):
            return
    raise FitError(
        f"the fit did not converge (EDM {minuit.fmin.edm:.2g}, twice_nll {minuit.fval:.6g}, "
        f"{minuit.nfcn} calls): check the templates for empty bins and the data for a wrong selection"
    )


def _attempts(minuit: Minuit) -> Iterator[int]:
    """Strategies to try, each from where it has a chance: here, then the last point, then after a simplex."""
    start = np.array(minuit.values)
    yield 0
    yield 1
    minuit.values[:] = start
    minuit.simplex()
    yield 2


def _at_limit(likelihood: Likelihood, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, high = np.array([p.bounds for p in likelihood.parameters]).T
    step = _HESSIAN_STEP * np.array([p.step for p in likelihood.parameters])
    return np.asarray((values < low + step) | (values > high - step))


def _covariance(
    likelihood: Likelihood, values: NDArray[np.float64], free: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Covariance of the free parameters, from differences of the analytic gradient.

    Minuit's own second derivatives are good to a few percent only where parameters are strongly correlated.
    """
    covariance = np.zeros((len(values), len(values)))
    steps = np.diag([_HESSIAN_STEP * p.step for p in likelihood.parameters])[free]
    rows = [likelihood.gradient(values + s) - likelihood.gradient(values - s) for s in steps]
    widths = 4 * steps.sum(axis=1, keepdims=True)
    hessian = (np.array(rows).reshape(len(steps), len(values)) / widths)[:, free]
    hessian = (hessian + hessian.T) / 2
    if not (np.isfinite(hessian).all() and (np.linalg.eigvalsh(hessian) > 0).all()):
        raise FitError("the likelihood has no curvature at its minimum: a parameter has no effect on it")
    covariance[np.ix_(free, free)] = np.linalg.inv(hessian)
    return covariance
