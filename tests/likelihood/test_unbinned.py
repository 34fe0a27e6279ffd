"""Unbinned extended likelihood from density ratios: closed forms, limits, gradients, coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import (
    Axis,
    BinnedModel,
    EventTerms,
    Monomials,
    PolynomialMorphing,
    Templates,
    UnbinnedModel,
    fit,
    profile_interval,
)
from fairuniverse.nuisance import Normal, NuisanceParameter
from fairuniverse.protocols import Process

SIGNAL, BACKGROUND = 100.0, 1000.0
PROCESSES = (Process("signal", SIGNAL, is_signal=True), Process("z", BACKGROUND))
SHIFT = NuisanceParameter("shift", Normal(0.0, 0.2), 0.0, (-1.0, 1.0), "shape")
SCALE = NuisanceParameter("scale", Normal(1.0, 0.05), 1.0, (0.5, 1.5), "normalisation", ("z",))
NOMINAL = np.array([1.0, 0.0, 0.0])
MONOMIALS = Monomials.up_to((Axis(SHIFT),), 2)


def _regions(yields, nuisances=(), morphing=None):
    yields = np.asarray(yields, float)
    return BinnedModel(Templates(PROCESSES, yields, np.zeros_like(yields)), nuisances, morphing)


def _still(monomials, n_bins):
    """Morphing that leaves all yields as they are: shifts move events, none in or out."""
    return PolynomialMorphing(monomials.axes, monomials.powers, np.zeros((len(monomials.powers), 2, n_bins)))


def gaussian_terms(x):
    """Signal N(0, 0.5), background N(1 + shift, 1), reference N(1, 1), in the pull a of the shift.

    ln S = a d (x - 1) - (a d)^2 / 2 with d the prior's width is a polynomial of degree two: exact.
    """
    log_signal = -(x**2) / (2 * 0.25) - np.log(0.5) + (x - 1) ** 2 / 2
    d = SHIFT.prior.sigma
    shifts = np.zeros((2, 2, len(x)), np.float32)
    shifts[1] = [d * (x - 1), np.full_like(x, -(d**2) / 2)]
    return EventTerms(np.array([np.exp(log_signal), np.ones_like(x)], np.float32), shifts)


@pytest.fixture(scope="module")
def gaussian_model():
    """A narrow peak on a broad background whose place and yield are uncertain."""
    return UnbinnedModel(_regions([[SIGNAL], [BACKGROUND]], (SHIFT, SCALE), _still(MONOMIALS, 1)), MONOMIALS)


@pytest.fixture(scope="module")
def events():
    """Three hundred events over the whole range."""
    return np.random.default_rng(1).normal(0.8, 1.0, 300)


def draw(rng, mu, shift, scale):
    """Events of the Gaussian world."""
    signal = rng.normal(0, 0.5, rng.poisson(mu * SIGNAL))
    return np.append(signal, rng.normal(1 + shift, 1, rng.poisson(scale * BACKGROUND)))


def test_events_without_shape_are_a_counting_experiment():
    """Ratios of 1 everywhere leave the Poisson likelihood of the number of events."""
    model = UnbinnedModel(_regions([[50.0], [100.0]]))
    counted = _regions([[50.0], [100.0]]).likelihood([130])
    unbinned = model.likelihood(EventTerms(np.ones((2, 130)), np.zeros((2, 0, 130))))
    points = [np.array([mu]) for mu in (0.3, 0.6, 2.0)]
    rises = [unbinned.twice_nll(x) - unbinned.twice_nll(points[0]) for x in points]
    assert rises == pytest.approx([counted.twice_nll(x) - counted.twice_nll(points[0]) for x in points])
    ours, closed = profile_interval(unbinned), profile_interval(counted)
    assert (ours.lower, ours.upper) == pytest.approx((closed.lower, closed.upper), abs=1e-3)


def test_piecewise_constant_ratios_are_the_binned_likelihood(higgs_like):
    """Events that only know their bin, morphing in the coefficients, give the binned likelihood's fit."""
    binned = higgs_like(12, np.inf)
    templates, morphing = binned.templates, binned.morphing
    yields = templates.yields / 500
    small = BinnedModel(Templates(templates.processes, yields, 0 * yields), binned.nuisances, morphing)
    counts = np.random.default_rng(4).poisson(small.expected(np.array([1.4, *[0.3] * 6])))
    unbinned = UnbinnedModel(small, morphing.monomials)
    terms = [EventTerms(np.ones((4, n)), np.zeros((4, 6, n))) for n in counts]
    ours, theirs = profile_interval(unbinned.likelihood(terms)), profile_interval(small.likelihood(counts))
    assert ours.best.values == pytest.approx(theirs.best.values, abs=1e-3)
    assert (ours.lower, ours.upper) == pytest.approx((theirs.lower, theirs.upper), rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(mu=st.floats(0.1, 3), shift=st.floats(-3, 3), scale=st.floats(-3, 3))
def test_expected_densities_are_those_of_the_world(gaussian_model, mu, shift, scale):
    """Lambda times the reference density is the sum of the shifted Gaussians, anywhere."""
    x = np.linspace(-2, 4, 50)
    likelihood = gaussian_model.likelihood(gaussian_terms(x))
    (weights,) = likelihood.expected_weights(np.array([mu, shift, scale]))
    signal, background = norm.pdf(x, 0, 0.5), norm.pdf(x, 1 + 0.2 * shift, 1)
    density = mu * SIGNAL * signal + (1 + 0.05 * scale) * BACKGROUND * background
    assert weights * len(x) * norm.pdf(x, 1, 1) == pytest.approx(density, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(mu=st.floats(0, 3), shift=st.floats(-3, 3), scale=st.floats(-3, 3))
def test_gradient_agrees_with_differences(gaussian_model, events, mu, shift, scale):
    """The analytic gradient equals the numerical one anywhere."""
    likelihood, x = gaussian_model.likelihood(gaussian_terms(events)), np.array([mu, shift, scale])
    steps = 1e-4 * np.eye(3)
    numerical = [(likelihood.twice_nll(x + s) - likelihood.twice_nll(x - s)) / 2e-4 for s in steps]
    assert likelihood.gradient(x) == pytest.approx(numerical, rel=1e-4, abs=1e-2)


def test_the_expected_width_is_the_fisher_bound(gaussian_model):
    """On the expectation the interval has the half-width of the information integral, to 1 %."""
    x = np.linspace(-6, 8, 20_001)
    reference = norm.pdf(x, 1, 1) * (x[1] - x[0])
    sample = gaussian_terms(x)
    asimov = gaussian_model.asimov(EventTerms(sample.ratios, sample.log_shifts, reference), NOMINAL)
    signal, background = SIGNAL * norm.pdf(x, 0, 0.5), BACKGROUND * norm.pdf(x, 1, 1)
    slopes = np.array([signal, background * 0.2 * (x - 1), background * 0.05])
    information = (slopes / (signal + background)) @ slopes.T * (x[1] - x[0]) + np.diag([0, 1, 1])
    answer = profile_interval(asimov)
    assert answer.best["mu"] == pytest.approx(1, abs=1e-3)
    bound = np.sqrt(np.linalg.inv(information)[0, 0])
    assert (answer.upper - answer.lower) / 2 == pytest.approx(bound, rel=0.01)
    assert asimov.information(NOMINAL) == pytest.approx(information, rel=1e-3)


def test_coverage_under_the_priors(gaussian_model):
    """300 toys, nuisances drawn from their priors: coverage within 3.3 sigma (false alarms 0.1 %)."""
    rng, covered = np.random.default_rng(21), 0
    for _ in range(300):
        mu = rng.uniform(0.3, 3)
        data = draw(rng, mu, SHIFT.draw(rng=rng), SCALE.draw(rng=rng))
        answer = profile_interval(gaussian_model.likelihood(gaussian_terms(data)))
        covered += answer.lower <= mu <= answer.upper
    assert covered / 300 == pytest.approx(0.6827, abs=3.3 * np.sqrt(0.6827 * 0.3173 / 300))


def test_several_regions_multiply(gaussian_model, events):
    """Events cut into two regions, each with its own densities and yields, give the whole likelihood."""
    cut = 0.7
    inside = {i: norm.cdf(cut, mean, width) for i, (mean, width) in enumerate([(0, 0.5), (1, 1)])}
    shares = np.array([[inside[i], 1 - inside[i]] for i in (0, 1)])
    yields = shares * np.array([[SIGNAL], [BACKGROUND]])
    split = UnbinnedModel(_regions(yields, (SHIFT, SCALE), _still(MONOMIALS, 2)), MONOMIALS)
    parts = []
    for region, some in enumerate((events[events < cut], events[events >= cut])):
        terms = gaussian_terms(some)
        parts.append(EventTerms(terms.ratios / shares[:, region, None], terms.log_shifts))
    whole, cut_up = gaussian_model.likelihood(gaussian_terms(events)), split.likelihood(parts)
    for x in ([1.7, 0.0, 1.0], [0.4, 0.0, -2.0]):
        assert cut_up.twice_nll(np.array(x)) == pytest.approx(whole.twice_nll(np.array(x)), abs=1e-6)


def test_control_regions_add_their_counts_and_no_second_constraint(gaussian_model):
    """With control regions the Poisson terms are added, and every nuisance is constrained once."""
    control = _regions([[10.0], [500.0]], (SHIFT, SCALE), _still(MONOMIALS, 1))
    with_control = UnbinnedModel(gaussian_model.regions, MONOMIALS, control)
    terms = gaussian_terms(np.linspace(-1, 3, 900))
    alone, both = gaussian_model.likelihood(terms), with_control.likelihood(terms, [530])
    x = np.array([1.2, 0.7, -0.6])
    counted = control.likelihood([530])
    constraint = 0.7**2 + 0.6**2
    added = counted.twice_nll(x) - constraint
    assert both.twice_nll(x) - alone.twice_nll(x) == pytest.approx(added - counted.twice_nll(NOMINAL))
    slope = counted.gradient(x) - 2 * np.array([0, 0.7, -0.6])
    assert both.gradient(x) - alone.gradient(x) == pytest.approx(slope, abs=1e-9)
    assert fit(both).error("scale") < fit(alone).error("scale")


def test_an_event_of_weight_two_is_two_events(gaussian_model, events):
    """Weights count events, in the value and in the gradient."""
    doubled = gaussian_terms(np.append(events, events))
    single = gaussian_terms(events)
    weighted = EventTerms(single.ratios, single.log_shifts, np.full(len(events), 2.0))
    x = np.array([0.4, 0.5, 0.2])
    one, two = gaussian_model.likelihood(weighted), gaussian_model.likelihood(doubled)
    assert one.twice_nll(x) == pytest.approx(two.twice_nll(x))
    assert one.gradient(x) == pytest.approx(two.gradient(x))


def test_any_number_of_events_is_worked_through(gaussian_model):
    """More events than are treated at a time, and none at all, give the sum over all of them."""
    data = np.random.default_rng(3).normal(1, 1, 10_000)
    x = np.array([1.5, 0.3, -0.2])

    def logs(some):
        likelihood = gaussian_model.likelihood(gaussian_terms(some))
        return likelihood.twice_nll(x) - gaussian_model.likelihood(gaussian_terms(data[:0])).twice_nll(x)

    assert logs(data) == pytest.approx(sum(logs(part) for part in np.split(data, 50)), rel=1e-9)


def test_a_negative_estimate_stops_before_the_density_vanishes(gaussian_model):
    """Without a single event near the peak, mu goes below 0 but no further than half the background."""
    data = np.random.default_rng(5).normal(1, 1, 1000)
    data = data[np.abs(data) > 0.5]
    likelihood = gaussian_model.likelihood(gaussian_terms(data))
    answer = profile_interval(likelihood)
    assert likelihood.parameters[0].bounds[0] <= answer.best["mu"] < 0
    assert np.isfinite(likelihood.twice_nll(np.array([likelihood.parameters[0].bounds[0], 0, 0])))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (EventTerms(np.ones((3, 5)), np.zeros((2, 2, 5))), "n_processes = 2"),
        (EventTerms(np.ones((2, 5)), np.zeros((2, 1, 5))), "n_terms = 2"),
        (EventTerms(np.ones((2, 5)), np.zeros((2, 2, 5)), np.ones(4)), "for 5 events"),
        (EventTerms(np.full((2, 5), np.nan), np.zeros((2, 2, 5))), "ratios must be finite"),
        (EventTerms(np.full((2, 5), -1.0), np.zeros((2, 2, 5))), "negative"),
        (EventTerms(np.zeros((2, 5)), np.zeros((2, 2, 5))), "event 0 is expected from no process"),
        ([EventTerms(np.ones((2, 5)), np.zeros((2, 2, 5)))] * 2, "2 regions for a model of 1"),
    ],
)
def test_events_that_do_not_fit_the_model_are_refused(gaussian_model, terms, message):
    """Wrong shapes, numbers that are no densities and the wrong number of regions say what to do."""
    with pytest.raises(InvalidDataError, match=message):
        gaussian_model.likelihood(terms)


def test_models_that_do_not_fit_together_are_refused(gaussian_model):
    """Monomials in other nuisances, other control nuisances, and counts without control regions raise."""
    with pytest.raises(InvalidDataError, match="monomials must follow"):
        UnbinnedModel(gaussian_model.regions)
    with pytest.raises(InvalidDataError, match="same nuisance parameters"):
        UnbinnedModel(gaussian_model.regions, MONOMIALS, _regions([[1.0], [2.0]], (SCALE,)))
    with pytest.raises(InvalidDataError, match="if and only if"):
        gaussian_model.likelihood(gaussian_terms(np.zeros(3)), [3])
