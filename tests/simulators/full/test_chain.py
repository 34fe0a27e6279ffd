"""The chain from Pythia to selected events, in short blocks."""

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.higgs_tautau.full import FullChain, generation
from fairuniverse.simulators.higgs_tautau.full.cards import read_cards
from fairuniverse.simulators.higgs_tautau.world import PROCESS_NAMES

from fairuniverse import api
from fairuniverse.cli import main
from fairuniverse.errors import InvalidConfigError, InvalidDataError, MissingDependencyError
from fairuniverse.registry import make_block_source
from fairuniverse.seeding import Streams
from fairuniverse.tables import read_events

pytest.importorskip("pythia8mc", reason="Pythia 8 comes with the extra 'full'")
pytest.importorskip("fastjet", reason="fastjet comes with the extra 'full'")

SHIFTS = ({}, {"tes": 1.03}, {"jes": 0.97}, {"soft_met": 3.0})


@pytest.fixture(scope="module")
def short(short_cards):
    """A source with blocks of forty generated events."""
    return FullChain(cards=str(short_cards))


@pytest.fixture(scope="module")
def blocks(short):
    """One block of Z events, nominal and shifted inside the detector."""
    return short.make_block("ztautau", 0, seed=5, variations=SHIFTS)


def test_blocks_are_pure_functions(short, blocks):
    """The same block again is the same bit for bit; another number or seed gives other events."""
    (again,) = short.make_block("ztautau", 0, seed=5)
    np.testing.assert_array_equal(again.events.record, blocks[0].events.record)
    np.testing.assert_array_equal(again.events.weights, blocks[0].events.weights)
    (other,) = short.make_block("ztautau", 1, seed=5)
    assert not np.isin(other.events.record[0], again.events.record[0]).any()


def test_acceptance_of_z(blocks):
    """The acceptance agrees with the 1.87 % of a prototype within five standard errors."""
    acceptance, n = blocks[0].statistics["acceptance"], len(blocks[0].events)
    assert n > 5
    assert acceptance == pytest.approx(0.0187, abs=5 * acceptance / np.sqrt(n))
    assert blocks[0].statistics["expected_yield"] == pytest.approx(1.436e7 * acceptance)


def test_events_are_those_of_the_world(blocks):
    """Thresholds of the selection hold, and the simulator of the world takes the events as its own."""
    events = blocks[0].events
    assert (events["PRI_lep_pt"] >= 20).all()
    assert (np.abs(events["PRI_lep_eta"]) < 2.5).all()
    assert (events["PRI_had_pt"] > 22).all()
    shifted = HiggsTauTau().shift(events, {"tes": 1.02}, streams=Streams(0))
    assert 0 < len(shifted) <= len(events)


def test_shifts_inside_the_detector_move_what_they_should(blocks):
    """Pairs of the same generated event: tau up, jets untouched; soft noise moves missing momentum only."""
    nominal, tes, jes, soft = blocks

    def pairs(other, name):
        _, a, b = np.intersect1d(nominal.extra["row"], other.extra["row"], return_indices=True)
        return nominal.events[name][a], other.events[name][b]

    before, after = pairs(tes, "PRI_had_pt")
    assert (after > before).all()
    for name in ("PRI_lep_pt", "PRI_n_jets"):
        np.testing.assert_array_equal(*pairs(tes, name))
    before, after = pairs(jes, "PRI_jet_all_pt")
    assert (after <= before).all()
    assert (after < before).any()
    np.testing.assert_array_equal(*pairs(jes, "PRI_had_pt"))
    np.testing.assert_array_equal(*pairs(soft, "PRI_had_pt"))
    before, after = pairs(soft, "PRI_met")
    assert (after != before).all()


def test_production_needs_nothing_but_its_weights(short):
    """Top events with and without a hadronic tau: weights differ, none is zero, none is huge."""
    (block,) = short.make_block("ttbar", 0, seed=1)
    weights = block.events.weights
    assert weights.min() >= read_cards().detector.min_weight
    assert weights.max() <= 0.7 * read_cards().process("ttbar").fakes_prescale


