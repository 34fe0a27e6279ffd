"""Fits and profile-likelihood intervals."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.special import lambertw, ndtri

from fairuniverse.errors import FitError
from fairuniverse.likelihood import (
    BinnedModel,
    Parameter,
    ProfileRatio,
    Templates,
    fit,
    minos_interval,
    profile_interval,
    profile_scan,
)
from fairuniverse.nuisance import Normal, NuisanceParameter
from fairuniverse.protocols import Process


@dataclass
class Curve:
    """Likelihood of one parameter given as a function."""

    function: object
    parameters: tuple = field(default=(Parameter("x", 0.0, 0.1),))

    def twice_nll(self, x):
        """Value of the curve."""
        return float(self.function(x[0]))

    def gradient(self, x):
        """Numerical slope."""
        return np.array([(self.function(x[0] + 1e-6) - self.function(x[0] - 1e-6)) / 2e-6])


@pytest.mark.parametrize("n", [7, 130, 20_000])
def test_counting_interval_has_its_closed_form(counting_model, n):
    """The bounds on nu = mu s + b are -n W(-exp(-1 - 1/(2 n))) on both branches of Lambert's function."""
    answer = profile_interval(counting_model(50.0, 3.0).likelihood([n]), confidence_level=0.6826894921370859)
    argument = -np.exp(-1 - 1 / (2 * n))
    lower, upper = (-n * lambertw(argument, branch).real for branch in (0, -1))
    # The bounds are found to 1e-4 of their distance from the estimate, sqrt(n) / 50.
    tolerance = 3e-4 * np.sqrt(n) / 50
    assert answer.lower == pytest.approx((lower - 3) / 50, abs=tolerance)
    assert answer.upper == pytest.approx((upper - 3) / 50, abs=tolerance)
    assert answer.interval.mu_hat == pytest.approx((n - 3) / 50, abs=0.01 * np.sqrt(n) / 50)


@pytest.mark.parametrize(("n_on", "n_off", "tau"), [(30, 40, 2.0), (15, 60, 5.0)])
def test_on_off_significance_is_that_of_li_and_ma(n_on, n_off, tau):
    """With a free background measured in an off region, twice_nll(mu = 0) is Li and Ma's S^2 (eq. 17)."""
    processes = (Process("signal", 1.0, is_signal=True), Process("z", 1.0))
    yields = np.array([[1.0, 0.0], [n_off / tau, n_off]])
    free = NuisanceParameter("scale", Normal(1.0, 1000.0), 1.0, (0.0, 10.0), "normalisation", ("z",))
    likelihood = BinnedModel(Templates(processes, yields, 0 * yields), (free,)).likelihood([n_on, n_off])
    total = n_on + n_off
    on = n_on * np.log((1 + tau) * n_on / total)
    off = n_off * np.log((1 + 1 / tau) * n_off / total)
    rise = fit(likelihood, {"mu": 0.0}).twice_nll - fit(likelihood).twice_nll
    assert rise == pytest.approx(2 * (on + off), rel=1e-4)


def test_asimov_interval_has_the_width_of_the_fisher_information(higgs_like):
    """On the expectation itself the half-width is the Fisher error and mu_hat the true value."""
    model = higgs_like()
    answer = profile_interval(model.likelihood(model.expected(model.start)))
    assert answer.interval.mu_hat == pytest.approx(1.0, abs=2e-3)
    assert (answer.upper - answer.lower) / 2 == pytest.approx(model.expected_sigma(), rel=0.01)
    assert answer.best.error("mu") == pytest.approx(model.expected_sigma(), rel=0.01)


def test_bounds_are_where_the_refitted_likelihood_has_risen_by_one(higgs_like):
    """A fit with mu fixed on a bound lies z^2 above the best fit: nuisances are profiled, not kept."""
    model = higgs_like()
    data = np.random.default_rng(5).poisson(model.expected(np.array([0.7, 1.0, -0.5, 0.8, 0.4, 1.0, -1.0])))
    likelihood = model.likelihood(data)
    answer = profile_interval(likelihood, confidence_level=0.9)
    for bound in (answer.lower, answer.upper):
        rise = fit(likelihood, {"mu": bound}).twice_nll - answer.best.twice_nll
        assert rise == pytest.approx(ndtri(0.95) ** 2, rel=1e-3)


def test_estimates_may_be_negative(counting_model):
    """A downward fluctuation gives a negative estimate, not one pushed to zero."""
    answer = profile_interval(counting_model(50.0, 100.0).likelihood([80]))
    assert answer.interval.mu_hat == pytest.approx(-0.4, abs=1e-3)
    assert answer.lower < -0.4 < answer.upper


def test_a_limit_reached_first_is_reported():
    """Where the parameter ends before the likelihood has risen, the bound is the limit and flagged."""
    curve = Curve(lambda x: (x - 0.2) ** 2, (Parameter("x", 0.1, 0.1, (0.0, 50.0)),))
    answer = profile_interval(curve, "x")
    assert answer.at_limit == (True, False)
    assert answer.lower == 0.0
    assert answer.upper == pytest.approx(1.2, abs=1e-3)


def test_a_best_fit_at_a_limit_still_has_an_interval():
    """With the estimate at a limit of the parameter, the other bound is still found."""
    curve = Curve(lambda x: (x + 1) ** 2, (Parameter("x", 0.5, 0.1, (0.0, 50.0)),))
    answer = profile_interval(curve, "x")
    assert answer.at_limit == (True, False)
    assert answer.interval.mu_hat == pytest.approx(0.0, abs=1e-3)
    assert answer.upper == pytest.approx(np.sqrt(2) - 1, abs=1e-3)


