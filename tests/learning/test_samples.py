"""Further events of a world."""

import pickle

import numpy as np
import pytest
from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.inferno_toy import InfernoToy

from fairuniverse.errors import InvalidDataError
from fairuniverse.learning import further_events, samples, template_events
from fairuniverse.training import TrainingSet


def training_set(world, nuisances=()):
    """A small one."""
    events = world.generate({p.name: 500 for p in world.processes}, seed=1)
    return TrainingSet(world, events, seed=4, nuisances=nuisances, mu_range=(0.5, 2.5), confidence_level=0.9)


def test_further_events_are_independent_and_reproducible():
    """The same purpose gives the same events, another one, and the training set itself, share none."""
    train = training_set(InfernoToy(), ["r"])
    one, same, other = (further_events(train, 1000, purpose=p).data["x0"] for p in ("a", "a", "b"))
    assert np.array_equal(one, same)
    assert not set(one) & set(other)
    assert not set(one) & set(train.data["x0"])


def test_the_protocol_is_taken_over():
    """World, nuisances, range and confidence level are those of the benchmark."""
    train = training_set(InfernoToy(), ["r"])
    further = further_events(train, 1000, purpose="a")
    assert (further.nuisances, further.mu_range) == (train.nuisances, train.mu_range)
    assert further.confidence_level == 0.9
    assert further.simulator is train.simulator
    assert len(further.shift(r=0.5)) == 1000


def test_events_are_shared_between_the_processes():
    """Half is signal; the backgrounds share by yields, the rare ones too; weights keep the yields."""
    train = training_set(HiggsTauTau())
    events = further_events(train, 20_000, purpose="a").events
    numbers = dict(zip(events.processes, np.bincount(events.process), strict=True))
    assert numbers["htautau"] == 10_000
    assert numbers["ztautau"] > 8_000
    assert min(numbers.values()) > 400
    assert sum(numbers.values()) == pytest.approx(20_000, abs=3)
    expected = {p.name: p.expected_yield for p in train.processes}
    assert events.sum_weights() == pytest.approx(expected)
    chosen = further_events(train, {"htautau": 70}, purpose="a").events
    assert len(chosen) == 70


def test_they_cannot_be_saved_by_accident():
    """Unpickled they would be the training set of another process."""
    with pytest.raises(InvalidDataError, match="cannot be saved with a model"):
        pickle.dumps(further_events(training_set(InfernoToy()), 100, purpose="a"))


def test_templates_get_more_events_where_they_are_few(monkeypatch):
    """Twenty times the expected background, unless the training set has them or they are too many."""
    train = training_set(InfernoToy(), ["r"])  # 500 events of each process, 1,000 of background expected
    more = template_events(train, ratio=3.0)
    assert np.bincount(more.events.process).tolist() == [500, 3000]
    assert more.seed != train.seed
    assert template_events(train, ratio=0.5) is train
    monkeypatch.setattr(samples, "MAX_TEMPLATE_EVENTS", 3000)
    assert template_events(train, ratio=3.0) is train
