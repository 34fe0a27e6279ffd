"""The sample that comes with the package: what it says of itself, and how it agrees with the outside.

Its events are fixed, so every answer here is always the same. The limit of 1.7 times the floor (95 %) is
exceeded by one comparison of equal samples in ten thousand.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.higgs_tautau.full import FullChain
from fairuniverse.simulators.higgs_tautau.schema import SCHEMA
from fairuniverse.simulators.higgs_tautau.systematics import nominal_features
from fairuniverse.simulators.higgs_tautau.world import PROCESS_NAMES

from fairuniverse import api
from fairuniverse.comparison import compare
from fairuniverse.errors import StorageError
from fairuniverse.seeding import Streams
from fairuniverse.tables import read_events
from higgs_events import events_of, with_derived

FOLDER = FullChain().sample.parent
LIMIT = 1.7
FAST_LIMITS = {"PRI_lep_pt": 0.03, "PRI_had_pt": 0.03, "DER_mass_vis": 0.04, "DER_deltar_had_lep": 0.04}


@pytest.fixture(scope="module")
def sample():
    """The sample."""
    return read_events(FullChain().sample, SCHEMA, PROCESS_NAMES)


def table_events(table):
    """Events of the primary columns of a table."""
    primary = table[list(SCHEMA.names[:16])].to_numpy(np.float64).T
    process = np.array([PROCESS_NAMES.index(p) for p in table["detailed_labels"]], np.uint8)
    events = events_of(primary, process=process)
    events.features[:] = with_derived(primary)
    return events


def too_far(comparison):
    """Features that are farther apart than chance allows."""
    return {(d.process, d.feature): d.ks for d in comparison.distances if d.ks > LIMIT * d.ks_floor}


def test_was_made_with_the_packaged_cards(sample):
    """Its manifest names their digest; after a change of the cards it has to be made anew."""
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    assert manifest["digest"] == FullChain().digest
    assert manifest["failures"] == []
    numbers = json.loads((FOLDER / "events_metadata.json").read_text())["production"]
    assert {p: n["total_rows"] for p, n in numbers.items()} == {
        p: len(sample.of_process(p)) for p in PROCESS_NAMES
    }


def test_is_small_and_large_enough():
    """Tens of thousands of events in less than 5 MB."""
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 5e6
    assert len(pd.read_parquet(FullChain().sample, columns=["weights"])) > 20_000


def test_weights_are_yields_and_useful(sample):
    """Weights sum to the yields, and are equal enough: effective events as a share of all."""
    yields = {p.name: p.expected_yield for p in HiggsTauTau().processes}
    assert sample.sum_weights() == pytest.approx(yields)
    for process, share in zip(PROCESS_NAMES, (0.8, 0.9, 0.4, 0.6), strict=True):
        weights = sample.of_process(process).weights
        assert weights.sum() ** 2 / (weights**2).sum() > share * len(weights)


def test_features_follow_from_the_record(sample):
    """Every feature is the kernel's, bit for bit, and all systematics work on the sample."""
    np.testing.assert_array_equal(nominal_features(sample.record), sample.features)
    for mode in ("detector", "posthoc"):
        shifted = HiggsTauTau(systematics=mode).shift(sample, {"jes": 1.02}, streams=Streams(0))
        assert 0.7 * len(sample) < len(shifted) < len(sample)


def test_agrees_with_the_prototype(sample, root):
    """Another full chain of the same physics, of 6,042 events: no feature of any process differs."""
    prototype = table_events(pd.read_parquet(root / "tests" / "data" / "full_reference.parquet"))
    assert too_far(compare(sample, prototype, with_classifier=False)) == {}


def test_agrees_with_the_public_sample(sample, root):
    """The public 1,000 rows (970 of H and Z) do not differ in any feature but those of jet pairs."""
    path = root.parent / "shared" / "data" / "official_sample.parquet"
    if not path.is_file():
        pytest.skip(f"the public sample is not at {path}")
    assert too_far(compare(sample, table_events(pd.read_parquet(path)), with_classifier=False)) == {}


def test_fast_simulation_agrees(sample):
    """Lepton, tau and masses of H and Z events of the fast simulation are those of the full one."""
    fast = HiggsTauTau().generate(dict.fromkeys(PROCESS_NAMES[:2], 100_000), seed=1)
    comparison = compare(fast, sample, with_classifier=False)
    far = {
        (process, feature): distance.ks
        for process in PROCESS_NAMES[:2]
        for feature, limit in FAST_LIMITS.items()
        if (distance := comparison.distance(process, feature)).ks > max(limit, LIMIT * distance.ks_floor)
    }
    assert far == {}


def test_compare_finds_it_by_name(tmp_path):
    """Without a file, the name of the simulation stands for its sample; other names are files."""
    fast = tmp_path / "fast.parquet"
    api.simulate("higgs_tautau", {}, 300, fast, seed=1)
    (comparison,) = api.compare([fast], Path("higgs_tautau.full"), with_classifier=False).comparisons
    assert {s.process for s in comparison.separations} == set(PROCESS_NAMES)
    assert all(s.n_ref > 1000 for s in comparison.separations)
    with pytest.raises(StorageError, match=r"no such file: nothing\.parquet"):
        api.compare([fast], Path("nothing.parquet"))
