"""Pseudo-experiments of the Higgs world drawn from a pool on disk."""

import numpy as np
import pytest
from fairuniverse.simulators.higgs_tautau import HiggsTauTau, compiled
from fairuniverse.simulators.higgs_tautau.schema import SCHEMA
from fairuniverse.simulators.higgs_tautau.systematics import shift_events
from scipy import stats

from fairuniverse import pools
from fairuniverse.datasets import Dataset
from fairuniverse.errors import InvalidDataError
from fairuniverse.pools import StoredPool
from fairuniverse.protocols import Sampler
from fairuniverse.seeding import Streams
from fairuniverse.shuffling import shuffled_pool
from fairuniverse.tables import write_table
from higgs_events import pool_of

VALUES = {"tes": 1.01, "jes": 0.99, "soft_met": 2.0, "ttbar_scale": 1.02, "bkg_scale": 1.001}
COUNTS, YIELDS = [500, 5000, 900, 300], [300, 60_000, 4000, 900]


def stored_sampler(folder, pool, mode):
    """Sampler of a pool that was written to two files and shuffled; rows are drawn in runs."""
    world = HiggsTauTau(systematics=mode)
    half = len(pool) // 2
    for i, rows in enumerate((np.arange(half), np.arange(half, len(pool)))):
        write_table(folder / "data" / f"{i}.parquet", pool.select(rows))
    data = Dataset(folder / "data", SCHEMA, world.processes)
    return world.stored_pool_sampler(
        StoredPool(shuffled_pool(data, world.pool_rows, folder / "out", encoding=mode))
    )


@pytest.fixture(autouse=True)
def all_large(monkeypatch):
    """Classes are drawn in runs however small they are."""
    monkeypatch.setattr(pools, "SMALL_CLASS", 0)


@pytest.mark.parametrize("spread", [0.0, 0.1])
@pytest.mark.parametrize("mode", compiled.MODES)
def test_drawn_events_are_shifted_pool_events(tmp_path, mode, spread):
    """Each event of a toy is, bit for bit, what the shift makes of some event of the pool."""
    pool = pool_of(COUNTS, YIELDS, spread=spread)
    values = {"tes": 1.02, "jes": 0.96}
    sampler = stored_sampler(tmp_path, pool, mode)
    assert isinstance(sampler, Sampler)
    toy = sampler.sample(1.0, values, streams=Streams(1, 0))
    shifted = shift_events(pool, values, mode=mode)
    known = {column.tobytes() for column in shifted.features.T.copy()}
    drawn = {column.tobytes() for column in toy.features.T.copy()}
    assert drawn <= known
    assert len(drawn) > 0.7 * len(known)


@pytest.mark.parametrize("mode", compiled.MODES)
def test_threads_and_instruction_sets_give_the_same_bits(tmp_path, mode):
    """A toy depends neither on the number of threads nor on the machine's instruction set."""
    sampler = stored_sampler(tmp_path, pool_of(COUNTS, YIELDS, spread=0.5), mode)

    def draw(n_threads):
        return sampler.sample(1.3, VALUES, streams=Streams(1, 2), n_threads=n_threads).features.copy()

    one = draw(1)
    assert np.array_equal(one, draw(2))
    assert np.array_equal(one, draw(3))
    try:
        for name in compiled.INSTRUCTION_SETS:
            try:
                compiled.use(name)
            except InvalidDataError:
                continue
            assert np.array_equal(one, draw(1)), name
    finally:
        compiled.library.cache_clear()
        compiled.library()


def tagged(counts, yields, spread):
    """Pool in which every event survives, and whose lepton azimuth is its process."""
    pool = pool_of(counts, yields, spread=spread)
    pool.features[0], pool.features[3] = 50, 50
    pool.features[2] = pool.process
    return pool


