"""Single particles through the detector, and selection by hand.

Statistical comparisons allow five standard errors: one false alarm in two million each.
"""

from dataclasses import replace

import numpy as np
import pytest
from fairuniverse.simulators.higgs_tautau.full import calorimeter, tracks
from fairuniverse.simulators.higgs_tautau.full.cards import Trigger, TurnOn
from fairuniverse.simulators.higgs_tautau.full.detector import Measured, measure
from fairuniverse.simulators.higgs_tautau.full.jets import Jets
from fairuniverse.simulators.higgs_tautau.full.particles import Generated, Particles, TrueTaus
from fairuniverse.simulators.higgs_tautau.full.selection import calibrated, select
from fairuniverse.simulators.higgs_tautau.full.tracks import Leptons
from fairuniverse.simulators.higgs_tautau.schema import RECORD
from fairuniverse.simulators.higgs_tautau.systematics import nominal_features

N = 20_000


def events_of(*particles, n=N):
    """The same particles (code, pt, eta, phi) in each of n events."""
    pdg, pt, eta, phi = (np.array(x, float) for x in zip(*particles, strict=True))
    momenta = np.tile(calorimeter.massless(pt, eta, phi), n)
    starts = np.arange(n + 1) * len(pdg)
    return Particles(starts, np.tile(pdg.astype(np.int32), n), momenta)


def rng():
    """A fresh generator, always the same."""
    return np.random.default_rng(7)


def five_errors(values):
    """Five standard errors of a mean."""
    return 5 * np.std(values) / np.sqrt(len(values))


def test_photon_energy_has_the_resolution_of_the_card(detector_card):
    """A photon of 50 GeV in the barrel: mean kept, width 0.101 sqrt(E) (+) 0.0017 E, one tower."""
    towers = calorimeter.measure(events_of((22, 50, 0.0, 1.0)), detector_card, rng=rng())
    energy = towers.momenta[3]
    assert len(energy) == N
    assert energy.mean() == pytest.approx(50, abs=0.01 + five_errors(energy))
    expected = np.hypot(0.101 * np.sqrt(50), 0.0017 * 50)
    assert energy.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * N))


def test_soft_hadrons_are_not_seen(detector_card):
    """A neutral hadron of 2 GeV is lost in the noise of the barrel; muons leave nothing at all."""
    seen = calorimeter.measure(events_of((130, 2.0, 0.5, 0.0)), detector_card, rng=rng())
    assert len(seen.event) < 0.2 * N
    assert len(calorimeter.measure(events_of((13, 40, 0.5, 0)), detector_card, rng=rng()).event) == 0


def test_charged_particles_are_bent(detector_card):
    """An electron arrives at phi + asin(0.3 B r / (2 pt)); a slow one curls up, where a photon arrives."""
    towers = calorimeter.measure(events_of((11, 5, 0.0, 1.0)), detector_card, rng=rng())
    phi = np.arctan2(towers.momenta[1], towers.momenta[0])
    turn = np.arcsin(0.5 * 0.299792458 * 2.0 * 1.15 / 5)
    assert phi.mean() == pytest.approx(1.0 + turn, abs=np.radians(0.51))
    slow, photon = (
        calorimeter.measure(events_of((code, 0.34, 1.7, 1.0)), detector_card, rng=rng()) for code in (11, 22)
    )
    assert len(slow.event) == 0
    assert len(photon.event) > 0.9 * N


def test_track_efficiency_and_resolution(detector_card):
    """Pions of 10 GeV in the barrel: 95 % found, pt measured to 6 % (+) 0.13 % pt."""
    found = tracks.find_tracks(events_of((211, 10, 0.2, 0)), detector_card, rng=rng())
    assert len(found.pt) / N == pytest.approx(0.95, abs=5 * np.sqrt(0.95 * 0.05 / N))
    assert found.pt.std() / 10 == pytest.approx(np.hypot(0.06, 0.013), rel=0.05)


