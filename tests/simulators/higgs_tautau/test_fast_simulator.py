"""The Higgs world as a simulator."""

from dataclasses import replace

import numpy as np
import pytest
from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.higgs_tautau.systematics import nominal_features
from fairuniverse.simulators.higgs_tautau.world import NUISANCES, PROCESS_NAMES, YIELDS

from fairuniverse.comparison import compare
from fairuniverse.errors import InvalidConfigError, InvalidDataError
from fairuniverse.nuisance import complete
from fairuniverse.protocols import Simulator
from fairuniverse.seeding import Streams

NUMBERS = {"htautau": 300, "ztautau": 2000, "ttbar": 500, "diboson": 200}
SHIFTS = {"tes": 1.01, "jes": 0.99, "soft_met": 1.0, "ttbar_scale": 1.05}


class SmallWorld(HiggsTauTau):
    """The Higgs world at a fiftieth of the luminosity."""

    @property
    def processes(self):
        """Processes with small yields."""
        return tuple(replace(p, expected_yield=p.expected_yield / 50) for p in super().processes)


@pytest.fixture(scope="module")
def world():
    """The default world."""
    return HiggsTauTau()


@pytest.fixture(scope="module")
def events(world):
    """A few nominal events."""
    return world.generate(NUMBERS, seed=7)


def test_is_a_simulator(world):
    """The world has every method that the machinery asks of a simulator."""
    assert isinstance(world, Simulator)


@pytest.mark.parametrize("preset", YIELDS)
def test_weights_sum_to_the_yields(preset):
    """Per process, exactly up to rounding, for either preset."""
    sums = HiggsTauTau(yields=preset).generate(NUMBERS, seed=7).sum_weights()
    assert sums == pytest.approx(dict(YIELDS[preset]), rel=1e-12)


def test_generated_events(events):
    """Asked-for numbers of labelled events, features those of the record."""
    assert dict(zip(PROCESS_NAMES, np.bincount(events.process), strict=True)) == NUMBERS
    assert np.array_equal(events.features, nominal_features(events.record))


def test_generate_depends_on_its_key_only(world, events):
    """Threads change nothing, other purposes everything."""
    again = world.generate(NUMBERS, seed=7, n_threads=2)
    assert again.features.tobytes() == events.features.tobytes()
    other = world.generate(NUMBERS, seed=7, purpose="toys")
    assert not np.isin(other["PRI_met"], events["PRI_met"]).any()


def test_processes_left_out(world):
    """A process that is not named has no events; an unknown name is refused."""
    assert world.generate({"ttbar": 10}, seed=1).sum_weights()["ztautau"] == 0
    with pytest.raises(InvalidDataError, match="wjets"):
        world.generate({"wjets": 10}, seed=1)


@pytest.mark.parametrize(
    "options",
    [{"systematics": "none"}, {"yields": "double"}, {"boundary": "reflect"}],
    ids=lambda o: next(iter(o)),
)
def test_unknown_options(options):
    """A value that an option does not have is refused with those it has."""
    with pytest.raises(InvalidConfigError, match=": there are"):
        HiggsTauTau(**options)


def test_boundary_reaches_the_nuisances():
    """Draws outside the bounds are repeated if asked."""
    assert {p.boundary for p in HiggsTauTau(boundary="truncate").nuisances} == {"truncate"}


def test_shift_with_rows(world, events):
    """Every surviving event comes from the row named for it."""
    shifted, rows = world.shift_with_rows(events, SHIFTS, streams=Streams(1, 0))
    assert np.array_equal(shifted["PRI_lep_pt"], events["PRI_lep_pt"][rows])
    assert len(shifted) < len(events)


