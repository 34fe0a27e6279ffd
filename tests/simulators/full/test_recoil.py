"""Records of recoil: from Pythia's undecayed events to a library that the fast simulation uses."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.higgs_tautau.fast import quantised as q
from fairuniverse.simulators.higgs_tautau.full import RecoilChain
from fairuniverse.simulators.higgs_tautau.full.calorimeter import Towers, massless
from fairuniverse.simulators.higgs_tautau.full.pack import main as pack_main
from fairuniverse.simulators.higgs_tautau.full.pack import pack, thin
from fairuniverse.simulators.higgs_tautau.full.recoil import COLUMNS, RECOIL_SCHEMA, cluster_with_members

from fairuniverse.cli import main
from fairuniverse.errors import InvalidDataError, StorageError

pytest.importorskip("pythia8mc", reason="Pythia 8 comes with the extra 'full'")
pytest.importorskip("fastjet", reason="fastjet comes with the extra 'full'")


@pytest.fixture(scope="module")
def block(short_cards):
    """A block of Z records."""
    return RecoilChain(cards=str(short_cards)).make_block("ztautau", 0, seed=5)[0]


def test_blocks_are_pure_functions(short_cards, block):
    """The same block again is the same bit for bit; another number gives other records."""
    (again,) = RecoilChain(cards=str(short_cards)).make_block("ztautau", 0, seed=5)
    np.testing.assert_array_equal(again.events.features, block.events.features)
    (other,) = RecoilChain(cards=str(short_cards)).make_block("ztautau", 1, seed=5)
    assert not np.isin(other.events["object0_pt"], again.events["object0_pt"]).any()


def test_z_records(block):
    """Pairs of taus of opposite charge with the mass of the Z boson, the first at azimuth zero."""
    value = {name: block.events[name].astype(np.float64) for name in COLUMNS}
    pairs = (value["prescale"] == 1) & (value["object2_kind"] == 0)
    assert pairs.sum() > 25
    kinds = np.sort([value[f"object{i}_kind"][pairs] for i in range(2)], axis=0)
    assert (kinds[0] == q.TAU_OF_Z).all()
    assert (kinds[1] == q.TAU_OF_Z + q.POSITIVE).all()
    assert (value["object0_phi"] == 0).all()
    cosh = np.cosh(value["object0_eta"] - value["object1_eta"])
    mass2 = 2 * value["object0_pt"] * value["object1_pt"] * (cosh - np.cos(value["object1_phi"]))
    assert np.median(np.sqrt(mass2[pairs])) == pytest.approx(90.8, abs=1.5)


def test_variations_are_refused(short_cards):
    """Energy scales act on events with decayed taus."""
    with pytest.raises(InvalidDataError, match="no variations"):
        RecoilChain(cards=str(short_cards)).make_block("ztautau", 0, seed=5, variations=[{"tes": 1.1}])


def test_members_of_jets():
    """Momenta of the towers named for a jet add up to the jet's."""
    rng = np.random.default_rng(2)
    event = np.sort(rng.integers(0, 5, 200))
    momenta = massless(rng.exponential(5, 200) + 1, rng.normal(0, 1.5, 200), rng.uniform(-np.pi, np.pi, 200))
    jet_event, jets, jet_of = cluster_with_members(Towers(event, momenta), 5, 0.6)
    assert len(jet_event) > 5
    inside = jet_of >= 0
    np.testing.assert_array_equal(jet_event[jet_of[inside]], event[inside])
    sums = [np.bincount(jet_of[inside], p[inside], len(jet_event)) for p in momenta]
    np.testing.assert_allclose(sums, jets, rtol=1e-9, atol=1e-9)


def test_from_blocks_to_events(short_cards, tmp_path):
    """Both commands, one after the other, make a library whose events the simulator then gives."""
    command = ["simulate", "--simulator", "higgs_tautau.recoil", "--events", "ttbar=30,ztautau=30"]
    more = ["--seed", "3", "--option", f"cards={short_cards}", "--output", str(tmp_path / "blocks")]
    result = CliRunner().invoke(main, [*command, *more])
    assert result.exit_code == 0, result.output
    numbers = pack(tmp_path / "blocks", tmp_path / "library")
    assert set(numbers) == {"ttbar", "ztautau"}
    assert all(n > 25 for n in numbers.values())
    world = HiggsTauTau(recoil=str(tmp_path / "library"))
    events = world.generate({"ttbar": 200, "ztautau": 200}, seed=1)
    assert np.isfinite(events.features).all()
    with pytest.raises(StorageError, match=r"diboson\.parquet"):
        world.generate({"diboson": 10}, seed=1)


def test_thinning():
    """So many weights stay, light ones in proportion to them; heavy ones and the sum are as before."""
    rng = np.random.default_rng(1)
    weights = rng.exponential(size=100_000) ** 2 * (rng.random(100_000) > 0.3)
    thinned = thin(weights, 30_000)
    kept = thinned > 0
    assert kept.sum() == 30_000
    assert thinned.sum() == pytest.approx(weights.sum())
    heavy = weights > thinned[kept].min() * 1.01
    assert kept[heavy].all()
    np.testing.assert_allclose(thinned[heavy], weights[heavy], rtol=0.01)
    light = weights < np.quantile(weights, 0.6)
    n_expected = weights[light].sum() / thinned[kept].min()
    assert abs(kept[light].sum() - n_expected) < 5 * np.sqrt(n_expected)  # false alarms: 6e-7
    np.testing.assert_array_equal(thin(weights, 100_000), weights)


def test_nothing_to_pack(tmp_path, monkeypatch):
    """A folder without blocks is named."""
    with pytest.raises(StorageError, match=r"manifest\.json"):
        pack(tmp_path, tmp_path / "library")
    source = {"cards": {"detector": RecoilChain().cards.detector.model_dump(mode="json")}, "libraries": {}}
    (tmp_path / "manifest.json").write_text(json.dumps({"digest": "d", "seed": 1, "source": source}))
    command = ["pack", str(tmp_path), str(tmp_path / "library")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(StorageError, match="holds no blocks"):
        pack_main()
    monkeypatch.setattr("sys.argv", [*command, "--records", "0"])
    with pytest.raises(SystemExit):
        pack_main()


def test_columns():
    """A record has one column for everything that is packed."""
    assert {f.name for f in RECOIL_SCHEMA.features} == set(COLUMNS)
    assert len(COLUMNS) == 3 + q.N_OBJECTS * len(q.OBJECT_BYTES) + q.N_JETS * (len(q.JET_BYTES) + 2)
