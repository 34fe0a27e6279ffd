"""Tests of fairuniverse.pools."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fairuniverse import pools
from fairuniverse.errors import StorageError
from fairuniverse.pools import OutOfCoreSimulator, RowBuffer, StoredPool
from fairuniverse.protocols import Sampler
from fairuniverse.seeding import Streams
from fairuniverse.shuffling import shuffled_pool
from partitions import WORLD, dataset, numbered, write_parts

COUNTS = [2000, 60_000]
NOMINAL = {"signal": 1.0, "background": 1.0}


def make(folder, counts=COUNTS, *, spread=None, expected=(1000, 30_000)):
    """Pool of rows that can be told apart, with the given expectations and a spread of weights in octaves."""
    rng = np.random.default_rng(5)
    weights = []
    for n, total in zip(counts, expected, strict=True):
        w = np.ones(n) if spread is None else 2.0 ** rng.uniform(-spread, 0, n)
        weights.append(w * total / w.sum())
    write_parts(folder / "data", [numbered(counts, weights=weights)])
    path = shuffled_pool(dataset(folder / "data"), WORLD.pool_rows, folder / "out", encoding="")
    return path, weights


@pytest.fixture
def all_large(monkeypatch):
    """Classes are drawn in runs however small they are."""
    monkeypatch.setattr(pools, "SMALL_CLASS", 0)


def numbers(drawn, process):
    """Number within its process of each row that was drawn."""
    return np.concatenate([rows_of(d)[:, 0] for d in drawn if d.process == process]).astype(int)


def rows_of(drawn):
    """All rows that were drawn from a class."""
    rows, chosen = drawn.read(0, len(drawn), RowBuffer(2))
    return rows[chosen]


def test_worlds_can_draw_from_disk():
    """Our worlds satisfy the protocol, and so do their samplers."""
    assert isinstance(WORLD, OutOfCoreSimulator)


@pytest.mark.parametrize("threshold", [0, 1 << 18])
@pytest.mark.parametrize("spread", [None, 0.9, 6.0])
def test_rows_are_drawn_by_weight(tmp_path, monkeypatch, spread, threshold):
    """Over many toys each row is drawn as often as its weight says, in runs or not (false alarms: 1e-3)."""
    monkeypatch.setattr(pools, "SMALL_CLASS", threshold)
    path, weights = make(tmp_path, spread=spread)
    pool = StoredPool(path)
    n_toys = 40
    drawn = np.concatenate(
        [numbers(pool.draw(NOMINAL, streams=Streams(1, i)), "background") for i in range(n_toys)]
    )
    counts = np.bincount(drawn, minlength=COUNTS[1])
    expected = n_toys * weights[1]
    groups = np.array_split(np.argsort(weights[1]), 100)
    chi2 = sum((counts[g].sum() - expected[g].sum()) ** 2 / expected[g].sum() for g in groups)
    assert 5e-4 < stats.chi2(len(groups)).sf(chi2) < 1 - 5e-4


@pytest.mark.parametrize("spread", [None, 1.5])
def test_sums_vary_like_those_of_events_drawn_one_by_one(tmp_path, all_large, spread):
    """Counts in bins have Poisson means and variances and are independent (false alarms: below 1 %).

    The order of this pool, runs of at most 10 in 60,000 rows, scatters the variances by 2 % (one bin): small
    against the 8 % of 300 toys, and included in the limits.
    """
    path, weights = make(tmp_path, spread=spread, expected=(100, 6_000))
    pool = StoredPool(path)
    n_toys, n_bins = 300, 8
    bins = np.array(
        [
            np.bincount(numbers(pool.draw(NOMINAL, streams=Streams(2, i)), "background") * n_bins // 60_000)
            for i in range(n_toys)
        ]
    )
    expected = np.array([w.sum() for w in np.array_split(weights[1], n_bins)])
    assert np.abs((bins.mean(axis=0) - expected) / np.sqrt(expected / n_toys)).max() < 4
    error = np.hypot(np.sqrt(2 / n_toys), np.sqrt(2 * 10 / 60_000))
    assert np.abs(bins.var(axis=0) / expected - 1).max() < 3.9 * error
    assert abs(bins.sum(axis=1).var() / expected.sum() - 1) < 3.5 * np.sqrt(2 / n_toys)
    correlation = np.corrcoef(bins.T)[np.triu_indices(n_bins, 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(n_toys)


def test_runs_average_over_the_pool(tmp_path, all_large):
    """All rows are alike, those at the ends of the file, too (false alarms: below 1e-3)."""
    path, _ = make(tmp_path)
    pool = StoredPool(path)
    n_rows = COUNTS[1]
    order = np.fromfile(path / "background-0.rows", np.float32)[::2].astype(int)
    place_of = np.argsort(order)
    draws = [numbers(pool.draw(NOMINAL, streams=Streams(3, i)), "background") for i in range(100)]
    places = place_of[np.concatenate(draws)]
    length = pool.classes[1].run_length
    counts = np.histogram(places, bins=20, range=(0, n_rows))[0]
    expected = len(places) / 20
    chi2 = ((counts - expected) ** 2).sum() / (expected * length)
    assert stats.chi2(19).sf(chi2) > 2e-4
    assert {0, n_rows - 1} <= set(places.tolist())


def test_runs_are_few(tmp_path, all_large, monkeypatch):
    """A draw of the expected size touches about as many places as it should, whatever the pool."""
    monkeypatch.setattr(pools, "N_RUNS", 64)
    path, _ = make(tmp_path, [60_000, 60_000], expected=(100, 6400))
    (signal, background) = StoredPool(path).classes
    assert signal.run_length == 2
    assert background.run_length == 100
    (drawn,) = (d for d in StoredPool(path).draw(NOMINAL, streams=Streams(1)) if d.process == "background")
    order = np.fromfile(path / "background-0.rows", np.float32)[::2].astype(int)
    steps = np.diff(np.argsort(order)[rows_of(drawn)[:, 0].astype(int)])
    assert (steps != 1).sum() <= 64 + 10


def test_numbers_follow_the_strengths(tmp_path, all_large):
    """A factor on one process changes its number and leaves the draws of the other alone."""
    pool = StoredPool(make(tmp_path)[0])
    one = pool.draw(NOMINAL, streams=Streams(4))
    two = pool.draw({"signal": 3.0, "background": 1.0}, streams=Streams(4))
    none = pool.draw({"signal": 0.0, "background": 1.0}, streams=Streams(4))
    assert abs(len(two[0]) - 3000) < 5 * np.sqrt(3000)
    assert len(none[0]) == 0
    for other in (two, none):
        np.testing.assert_array_equal(rows_of(one[1]), rows_of(other[1]))


def test_draws_repeat_and_differ(tmp_path, all_large):
    """The same streams give the same rows, in another pool object, too; others give others."""
    path, _ = make(tmp_path, spread=2.0)
    pool = StoredPool(path)
    first = [rows_of(d) for d in pool.draw(NOMINAL, streams=Streams(1, 0))]
    pool.draw(NOMINAL, streams=Streams(1, 1))
    for again in (pool, StoredPool(path)):
        drawn = again.draw(NOMINAL, streams=Streams(1, 0))
        assert all(np.array_equal(a, rows_of(b)) for a, b in zip(first, drawn, strict=True))
    other = [rows_of(d) for d in pool.draw(NOMINAL, streams=Streams(1, 1))]
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("spread", [None, 1.5])
@pytest.mark.parametrize("threshold", [0, 1 << 18])
def test_rows_are_the_same_in_pieces(tmp_path, monkeypatch, spread, threshold):
    """A draw read piece by piece gives the rows that it gives at once, and nothing for nothing."""
    monkeypatch.setattr(pools, "SMALL_CLASS", threshold)
    for drawn in StoredPool(make(tmp_path, spread=spread)[0]).draw(NOMINAL, streams=Streams(1)):
        whole, buffer = rows_of(drawn), RowBuffer(2)
        edges = [0, 0, 1, len(drawn) // 3, len(drawn) // 2, len(drawn), len(drawn)]
        pieces = []
        for first, end in pairwise(edges):
            rows, chosen = drawn.read(first, end, buffer)
            pieces.append(rows[chosen])
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_only_what_is_drawn_is_read(tmp_path, all_large):
    """A draw reads the bytes of its own rows, however large the class is."""
    path, _ = make(tmp_path, [1000, 500_000], expected=(1, 3000))
    (_, background) = StoredPool(path).draw(NOMINAL, streams=Streams(1))
    before = read_bytes()
    rows_of(background)
    assert read_bytes() - before < 3300 * 8 < 500_000 * 8


def read_bytes():
    """Bytes that this process has read so far, also those that were in memory."""
    if not Path("/proc/self/io").exists():
        pytest.skip("counts bytes in /proc")
    return int(Path("/proc/self/io").read_text().split()[1])


def test_the_sampler_gives_toys(tmp_path, all_large):
    """An analytic world draws from a pool on disk what it draws from memory (false alarms: 1e-3)."""
    path, _ = make(tmp_path)
    sampler = WORLD.stored_pool_sampler(StoredPool(path))
    assert isinstance(sampler, Sampler)
    toys = [
        sampler.sample(1.0, {}, streams=Streams(1, i), n_threads=n).features
        for i, n in ((0, 1), (0, 2), (1, 1))
    ]
    np.testing.assert_array_equal(toys[0], toys[1])
    assert toys[0].shape != toys[2].shape
    is_background = toys[0][1] > 0.5
    assert abs(is_background.sum() - 30_000) < 4 * np.sqrt(30_000)
    place = np.flatnonzero(~is_background) / len(is_background)
    assert stats.kstest(place, "uniform").pvalue > 5e-4


@pytest.mark.parametrize("name", ["manifest.json", "signal-0.rows"])
def test_damaged_pools_are_named(tmp_path, name):
    """A file that is missing or short is an error that says what to do."""
    path, _ = make(tmp_path)
    (path / name).write_bytes(b"{}")
    with pytest.raises(StorageError, match="remove its folder, it is made anew"):
        StoredPool(path)
    (path / name).unlink()
    with pytest.raises(StorageError, match="remove its folder, it is made anew"):
        StoredPool(path)
