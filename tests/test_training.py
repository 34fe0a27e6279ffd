"""What `Model.fit` receives."""

import pickle
import sys

import numpy as np
import pytest

from fairuniverse import training as module
from fairuniverse.errors import InvalidDataError
from fairuniverse.training import TrainingSet, load_simulator, locate, training_seed


@pytest.fixture
def train(tiny_benchmark):
    """A training set of the tiny world."""
    benchmark = tiny_benchmark()
    return TrainingSet(
        benchmark.simulator,
        benchmark.training_events,
        seed=5,
        nuisances=["bkg_scale"],
        mu_range=[0.1, 3.0],
        confidence_level=0.68,
    )


def test_columns_and_types(train):
    """Features as float32, then weights, process and label."""
    assert list(train.data.columns) == ["x", "z", "weights", "process", "label"]
    assert [str(t) for t in train.data.dtypes] == ["float32", "float32", "float64", "category", "uint8"]
    assert train.features == ["x", "z"]


def test_labels_mark_the_signal(train):
    """The label is 1 for the signal process and 0 for others."""
    by_process = train.data.groupby("process", observed=True)["label"].agg(["min", "max"])
    assert by_process.loc["signal"].tolist() == [1, 1]
    assert by_process.loc["background"].tolist() == [0, 0]


def test_weights_sum_to_the_expected_yields(train):
    """At nominal nuisances nothing is lost in the tiny world, so the sums are the yields."""
    sums = train.data.groupby("process", observed=True)["weights"].sum()
    assert sums.to_dict() == pytest.approx({p.name: p.expected_yield for p in train.processes})


def test_normalisations_scale_weights(train):
    """A scale acts on its processes and leaves the others."""
    sums = train.shift(bkg_scale=1.2).groupby("process", observed=True)["weights"].sum()
    assert sums.to_dict() == pytest.approx({"signal": 50.0, "background": 480.0})


def test_shapes_shift_features_and_select_again(train):
    """Background above 10 / 1.05 leaves the table when x is scaled by 1.05."""
    shifted = train.shift(scale=1.05)
    assert shifted["x"].max() < 10
    assert len(shifted) == (train.data["x"] * np.float32(1.05) < 10).sum() < len(train.data)


def test_tables_belong_to_the_caller(train):
    """Changing a table changes nothing that is asked for later."""
    before = train.shift()["x"].copy()
    table = train.shift()
    table["x"] *= 2
    table.loc[:, "weights"] = 0
    assert train.shift()["x"].equals(before)


def test_unknown_nuisances_are_refused(train):
    """The nearest name is suggested."""
    with pytest.raises(InvalidDataError, match="did you mean 'scale'"):
        train.shift(scael=1.0)


def test_what_is_known_about_the_world(train):
    """Only nuisance parameters that vary are listed; the range of mu and the level are there."""
    assert [p.name for p in train.nuisances] == ["bkg_scale"]
    assert train.mu_range == (0.1, 3.0)
    assert train.confidence_level == 0.68


def test_the_world_itself_is_there(train):
    """A method may simulate more, or ask a world that knows its densities."""
    more = train.simulator.generate({"signal": 7}, seed=train.seed)
    assert len(more) == 7


def test_unlabelled_events_are_refused(tiny_benchmark):
    """A training set needs weights and processes."""
    benchmark = tiny_benchmark()
    toy = benchmark.pseudo_experiments.draw(benchmark.pseudo_experiments.truth(0, 0)).events
    with pytest.raises(InvalidDataError, match="need weights and process codes"):
        TrainingSet(benchmark.simulator, toy, seed=1, nuisances=[], mu_range=[0, 1], confidence_level=0.68)


def test_pickled_as_a_reference(train, monkeypatch):
    """A model that keeps its training set is saved without the events."""
    monkeypatch.setattr(module, "_attached", None)
    content = pickle.dumps(train)
    assert len(content) < 200
    with pytest.raises(InvalidDataError, match="inside a worker"):
        pickle.loads(content)
    module.attach(train)
    assert pickle.loads(content) is train


