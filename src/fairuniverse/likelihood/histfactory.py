"""Morphings of HistFactory workspaces: exponential factors, free factors, and products of all kinds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fairuniverse.likelihood.factors import code4_coefficients
from fairuniverse.likelihood.morphing import Morphing
from fairuniverse.nuisance import NuisanceParameter

_MIN_VALUE = 1e-12


@dataclass(frozen=True, eq=False)
class Code4Morphing:
    """HistFactory's ``code4`` in every bin: exponentials beyond one sigma, a polynomial within.

    As `Code4Factor`, whose formula and source it shares, with factors of their own in every process and bin.

    Attributes:
        parameters: The nuisance parameters.
        up: Shape (n_parameters, n_processes, n_bins), yields at alpha = +1 over those at 0, positive.
        down: The same at alpha = -1.
    """

    parameters: tuple[NuisanceParameter, ...]
    up: NDArray[np.float64]
    down: NDArray[np.float64]

    @cached_property
    def _coefficients(self) -> NDArray[np.float64]:
        return code4_coefficients(self.down, self.up)

    @cached_property
    def _rates(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Slopes of the logarithm beyond +1 and -1 sigma."""
        return np.log(self.up), -np.log(self.down)

    def ratio(self, alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factor at pulls alpha, shape (n_processes, n_bins)."""
        return np.asarray(self._factors(alpha)[0].prod(axis=0))

    def ratio_and_gradient(
        self, alpha: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor, and its derivatives in alpha, shape (n_parameters, n_processes, n_bins)."""
        factors, slopes = self._factors(alpha)
        ratio = factors.prod(axis=0)
        return ratio, ratio * slopes / factors

    def _factors(self, alpha: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor of each parameter, and its slope, both (n_parameters, n_processes, n_bins)."""
        a = alpha[:, None, None]
        i = np.arange(1, 7)[:, None]
        values = 1 + np.einsum("ij,ijpb->jpb", alpha**i, self._coefficients)
        slopes = np.einsum("ij,ijpb->jpb", i * alpha ** (i - 1), self._coefficients)
        rate = np.where(a > 0, *self._rates)
        beyond = np.exp(rate * a)
        inside = np.abs(a) < 1
        return np.where(inside, values, beyond), np.where(inside, slopes, rate * beyond)


@dataclass(frozen=True, eq=False)
class LinearMorphing:
    """Factors that are the values of the parameters themselves, on some processes and bins.

    Attributes:
        parameters: The nuisance parameters.
        applies: Shape (n_parameters, n_processes, n_bins), which yields each one multiplies.
    """

    parameters: tuple[NuisanceParameter, ...]
    applies: NDArray[np.bool_]

    def ratio(self, alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factor at pulls alpha, shape (n_processes, n_bins)."""
        return self.ratio_and_gradient(alpha)[0]

    def ratio_and_gradient(
        self, alpha: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor, and its derivatives in alpha, shape (n_parameters, n_processes, n_bins)."""
        priors = [p.prior for p in self.parameters]
        theta = np.array([prior.from_alpha(a) for prior, a in zip(priors, alpha.tolist(), strict=True)])
        slopes = np.array([prior.slope(t) for prior, t in zip(priors, theta.tolist(), strict=True)])
        theta = np.where(np.abs(theta) < _MIN_VALUE, _MIN_VALUE, theta)  # keep the others' product at 0
        ratio = np.where(self.applies, theta[:, None, None], 1.0).prod(axis=0)
        return ratio, ratio * self.applies * (slopes / theta)[:, None, None]


@dataclass(frozen=True, eq=False)
class ProductMorphing:
    """Product of morphings, which may share parameters.

    Attributes:
        parameters: All nuisance parameters of the parts, in the order of the pulls.
        parts: The morphings.
    """

    parameters: tuple[NuisanceParameter, ...]
    parts: tuple[Morphing, ...]

    @cached_property
    def _index(self) -> tuple[NDArray[np.intp], ...]:
        """Position of each part's parameters among all."""
        position = {p.name: i for i, p in enumerate(self.parameters)}
        return tuple(np.array([position[p.name] for p in part.parameters], np.intp) for part in self.parts)

    def ratio(self, alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factor at pulls alpha, shape (n_processes, n_bins)."""
        pairs = zip(self.parts, self._index, strict=True)
        return np.asarray(np.prod([part.ratio(alpha[index]) for part, index in pairs], axis=0))

    def ratio_and_gradient(
        self, alpha: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor, and its derivatives in alpha, shape (n_parameters, n_processes, n_bins)."""
        pairs = zip(self.parts, self._index, strict=True)
        found = [part.ratio_and_gradient(alpha[index]) for part, index in pairs]
        ratios = np.array([ratio for ratio, _ in found])
        gradient = np.zeros((len(alpha), *ratios.shape[1:]))
        for k, (index, (_, slopes)) in enumerate(zip(self._index, found, strict=True)):
            gradient[index] += np.delete(ratios, k, axis=0).prod(axis=0) * slopes
        return ratios.prod(axis=0), gradient
