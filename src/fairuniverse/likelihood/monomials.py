"""Coordinates of the shape nuisances, and the monomials of polynomials in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from fairuniverse.nuisance import LogNormal, NuisanceParameter


@dataclass(frozen=True)
class Axis:
    """Coordinate in which the effect of a shape nuisance is a low-order polynomial.

    The coordinate is ((theta - nominal) / scale)^power, with the prior's sigma as scale (its median where the
    prior is log-normal).

    Attributes:
        parameter: The nuisance parameter.
        power: 1 for a scale, which acts to first order; 2 for the width of added noise, which acts
            through its variance.
    """

    parameter: NuisanceParameter
    power: int = 1

    @classmethod
    def of(cls, parameter: NuisanceParameter) -> Axis:
        """The coordinate in which a nuisance acts to first order: itself or, for added noise, its square."""
        return cls(parameter, 2 if parameter.is_noise else 1)

    @cached_property
    def scale(self) -> float:
        """Change of theta that counts as one unit."""
        prior = self.parameter.prior
        return prior.from_alpha(0.0) if isinstance(prior, LogNormal) else prior.sigma

    def at(self, theta: float) -> float:
        """Coordinate of a parameter value."""
        return float(((theta - self.parameter.nominal) / self.scale) ** self.power)

    def at_pull(self, alpha: float) -> tuple[float, float]:
        """Coordinate at a pull, and its derivative in the pull."""
        prior = self.parameter.prior
        theta = prior.from_alpha(alpha)
        x = (theta - self.parameter.nominal) / self.scale
        return x**self.power, self.power * x ** (self.power - 1) * prior.slope(theta) / self.scale


@dataclass(frozen=True, eq=False)
class Monomials:
    """Terms x^A of a polynomial in the coordinates of shape nuisances, without the constant.

    Attributes:
        axes: Coordinates x of the shape nuisances.
        powers: Shape (n_terms, n_axes), exponents A of each monomial.
    """

    axes: tuple[Axis, ...]
    powers: NDArray[np.int64]

    @classmethod
    def up_to(cls, axes: Sequence[Axis], degree: int = 2) -> Monomials:
        """All monomials of total power 1 to `degree`, cross terms included."""
        return cls(tuple(axes), monomial_powers(len(axes), degree))

    @property
    def parameters(self) -> tuple[NuisanceParameter, ...]:
        """The nuisance parameters behind the axes."""
        return tuple(axis.parameter for axis in self.axes)

    def at(self, nuisances: Mapping[str, float]) -> NDArray[np.float64]:
        """Monomials at parameter values, shape (n_terms,); parameters not named are nominal."""
        named = ((axis, nuisances.get(axis.parameter.name, axis.parameter.nominal)) for axis in self.axes)
        x = np.array([axis.at(theta) for axis, theta in named])
        return np.asarray((x**self.powers).prod(axis=1))

    def at_pulls(self, alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """Monomials at pulls, shape (n_terms,)."""
        x = np.array([axis.at_pull(a)[0] for axis, a in zip(self.axes, alpha.tolist(), strict=True)])
        return np.asarray((x**self.powers).prod(axis=1))

    def at_pulls_and_gradient(
        self, alpha: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Monomials at pulls, and their derivatives in the pulls, shape (n_axes, n_terms)."""
        pairs = [axis.at_pull(a) for axis, a in zip(self.axes, alpha.tolist(), strict=True)]
        x, slopes = np.array(pairs).reshape(-1, 2).T
        gradient = self.powers.T * (x**self._lowered).prod(axis=2) * slopes[:, None]
        return (x**self.powers).prod(axis=1), gradient

    @cached_property
    def _lowered(self) -> NDArray[np.int64]:
        """Exponents after a derivative in each axis, shape (n_axes, n_terms, n_axes)."""
        step = np.eye(len(self.axes), dtype=np.int64)
        lowered: NDArray[np.int64] = np.maximum(self.powers[None] - step[:, None], 0)
        return lowered


def monomial_powers(n_axes: int, degree: int) -> NDArray[np.int64]:
    """Exponents of all monomials of total power 1 to `degree`, shape (n_terms, n_axes).

    >>> monomial_powers(2, 2).tolist()
    [[1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    """
    chosen = [c for d in range(1, degree + 1) for c in combinations_with_replacement(range(n_axes), d)]
    powers = [[c.count(axis) for axis in range(n_axes)] for c in chosen]
    return np.array(powers, dtype=np.int64).reshape(-1, n_axes)
