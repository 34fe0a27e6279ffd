"""Shifts both ways: equal ones close, different ones are found, errors are those of the difference.

Statistical comparisons use fixed seeds; with others each would fail once in ten thousand times or less.
"""

import math

import numpy as np
import pytest

from fairuniverse.closure import YIELD, Closure, Weighted, closure
from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events, Feature, Schema

SCHEMA = Schema((Feature("x", "GeV", "Always there."), Feature("jet", "GeV", "In half of them.", -25.0)))
N = 4000


def sample(x, rows=None, weights=None):
    """Events of these values; odd ones have a jet as large."""
    rows = np.arange(len(x)) if rows is None else rows
    jet = np.where(rows % 2 == 1, x, -25.0)
    weights = np.ones(len(x)) if weights is None else weights
    return Weighted(Events(SCHEMA, np.stack([x, jet]).astype(np.float32), weights), rows)


def compare(inside, after):
    """Entries by feature."""
    rng = np.random.default_rng(1)
    entries = closure(inside, {"table": after}, N, process="p", nuisance="scale", value=1.1, rng=rng)
    return {e.feature: e for e in entries}


@pytest.fixture
def x():
    """Values of a feature, of standard deviation 2."""
    return 50 + 2 * np.random.default_rng(2).standard_normal(N)


def test_equal_shifts_close(x):
    """The same shift both ways: no difference at all, in standard deviations of the feature."""
    pair = (sample(x), sample(1.1 * x))
    entries = compare(pair, pair)
    assert all(e.difference == 0 and e.pull == 0 for e in entries.values())
    assert entries["x"].inside == pytest.approx(5 / 2, rel=0.05)
    assert entries["jet"].inside == pytest.approx(5 / 2, rel=0.05)
    assert entries[YIELD].inside == 0


def test_different_shifts_are_found(x):
    """A hundredth of the shift less, on the same events: the difference is known best of all."""
    entry = compare((sample(x), sample(1.1 * x)), (sample(x), sample(1.099 * x)))["x"]
    assert entry.difference == pytest.approx(-0.05 / 2, rel=0.05)
    assert entry.error < 0.02 * abs(entry.difference)
    assert entry.pull < -50


def test_errors_of_independent_noise(x):
    """Noise of its own in each way: the error is sqrt(2) times that of the noise's mean."""
    rng = np.random.default_rng(3)
    noisy = [(sample(x), sample(x + rng.standard_normal(N))) for _ in range(2)]
    entry = compare(*noisy)["x"]
    assert entry.error == pytest.approx(math.sqrt(2 / N) / 2, rel=0.25)
    assert abs(entry.pull) < 4


def test_lost_events_and_weights(x):
    """Where one way loses the events above a threshold, means and yields tell; weights count."""
    below = np.flatnonzero(x < 50)
    weights = np.where(x < 50, 3.0, 1.0)
    inside = (sample(x, weights=weights), sample(x[below], below, weights[below]))
    entries = compare(inside, (sample(x, weights=weights), sample(x, weights=weights)))
    lost = 1 / (1 + 3 * (x < 50).sum() / (x >= 50).sum())
    assert entries[YIELD].inside == pytest.approx(-lost)
    assert entries[YIELD].after == 0
    assert entries["x"].difference > 0


def test_tables(x):
    """Text names the worst feature and how many differ; records hold every entry; no event is an error."""
    different = compare((sample(x), sample(1.1 * x)), (sample(x), sample(1.099 * x)))
    answer = Closure(tuple(different.values()))
    assert "2 of 3 features differ by more than 3 standard errors" in answer.render()
    assert [r["feature"] for r in answer.to_json()] == ["x", "jet", YIELD]
    nothing = sample(x[:0])
    with pytest.raises(InvalidDataError, match="no p events"):
        compare((sample(x), nothing), (sample(x), sample(x)))