@pytest.mark.parametrize("spread", [0.0, 0.9])
def test_counts_are_poisson(tmp_path, spread):
    """Counts by process scatter like Poisson numbers around mu and the scales (false alarms: below 0.1 %)."""
    yields = np.array([40.0, 400.0, 90.0, 25.0])
    sampler = stored_sampler(tmp_path, tagged([5000, 8000, 3000, 2000], yields, spread), "posthoc")
    values = {"ttbar_scale": 1.2, "diboson_scale": 0.4, "bkg_scale": 1.01}
    expected, n_toys = yields * [2.0, 1.01, 1.2 * 1.01, 0.4 * 1.01], 200
    counts = np.array(
        [
            np.bincount(
                sampler.sample(2.0, values, streams=Streams(3, i))["PRI_lep_phi"].astype(int), minlength=4
            )
            for i in range(n_toys)
        ]
    )
    assert np.abs((counts.mean(axis=0) - expected) / np.sqrt(expected / n_toys)).max() < 4
    chi2 = ((counts - expected) ** 2 / expected).sum(axis=0)
    assert stats.chi2(n_toys).sf(chi2).min() > 5e-5
    assert stats.chi2(n_toys).cdf(chi2).min() > 5e-5


def test_order_tells_nothing_about_process_or_weight(tmp_path):
    """Processes and classes of weight are spread evenly over a toy (false alarms: below 1e-3)."""
    pool = tagged([2000, 30_000, 8000, 2000], [3000, 100_000, 20_000, 3000], 0.9)
    heavy = pool.weights > 2
    pool.features[1] = heavy
    toy = stored_sampler(tmp_path, pool, "posthoc").sample(1.0, {}, streams=Streams(5, 0))
    assert 0.1 < heavy.mean() < 0.9
    kind = toy["PRI_lep_phi"].astype(int) * 2 + toy["PRI_lep_eta"].astype(int)
    n = len(kind)
    table = np.array([np.bincount(kind[np.arange(n) * 32 // n == i], minlength=8) for i in range(32)])
    assert stats.chi2_contingency(table[:, table.sum(axis=0) > 100]).pvalue > 2e-4
    pairs = np.bincount(8 * kind[1:] + kind[:-1], minlength=64).reshape(8, 8)
    used = table.sum(axis=0) > 3000
    assert stats.chi2_contingency(pairs[used][:, used]).pvalue > 2e-4


def test_toys_agree_with_those_from_memory(tmp_path):
    """Every feature has the distribution that a pool in memory gives (false alarms: below 1e-3)."""
    pool = pool_of([4000, 40_000, 8000, 2000], [2000, 40_000, 5000, 1000], spread=0.3)
    stored = stored_sampler(tmp_path, pool, "detector").sample(1.0, VALUES, streams=Streams(1))
    memory = HiggsTauTau().pool_sampler(pool).sample(1.0, VALUES, streams=Streams(2))
    assert abs(len(stored) - len(memory)) < 4 * np.sqrt(len(stored) + len(memory))
    pvalues = [stats.ks_2samp(a, b).pvalue for a, b in zip(stored.features, memory.features, strict=True)]
    assert min(pvalues) > 1e-3 / 28


def test_an_expectation_of_nothing_gives_an_empty_toy(tmp_path):
    """A toy may hold no event at all, and a negative mu is refused."""
    sampler = stored_sampler(tmp_path, pool_of([50] * 4, [1e-9] * 4), "posthoc")
    assert len(sampler.sample(0.0, {}, streams=Streams(0, 0))) == 0
    with pytest.raises(InvalidDataError, match="mu = "):
        sampler.sample(-1.0, {}, streams=Streams(0, 0))


def test_a_mode_that_needs_the_record_says_so(tmp_path):
    """Detector systematics refuse a data set without the record before anything is shuffled."""
    pool = pool_of([20] * 4, [5] * 4)
    bare = type(pool)(pool.schema, pool.features, pool.weights, pool.process, pool.processes)
    with pytest.raises(InvalidDataError, match="needs the detector-level record"):
        stored_sampler(tmp_path, bare, "detector")
