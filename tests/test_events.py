"""Tests of fairuniverse.events."""

import numpy as np
import pytest

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events, concatenate, split
from strategies import PROCESSES, SCHEMA, make_events


def test_pandas_view_shares_memory():
    """The DataFrame of the features is a view, not a copy."""
    events = make_events(1000)
    frame = events.to_pandas()
    assert list(frame.columns) == ["x", "n"]
    assert np.shares_memory(frame["x"].to_numpy(), events.features)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.zeros((2, 3)), "float32"),
        (np.zeros((3, 3), np.float32), "3 rows"),
        (np.asfortranarray(np.zeros((2, 3), np.float32)), "contiguous"),
        (np.zeros(3, np.float32), "float32 block"),
    ],
)
def test_malformed_blocks_are_refused(block, message):
    """A block of the wrong type, shape or layout is refused with the rule it breaks."""
    with pytest.raises(InvalidDataError, match=message):
        Events(SCHEMA, block)


def test_lengths_must_agree():
    """Weights, processes and process names must fit the events."""
    block = np.zeros((2, 3), np.float32)
    with pytest.raises(InvalidDataError, match="4 entries for 3 events"):
        Events(SCHEMA, block, np.ones(4))
    with pytest.raises(InvalidDataError, match="process code 2 has no name"):
        Events(SCHEMA, block, np.ones(3), np.array([0, 1, 2], np.uint8), PROCESSES)


def test_unknown_feature_names_the_known_ones():
    """Asking for a feature that is not there lists those that are."""
    with pytest.raises(InvalidDataError, match="no feature 'y'; the schema has x, n"):
        make_events(3)["y"]


def test_select_takes_every_column_alike():
    """A selection keeps features, weights and processes together."""
    events = make_events(100)
    chosen = events.select(events["x"] > 0)
    assert (chosen["x"] > 0).all()
    expected = events.weights[events["x"] > 0]
    np.testing.assert_array_equal(chosen.weights, expected)
    assert len(events.of_process("signal")) == 50
    assert len(events.select(np.zeros(100, bool))) == 0
    with pytest.raises(InvalidDataError, match="the mask has 99 entries for 100 events"):
        events.select(np.ones(99, bool))


def test_concatenate_inverts_select():
    """Two halves put together are the whole."""
    events = make_events(10)
    halves = [events.select(np.arange(5)), events.select(np.arange(5, 10))]
    whole = concatenate(halves)
    np.testing.assert_array_equal(whole.features, events.features)
    np.testing.assert_array_equal(whole.process, events.process)
    with pytest.raises(InvalidDataError, match="some have not"):
        concatenate([events, Events(SCHEMA, events.features, None, events.process, PROCESSES)])
    with pytest.raises(InvalidDataError, match="nothing to concatenate"):
        concatenate([])


def test_split_keeps_the_yield_of_every_process():
    """Each part alone stands for the expected yields of every process, not only for their total."""
    events = make_events(1001)
    parts = split(events, 0.7, rng=np.random.default_rng(1))
    assert [len(p) for p in parts] == [701, 300]
    for part in parts:
        assert part.sum_weights() == pytest.approx(events.sum_weights(), rel=1e-12)
    values = np.concatenate([p["x"] for p in parts])
    np.testing.assert_array_equal(np.sort(values), np.sort(events["x"]))


def test_split_refuses_to_lose_a_process():
    """A part without any event of a process would have no yield for it."""
    events = make_events(3)
    with pytest.raises(InvalidDataError, match="no background event is left"):
        split(events, 0.34, rng=np.random.default_rng(0))
    with pytest.raises(InvalidDataError, match="needs weights"):
        split(make_events(3, is_labelled=False), 0.5, rng=np.random.default_rng(0))
