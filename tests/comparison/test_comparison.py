"""Comparison of two samples, against distances known in closed form."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from fairuniverse.comparison import compare, comparison_histograms, ks_floor
from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events, Feature, Schema

SCHEMA = Schema(
    (
        Feature("x", "GeV", "Gaussian."),
        Feature("n", "", "Poisson count."),
        Feature("jet", "GeV", "Exists in some events.", missing=-25.0),
    )
)
PROCESSES = ("signal", "background")


def sample(n=4000, shift=0.0, mean=1.0, jets=0.5, seed=0, process=True, weights=None):
    """Events of two processes: a Gaussian, a Poisson count, and a feature that may be missing."""
    rng = np.random.default_rng(seed)
    jet = np.where(rng.random(n) < jets, rng.exponential(10, n), -25.0)
    features = np.stack([rng.normal(shift, 2.0, n), rng.poisson(mean, n), jet]).astype(np.float32)
    codes = np.arange(n, dtype=np.uint8) % 2 if process else None
    return Events(SCHEMA, features, weights, codes, PROCESSES if process else ())


def gaussian_ks(shift):
    """Distance of two unit Gaussians that far apart."""
    return math.erf(shift / 2 / math.sqrt(2))


def test_equal_samples_stay_below_the_floor():
    """The floor is exceeded in 5 % of comparisons (200 of them: 1 to 21 within 99.9 %)."""
    exceeded = 0
    for i in range(100):
        pair = (sample(400, seed=(i, j)) for j in (0, 1))
        comparison = compare(*pair, with_classifier=False)
        exceeded += sum(d.ks > d.ks_floor for d in comparison.distances if d.feature == "x")
    assert 1 <= exceeded <= 21


def test_shifted_gaussians():
    """Distances of Gaussians one standard deviation apart: KS 0.383, Wasserstein 1 sd."""
    d = compare(sample(40_000, shift=2.0), sample(40_000, seed=1), with_classifier=False).distance(
        "signal", "x"
    )
    assert d.ks == pytest.approx(gaussian_ks(1.0), abs=d.ks_floor)
    assert d.wasserstein == pytest.approx(1.0, abs=0.03)
    assert d.mean_sim - d.mean_ref == pytest.approx(2.0, abs=0.06)


def test_agrees_with_scipy():
    """Unweighted distances are those of SciPy."""
    from scipy.stats import ks_2samp, wasserstein_distance

    a, b = sample(500, shift=0.5), sample(700, seed=1)
    d = compare(a, b, with_classifier=False).distance("signal", "x")
    x, y = (e.of_process("signal")["x"].astype(float) for e in (a, b))
    assert d.ks == pytest.approx(ks_2samp(x, y).statistic, abs=1e-12)
    assert d.wasserstein == pytest.approx(wasserstein_distance(x, y) / y.std(), rel=1e-9)


def test_weights_count_as_copies():
    """An event of weight two counts like two events; the floor grows with the spread of weights."""
    a = sample(1000)
    doubled = sample(1000, weights=np.where(np.arange(1000) < 500, 2.0, 1.0))
    copied = a.select(np.concatenate([np.arange(500), np.arange(1000)]))
    reference = sample(1000, seed=1)
    by_weight, by_copy = (compare(e, reference, with_classifier=False) for e in (doubled, copied))
    for first, second in zip(by_weight.distances, by_copy.distances, strict=True):
        assert first.ks == pytest.approx(second.ks, abs=1e-12)
        assert first.wasserstein == pytest.approx(second.wasserstein, abs=1e-12)
        assert first.ks_floor > second.ks_floor


def test_missing_values():
    """Features are compared among the events that have them; how many have not is told."""
    d = compare(sample(jets=0.2), sample(jets=0.6, seed=1), with_classifier=False).distance("signal", "jet")
    assert d.ks < 1.3 * d.ks_floor
    assert (d.missing_sim, d.missing_ref) == pytest.approx((0.8, 0.4), abs=0.04)


def test_feature_that_no_event_has():
    """A feature missing everywhere has no distance, and the JSON has no NaN."""
    comparison = compare(sample(jets=0.0), sample(), with_classifier=False)
    assert math.isnan(comparison.distance("signal", "jet").ks)
    json.dumps(comparison.to_json(), allow_nan=False)
    assert "jet" not in set(comparison_histograms(sample(jets=0.0), sample())["feature"])


def test_count_fractions():
    """Fractions of a Poisson count, within four errors; none for features that are not counts."""
    fractions = compare(sample(40_000, mean=0.5), sample(40_000, seed=1), with_classifier=False).fractions
    assert {f.feature for f in fractions} == {"n"}
    for f in fractions[:3]:
        expected = math.exp(-0.5) * 0.5**f.count / math.factorial(f.count)
        assert f.fraction_sim == pytest.approx(expected, abs=4 * f.error)
    assert sum(f.fraction_ref for f in fractions if f.process == "signal") == pytest.approx(1.0)


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.5), (2.0, 0.76)])
def test_classifier(shift, expected):
    """Equal samples have AUC 0.5, Gaussians one sd apart Phi(1/sqrt 2) = 0.76; within four errors."""
    separation = compare(sample(shift=shift), sample(seed=1)).separations[0]
    assert separation.auc == pytest.approx(expected, abs=4 * separation.auc_error + 0.01)


def test_classifier_weighs_events():
    """A sample thinned on one side, with weights that make up for it, cannot be told from a whole one.

    Without the weights the AUC would be 0.62; four standard errors are exceeded once in 16,000 times.
    """
    whole = sample(8000)
    kept = (whole["x"] > 0) | (np.arange(8000) // 2 % 4 == 0)
    thinned = whole.select(kept)
    thinned = replace(thinned, weights=np.where(thinned["x"] > 0, 1.0, 4.0))
    for separation in compare(thinned, sample(8000, seed=1)).separations:
        assert separation.auc == pytest.approx(0.5, abs=4 * separation.auc_error)
        assert separation.auc_error > math.sqrt(1 / 6 / 4000)


@pytest.mark.parametrize("n_shared", [4000, 2000])
def test_shared_events_do_not_push_the_auc_below_one_half(n_shared):
    """A table against itself has AUC 0.5 exactly, half of it 0.5 within four errors; both are told."""
    a = sample(process=False)
    rows = np.arange(n_shared)
    other = sample(4000 - n_shared, seed=1, process=False)
    features = np.concatenate([a.features[:, rows], other.features], axis=1)
    comparison = compare(a, Events(SCHEMA, np.ascontiguousarray(features)))
    (separation,) = comparison.separations
    assert separation.n_shared == n_shared
    assert separation.auc == pytest.approx(0.5, abs=1e-9 if n_shared == 4000 else 4 * separation.auc_error)
    which = "all" if n_shared == 4000 else "2000 of 4000"
    assert f"{which} reference events are in the simulated sample, too" in comparison.render()


def test_repeated_counts_are_no_shared_events():
    """Where features are discrete, equal rows are different events: nothing is shared."""
    schema = Schema(SCHEMA.features[1:2])
    a, b = (Events(schema, sample(seed=i).features[1:2].copy()) for i in (0, 1))
    (separation,) = compare(a, b).separations
    assert separation.n_shared == 0
    assert separation.auc == pytest.approx(0.5, abs=4 * separation.auc_error)


def test_auc_far_below_one_half_is_commented():
    """An AUC that no independent samples have is not called inseparable."""
    comparison = compare(sample(), sample(seed=1), with_classifier=False)
    low = replace(comparison.separations[0], auc=0.155)
    text = replace(comparison, separations=(low,)).render()
    assert "below 0.5: the samples share events" in text
    assert "cannot be told apart" not in text


@pytest.mark.parametrize("which", [0, 1])
def test_weights_that_are_all_zero(which):
    """A process without weight is refused; the message names it, the sample and the remedy."""
    weights = np.where(np.arange(4000) % 2 == 0, 0.0, 1.0)
    pair = [sample(seed=i, weights=weights if i == which else None) for i in (0, 1)]
    name = ("simulated sample", "reference")[which]
    with pytest.raises(InvalidDataError, match=f"'signal' in the {name} .*leave the column of weights out"):
        compare(*pair, with_classifier=False)


def test_what_one_sample_lacks_is_told():
    """Weights and labels of one sample alone are named on top and in the JSON; of both or none, nothing."""
    full, bare = sample(weights=np.ones(4000)), sample(seed=1, process=False)
    comparison = compare(full, bare, with_classifier=False)
    assert comparison.notes == (
        "reference has no weights: its events are compared unweighted",
        "reference has no process labels: all events are compared together",
    )
    assert comparison.render().startswith("reference has no weights")
    assert comparison.to_json()["notes"] == list(comparison.notes)
    assert compare(bare, bare, with_classifier=False).notes == ()


def test_summary_ends_the_table():
    """The last lines hold the worst distance of each process relative to its floor."""
    comparison = compare(sample(shift=1.0), sample(seed=1), with_classifier=False)
    lines = comparison.render().splitlines()[-3:]
    d = comparison.distance("signal", "x")
    assert lines[0] == "summary"
    assert lines[1].startswith(f"  signal: worst KS {d.ks / d.ks_floor:.2f} x floor (x), ")
    assert lines[2].startswith("  background: worst KS")


def test_only_common_processes():
    """Processes that one sample lacks are left out; unlabelled samples are compared as a whole."""
    signal = sample().of_process("signal")
    assert {d.process for d in compare(signal, sample(seed=1), with_classifier=False).distances} == {"signal"}
    whole = compare(sample(process=False), sample(seed=1), with_classifier=False)
    assert [s.process for s in whole.separations] == [""]


@pytest.mark.parametrize(
    "other",
    [sample(0), Events(Schema(SCHEMA.features[:1]), np.zeros((1, 5), np.float32))],
    ids=["empty", "other schema"],
)
def test_nothing_to_compare(other):
    """Empty samples and samples of another schema are refused."""
    with pytest.raises(InvalidDataError):
        compare(sample(), other)


def test_unknown_distance():
    """Asking for a feature that was not compared is an error with its name."""
    with pytest.raises(InvalidDataError, match="'y'"):
        compare(sample(), sample(), with_classifier=False).distance("signal", "y")


def test_table():
    """The printed table marks distances above the floor and only these."""
    text = compare(sample(shift=1.0), sample(seed=1), with_classifier=False).render()
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    assert "*" in lines["x"]
    assert "*" not in lines["n"]
    assert "signal: 2000 simulated, 2000 reference events" in text


def test_json_holds_what_the_table_shows():
    """Machines read the same numbers."""
    comparison = compare(sample(shift=1.0), sample(seed=1), with_classifier=False)
    record = comparison.to_json()["distances"][0]
    assert record["ks"] == comparison.distances[0].ks
    assert len(comparison.to_frame()) == len(comparison.to_json()["distances"])


def test_histograms():
    """Densities have unit area, ratios belong to them, counts have a bin per value."""
    table = comparison_histograms(sample(shift=0.5), sample(seed=1))
    for _, group in table.groupby(["process", "feature"]):
        width = group["bin_right"] - group["bin_left"]
        assert (group["density_sim"] * width).sum() == pytest.approx(1.0)
        assert (group["density_ref"] * width).sum() == pytest.approx(1.0)
    filled = table[table["density_ref"] > 0]
    assert np.allclose(filled["ratio"] * filled["density_ref"], filled["density_sim"])
    counts = table[table["feature"] == "n"]
    assert np.allclose(counts["bin_right"] - counts["bin_left"], 1.0)


@pytest.mark.parametrize("n", [10, 77, 161, 1492])
def test_floor(n):
    """Beside a very large sample the floor is exceeded with probability 5 %, by the exact distribution."""
    from scipy.stats import kstwo

    assert kstwo.sf(ks_floor(10**9, n), n) == pytest.approx(0.05, abs=5e-4)
