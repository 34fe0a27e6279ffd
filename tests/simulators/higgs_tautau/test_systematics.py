"""What the nuisance parameters do to events."""

import json

import numpy as np
import pandas as pd
import pytest
from fairuniverse.simulators.higgs_tautau import compiled
from fairuniverse.simulators.higgs_tautau.schema import SCHEMA
from fairuniverse.simulators.higgs_tautau.systematics import (
    nominal_features,
    shift_events,
    shift_with_rows,
)
from hypothesis import given
from hypothesis import strategies as st

from fairuniverse.errors import InvalidDataError, MissingDependencyError
from fairuniverse.events import Events
from fairuniverse.seeding import Streams, counter_key
from higgs_events import (
    SHAPES,
    events_of,
    random_record,
    random_table,
    reference_detector,
    reference_posthoc,
    simulated,
)

KEY = counter_key(0, "test noise")
N_PRIMARY = 16


@pytest.fixture(params=compiled.INSTRUCTION_SETS)
def instruction_set(request):
    """Each implementation of the kernel that this machine can run."""
    try:
        compiled.use(request.param)
    except InvalidDataError as error:
        pytest.skip(str(error))
    yield request.param
    compiled.library.cache_clear()
    compiled.library()


def assert_features_close(actual, expected, tolerance=2e-3):
    """Every column within 1e-3 or a ten-thousandth; azimuths modulo a turn."""
    difference = np.abs(actual.astype(np.float64) - expected)
    difference[15] = np.minimum(difference[15], 2 * np.pi - difference[15])
    allowed = np.maximum(tolerance, 2e-4 * np.abs(expected))
    bad = difference > allowed
    assert not bad.any(), [(SCHEMA.names[c], actual[c, i], expected[c, i]) for c, i in np.argwhere(bad)[:5]]


# ---- official: golden values ----


def golden_cases(root):
    """Directory and cases of the golden values."""
    folder = root / "tests" / "golden" / "systematics"
    return folder, json.loads((folder / "cases.json").read_text())


@pytest.mark.parametrize("case", range(7))
def test_official_values_of_the_public_package(root, case, instruction_set):
    """In official mode every column is within 1e-3 or 1e-4 relative and the survivors are identical."""
    folder, cases = golden_cases(root)
    expected = pd.read_parquet(folder / f"case_{case}.parquet")
    events = events_of(pd.read_parquet(folder / "events.parquet").to_numpy().T[:N_PRIMARY])
    noise = pd.read_parquet(folder / "unit_noise.parquet").to_numpy().T
    shifted, rows = shift_with_rows(events, cases[case], mode="official", noise=noise)
    assert rows.tolist() == expected["event_index"].astype(int).tolist()
    for name in SCHEMA.names:
        actual, value = shifted[name].astype(np.float64), expected[name].to_numpy(np.float64)
        assert np.all(np.abs(actual - value) <= np.maximum(1e-3, 1e-4 * np.abs(value))), name


def test_official_mode_keeps_the_oddities(root):
    """Some golden events count two jets and list one, which posthoc mode never does."""
    folder, _ = golden_cases(root)
    events = events_of(pd.read_parquet(folder / "events.parquet").to_numpy().T[:N_PRIMARY])
    odd = {}
    for mode in ("official", "posthoc"):
        shifted = shift_events(events, {"jes": 0.95}, mode=mode)
        odd[mode] = np.sum((shifted["PRI_n_jets"] >= 2) & (shifted["PRI_jet_subleading_pt"] < 0))
    assert odd["official"] > 0
    assert odd["posthoc"] == 0


# ---- posthoc and detector: the definition in NumPy ----

SHAPE_CASES = [{}, {"tes": 1.03}, {"tes": 0.95}, {"jes": 1.04}, {"jes": 0.93}, SHAPES]


@pytest.mark.parametrize("values", SHAPE_CASES, ids=str)
@pytest.mark.parametrize("mode", ["posthoc", "detector"])
def test_values_of_the_definition(mode, values, instruction_set):
    """Features and survivors are those of the definition written in NumPy."""
    events = simulated(3000, seed=1)
    noise = np.random.default_rng(2).normal(size=(2, len(events)))
    shifted, rows = shift_with_rows(events, values, mode=mode, noise=noise)
    if mode == "detector":
        expected, expected_rows = reference_detector(
            events.record, **values, noise=noise if "soft_met" in values else None
        )
    else:
        table = events.features[:N_PRIMARY]
        expected, expected_rows = reference_posthoc(
            table, **values, noise=noise if "soft_met" in values else None
        )
    assert rows.tolist() == expected_rows.tolist()
    assert_features_close(shifted.features, expected)


