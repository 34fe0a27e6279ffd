"""Calibration of intervals on toys: factors on their half-widths that make them cover.

Every toy tells by which factor its interval would have to be scaled, around the estimate, to reach the truth;
the calibration is a quantile of these factors. The method that made the intervals does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.protocols import ONE_SIGMA_CL, Interval

Method = Literal["quantile", "conformal"]

_ROUNDING = 1e-12


@dataclass(frozen=True)
class IntervalCalibration:
    """Factors on the two parts of an interval, below and above its estimate.

    Attributes:
        lower_scale: Factor on the distance from the lower bound to the estimate.
        upper_scale: Factor on the distance from the estimate to the upper bound.
        lower_range: Smallest and largest factor that the toys allow at one standard deviation (Clopper and
            Pearson); infinite where there are too few toys to tell.
        upper_range: The same of `upper_scale`.
        coverage: Share of the toys that the given intervals covered.
        confidence_level: What the calibrated ones aim at.
        n_toys: Number of toys.
    """

    lower_scale: float
    upper_scale: float
    lower_range: tuple[float, float]
    upper_range: tuple[float, float]
    coverage: float
    confidence_level: float
    n_toys: int

    def __call__(self, interval: Interval) -> Interval:
        """The calibrated interval of the same estimate."""
        lower = interval.mu_hat - self.lower_scale * (interval.mu_hat - interval.lower)
        upper = interval.mu_hat + self.upper_scale * (interval.upper - interval.mu_hat)
        return Interval(interval.mu_hat, lower, upper)


def calibrate_intervals(
    mu_hat: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    mu_true: ArrayLike,
    confidence_level: float = ONE_SIGMA_CL,
    *,
    method: Method = "quantile",
    is_one_factor: bool = True,
) -> IntervalCalibration:
    """Find the factors by which intervals have to be scaled to cover as often as they claim.

    Args:
        mu_hat: Shape (n_toys,), estimates.
        lower: Shape (n_toys,), lower bounds.
        upper: Shape (n_toys,), upper bounds.
        mu_true: Shape (n_toys,), true values of toys made like the data: mu and nuisances from their priors.
        confidence_level: Coverage to reach.
        method: ``"quantile"`` makes the toys themselves covered as often as wanted, which is best on average;
            ``"conformal"`` takes the ceil((n + 1) CL)-th smallest factor, with which the next toy of the same
            kind is covered with a probability of at least CL, and of CL + 1 / (n + 1) at most where factors
            are continuous, for any number of toys (Lei et al., J. Am. Stat. Assoc. 113 (2018) 1094).
        is_one_factor: One factor on both parts, or one for each, so that equally many truths are missed on
            each side (with ``"conformal"``, at most half of the misses on each).

    Raises:
        InvalidDataError: Arrays of other shapes or that are not finite, estimates outside their intervals,
            too few toys for the guarantee, or too many intervals without width on the side of the truth.

    Notes:
        The coverage is right on average over the toys, not at every mu: calibrate on toys of one mu, or look
        at the coverage in slices of it.

    >>> rng = np.random.default_rng(1)
    >>> mu_hat = rng.normal(1.0, 0.2, 20_000)  # intervals claim 0.1, half of the truth
    >>> calibration = calibrate_intervals(mu_hat, mu_hat - 0.1, mu_hat + 0.1, np.ones(20_000))
    >>> print(f"{calibration.coverage:.2f} {calibration.lower_scale:.2f}")
    0.38 1.98
    """
    arrays = [np.asarray(a, dtype=np.float64) for a in (mu_hat, lower, upper, mu_true)]
    _require_valid(*arrays)
    below, above = _factors(*arrays)
    reached = np.maximum(below, above)
    covered = float((reached <= 1).mean())
    n_toys = len(reached)
    if is_one_factor:
        scale, spread = _quantile(reached, confidence_level, method)
        return IntervalCalibration(scale, scale, spread, spread, covered, confidence_level, n_toys)
    one_sided = (1 + confidence_level) / 2
    lower_scale, lower_range = _quantile(below, one_sided, method)
    upper_scale, upper_range = _quantile(above, one_sided, method)
    return IntervalCalibration(
        lower_scale, upper_scale, lower_range, upper_range, covered, confidence_level, n_toys
    )


def _require_valid(
    mu_hat: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    mu_true: NDArray[np.float64],
) -> None:
    shapes = {a.shape for a in (mu_hat, lower, upper, mu_true)}
    if len(shapes) != 1 or mu_hat.ndim != 1 or not mu_hat.size:
        raise InvalidDataError(f"arrays of shapes {sorted(shapes)}: give four of shape (n_toys,)")
    if not all(np.isfinite(a).all() for a in (mu_hat, lower, upper, mu_true)):
        raise InvalidDataError("a number is not finite: leave out failed toys, and say how many there were")
    outside = np.flatnonzero((mu_hat < lower) | (mu_hat > upper))
    if outside.size:
        i = int(outside[0])
        raise InvalidDataError(
            f"toy {i}: mu_hat = {mu_hat[i]:g} is not in [{lower[i]:g}, {upper[i]:g}], which cannot be scaled "
            "around it: take the centre of the interval as the estimate"
        )


def _factors(
    mu_hat: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    mu_true: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factors on the lower and on the upper part that just reach the truth, shape (n_toys,) each.

    Negative where the truth is on the other side, infinite where the part has no width.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        below, above = (mu_hat - mu_true) / (mu_hat - lower), (mu_true - mu_hat) / (upper - mu_hat)
    exact = mu_true == mu_hat
    return np.where(exact, 0.0, below), np.where(exact, 0.0, above)


def _quantile(
    factors: NDArray[np.float64], probability: float, method: Method
) -> tuple[float, tuple[float, float]]:
    """Factor that reaches a share of the toys, and the range of factors that the toys allow for it."""
    from fairuniverse.statistics import clopper_pearson

    factors, n = np.sort(factors), len(factors)
    rank = int(np.ceil((n + (method == "conformal")) * probability - _ROUNDING))
    if rank > n:
        needed = int(np.ceil(probability / (1 - probability)))
        raise InvalidDataError(
            f"{n} toys cannot guarantee a probability of {probability:.4f}: at least {needed} are needed"
        )
    scale = float(factors[rank - 1])
    if not np.isfinite(scale):
        raise InvalidDataError(
            f"{np.isinf(factors).sum()} of {n} intervals have no width on the side of the truth: no factor "
            "makes them cover; calibrate them before they are cut off at the range of mu"
        )
    low, high = clopper_pearson(np.arange(1, n + 1), n)
    extended = np.append(factors, np.inf)
    smallest, largest = np.searchsorted(high, probability), np.searchsorted(low, probability)
    return scale, (float(extended[smallest]), float(extended[largest]))
