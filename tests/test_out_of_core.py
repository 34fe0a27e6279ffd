"""Benchmarks whose data sets stay on disk."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

import tiny_world
from fairuniverse import training
from fairuniverse.api import Benchmark, large_data, run
from fairuniverse.config import (
    BenchmarkConfig,
    LimitsConfig,
    PseudoExperimentsConfig,
    SimulatorConfig,
    TrainingConfig,
)
from fairuniverse.datasets import Dataset
from fairuniverse.errors import InvalidConfigError, InvalidDataError
from partitions import WORLD, write_parts


@pytest.fixture
def limit(monkeypatch):
    """Data sets of more than ten thousand rows stay on disk."""
    for module in (large_data, training):
        monkeypatch.setattr(module, "MAX_ROWS_IN_MEMORY", 10_000)


def write_data(folder, n_events, n_parts=3, seed=1):
    """Partitions that together expect the yields of the world."""
    events = WORLD.generate({p.name: n_events for p in WORLD.processes}, seed=seed)
    order = np.random.default_rng(seed).permutation(len(events))
    write_parts(folder, [events.select(rows) for rows in np.array_split(order, n_parts)], row_group_size=1000)
    return folder.name


def config_of(training_file, pool_file, **settings):
    """A benchmark in the Gaussian world."""
    return BenchmarkConfig(
        name="disk",
        version="1",
        seed=4,
        simulator=SimulatorConfig("gaussian_2d"),
        nuisances=["z"],
        training=TrainingConfig(file=training_file),
        pseudo_experiments=PseudoExperimentsConfig(n_mu=2, n_toys=3, file=pool_file),
        limits=LimitsConfig(memory_mib=2048),
        **settings,
    )


def toys_of(made):
    """Features of all toys."""
    toys = made.pseudo_experiments
    return [toys.draw(t, n_threads=made.n_threads).events.features.copy() for t in toys.truths()]


def test_a_folder_within_the_limit_is_one_table(tmp_path):
    """A folder of files gives the toys that its rows in one file give."""
    write_data(tmp_path / "parts", 3000)
    whole = Dataset(tmp_path / "parts", WORLD.schema, WORLD.processes).read_all()
    write_parts(tmp_path / "one", [whole])
    one = Benchmark(config_of("one/part-0.parquet", "one/part-0.parquet"), folder=tmp_path)
    parts = Benchmark(config_of("parts", "parts"), folder=tmp_path)
    for a, b in zip(toys_of(one), toys_of(parts), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.training_events.features, parts.training_events.features)


def test_toys_from_disk_depend_on_configuration_and_data_only(tmp_path, limit, monkeypatch):
    """Threads, the place of the cache, and an order that another process made change no bit."""
    names = write_data(tmp_path / "train", 20_000), write_data(tmp_path / "pool", 30_000, seed=2)
    first = toys_of(Benchmark(config_of(*names), folder=tmp_path, n_threads=1))
    assert (tmp_path / "pool.shuffled").is_dir()
    monkeypatch.setenv("FAIRUNIVERSE_CACHE", str(tmp_path / "cache"))
    again = Benchmark(config_of(*names), folder=tmp_path, n_threads=2)
    folders = again.prepare()
    assert {f.parent for f in folders} == {tmp_path / "cache" / f"{n}.shuffled" for n in names}
    for a, b in zip(first, toys_of(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len({len(a[0]) for a in first}) > 1


def test_one_data_set_is_split(tmp_path, limit):
    """The same data set for training and toys gives seven tenths to the one and three to the other."""
    name = write_data(tmp_path / "data", 20_000)
    made = Benchmark(config_of(name, name), folder=tmp_path)
    events = made.training_events
    assert isinstance(events.features, np.memmap)
    assert len(events) == pytest.approx(0.7 * 40_000, rel=0.05)
    expected = {p.name: p.expected_yield for p in WORLD.processes}
    assert events.sum_weights() == pytest.approx(expected)
    trained = {c.tobytes() for c in np.ascontiguousarray(events.features.T)}
    _, pool = made.prepare()
    rows = np.concatenate([np.fromfile(p, np.float32).reshape(-1, 2) for p in pool.glob("*.rows")])
    assert len(rows) == 40_000 - len(events)
    assert not trained & {r.tobytes() for r in rows}


def test_yields_must_agree(tmp_path, limit):
    """Training events and a pool on disk that expect other yields are refused."""
    name = write_data(tmp_path / "train", 20_000)
    events = WORLD.generate({p.name: 20_000 for p in WORLD.processes}, seed=3)
    write_parts(tmp_path / "pool", [replace(events, weights=1.1 * events.weights)])
    with pytest.raises(InvalidDataError, match="rescale the weights"):
        _ = Benchmark(config_of(name, "pool"), folder=tmp_path).training_events


def test_a_world_that_cannot_is_told_what_to_do(tmp_path, limit, root):
    """A simulator without a sampler for pools on disk says so before anything is shuffled."""
    events = tiny_world.Simulator().generate({"signal": 6000, "background": 6000}, seed=1)
    write_parts(tmp_path / "data", [events])
    simulator = SimulatorConfig(str(root / "tests" / "tiny_world.py"))
    config = replace(config_of("data", "data"), simulator=simulator, nuisances=["scale"])
    with pytest.raises(InvalidConfigError, match=r"tiny_world\.py can draw from memory only: name a smaller"):
        toys_of(Benchmark(config, folder=tmp_path))
    assert not (tmp_path / "data.shuffled").exists()


def test_a_submission_is_trained_and_asked_from_disk(tmp_path, limit):
    """A run whose training events and pool stay on disk gives answers; models may use a sample."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.py").write_text(MODEL)
    name = write_data(tmp_path / "data", 20_000)
    config = asdict(config_of(name, name))
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    answers = run(tmp_path / "config.yaml", [tmp_path / "mine"], tmp_path / "runs", isolation="none")
    table = answers["mine"].table
    assert set(table["status"]) == {"ok"}
    assert len(table) == 6
    assert np.abs(table["mu_hat"] - table["mu_true"]).max() < 3


MODEL = """
import numpy as np
class Model:
    def fit(self, train):
        self.sample = train.sample(1000)
        assert len(self.sample.data) == 2000
        assert sum(len(b.data) for b in train.batches(7000)) == len(train.events)
        sums = train.data.groupby("label")["weights"].sum()
        self.signal, self.background = sums[1], sums[0]
    def predict(self, test):
        mu = (len(test) - self.background) / self.signal
        return {"mu_hat": mu, "lower": mu - 1, "upper": mu + 1}
"""