@pytest.mark.parametrize(("neighbour_pt", "passes"), [(3.0, True), (7.0, False)])
def test_isolation_of_electrons(detector_card, neighbour_pt, passes):
    """An electron of 40 GeV bears less than 4.8 GeV of photons around it."""
    particles = events_of((11, 40, 0.0, 0.0), (22, neighbour_pt, 0.2, 0.1), n=2000)
    found = tracks.find_tracks(particles, detector_card, rng=rng())
    leptons, muons = tracks.find_leptons(particles, found, detector_card, rng=rng())
    share = len(leptons.event) / 2000
    # Smearing moves a few across the border.
    assert share == pytest.approx(0.9025, abs=0.05) if passes else share < 0.01
    assert (leptons.is_electron & (leptons.charge == -1)).all()
    assert len(muons.event) == 0


def z_like(n=400):
    """Events of a muon, a tau of one pion and two photons, and a jet of photons opposite to both."""
    tau = [(211, 22.0, 0.5, 3.0), (22, 10.0, 0.52, 3.02), (22, 8.0, 0.49, 2.99)]
    jet = [(22, 30.0, -1.0, -1.5), (22, 20.0, -1.02, -1.52)]
    particles = events_of((13, 35.0, 0.1, 0.0), *tau, *jet, n=n)
    visible = calorimeter.massless(*(np.array(x) for x in zip(*(t[1:] for t in tau), strict=True))).sum(
        axis=1
    )
    true = TrueTaus(np.arange(n), np.tile(visible[:, None], n), np.ones(n, np.int64))
    return Generated(particles, true, np.ones(n))


@pytest.fixture(scope="module")
def measured(detector_card):
    """Z-like events in the detector."""
    pytest.importorskip("fastjet", reason="needs the extra 'full'")
    return measure(z_like(), detector_card, rng=rng())


def test_objects_of_a_simple_event(measured, detector_card):
    """The muon is no jet, the tau jet is matched and has one track, momentum balances up to resolution."""
    jets = measured.jets
    counts = np.bincount(jets.event, minlength=400)
    has_muon = np.isin(np.arange(400), measured.leptons.event)
    assert (counts[has_muon] == 2).mean() > 0.98
    is_tau = jets.tau_charge == 1
    assert is_tau.sum() == pytest.approx(400, abs=4)
    assert np.isin(jets.n_tracks[is_tau], (0, 1)).all()
    assert jets.raw[is_tau].mean() == pytest.approx(40, rel=0.1)
    assert measured.met[0][has_muon].mean() == pytest.approx(-35 + 40 - 3.5, abs=4)


def test_weights_are_tag_probabilities(measured, detector_card):
    """One true tau of one track beside a jet without tracks: weight 0.70, for every selected event."""
    chosen = select(measured, detector_card)
    one_track = chosen.n_tracks == 1
    assert one_track.all()
    assert chosen.is_true_tau.all()
    np.testing.assert_allclose(chosen.weights, 0.70)
    assert len(chosen.row) > 0.7 * 400


def by_hand(jets, leptons, uniforms):
    """Measured events from lists of jets (event, raw, eta, phi, tracks, tau charge) and leptons."""
    event, raw, eta, phi, n_tracks, charge = (np.array(x) for x in zip(*jets, strict=True))
    n = uniforms.shape[1]
    at, pt, sign = (np.array(x) for x in zip(*leptons, strict=True))
    zero = np.zeros(len(at))
    return Measured(
        Leptons(at, pt.astype(float), zero, zero, sign, zero > 0),
        Jets(event, raw.astype(float), eta.astype(float), phi.astype(float), n_tracks, charge),
        np.zeros((2, n)),
        np.ones(n),
        uniforms,
        np.zeros((2, n)),
    )


