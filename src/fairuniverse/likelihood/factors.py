"""Normalisation factors: how a normalisation nuisance multiplies the yield of its processes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.nuisance import LogNormal, NuisanceParameter


class Factor(Protocol):
    """Factor on a yield as a function of one pull."""

    def at(self, alpha: float) -> tuple[float, float]:
        """Factor at a pull, and its derivative in the pull."""
        ...


@dataclass(frozen=True)
class LinearFactor:
    """The parameter value itself, theta = mean + sigma * alpha: exact for a Normal or Uniform prior.

    Attributes:
        parameter: A normalisation nuisance.
    """

    parameter: NuisanceParameter

    def __post_init__(self) -> None:
        p = self.parameter
        if isinstance(p.prior, LogNormal):
            raise InvalidDataError(
                f"normalisation nuisance {p.name} needs a Normal or Uniform prior, not {p.prior}"
            )

    def at(self, alpha: float) -> tuple[float, float]:
        """Factor at a pull, and its derivative in the pull."""
        value = self.parameter.prior.from_alpha(alpha)
        return value, self.parameter.prior.slope(value)


@dataclass(frozen=True)
class Code4Factor:
    """HistFactory's ``code4`` of a ``normsys``: exponential beyond one sigma, polynomial within.

    The polynomial, of order six, has the exponentials' values and first two derivatives at +-1 sigma and is
    1 at 0 (Cranmer et al., CERN-OPEN-2012-016, section 4.1; pyhf, ``interpolators/code4.py``).

    Attributes:
        parameter: A normalisation nuisance.
    """

    parameter: NuisanceParameter

    @cached_property
    def _ends(self) -> tuple[float, float]:
        return self.parameter.prior.from_alpha(-1.0), self.parameter.prior.from_alpha(1.0)

    @cached_property
    def _polynomial(self) -> NDArray[np.float64]:
        """Coefficients of alpha^1 to alpha^6."""
        down, up = self._ends
        i = np.arange(1, 7)
        signs = np.array([[1], [-1]])
        rows = [signs**i, signs ** (i + 1) * i, signs**i * i * (i - 1)]
        at_up = [up * math.log(up) ** d for d in range(3)]
        at_down = [down * (-math.log(down)) ** d for d in range(3)]
        target = np.array([at_up, at_down]).T - [[1], [0], [0]]
        return np.asarray(np.linalg.solve(np.concatenate(rows), target.ravel()))

    def at(self, alpha: float) -> tuple[float, float]:
        """Factor at a pull, and its derivative in the pull."""
        if abs(alpha) >= 1:
            rate = math.log(self._ends[1]) if alpha > 0 else -math.log(self._ends[0])
            return math.exp(rate * alpha), rate * math.exp(rate * alpha)
        i = np.arange(1, 7)
        value = 1 + self._polynomial @ alpha**i
        return float(value), float(self._polynomial @ (i * alpha ** (i - 1)))