class TestFreshSampler:
    """Pseudo-experiments of new events."""

    def draw(self, i_toy=0, n_threads=1, mu=1.0, nuisances=SHIFTS, **options):
        """One toy of the small world."""
        sampler = SmallWorld(**options).fresh_sampler()
        return sampler.sample(mu, nuisances, streams=Streams(5, 0, i_toy), n_threads=n_threads)

    def test_threads(self):
        """Any number of threads gives the same bytes."""
        assert self.draw(n_threads=3).features.tobytes() == self.draw().features.tobytes()

    def test_toys_share_no_event(self):
        """Another toy has other events."""
        first, second = ({tuple(row) for row in self.draw(i).features[:3].T} for i in (0, 1))
        assert not first & second

    @pytest.mark.parametrize("systematics", ["detector", "posthoc"])
    def test_events_are_those_of_the_blocks(self, systematics):
        """A toy without noise is its simulated blocks, shifted, in another order."""
        nuisances = SHIFTS | {"soft_met": 0.0}
        toy = self.draw(nuisances=nuisances, systematics=systematics)
        world = SmallWorld(systematics=systematics)
        counts = world.fresh_sampler()._draw_counts(1.0, complete(NUISANCES, nuisances), Streams(5, 0, 0))
        numbers = dict(zip(PROCESS_NAMES, counts.tolist(), strict=True))
        expected = world.shift(
            world.generate(numbers, seed=5, purpose="fresh:0:0"), nuisances, streams=Streams(0)
        )
        columns = [np.sort(events.features, axis=1) for events in (toy, expected)]
        assert np.array_equal(*columns)

    def test_buffers_are_reused(self):
        """A large toy after a small one, and the small one again: the same bytes."""
        sampler = SmallWorld().fresh_sampler()
        streams = Streams(5, 0, 0)
        small = sampler.sample(0.0, SHIFTS, streams=streams).features.tobytes()
        sampler.sample(600.0, {}, streams=Streams(5, 0, 1))
        assert sampler.sample(0.0, SHIFTS, streams=streams).features.tobytes() == small

    def test_hides_the_truth(self):
        """No weights, process codes or record; the order does not tell the process."""
        toy = self.draw(mu=20.0)
        assert toy.weights is None
        assert toy.process is None
        assert toy.record is None
        halves = np.array_split(toy["DER_mass_vis"], 2)
        error = np.sqrt(sum(h.var() / len(h) for h in halves))
        assert abs(halves[0].mean() - halves[1].mean()) < 4 * error

    def test_numbers_are_poisson(self):
        """The number of events drawn fluctuates around its expectation (false-alarm rate 1e-4)."""
        world = SmallWorld()
        expected = sum(p.expected_yield for p in world.processes)
        nominal = {p.name: p.nominal for p in world.nuisances}
        draws = [world.fresh_sampler()._draw_counts(1.0, nominal, Streams(5, 0, i)) for i in range(200)]
        counts = [int(draw.sum()) for draw in draws]
        assert abs(np.mean(counts) - expected) < 4 * np.sqrt(expected / 200)
        assert 0.7 < np.var(counts) / expected < 1.4

    def test_agrees_with_pool(self):
        """Fresh events are distributed like those from a pool (worst of 28 distances, 1 % false alarms)."""
        world = SmallWorld()
        pool = world.generate({p.name: 4 * int(p.expected_yield) + 100 for p in world.processes}, seed=9)
        drawn = world.pool_sampler(pool).sample(1.0, SHIFTS, streams=Streams(5, 0, 0))
        comparison = compare(self.draw(), drawn, with_classifier=False)
        assert max(d.ks / d.ks_floor for d in comparison.distances) < 1.45

    @pytest.mark.parametrize("systematics", ["posthoc", "official"])
    def test_modes(self, systematics):
        """Each mode selects about as many events and keeps the 26 GeV threshold."""
        toy = self.draw(systematics=systematics)
        assert toy["PRI_had_pt"].min() >= 26
        assert len(toy) == pytest.approx(len(self.draw()), rel=0.02)

    def test_bad_mu(self):
        """A negative signal strength cannot be drawn."""
        with pytest.raises(InvalidDataError, match="mu = -1"):
            self.draw(mu=-1.0)
