"""The public package's functions in a worker: its values, its forms, and none of its faults.

The values of shifted events themselves are held against HiggsML 0.1.5 in
tests/simulators/higgs_tautau/test_systematics.py; here it is what surrounds them.
"""

import inspect

import numpy as np
import pandas as pd
import pytest

from fairuniverse import training
from fairuniverse.errors import InvalidDataError
from fairuniverse.official.datasets import Data, download_dataset
from fairuniverse.official.derived_quantities import DER_data
from fairuniverse.official.systematics import (
    generate_pseudo_exp_data,
    get_bootstrapped_dataset,
    get_systematics_dataset,
    systematics,
)
from fairuniverse.official.train_set import OfficialTrainSet
from fairuniverse.registry import make_simulator
from fairuniverse.seeding import Streams
from fairuniverse.training import TrainingSet

N = {"htautau": 500, "ztautau": 4000, "ttbar": 500, "diboson": 200}
NUISANCES = ["tes", "jes", "soft_met", "ttbar_scale", "diboson_scale", "bkg_scale"]


@pytest.fixture(scope="module")
def world():
    """The Higgs world with the public package's systematics."""
    return make_simulator("higgs_tautau", {"systematics": "official"})


@pytest.fixture(autouse=True)
def train(world, monkeypatch):
    """The training set of this process."""
    attached = TrainingSet(
        world,
        world.generate(N, seed=1),
        seed=1,
        nuisances=NUISANCES,
        mu_range=(0.1, 3.0),
        confidence_level=0.6827,
    )
    monkeypatch.setattr(training, "_attached", attached)
    return attached


@pytest.fixture
def table():
    """All training events in one table."""
    return OfficialTrainSet(is_table=True)()


@pytest.fixture
def by_process(table):
    """Weighted events of each process, as the public test sets."""
    return {name: part.drop(columns=["labels"]) for name, part in table.groupby("detailed_labels")}


def test_arguments_are_those_of_the_public_package():
    """Same names, order and default values as systematics of HiggsML 0.1.5."""
    defaults = {n: p.default for n, p in inspect.signature(systematics).parameters.items()}
    assert list(defaults.items()) == [
        ("data_set", None),
        ("tes", 1.0),
        ("jes", 1.0),
        ("soft_met", 0.0),
        ("seed", 31415),
        ("ttbar_scale", None),
        ("diboson_scale", None),
        ("bkg_scale", None),
        ("dopostprocess", True),
    ]


def test_features_are_those_of_the_simulator(world, train):
    """The shift of a table is that of the simulator in its official mode, for the same noise."""
    data = train.events.to_pandas()
    noise = np.random.RandomState(7).normal(size=(2, len(data)))
    values = {"tes": 1.02, "jes": 0.98, "soft_met": 2.0}
    expected, rows = world.shift_with_rows(train.events, values, streams=Streams(0), noise=noise)
    before = data.copy()
    shifted = systematics(data, seed=7, **values)
    pd.testing.assert_frame_equal(shifted, expected.to_pandas())
    pd.testing.assert_frame_equal(data, before)
    assert len(rows) < len(data)


def test_dicts_and_tables_keep_their_form(table):
    """A dict gives a dict of the same keys, a table one of the same columns, further ones included."""
    of_table = systematics(table.assign(row=np.arange(len(table))), tes=1.01)
    assert list(of_table) == [*table, "row"]
    np.testing.assert_array_equal(of_table["labels"], table["labels"].to_numpy()[of_table["row"]])
    as_dict = OfficialTrainSet()()
    of_dict = systematics(as_dict, tes=1.01)
    assert set(of_dict) == set(as_dict)
    assert of_dict["settings"] == as_dict["settings"]
    np.testing.assert_array_equal(of_dict["weights"], of_table["weights"])
    assert len(of_dict["data"]) == len(of_dict["detailed_labels"]) == len(of_table)
    assert isinstance(of_dict["labels"], pd.Series)


def test_missing_derived_features_are_added(table):
    """A table of primary features only gets the derived ones, in the order of the public files."""
    primary = table.filter(like="PRI_")
    pd.testing.assert_frame_equal(
        systematics(primary), systematics(table)[OfficialTrainSet()()["data"].columns]
    )


def test_counts_that_are_whole_stay_whole(table):
    """A column of integers is one afterwards."""
    whole = table.assign(PRI_n_jets=table["PRI_n_jets"].astype("int64"))
    assert systematics(whole, jes=0.95)["PRI_n_jets"].dtype == "int64"


def test_normalisations_are_no_silent_no_op(table):
    """Each scales the weights of its processes, and bkg_scale those of every background."""
    sums = systematics(table).groupby("detailed_labels")["weights"].sum()
    scaled = systematics(table, ttbar_scale=1.1, diboson_scale=0.5, bkg_scale=1.005)
    ratio = scaled.groupby("detailed_labels")["weights"].sum() / sums
    expected = {"htautau": 1.0, "ztautau": 1.005, "ttbar": 1.1 * 1.005, "diboson": 0.5 * 1.005}
    assert ratio.to_dict() == pytest.approx(expected)


def test_normalisations_need_labels(table):
    """bkg_scale can do with labels; a process' own scale cannot, and says so."""
    unlabelled = table.drop(columns="detailed_labels")
    background = unlabelled["labels"] == 0
    scaled = systematics(unlabelled, bkg_scale=1.01)
    plain = systematics(unlabelled)
    ratio = scaled["weights"] / plain["weights"]
    np.testing.assert_allclose(ratio, np.where(plain["labels"] == 0, 1.01, 1.0))
    assert background.any()
    with pytest.raises(InvalidDataError, match="needs detailed_labels"):
        systematics(unlabelled, ttbar_scale=1.01)


