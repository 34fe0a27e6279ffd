"""Tau decays against closed forms, and against Pythia's helicity decays.

Comparisons with closed forms allow five standard errors: one false alarm in two million each.
"""

import numpy as np
import pytest
from fairuniverse.simulators.higgs_tautau.full import taus

N = 10_000


def five_errors(values):
    """Five standard errors of a mean."""
    return 5 * np.std(values) / np.sqrt(len(values))


@pytest.fixture(scope="module")
def templates():
    """Leptonic and hadronic decays."""
    rng = np.random.default_rng(1)
    return taus.leptonic_templates(N, rng=rng), taus.hadronic_templates(N, rng=rng)


def energy_shares(templates, polarisation, energy=45.6):
    """Share of the tau's energy that is visible, for taus of a parent at rest."""
    n = len(templates)
    rng = np.random.default_rng(2)
    turned = taus.orient(np.arange(n), templates.polarimeter, polarisation, rng.random((3, n)))
    visible = taus.rotate(taus.rotation(turned), tuple(templates.visible.T))
    zero = np.zeros(n)
    across = 1.0  # a parent exactly along the beam would leave the azimuth open
    along = np.sqrt(energy**2 - across**2 - taus.M_TAU**2)
    tau = (zero + across, zero, zero + along, zero + energy)
    parent = (zero, zero, zero, zero + 2 * energy)
    return taus.to_lab(visible, tau, parent)[3] / energy


def test_hadronic_decays_conserve_momentum(templates):
    """What is missing to the tau is a massless neutrino; photons and pions have their masses."""
    _, hadronic = templates
    missing = taus.M_TAU - hadronic.visible[:, 3]
    np.testing.assert_allclose(missing, np.linalg.norm(hadronic.visible[:, :3], axis=1), atol=1e-9)
    square = hadronic.products[..., 3] ** 2 - np.sum(hadronic.products[..., :3] ** 2, axis=-1)
    pion, photon = np.abs(hadronic.pdg) == 211, hadronic.pdg == 22
    np.testing.assert_allclose(square[pion], taus.M_PION**2, atol=1e-9)
    np.testing.assert_allclose(square[photon], 0, atol=1e-9)


def test_hadronic_decays_have_the_charge_of_the_tau(templates):
    """One or three charged hadrons, of total charge -1, in the measured proportion (0.77 to 0.23)."""
    _, hadronic = templates
    charged = np.isin(np.abs(hadronic.pdg), (211, 321))
    np.testing.assert_array_equal(np.sum(np.sign(hadronic.pdg) * charged, axis=1), -1)
    one_prong = charged.sum(axis=1) == 1
    assert set(charged.sum(axis=1)) == {1, 3}
    assert one_prong.mean() == pytest.approx(0.766, abs=five_errors(one_prong))


@pytest.mark.parametrize("polarisation", [-1, 0, 1])
def test_lepton_energies(templates, polarisation):
    """The mean share of a fast tau's energy is (7 - P) / 20 (Michel spectrum of V - A)."""
    shares = energy_shares(templates[0], polarisation)
    assert shares.mean() == pytest.approx((7 - polarisation) / 20, abs=five_errors(shares))


@pytest.mark.parametrize("polarisation", [-1, 0, 1])
def test_pion_energies(templates, polarisation):
    """A single pion takes the mean share (1 + P / 3) / 2 of a fast tau's energy, up to its mass."""
    hadronic = templates[1]
    only = np.flatnonzero((hadronic.pdg != 0).sum(axis=1) == 1)
    only = only[np.abs(hadronic.pdg[only, 0]) == 211]
    chosen = taus.Templates(hadronic.products[only], hadronic.pdg[only], hadronic.polarimeter[only])
    ratio = (taus.M_PION / taus.M_TAU) ** 2
    expected = (1 + ratio + (1 - ratio) * polarisation / 3) / 2
    shares = energy_shares(chosen, polarisation)
    assert shares.mean() == pytest.approx(expected, abs=five_errors(shares))


@pytest.mark.parametrize("polarisation", [-1, 1])
def test_rho_analyses_polarisation(templates, polarisation):
    """In tau -> pi pi0 nu the mean share follows (m_tau^2 - 2 Q^2) / (m_tau^2 + 2 Q^2), averaged over Q^2."""
    hadronic = templates[1]
    pions = (np.abs(hadronic.pdg) == 211).sum(axis=1)
    chosen = np.flatnonzero((pions == 1) & ((hadronic.pdg == 22).sum(axis=1) == 2))
    visible = hadronic.visible[chosen]
    q2 = (visible[:, 3] ** 2 - np.sum(visible[:, :3] ** 2, axis=1)) / taus.M_TAU**2
    alpha = (1 - 2 * q2) / (1 + 2 * q2)
    expected = np.mean(1 + q2 + (1 - q2) * alpha * polarisation / 3) / 2
    part = taus.Templates(hadronic.products[chosen], hadronic.pdg[chosen], hadronic.polarimeter[chosen])
    shares = energy_shares(part, polarisation)
    assert shares.mean() == pytest.approx(expected, abs=five_errors(shares))


def test_boost_and_back():
    """A boost there and back changes nothing, and keeps masses."""
    rng = np.random.default_rng(3)
    p = (*rng.normal(size=(3, 100)), np.full(100, 5.0))
    m, momentum = 91.2, rng.normal(0, 30, (3, 100))
    frame = (*momentum, np.sqrt(m**2 + np.sum(momentum**2, axis=0)))
    there = taus.boost(p, frame, m)
    np.testing.assert_allclose(taus.mass_of(there), taus.mass_of(p), rtol=1e-9)
    np.testing.assert_allclose(taus.boost(there, frame, m, -1), p, atol=1e-9)