def test_mistags_share_the_weight(detector_card):
    """Two jets that can be mistagged: total 0.5 (p1 (1 - p2) + p2 (1 - p1)), each chosen in proportion."""
    n = 4000
    jets = [j for i in range(n) for j in ((i, 50, 0.0, 1.0, 1, 0), (i, 40, 1.0, -2.0, 4, 0))]
    uniforms = np.stack([(np.arange(n) + 0.5) / n, np.zeros(n)])
    events = by_hand(jets, [(i, 30, 1) for i in range(n)], uniforms)
    card = detector_card.model_copy(update={"min_weight": 0.0})
    chosen = select(events, card)
    first, second = 0.02 * 0.99, 0.01 * 0.98
    np.testing.assert_allclose(chosen.weights, 0.5 * (first + second))
    assert (chosen.n_tracks == 1).mean() == pytest.approx(first / (first + second), abs=1 / n)
    # Those of small weight are kept in proportion to it.
    uniforms[1] = np.random.default_rng(1).random(n)
    kept = select(by_hand(jets, [(i, 30, 1) for i in range(n)], uniforms), detector_card)
    np.testing.assert_allclose(kept.weights, 0.3)
    p = 0.5 * (first + second) / 0.3
    assert len(kept.row) / n == pytest.approx(p, abs=5 * np.sqrt(p / n))


def test_triggers(detector_card):
    """Weights have the efficiency of the trigger: a plateau, half of it at threshold, none outside."""
    inner = {"eta": [2.5], "pt": [30.0], "width": [2.0], "plateau": [0.9]}
    trigger = Trigger(electrons=TurnOn(**inner), muons=TurnOn(**{**inner, "eta": [0.5], "plateau": [0.8]}))
    jets = [(i, 50, 0.0, 1.0, 1, 1) for i in range(5)]
    events = by_hand(jets, [(i, pt, -1) for i, pt in enumerate((30, 28, 60, 60, 60))], np.full((2, 5), 0.5))
    eta, is_electron = np.array([0.0, 0.0, 0.0, 0.4, -0.6]), np.arange(5) < 3
    events = replace(events, leptons=replace(events.leptons, eta=eta, is_electron=is_electron))
    chosen = select(events, detector_card.model_copy(update={"min_weight": 0.0, "trigger": trigger}))
    assert chosen.row.tolist() == [0, 1, 2, 3]
    expected = np.array([0.9 / 2, 0.9 * 0.158655254, 0.9, 0.8])
    np.testing.assert_allclose(chosen.weights, 0.7 * expected, rtol=1e-8)


def test_selection_rules(detector_card):
    """Two leptons, a soft lepton, charges alike, a jet without track or too soft: none is selected."""
    tau = (50, 0.0, 1.0, 1, 1)
    jets = [(0, *tau), (1, *tau), (2, *tau), (3, 50, 0.0, 1.0, 0, 1), (4, 19, 0.0, 1.0, 1, 1), (5, *tau)]
    leptons = [(0, 30, -1), (0, 25, 1), (1, 18, -1), (2, 30, 1), (3, 30, -1), (4, 30, -1), (5, 30, -1)]
    chosen = select(by_hand(jets, leptons, np.full((2, 6), 0.5)), detector_card)
    assert chosen.row.tolist() == [5]


def test_jets_enter_from_below(detector_card):
    """With a jet scale of 1.06 a raw jet of 19 GeV passes 20, and the missing momentum follows."""
    jets = [(0, 50, 0.0, 1.0, 1, 1), (0, 19, 0.0, 0.0, 0, 0)]
    events = by_hand(jets, [(0, 30, -1)], np.full((2, 1), 0.5))
    nominal, up = select(events, detector_card), select(events, detector_card, jes=1.06)
    counts = [nominal_features(s.record)[12, 0] for s in (nominal, up)]
    assert counts == [0, 1]
    change = 0.06 * calibrated(np.array(19.0), np.array(0.0))
    assert up.record[6, 0] - nominal.record[6, 0] == pytest.approx(-change, abs=2e-3)


def test_record_has_the_columns_of_the_fast_simulation(detector_card):
    """Ten jets: the eight leading ones above 18 GeV are recorded in order of calibrated momentum."""
    raws = [50, *range(17, 27)]
    jets = [(0, raw, 0.1 * i, 0.3 * i, 1 if i == 0 else 0, 1 if i == 0 else 0) for i, raw in enumerate(raws)]
    record = select(by_hand(jets, [(0, 30, -1)], np.full((2, 1), 0.5)), detector_card).record
    assert record.shape == (len(RECORD), 1)
    np.testing.assert_allclose(record[8::3, 0], [26, 25, 24, 23, 22, 21, 20, 19])
    np.testing.assert_allclose(record[3:6, 0], [50, 0, 0])