def test_a_scale_in_place_of_the_seed_is_refused(table):
    """The public package's own mix-up: the fifth argument is the seed."""
    with pytest.raises(InvalidDataError, match=r"seed = 1.02 is no whole number"):
        systematics(table, 1.0, 1.0, 1.0, 1.02)


@pytest.mark.parametrize(
    ("data_set", "message"),
    [
        ([1, 2], "found list"),
        ({"data": 1}, "found data"),
        (pd.DataFrame({"PRI_met": [1.0]}), "lacks PRI_lep_pt"),
    ],
)
def test_what_is_no_data_set_is_refused(data_set, message):
    """With what was found."""
    with pytest.raises(InvalidDataError, match=message):
        systematics(data_set)


def test_worlds_that_cannot_shift_tables_say_what_to_do(table, train, monkeypatch):
    """Shifts on the detector record cannot be had from a table: the message names --official."""
    detector = make_simulator("higgs_tautau", {"systematics": "detector"})
    monkeypatch.setattr(train, "_simulator", detector)
    with pytest.raises(InvalidDataError, match="add --official"):
        systematics(table)
    assert len(systematics(table, dopostprocess=False)) == len(table)


def test_training_events_of_both_years():
    """A dict without arguments, as in 2024; a table with a size or indices, as in HiggsML 0.1.5; mixed."""
    get_train_set = OfficialTrainSet()
    as_dict = get_train_set()
    assert set(as_dict) == {"data", "weights", "labels", "detailed_labels", "settings"}
    assert as_dict["data"].shape == (sum(N.values()), 28)
    assert as_dict["weights"][as_dict["labels"] == 1].sum() == pytest.approx(1015)
    some = get_train_set(train_size=1000)
    assert some.shape == (1000, 31)
    pd.testing.assert_frame_equal(get_train_set(train_size=1000), some)
    assert len(get_train_set(train_size=0.5)) == sum(N.values()) // 2
    rows = get_train_set(selected_indices=[5, 3])[["PRI_met", "labels"]].to_numpy()
    np.testing.assert_array_equal(rows[:, 0], as_dict["data"]["PRI_met"].iloc[[3, 5]])
    assert 0 < as_dict["labels"][:100].sum() < 100
    for asked in ({"train_size": 1.5}, {"selected_indices": [10**6]}):
        with pytest.raises(InvalidDataError):
            get_train_set(**asked)


def test_subsets_keep_the_yield_of_every_process():
    """The public package scaled the total, which biased mu."""
    whole, part = (OfficialTrainSet()(train_size=n) for n in (sum(N.values()), 700))
    sums = [t.groupby("detailed_labels")["weights"].sum().to_dict() for t in (whole, part)]
    assert sums[0] == pytest.approx(sums[1])


def test_toys_of_their_own(by_process):
    """Poisson about the expected number (false alarms: one in a million), unlabelled, by their seed."""
    scaled = {k: v.assign(weights=v["weights"] * 0.01) for k, v in by_process.items()}
    toy = get_bootstrapped_dataset(scaled, mu=2.0, seed=3, bkg_scale=1.01)
    expected = 0.01 * (2 * 1015 + 1.01 * (1_051_385 - 1015))
    assert abs(len(toy) - expected) < 4.9 * np.sqrt(expected)
    assert not {"weights", "detailed_labels"} & set(toy)
    pd.testing.assert_frame_equal(get_bootstrapped_dataset(scaled, 2.0, 3, bkg_scale=1.01), toy)
    assert len(get_bootstrapped_dataset(scaled, mu=2.0, seed=4, bkg_scale=1.01)) != len(toy)


def test_toys_under_drawn_nuisances(by_process):
    """Data and unit weights; what does not vary stays nominal, and seeds do not share their noise."""
    scaled = {k: v.assign(weights=v["weights"] * 0.01) for k, v in by_process.items()}
    nominal = generate_pseudo_exp_data(scaled, 1.0, seed=5)
    again = get_systematics_dataset(get_bootstrapped_dataset(scaled, 1.0, 5))
    pd.testing.assert_frame_equal(nominal["data"], again["data"])
    assert set(nominal["weights"]) == {1.0}
    varied = generate_pseudo_exp_data(scaled, 1.0, {"soft_met": True, "ttbar_scale": True}, seed=5)
    assert len(varied["data"]) > 0
    assert not np.isin(varied["data"]["PRI_met"], nominal["data"]["PRI_met"]).all()


def test_derived_quantities(table):
    """They are computed anew from the primary features, in place, and no event is dropped."""
    changed = table.assign(DER_pt_h=0.0)
    assert DER_data(changed) is changed
    np.testing.assert_allclose(changed["DER_pt_h"], table["DER_pt_h"], rtol=1e-4, atol=1e-2)
    assert len(changed) == len(table)


def test_data_sets_are_the_training_events(table):
    """Whatever is to be downloaded: there is no network, and no test set."""
    data = download_dataset("blackSwan_data")
    assert isinstance(data, Data)
    data.load_train_set(train_size=100)
    assert len(data.get_train_set()) == 100
    data.delete_train_set()
    assert data.get_train_set() is None
    with pytest.raises(InvalidDataError, match="no test set"):
        data.load_test_set()
