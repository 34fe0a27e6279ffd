"""What limits a measurement: impacts, pulls and post-fit constraints, and the parts of its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood.binned import BinnedLikelihood
from fairuniverse.likelihood.conditional import ConditionalLikelihood
from fairuniverse.likelihood.fit import FitResult, Likelihood, Parameter, fit
from fairuniverse.likelihood.interval import profile_interval
from fairuniverse.protocols import ONE_SIGMA_CL


@dataclass(frozen=True)
class Impact:
    """One nuisance parameter in a fit.

    Attributes:
        name: Its name.
        pull: Its distance from the centre of its constraint in prior standard deviations; NaN without
            constraint.
        constraint: Its post-fit uncertainty below and above the best value, over the prior's; NaN without
            constraint. 1 means that the data say nothing about it, 0 that it is at its limit.
        postfit: Shift of the parameter of interest when this one is fixed one post-fit standard deviation
            below and above its best value, and all others are refitted.
        prefit: The same for one prior standard deviation, or the limit of the parameter if that is nearer;
            NaN without constraint.
    """

    name: str
    pull: float
    constraint: tuple[float, float]
    postfit: tuple[float, float]
    prefit: tuple[float, float]

    @property
    def size(self) -> float:
        """Larger of the two post-fit shifts."""
        return max(map(abs, self.postfit))


@dataclass(frozen=True, eq=False)
class Impacts:
    """Impacts of all nuisance parameters on one parameter of interest.

    Attributes:
        name: The parameter of interest.
        best: The fit.
        ranking: The nuisance parameters, the largest post-fit impact first.
    """

    name: str
    best: FitResult
    ranking: tuple[Impact, ...]

    def __getitem__(self, name: str) -> Impact:
        """Impact of one nuisance parameter."""
        return next(impact for impact in self.ranking if impact.name == name)


def impacts(likelihood: Likelihood, name: str = "mu") -> Impacts:
    """Rank the nuisance parameters by what they do to the parameter of interest.

    Args:
        likelihood: Likelihood of the data.
        name: The parameter of interest.

    Raises:
        FitError: The fit or a conditional fit did not converge.

    Notes:
        Impacts of correlated nuisances overlap: they do not add up in quadrature to the systematic
        uncertainty. `breakdown` gives parts that do.
    """
    best = fit(likelihood)
    others = [p for p in likelihood.parameters if p.name != name]
    found = [_impact(likelihood, best, p, name) for p in others]
    return Impacts(name, best, tuple(sorted(found, key=lambda impact: -impact.size)))


def _impact(likelihood: Likelihood, best: FitResult, p: Parameter, name: str) -> Impact:
    value = best[p.name]
    below, above = _uncertainty(likelihood, best, p.name)
    postfit = _shifts(likelihood, best, p, name, (value - below, value + above))
    if p.prior is None:
        unknown = (np.nan, np.nan)
        return Impact(p.name, np.nan, unknown, postfit, unknown)
    centre, sigma = p.prior
    prefit = _shifts(likelihood, best, p, name, (value - sigma, value + sigma))
    return Impact(p.name, (value - centre) / sigma, (below / sigma, above / sigma), postfit, prefit)


def _uncertainty(likelihood: Likelihood, best: FitResult, name: str) -> tuple[float, float]:
    """Standard error below and above; from the profile where the best value is at a limit."""
    error = best.error(name)
    if error > 0:
        return error, error
    answer = profile_interval(likelihood, name, start=best.values)
    return best[name] - answer.lower, answer.upper - best[name]


def _shifts(
    likelihood: Likelihood, best: FitResult, p: Parameter, name: str, values: tuple[float, float]
) -> tuple[float, float]:
    low, high = (_shift(likelihood, best, p, name, value) for value in values)
    return low, high


def _shift(likelihood: Likelihood, best: FitResult, p: Parameter, name: str, value: float) -> float:
    """Change of the parameter of interest with another one fixed at a value, or at its nearest limit."""
    value = float(np.clip(value, *p.bounds))
    if value == best[p.name]:
        return 0.0
    return fit(likelihood, {p.name: value}, _start(likelihood, best, p.name, value))[name] - best[name]


def _start(likelihood: Likelihood, best: FitResult, name: str, value: float) -> NDArray[np.float64]:
    """Where the other parameters are expected when one is moved, from the covariance."""
    i = best.names.index(name)
    column, variance = best.covariance[:, i], best.covariance[i, i]
    moved = best.values + (column / variance if variance else 0.0) * (value - best.values[i])
    low, high = np.array([p.bounds for p in likelihood.parameters]).T
    return np.asarray(np.clip(moved, low, high))


STATISTICAL = "statistical"
SIMULATION = "simulation statistics"
SYSTEMATIC = "systematic"


@dataclass(frozen=True)
class Breakdown:
    """Parts of an uncertainty that add up in quadrature.

    Attributes:
        name: The parameter of interest.
        estimate: Its best value.
        total: Distances from the estimate to the lower and upper bound of the interval.
        parts: For each group what it contributes below and above, the statistical part last.
    """

    name: str
    estimate: float
    total: tuple[float, float]
    parts: Mapping[str, tuple[float, float]]


def breakdown(
    likelihood: Likelihood,
    groups: Mapping[str, Sequence[str]] | None = None,
    name: str = "mu",
    confidence_level: float = ONE_SIGMA_CL,
) -> Breakdown:
    """Split the profile-likelihood interval into what groups of nuisance parameters contribute.

    The groups are fixed at their best values one after the other; each contributes what the interval shrinks
    by, in quadrature. Then the template factors of a binned likelihood are fixed, and what is left is
    statistical.

    Args:
        likelihood: Likelihood of the data.
        groups: Names of nuisance parameters by group, in the order of fixing; one group of all constrained
            ones if not given. Free parameters in no group count as statistical: more data tell them better.
        name: The parameter of interest.
        confidence_level: Confidence level of the intervals.

    Raises:
        FitError: A fit did not converge.
        InvalidDataError: A group names a parameter that is not there, or names it twice.

    Notes:
        The parts of correlated groups depend on the order of the groups; the total and the statistical part
        do not.
    """
    groups = {SYSTEMATIC: _constrained(likelihood)} if groups is None else groups
    _require_valid(likelihood, groups, name)
    whole = profile_interval(likelihood, name, confidence_level)
    estimate = whole.best[name]
    steps: list[tuple[str, Likelihood]] = []
    known: dict[str, float] = {}
    for group, members in groups.items():
        known |= {member: whole.best[member] for member in members}
        steps.append((group, ConditionalLikelihood(likelihood, known)))
    if isinstance(likelihood, BinnedLikelihood) and likelihood.model.relative_error.any():
        certain = likelihood.with_known_templates(whole.best.values)
        steps.append((SIMULATION, ConditionalLikelihood(certain, known)))
    total = left = estimate - whole.lower, whole.upper - estimate
    parts = {}
    for group, conditional in steps:
        answer = profile_interval(conditional, name, confidence_level)
        rest = answer.best[name] - answer.lower, answer.upper - answer.best[name]
        parts[group] = _difference(left[0], rest[0]), _difference(left[1], rest[1])
        left = rest
    return Breakdown(name, estimate, total, parts | {STATISTICAL: left})


def _constrained(likelihood: Likelihood) -> tuple[str, ...]:
    return tuple(p.name for p in likelihood.parameters if p.prior is not None)


def _require_valid(likelihood: Likelihood, groups: Mapping[str, Sequence[str]], name: str) -> None:
    known = [p.name for p in likelihood.parameters if p.name != name]
    members = [member for group in groups.values() for member in group]
    for member in members:
        if member not in known or members.count(member) > 1:
            raise InvalidDataError(f"{member!r} in the groups: name each of {', '.join(known)} at most once")


def _difference(larger: float, smaller: float) -> float:
    """Difference in quadrature, 0 where the numerical accuracy of the intervals makes it negative."""
    return float(np.sqrt(max(larger**2 - smaller**2, 0.0)))
