"""Binned measurements with a number per event."""

import numpy as np
import pytest
from fairuniverse.simulators.counting import OnOffCounting
from fairuniverse.simulators.gaussian_2d import Gaussian2D
from fairuniverse.simulators.inferno_toy import InfernoToy

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import BinnedScore, DensityModel, best_start, binned_model, fit
from fairuniverse.nuisance import complete
from fairuniverse.seeding import Streams
from fairuniverse.training import TrainingSet

RANGE = (0.1, 3.0)


def training_set(world, nuisances, n_events=50_000, n_threads=1):
    """Training events of an analytic world."""
    events = world.generate({p.name: n_events for p in world.processes}, seed=1)
    settings = {"mu_range": RANGE, "confidence_level": 0.6827, "n_threads": n_threads}
    return TrainingSet(world, events, seed=1, nuisances=nuisances, **settings)


@pytest.fixture(scope="module")
def world():
    """INFERNO's toy with its three nuisance parameters."""
    return InfernoToy(benchmark=4)


@pytest.fixture(scope="module")
def best_score(world):
    """The best classifier at nominal nuisances."""
    model = DensityModel(world.densities)
    return lambda table: model.signal_probability(table[["x0", "x1", "x2"]].to_numpy(float).T)


@pytest.fixture(scope="module")
def binned(world, best_score):
    """All three nuisances floating."""
    return BinnedScore.fit(training_set(world, ["r", "rate", "bkg_scale"]), best_score)


def draw(world, mu, nuisances, *key):
    """One pseudo-experiment."""
    values = complete(world.nuisances, nuisances)
    return world.fresh_sampler().sample(mu, values, streams=Streams(9, *key)).to_pandas()


def test_without_nuisances_many_bins_of_the_best_score_lose_nothing(world, best_score):
    """The histogram of the likelihood ratio is sufficient for mu: 14.7/50, the published bound, to 2 %.

    25 bins lose 1 %; the templates, fifty times the expected background, make it up with their uncertainty.
    """
    binned = BinnedScore.fit(training_set(world, []), best_score)
    bound = DensityModel(world.densities).expected_sigma()
    assert 1.0 < binned.model.expected_sigma() / bound < 1.03


def test_a_score_that_ignores_nuisances_pays_for_it(world, binned):
    """The published ordering: 16.9/50 with the exact likelihood, about 28/50 with bins of a nominal score."""
    bound = DensityModel(world.densities, ["r", "rate", "bkg_scale"]).expected_sigma()
    assert 1.3 < binned.model.expected_sigma() / bound < 1.7


def test_bins_hold_equal_signal_and_know_their_background(world, best_score):
    """Signal is spread evenly over the bins that were asked for, unless the background there is too rare."""
    train = training_set(world, [])
    even = BinnedScore.fit(train, best_score, n_signal_bins=8, n_background_bins=1, min_background_count=1)
    signal = even.model.templates.yields[0]
    assert len(signal) == 8
    assert signal == pytest.approx(50 / 8, rel=1e-3)
    poor = BinnedScore.fit(train, best_score, n_signal_bins=200, min_background_count=900)
    counts = poor.model.templates.effective_counts[1]
    assert 20 < len(counts) < 209
    assert counts.min() >= 900


def test_a_score_of_two_values_has_two_bins():
    """On and off are all that a score can tell of counting: no bin is left without background."""
    binned = BinnedScore.fit(training_set(OnOffCounting(), ["bkg_scale"]), lambda t: t["region"].to_numpy())
    assert binned.model.templates.yields == pytest.approx(np.array([[0, 100], [800, 400]]), rel=0.05)


def test_threads_change_no_bit(world, binned, best_score):
    """Two threads give the templates and the morphing of one."""
    again = BinnedScore.fit(training_set(world, ["r", "rate", "bkg_scale"], n_threads=2), best_score)
    np.testing.assert_array_equal(again.model.templates.yields, binned.model.templates.yields)
    np.testing.assert_array_equal(again.model.morphing.coefficients, binned.model.morphing.coefficients)


