"""The worlds with exact densities: densities, samples, information, intervals."""

from itertools import product

import numpy as np
import pytest
from fairuniverse.simulators.counting import OnOffCounting
from fairuniverse.simulators.gaussian_2d import Gaussian2D
from fairuniverse.simulators.inferno_toy import InfernoToy
from scipy import stats

from fairuniverse.errors import InvalidConfigError, InvalidDataError
from fairuniverse.likelihood import DensityModel, fit, profile_interval
from fairuniverse.nuisance import complete
from fairuniverse.seeding import Streams

FALSE_ALARM = 1e-5
"""Of each statistical comparison."""

TRANSLATED = {"toy": "translated", "signal_angle": 30.0}
WORLDS = (
    (Gaussian2D, {}),
    (Gaussian2D, TRANSLATED),
    (InfernoToy, {"benchmark": 2}),
    (InfernoToy, {"benchmark": 4, "signal_centre": 1.0}),
    (OnOffCounting, {}),
)
EVERY_WORLD = pytest.mark.parametrize(("make", "options"), WORLDS, ids=lambda v: getattr(v, "__name__", ""))


def off_nominal(world):
    """A point a standard deviation away in every nuisance."""
    return {p.name: p.prior.from_alpha(1.0) for p in world.nuisances}


def exact_model(world):
    """The exact likelihood with all nuisances floating."""
    return DensityModel(world.densities, [p.name for p in world.nuisances])


@EVERY_WORLD
def test_densities_integrate_to_one(make, options):
    """At the nominal point, at the ends of the nuisances' draws, and with the world's own quadrature."""
    densities = make(**options).densities
    for alpha in (-1.5, 0.0, 1.5):
        values = {p.name: p.prior.from_alpha(alpha) for p in densities.nuisances}
        nodes, weights = densities.quadrature(values)
        integrals = np.exp(densities.log_densities(nodes, values)) @ weights
        np.testing.assert_allclose(integrals, 1.0, rtol=1e-6)


@EVERY_WORLD
def test_scores_are_derivatives(make, options):
    """The scores agree with differences of the log densities."""
    world = make(**options)
    events = world.generate({p.name: 50 for p in world.processes}, seed=1).features.astype(float)
    values = off_nominal(world)
    scores = world.densities.scores(events, values)
    for p in world.nuisances:
        if p.kind == "shape":
            up, down = (
                world.densities.log_densities(events, values | {p.name: values[p.name] + h})
                for h in (1e-5, -1e-5)
            )
            np.testing.assert_allclose(scores[p.name], (up - down) / 2e-5, rtol=1e-5, atol=1e-5)


@EVERY_WORLD
def test_gradient_of_the_likelihood(make, options):
    """The analytic gradient agrees with differences, auxiliary measurements included."""
    world = make(**options)
    model = exact_model(world)
    events = world.fresh_sampler().sample(1.0, off_nominal(world), streams=Streams(2, 0)).features
    auxiliaries = {p.name: p.prior.from_alpha(-0.7) for p in model.nuisances}
    likelihood = model.likelihood(events, auxiliaries)
    x = model.point(1.3, {p.name: p.prior.from_alpha(0.8) for p in world.nuisances})
    for i, gradient in enumerate(likelihood.gradient(x)):
        h = np.zeros(len(x))
        h[i] = 1e-5
        slope = (likelihood.twice_nll(x + h) - likelihood.twice_nll(x - h)) / 2e-5
        assert gradient == pytest.approx(slope, rel=1e-4, abs=1e-3)


@EVERY_WORLD
def test_fisher_information_is_the_covariance_of_the_scores(make, options):
    """The integral agrees with the sum over simulated events, within five of its standard errors."""
    world = make(**options)
    model = exact_model(world)
    values = off_nominal(world)
    x = model.point(1.0, values)
    nominal = world.generate({p.name: 50_000 for p in world.processes}, seed=3)
    events = world.shift(nominal, values, streams=Streams(3, 0))
    slopes = model.intensity(events.features.astype(float), x)[1]
    products = slopes[:, None] * slopes
    simulated = products @ events.weights
    error = np.sqrt(products**2 @ events.weights**2)
    constraints = [p.prior.is_constraint / p.prior.slope(values[p.name]) ** 2 for p in model.nuisances]
    exact = model.fisher_information(x) - np.diag([0.0, *constraints])
    assert (np.abs(exact - simulated) < 5 * error + 1e-9 * np.abs(exact)).all()  # by chance 6e-7 per entry


