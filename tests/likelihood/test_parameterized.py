"""Likelihoods from a function of the parameters."""

import numpy as np
import pytest
from scipy.special import log_expit, logit
from scipy.stats import norm

from fairuniverse.likelihood import (
    ParameterizedLikelihood,
    fit,
    profile_interval,
    with_numerical_gradient,
)
from fairuniverse.nuisance import Normal, NuisanceParameter, Uniform

SHIFT = NuisanceParameter("shift", Normal(0.0, 0.5), 0.0, (-3.0, 3.0), "shape")
FREE = NuisanceParameter("shift", Uniform(-3.0, 3.0), 0.0, (-5.0, 5.0), "shape")


def means(data, prior_width):
    """Log-likelihood of unit Gaussians of mean mu + width * alpha, and its derivatives."""

    def both(x):
        residual = data - x[0] - prior_width * x[1]
        return -(residual**2).sum() / 2, residual.sum() * np.array([1.0, prior_width])

    return both


def test_a_constrained_nuisance_adds_its_width_in_quadrature():
    """Mean of n unit Gaussians with an offset N(0, 0.5): sigma is the root of 1/n + 0.25."""
    data = np.random.default_rng(2).normal(1.3, 1.0, 400)
    likelihood = ParameterizedLikelihood(means(data, 0.5), (SHIFT,), (0.5, 1.0), (-np.inf, np.inf))
    answer = profile_interval(likelihood)
    sigma = np.sqrt(1 / 400 + 0.25)
    assert answer.best["mu"] == pytest.approx(data.mean(), abs=2e-3)
    assert (answer.lower, answer.upper) == pytest.approx((data.mean() - sigma, data.mean() + sigma), abs=2e-3)
    assert answer.best.error("mu") == pytest.approx(sigma, rel=1e-3)


def test_a_classifier_with_parameters_gives_the_exact_interval():
    """The best classifier of N(mu, 1) against N(0, 1) gives the mean's interval, sigma = 1 / sqrt(n)."""
    data = np.random.default_rng(8).normal(0.4, 1.0, 100)

    def log_ratio(x):
        score = 1 / (1 + norm.pdf(data, 0, 1) / norm.pdf(data, x[0], 1))
        return float(logit(score).sum())

    function = with_numerical_gradient(log_ratio, (1e-3,))
    answer = profile_interval(ParameterizedLikelihood(function, (), (0.1,), (-5.0, 5.0)))
    assert answer.best["mu"] == pytest.approx(data.mean(), abs=1e-3)
    assert answer.upper - answer.lower == pytest.approx(0.2, rel=1e-3)


def test_numerical_derivatives_are_those_of_the_function():
    """Central differences of a smooth function are exact to the square of the step."""

    def function(x):
        return float(log_expit(x[0]) * np.cos(x[1]))

    value, gradient = with_numerical_gradient(function, (1e-4, 1e-4))(np.array([0.3, 0.7]))
    assert value == function([0.3, 0.7])
    slope = np.cos(0.7) / (1 + np.exp(0.3))
    assert gradient == pytest.approx([slope, -log_expit(0.3) * np.sin(0.7)], rel=1e-6)


def test_an_unconstrained_nuisance_adds_no_term():
    """With a uniform prior only the data count."""
    data = np.random.default_rng(2).normal(0.0, 1.0, 50)
    likelihood = ParameterizedLikelihood(means(data, 0.5), (FREE,), (0.5, 1.0))
    x = np.array([0.2, 1.5])
    assert likelihood.twice_nll(x) == pytest.approx(-2 * means(data, 0.5)(x)[0])
    assert likelihood.parameters[1].prior is None
    assert fit(likelihood, {"shift": 1.0})["shift"] == 1.0


def test_steps_must_match_the_parameters():
    """One typical uncertainty per parameter is needed."""
    with pytest.raises(ValueError, match="argument"):
        _ = ParameterizedLikelihood(means(np.zeros(3), 0.5), (SHIFT,), (0.5,)).parameters
