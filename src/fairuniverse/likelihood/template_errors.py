"""What a finite simulated sample does to a binned likelihood: one factor per bin, profiled in closed form.

Barlow and Beeston (Comput. Phys. Commun. 77 (1993) 219) give every bin of every process a factor; one per bin
is enough for the interval (Conway, arXiv:1103.0354).

`PoissonErrors` is the default: the factor multiplies the background and is constrained by the Poisson
probability of the simulated counts. Given the sum of observed and simulated counts the observed ones are
binomial, so that the derivative of the likelihood in mu averages to zero where signal is rare, however small
the simulated sample and however many the bins: mu is not biased.

`GaussianErrors` is HistFactory's ``staterror``: the factor multiplies the total, and its constraint is normal
with a width estimated from the same fluctuating counts. A bin that fluctuated low then claims to be better
known than it is, which moves mu up: by 0.57 ± 0.05 of the estimate's standard deviation in the example of its
test, where simulation and data are of the same size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fairuniverse.likelihood.templates import Templates

_MIN_FACTOR = 1e-12


class TemplateErrors(Protocol):
    """Factors of the bins that stand for the finite simulated sample."""

    @property
    def is_scaled(self) -> NDArray[np.bool_]:
        """Which processes the factors multiply, shape (n_processes,)."""
        ...

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of the factors, shape (n_bins,)."""
        ...

    def best(
        self, data: NDArray[np.float64], scaled: NDArray[np.float64], fixed: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Most likely factors, given the observed counts and the two parts of the expectation, (n_bins,)."""
        ...

    def penalty(self, factors: NDArray[np.float64]) -> float:
        """Their constraint in twice the negative log-likelihood, 0 for factors of 1."""
        ...

    def draw(self, *, rng: np.random.Generator) -> NDArray[np.float64]:
        """Factors of possible true templates, shape (n_bins,)."""
        ...


@dataclass(frozen=True, eq=False)
class PoissonErrors:
    """Factors on the background, constrained by the Poisson probability of the simulated counts.

    The simulated count of a bin is the number of unweighted events that know its background as well; the
    uncertainty of the signal, small beside it where signal is rare, is counted in.

    Attributes:
        templates: The templates.
    """

    templates: Templates

    @property
    def is_scaled(self) -> NDArray[np.bool_]:
        """Which processes the factors multiply, shape (n_processes,)."""
        return ~self.templates.is_signal

    @cached_property
    def variance(self) -> NDArray[np.float64]:
        """Variance of the factors, one over the simulated count, shape (n_bins,)."""
        background = self.templates.yields[self.is_scaled].sum(axis=0)
        return np.asarray(self.templates.variances.sum(axis=0) / background**2)

    def best(
        self, data: NDArray[np.float64], scaled: NDArray[np.float64], fixed: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Most likely factors: the larger root of a quadratic equation."""
        uncertain = scaled * self.variance
        a = scaled * (1 + uncertain)
        b = fixed - scaled + uncertain * (fixed - data)
        discriminant = np.maximum(b * b + 4 * a * fixed, 0.0)
        return np.maximum((np.sqrt(discriminant) - b) / (2 * a), _MIN_FACTOR)

    def penalty(self, factors: NDArray[np.float64]) -> float:
        """Their constraint in twice the negative log-likelihood, 0 for factors of 1."""
        return 2 * float(_ratio(factors - 1 - np.log(factors), self.variance).sum())

    def draw(self, *, rng: np.random.Generator) -> NDArray[np.float64]:
        """Factors of possible true templates: those of the simulated counts' gamma distribution."""
        known = self.variance == 0
        variance = np.where(known, 1.0, self.variance)
        return np.where(known, 1.0, rng.gamma(1 / variance, variance))


@dataclass(frozen=True, eq=False)
class GaussianErrors:
    """Factors on the total with normal constraints, as pyhf's ``staterror``.

    Attributes:
        templates: The templates.
    """

    templates: Templates

    @property
    def is_scaled(self) -> NDArray[np.bool_]:
        """Which processes the factors multiply: all, shape (n_processes,)."""
        return np.ones(len(self.templates.processes), dtype=bool)

    @cached_property
    def variance(self) -> NDArray[np.float64]:
        """Variance of the factors, shape (n_bins,)."""
        return np.asarray(self.templates.relative_error**2)

    def best(
        self, data: NDArray[np.float64], scaled: NDArray[np.float64], fixed: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Most likely factors: the positive root of a quadratic equation; `fixed` is 0."""
        b = 1 - scaled * self.variance
        factors = (b + np.sqrt(b * b + 4 * data * self.variance)) / 2
        return np.maximum(factors, _MIN_FACTOR)  # only an empty bin can pull the factor to its limit, 0

    def penalty(self, factors: NDArray[np.float64]) -> float:
        """Their constraint in twice the negative log-likelihood, 0 for factors of 1."""
        return float(_ratio((factors - 1) ** 2, self.variance).sum())

    def draw(self, *, rng: np.random.Generator) -> NDArray[np.float64]:
        """Factors of possible true templates."""
        return np.maximum(rng.normal(1.0, np.sqrt(self.variance)), 0.0)


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
