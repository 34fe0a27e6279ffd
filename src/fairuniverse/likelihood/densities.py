"""Extended unbinned likelihood of a world with exact densities, its Fisher information and best classifier.

With the expected number of events lambda(x) = sum_p nu_p(mu, theta) f_p(x | theta) per unit of x, twice the
negative log-likelihood of n events is, up to a constant,

    2 sum_p nu_p - 2 sum_i ln lambda(x_i) + sum_j (alpha_j - a_j)^2

(Barlow, Nucl. Instrum. Meth. A 297 (1990) 496), with the pull alpha_j of each constrained nuisance and the
outcome a_j of its auxiliary measurement, and the expected information on the parameters is the integral of
(d lambda)(d lambda)^T / lambda plus the constraints'. No estimator does better asymptotically.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood.fit import Parameter
from fairuniverse.nuisance import NuisanceParameter, complete
from fairuniverse.protocols import Densities

_MAX_LOG_RATIO = 300.0
"""Where mu is 0 an event that only signal explains has an infinite slope: keep it a number."""


class DensityModel:
    """Exact likelihood of any data set of a world, as a function of x = (mu, theta_1, ...), physical values.

    Args:
        densities: What the world offers as ``simulator.densities``.
        floating: Names of the nuisance parameters to fit; the others are nominal.

    Raises:
        InvalidDataError: The world has no such nuisance parameter.
    """

    def __init__(self, densities: Densities, floating: Sequence[str] = ()) -> None:
        known = [p.name for p in densities.nuisances]
        unknown = sorted(set(floating) - set(known))
        if unknown:
            raise InvalidDataError(f"no nuisance parameter {unknown[0]!r} among {', '.join(known)}")
        self.densities = densities
        self.nuisances = tuple(p for p in densities.nuisances if p.name in floating)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fit parameters: mu, then the floating nuisances."""
        return ("mu", *(p.name for p in self.nuisances))

    @property
    def start(self) -> NDArray[np.float64]:
        """The nominal point."""
        return np.array([1.0, *(p.nominal for p in self.nuisances)])

    def point(self, mu: float, nuisances: Mapping[str, float]) -> NDArray[np.float64]:
        """Parameter vector of named values; nuisances left out are nominal."""
        values = complete(self.densities.nuisances, nuisances)
        return np.array([mu, *(values[p.name] for p in self.nuisances)])

    def values(self, x: NDArray[np.float64]) -> dict[str, float]:
        """Value of every nuisance parameter of the world at x."""
        nominal = {p.name: p.nominal for p in self.densities.nuisances}
        return nominal | dict(zip(self.names[1:], x[1:].tolist(), strict=True))

    def yields(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expected events, shape (n_processes,), and their derivatives, (n_parameters, n_processes)."""
        values = self.values(x) | {"mu": float(x[0])}
        yields = self._nominal.copy()
        jacobian = np.tile(self._nominal, (len(x), 1))
        for name, is_scaled in self._scaled.items():
            factors = np.where(is_scaled, values[name], 1.0)
            others = [i for i, floating in enumerate(self.names) if floating != name]
            yields *= factors
            jacobian[others] *= factors
        for i, name in enumerate(self.names):
            jacobian[i] *= self._scaled.get(name, np.zeros(len(yields), bool))
        return yields, jacobian

    @cached_property
    def _nominal(self) -> NDArray[np.float64]:
        return np.array([p.expected_yield for p in self.densities.processes], dtype=np.float64)

    @cached_property
    def _scaled(self) -> dict[str, NDArray[np.bool_]]:
        """Which processes mu and each normalisation multiply, shape (n_processes,)."""
        processes = self.densities.processes
        scales = [p for p in self.densities.nuisances if p.kind == "normalisation"]
        return {"mu": np.array([p.is_signal for p in processes])} | {
            p.name: np.array([q.name in p.processes for q in processes]) for p in scales
        }

    def intensity(
        self, events: NDArray[np.float64], x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Logarithm of lambda at events, shape (n_events,), and its derivatives, (n_parameters, n_events)."""
        values = self.values(x)
        logs = self.densities.log_densities(events, values)
        yields, jacobian = self.yields(x)
        with np.errstate(divide="ignore"):
            weighted = logs + np.log(yields)[:, None]
        largest = weighted.max(axis=0)
        total = largest + np.log(np.exp(weighted - largest).sum(axis=0))
        ratios = np.exp(np.minimum(logs - total, _MAX_LOG_RATIO))
        slopes = jacobian @ ratios
        scores = self.densities.scores(events, values)
        for i, p in enumerate(self.nuisances, 1):
            if p.kind == "shape":
                slopes[i] = yields @ (ratios * scores[p.name])
        return total, slopes

    def fisher_information(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected information on x, constraints included, by numerical integration, shape (n, n)."""
        nodes, weights = self.densities.quadrature(self.values(x))
        logs, slopes = self.intensity(nodes, x)
        information = (slopes * (weights * np.exp(logs))) @ slopes.T
        constraints = [p.prior.is_constraint / p.prior.slope(t) ** 2 for p, t in self._pairs(x)]
        return np.asarray(information + np.diag([0.0, *constraints]))

    def expected_sigma(self, mu: float = 1.0, nuisances: Mapping[str, float] | None = None) -> float:
        """Smallest standard error of mu of any unbiased method: the Fisher bound, nuisances profiled."""
        information = self.fisher_information(self.point(mu, nuisances or {}))
        return float(np.sqrt(np.linalg.inv(information)[0, 0]))

    def signal_probability(
        self, events: NDArray[np.float64], mu: float = 1.0, nuisances: Mapping[str, float] | None = None
    ) -> NDArray[np.float64]:
        """The best classifier at known nuisances: share of signal among such events, shape (n_events,).

        By the lemma of Neyman and Pearson no other statistic separates better at that point.
        """
        x = self.point(mu, nuisances or {})
        return np.asarray(mu * self.intensity(events, x)[1][0])

    @cached_property
    def steps(self) -> NDArray[np.float64]:
        """Expected standard errors of all parameters at the nominal point."""
        return np.asarray(np.sqrt(np.diag(np.linalg.inv(self.fisher_information(self.start)))))

    def likelihood(
        self, events: NDArray[np.floating], auxiliaries: Mapping[str, float] | None = None
    ) -> DensityLikelihood:
        """Likelihood of observed events.

        Args:
            events: Features, shape (n_features, n_events).
            auxiliaries: Outcomes of the auxiliary measurements behind the constraints, as values of the
                nuisance; those left out are at the centre of the prior. Toys at a fixed true nuisance need
                fluctuating ones; toys whose nuisance is drawn from the prior do not.

        Raises:
            InvalidDataError: An event that no process can make, or that is not finite.
        """
        data: NDArray[np.float64] = np.asarray(events, dtype=np.float64)
        logs = self.densities.log_densities(data, self.values(self.start))
        impossible = ~(logs.max(axis=0, initial=-np.inf) > -np.inf)
        if impossible.any():
            i = int(np.flatnonzero(impossible)[0])
            raise InvalidDataError(f"event {i} = {data[:, i]} cannot occur in this world: check the columns")
        centres = {p.name: p.prior.from_alpha(0.0) for p in self.nuisances} | dict(auxiliaries or {})
        pulls = np.array([p.prior.to_alpha(centres[p.name]) for p in self.nuisances])
        return DensityLikelihood(self, data, pulls)

    def constraint(
        self, x: NDArray[np.float64], auxiliaries: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        """Constraint terms, and their derivatives in x, given the pulls of the auxiliary measurements."""
        total, gradient = 0.0, np.zeros(len(x))
        for i, ((p, theta), centre) in enumerate(zip(self._pairs(x), auxiliaries, strict=True), 1):
            if p.prior.is_constraint:
                distance = p.prior.to_alpha(theta) - float(centre)
                total += distance**2
                gradient[i] = 2 * distance / p.prior.slope(theta)
        return total, gradient

    def _pairs(self, x: NDArray[np.float64]) -> list[tuple[NuisanceParameter, float]]:
        return list(zip(self.nuisances, x[1:].tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class DensityLikelihood:
    """Exact likelihood of one data set.

    Attributes:
        model: The world.
        events: Features, shape (n_features, n_events).
        auxiliaries: Pulls measured for the floating nuisances, shape (n_nuisances,).
    """

    model: DensityModel
    events: NDArray[np.float64]
    auxiliaries: NDArray[np.float64]
    _last: dict[bytes, tuple[float, NDArray[np.float64]]] = field(default_factory=dict, repr=False)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Fit parameters: mu, then the nuisances; only mu >= 0 expects a positive number everywhere."""
        mu_step, *steps = self.model.steps.tolist()
        nuisances = zip(self.model.nuisances, steps, self.auxiliaries.tolist(), strict=True)
        return (
            Parameter("mu", 1.0, mu_step, (0.0, np.inf)),
            *(Parameter(p.name, p.nominal, step, p.bounds, _prior(p, at)) for p, step, at in nuisances),
        )

    def twice_nll(self, x: NDArray[np.float64]) -> float:
        """Twice the negative log-likelihood at x = (mu, theta), zero at the nominal point."""
        return self._at(x)[0] - self._offset

    def gradient(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of `twice_nll`, shape (n_parameters,)."""
        return self._at(x)[1]

    @cached_property
    def _offset(self) -> float:
        return self._at(self.model.start)[0]

    def _at(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Value and gradient; the last point is kept, since minimisers ask for the two one by one."""
        x = np.array(x, dtype=np.float64)
        key = x.tobytes()
        if key not in self._last:
            yields, jacobian = self.model.yields(x)
            logs, slopes = self.model.intensity(self.events, x)
            constraint, gradient = self.model.constraint(x, self.auxiliaries)
            value = 2 * float(yields.sum() - logs.sum()) + constraint
            self._last.clear()
            self._last[key] = value, 2 * (jacobian.sum(axis=1) - slopes.sum(axis=1)) + gradient
        return self._last[key]


def _prior(p: NuisanceParameter, auxiliary: float) -> tuple[float, float] | None:
    centre = p.prior.from_alpha(auxiliary)
    return (centre, p.prior.slope(centre)) if p.prior.is_constraint else None