@pytest.mark.parametrize("options", [{}, TRANSLATED], ids=["rotated", "translated"])
def test_gaussian_samples_follow_their_densities(options):
    """Both coordinates of both processes, shifted, are Gaussian about the exact centres."""
    world = Gaussian2D(**options)
    values = off_nominal(world)
    nominal = world.generate({p.name: 20_000 for p in world.processes}, seed=4)
    events = world.shift(nominal, values, streams=Streams(4, 0))
    centres, _ = world.densities.centres(values["z"])
    for process, centre, sigma in zip(("signal", "background"), centres, world.densities.sigmas, strict=True):
        for feature, mean in zip(events.of_process(process).features, centre, strict=True):
            assert stats.kstest(feature, stats.norm(mean, sigma).cdf).pvalue > FALSE_ALARM


def test_inferno_samples_follow_their_densities():
    """Every coordinate of the shifted background, and of the signal, has its published distribution."""
    world = InfernoToy(signal_centre=1.0)
    nominal = world.generate({p.name: 20_000 for p in world.processes}, seed=4)
    events = world.shift(nominal, {"r": 0.7, "rate": 4.5}, streams=Streams(4, 0))
    signal = (stats.norm(1, 1), stats.norm(1, 1), stats.expon(scale=1 / 2))
    background = (stats.norm(2.7, 5**0.5), stats.norm(0, 3), stats.expon(scale=1 / 4.5))
    for process, distributions in (("signal", signal), ("background", background)):
        for feature, distribution in zip(events.of_process(process).features, distributions, strict=True):
            assert stats.kstest(feature, distribution.cdf).pvalue > FALSE_ALARM


def test_counting_samples_follow_their_probabilities():
    """All signal is on; the background is on with probability 1 / (1 + tau)."""
    world = OnOffCounting(tau=2.0)
    events = world.generate({p.name: 20_000 for p in world.processes}, seed=4)
    assert events.of_process("signal")["region"].all()
    n_on = int(events.of_process("background")["region"].sum())
    assert stats.binomtest(n_on, 20_000, 1 / 3).pvalue > FALSE_ALARM


@pytest.mark.parametrize(
    ("number", "published"), [(0, 14.71), (1, 15.52), (2, 15.65), (3, 15.62), (4, 16.89)]
)
def test_inferno_errors_are_the_published_ones(number, published):
    """The analytic row of arXiv:1806.04743, table 2: the expected standard error of s, to 0.1."""
    world = InfernoToy(benchmark=number)
    assert 50 * exact_model(world).expected_sigma() == pytest.approx(published, abs=0.1)


def test_inferno_benchmarks_have_their_nuisances():
    """None; r; r and the rate, free; both constrained; the background yield, too."""
    constrained = [
        {p.name: p.prior.is_constraint for p in InfernoToy(benchmark=b).nuisances} for b in range(5)
    ]
    both = {"r": True, "rate": True}
    assert constrained == [{}, {"r": False}, dict.fromkeys(both, False), both, both | {"bkg_scale": True}]


def test_rotated_classifier_has_the_published_area():
    """The best classifier at the nominal angle has the area 0.978 of arXiv:2105.08742, figure 3."""
    world = Gaussian2D()
    events = world.generate({p.name: 20_000 for p in world.processes}, seed=5)
    score = exact_model(world).signal_probability(events.features.astype(float))
    area = stats.mannwhitneyu(score[events.process == 0], score[events.process == 1]).statistic / 20_000**2
    exact = stats.norm.cdf(2 / (0.7 * 2**0.5))
    assert exact == pytest.approx(0.978, abs=1e-3)
    assert area == pytest.approx(exact, abs=5 * 0.0006)  # its standard error; by chance 6e-7


GRIDS = (
    (InfernoToy, {"benchmark": 2}, (1.0, 2.0), ({"r": -0.5, "rate": 2.5}, {"r": 0.8, "rate": 4.0})),
    (
        InfernoToy,
        {"benchmark": 4},
        (1.0, 2.0),
        ({"r": 0.4, "rate": 2.0, "bkg_scale": 1.1}, {"r": -0.6, "rate": 3.5, "bkg_scale": 0.85}),
    ),
    (Gaussian2D, {"luminosity": 0.02}, (1.0, 2.0), ({"z": 0.3}, {"z": 1.6})),
    (Gaussian2D, {"luminosity": 0.01, **TRANSLATED}, (1.0, 2.0), ({"z": -6.0}, {"z": 4.0})),
)
"""Of the counting world the coverage is known without toys, see test_counting_closed_form.py."""

N_TOYS = 100


def auxiliaries(model, values, rng):
    """Outcomes of the measurements behind the constraints, about the true values."""
    return {
        p.name: float(rng.normal(values[p.name], p.prior.sigma))
        for p in model.nuisances
        if p.prior.is_constraint
    }


