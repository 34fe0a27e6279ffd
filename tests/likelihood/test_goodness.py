"""Goodness of fit, Asimov data and toys of binned models."""

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import (
    BinnedModel,
    Templates,
    fit,
    goodness_of_fit,
    profile_interval,
    toy_goodness_of_fit,
)
from fairuniverse.nuisance import Normal, NuisanceParameter
from fairuniverse.protocols import Process

SCALE = NuisanceParameter("scale", Normal(1.0, 0.1), 1.0, (0.5, 1.5), "normalisation", ("z",))


def spectrum(total, n_bins=6, error=0.0):
    """Signal in the last bin over a flat background with an uncertain rate."""
    processes = (Process("signal", 1.0, is_signal=True), Process("z", 1.0))
    background = np.full(n_bins, total / n_bins)
    yields = np.array([np.eye(n_bins)[-1] * total / 50, background])
    return BinnedModel(
        Templates(processes, yields, np.array([0 * background, (error * background) ** 2])), (SCALE,)
    )


def test_asimov_data_fit_to_where_they_were_made(higgs_like):
    """The best fit to the expectation is the truth in every parameter, without any tension."""
    model = higgs_like(20)
    x = np.array([1.7, 0.6, -0.8, 0.4, 1.0, -0.5, 0.7])
    answer = goodness_of_fit(model.asimov(x))
    assert answer.best.values == pytest.approx(x, abs=0.02)
    assert answer.statistic == pytest.approx(0.0, abs=1e-3)
    assert answer.p_value == pytest.approx(1.0, abs=1e-6)
    assert profile_interval(model.asimov(x)).interval.mu_hat == pytest.approx(1.7, abs=0.01)


def test_toys_follow_the_expectation_and_the_template_uncertainty():
    """Counts of toys have the variance nu + (delta nu)^2; 5 sigma of 4,000 toys (6e-7)."""
    model, rng = spectrum(6000.0, error=0.05), np.random.default_rng(3)
    x = np.array([1.0, 0.5])
    toys = np.array([model.toy(x, rng=rng) for _ in range(4000)])
    expected = model.expected(x)
    variance = expected + (model.relative_error * expected) ** 2
    assert toys.mean(axis=0) == pytest.approx(expected, abs=5 * np.sqrt(variance.max() / 4000))
    assert toys.var(axis=0) == pytest.approx(variance, rel=5 * np.sqrt(2 / 4000))


@pytest.mark.parametrize("error", [0.0, 0.02])
def test_p_values_are_flat_if_the_model_is_right(error):
    """400 toys with nuisances from their priors: p-values are uniform (Kolmogorov-Smirnov, 1e-4)."""
    model, rng = spectrum(6000.0, error=error), np.random.default_rng(5)
    answers = [
        goodness_of_fit(model.likelihood(model.toy(np.array([1.0, rng.normal()]), rng=rng)))
        for _ in range(400)
    ]
    assert {a.n_degrees for a in answers} == {5}
    assert kstest([a.p_value for a in answers], "uniform").pvalue > 1e-4


def test_a_bump_that_the_model_lacks_is_found():
    """An excess of five standard deviations in one bin costs its square in the statistic."""
    model = spectrum(6000.0)
    data = model.expected(model.start)
    data[2] += 5 * np.sqrt(data[2])
    answer = goodness_of_fit(model.likelihood(data))
    # The rate of five bins takes up its share of the excess, 1 / 5.
    assert answer.statistic == pytest.approx(25 * 0.8, rel=0.1)
    assert answer.p_value == pytest.approx(chi2.sf(answer.statistic, 5))
    assert answer.p_value < 0.005


def test_the_statistic_is_the_minimum_of_the_likelihood():
    """The likelihood's zero is the saturated model."""
    likelihood = spectrum(600.0).likelihood([90, 110, 100, 95, 120, 99])
    assert goodness_of_fit(likelihood).statistic == fit(likelihood).twice_nll


def test_toys_replace_the_asymptotic_p_value_where_counts_are_few():
    """For many events the p-value of toys is that of chi-squared (5 sigma of 150 toys), for few it is not."""
    rng = np.random.default_rng(8)
    many = spectrum(6000.0).likelihood([1010, 970, 1040, 990, 1020, 1150])
    toys = toy_goodness_of_fit(many, n_toys=150, rng=rng)
    assert toys.p_value == pytest.approx(goodness_of_fit(many).p_value, abs=5 * 0.5 / np.sqrt(150))
    few = spectrum(1.2).likelihood([0, 0, 1, 0, 1, 0])
    from_toys = toy_goodness_of_fit(few, n_toys=100, rng=rng).p_value
    assert from_toys < goodness_of_fit(few).p_value - 0.1  # 0.22 and 0.46: 3.4 sigma of 100 toys (3e-4)
    assert toys.n_degrees == 5


def test_as_many_bins_as_free_parameters_test_nothing(counting_model):
    """One bin and a free mu describe anything, which is refused as a test."""
    with pytest.raises(InvalidDataError, match="no goodness"):
        goodness_of_fit(counting_model().likelihood([130]))
