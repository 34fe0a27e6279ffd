"""Pseudo-experiments drawn from a pool."""

import numpy as np
import pytest
from fairuniverse.simulators.higgs_tautau import compiled
from fairuniverse.simulators.higgs_tautau.pool import PoolSampler
from fairuniverse.simulators.higgs_tautau.systematics import shift_events
from fairuniverse.simulators.higgs_tautau.world import NUISANCES, PROCESS_NAMES
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fairuniverse.errors import InvalidDataError
from fairuniverse.protocols import Sampler
from fairuniverse.seeding import Streams
from higgs_events import events_of, pool_of, random_record, random_table

VALUES = {
    "tes": 1.01,
    "jes": 0.99,
    "soft_met": 2.0,
    "ttbar_scale": 1.02,
    "diboson_scale": 1.1,
    "bkg_scale": 1.001,
}


def tagged_pool(counts, yields, spread=0.0):
    """Pool in which every event survives and its lepton azimuth tells its process and row.

    The azimuth is process + row / 2^16, radian, which float32 holds exactly and every mode passes on.
    """
    pool = pool_of(counts, yields, spread=spread)
    features = pool.features
    features[0], features[3] = 50, 50
    first = np.concatenate([[0], np.cumsum(counts)])[pool.process]
    features[2] = pool.process + (np.arange(len(pool)) - first) / 2**16
    return pool


def tags(events):
    """Process and row within the process of each drawn event of a tagged pool."""
    phi = events["PRI_lep_phi"].astype(np.float64)
    return np.floor(phi).astype(int), np.rint(phi % 1 * 2**16).astype(int)


def sampler_of(pool, mode="posthoc"):
    """Sampler with the world's nuisance parameters."""
    return PoolSampler(pool, NUISANCES, mode)


def test_is_a_sampler():
    """The pool sampler satisfies the protocol."""
    assert isinstance(sampler_of(pool_of([10] * 4, [5] * 4)), Sampler)


@pytest.mark.parametrize("mode", compiled.MODES)
def test_drawn_events_are_shifted_pool_events(mode):
    """Each event of a toy is, bit for bit, what the shift makes of some event of the pool."""
    pool = pool_of([50, 300, 100, 30], [100, 3000, 500, 60], spread=0.1)
    values = {"tes": 1.02, "jes": 0.96}
    toy = sampler_of(pool, mode).sample(1.0, values, streams=Streams(1, 0))
    shifted = shift_events(pool, values, mode=mode)
    known = {column.tobytes() for column in shifted.features.T.copy()}
    drawn = [column.tobytes() for column in toy.features.T.copy()]
    assert set(drawn) <= known
    assert len(set(drawn)) > 0.9 * len(known)


@pytest.mark.parametrize("mode", compiled.MODES)
def test_threads_and_instruction_sets_give_the_same_bits(mode):
    """A toy depends neither on the number of threads nor on the machine's instruction set."""
    sampler = sampler_of(pool_of([1000, 20000, 3000, 500], [300, 90000, 9000, 1000], spread=0.1), mode)

    def draw(n_threads):
        return sampler.sample(1.3, VALUES, streams=Streams(1, 2), n_threads=n_threads).features.copy()

    one = draw(1)
    assert np.array_equal(one, draw(2))
    assert np.array_equal(one, draw(3))
    for name in compiled.INSTRUCTION_SETS:
        try:
            compiled.use(name)
        except InvalidDataError:
            continue
        assert np.array_equal(one, draw(1)), name
    compiled.library.cache_clear()
    compiled.library()


def test_toys_differ_and_repeat():
    """Another toy is another draw; the same toy is the same draw, whatever was drawn in between."""
    sampler = sampler_of(pool_of([100, 1000, 100, 100], [100, 1000, 100, 100]))
    toys = [sampler.sample(1.0, VALUES, streams=Streams(1, i)).features.copy() for i in (0, 1, 0)]
    assert np.array_equal(toys[0], toys[2])
    assert toys[0].shape != toys[1].shape or not np.array_equal(toys[0], toys[1])


def test_counts_are_poisson():
    """Counts by process scatter like Poisson numbers around mu and the scales (false alarms: below 0.1 %)."""
    yields = np.array([40.0, 400.0, 90.0, 25.0])
    sampler = sampler_of(tagged_pool([50, 200, 100, 50], yields))
    values = {"ttbar_scale": 1.2, "diboson_scale": 0.4, "bkg_scale": 1.01}
    expected = yields * [2.0, 1.01, 1.2 * 1.01, 0.4 * 1.01]
    n_toys = 400
    counts = np.array(
        [
            np.bincount(tags(sampler.sample(2.0, values, streams=Streams(3, i)))[0], minlength=4)
            for i in range(n_toys)
        ]
    )
    pulls = (counts.mean(axis=0) - expected) / np.sqrt(expected / n_toys)
    assert np.abs(pulls).max() < 4
    chi2 = ((counts - expected) ** 2 / expected).sum(axis=0)
    assert stats.chi2(n_toys).sf(chi2).min() > 5e-5
    assert stats.chi2(n_toys).cdf(chi2).min() > 5e-5
    correlation = np.corrcoef(counts.T)[np.triu_indices(4, 1)]
    assert np.abs(correlation).max() < 4.2 / np.sqrt(n_toys)


