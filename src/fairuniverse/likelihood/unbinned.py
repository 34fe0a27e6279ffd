"""Unbinned extended likelihood from learned density ratios of events, with optional control regions.

In a region with reference density p_ref, the expected density of events over p_ref is

    lambda(x | mu, alpha) = sum_p f_p(mu, theta) N_p R_p(alpha) r_p(x) S_p(x; alpha)

with yield N_p, factor f_p (mu for signal, times every normalisation nuisance) and morphing R_p of the total
yield as in a binned model, r_p = p_p(x) / p_ref(x) the nominal density ratio of process p, and
S_p = p_p(x; alpha) / p_p(x) = exp(sum_A c_pA(x) z^A), a polynomial in the coordinates z of the shape
nuisances. All densities are normalised to one within the region. Twice the negative log-likelihood is

    2 sum_p f_p N_p R_p - 2 sum_i w_i ln lambda(x_i) + constraint terms + control regions,

zero at the nominal point. The ratios r_p come from a calibrated multi-class classifier, the coefficients c_pA
from parametric ones (arXiv:2505.05544, sections 3 and 4; Barlow, Nucl. Instrum. Meth. A 297 (1990) 496).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood.binned import BinnedLikelihood, BinnedModel
from fairuniverse.likelihood.fit import Parameter, centred, parameters_in_pulls
from fairuniverse.likelihood.monomials import Monomials
from fairuniverse.nuisance import NuisanceParameter

_CHUNK = 4096
"""Events at a time: their coefficients (four processes, nine terms, double precision) stay in cache."""

_MIN_INTENSITY = 1e-30
"""Only a negative mu can bring the expected density to zero or below: keep its logarithm a number."""

_MAX_CANCELLATION = 0.5


@dataclass(frozen=True, eq=False)
class EventTerms:
    """What the likelihood needs to know about the events of one region.

    Attributes:
        ratios: Shape (n_processes, n_events), density of each process over the reference density, at nominal
            nuisances.
        log_shifts: Shape (n_processes, n_terms, n_events), coefficient of each monomial in the logarithm of
            the density of a process at other nuisances over its nominal one.
        weights: Shape (n_events,), how many events each one stands for; None for data, 1 each.
    """

    ratios: NDArray[np.floating]
    log_shifts: NDArray[np.floating]
    weights: NDArray[np.float64] | None = None

    @property
    def n_events(self) -> int:
        """Number of events."""
        return int(self.ratios.shape[-1])


@dataclass(frozen=True, eq=False)
class UnbinnedModel:
    """Expected density of events as a function of mu and the pulls of the nuisance parameters.

    Parameter vectors are x = (mu, alpha_1, ...), nuisances in prior standard deviations, as in a
    `BinnedModel`.

    Attributes:
        regions: Expected events of every process in each unbinned region, a binned model with one bin per
            region. Its Monte Carlo uncertainty is not used.
        monomials: Terms of the polynomials in the exponent of S_p, in all shape nuisances of `regions`; None
            if there are none.
        control: Further regions in which events are only counted, in the same nuisances.

    Notes:
        A learned S_p is not exactly normalised, and what it adds to the density of all events at once pulls
        the nuisances hard: fit a polynomial in the same monomials to the logarithm of its mean over nominal
        events of the process, and subtract its coefficients from the events'.
    """

    regions: BinnedModel
    monomials: Monomials | None = None
    control: BinnedModel | None = None

    def __post_init__(self) -> None:
        shapes = tuple(p for p in self.nuisances if p.kind == "shape")
        followed = () if self.monomials is None else self.monomials.parameters
        if shapes != followed:
            raise InvalidDataError(
                f"shape nuisances {[p.name for p in shapes]} but monomials in {[p.name for p in followed]}: "
                "the monomials must follow the same parameters in the same order"
            )
        if self.control is not None and self.control.nuisances != self.nuisances:
            raise InvalidDataError(
                f"control regions depend on {self.control.names[1:]} but the unbinned ones on "
                f"{self.names[1:]}: give both the same nuisance parameters in the same order"
            )

    @property
    def nuisances(self) -> tuple[NuisanceParameter, ...]:
        """All nuisance parameters, shape and normalisation."""
        return self.regions.nuisances

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fit parameters: mu, then the nuisances."""
        return self.regions.names

    @property
    def start(self) -> NDArray[np.float64]:
        """The nominal point: mu = 1 and all pulls 0."""
        return self.regions.start

    @property
    def n_terms(self) -> int:
        """Number of monomials."""
        return 0 if self.monomials is None else len(self.monomials.powers)

    def likelihood(
        self,
        events: EventTerms | Sequence[EventTerms],
        counts: ArrayLike | None = None,
        auxiliaries: Mapping[str, float] | None = None,
    ) -> UnbinnedLikelihood:
        """Likelihood of observed events.

        Args:
            events: Terms of the events of each unbinned region, in order; one alone if there is one region.
            counts: Shape (n_control_bins,), observed counts of the control regions.
            auxiliaries: Pulls measured by the auxiliary measurements, as in `BinnedModel.likelihood`.

        Raises:
            InvalidDataError: Shapes that do not match, values that are not finite, an event that no process
                expects, or counts without control regions and the other way round.
        """
        parts = (events,) if isinstance(events, EventTerms) else tuple(events)
        if len(parts) != self.regions.templates.n_bins:
            raise InvalidDataError(
                f"events of {len(parts)} regions for a model of {self.regions.templates.n_bins}: "
                "give one EventTerms per region, empty where no event was seen"
            )
        for part in parts:
            self._require_valid(part)
        if (counts is None) != (self.control is None):
            raise InvalidDataError("give counts if and only if the model has control regions")
        centres = self.regions.centres(auxiliaries or {})
        if self.control is None or counts is None:
            return UnbinnedLikelihood(self, parts, centres)
        return UnbinnedLikelihood(self, parts, centres, self.control.likelihood(counts, auxiliaries))

    def asimov(self, events: EventTerms | Sequence[EventTerms], x: NDArray[np.float64]) -> UnbinnedLikelihood:
        """Likelihood of the expectation at x, from events that sample the reference densities.

        Args:
            events: Terms of events of each region; weights say how the sample follows the reference density.
            x: Parameters (mu, alpha) at which to expect.

        Returns:
            Likelihood whose events weigh what the model expects in their place, with auxiliary measurements
            at x. Its best fit is x, up to the normalisation of the densities on a finite sample.
        """
        parts = (events,) if isinstance(events, EventTerms) else tuple(events)
        counts = None if self.control is None else self.control.expected(x)
        plain = self.likelihood(parts, counts)
        weighted = tuple(
            EventTerms(part.ratios, part.log_shifts, weights)
            for part, weights in zip(parts, plain.expected_weights(x), strict=True)
        )
        return self.likelihood(weighted, counts, dict(zip(self.names[1:], x[1:].tolist(), strict=True)))

    def points(self, x: NDArray[np.float64]) -> Iterator[_Point]:
        """What each region expects at x."""
        yields, jacobian = self.regions.process_yields_and_jacobian(x)
        is_shape = np.array([False, *(p.kind == "shape" for p in self.nuisances)])
        terms, slopes = np.zeros(0), np.zeros((len(x), 0))
        if self.monomials is not None:
            terms, gradient = self.monomials.at_pulls_and_gradient(x[is_shape])
            slopes = np.zeros((len(x), len(terms)))
            slopes[is_shape] = gradient
        for i in range(yields.shape[1]):
            yield _Point(yields[:, i], jacobian[:, :, i], terms, slopes)

    def _require_valid(self, part: EventTerms) -> None:
        n_processes = len(self.regions.templates.processes)
        wanted = (n_processes, self.n_terms, part.n_events)
        if part.ratios.shape != (n_processes, part.n_events) or part.log_shifts.shape != wanted:
            raise InvalidDataError(
                f"ratios {part.ratios.shape} and log_shifts {part.log_shifts.shape}: give "
                f"(n_processes, n_events) and (n_processes, n_terms, n_events) with n_processes = "
                f"{n_processes} and n_terms = {self.n_terms}"
            )
        if part.weights is not None and part.weights.shape != (part.n_events,):
            raise InvalidDataError(f"weights {part.weights.shape} for {part.n_events} events")
        for name in ("ratios", "log_shifts", "weights"):
            values = getattr(part, name)
            if values is not None and not np.isfinite(values).all():
                raise InvalidDataError(f"{name} must be finite: check the classifier's output")
        if (part.ratios < 0).any():
            raise InvalidDataError("a density ratio is negative: ratios are densities over densities")
        impossible = np.flatnonzero(part.ratios.max(axis=0, initial=0.0) <= 0)
        if impossible.size:
            raise InvalidDataError(
                f"event {impossible[0]} is expected from no process, all its ratios are 0: bound the "
                "classifier's output from below"
            )


