"""What every registered simulator must do, whatever world it is."""

import numpy as np
import pytest
from scipy import stats

from fairuniverse import registry
from fairuniverse.errors import InvalidDataError
from fairuniverse.nuisance import normalisation
from fairuniverse.protocols import Sampler
from fairuniverse.seeding import Streams

N_EVENTS = 70_000
"""More than a block of random numbers, so that threads have something to share."""

FALSE_ALARM = 1e-6
"""Of each statistical comparison."""


@pytest.fixture(scope="module", params=registry.names(registry.SIMULATORS))
def world(request):
    """A registered simulator with its default options."""
    return registry.make_simulator(request.param, {})


@pytest.fixture(scope="module")
def events(world):
    """Nominal events of every process."""
    return world.generate({p.name: N_EVENTS for p in world.processes}, seed=1, n_threads=2)


def test_weights_sum_to_the_yields(world, events):
    """The weights of each process sum to its expected yield, and every process is there."""
    assert events.sum_weights() == pytest.approx({p.name: p.expected_yield for p in world.processes})
    assert len(events) == N_EVENTS * len(world.processes)
    assert events.schema is world.schema
    assert np.isfinite(events.features).all()


def test_generation_depends_on_seed_and_purpose_alone(world, events):
    """Threads do not change a byte; another purpose or seed gives other events."""
    numbers = {p.name: N_EVENTS for p in world.processes}
    finished = []
    again = world.generate(numbers, seed=1, n_threads=1, progress=finished.append)
    np.testing.assert_array_equal(events.features, again.features)
    assert sum(finished) == len(again)
    for other in (
        world.generate(numbers, seed=2, n_threads=2),
        world.generate(numbers, seed=1, purpose="other", n_threads=2),
    ):
        assert (other.features != events.features).any(axis=0).mean() > 0.2


def test_a_prescale_keeps_the_signal_like_and_the_yields(world):
    """Fewer events, the same yields, weights that differ by the prescale and nothing else."""
    numbers = {p.name: 20_000 for p in world.processes}
    thinned = world.generate(numbers, seed=1, prescale=4)
    assert len(thinned) < 20_000 * len(world.processes)
    assert thinned.sum_weights() == pytest.approx({p.name: p.expected_yield for p in world.processes})
    for process in world.processes:
        weights = np.unique(thinned.of_process(process.name).weights.round(9))
        assert weights.max() / weights.min() == pytest.approx(4) or len(weights) == 1
    with pytest.raises(InvalidDataError, match="prescale = 0"):
        world.generate(numbers, seed=1, prescale=0)


def test_unknown_processes_are_refused(world):
    """A number for a process that is not there is a mistake."""
    with pytest.raises(InvalidDataError, match="nonsense"):
        world.generate({"nonsense": 10}, seed=1)


def test_shifting_to_the_nominal_point_changes_nothing(world, events):
    """At nominal nuisances the surviving rows keep their weights, and shifting twice is shifting once."""
    nominal = {p.name: p.nominal for p in world.nuisances}
    shifted, rows = world.shift_with_rows(events, nominal, streams=Streams(1, 0))
    np.testing.assert_array_equal(shifted.weights, events.weights[rows])
    np.testing.assert_array_equal(shifted.process, events.process[rows])
    again = world.shift(events, {}, streams=Streams(1, 0), n_threads=2)
    np.testing.assert_array_equal(again.features, shifted.features)
    primary = [world.schema.index(name) for name in world.schema.primary_names]
    unchanged = np.isclose(shifted.features[primary], events.features[primary][:, rows], rtol=1e-4, atol=1e-4)
    assert unchanged.all(axis=0).mean() > 0.7  # jets between two thresholds may vanish