def test_nominal_features_follow_the_definition():
    """The nominal table has calibrated momenta and no 26 GeV threshold."""
    record = random_record(2000, seed=3)
    expected, _ = reference_detector(record, apply_selection=False)
    assert_features_close(nominal_features(record), expected)


def test_detector_mode_at_nominal_is_the_selected_nominal_table():
    """Nothing but the 26 GeV selection happens to the nominal table at nominal nuisance parameters."""
    events = simulated(3000, seed=4)
    nominal = nominal_features(events.record)
    shifted, rows = shift_with_rows(events, {}, mode="detector")
    unchanged = [0, 1, 2, 3, 4, 5, 14, 15, *range(16, 19), 22, 25, 26]
    assert np.array_equal(shifted.features[unchanged], nominal[unchanged][:, rows])
    assert np.array_equal(rows, np.flatnonzero((nominal[3] > 26) & (nominal[0] >= 20)))
    leading = np.where(nominal[6] > 26, nominal[6], -25)
    assert np.array_equal(shifted["PRI_jet_leading_pt"], leading[rows])


def test_tau_scale_acts_alike_on_records_and_tables():
    """The calibrated tau momentum moves by the same in both modes, within 10 %."""
    events = simulated(20000, seed=5)
    change = {}
    for mode in ("detector", "posthoc"):
        low, high = (shift_events(events, {"tes": t}, mode=mode, apply_selection=False) for t in (0.98, 1.02))
        change[mode] = np.mean(high["PRI_had_pt"]) - np.mean(low["PRI_had_pt"])
    assert change["detector"] == pytest.approx(change["posthoc"], rel=0.10)


def test_all_jets_enter_the_missing_momentum_of_records():
    """A third jet changes the missing momentum in detector mode, and not in posthoc mode."""
    record = random_record(1, seed=6)
    record[8:17] = [[60], [0.1], [0.0], [50], [0.5], [1.0], [40], [1.0], [2.0]]
    events = events_of(nominal_features(record)[:N_PRIMARY], record)
    mets = {}
    for mode in ("detector", "posthoc"):
        features = shift_events(events, {"jes": 1.05}, mode=mode, apply_selection=False).features[:, 0]
        mets[mode] = features[14] * np.array([np.cos(features[15]), np.sin(features[15])])
    third = 0.05 * 40 * np.sqrt(2.8**2 / 40 + 1) * np.array([np.cos(2.0), np.sin(2.0)])
    assert mets["posthoc"] - mets["detector"] == pytest.approx(third, abs=1e-3)


# ---- properties ----

shifts = st.fixed_dictionaries(
    {"tes": st.floats(0.9, 1.1), "jes": st.floats(0.9, 1.1), "soft_met": st.floats(0.0, 5.0)}
)


@given(st.integers(0, 2**32 - 1), shifts, st.sampled_from(["detector", "posthoc"]))
def test_jet_features_agree_with_each_other(seed, values, mode):
    """The number of jets, the listed jets, their sum and the pair features always tell the same story."""
    shifted = shift_events(simulated(64, seed), values, mode=mode, noise_key=KEY)
    n_jets, leading, subleading = (
        shifted[f"PRI_{n}"] for n in ("n_jets", "jet_leading_pt", "jet_subleading_pt")
    )
    assert np.array_equal(n_jets >= 1, leading > 26)
    assert np.array_equal(n_jets >= 2, subleading > 26)
    assert np.all((leading >= subleading) & ((n_jets >= 1) | (leading == -25)))
    listed = np.maximum(leading, 0) + np.maximum(subleading, 0)
    total = shifted["PRI_jet_all_pt"]
    assert np.all(np.abs(total - listed)[n_jets <= 2] <= 1e-4 * listed[n_jets <= 2])
    assert np.all(total[n_jets >= 3] > listed[n_jets >= 3])
    for name in ("DER_deltaeta_jet_jet", "DER_mass_jet_jet", "DER_prodeta_jet_jet", "DER_lep_eta_centrality"):
        assert np.array_equal(shifted[name] == -25, n_jets < 2), name