@dataclass(frozen=True, eq=False)
class UnbinnedLikelihood:
    """Likelihood of one set of events.

    Attributes:
        model: The expectation.
        parts: Terms of the events of each region.
        auxiliaries: Shape (n_parameters,), centres of the constraints; mu has none.
        control: Likelihood of the control regions' counts.
    """

    model: UnbinnedModel
    parts: tuple[EventTerms, ...]
    auxiliaries: NDArray[np.float64]
    control: BinnedLikelihood | None = None

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Fit parameters; their steps are the standard errors that these events give at the nominal point."""
        steps = np.sqrt(np.diag(np.linalg.pinv(self.information(self.model.start))))
        steps[steps == 0] = 1.0  # a parameter without effect: the fit will say so
        parameters = parameters_in_pulls(self.model.nuisances, steps, (self._lowest_mu, np.inf))
        return centred(parameters, self.auxiliaries)

    def twice_nll(self, x: NDArray[np.float64]) -> float:
        """Twice the negative log-likelihood at x = (mu, alpha), zero at the nominal point."""
        return self._absolute(x) - self._offset

    def gradient(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of `twice_nll`, shape (n_parameters,)."""
        x = np.asarray(x, dtype=np.float64)
        constraints = 2 * self.model.regions.constrained * (x - self.auxiliaries)
        total = constraints if self.control is None else self.control.gradient(x)
        return sum((point.gradient(part) for point, part in self._points(x)), total)

    def information(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimate of the Fisher information at x from the scores of the events, shape (n, n)."""
        total = np.diag(self.model.regions.constrained)
        for point, part in self._points(x):
            for ratios, shifts, weights in _chunks(part):
                scores = point.scores(ratios, shifts)
                total = total + (scores * weights) @ scores.T
        if self.control is not None:
            control = self.control.model
            total = total + control.fisher_information(x) - np.diag(control.constrained)
        return np.asarray(total)

    def expected_weights(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Weights that turn samples of the reference densities into the expectation at x, per region."""
        answer = []
        for point, part in self._points(x):
            pieces = [w * point.intensity(point.densities(r, s)) for r, s, w in _chunks(part)]
            total = part.n_events if part.weights is None else part.weights.sum()
            answer.append(np.concatenate([np.empty(0), *pieces]) / total)
        return tuple(answer)

    @cached_property
    def _lowest_mu(self) -> float:
        """Mu may be negative, but not so far that half of the background is cancelled at some event."""
        is_signal = self.model.regions.templates.is_signal
        lowest = -np.inf if self.control is None else self.control.parameters[0].bounds[0]
        for point, part in self._points(self.model.start):
            expected = point.yields[:, None] * part.ratios
            signal, background = expected[is_signal].sum(axis=0), expected[~is_signal].sum(axis=0)
            purest = np.divide(signal, background, out=np.full_like(signal, np.inf), where=background > 0)
            lowest = max(lowest, -_MAX_CANCELLATION / purest.max(initial=1e-12))
        return float(lowest)

    @cached_property
    def _offset(self) -> float:
        return self._absolute(self.model.start)

    def _absolute(self, x: NDArray[np.float64]) -> float:
        """Twice the negative log-likelihood without the offset."""
        x = np.asarray(x, dtype=np.float64)
        distance = self.model.regions.constrained * (x - self.auxiliaries)
        total = float(distance @ distance) if self.control is None else self.control.twice_nll(x)
        return sum((point.twice_nll(part) for point, part in self._points(x)), total)

    def _points(self, x: NDArray[np.float64]) -> Iterator[tuple[_Point, EventTerms]]:
        return zip(self.model.points(x), self.parts, strict=True)


@dataclass(frozen=True, eq=False)
class _Point:
    """One region at one value of the parameters.

    Attributes:
        yields: Shape (n_processes,), expected events.
        jacobian: Shape (n_parameters, n_processes), their derivatives.
        terms: Shape (n_terms,), the monomials.
        slopes: Shape (n_parameters, n_terms), their derivatives.
    """

    yields: NDArray[np.float64]
    jacobian: NDArray[np.float64]
    terms: NDArray[np.float64]
    slopes: NDArray[np.float64]

    def densities(self, ratios: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Densities of the processes over the reference, shape (n_processes, n_events)."""
        return np.asarray(ratios * np.exp(self.terms @ shifts))

    def intensity(self, densities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lambda, shape (n_events,)."""
        return np.maximum(self.yields @ densities, _MIN_INTENSITY)

    def scores(self, ratios: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of ln lambda, shape (n_parameters, n_events)."""
        densities = self.densities(ratios, shifts)
        shares = densities / self.intensity(densities)
        weighted = np.einsum("pe,pte->te", self.yields[:, None] * shares, shifts)
        return np.asarray(self.jacobian @ shares + self.slopes @ weighted)

    def twice_nll(self, part: EventTerms) -> float:
        """Contribution of a region to the likelihood."""
        logs = (
            float(weights @ np.log(self.intensity(self.densities(ratios, shifts))))
            for ratios, shifts, weights in _chunks(part)
        )
        return 2 * (float(self.yields.sum()) - sum(logs))

    def gradient(self, part: EventTerms) -> NDArray[np.float64]:
        """Derivatives of the contribution, shape (n_parameters,)."""
        n_processes, n_terms = len(self.yields), len(self.terms)
        shares_sum, shifts_sum = np.zeros(n_processes), np.zeros((n_processes, n_terms))
        for ratios, shifts, weights in _chunks(part):
            densities = self.densities(ratios, shifts)
            shares = densities * (weights / self.intensity(densities))
            shares_sum += shares.sum(axis=1)
            shifts_sum += (shifts @ shares[:, :, None])[:, :, 0]
        slope = self.jacobian @ (1 - shares_sum) - self.slopes @ (self.yields @ shifts_sum)
        return np.asarray(2 * slope)


def _chunks(
    part: EventTerms,
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Ratios, coefficients and weights of some events at a time, in double precision."""
    for first in range(0, part.n_events, _CHUNK):
        some = slice(first, first + _CHUNK)
        ratios = part.ratios[:, some].astype(np.float64)
        shifts = part.log_shifts[:, :, some].astype(np.float64)
        yield ratios, shifts, np.ones(ratios.shape[1]) if part.weights is None else part.weights[some]
