"""Binned likelihood: closed forms, gradients, template uncertainty."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import BinnedModel, Templates, histfactory_approximation
from fairuniverse.nuisance import LogNormal, Normal, NuisanceParameter
from fairuniverse.protocols import Process

PULLS = st.lists(st.floats(-2.5, 1.5), min_size=6, max_size=6)


def _numerical_gradient(likelihood, x, step=1e-5):
    steps = step * np.eye(len(x))
    return np.array([likelihood.twice_nll(x + s) - likelihood.twice_nll(x - s) for s in steps]) / (2 * step)


def test_twice_nll_of_one_bin_is_the_poisson_likelihood_ratio(counting_model):
    """One bin without nuisances gives 2 (nu - n + n ln(n / nu))."""
    likelihood = counting_model(50.0, 100.0).likelihood([130])
    assert likelihood.twice_nll(np.array([1.0])) == pytest.approx(2 * (150 - 130 + 130 * np.log(130 / 150)))
    assert likelihood.twice_nll(np.array([0.6])) == pytest.approx(0.0, abs=1e-12)


def test_an_empty_bin_costs_twice_its_expectation(counting_model):
    """With n = 0 the logarithm drops out and 2 nu remains."""
    assert counting_model(5.0, 3.0).likelihood([0]).twice_nll(np.array([1.0])) == pytest.approx(16.0)


@settings(max_examples=40, deadline=None)
@given(mu=st.floats(-1, 4), pulls=PULLS)
def test_gradient_agrees_with_differences(higgs_like, mu, pulls):
    """The analytic gradient equals the numerical one anywhere, also with template uncertainty."""
    model = higgs_like(20)
    x = np.array([mu, *pulls])
    likelihood = model.likelihood(np.round(model.expected(np.array([1.3, *[0.3] * 6]))))
    scale = np.sqrt(np.diag(model.fisher_information(x)))
    assert likelihood.gradient(x) / scale == pytest.approx(
        _numerical_gradient(likelihood, x) / scale, abs=2e-3, rel=1e-4
    )


@settings(max_examples=20, deadline=None)
@given(mu=st.floats(0, 3), pulls=PULLS)
def test_gradient_of_the_histfactory_model_agrees_with_differences(higgs_like, mu, pulls):
    """Code4p and code4 interpolation have the derivatives they claim, inside and beyond one sigma."""
    model = histfactory_approximation(higgs_like(20))
    x = np.array([mu, *pulls])
    likelihood = model.likelihood(np.round(model.expected(model.start)))
    scale = np.sqrt(np.diag(model.fisher_information(x)))
    assert likelihood.gradient(x) / scale == pytest.approx(
        _numerical_gradient(likelihood, x) / scale, abs=2e-3, rel=1e-4
    )


@pytest.mark.parametrize("n", [0, 1, 80, 150, 400])
def test_template_factor_is_profiled_exactly(counting_model, n):
    """The closed form of the Barlow-Beeston factor equals a numerical minimisation over it."""
    model = counting_model(50.0, 100.0, error=30.0)
    delta, nu = 30 / 150, 150.0

    def full(gamma):
        poisson = 2 * (gamma * nu - n + (n * np.log(n / (gamma * nu)) if n else 0))
        return poisson + ((gamma - 1) / delta) ** 2

    best = minimize_scalar(full, bounds=(0, 5), method="bounded", options={"xatol": 1e-10}).fun
    assert model.likelihood([n]).twice_nll(np.array([1.0])) == pytest.approx(best, rel=1e-4, abs=1e-6)


def test_template_uncertainty_widens_the_expected_error(counting_model):
    """With n events and a template error e, the error of mu is sqrt(n + e^2) / s."""
    assert counting_model(50.0, 100.0, error=30.0).expected_sigma() == pytest.approx(
        np.sqrt(150 + 30**2) / 50
    )


def test_normalisation_nuisances_multiply(higgs_like):
    """bkg_scale acts on top of ttbar_scale and diboson_scale, and never on the signal."""
    model = higgs_like(10)
    x = np.array([2.0, 0, 0, -30.0, 1.0, -1.0, 2.0])
    signal, z, top, vv = model.templates.yields
    expected = 2 * signal + 1.002 * (z + 1.02 * top + 0.75 * vv)
    assert model.expected(x) == pytest.approx(expected, rel=1e-12)


def test_data_that_are_no_counts_are_refused(counting_model):
    """Another number of bins, negative and infinite counts raise."""
    for data in ([1, 2], [-1], [np.nan], [np.inf]):
        with pytest.raises(InvalidDataError):
            counting_model().likelihood(data)


def test_a_bin_without_background_is_refused():
    """A bin in which no background is expected says: merge bins."""
    processes = (Process("signal", 1.0, is_signal=True), Process("z", 1.0))
    with pytest.raises(InvalidDataError, match="bin 1 expects no background"):
        Templates(processes, np.array([[1.0, 1.0], [1.0, 0.0]]), np.zeros((2, 2)))


def test_templates_without_signal_are_refused():
    """A model in which mu would have no effect is refused."""
    with pytest.raises(InvalidDataError, match="no process is signal"):
        BinnedModel(Templates((Process("z", 1.0),), np.ones((1, 2)), np.zeros((1, 2))))


def test_a_shape_nuisance_without_morphing_is_refused(counting_model):
    """A nuisance parameter that nothing follows is refused instead of fitted to nothing."""
    tes = NuisanceParameter("tes", Normal(1.0, 0.01), 1.0, (0.9, 1.1), "shape")
    with pytest.raises(InvalidDataError, match="tes"):
        counting_model(nuisances=(tes,))


def test_a_log_normal_normalisation_is_refused(counting_model):
    """A normalisation nuisance with a log-normal prior is refused."""
    scale = NuisanceParameter("scale", LogNormal(0.0, 0.1), 1.0, (0.0, 2.0), "normalisation", ("z",))
    with pytest.raises(InvalidDataError, match="needs a Normal or Uniform prior"):
        counting_model(nuisances=(scale,))
