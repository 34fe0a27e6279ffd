"""Tests of fairuniverse.shuffling."""

import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.pools import StoredPool, read_manifest
from fairuniverse.shuffling import Share, scatter, shuffled_pool, shuffled_training, stored_events
from partitions import PROCESSES, WORLD, dataset, numbered, write_parts

COUNTS = [3000, 9000]


@pytest.fixture
def small(monkeypatch):
    """Units, parts and buckets so small that a few thousand rows make many of each."""
    monkeypatch.setattr(scatter, "UNIT_ROWS", 2000)
    monkeypatch.setattr(scatter, "PART_BYTES", 1 << 14)
    monkeypatch.setattr(scatter, "BUCKET_BYTES", 1 << 13)


@pytest.fixture
def data(tmp_path, small):
    """Two files of 24,000 rows together."""
    parts = [numbered(COUNTS), numbered(COUNTS, first=10_000)]
    return dataset(write_parts(tmp_path / "data", parts, row_group_size=700))


def pool_of(data, folder, **options):
    """Folder of the shuffled pool."""
    return shuffled_pool(data, WORLD.pool_rows, folder, encoding="", **options)


def stored(folder, name):
    """All rows of a class."""
    return np.fromfile(folder / f"{name}.rows", np.float32).reshape(-1, 2)