def test_every_event_is_counted(world, best_score, binned):
    """Counts add up to the events, below the lowest and above the highest edge as well."""
    toy = draw(world, 1.0, {}, 0)
    assert binned.counts(best_score(toy)).sum() == len(toy)
    assert binned.counts([-1e9, 1e9])[[0, -1]].tolist() == [1, 1]


@pytest.mark.parametrize("scores", [[0.1, np.nan], [[0.1], [0.2]]])
def test_scores_that_are_no_numbers_are_refused(binned, scores):
    """A network that diverged gives a status, not an event in the last bin."""
    with pytest.raises(InvalidDataError, match="one finite number per event"):
        binned.counts(scores)


def test_morphing_follows_the_exact_expectation(world, binned, best_score):
    """At shifted nuisances the expected counts are those of the world, not the nominal ones.

    Chi-square of 25 bins with the noise of 200,000 fresh events: mean 25, and above 63 by chance 1 in 25,000.
    """
    values = complete(world.nuisances, {"r": 0.5, "rate": 2.2})
    events = world.generate({"signal": 10, "background": 200_000}, seed=3)
    table = world.shift(events, values, streams=Streams(3)).to_pandas()
    counts = binned.counts(best_score(table.iloc[10:]))
    alphas = [p.prior.to_alpha(values[p.name]) for p in binned.model.nuisances]
    shares = binned.model.expected(np.array([0.0, *alphas])) / 1000
    nominal = binned.model.expected(np.array([0.0, 0.0, 0.0, 0.0])) / 1000
    # The templates come from 50,000 events: their variance is four times that of the counts.
    chi2 = [float(((counts - 2e5 * s) ** 2 / (5 * 2e5 * s)).sum()) for s in (shares, nominal)]
    assert chi2[0] < 63
    assert chi2[1] > 200


def test_intervals_cover(world, binned, best_score):
    """Of 100 toys with nuisances from their priors 68 % cover: outside 53 to 83 by chance 1 in 1,000."""
    hits = 0
    for i in range(100):
        streams = Streams(5, i)
        nuisances = {p.name: p.draw(rng=streams.rng(p.name)) for p in world.nuisances}
        answer = binned.interval(best_score(draw(world, 1.0, nuisances, i)))
        hits += answer.lower <= 1.0 <= answer.upper
    assert 53 <= hits <= 83


def test_saved_and_loaded_it_answers_the_same(world, binned, best_score, tmp_path):
    """To the last bit."""
    scores = best_score(draw(world, 1.0, {}, 1))
    binned.save(tmp_path)
    loaded = BinnedScore.load(tmp_path)
    assert loaded.interval(scores) == binned.interval(scores)
    assert loaded.confidence_level == 0.6827


def test_even_effects_start_on_the_right_side(world):
    """A rotation seen through one projection has a maximum at its starting value: the fit still arrives."""
    world = Gaussian2D()
    model = DensityModel(world.densities)

    def score(table):
        return model.signal_probability(table[["x0", "x1"]].to_numpy(float).T)

    binned = BinnedScore.fit(training_set(world, ["z"]), score)
    nominal = world.nuisances[0].nominal
    likelihood = binned.likelihood(score(draw(world, 1.0, {"z": nominal + 0.6}, 2)))
    start = best_start(likelihood)
    assert abs(abs(start[1]) - 1.2) < 0.2  # 0.6 rad are 1.2 prior standard deviations, either way
    assert abs(abs(fit(likelihood, start=start)["z"]) - 1.2) < 0.1


def test_any_bins_make_a_model(world):
    """An observable may also be a bin number, and empty ones are refused."""
    train = training_set(world, ["r"])
    model = binned_model(train, lambda t: (t["x0"].to_numpy() > 1).astype(int), 2)
    assert model.templates.yields.sum() == pytest.approx(1050)
    with pytest.raises(InvalidDataError, match="expects no background"):
        binned_model(train, lambda t: (t["x0"].to_numpy() > 1).astype(int), 3)
