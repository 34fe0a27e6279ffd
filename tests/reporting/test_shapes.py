"""Histograms of signal and background with the shape nuisance parameters moved."""

import numpy as np
import pytest

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events, Feature, Schema
from fairuniverse.reporting import shape_table
from fairuniverse.reporting.shapes import bin_edges, nuisance_names
from tiny_world import Simulator


@pytest.fixture(scope="module")
def events() -> Events:
    """Nominal events of the tiny world."""
    return Simulator().generate({"signal": 5000, "background": 5000}, seed=1)


@pytest.fixture(scope="module")
def table(events):
    """Its shapes in both features."""
    return shape_table(Simulator(), events, ["x", "z"], seed=2)


def test_contents_are_expected_events(table):
    """Bins add up to the yield of the process, but for the 2.2 % beyond the range drawn."""
    sums = table.groupby(["feature", "process"])["nominal"].sum()
    assert sums["z", "signal"] == pytest.approx(50.0, rel=0.025)
    assert sums["z", "background"] == pytest.approx(400.0, rel=0.025)


def test_only_shape_nuisances_vary(table):
    """A normalisation has no column of its own."""
    assert nuisance_names(table) == ("scale",)


def test_up_and_down_move_the_peak_to_either_side(table):
    """The signal's mean moves by plus and minus one prior sigma, 1 %."""
    signal = table[(table["feature"] == "x") & (table["process"] == "signal")]
    centre = (signal["bin_left"] + signal["bin_right"]) / 2
    mean = {c: np.average(centre, weights=signal[c]) for c in ("nominal", "scale_up", "scale_down")}
    assert mean["scale_up"] / mean["nominal"] == pytest.approx(1.01, abs=0.003)
    assert mean["scale_down"] / mean["nominal"] == pytest.approx(0.99, abs=0.003)


def test_a_feature_that_does_not_shift_stays(table):
    """Nothing but the events that leave the selection changes z."""
    signal = table[(table["feature"] == "z") & (table["process"] == "signal")]
    assert signal["scale_up"].to_numpy() == pytest.approx(signal["nominal"].to_numpy())


def test_the_table_depends_on_the_seed_only(events, table):
    """The same call gives the same table."""
    assert shape_table(Simulator(), events, ["x", "z"], seed=2).equals(table)


def test_statistical_errors_follow_the_weights(table):
    """sqrt(sum of squared weights) is weight times sqrt(count) for equal weights."""
    background = table[(table["feature"] == "x") & (table["process"] == "background")]
    assert background["error"].to_numpy() == pytest.approx(np.sqrt(background["nominal"] * 400 / 5000))


def test_missing_values_are_in_no_bin():
    """The sentinel neither widens the range nor fills a bin."""
    schema = Schema((Feature("mass", "GeV", "Mass of the jets.", -25.0),))
    mass = np.array([[-25.0, -25.0, 50.5, 60.5, 70.5]], dtype=np.float32)
    events = Events(schema, mass, np.ones(5), np.array([0, 1, 0, 1, 1], np.uint8), ("s", "b"))
    assert bin_edges(events, schema.features[0])[0] >= 50.0


def test_whole_numbers_get_a_bin_each():
    """Jet counts are drawn in bins of width one around them."""
    schema = Schema((Feature("n_jets", "", "Number of jets."),))
    counts = np.array([[0.0, 1.0, 1.0, 2.0, 3.0]], dtype=np.float32)
    events = Events(schema, counts, np.ones(5), np.zeros(5, np.uint8), ("s",))
    edges = bin_edges(events, schema.features[0])
    assert np.diff(edges).tolist() == [1.0] * (len(edges) - 1)
    assert edges[0] == -0.5


def test_unlabelled_events_and_unknown_features_are_refused(events):
    """Toys have no shapes by process, and a feature must be in the schema."""
    toy = Events(events.schema, events.features)
    with pytest.raises(InvalidDataError, match="weights and process codes"):
        shape_table(Simulator(), toy, ["x"], seed=1)
    with pytest.raises(InvalidDataError, match="no feature 'q'"):
        shape_table(Simulator(), events, ["q"], seed=1)