@pytest.mark.parametrize("spread", [0.0, 0.9])
def test_rows_are_drawn_by_weight(spread):
    """Draws of each row are proportional to its weight, over several chunks (false alarms: 0.1 %)."""
    counts = [10, 20000, 10, 10]
    pool = tagged_pool(counts, [0, 400_000, 0, 0], spread=spread)
    sampler = sampler_of(pool)
    weights = pool.weights[pool.process == 1]
    process, row = tags(sampler.sample(1.0, {}, streams=Streams(4, 0)))
    assert np.all(process == 1)
    drawn = np.bincount(row, minlength=counts[1])
    expected = weights / weights.sum() * len(row)
    order = np.argsort(weights)
    groups = np.array_split(order, 200)
    chi2 = sum((drawn[g].sum() - expected[g].sum()) ** 2 / expected[g].sum() for g in groups)
    assert 5e-4 < stats.chi2(len(groups) - 1).sf(chi2) < 1 - 5e-4
    enough = expected > 5
    scatter = ((drawn - expected)[enough] ** 2 / expected[enough]).mean()
    assert abs(scatter - 1) < 4.5 * np.sqrt(2.2 / enough.sum())


def test_order_tells_nothing_about_the_process():
    """Processes are spread evenly over the toy, and neighbours are unrelated (false alarms: below 0.1 %)."""
    sampler = sampler_of(tagged_pool([500, 5000, 2000, 500], [5_000, 150_000, 40_000, 5_000]))
    process, _ = tags(sampler.sample(1.0, {}, streams=Streams(5, 0)))
    n = len(process)
    place = np.arange(n) * 64 // n
    table = np.array([np.bincount(process[place == i], minlength=4) for i in range(64)])
    assert stats.chi2_contingency(table).pvalue > 2e-4
    neighbours = np.bincount(4 * process[1:] + process[:-1], minlength=16).reshape(4, 4)
    assert stats.chi2_contingency(neighbours).pvalue > 2e-4
    for code in range(4):
        assert stats.kstest(np.flatnonzero(process == code) / n, "uniform").pvalue > 1e-4


def test_order_tells_nothing_about_the_row_in_the_pool():
    """Where an event was in the pool is unrelated to where it is in the toy (false alarms: 1e-4)."""
    sampler = sampler_of(tagged_pool([10, 40000, 10, 10], [0, 100_000, 0, 0]))
    _, row = tags(sampler.sample(1.0, {}, streams=Streams(6, 0)))
    assert abs(np.corrcoef(row, np.arange(len(row)))[0, 1]) < 3.9 / np.sqrt(len(row))


def test_rejected_events_leave_no_trace_in_the_order():
    """Survivors are contiguous and each process is spread evenly (false alarms: 1e-4)."""
    pool = tagged_pool([100, 5000, 1000, 100], [0, 100_000, 50_000, 0])
    pool.features[3, pool.process == 2] = np.where(np.arange(1000) % 2, 20, 50)
    process, row = tags(sampler_of(pool).sample(1.0, {}, streams=Streams(7, 0)))
    assert len(process) == pytest.approx(125_000, rel=0.01)
    assert np.all(row[process == 2] % 2 == 0)
    place = np.flatnonzero(process == 2) / len(process)
    assert stats.kstest(place, "uniform").pvalue > 1e-4


def test_a_nuisance_leaves_the_draws_of_other_processes_alone():
    """With the diboson scale off, the same rows of the other processes are drawn, in the same sequence."""
    sampler = sampler_of(tagged_pool([500, 5000, 2000, 500], [5_000, 50_000, 9_000, 5_000], spread=0.2))
    on, off = (
        tags(sampler.sample(1.0, {"diboson_scale": s, "tes": t}, streams=Streams(8, 0)))
        for s, t in ((1.3, 1.02), (1.0, 1.0))
    )
    for code in range(3):
        assert np.array_equal(on[1][on[0] == code], off[1][off[0] == code])
    assert (on[0] == 3).sum() > 1.2 * (off[0] == 3).sum()


