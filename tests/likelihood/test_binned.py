"""Binned likelihood: closed forms, gradients, template uncertainty."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import BinnedModel, Templates, histfactory_approximation, profile_interval
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


def test_a_log_normal_normalisation_multiplies(counting_model):
    """A log-normal factor is exp(sigma alpha), in our words and in HistFactory's, with its derivative."""
    scale = NuisanceParameter("scale", LogNormal(0.0, 0.3), 1.0, (0.2, 5.0), "normalisation", ("z",))
    x = np.array([0.5, 1.4])
    for model in (
        counting_model(nuisances=(scale,)),
        histfactory_approximation(counting_model(nuisances=(scale,))),
    ):
        assert model.expected(x) == pytest.approx([25 + 100 * np.exp(0.3 * 1.4)])
        assert model.expected_and_jacobian(x)[1][1] == pytest.approx([30 * np.exp(0.3 * 1.4)])


def test_a_normalisation_whose_prior_is_not_centred_on_one_is_kept(counting_model):
    """HistFactory's factor agrees with the parameter itself at 0 and +-1 sigma, also around a mean of 1.2."""
    scale = NuisanceParameter("scale", Normal(1.2, 0.1), 1.2, (0.5, 2.0), "normalisation", ("z",))
    model = counting_model(nuisances=(scale,))
    for alpha in (-1.0, 0.0, 1.0):
        x = np.array([1.0, alpha])
        assert histfactory_approximation(model).expected(x) == pytest.approx(model.expected(x))


def test_a_factor_that_reaches_zero_has_no_exponential(counting_model):
    """A prior as wide as its mean cannot be said in HistFactory's normsys."""
    scale = NuisanceParameter("scale", Normal(1.0, 1.0), 1.0, (0.0, 3.0), "normalisation", ("z",))
    with pytest.raises(InvalidDataError, match="code4 needs positive"):
        histfactory_approximation(counting_model(nuisances=(scale,)))


@pytest.mark.parametrize("n", [90, 150, 180, 240])
def test_a_truncated_prior_ends_the_fit_at_its_bound(counting_model, n):
    """Profiling a nuisance truncated at half a sigma is minimising over that range, by hand."""
    scale = NuisanceParameter(
        "scale", Normal(1.0, 0.2), 1.0, (0.9, 1.1), "normalisation", ("z",), boundary="truncate"
    )
    answer = profile_interval(counting_model(nuisances=(scale,)).likelihood([n]))
    theta = np.linspace(0.9, 1.1, 2001)
    mu = np.linspace(-1, 5, 1201)
    nu = mu[:, None] * 50 + theta * 100
    curve = (2 * (nu - n + n * np.log(n / nu)) + ((theta - 1) / 0.2) ** 2).min(axis=1)
    accepted = mu[curve <= curve.min() + 1]
    assert (answer.lower, answer.upper) == pytest.approx((accepted[0], accepted[-1]), abs=0.011)


def test_auxiliary_measurements_move_the_constraints(counting_model):
    """A likelihood constrained around a is that around 0, at pulls shifted by a, where data do not care."""
    scale = NuisanceParameter("scale", Normal(1.0, 0.2), 1.0, (0.2, 2.0), "normalisation", ("z",))
    model = counting_model(background=1e-6, nuisances=(scale,))
    moved, plain = model.likelihood([50], {"scale": 0.7}), model.likelihood([50])
    x = np.array([1.0, 0.9])
    shifted = np.array([1.0, 0.9 - 0.7])
    assert moved.twice_nll(x) == pytest.approx(plain.twice_nll(shifted), abs=1e-6)
    assert moved.gradient(x) == pytest.approx(plain.gradient(shifted), abs=1e-5)
    with pytest.raises(InvalidDataError, match="no nuisance parameter 'scael'"):
        model.likelihood([50], {"scael": 0.7})


def test_yields_by_process_add_up(higgs_like):
    """Expected events of the processes and their derivatives sum to those of the bins."""
    model, x = higgs_like(7), np.array([1.3, 0.4, -1.0, 0.9, 0.5, -0.3, 1.1])
    yields, jacobian = model.process_yields_and_jacobian(x)
    expected, slopes = model.expected_and_jacobian(x)
    assert yields.sum(axis=0) == pytest.approx(expected)
    assert jacobian.sum(axis=1) == pytest.approx(slopes)