@given(st.integers(0, 2**32 - 1), shifts, st.sampled_from(compiled.MODES))
def test_features_are_finite(seed, values, mode):
    """No shift makes a feature NaN or infinite."""
    assert np.isfinite(shift_events(simulated(64, seed), values, mode=mode, noise_key=KEY).features).all()


@pytest.mark.parametrize("mode", compiled.MODES)
@pytest.mark.parametrize("distance", [0.0, 1e-7, 1e-3])
def test_collinear_lepton_and_tau_have_a_mass(mode, distance):
    """Lepton and tau in the same direction have a visible mass near zero and a centrality, not NaN."""
    record = random_record(50, seed=7)
    record[4:6] = record[1:3] + np.float32(distance)
    events = events_of(nominal_features(record)[:N_PRIMARY], record)
    shifted = shift_events(events, {"tes": 1.01}, mode=mode)
    assert np.isfinite(shifted.features).all()
    assert np.all(shifted["DER_mass_vis"] < 1.0)


def test_no_missing_momentum_at_all():
    """An event without missing momentum has finite features."""
    table = random_table(50, seed=8)
    table[14:] = 0
    shifted = shift_events(events_of(table), {}, mode="posthoc")
    assert np.isfinite(shifted.features).all()
    assert not shifted["PRI_met"].any()


def test_events_are_kept_in_order_with_their_weights():
    """Survivors keep order, process and weight, times its normalisation; the record stays with all events."""
    n = 1000
    process = (np.arange(n) % 4).astype(np.uint8)
    record = random_record(n, seed=9)
    events = events_of(random_table(n, seed=9), record, np.linspace(1, 2, n), process)
    values = {"ttbar_scale": 1.1, "diboson_scale": 0.5, "bkg_scale": 1.005}
    shifted, rows = shift_with_rows(events, values, mode="posthoc")
    factor = np.array([1.0, 1.005, 1.1 * 1.005, 0.5 * 1.005])[process[rows]]
    assert 0 < len(rows) < n
    assert np.all(np.diff(rows) > 0)
    assert shifted.weights == pytest.approx(events.weights[rows] * factor)
    assert np.array_equal(shifted.process, process[rows])
    assert shifted.record is None
    with pytest.raises(InvalidDataError, match="before they are shifted"):
        shift_with_rows(shifted, values, mode="detector")


# ---- noise ----


def noise_of(events, key, width=1.0, tes=1.0):
    """Noise that a stream adds to both components of the missing momentum, by row."""
    shifted, rows = shift_with_rows(events, {"soft_met": width, "tes": tes}, mode="posthoc", noise_key=key)
    calm, calm_rows = shift_with_rows(events, {"tes": tes}, mode="posthoc")
    assert np.array_equal(rows, calm_rows)
    x, y = (
        shifted["PRI_met"] * f(shifted["PRI_met_phi"]) - calm["PRI_met"] * f(calm["PRI_met_phi"])
        for f in (np.cos, np.sin)
    )
    noise = np.full((2, len(events)), np.nan)
    noise[:, rows] = x, y
    return noise


def test_noise_is_unit_normal():
    """Both noise components are standard normal and uncorrelated (false alarms: below 0.1 % in all)."""
    from scipy import stats

    noise = noise_of(events_of(random_table(40_000, seed=10)), KEY)
    x, y = noise[:, ~np.isnan(noise[0])]
    assert min(stats.kstest(c, "norm").pvalue for c in (x, y)) > 2e-4
    n = len(x)
    pairs = [(x, y), (x[1:], x[:-1]), (x**2, y**2), (x[1:], y[:-1])]
    assert max(abs(stats.pearsonr(a, b).statistic) for a, b in pairs) < 4.1 / np.sqrt(n)


def test_noise_of_different_toys_is_independent():
    """Two toys share no noise: correlation of neighbouring streams is within 4 sigma (false alarms 1e-4)."""
    events = events_of(random_table(20_000, seed=11))
    one, two = (noise_of(events, Streams(5, 0, toy).key("noise")) for toy in (0, 1))
    known = ~np.isnan(one[0])
    assert abs(np.corrcoef(one[0, known], two[0, known])[0, 1]) < 4 / np.sqrt(known.sum())


