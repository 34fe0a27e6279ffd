"""Confidence belts from toys: Neyman's construction, ordered by Feldman and Cousins or any other statistic.

On a grid of mu the distribution of a statistic is known from toys. The values accepted at each mu make up the
belt, and an interval is all mu that accept what was observed: it covers by construction (J. Neyman, Phil.
Trans. R. Soc. A 236 (1937) 333), up to the number of toys and to the nuisance parameters they were made with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import FitError, InvalidDataError
from fairuniverse.likelihood.fit import Likelihood
from fairuniverse.likelihood.profile import ProfileRatio
from fairuniverse.protocols import ONE_SIGMA_CL, Interval

Statistic = Callable[[float], float]
"""A statistic of the observed data as a function of mu."""

Ordering = Literal["central", "smallest"]

_TOLERANCE = 1e-5
"""Accuracy of a bound, in units of the grid's range."""

_ROUNDING = 1e-9
"""Values of a discrete statistic closer than this are the same one."""


@dataclass(frozen=True)
class BeltInterval:
    """Interval of the values that accept the observation.

    Attributes:
        lower: Lower bound.
        upper: Upper bound.
        mu_hat: The estimate.
        at_limit: Whether the lower and the upper bound are the ends of the grid.
    """

    lower: float
    upper: float
    mu_hat: float
    at_limit: tuple[bool, bool]

    @property
    def interval(self) -> Interval:
        """The answer of a submission: estimate and bounds."""
        return Interval(self.mu_hat, self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class NeymanBelt:
    """Accepted values of a statistic on a grid of mu, linear in between.

    Attributes:
        mu: Shape (n_grid,), ascending.
        low: Shape (n_grid,), smallest accepted value; minus infinity if the smallest are always accepted.
        high: Shape (n_grid,), largest accepted value.
        confidence_level: Probability with which the values of a toy are accepted at its own mu, at least.
    """

    mu: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    confidence_level: float

    def __post_init__(self) -> None:
        if self.mu.ndim != 1 or len(self.mu) < 2 or not (np.diff(self.mu) > 0).all():
            raise InvalidDataError("a belt needs at least two values of mu, ascending")

    @classmethod
    def from_toys(
        cls,
        mu: ArrayLike,
        statistics: Sequence[ArrayLike],
        confidence_level: float = ONE_SIGMA_CL,
        *,
        ordering: Ordering = "central",
        weights: Sequence[ArrayLike] | None = None,
    ) -> NeymanBelt:
        """Belt that accepts the wanted share of toys at every mu.

        Args:
            mu: Shape (n_grid,), ascending.
            statistics: For each mu, the statistic of its toys, shape (n_toys,).
            confidence_level: Share of toys to accept, at least: where values are discrete it is more.
            ordering: ``"central"`` leaves equal shares of toys below and above, for a statistic that grows
                with mu, such as mu_hat; ``"smallest"`` accepts the smallest values, for one that measures
                disagreement, such as t_mu.
            weights: For each mu the probability of each toy, where toys enumerate all outcomes; equal if not
                given.

        Raises:
            InvalidDataError: Grid and toys differ in length, a value is not a number, or there are too few
                toys to know the tail.
        """
        grid = np.asarray(mu, dtype=np.float64)
        toys = [np.asarray(values, dtype=np.float64) for values in statistics]
        shares = [np.full(len(t), 1 / max(len(t), 1)) for t in toys] if weights is None else weights
        if not len(grid) == len(toys) == len(shares):
            raise InvalidDataError(f"{len(grid)} values of mu but toys for {len(toys)}: give toys for each")
        tail = (1 - confidence_level) / (2 if ordering == "central" else 1)
        for value, some in zip(grid, toys, strict=True):
            if np.isnan(some).any() or (weights is None and len(some) * tail < 1):
                raise InvalidDataError(
                    f"{len(some)} toys at mu = {value:g}, {np.isnan(some).sum()} of them NaN: a tail of "
                    f"{tail:.3g} needs more than {1 / tail:.0f} numbers"
                )
        pairs = [(some, np.asarray(w, dtype=np.float64)) for some, w in zip(toys, shares, strict=True)]
        high = np.array([_upper_edge(some, w, tail) for some, w in pairs])
        low = np.full(len(grid), -np.inf)
        if ordering == "central":
            low = np.array([-_upper_edge(-some, w, tail) for some, w in pairs])
        return cls(grid, low, high, confidence_level)

    def edges(self, mu: float) -> tuple[float, float]:
        """Smallest and largest accepted value at some mu, linear between the grid's."""
        low = -np.inf if np.isinf(self.low).all() else float(np.interp(mu, self.mu, self.low))
        return low, float(np.interp(mu, self.mu, self.high))

    def interval(self, statistic: float | Statistic, mu_hat: float) -> BeltInterval:
        """All values of mu between the outermost ones that accept an observation.

        Args:
            statistic: The observed statistic: a number, or a function of mu such as a `ProfileRatio`.
            mu_hat: The estimate to report; it is also tried where the grid is coarse.

        Raises:
            FitError: No mu on the grid accepts the observation.
        """
        observed = statistic if callable(statistic) else lambda _: statistic

        def margin(mu: float) -> float:
            low, high = self.edges(mu)
            value = observed(mu)
            return min(value - low, high - value) + _ROUNDING

        inside = [mu_hat] if self.mu[0] < mu_hat < self.mu[-1] else []
        points = np.unique(np.append(self.mu, inside))
        accepted = np.flatnonzero([margin(mu) >= 0 for mu in points.tolist()])
        if not accepted.size:
            raise FitError(
                f"no mu from {self.mu[0]:g} to {self.mu[-1]:g} accepts the observation: widen the grid of "
                "the belt or make it finer"
            )
        first, last = int(accepted[0]), int(accepted[-1])
        at_limit = (first == 0, last == len(points) - 1)
        lower = points[0] if at_limit[0] else self._crossing(margin, points[first - 1], points[first])
        upper = points[-1] if at_limit[1] else self._crossing(margin, points[last], points[last + 1])
        return BeltInterval(float(lower), float(upper), mu_hat, at_limit)

    def _crossing(self, margin: Statistic, low: float, high: float) -> float:
        from scipy.optimize import brentq

        return float(brentq(margin, low, high, xtol=_TOLERANCE * (self.mu[-1] - self.mu[0])))

    def save(self, path: str | Path) -> None:
        """Write the belt to an ``.npz`` file."""
        arrays = {"mu": self.mu, "low": self.low, "high": self.high}
        np.savez(path, allow_pickle=False, confidence_level=self.confidence_level, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> NeymanBelt:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["mu"], file["low"], file["high"], float(file["confidence_level"]))


def feldman_cousins(
    toy: Callable[[float, np.random.Generator], Likelihood],
    mu: ArrayLike,
    *,
    n_toys: int,
    rng: np.random.Generator,
    confidence_level: float = ONE_SIGMA_CL,
    lowest: float = 0.0,
) -> NeymanBelt:
    """Belt of Feldman and Cousins: at every mu the toys with the largest likelihood ratio are accepted.

    The statistic is `ProfileRatio` with the nuisance parameters refitted and the best mu at least `lowest`
    (Feldman and Cousins, Phys. Rev. D 57 (1998) 3873, section IV). With it, intervals have no empty or
    unphysical cases, and turn from two-sided into limits by themselves.

    Args:
        toy: Makes the likelihood of one toy at a true mu. It decides what happens to the nuisance parameters:
            drawn from their priors (coverage averaged over the priors, what this benchmark asks for), or
            fixed, with fluctuating auxiliary measurements (coverage at that point).
        mu: Shape (n_grid,), ascending; where the critical value changes quickly, near `lowest`, finer.
        n_toys: Toys at each mu; the coverage of the belt is uncertain by (CL (1 - CL) / n_toys)^(1/2).
        rng: Random generator; each mu has a stream of its own.
        confidence_level: Confidence level.
        lowest: Smallest mu that the best fit may have.

    Returns:
        The belt, to be used with ``belt.interval(ratio, ratio.estimate)`` where ``ratio = ProfileRatio(
        likelihood, lowest=lowest)``.

    Raises:
        FitError: A fit to a toy did not converge.
    """
    grid = np.asarray(mu, dtype=np.float64)
    streams = rng.spawn(len(grid))
    statistics = [
        [ProfileRatio(toy(value, stream), lowest=lowest)(value) for _ in range(n_toys)]
        for value, stream in zip(grid.tolist(), streams, strict=True)
    ]
    return NeymanBelt.from_toys(grid, statistics, confidence_level, ordering="smallest")


def _upper_edge(values: NDArray[np.float64], weights: NDArray[np.float64], tail: float) -> float:
    """Smallest value above which toys have no more than a probability of `tail`."""
    order = np.argsort(values)
    # Probability of this value and smaller ones; equal values share the largest sum.
    below = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][np.searchsorted(below, 1 - tail - _ROUNDING)])
