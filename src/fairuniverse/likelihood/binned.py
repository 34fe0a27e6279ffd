"""Binned likelihood: Poisson counts, morphed templates, normalisation factors and constraint terms.

Twice the negative log-likelihood, up to a constant that makes it zero for a perfect fit without pulls, is

    2 sum_b [nu_b - n_b + n_b ln(n_b / nu_b)] + sum_b c_b(gamma_b) + sum_j (alpha_j - a_j)^2

with nu_b = sum_p gamma_pb f_p(mu, theta) N_pb r_pb(alpha): yields N, factor f (mu for signal, times every
normalisation nuisance), morphing r. The gamma_b, one per bin, multiply the background and stand for the
finite simulated sample; their constraint c is that of `template_errors`. Their best values are known in
closed form, so they cost no fit parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood.factors import Factor, LinearFactor
from fairuniverse.likelihood.fit import Parameter, centred, parameters_in_pulls
from fairuniverse.likelihood.morphing import Morphing
from fairuniverse.likelihood.template_errors import PoissonErrors, TemplateErrors
from fairuniverse.likelihood.templates import Templates
from fairuniverse.nuisance import NuisanceParameter

_MIN_EXPECTED = 1e-9


@dataclass(frozen=True, eq=False)
class BinnedModel:
    """Expected events in every bin as a function of mu and the pulls of the nuisance parameters.

    Parameter vectors are x = (mu, alpha_1, ...), nuisances in the order given, in prior standard deviations.

    Attributes:
        templates: Nominal yields per process and bin.
        nuisances: All nuisance parameters, shape and normalisation.
        morphing: How the shape nuisances deform the templates; None if there are none.
        factor: How a normalisation nuisance multiplies yields, `LinearFactor` or `Code4Factor.of`.
        template_errors: What the finite simulated sample does, `PoissonErrors` or `GaussianErrors`.
    """

    templates: Templates
    nuisances: tuple[NuisanceParameter, ...] = ()
    morphing: Morphing | None = None
    factor: Callable[[NuisanceParameter], Factor] = LinearFactor
    template_errors: Callable[[Templates], TemplateErrors] = PoissonErrors

    def __post_init__(self) -> None:
        shapes = tuple(p for p in self.nuisances if p.kind == "shape")
        morphed = () if self.morphing is None else self.morphing.parameters
        if shapes != morphed:
            raise InvalidDataError(
                f"shape nuisances {[p.name for p in shapes]} but a morphing in {[p.name for p in morphed]}: "
                "the morphing must follow the same parameters in the same order"
            )
        for p in self.nuisances:
            if p.kind == "normalisation":
                self.factor(p)  # refuses a prior it cannot follow
        if not self.templates.is_signal.any():
            raise InvalidDataError("no process is signal: mu would have no effect")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fit parameters: mu, then the nuisances."""
        return ("mu", *(p.name for p in self.nuisances))

    @cached_property
    def start(self) -> NDArray[np.float64]:
        """The nominal point: mu = 1 and all pulls 0."""
        return np.array([1.0] + [0.0] * len(self.nuisances))

    @cached_property
    def relative_error(self) -> NDArray[np.float64]:
        """Monte Carlo uncertainty delta_b of the total expectation, shape (n_bins,)."""
        return self.templates.relative_error

    @cached_property
    def errors(self) -> TemplateErrors:
        """Factors of the bins that stand for the finite simulated sample."""
        return self.template_errors(self.templates)

    @cached_property
    def constrained(self) -> NDArray[np.float64]:
        """1 for parameters whose prior adds its squared pull, 0 for mu and free ones, (n_parameters,)."""
        return np.array([0.0] + [float(p.prior.is_constraint) for p in self.nuisances])

    @cached_property
    def _shape_index(self) -> NDArray[np.intp]:
        return np.array([i for i, p in enumerate(self.nuisances, 1) if p.kind == "shape"], dtype=np.intp)

    @cached_property
    def _factors(self) -> tuple[tuple[int, Factor], ...]:
        numbered = enumerate(self.nuisances, 1)
        return tuple((i, self.factor(p)) for i, p in numbered if p.kind == "normalisation")

    @cached_property
    def _scale_index(self) -> NDArray[np.intp]:
        """Positions of mu and of the normalisations among the parameters."""
        return np.array([0, *(i for i, _ in self._factors)], dtype=np.intp)

    @cached_property
    def _scales(self) -> NDArray[np.bool_]:
        """Which of them multiplies which process, shape (n_scales, n_processes)."""
        names = [process.name for process in self.templates.processes]
        scaled = [self.nuisances[i - 1].processes for i, _ in self._factors]
        return np.array([self.templates.is_signal, *(np.isin(names, of) for of in scaled)])

    @cached_property
    def _is_own(self) -> NDArray[np.bool_]:
        return np.eye(len(self._scale_index), dtype=bool)[:, :, None]

    def _factor_terms(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Each scale's factor on each process, and its slope, shapes (n_scales, n_processes)."""
        pairs = [(float(x[0]), 1.0), *(factor.at(float(x[i])) for i, factor in self._factors)]
        values, slopes = np.array(pairs).T
        return np.where(self._scales, values[:, None], 1.0), self._scales * slopes[:, None]

    def _factors_and_slopes(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factor on each process, shape (n_processes,), and its derivatives, (n_parameters, n_processes)."""
        terms, own = self._factor_terms(x)
        slopes = np.zeros((len(x), terms.shape[1]))
        # Row i of the cube is the product with factor i replaced by its derivative.
        slopes[self._scale_index] = np.where(self._is_own, own, terms).prod(axis=1)
        return terms.prod(axis=0), slopes

    @cached_property
    def _parts(self) -> NDArray[np.float64]:
        """Which processes the template errors scale, and which they do not, shape (2, n_processes)."""
        return np.array([self.errors.is_scaled, ~self.errors.is_scaled], dtype=np.float64)

    def expected(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected events at x = (mu, alpha), shape (n_bins,)."""
        return np.asarray(self.expected_parts(x).sum(axis=0))

    def expected_parts(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected events that the template errors scale, and those that they do not, shape (2, n_bins)."""
        yields = self.templates.yields
        if self.morphing is not None:
            yields = yields * self.morphing.ratio(x[self._shape_index])
        return np.asarray((self._parts * self._factor_terms(x)[0].prod(axis=0)) @ yields)

    def expected_and_jacobian(
        self, x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expected events, shape (n_bins,), and their derivatives in x, shape (n_parameters, n_bins)."""
        expected, jacobian = self.parts_and_jacobians(x)
        return expected.sum(axis=0), jacobian.sum(axis=0)

    def parts_and_jacobians(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Parts of the expectation, (2, n_bins), and their derivatives in x, (2, n_parameters, n_bins)."""
        factors, slopes = self._factors_and_slopes(x)
        factors, slopes = self._parts * factors, self._parts[:, None] * slopes
        yields = self.templates.yields
        if self.morphing is None:
            return factors @ yields, slopes @ yields
        ratio, gradient = self.morphing.ratio_and_gradient(x[self._shape_index])
        jacobians = slopes @ (yields * ratio)
        jacobians[:, self._shape_index] = np.einsum("kp,jpb->kjb", factors, yields * gradient)
        return factors @ (yields * ratio), jacobians

    def process_yields_and_jacobian(
        self, x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expected events of each process, (n_processes, n_bins), and (n_parameters, n_processes, n_bins)."""
        factors, slopes = self._factors_and_slopes(x)
        yields = self.templates.yields
        if self.morphing is None:
            return factors[:, None] * yields, slopes[:, :, None] * yields
        ratio, gradient = self.morphing.ratio_and_gradient(x[self._shape_index])
        jacobian = slopes[:, :, None] * (yields * ratio)
        jacobian[self._shape_index] = factors[:, None] * yields * gradient
        return factors[:, None] * yields * ratio, jacobian

    def fisher_information(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected information on x, constraints and template uncertainty included, shape (n, n)."""
        parts, jacobians = self.parts_and_jacobians(x)
        expected, jacobian = np.maximum(parts.sum(axis=0), _MIN_EXPECTED), jacobians.sum(axis=0)
        variance = expected + parts[0] ** 2 * self.errors.variance
        information: NDArray[np.float64] = (jacobian / variance) @ jacobian.T
        return information + np.diag(self.constrained)

    def expected_sigma(self, mu: float = 1.0) -> float:
        """Expected standard error of mu at nominal pulls, from the Fisher information."""
        x = np.array([mu, *self.start[1:]])
        return float(np.sqrt(np.linalg.inv(self.fisher_information(x))[0, 0]))

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Fit parameters with their starting values, typical steps and ranges."""
        steps = np.sqrt(np.diag(np.linalg.inv(self.fisher_information(self.start))))
        return parameters_in_pulls(self.nuisances, steps, self._mu_bounds())

    def _mu_bounds(self) -> tuple[float, float]:
        """Mu may be negative, but not so far that half of the background of some bin is cancelled."""
        t = self.templates
        signal, background = t.yields[t.is_signal].sum(axis=0), t.yields[~t.is_signal].sum(axis=0)
        return -0.5 * float(1 / (signal / background).max()), np.inf

    def likelihood(self, data: ArrayLike, auxiliaries: Mapping[str, float] | None = None) -> BinnedLikelihood:
        """Likelihood of observed counts.

        Args:
            data: Shape (n_bins,), events in each bin; need not be integer (Asimov data).
            auxiliaries: Pulls measured by the auxiliary measurements behind the constraints, by name; 0 for
                those left out. Toys at a fixed true nuisance need fluctuating ones; toys whose nuisance is
                drawn from the prior do not.

        Raises:
            InvalidDataError: Another number of bins, counts that are negative or not finite, or an unknown
                auxiliary.
        """
        data = np.asarray(data, dtype=np.float64)
        if data.shape != (self.templates.n_bins,):
            raise InvalidDataError(f"data of shape {data.shape} for {self.templates.n_bins} bins")
        if not (np.isfinite(data).all() and (data >= 0).all()):
            raise InvalidDataError("counts must be finite and not negative")
        return BinnedLikelihood(self, data, self.centres(auxiliaries or {}))

    def asimov(self, x: NDArray[np.float64]) -> BinnedLikelihood:
        """Likelihood of the expectation at x, auxiliary measurements included: its best fit is x."""
        auxiliaries = dict(zip(self.names[1:], x[1:].tolist(), strict=True))
        return self.likelihood(self.expected(x), auxiliaries)

    def toy(self, x: NDArray[np.float64], *, rng: np.random.Generator) -> NDArray[np.float64]:
        """Counts of a toy at x, shape (n_bins,); true templates are drawn within their uncertainty."""
        scaled, fixed = self.expected_parts(x)
        expected = self.errors.draw(rng=rng) * scaled + fixed
        return np.asarray(rng.poisson(np.maximum(expected, 0.0)), dtype=np.float64)

    def centres(self, auxiliaries: Mapping[str, float]) -> NDArray[np.float64]:
        """Centres of the constraints from named pulls, 0 for those left out, shape (n_parameters,)."""
        unknown = sorted(set(auxiliaries) - set(self.names[1:]))
        if unknown:
            raise InvalidDataError(f"no nuisance parameter {unknown[0]!r} among {', '.join(self.names[1:])}")
        return np.array([auxiliaries.get(name, 0.0) for name in self.names])


@dataclass(frozen=True, eq=False)
class BinnedLikelihood:
    """Likelihood of one set of observed counts.

    Attributes:
        model: The expectation.
        data: Shape (n_bins,), observed counts.
        auxiliaries: Shape (n_parameters,), centres of the constraints; mu has none.
    """

    model: BinnedModel
    data: NDArray[np.float64]
    auxiliaries: NDArray[np.float64]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Fit parameters: mu, then the pulls."""
        return centred(self.model.parameters, self.auxiliaries)

    def information(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fisher information at x = (mu, alpha), shape (n_parameters, n_parameters)."""
        return self.model.fisher_information(x)

    def with_known_templates(self, x: NDArray[np.float64]) -> BinnedLikelihood:
        """The same data where the template factors are known to be the best ones at x."""
        is_scaled = self.model.errors.is_scaled[:, None]
        factors = self._factors(self.model.expected_parts(x))
        yields = self.model.templates.yields * np.where(is_scaled, factors, 1.0)
        templates = replace(self.model.templates, yields=yields, variances=np.zeros_like(yields))
        return BinnedLikelihood(replace(self.model, templates=templates), self.data, self.auxiliaries)

    @cached_property
    def _saturated(self) -> float:
        n = self.data
        return float(2 * (n[n > 0] * np.log(n[n > 0]) - n[n > 0]).sum())

    def twice_nll(self, x: NDArray[np.float64]) -> float:
        """Twice the negative log-likelihood at x = (mu, alpha), template uncertainty profiled."""
        parts = self.model.expected_parts(x)
        factors = self._factors(parts)
        expected = np.maximum(factors * parts[0] + parts[1], _MIN_EXPECTED)
        poisson = 2 * float(expected.sum() - self.data @ np.log(expected))
        constraints = float(self.model.constrained @ (x - self.auxiliaries) ** 2)
        return poisson + self._saturated + self.model.errors.penalty(factors) + constraints

    def gradient(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of `twice_nll`, shape (n_parameters,)."""
        parts, jacobians = self.model.parts_and_jacobians(x)
        factors = self._factors(parts)
        expected = np.maximum(factors * parts[0] + parts[1], _MIN_EXPECTED)
        gradient = 2 * (factors * jacobians[0] + jacobians[1]) @ (1 - self.data / expected)
        return np.asarray(gradient + 2 * self.model.constrained * (x - self.auxiliaries))

    def _factors(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Best template factor of each bin."""
        scaled, fixed = parts
        return self.model.errors.best(self.data, np.maximum(scaled, _MIN_EXPECTED), fixed)