def test_normalisations_scale_weights(world, events):
    """Each normalisation multiplies the weights of its processes, and of no other."""
    values = {p.name: p.bounds[1] for p in world.nuisances if p.kind == "normalisation"}
    before = world.shift(events, {}, streams=Streams(1, 0)).sum_weights()
    after = world.shift(events, values, streams=Streams(1, 0)).sum_weights()
    complete = {p.name: values.get(p.name, p.nominal) for p in world.nuisances}
    expected = {
        name: total * normalisation(world.nuisances, complete, name) for name, total in before.items()
    }
    assert after == pytest.approx(expected)


def test_shape_nuisances_move_features(world, events):
    """Every shape nuisance changes something, and a value out of range is refused."""
    before = world.shift(events, {}, streams=Streams(1, 0)).features
    for parameter in world.nuisances:
        with pytest.raises(InvalidDataError, match="outside its range"):
            world.shift(events, {parameter.name: parameter.bounds[1] + 1}, streams=Streams(1, 0))
        if parameter.kind == "shape":
            moved = world.shift(events, {parameter.name: parameter.bounds[1]}, streams=Streams(1, 0)).features
            assert moved.shape != before.shape or (moved != before).any()


def test_derived_features_are_functions_of_the_primary_ones(world, events):
    """Deriving nominal events keeps their primary features."""
    derived = world.derive(events)
    for name in world.schema.primary_names:
        np.testing.assert_allclose(derived[name], events[name], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def samplers(world, events):
    """Both sources of toys."""
    return {"pool": world.pool_sampler(events), "fresh": world.fresh_sampler()}


@pytest.mark.parametrize("mode", ["pool", "fresh"])
def test_toys_are_unlabelled_and_depend_on_their_streams_alone(samplers, mode):
    """No weights, codes or record; the same key gives the same toy for any threads, another key another."""
    sampler = samplers[mode]
    assert isinstance(sampler, Sampler)
    toy = sampler.sample(1.0, {}, streams=Streams(3, 0, 1), n_threads=2)
    assert (toy.weights, toy.process, toy.record) == (None, None, None)
    features = toy.features.copy()
    sampler.sample(2.0, {}, streams=Streams(3, 0, 2))
    np.testing.assert_array_equal(sampler.sample(1.0, {}, streams=Streams(3, 0, 1)).features, features)
    other = sampler.sample(1.0, {}, streams=Streams(3, 1, 1)).features
    assert other.shape != features.shape or (other != features).any()
    with pytest.raises(InvalidDataError, match="mu = -1"):
        sampler.sample(-1.0, {}, streams=Streams(3, 0, 1))


def test_pool_and_fresh_toys_agree(world, samplers):
    """Counts are Poisson about the same mean, and every feature has the same distribution."""
    values = {p.name: p.prior.from_alpha(0.5) for p in world.nuisances}
    mu = 1.5
    pool, fresh = (
        samplers[mode].sample(mu, values, streams=Streams(4, i, 0), n_threads=2).features.copy()
        for i, mode in enumerate(("pool", "fresh"))
    )
    n_sigmas = stats.norm.isf(FALSE_ALARM / 2)
    # The pool's own fluctuation of what is selected is that of its number of events.
    scatter = np.sqrt(pool.shape[1] + fresh.shape[1] + pool.shape[1] ** 2 / N_EVENTS)
    assert abs(pool.shape[1] - fresh.shape[1]) < n_sigmas * scatter
    rng = np.random.default_rng(0)
    for a, b in zip(pool, fresh, strict=True):
        # Few enough rows that drawing them twice from the pool hardly matters.
        one, two = (rng.choice(x, min(len(x), 5000), replace=False) for x in (a, b))
        assert stats.ks_2samp(one, two, method="asymp").pvalue > FALSE_ALARM


def test_rows_of_a_toy_are_in_no_order(samplers):
    """The first and the second half of a toy have the same distribution."""
    toy = samplers["fresh"].sample(1.0, {}, streams=Streams(5, 0, 0))
    half = len(toy) // 2
    for feature in toy.features:
        assert stats.ks_2samp(feature[:half], feature[half:], method="asymp").pvalue > FALSE_ALARM