def test_noise_belongs_to_the_row():
    """Events that survive two tau energy scales get the same noise under both."""
    events = events_of(random_table(5_000, seed=12))
    low, high = (noise_of(events, KEY, tes=t) for t in (0.97, 1.03))
    both = ~np.isnan(low[0]) & ~np.isnan(high[0])
    assert 0 < both.sum() < (~np.isnan(high[0])).sum()
    assert low[:, both] == pytest.approx(high[:, both], abs=1e-3)


# ---- same bits everywhere ----


@pytest.mark.parametrize("mode", compiled.MODES)
def test_every_instruction_set_gives_the_same_bits(mode):
    """Results do not depend on the machine's instruction set."""
    events = simulated(5000, seed=13)
    results = []
    for name in compiled.INSTRUCTION_SETS:
        try:
            compiled.use(name)
        except InvalidDataError:
            continue
        results.append(shift_events(events, SHAPES, mode=mode, noise_key=KEY).features)
    compiled.library.cache_clear()
    compiled.library()
    assert all(np.array_equal(results[0], r) for r in results[1:])


@pytest.mark.parametrize("mode", compiled.MODES)
def test_every_number_of_threads_gives_the_same_bits(mode):
    """Results do not depend on the number of threads."""
    events = simulated(100_000, seed=14)
    one, two, three = (
        shift_events(events, SHAPES, mode=mode, noise_key=KEY, n_threads=n).features for n in (1, 2, 3)
    )
    assert np.array_equal(one, two)
    assert np.array_equal(one, three)


def test_row_of_a_table_does_not_depend_on_its_neighbours():
    """An event shifted alone gets the values it has within a table."""
    events = simulated(300, seed=15)
    together, rows = shift_with_rows(events, {"tes": 1.01, "jes": 0.98}, mode="detector")
    for i in (0, 127, 128, len(rows) - 1):
        alone = shift_events(events.select([rows[i]]), {"tes": 1.01, "jes": 0.98}, mode="detector")
        assert np.array_equal(alone.features[:, 0], together.features[:, i])


# ---- bad input ----


@pytest.mark.parametrize("mode", compiled.MODES)
def test_an_empty_table_stays_empty(mode):
    """A table without events is shifted to a table without events."""
    events = simulated(5).select(np.arange(0))
    assert len(shift_events(events, SHAPES, mode=mode, noise_key=KEY)) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_named(value):
    """NaN and infinite features are refused with the column and the number of rows."""
    table = random_table(20)
    table[8, :3] = value
    with pytest.raises(InvalidDataError, match=r"PRI_jet_leading_phi \(3 rows\)"):
        shift_events(events_of(table), {}, mode="posthoc")


def test_records_that_are_not_finite_are_named():
    """NaN in the record is refused by the name of its column."""
    events = simulated(20)
    events.record[6, 4] = np.nan
    with pytest.raises(InvalidDataError, match=r"REC_met_x \(1 rows\)"):
        shift_events(events, {}, mode="detector")


def test_wrong_columns_are_named():
    """Events of another schema are refused with the features they lack."""
    from fairuniverse.events import Schema

    schema = Schema(SCHEMA.features[1:])
    events = Events(schema, np.ones((27, 3), dtype=np.float32))
    with pytest.raises(InvalidDataError, match="PRI_lep_pt"):
        shift_events(events, {}, mode="official")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "detector"}, "record"),
        ({"mode": "postdoc"}, "'postdoc'"),
        ({"values": {"tes": 1.2}}, "tes = 1.2"),
        ({"values": {"soft_mat": 1.0}}, "'soft_met'"),
        ({"values": {"soft_met": 1.0}}, "noise_key"),
        ({"values": {"ttbar_scale": 1.1}}, "ttbar_scale"),
        ({"noise": np.zeros((3, 10))}, r"\(2, 10\)"),
        ({"n_threads": 0}, "n_threads"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(change, message):
    """Each wrong argument is refused with its value and the rule."""
    arguments = {"values": {}, "mode": "posthoc"} | change
    with pytest.raises(InvalidDataError, match=message):
        shift_events(events_of(random_table(10)), arguments.pop("values"), **arguments)


def test_a_missing_library_says_what_to_do(monkeypatch, tmp_path):
    """Without the compiled library the error asks to reinstall with a C compiler."""
    compiled.library.cache_clear()
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
    with pytest.raises(MissingDependencyError, match="C compiler"):
        compiled.library()
