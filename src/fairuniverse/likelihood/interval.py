"""Confidence intervals from the profile likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import FitError
from fairuniverse.likelihood.fit import FitResult, Likelihood, fit, make_minuit, minimise
from fairuniverse.likelihood.profile import BetterMinimum, Profile
from fairuniverse.protocols import ONE_SIGMA_CL, Interval

_MAX_RESTARTS = 3


@dataclass(frozen=True, eq=False)
class ProfileInterval:
    """Profile-likelihood interval of one parameter.

    Attributes:
        lower: Lower bound.
        upper: Upper bound.
        best: The unconditional fit.
        name: The parameter.
        at_limit: Whether the lower and the upper bound are limits of the parameter, reached before the
            likelihood fell far enough.
    """

    lower: float
    upper: float
    best: FitResult
    name: str
    at_limit: tuple[bool, bool]

    @property
    def interval(self) -> Interval:
        """The answer of a submission: estimate and bounds."""
        return Interval(self.best[self.name], self.lower, self.upper)


def profile_interval(
    likelihood: Likelihood,
    name: str = "mu",
    confidence_level: float = ONE_SIGMA_CL,
    *,
    start: NDArray[np.float64] | None = None,
) -> ProfileInterval:
    """Interval of the values whose profile likelihood ratio is above the asymptotic threshold.

    t_mu = twice_nll(mu, nuisances refitted) - twice_nll(best fit) <= z^2 with z the two-sided normal quantile
    (1 for 68.27 %; Wilks' theorem; Cowan et al., Eur. Phys. J. C 71 (2011) 1554, eq. 8). This is what MINOS
    computes; the nuisances are refitted at every step, from a start extrapolated along the valley.

    Args:
        likelihood: Likelihood of the data.
        name: The parameter of interest.
        confidence_level: Confidence level.
        start: Where the fit starts instead of at the parameters' own starting values.

    Returns:
        The interval, not clipped to any range but that of the parameter itself.

    Raises:
        FitError: The fit or one of the conditional fits did not converge.

    Notes:
        Coverage is asymptotic: expect deviations for a handful of events, or where the best fit is near the
        limit of a parameter.
    """
    from scipy.special import ndtri

    rise = float(ndtri((1 + confidence_level) / 2)) ** 2
    for _ in range(_MAX_RESTARTS):
        profile = Profile(likelihood, fit(likelihood, start=start), name)
        try:
            lower, lower_at_limit = profile.crossing(-1, rise)
            upper, upper_at_limit = profile.crossing(+1, rise)
        except BetterMinimum as better:
            start = better.values
            continue
        return ProfileInterval(lower, upper, profile.best, name, (lower_at_limit, upper_at_limit))
    raise FitError(
        f"the scan of {name} keeps finding better minima: the likelihood has several; scan it by hand"
    )


def minos_interval(
    likelihood: Likelihood, name: str = "mu", confidence_level: float = ONE_SIGMA_CL
) -> ProfileInterval:
    """The same interval as `profile_interval`, found by MINOS.

    MINOS (F. James and M. Roos, Comput. Phys. Commun. 10 (1975) 343) is the implementation that the field
    knows, an independent check of ours. Arguments, answer and errors are those of `profile_interval`.

    Raises:
        FitError: The fit did not converge, or MINOS found no crossing on one side.
    """
    minuit = make_minuit(likelihood, fit(likelihood).values)
    minimise(minuit)
    minuit.minos(name, cl=confidence_level)
    error = minuit.merrors[name]
    at_limit = (error.at_lower_limit, error.at_upper_limit)
    if not all(v or limit for v, limit in zip((error.lower_valid, error.upper_valid), at_limit, strict=True)):
        raise FitError(
            f"MINOS found no crossing for {name} (lower {error.lower_valid}, upper {error.upper_valid}, new "
            f"minimum {error.lower_new_min or error.upper_new_min}): use profile_interval, which restarts"
        )
    best = fit(likelihood, start=np.array(minuit.values))
    low, high = minuit.limits[name]
    lower = low if at_limit[0] else minuit.values[name] + error.lower
    upper = high if at_limit[1] else minuit.values[name] + error.upper
    return ProfileInterval(float(lower), float(upper), best, name, at_limit)