def test_reference_mode_uses_pythias_own_decays(short):
    """Taus of plain Pythia events are found, their photons are none, and nothing is filtered."""
    cards = read_cards()
    source = generation.Generator(cards, "ztautau", seed=3, rng=np.random.default_rng(0), mode="reference")
    (batch,) = source.batches(20)
    assert source.n_tried == batch.particles.n_events == 20
    # 65 % of the taus decay to hadrons: 26 of 40 expected, ten less or more in one of 500 cases.
    assert 16 <= len(batch.taus.event) <= 36
    pt = np.hypot(batch.taus.momenta[0], batch.taus.momenta[1])
    assert np.bincount(batch.taus.event).max() <= 2
    assert (pt < 500).all()
    assert (batch.weights == 1).all()


def test_unknown_settings_and_options_are_refused(edited_cards):
    """A line that Pythia does not know, an unknown process, mode and shift, each by its name."""

    def misspell(card):
        card["processes"]["ztautau"]["settings"].append("WeakZ0:gmZmood = 2")

    source = FullChain(cards=str(edited_cards(edit=misspell)))
    with pytest.raises(InvalidConfigError, match=r"gmZmood = 2.*ztautau"):
        source.make_block("ztautau", 0, seed=0)
    with pytest.raises(InvalidConfigError, match="wjets"):
        source.make_block("wjets", 0, seed=0)
    with pytest.raises(InvalidDataError, match="ttbar_scale"):
        source.make_block("ztautau", 0, seed=0, variations=[{"ttbar_scale": 1.1}])
    with pytest.raises(InvalidConfigError, match="refrence"):
        make_block_source("higgs_tautau.full", {"mode": "refrence"})


def test_a_card_without_leptons_is_refused(edited_cards):
    """Where no event can pass the filter, the program says so rather than run for ever."""

    def no_leptons(card):
        card["processes"]["ztautau"]["settings"][-1] = "23:onIfAny = 1"

    source = FullChain(cards=str(edited_cards(edit=no_leptons)))
    with pytest.raises(InvalidConfigError, match="none passes the filter"):
        source.make_block("ztautau", 0, seed=0)


def test_missing_library_says_what_to_install(monkeypatch):
    """Without Pythia the message names the extra."""
    generation.pythia_library.cache_clear()
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(MissingDependencyError, match=r"fairuniverse\[full\]"):
        FullChain().make_block("ztautau", 0, seed=0)


def test_closure_command(short, tmp_path):
    """Shifts of the record give what the detector gives; shifts of the table overdo the tau scale."""
    page = tmp_path / "closure.html"
    cards = {"cards": short._folder}
    answer = api.closure(
        "higgs_tautau.full", cards, [{"tes": 0.97}], processes=["htautau"], seed=3, output=page
    )
    shift = {e.mode: e for e in answer.entries if e.feature == "PRI_had_pt"}
    # The calibration flattens a shift of the raw momentum; on the same events this is no matter of luck.
    assert shift["posthoc"].difference < -5e-4
    assert abs(shift["detector"].difference) < 0.1 * abs(shift["posthoc"].difference) + 2e-3
    assert "tes = 0.97" in page.read_text()


def test_simulate_command(short, tmp_path):
    """The command writes blocks with a manifest and one table of them, and tells acceptance and speed."""
    output = tmp_path / "events.parquet"
    command = ["simulate", "--simulator", "higgs_tautau.full", "--option", f"cards={short._folder}"]
    done = CliRunner().invoke(main, [*command, "--events", "ztautau=5", "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert "acceptance" in done.output
    events = read_events(output, HiggsTauTau().schema, PROCESS_NAMES)
    assert len(events) >= 5
    assert events.sum_weights()["ztautau"] == pytest.approx(1002395)
    manifest = json.loads((tmp_path / "events.parquet.blocks" / "manifest.json").read_text())
    assert manifest["digest"] == short.digest
    assert manifest["source"]["libraries"]["pythia8mc"]
    wrong = CliRunner().invoke(main, [*command, "--events", "wjets=5", "-o", str(output)])
    assert wrong.exit_code == 1
    assert "no process 'wjets': there are htautau, ztautau, ttbar, diboson" in wrong.output
