"""Correlations of two samples, against those of Gaussians and of SciPy."""

import numpy as np
import pytest

from fairuniverse.comparison import compare
from fairuniverse.comparison.correlations import (
    MAX_CORRELATED_EVENTS,
    MAX_VARIANCE_EVENTS,
    MIN_CORRELATED_EVENTS,
    correlations,
)
from fairuniverse.events import Events, Feature, Schema

SCHEMA = Schema((*(Feature(name, "", "Gaussian.") for name in "xyz"), Feature("j", "GeV", "A jet.", -25.0)))
N = 20_000


def sample(rho=0.0, seed=0, weights=None):
    """Gaussians x, y of a correlation, z alone, and a feature that half of the events lack."""
    rng = np.random.default_rng(seed)
    x, y, z = rng.multivariate_normal(np.zeros(3), [[1, rho, 0], [rho, 1, 0], [0, 0, 1]], N).T
    jet = np.where(rng.random(N) < 0.5, x, -25.0)
    return Events(SCHEMA, np.stack([x, y, z, jet]).astype(np.float32), weights)


def test_finds_the_pair():
    """A correlation of 0.5 in one sample: Spearman's is 6 / pi asin(0.25) (five standard errors)."""
    found = correlations("", sample(0.5), sample(0.0, seed=1))
    pair = found.farthest
    assert {pair.first, pair.second} == {"x", "y"}
    assert pair.rho_sim == pytest.approx(6 / np.pi * np.arcsin(0.25), abs=5 / np.sqrt(N))
    assert pair.pull > 40
    assert found.n_pairs == 6


def test_equal_samples():
    """The pulls of equal samples are below four (false alarms: six pairs, 4e-4)."""
    pulls = correlations("", sample(0.3), sample(0.3, seed=1)).pulls
    assert np.abs(pulls[~np.eye(4, dtype=bool)]).max() < 4


def test_pulls_of_correlated_features_are_standard():
    """Width 1 for Gaussians of correlation 0.9 and for counts that repeat, within four standard errors."""
    pulls = []
    for i in range(50):
        pair = [sample(0.9, seed=1000 + 2 * i + k) for k in (0, 1)]
        for events in pair:
            events.features[2] = np.floor(2 * np.abs(events.features[0]))
        found = correlations("", *pair).pulls
        pulls.append([found[1, 0], found[2, 1]])
    assert np.std(pulls, axis=0) == pytest.approx(1, abs=4 / np.sqrt(2 * 50))


def test_pulls_are_standard():
    """Those of 100 independent pairs of equal samples have mean 0 and width 1 (four standard errors)."""
    pulls = np.concatenate(
        [
            correlations("", sample(seed=2 * i), sample(seed=2 * i + 1)).pulls[np.tril_indices(3, -1)]
            for i in range(100)
        ]
    )
    assert abs(pulls.mean()) < 4 / np.sqrt(300)
    assert pulls.std() == pytest.approx(1, abs=4 / np.sqrt(600))


def test_agrees_with_scipy():
    """Without weights, the correlations are SciPy's, ties included; a jet's, of the events that have it."""
    from scipy.stats import spearmanr

    events = sample(0.4)
    events.features[:2] = np.round(events.features[:2], 1)
    found = correlations("", events, sample(0.0, seed=1))
    has_jet = events["j"] != -25
    expected = spearmanr(events.features[:3], axis=1).statistic
    assert found.rho_sim[:3, :3] == pytest.approx(expected, abs=1e-9)
    for i in range(3):
        rho = spearmanr(events.features[i][has_jet], events["j"][has_jet]).statistic
        assert found.rho_sim[3, i] == found.rho_sim[i, 3] == pytest.approx(rho, abs=1e-9)
    assert found.error[3, 2] == pytest.approx(np.sqrt(2) * found.error[2, 0], rel=0.05)


def test_weights_count_as_copies():
    """An event of weight two is two events."""
    weights = np.random.default_rng(2).integers(1, 4, N).astype(float)
    events = sample(0.4)
    copies = events.select(np.repeat(np.arange(N), weights.astype(int)))
    pair = [correlations("", e, sample(0.0, seed=1)).rho_sim for e in (sample(0.4, weights=weights), copies)]
    assert pair[0] == pytest.approx(pair[1], abs=1e-9)


def test_what_has_no_correlation():
    """A constant feature and one of too few events have none, with any other; the rest is not touched."""
    events = sample(0.4)
    events.features[2] = 1.0
    events.features[3] = -25.0
    events.features[3, : MIN_CORRELATED_EVENTS - 1] = events.features[0, : MIN_CORRELATED_EVENTS - 1]
    found = correlations("", events, sample(0.4, seed=1))
    assert np.isfinite(found.pulls).tolist() == [[i < 2 and j < 2 for j in range(4)] for i in range(4)]
    assert found.n_pairs == 1
    assert [(p.first, p.second) for p in found.pairs()] == [("x", "y")]


def test_large_samples_are_thinned():
    """Of more events than the limit, as many as that are taken, evenly; errors are theirs."""
    x = np.linspace(-1, 1, 3 * MAX_CORRELATED_EVENTS, dtype=np.float32)
    noise = np.random.default_rng(0).normal(size=(2, len(x)))
    events = Events(SCHEMA, np.stack([x, noise[0], noise[1], x]).astype(np.float32))
    found = correlations("", events, events)
    assert found.rho_sim[3, 0] == pytest.approx(1)
    # The variance is a mean of squared products of two uniform ranks: four standard errors of its root.
    spread = np.sqrt(((9 / 5) ** 2 - 1) / MAX_VARIANCE_EVENTS) / 2
    assert found.error[1, 0] == pytest.approx(np.sqrt(2 / MAX_CORRELATED_EVENTS), rel=4 * spread)


def test_compare_tells():
    """The table of a comparison says which pair differs most; its JSON has all pairs, that one first."""
    comparison = compare(sample(0.5), sample(0.0, seed=1), with_classifier=False)
    assert "largest pull of 6 correlations, " in comparison.render()
    records = comparison.to_json()["correlations"]
    assert len(records) == 6
    assert {records[0]["first"], records[0]["second"]} == {"x", "y"}