def contents(folder):
    """Every byte of a prepared folder."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "lock"}


def test_every_row_is_there_once(data, tmp_path):
    """A pool holds each row of its data set once, with the yields of the processes."""
    folder = pool_of(data, tmp_path / "out")
    for code, (name, n) in enumerate(zip(PROCESSES, COUNTS, strict=True)):
        rows = stored(folder, f"{name}-0")
        assert np.all(rows[:, 1] == code)
        expected = np.concatenate([np.arange(n), 10_000 + np.arange(n)])
        np.testing.assert_array_equal(np.sort(rows[:, 0]), np.sort(expected))
    assert [(c.process, c.sum_weights, c.is_thinned) for c in StoredPool(folder).classes] == [
        (name, 2 * n, False) for name, n in zip(PROCESSES, COUNTS, strict=True)
    ]


def test_the_order_is_random(data, tmp_path):
    """Places say nothing about where rows come from, far or near (false alarms: below 1e-3)."""
    x = stored(pool_of(data, tmp_path / "out"), "background-0")[:, 0]
    rank, n = np.argsort(np.argsort(x)) / len(x), len(x)
    assert abs(np.corrcoef(rank, np.arange(n))[0, 1]) < 4 / np.sqrt(n)
    assert abs(np.corrcoef(rank[1:], rank[:-1])[0, 1]) < 4 / np.sqrt(n)
    table = np.histogram2d(rank, np.arange(n) / n, bins=20)[0]
    assert 2e-4 < stats.chi2_contingency(table).pvalue < 1 - 2e-4


def test_the_order_depends_on_nothing_but_the_data(data, tmp_path, monkeypatch):
    """Other sizes of units, parts and batches, and files elsewhere, give the same bytes."""
    first = contents(pool_of(data, tmp_path / "a"))
    monkeypatch.setattr(scatter, "UNIT_ROWS", 5000)
    monkeypatch.setattr(scatter, "PART_BYTES", 1 << 30)
    monkeypatch.setattr("fairuniverse.datasets.BATCH", 311)
    assert contents(pool_of(data, tmp_path / "b")) == first


@pytest.mark.parametrize("rows_before_the_end", [15_000, 40_000])
def test_an_interrupted_preparation_goes_on(data, tmp_path, rows_before_the_end):
    """After a kill, the same call ends with the same bytes and repeats no finished work."""
    expected = contents(pool_of(data, tmp_path / "whole"))
    code = (
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from fairuniverse.shuffling import scatter, shuffled_pool\n"
        "from partitions import WORLD, dataset\n"
        "from pathlib import Path\n"
        "scatter.UNIT_ROWS, scatter.PART_BYTES, scatter.BUCKET_BYTES = 2000, 1 << 14, 1 << 13\n"
        f"left = [{rows_before_the_end}]\n"
        "def die(n):\n"
        "    left[0] -= n\n"
        "    if left[0] < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"shuffled_pool(dataset(Path({str(data.path)!r})), WORLD.pool_rows,"
        f" Path({str(tmp_path / 'cut')!r}), encoding='', progress=die)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    (begun,) = (tmp_path / "cut").iterdir()
    assert not (begun / "manifest.json").exists()
    finished = {p: p.stat().st_mtime_ns for p in (begun / "unfinished").glob("unit-*.json")}
    assert finished
    looked_at = []
    original = scatter.Scatter._scatter
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            scatter.Scatter,
            "_scatter",
            lambda s, path, *a: (looked_at.append(path), original(s, path, *a))[1],
        )
        assert contents(pool_of(data, tmp_path / "cut")) == expected
    assert not set(looked_at) & set(finished)


def test_only_one_of_several_processes_works(data, tmp_path):
    """Those that ask for the same folder at the same time wait for one of them."""
    with ThreadPoolExecutor(4) as threads:
        seen = [[] for _ in range(4)]
        jobs = [threads.submit(pool_of, data, tmp_path / "out", progress=seen[i].append) for i in range(4)]
        assert len({job.result() for job in jobs}) == 1
    assert sorted(map(sum, seen)) == [0, 0, 0, 2 * data.n_rows]


def test_a_finished_folder_is_only_looked_at(data, tmp_path):
    """A second call does nothing; other data or another encoding have folders of their own."""
    folder = pool_of(data, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert pool_of(data, tmp_path / "out") == folder
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    assert not (folder / "unfinished").exists()
    other = shuffled_pool(data, WORLD.pool_rows, tmp_path / "out", encoding="other")
    assert other != folder


def test_weights_are_sorted_into_classes(tmp_path, small):
    """Classes span a factor two, the last one the rest; thresholds are shares of the largest weight."""
    rng = np.random.default_rng(1)
    weights = [2.0 ** rng.uniform(-12, 0, 2000), np.full(3000, 0.3)]
    write_parts(tmp_path / "data", [numbered([2000, 3000], weights=weights)], row_group_size=700)
    folder = pool_of(dataset(tmp_path / "data"), tmp_path / "out")
    classes = {c.name: c for c in StoredPool(folder).classes}
    assert [n for n in classes if n.startswith("signal")] == [f"signal-{i}" for i in range(8)]
    assert sum(c.sum_weights for c in classes.values()) == pytest.approx(np.concatenate(weights).sum())
    assert not classes["background-0"].is_thinned
    for i in range(8):
        entry = classes[f"signal-{i}"]
        rows = stored(folder, entry.name)[:, 0].astype(int)
        shares = (np.fromfile(folder / f"{entry.name}.thresholds", np.uint32) + 1.0) / 2**32
        np.testing.assert_allclose(shares * entry.largest_weight, weights[0][rows], rtol=1e-6)
        assert shares.max() == 1
        assert i == 7 or shares.min() >= 0.5


def test_rows_without_weight_are_left_out(tmp_path):
    """A row that is never drawn is not stored."""
    weights = [np.ones(100), np.arange(200.0) % 2]
    write_parts(tmp_path / "data", [numbered([100, 200], weights=weights)])
    folder = pool_of(dataset(tmp_path / "data"), tmp_path / "out")
    assert sorted(stored(folder, "background-0")[:, 0]) == list(range(1, 200, 2))


def test_shares_are_disjoint_and_stand_for_the_whole(data, tmp_path):
    """Seven tenths and three tenths hold each row once, and each expects all events of each process."""
    training = shuffled_training(data, WORLD.derive, tmp_path / "out", encoding="", share=Share(0, 7))
    pool = pool_of(data, tmp_path / "out", share=Share(7, 10))
    events = stored_events(training, WORLD.schema)
    assert events.sum_weights() == pytest.approx({"signal": 6000, "background": 18000})
    sums = {c.process: c.sum_weights for c in StoredPool(pool).classes}
    assert sums == pytest.approx({"signal": 6000, "background": 18000})
    for code, (name, n) in enumerate(zip(PROCESSES, COUNTS, strict=True)):
        both = [events["x0"][events.process == code], stored(pool, f"{name}-0")[:, 0]]
        expected = np.concatenate([np.arange(n), 10_000 + np.arange(n)])
        np.testing.assert_array_equal(np.sort(np.concatenate(both)), np.sort(expected))
        assert len(both[0]) / (2 * n) == pytest.approx(0.7, abs=0.05)


def test_training_events_are_the_rows_in_random_order(data, tmp_path):
    """Columns are mapped from disk; each row keeps its process and weight."""
    events = stored_events(shuffled_training(data, WORLD.derive, tmp_path / "out", encoding=""), WORLD.schema)
    assert isinstance(events.features, np.memmap)
    assert len(events) == data.n_rows
    np.testing.assert_array_equal(events["x1"], events.process)
    assert np.all(events.weights == 1)
    whole = data.read_all()
    key = np.lexsort(events.features)
    np.testing.assert_array_equal(events.features[:, key], whole.features[:, np.lexsort(whole.features)])
    assert abs(np.corrcoef(events.process, np.arange(len(events)))[0, 1]) < 4 / np.sqrt(len(events))


def test_a_full_disk_is_one_message_and_the_call_goes_on(data, tmp_path):
    """Where a file cannot be written, the message says so; with space, the same call ends well."""
    expected = contents(pool_of(data, tmp_path / "whole"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (4000, 30_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(StorageError, match=r"cannot write .*(free some space|another folder)"):
                pool_of(data, tmp_path / "out")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(pool_of(data, tmp_path / "out")) == expected


def test_a_disk_too_small_is_refused_at_the_start(data, tmp_path, monkeypatch):
    """What is needed and what is free are named before anything is written."""
    monkeypatch.setattr(scatter, "free_bytes", lambda _: 1000)
    with pytest.raises(
        StorageError, match=r"takes 0\.0 GB .* of which 0\.0 GB are free: .* FAIRUNIVERSE_CACHE"
    ):
        pool_of(data, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.npy"))


def test_a_folder_that_cannot_be_made(data, tmp_path):
    """The remedy names the variable."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="set FAIRUNIVERSE_CACHE to another folder"):
        pool_of(data, tmp_path / "file" / "out")