def test_noise_differs_between_toys_and_between_copies_of_a_row():
    """No two events share their soft noise, within a toy or between toys."""
    record = np.repeat(random_record(1), 4, axis=1)
    table = np.repeat(random_table(1), 4, axis=1)
    table[[0, 3, 14, 15]] = [[50], [50], [0], [0]]
    pool = events_of(table, record, np.full(4, 5000.0), np.arange(4, dtype=np.uint8))
    sampler = sampler_of(pool)
    mets = [sampler.sample(1.0, {"soft_met": 1.0}, streams=Streams(9, i))["PRI_met"].copy() for i in range(2)]
    both = np.concatenate(mets)
    assert len(np.unique(both)) > 0.99 * len(both)
    assert stats.kstest(both, stats.rayleigh.cdf).pvalue > 1e-4


@given(st.lists(st.integers(0, 300), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
def test_small_toys_are_complete(yields, seed):
    """Toys of any size hold exactly the events that were drawn."""
    if not sum(yields):
        yields[0] = 1
    pool = tagged_pool([7, 1, 30, 2], yields, spread=0.5)
    streams = Streams(seed, 0)
    process, row = tags(sampler_of(pool).sample(1.0, {}, streams=streams))
    poisson = [int(streams.rng(f"counts:{n}").poisson(y)) for n, y in zip(PROCESS_NAMES, yields, strict=True)]
    assert np.bincount(process, minlength=4).tolist() == pytest.approx(poisson, abs=0)
    assert np.all(row < np.array([7, 1, 30, 2])[process])


def test_no_signal_at_mu_zero():
    """At mu = 0 no signal event is drawn."""
    sampler = sampler_of(tagged_pool([100] * 4, [1000] * 4))
    process, _ = tags(sampler.sample(0.0, {}, streams=Streams(1, 0)))
    assert set(process) == {1, 2, 3}


def test_rows_without_weight_are_never_drawn():
    """A row of weight zero stays in the pool."""
    pool = tagged_pool([100, 100, 100, 100], [1000] * 4)
    pool.weights[::2] = 0
    _, row = tags(sampler_of(pool).sample(1.0, {}, streams=Streams(1, 0)))
    assert np.all(row % 2 == 1)


def test_pandas_shares_the_memory_of_a_toy():
    """The DataFrame of a toy is a view, although the toy is part of a larger buffer."""
    toy = sampler_of(pool_of([100] * 4, [1000] * 4)).sample(1.0, {}, streams=Streams(1, 0))
    frame = toy.to_pandas()
    assert len(frame) == len(toy)
    assert np.shares_memory(frame["DER_pt_tot"].to_numpy(), toy.features)


def test_buffers_are_reused():
    """The next call overwrites the toy before: memory does not grow."""
    sampler = sampler_of(pool_of([100] * 4, [1000] * 4))
    first, second = (sampler.sample(1.0, {}, streams=Streams(1, i)) for i in range(2))
    assert np.shares_memory(first.features, second.features)


@pytest.mark.parametrize(
    ("row", "value", "message"),
    [
        (3, -1.0, "non-negative"),
        (5, np.nan, "finite"),
        (6, np.inf, "finite"),
        (slice(None), 0.0, "sum to zero"),
    ],
)
def test_bad_weights_are_refused(row, value, message):
    """Negative, infinite, NaN and all-zero weights are refused, with the row."""
    pool = pool_of([10] * 4, [5] * 4)
    pool.weights[row] = value
    with pytest.raises(InvalidDataError, match=message):
        sampler_of(pool)


def test_bad_pools_are_refused():
    """A pool without labels, with NaN features, or without the record that its mode needs is refused."""
    pool = pool_of([10] * 4, [5] * 4)
    with pytest.raises(InvalidDataError, match="weights and process codes"):
        sampler_of(events_of(pool.features[:16]))
    with pytest.raises(InvalidDataError, match="record"):
        sampler_of(events_of(pool.features[:16], None, pool.weights, pool.process), "detector")
    pool.features[14, 2] = np.nan
    with pytest.raises(InvalidDataError, match="PRI_met "):
        sampler_of(pool)


@pytest.mark.parametrize("mu", [-0.1, np.nan])
def test_bad_mu_is_refused(mu):
    """A negative or undefined signal strength is refused."""
    with pytest.raises(InvalidDataError, match="mu = "):
        sampler_of(pool_of([10] * 4, [5] * 4)).sample(mu, {}, streams=Streams(0, 0))


def test_an_expectation_of_nothing_gives_an_empty_toy():
    """A toy may hold no event at all."""
    sampler = sampler_of(pool_of([10, 0, 0, 0], [5, 0, 0, 0]))
    assert len(sampler.sample(0.0, {}, streams=Streams(0, 0))) == 0
