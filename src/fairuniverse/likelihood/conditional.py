"""Likelihoods with some parameters known."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood.fit import Likelihood, Parameter


class ConditionalLikelihood:
    """A likelihood as a function of some of its parameters, the others being known.

    Its profile interval of mu is what a measurement could do that knows these values: the statistical part.

    Args:
        likelihood: The likelihood of all parameters.
        known: Values of the parameters that are not fitted.

    Raises:
        InvalidDataError: The likelihood has no such parameter.
    """

    def __init__(self, likelihood: Likelihood, known: Mapping[str, float]) -> None:
        names = [p.name for p in likelihood.parameters]
        unknown = sorted(set(known) - set(names))
        if unknown:
            raise InvalidDataError(f"no parameter {unknown[0]!r} among {', '.join(names)}")
        self._likelihood = likelihood
        self._free = np.array([name not in known for name in names])
        self._values = np.array([known.get(name, np.nan) for name in names])

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters that are left, in their order."""
        return tuple(p for p, free in zip(self._likelihood.parameters, self._free, strict=True) if free)

    def twice_nll(self, x: NDArray[np.float64]) -> float:
        """Twice the negative log-likelihood."""
        return self._likelihood.twice_nll(self._complete(x))

    def gradient(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of `twice_nll` in the parameters that are left."""
        return np.asarray(self._likelihood.gradient(self._complete(x))[self._free])

    def _complete(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        values = self._values.copy()
        values[self._free] = x
        return values
