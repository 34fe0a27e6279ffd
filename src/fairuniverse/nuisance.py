"""Nuisance parameters: what is not known about the simulation, and how well it is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import ClassVar, Literal

import numpy as np

from fairuniverse.errors import InvalidDataError


@dataclass(frozen=True)
class Normal:
    """Normal prior N(mean, sigma)."""

    is_constraint: ClassVar[bool] = True
    mean: float
    sigma: float

    def to_alpha(self, theta: float) -> float:
        """Pull of a value: its distance from the mean in prior standard deviations."""
        return (theta - self.mean) / self.sigma

    def from_alpha(self, alpha: float) -> float:
        """Value at a pull of alpha prior standard deviations."""
        return self.mean + alpha * self.sigma

    def slope(self, theta: float) -> float:
        """Derivative of the value in its pull, at a value."""
        return self.sigma

    def draw(self, *, rng: np.random.Generator) -> float:
        """One value."""
        return self.from_alpha(float(rng.standard_normal()))


@dataclass(frozen=True)
class LogNormal:
    """Log-normal prior: ln(theta) ~ N(log_mean, log_sigma)."""

    is_constraint: ClassVar[bool] = True
    log_mean: float
    log_sigma: float

    def to_alpha(self, theta: float) -> float:
        """Pull of ln(theta); minus infinity at theta = 0."""
        return (math.log(theta) - self.log_mean) / self.log_sigma if theta > 0 else -math.inf

    def from_alpha(self, alpha: float) -> float:
        """Value whose logarithm is alpha standard deviations from the mean."""
        return math.exp(self.log_mean + alpha * self.log_sigma)

    def slope(self, theta: float) -> float:
        """Derivative of the value in its pull, at a value."""
        return self.log_sigma * theta

    def draw(self, *, rng: np.random.Generator) -> float:
        """One value."""
        return self.from_alpha(float(rng.standard_normal()))


@dataclass(frozen=True)
class Uniform:
    """No knowledge: values are drawn between `low` and `high`, and nothing constrains a fit.

    A nuisance parameter that only the data determine. Its bounds may be wider than the range of the draws, so
    that fits have room at the ends. A pull is a distance from the centre in standard deviations.

    >>> Uniform(-1.0, 1.0).from_alpha(0.0)
    0.0
    """

    is_constraint: ClassVar[bool] = False
    low: float
    high: float

    @property
    def mean(self) -> float:
        """Centre of the range."""
        return (self.low + self.high) / 2

    @property
    def sigma(self) -> float:
        """Standard deviation, the length of the range over the root of 12."""
        return (self.high - self.low) / math.sqrt(12)

    def to_alpha(self, theta: float) -> float:
        """Distance of a value from the centre, in standard deviations."""
        return (theta - self.mean) / self.sigma

    def from_alpha(self, alpha: float) -> float:
        """Value at a distance of alpha standard deviations from the centre."""
        return self.mean + alpha * self.sigma

    def slope(self, theta: float) -> float:
        """Derivative of the value in its pull, at a value."""
        return self.sigma

    def draw(self, *, rng: np.random.Generator) -> float:
        """One value."""
        return float(rng.uniform(self.low, self.high))


Prior = Normal | LogNormal | Uniform
Boundary = Literal["clip", "truncate"]


@dataclass(frozen=True)
class NuisanceParameter:
    """One nuisance parameter.

    Attributes:
        name: Its name, one word, as in ``shift(tes=1.01)``.
        prior: What is known about it before the measurement.
        nominal: Value at which the nominal simulation was made.
        bounds: Smallest and largest value that can occur.
        kind: ``"shape"`` acts on features, ``"normalisation"`` multiplies the yield of `processes`.
        processes: For a normalisation, the processes it scales.
        meaning: One sentence for the documentation, with the unit.
        boundary: What becomes of a draw outside `bounds`: ``"clip"`` puts it on the bound (the public
            challenge's rule: 5 % of soft_met values sit exactly at 5), ``"truncate"`` draws again.
    """

    name: str
    prior: Prior
    nominal: float
    bounds: tuple[float, float]
    kind: Literal["shape", "normalisation"]
    processes: tuple[str, ...] = ()
    meaning: str = field(default="", compare=False)
    boundary: Boundary = "clip"

    def draw(self, *, rng: np.random.Generator) -> float:
        """One value from the prior, within the bounds."""
        lower, upper = self.bounds
        theta = self.prior.draw(rng=rng)
        while self.boundary == "truncate" and not lower <= theta <= upper:
            theta = self.prior.draw(rng=rng)
        return min(max(theta, lower), upper)

    @property
    def is_noise(self) -> bool:
        """Whether it is the width of added noise, nominally absent, which acts through its variance."""
        return isinstance(self.prior, LogNormal) and self.nominal == 0

    @property
    def pull_bounds(self) -> tuple[float, float]:
        """The bounds as pulls, the range of the parameter in a fit."""
        lower, upper = self.bounds
        return self.prior.to_alpha(lower), self.prior.to_alpha(upper)

    def constraint(self, theta: float) -> float:
        """Constraint term to add to twice the negative log-likelihood, up to a constant.

        The squared pull, 0 if uniform, within the bounds, and infinite beyond them. A truncated prior differs
        from the whole one by its norm only, a constant. A clipped one has the tail's probability on the
        bound; the density takes its place.
        """
        lower, upper = self.bounds
        if not lower <= theta <= upper:
            return math.inf
        return self.prior.to_alpha(theta) ** 2 if self.prior.is_constraint else 0.0

    def require_valid(self, theta: float) -> float:
        """Return theta unchanged.

        Raises:
            InvalidDataError: Theta is not a finite number within the bounds.
        """
        lower, upper = self.bounds
        if not lower <= theta <= upper:  # also catches NaN
            raise InvalidDataError(f"{self.name} = {theta} is outside its range [{lower}, {upper}]")
        return float(theta)


def complete(parameters: Sequence[NuisanceParameter], values: Mapping[str, float]) -> dict[str, float]:
    """Values of all parameters: those given, checked, and the nominal value of the others.

    Raises:
        InvalidDataError: An unknown name (the nearest valid one is suggested) or a value out of range.
    """
    known = {p.name: p for p in parameters}
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InvalidDataError(f"no nuisance parameter {name!r} among {', '.join(known)}{hint}")
    return {n: p.require_valid(values[n]) if n in values else p.nominal for n, p in known.items()}


def normalisation(
    parameters: Sequence[NuisanceParameter], values: Mapping[str, float], process: str
) -> float:
    """Factor on the expected yield of a process: the product of the normalisation nuisances acting on it."""
    return math.prod(
        values[p.name] for p in parameters if p.kind == "normalisation" and process in p.processes
    )
