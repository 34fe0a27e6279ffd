"""Goodness of fit of binned models: the saturated likelihood ratio, asymptotic and from toys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood.binned import BinnedLikelihood
from fairuniverse.likelihood.fit import FitResult, fit


@dataclass(frozen=True, eq=False)
class GoodnessOfFit:
    """Whether a model describes the data at all.

    Attributes:
        best: The fit.
        statistic: Twice the negative log-likelihood at the best fit over that of the saturated model.
        n_degrees: Degrees of freedom: bins and constraints minus parameters.
        p_value: Probability of a larger statistic if the model is right.
    """

    best: FitResult
    statistic: float
    n_degrees: int
    p_value: float


def goodness_of_fit(likelihood: BinnedLikelihood) -> GoodnessOfFit:
    """Compare the best fit with the saturated model, which expects in each bin what was seen there.

    The statistic follows a chi-squared distribution for many events in every bin (S. Baker and R. D. Cousins,
    Nucl. Instrum. Meth. 221 (1984) 437); `toy_goodness_of_fit` does not need many.

    Raises:
        FitError: The fit did not converge.
        InvalidDataError: There are no more bins than free parameters: nothing is tested.
    """
    from scipy.special import chdtrc

    best, n_degrees = fit(likelihood), _degrees(likelihood)
    return GoodnessOfFit(best, best.twice_nll, n_degrees, float(chdtrc(n_degrees, best.twice_nll)))


def toy_goodness_of_fit(
    likelihood: BinnedLikelihood, *, n_toys: int, rng: np.random.Generator
) -> GoodnessOfFit:
    """The same with the distribution of the statistic from toys.

    Toys are made at the best fit of mu and of the parameters without constraint. Constrained nuisances and
    template factors are drawn from their priors: this keeps the auxiliary measurements where they are, and
    gives the statistic the distribution that fluctuating ones give it at a fixed truth.

    Args:
        likelihood: Likelihood of the data.
        n_toys: Number of toys; the p-value is at least 1 / (n_toys + 1).
        rng: Random generator.

    Raises:
        FitError: The fit did not converge to the data or to a toy.
        InvalidDataError: As for `goodness_of_fit`.
    """
    best, model = fit(likelihood), likelihood.model
    n_degrees = _degrees(likelihood)
    auxiliaries = dict(zip(model.names[1:], likelihood.auxiliaries[1:].tolist(), strict=True))
    toys = (model.toy(_truth(likelihood, best, rng), rng=rng) for _ in range(n_toys))
    larger = sum(fit(model.likelihood(toy, auxiliaries)).twice_nll >= best.twice_nll for toy in toys)
    return GoodnessOfFit(best, best.twice_nll, n_degrees, (1 + larger) / (1 + n_toys))


def _degrees(likelihood: BinnedLikelihood) -> int:
    n_free = int((likelihood.model.constrained == 0).sum())
    n_degrees = len(likelihood.data) - n_free
    if n_degrees < 1:
        raise InvalidDataError(
            f"{len(likelihood.data)} bins and {n_free} free parameters: a fit that can describe anything has "
            "no goodness; use more bins"
        )
    return n_degrees


def _truth(likelihood: BinnedLikelihood, best: FitResult, rng: np.random.Generator) -> NDArray[np.float64]:
    """Parameters of a toy: best values, with the constrained ones drawn from their priors."""
    x, model = best.values.copy(), likelihood.model
    for i, p in enumerate(model.nuisances, 1):
        if p.prior.is_constraint:
            x[i] = np.clip(likelihood.auxiliaries[i] + rng.standard_normal(), *p.pull_bounds)
    return x
