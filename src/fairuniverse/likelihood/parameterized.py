"""Likelihood from a function: a classifier with the parameters among its inputs, or any other log-ratio.

A classifier d(x, mu, theta) that tells events of the world at (mu, theta) from events of a fixed reference
gives the log-ratio of their densities, ln d / (1 - d) at equal numbers. Summed over the events, with the
constraint terms of the nuisances, it is a likelihood like any other (Cranmer et al., arXiv:1506.02169; Ghosh,
Nachman and Whiteson, arXiv:2105.08742).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fairuniverse.likelihood.fit import Parameter, parameters_in_pulls
from fairuniverse.nuisance import NuisanceParameter

ValueAndGradient = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]
"""Function of x = (mu, alpha_1, ...): a number, and its derivatives, shape (n_parameters,)."""


@dataclass(frozen=True, eq=False)
class ParameterizedLikelihood:
    """Likelihood of one data set from a function of the parameters x = (mu, alpha_1, ...).

    Attributes:
        log_likelihood: Logarithm of the likelihood of the data, up to a constant and without the constraint
            terms, and its derivatives. For an extended likelihood this is the sum of the log-ratios over all
            events minus the expected number of events.
        nuisances: All nuisance parameters, in pulls.
        steps: Shape (1 + n_nuisances,), typical uncertainties of mu and of the pulls, the first steps of the
            minimiser; 1 for a nuisance that the data hardly constrain.
        mu_bounds: Range of mu in which the function is defined.

    >>> def of_counts(x):  # 12 events, where mu + 10 are expected
    ...     return 12 * np.log(x[0] + 10) - x[0], np.array([12 / (x[0] + 10) - 1])
    >>> from fairuniverse.likelihood import fit
    >>> f"{fit(ParameterizedLikelihood(of_counts, steps=(3.0,), mu_bounds=(-9, 100)))['mu']:.2f}"
    '2.00'
    """

    log_likelihood: ValueAndGradient
    nuisances: tuple[NuisanceParameter, ...] = ()
    steps: tuple[float, ...] = (0.3,)
    mu_bounds: tuple[float, float] = (0.0, np.inf)
    _last: dict[bytes, tuple[float, NDArray[np.float64]]] = field(default_factory=dict, repr=False)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Fit parameters: mu, then the pulls."""
        return parameters_in_pulls(self.nuisances, self.steps, self.mu_bounds)

    def twice_nll(self, x: NDArray[np.float64]) -> float:
        """Twice the negative log-likelihood at x = (mu, alpha), constraint terms included."""
        return self._at(x)[0]

    def gradient(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of `twice_nll`, shape (n_parameters,)."""
        return self._at(x)[1]

    @cached_property
    def _constrained(self) -> NDArray[np.float64]:
        return np.array([0.0, *(float(p.prior.is_constraint) for p in self.nuisances)])

    def _at(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Value and gradient; the last point is kept, since minimisers ask for the two one by one."""
        x = np.array(x, dtype=np.float64)
        key = x.tobytes()
        if key not in self._last:
            value, gradient = self.log_likelihood(x)
            pulls = self._constrained * x
            self._last.clear()
            self._last[key] = float(pulls @ pulls - 2 * value), 2 * (pulls - np.asarray(gradient, float))
        return self._last[key]


def with_numerical_gradient(
    log_likelihood: Callable[[NDArray[np.float64]], float], steps: Sequence[float]
) -> ValueAndGradient:
    """A function of x with its central differences, for `ParameterizedLikelihood`.

    Args:
        log_likelihood: Function of x = (mu, alpha_1, ...).
        steps: Half-distance of the two points of each difference, shape (n_parameters,): a hundredth of the
            typical uncertainty is good in double precision, a tenth in single precision.

    Notes:
        Costs 1 + 2 n_parameters evaluations, and cannot tell a kink from a slope: give the derivatives of a
        neural network, which automatic differentiation knows.
    """
    shifts = np.diag(np.asarray(steps, float))

    def both(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        rises = [log_likelihood(x + shift) - log_likelihood(x - shift) for shift in shifts]
        return log_likelihood(x), np.array(rises) / (2 * np.diag(shifts))

    return both