def test_a_process_without_events_is_refused(tmp_path):
    """A data set must have events of every process, and each part of it."""
    write_parts(tmp_path / "none", [numbered([0, 50])])
    with pytest.raises(InvalidDataError, match="no weight of the process signal: add events"):
        pool_of(dataset(tmp_path / "none"), tmp_path / "out")
    write_parts(tmp_path / "one", [numbered([1, 50])])
    data = dataset(tmp_path / "one")
    has_signal = [s for s in range(10) if "signal" in sums_of(data, tmp_path / "out", Share(s, s + 1))]
    assert len(has_signal) == 1


def sums_of(data, folder, share):
    """Weights by process of the pool of a share; none if it is refused for want of signal."""
    try:
        pool = StoredPool(pool_of(data, folder, share=share))
    except InvalidDataError as error:
        return {} if "no signal event is left in one part" in str(error) else pytest.fail(str(error))
    return {c.process: c.sum_weights for c in pool.classes}


def test_a_damaged_training_folder_is_named(data, tmp_path):
    """A column cut short is an error that says what to do."""
    folder = shuffled_training(data, WORLD.derive, tmp_path / "out", encoding="")
    (folder / "features").write_bytes(b"short")
    with pytest.raises(StorageError, match=r"is damaged .*remove it"):
        stored_events(folder, WORLD.schema)
    (folder / "manifest.json").write_text("no json")
    with pytest.raises(StorageError, match=r"cannot read .*manifest\.json"):
        read_manifest(folder)