def covers(likelihood, mu):
    """Whether mu is in the 68.27 % profile interval: the definition that profile_interval solves."""
    best = fit(likelihood)
    return fit(likelihood, fixed={"mu": mu}, start=best.values).twice_nll - best.twice_nll <= 1.0


@pytest.mark.parametrize(
    ("make", "options", "mus", "points"), GRIDS, ids=lambda v: getattr(v, "__name__", "")
)
def test_the_exact_interval_covers_everywhere(make, options, mus, points):
    """At every point of a grid in (mu, nuisances), and in sum; false-alarm rate 1e-5 each."""
    world = make(**options)
    model, sampler = exact_model(world), world.fresh_sampler()
    n_covered = []
    for i, (mu, values) in enumerate(product(mus, points)):
        hits = 0
        for j in range(N_TOYS):
            streams = Streams(6, i, j)
            events = sampler.sample(mu, values, streams=streams).features
            hits += covers(model.likelihood(events, auxiliaries(model, values, streams.rng("auxiliary"))), mu)
        assert stats.binomtest(hits, N_TOYS, 0.6827).pvalue > FALSE_ALARM, (mu, values, hits)
        n_covered.append(hits)
    assert stats.binomtest(sum(n_covered), N_TOYS * len(n_covered), 0.6827).pvalue > FALSE_ALARM


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (InfernoToy, {"benchmark": 4, "luminosity": 20.0}),
        (Gaussian2D, {}),
        (Gaussian2D, TRANSLATED),
        (OnOffCounting, {"signal": 1e4, "background": 4e4}),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_the_width_is_the_fisher_bound(make, options):
    """With many events the half-width is the bound at the fitted point, to 1 % (scatter below 0.3 %)."""
    world = make(**options)
    model, sampler = exact_model(world), world.fresh_sampler()
    for i, mu in enumerate((1.0, 2.0)):
        values = off_nominal(world)
        likelihood = model.likelihood(sampler.sample(mu, values, streams=Streams(7, i, 0)).features, values)
        answer = profile_interval(likelihood)
        fitted = dict(zip(model.names[1:], answer.best.values[1:].tolist(), strict=True))
        bound = model.expected_sigma(answer.best["mu"], fitted)
        assert (answer.upper - answer.lower) / 2 == pytest.approx(bound, rel=0.01)


def test_the_fit_finds_a_distant_nuisance():
    """A translation of nine background widths is found from a start at none."""
    world = Gaussian2D(toy="translated", luminosity=0.05)
    events = world.fresh_sampler().sample(1.0, {"z": 9.0}, streams=Streams(8, 0, 0)).features
    best = fit(exact_model(world).likelihood(events))
    assert best["z"] == pytest.approx(9.0, abs=5 * best.error("z"))  # by chance 6e-7


def test_a_likelihood_needs_possible_events():
    """An event that no process can make is named; so is a nuisance that does not exist."""
    densities = InfernoToy().densities
    with pytest.raises(InvalidDataError, match=r"event 1 = .* cannot occur"):
        DensityModel(densities).likelihood(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]]))
    with pytest.raises(InvalidDataError, match="no nuisance parameter 'tes' among r, rate, bkg_scale"):
        DensityModel(densities, ["tes"])


def test_an_empty_data_set_has_a_likelihood():
    """No events: the estimate is zero signal, and the likelihood is that of the expectation alone."""
    world = InfernoToy(benchmark=0)
    model = exact_model(world)
    likelihood = model.likelihood(np.empty((3, 0)))
    assert likelihood.twice_nll(np.array([0.4])) == pytest.approx(-2 * 50 * 0.6)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Gaussian2D, {"toy": "sheared"}, "toy = 'sheared' is not allowed: there are rotated, translated"),
        (Gaussian2D, {"luminosity": 0.0}, "luminosity = 0.0 must be a positive number"),
        (InfernoToy, {"benchmark": 5}, "benchmark = 5 is not allowed: there are 0, 1, 2, 3, 4"),
        (OnOffCounting, {"tau": float("nan")}, "tau = nan must be a positive number"),
    ],
)
def test_impossible_options_are_refused(make, options, message):
    """The message names the option, its value and the rule."""
    with pytest.raises(InvalidConfigError, match=message):
        make(**options)


def test_values_left_out_are_nominal():
    """Densities at an incomplete point are those of the completed one."""
    world = InfernoToy()
    events = np.array([[0.0], [0.0], [0.2]])
    complete_values = complete(world.nuisances, {"r": 0.3})
    np.testing.assert_array_equal(
        world.densities.log_densities(events, {"r": 0.3}),
        world.densities.log_densities(events, complete_values),
    )
