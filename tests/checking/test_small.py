"""The small world of a check: the same world with fewer events."""

import numpy as np
import pytest

from fairuniverse.checking.small import N_TOY_EVENTS, SmallBenchmark
from fairuniverse.config import BenchmarkConfig, TrainingConfig
from fairuniverse.protocols import Simulator
from fairuniverse.registry import make_simulator
from fairuniverse.seeding import Streams
from fairuniverse.training import load_simulator


def small(name, **settings):
    """A small benchmark in a registered world with its default options."""
    world = make_simulator(name, {})
    config = BenchmarkConfig(name="b", version="1", nuisances=[p.name for p in world.nuisances], **settings)
    return SmallBenchmark(config, world)


@pytest.fixture(scope="module")
def higgs():
    """A million events a toy, scaled down."""
    return small("higgs_tautau", training=TrainingConfig(n_events={"htautau": 10}, prescale=4))


def test_yields_and_weights_agree(higgs):
    """Training weights, processes and toys are those of the same share of the world."""
    assert higgs.share == pytest.approx(N_TOY_EVENTS / 1_051_385)
    expected = {p.name: p.expected_yield for p in higgs.simulator.processes}
    assert sum(expected.values()) == pytest.approx(N_TOY_EVENTS)
    assert higgs.training_events.sum_weights() == pytest.approx(expected)
    assert all(len(toy) == pytest.approx(N_TOY_EVENTS, rel=0.25) for toy in higgs.toys)
    assert len({len(toy) for toy in higgs.toys}) == 3


def test_training_events_are_prescaled_as_in_the_benchmark(higgs):
    """Weights of one process differ by the prescale."""
    weights = np.unique(higgs.training_events.of_process("ztautau").weights.round(9))
    assert weights.max() / weights.min() == pytest.approx(4)


def test_small_worlds_stay_as_they_are():
    """A world with exact densities is not scaled, and offers them."""
    world = small("gaussian_2d")
    assert world.share == 1
    assert isinstance(world.simulator, Simulator)
    assert world.simulator.densities is not None
    assert not hasattr(world.simulator, "nothing")


def test_a_worker_can_make_it(higgs):
    """The scaled world is found by where it is and its options, as every simulator."""
    spec = higgs.spec
    again = load_simulator(spec.simulator, spec.options)
    assert again.processes == higgs.simulator.processes


def test_fresh_toys_are_thinned(higgs):
    """New toys keep a share of their events, binomial about it (false alarms: one in a million)."""
    whole = higgs.world.fresh_sampler().sample(1.0, {}, streams=Streams(1, 0, 0))
    toy = higgs.simulator.fresh_sampler().sample(1.0, {}, streams=Streams(1, 0, 0))
    expected = higgs.share * len(whole)
    assert abs(len(toy) - expected) < 4.9 * np.sqrt(expected * (1 - higgs.share))