def test_training_seed_is_a_stream_of_its_own():
    """It depends on the seed and is not the seed."""
    seeds = {training_seed(s) for s in range(100)}
    assert len(seeds) == 100
    assert not seeds & set(range(1000))


def test_simulators_are_found_by_module_or_file(tiny_benchmark, monkeypatch):
    """Another process can make the same simulator, installed or not."""
    simulator = tiny_benchmark().simulator
    where = locate(simulator)
    assert where.endswith("tiny_world.py:Simulator")
    monkeypatch.delitem(sys.modules, type(simulator).__module__)
    assert load_simulator(where, {"width": 0.25}).width == 0.25
    assert locate(np.random.default_rng(1)) == "numpy.random._generator:Generator"


@pytest.fixture(params=["small", "large"])
def sized(request, train, monkeypatch):
    """The training set, read event by event or in blocks of neighbours."""
    if request.param == "large":
        monkeypatch.setattr(module, "MAX_ROWS_IN_MEMORY", 100)
        monkeypatch.setattr(module, "BLOCK", 16)
        monkeypatch.setattr(module, "_SCAN", 64)
    return train


def sums(events):
    """Weights by process."""
    return events.sum_weights()


def columns_of(events):
    """Each event as bytes."""
    return [c.tobytes() for c in np.ascontiguousarray(events.features.T)]


def test_a_sample_has_so_many_events_of_each_process(sized):
    """Events are some of the whole, once each; weights keep the yields, or are all there is."""
    part = sized.sample(300)
    assert np.bincount(part.events.process).tolist() == [300, 300]
    assert sums(part.events) == pytest.approx(sums(sized.events))
    chosen = columns_of(part.events)
    assert len(set(chosen)) == 600
    assert set(chosen) <= set(columns_of(sized.events))
    assert part.nuisances == sized.nuisances
    assert part.mu_range == sized.mu_range
    everything = sized.sample(10_000)
    np.testing.assert_array_equal(everything.events.features, sized.events.features)
    np.testing.assert_allclose(everything.events.weights, sized.events.weights)


def test_samples_follow_their_seed(sized):
    """The same seed gives the same events, another one others."""
    first, again, other = (columns_of(sized.sample(200, seed=s).events) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_every_event_may_be_in_a_sample(sized):
    """Over many seeds all events of a process are taken about equally often (false alarms: below 1e-4)."""
    known = {c: i for i, c in enumerate(columns_of(sized.events))}
    counts = np.zeros(len(known))
    for seed in range(40):
        counts[[known[c] for c in columns_of(sized.sample(500, seed=seed).events)]] += 1
    signal = counts[sized.events.process == 0]
    assert signal.mean() == pytest.approx(20)
    assert np.abs(signal - 20).max() < 6 * np.sqrt(10)


def test_batches_are_all_events_in_a_mixture(sized):
    """Batches hold each event once with its weight, and every process in its proportion."""
    parts = [part.events for part in sized.batches(600)]
    assert len(parts) == 5
    assert sorted(c for p in parts for c in columns_of(p)) == sorted(columns_of(sized.events))
    total = {k: sum(sums(p)[k] for p in parts) for k in sums(sized.events)}
    assert total == pytest.approx(sums(sized.events))
    for part in parts:
        assert len(part) == pytest.approx(600, abs=48)
        assert (part.process == 0).mean() == pytest.approx(1 / 3, abs=0.05)


def test_parts_that_a_model_keeps_are_made_again(sized):
    """A pickled sample or batch holds no events: it is made of the worker's training set."""
    module.attach(sized)
    for part in (sized.sample(100, seed=3), list(sized.batches(600))[2], sized.sample(400).sample(50)):
        saved = pickle.dumps(part)
        assert len(saved) < 1000
        assert sized.is_referred_to
        np.testing.assert_array_equal(pickle.loads(saved).events.features, part.events.features)


def test_parts_of_nothing_are_refused(train):
    """At least one event must be asked for."""
    with pytest.raises(InvalidDataError, match="n_events = 0 must be at least 1"):
        train.sample(0)
    with pytest.raises(InvalidDataError, match="n_events = 0 must be at least 1"):
        next(train.batches(0))
