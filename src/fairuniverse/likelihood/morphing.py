"""Morphing: how shape nuisance parameters deform the templates, smoothly between simulated points.

Every morphing is a factor on the nominal yields, per process and bin, as a function of the pulls alpha (prior
standard deviations) of the shape nuisances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood.monomials import Axis, Monomials
from fairuniverse.nuisance import NuisanceParameter

_MAX_LOG_RATIO = 50.0
_NEWTON_STEPS = 50
_MAX_HALVINGS = 12
_ROUNDING = 1e-13
_CONVERGED = 1e-9


class Morphing(Protocol):
    """Factor on the nominal yields of every process and bin."""

    @property
    def parameters(self) -> tuple[NuisanceParameter, ...]:
        """The nuisance parameters it follows."""
        ...

    def ratio(self, alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factor at pulls alpha, shape (n_processes, n_bins)."""
        ...

    def ratio_and_gradient(
        self, alpha: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor, and its derivatives in alpha, shape (n_parameters, n_processes, n_bins)."""
        ...


@dataclass(frozen=True, eq=False)
class PolynomialMorphing:
    """Polynomial with all cross terms in the exponent: ratio = exp(sum_A c_A x^A), always positive.

    Attributes:
        axes: Coordinates x of the shape nuisances.
        powers: Shape (n_terms, n_axes), exponents of each monomial x^A.
        coefficients: Shape (n_terms, n_processes, n_bins).
    """

    axes: tuple[Axis, ...]
    powers: NDArray[np.int64]
    coefficients: NDArray[np.float64]

    @property
    def parameters(self) -> tuple[NuisanceParameter, ...]:
        """The nuisance parameters it follows."""
        return self.monomials.parameters

    @cached_property
    def monomials(self) -> Monomials:
        """The terms of the polynomial."""
        return Monomials(self.axes, self.powers)

    @cached_property
    def _flat(self) -> NDArray[np.float64]:
        return np.ascontiguousarray(self.coefficients.reshape(len(self.powers), -1))

    def ratio(self, alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factor at pulls alpha, shape (n_processes, n_bins)."""
        return self._exp(self.monomials.at_pulls(alpha))

    def ratio_and_gradient(
        self, alpha: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor, and its derivatives in alpha, shape (n_axes, n_processes, n_bins)."""
        terms, derivatives = self.monomials.at_pulls_and_gradient(alpha)
        ratio = self._exp(terms)
        return ratio, ratio * (derivatives @ self._flat).reshape(-1, *ratio.shape)

    def _exp(self, monomials: NDArray[np.float64]) -> NDArray[np.float64]:
        ratio: NDArray[np.float64] = np.exp(monomials @ self._flat).reshape(self.coefficients.shape[1:])
        return ratio

    @classmethod
    def fit(
        cls,
        axes: Sequence[Axis],
        points: Sequence[Mapping[str, float]],
        ratios: ArrayLike,
        effective_counts: ArrayLike,
        *,
        degree: int = 2,
        max_effect: float = 0.5,
    ) -> PolynomialMorphing:
        """Fit the polynomial to templates of the same events under shifted nuisance parameters.

        Each process and bin is fitted by itself with the Poisson likelihood of its shifted counts given
        its nominal one, which needs no logarithm of an empty bin. Bins with few events are held back by a
        Gaussian penalty: a term changes a bin by `max_effect` at the end of the grid only if the events
        say so.

        Args:
            axes: Coordinates of the shape nuisances.
            points: Parameter values of each shifted sample; those not named are at their nominal value.
            ratios: Shape (n_points, n_processes, n_bins), shifted over nominal yields of the same events.
            effective_counts: Shape (n_processes, n_bins), unweighted events with the nominal yields' relative
                uncertainty.
            degree: Highest total power of the polynomial.
            max_effect: Width of the penalty: change of ln(yield) by one term at the end of the grid.

        Returns:
            The fitted morphing.

        Raises:
            InvalidDataError: Shapes that do not match, ratios that are not finite, or fewer points than the
                polynomial has terms.
        """
        ratios, counts = np.asarray(ratios, float), np.asarray(effective_counts, float)
        monomials = Monomials.up_to(axes, degree)
        powers = monomials.powers
        if ratios.shape != (len(points), *counts.shape) or not np.isfinite(ratios).all():
            raise InvalidDataError(
                f"ratios {ratios.shape} for {len(points)} points and counts {counts.shape}: "
                "give finite numbers of shape (n_points, n_processes, n_bins)"
            )
        if len(points) < len(powers):
            raise InvalidDataError(
                f"{len(points)} shifted samples cannot fix {len(powers)} terms: shift more"
            )
        design = np.array([monomials.at(point) for point in points])
        reach = np.abs(design).max(axis=0)
        if not reach.all():
            raise InvalidDataError(
                "a nuisance parameter is never shifted among the points: leave out its axis"
            )
        flat = _fit_log_ratios(design / reach, ratios.reshape(len(points), -1), counts.ravel(), max_effect)
        return cls(tuple(axes), powers, (flat / reach[:, None]).reshape(-1, *counts.shape))


def _fit_log_ratios(
    design: NDArray[np.float64], ratios: NDArray[np.float64], counts: NDArray[np.float64], max_effect: float
) -> NDArray[np.float64]:
    """Penalised Poisson regression of each column of `ratios` by Newton steps, (n_terms, n_columns).

    The start is least squares in the logarithm, and a step that overshoots is halved: effects may be large.
    """
    penalty = np.eye(design.shape[1]) / max_effect**2
    observed = counts * ratios
    logs = np.log((observed + 0.5) / (counts + 0.5))
    coefficients = _newton_step(design, observed + 0.5, (observed + 0.5) * logs, penalty)
    objective = _objective(design, observed, counts, coefficients, max_effect)
    for _ in range(_NEWTON_STEPS):
        expected = _expected(design, counts, coefficients)
        residuals = observed - expected
        step = _newton_step(design, expected, residuals, penalty, coefficients / max_effect**2)
        for _ in range(_MAX_HALVINGS):
            trial = _objective(design, observed, counts, coefficients + step, max_effect)
            rises = trial > objective + _ROUNDING * np.abs(objective)
            if not rises.any():
                break
            step[:, rises] /= 2
        step[:, rises] = 0.0
        coefficients += step
        objective = np.where(rises, objective, trial)
        if np.abs(step).max() < _CONVERGED:
            break
    return coefficients


def _expected(
    design: NDArray[np.float64], counts: NDArray[np.float64], coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Expected counts of each point and column."""
    return np.asarray(counts * np.exp(np.minimum(design @ coefficients, _MAX_LOG_RATIO)))


def _objective(
    design: NDArray[np.float64],
    observed: NDArray[np.float64],
    counts: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    max_effect: float,
) -> NDArray[np.float64]:
    """Negative logarithm of likelihood and penalty of each column, up to a constant."""
    logs = design @ coefficients
    poisson = (_expected(design, counts, coefficients) - observed * logs).sum(axis=0)
    return np.asarray(poisson + (coefficients**2).sum(axis=0) / (2 * max_effect**2))


def _newton_step(
    design: NDArray[np.float64],
    weights: NDArray[np.float64],
    residuals: NDArray[np.float64],
    penalty: NDArray[np.float64],
    pull: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    """Solution of (D^T W D + penalty) x = D^T r - pull for every column, shape (n_terms, n_columns)."""
    hessian = np.einsum("ka,kc,kb->cab", design, weights, design) + penalty
    gradient = design.T @ residuals - pull
    return np.asarray(np.linalg.solve(hessian, gradient.T[:, :, None])[:, :, 0].T)


@dataclass(frozen=True, eq=False)
class PiecewiseExponentialMorphing:
    """HistFactory's ``code1`` in every bin: one exponential for each sign of each pull.

    ratio = prod_j up_j^alpha_j where alpha_j >= 0, down_j^(-alpha_j) where alpha_j < 0: always positive, and
    the product over any number of nuisances (Cranmer et al., CERN-OPEN-2012-016, section 4.1; pyhf,
    ``interpolators/code1.py``).

    Attributes:
        parameters: The shape nuisances.
        up: Shape (n_parameters, n_processes, n_bins), yields at alpha = +1 over those at 0, positive.
        down: The same at alpha = -1.
        nominal: Shape (n_processes, n_bins), yields at alpha = 0 over those of the nominal templates.

    Raises:
        InvalidDataError: A ratio is not positive and finite: no exponential reaches 0.

    Notes:
        The slope jumps at alpha = 0 where up * down is not 1. A minimiser may stop there: prefer
        `Code4pMorphing` or `PolynomialMorphing` where both sides differ much.
    """

    parameters: tuple[NuisanceParameter, ...]
    up: NDArray[np.float64]
    down: NDArray[np.float64]
    nominal: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name, values in (("up", self.up), ("down", self.down)):
            if not (np.isfinite(values).all() and (values > 0).all()):
                raise InvalidDataError(
                    f"a ratio {name} is {values.min()}: piecewise exponentials need positive numbers; merge "
                    "bins that a nuisance parameter empties"
                )

    @classmethod
    def through(cls, morphing: Morphing) -> PiecewiseExponentialMorphing:
        """The morphing that agrees with another one at 0 and +-1 sigma of every nuisance."""
        return cls(morphing.parameters, *_at_one_sigma(morphing))

    @cached_property
    def _slopes(self) -> NDArray[np.float64]:
        """Slopes of ln(ratio) at negative and at positive pulls, (2, n_parameters, n_processes, n_bins)."""
        return np.array([-np.log(self.down), np.log(self.up)])

    def ratio(self, alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factor at pulls alpha, shape (n_processes, n_bins)."""
        return self.ratio_and_gradient(alpha)[0]

    def ratio_and_gradient(
        self, alpha: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor, and its derivatives in alpha, shape (n_parameters, n_processes, n_bins)."""
        slopes = self._slopes[(alpha >= 0).astype(int), np.arange(len(alpha))]
        ratio = self.nominal * np.exp(np.tensordot(alpha, slopes, axes=1))
        return ratio, ratio * slopes


@dataclass(frozen=True, eq=False)
class Code4pMorphing:
    """HistFactory's ``code4p``: one additive term per nuisance, polynomial up to one sigma, linear beyond.

    For d_up = up - 1, d_down = down - 1 (shifted over nominal, minus one), S = (d_up - d_down)/2 and
    A = (d_up + d_down)/16, a nuisance adds alpha (S + alpha A (15 + alpha^2 (3 alpha^2 - 10))) if
    abs(alpha) < 1, else alpha d_up (alpha > 0) or -alpha d_down: equal values and two equal derivatives at
    +-1 sigma (pyhf, ``interpolators/code4p.py``).

    Attributes:
        parameters: The shape nuisances.
        up: Shape (n_parameters, n_processes, n_bins), yields at alpha = +1 over those at 0.
        down: The same at alpha = -1.
        nominal: Shape (n_processes, n_bins), yields at alpha = 0 over those of the nominal templates, which
            differ where the nominal simulation is not at alpha = 0.
    """

    parameters: tuple[NuisanceParameter, ...]
    up: NDArray[np.float64]
    down: NDArray[np.float64]
    nominal: NDArray[np.float64]

    @classmethod
    def through(cls, morphing: Morphing) -> Code4pMorphing:
        """The code4p morphing that agrees with another one at 0 and +-1 sigma of every nuisance."""
        return cls(morphing.parameters, *_at_one_sigma(morphing))

    @cached_property
    def _constants(self) -> tuple[NDArray[np.float64], ...]:
        """S and A of the formula, and the slopes beyond +1 and -1 sigma."""
        up, down = self.up - 1, self.down - 1
        return (up - down) / 2, (up + down) / 16, up, -down

    def ratio(self, alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factor at pulls alpha, shape (n_processes, n_bins)."""
        return self.ratio_and_gradient(alpha)[0]

    def ratio_and_gradient(
        self, alpha: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor, and its derivatives in alpha, shape (n_parameters, n_processes, n_bins)."""
        a = alpha[:, None, None]
        odd, even, above, below = self._constants
        inside = np.abs(a) < 1
        slope = np.where(a > 0, above, below)
        shift = np.where(inside, a * (odd + a * even * (15 + a**2 * (3 * a**2 - 10))), a * slope)
        gradient = np.where(inside, odd + a * even * (30 + a**2 * (18 * a**2 - 40)), slope)
        return self.nominal * (1 + shift.sum(axis=0)), self.nominal * gradient


def _at_one_sigma(
    morphing: Morphing,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Ratios of a morphing at +1 and at -1 sigma of every nuisance to those at 0, and those at 0."""
    sigmas = np.eye(len(morphing.parameters))
    nominal = morphing.ratio(np.zeros(len(sigmas)))
    up, down = (np.array([morphing.ratio(s) for s in side]) / nominal for side in (sigmas, -sigmas))
    return up, down, nominal