def test_a_better_minimum_found_by_the_scan_is_taken():
    """A scan that falls below the first minimum starts again from there."""
    # Two wells at -1 and +1, the right one deeper, with a barrier lower than 1 between them.
    curve = Curve(lambda x: 0.6 * (x * x - 1) ** 2 - 0.15 * x, (Parameter("x", -1.1, 0.3, (-9.0, 9.0)),))
    answer = profile_interval(curve, "x")
    assert answer.interval.mu_hat == pytest.approx(1.03, abs=0.02)


@pytest.mark.parametrize("function", [lambda x: np.nan, lambda x: -x], ids=["nan", "unbounded"])
def test_a_likelihood_without_minimum_is_an_error(function):
    """A fit that cannot converge raises; no number is returned."""
    with pytest.raises(FitError, match=r"did not converge|no curvature"):
        profile_interval(Curve(function), "x")


def test_fixed_parameters_stay_fixed(higgs_like):
    """A fixed nuisance keeps its value and makes the error of mu smaller."""
    model = higgs_like()
    likelihood = model.likelihood(model.expected(model.start))
    kept = fit(likelihood, {"tes": 0.5})
    assert kept["tes"] == 0.5
    assert kept.error("mu") < fit(likelihood).error("mu")


def test_coverage_under_the_priors(higgs_like):
    """300 toys, nuisances drawn from their priors: coverage within 3.3 sigma (false alarms 0.1 %)."""
    model, rng, covered = higgs_like(20, 1e9), np.random.default_rng(11), 0
    for _ in range(300):
        truth = [p.prior.to_alpha(p.draw(rng=rng)) for p in model.nuisances]
        mu = rng.uniform(0.1, 3)
        answer = profile_interval(model.likelihood(rng.poisson(model.expected(np.array([mu, *truth])))))
        covered += answer.lower <= mu <= answer.upper
    assert covered / 300 == pytest.approx(0.6827, abs=3.3 * np.sqrt(0.6827 * 0.3173 / 300))


@pytest.mark.parametrize("confidence_level", [0.6827, 0.95])
def test_minos_finds_the_same_interval(higgs_like, confidence_level):
    """MINOS and our own search agree to 1 % of the half-width, bounds and all."""
    model = higgs_like(20)
    data = np.random.default_rng(9).poisson(model.expected(np.array([1.6, 0.5, -1.0, 0.3, 0.4, 1.0, -1.0])))
    likelihood = model.likelihood(data)
    minos = minos_interval(likelihood, confidence_level=confidence_level)
    ours = profile_interval(likelihood, confidence_level=confidence_level)
    tolerance = 0.005 * (ours.upper - ours.lower)
    assert (minos.lower, minos.upper) == pytest.approx((ours.lower, ours.upper), abs=tolerance)
    assert minos.best["mu"] == pytest.approx(ours.best["mu"], abs=tolerance)
    assert minos.at_limit == (False, False)


def test_minos_reports_a_limit():
    """Where the parameter ends first, the bound is the limit and flagged."""
    curve = Curve(lambda x: (x - 0.2) ** 2, (Parameter("x", 0.1, 0.1, (0.0, 50.0)),))
    answer = minos_interval(curve, "x")
    assert answer.at_limit == (True, False)
    assert answer.lower == 0.0
    assert answer.upper == pytest.approx(1.2, abs=0.01)


def test_minos_that_finds_nothing_is_an_error():
    """A likelihood that never rises by one has no interval, only a status."""
    curve = Curve(lambda x: 0.5 * (1 - np.exp(-(x**2))))
    with pytest.raises(FitError, match="MINOS"):
        minos_interval(curve, "x")


@dataclass
class Plain:
    """A likelihood that keeps its curvature to itself."""

    likelihood: object

    def __post_init__(self):
        """Pass on what every likelihood has."""
        self.parameters = self.likelihood.parameters
        self.twice_nll, self.gradient = self.likelihood.twice_nll, self.likelihood.gradient


def test_known_curvature_saves_evaluations_and_changes_nothing(higgs_like):
    """With the information the fit is the same, in less than half of the evaluations."""
    model = higgs_like(20)
    likelihood = model.likelihood(np.random.default_rng(3).poisson(model.expected(model.start)))
    known, unknown = fit(likelihood), fit(Plain(likelihood))
    assert known.values == pytest.approx(unknown.values, abs=0.01)
    assert known.covariance == pytest.approx(unknown.covariance, rel=0.02, abs=1e-3)
    assert known.n_calls < unknown.n_calls / 2


def test_a_scan_is_the_profile_likelihood(higgs_like):
    """On the scan, the bounds of the interval have risen by one and the estimate not at all."""
    model = higgs_like(12)
    likelihood = model.likelihood(np.round(model.expected(np.array([1.6, *[0.4] * 6]))))
    answer = profile_interval(likelihood)
    points = [answer.lower, answer.best["mu"], answer.upper]
    assert profile_scan(likelihood, points) == pytest.approx([1.0, 0.0, 1.0], abs=1e-3)


def test_the_ratio_finds_the_deeper_of_two_minima():
    """A conditional fit below the best one starts anew: afterwards heights are above the deeper minimum."""
    double = Curve(lambda x: 40 * (x**2 - 1) ** 2 + 3 * x, (Parameter("x", 1.5, 0.1, (-3.0, 3.0)),))
    ratio = ProfileRatio(double, "x")
    assert ratio.estimate == pytest.approx(1.0, abs=0.02)
    deepest = double.function(-1.0092)
    heights = [ratio(x) for x in (-1.0, 1.0, 1.1)]
    assert heights == pytest.approx([double.function(x) - deepest for x in (-1.0, 1.0, 1.1)], abs=1e-3)
    assert ratio.estimate == pytest.approx(-1.0092, abs=1e-3)
