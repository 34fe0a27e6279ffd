"""Tests of fairuniverse.nuisance."""

import math

import numpy as np
import pytest
from scipy import stats

from fairuniverse.errors import InvalidDataError
from fairuniverse.nuisance import LogNormal, Normal, NuisanceParameter, Uniform, complete, normalisation

SCALE = NuisanceParameter("scale", Normal(1.0, 0.02), 1.0, (0.8, 1.2), "normalisation", ("a",))
TOTAL = NuisanceParameter("total", Normal(1.0, 0.001), 1.0, (0.99, 1.01), "normalisation", ("a", "b"))
SOFT = NuisanceParameter("soft", LogNormal(0.0, 1.0), 0.0, (0.0, 5.0), "shape")
ALL = (SCALE, TOTAL, SOFT)


@pytest.mark.parametrize(("theta", "pull"), [(1.0, 0.0), (1.02, 1.0), (0.96, -2.0)])
def test_normal_constraint_is_the_squared_pull(theta, pull):
    """The constraint term of a normal prior is its squared pull."""
    assert SCALE.prior.to_alpha(theta) == pytest.approx(pull)
    assert SCALE.constraint(theta) == pytest.approx(pull**2)
    assert SCALE.prior.from_alpha(pull) == pytest.approx(theta)


def test_uniform_priors_constrain_nothing():
    """Draws fill the range evenly, wherever the wider bounds are, and the constraint term is 0 everywhere."""
    free = NuisanceParameter("free", Uniform(-1.0, 3.0), 0.0, (-5.0, 5.0), "shape")
    rng = np.random.default_rng(5)
    draws = [free.draw(rng=rng) for _ in range(2000)]
    assert stats.kstest(draws, stats.uniform(-1.0, 4.0).cdf).pvalue > 1e-4  # its false-alarm rate
    assert [free.constraint(theta) for theta in (-5.0, 1.0, 3.0)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("prior", [Normal(1.0, 0.02), LogNormal(0.5, 0.8), Uniform(-1.0, 3.0)])
def test_priors_know_their_pulls(prior):
    """A value and its pull are each other's inverse, and the slope is the derivative of the value."""
    for alpha in (-1.3, 0.0, 0.7):
        theta = prior.from_alpha(alpha)
        assert prior.to_alpha(theta) == pytest.approx(alpha)
        difference = prior.from_alpha(alpha + 1e-6) - prior.from_alpha(alpha - 1e-6)
        assert prior.slope(theta) == pytest.approx(difference / 2e-6)


def test_the_pull_of_a_uniform_prior_is_in_standard_deviations():
    """The centre has pull 0, and draws have standard deviation 1."""
    prior = Uniform(-1.0, 3.0)
    assert prior.to_alpha(1.0) == 0.0
    assert prior.from_alpha(1.0) - 1.0 == pytest.approx(stats.uniform(-1.0, 4.0).std())


def test_log_normal_pull():
    """A log-normal's pull is that of the logarithm; zero is infinitely far."""
    assert SOFT.prior.to_alpha(math.e) == pytest.approx(1.0)
    assert SOFT.prior.from_alpha(-2.0) == pytest.approx(math.exp(-2))
    assert SOFT.constraint(0.0) == math.inf


@pytest.mark.parametrize("boundary", ["clip", "truncate"])
def test_the_constraint_ends_at_the_bounds(boundary):
    """Beyond the bounds no value can occur: the constraint term is infinite there, and as ever within."""
    scale = NuisanceParameter("scale", Normal(1.0, 0.2), 1.0, (0.9, 1.1), "shape", boundary=boundary)
    assert scale.constraint(1.1) == pytest.approx(0.25)
    assert scale.constraint(1.11) == scale.constraint(0.89) == math.inf
    assert scale.pull_bounds == pytest.approx((-0.5, 0.5))


def test_a_truncated_prior_constrains_like_its_density():
    """Differences of the constraint term are those of -2 ln of the density that draws follow."""
    scale = NuisanceParameter("scale", Normal(1.0, 0.2), 1.0, (0.9, 1.2), "shape", boundary="truncate")
    density = stats.truncnorm(-0.5, 1.0, loc=1.0, scale=0.2)
    rng = np.random.default_rng(7)
    draws = [scale.draw(rng=rng) for _ in range(2000)]
    assert stats.kstest(draws, density.cdf).pvalue > 1e-4  # its false-alarm rate
    rise = -2 * (density.logpdf(1.15) - density.logpdf(0.95))
    assert scale.constraint(1.15) - scale.constraint(0.95) == pytest.approx(rise)


def test_clipped_draws_sit_on_the_bound():
    """Clipping puts the tail on the bound: 5.4 % of soft_met draws, as in the public challenge."""
    rng = np.random.default_rng(3)
    draws = np.array([SOFT.draw(rng=rng) for _ in range(20_000)])
    share = stats.norm.sf(math.log(5.0))
    assert abs((draws == 5.0).mean() - share) < 5 * math.sqrt(share / 20_000)  # fails by chance in 6e-7


def test_truncated_draws_follow_the_truncated_prior():
    """Truncation draws again: no value on the bound, Kolmogorov test at a false-alarm rate of 1e-4."""
    truncated = NuisanceParameter("t", Normal(1.0, 0.1), 1.0, (0.9, 1.1), "shape", boundary="truncate")
    rng = np.random.default_rng(4)
    draws = [truncated.draw(rng=rng) for _ in range(2000)]
    assert stats.kstest(draws, stats.truncnorm(-1, 1, loc=1.0, scale=0.1).cdf).pvalue > 1e-4


def test_complete_fills_in_nominal_values():
    """Values not given are nominal."""
    assert complete(ALL, {"scale": 1.1}) == {"scale": 1.1, "total": 1.0, "soft": 0.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scal": 1.0}, "did you mean 'scale'"),
        ({"scale": 1.5}, r"scale = 1.5 is outside its range \[0.8, 1.2\]"),
        ({"scale": math.nan}, "outside its range"),
    ],
)
def test_bad_values_are_refused(values, message):
    """Unknown names, values out of range and NaN are refused with the rule."""
    with pytest.raises(InvalidDataError, match=message):
        complete(ALL, values)


def test_normalisations_multiply():
    """A total scale acts on top of a process' own, whichever of them is switched on."""
    values = complete(ALL, {"scale": 1.1, "total": 1.01})
    assert normalisation(ALL, values, "a") == pytest.approx(1.1 * 1.01)
    assert normalisation(ALL, values, "b") == pytest.approx(1.01)
    assert normalisation(ALL, values, "signal") == 1.0
