"""Normalisation factors: how a normalisation nuisance multiplies the yield of its processes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.nuisance import NuisanceParameter


class Factor(Protocol):
    """Factor on a yield as a function of one pull."""

    def at(self, alpha: float) -> tuple[float, float]:
        """Factor at a pull, and its derivative in the pull."""
        ...


@dataclass(frozen=True)
class LinearFactor:
    """The parameter value itself, of any prior: mean + sigma * alpha, or exp(...) of it if log-normal.

    Attributes:
        parameter: A normalisation nuisance.
    """

    parameter: NuisanceParameter

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
        down: Factor at alpha = -1.
        up: Factor at alpha = +1.
        nominal: Factor at alpha = 0, by which both others are divided.

    Raises:
        InvalidDataError: A factor is not positive: no exponential reaches it.
    """

    down: float
    up: float
    nominal: float = 1.0

    def __post_init__(self) -> None:
        if not min(self.down, self.up, self.nominal) > 0:
            raise InvalidDataError(
                f"factors {self.down} and {self.up} at -1 and +1 sigma: code4 needs positive ones; use a "
                "linear factor or a smaller prior width"
            )

    @classmethod
    def of(cls, parameter: NuisanceParameter) -> Code4Factor:
        """The factor that agrees with a normalisation nuisance at 0 and +-1 sigma."""
        down, nominal, up = (parameter.prior.from_alpha(alpha) for alpha in (-1.0, 0.0, 1.0))
        return cls(down, up, nominal)

    @cached_property
    def _ends(self) -> tuple[float, float]:
        return self.down / self.nominal, self.up / self.nominal

    @cached_property
    def _polynomial(self) -> NDArray[np.float64]:
        """Coefficients of alpha^1 to alpha^6."""
        down, up = self._ends
        return code4_coefficients(np.array(down), np.array(up))

    def at(self, alpha: float) -> tuple[float, float]:
        """Factor at a pull, and its derivative in the pull."""
        if abs(alpha) >= 1:
            rate = math.log(self._ends[1]) if alpha > 0 else -math.log(self._ends[0])
            value = self.nominal * math.exp(rate * alpha)
            return value, rate * value
        i = np.arange(1, 7)
        value = self.nominal * float(1 + self._polynomial @ alpha**i)
        return value, self.nominal * float(self._polynomial @ (i * alpha ** (i - 1)))


def code4_coefficients(down: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of alpha^1 to alpha^6 of ``code4``, for factors of any shape, shape (6, ...).

    Args:
        down: Factors at alpha = -1 over those at 0, positive.
        up: Factors at alpha = +1 over those at 0, positive, of the same shape.
    """
    i = np.arange(1, 7)
    signs = np.array([[1], [-1]])
    # Value, first and second derivative, each at +1 and at -1.
    rows = np.concatenate([signs**i, signs ** (i + 1) * i, signs**i * i * (i - 1)])
    log_up, log_down = np.log(up), np.log(down)
    target = [up - 1, down - 1, up * log_up, -down * log_down, up * log_up**2, down * log_down**2]
    return np.asarray(np.tensordot(np.linalg.inv(rows), np.array(target), axes=1))
