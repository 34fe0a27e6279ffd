"""Tracks, electrons and muons: efficiency, resolution, isolation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import Booleans, Floats, Integers, sums_by
from .calorimeter import Towers, massless, region_of, resolution, smeared
from .cards import DetectorCard, Efficiency, Electrons, PtResolution
from .particles import Particles, charges, delta_r2, pairs_within_events


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks of charged hadrons, electrons and muons.

    Attributes:
        particle: Index of the particle, shape (n,), increasing.
        event: Event of each.
        pt: Measured transverse momentum, GeV.
        eta: Pseudorapidity at the origin.
        phi: Azimuth at the origin.
    """

    particle: Integers
    event: Integers
    pt: Floats
    eta: Floats
    phi: Floats


@dataclass(frozen=True, eq=False)
class Leptons:
    """Identified, isolated electrons and muons.

    Attributes:
        event: Event of each, shape (n,), increasing.
        pt: Measured transverse momentum, GeV.
        eta: Pseudorapidity.
        phi: Azimuth.
        charge: Charge.
        is_electron: Electron or muon.
    """

    event: Integers
    pt: Floats
    eta: Floats
    phi: Floats
    charge: Integers
    is_electron: Booleans


def efficiency(card: Efficiency, pt: Floats, eta: Floats) -> Floats:
    """Probability of each particle to be found."""
    region = region_of(card, eta)
    inside = region < len(card.eta)
    region = np.where(inside, region, 0)
    found = np.where(pt < card.pt, np.array(card.below)[region], np.array(card.above)[region])
    return np.where(inside & (pt > card.min_pt), found, 0.0)


def relative_resolution(card: PtResolution, pt: Floats, eta: Floats) -> Floats:
    """Relative standard deviation of a measured transverse momentum."""
    region = np.minimum(region_of(card, eta), len(card.eta) - 1)
    sigma: Floats = np.hypot(np.array(card.constant)[region], np.array(card.slope)[region] * pt)
    return sigma


def find_tracks(particles: Particles, card: DetectorCard, *, rng: np.random.Generator) -> Tracks:
    """Tracks of a batch of events."""
    pt, eta = particles.pt, particles.eta
    charged = np.flatnonzero(charges(particles.pdg) != 0)
    found = charged[rng.random(len(charged)) < efficiency(card.tracks.efficiency, pt[charged], eta[charged])]
    sigma = relative_resolution(card.tracks.resolution, pt[found], eta[found])
    measured = smeared(pt[found], sigma * pt[found], rng.standard_normal(len(found)))
    return Tracks(found, particles.event[found], measured, eta[found], particles.phi[found])


def find_leptons(
    particles: Particles, tracks: Tracks, card: DetectorCard, *, rng: np.random.Generator
) -> tuple[Leptons, Towers]:
    """Isolated leptons above their thresholds, and all measured muons as towers."""
    electrons, electron_pt = _found(particles, 11, card.electrons.efficiency, rng)
    electron_pt = _smear_electrons(particles, electrons, electron_pt, card, rng)
    muons, muon_pt = _found(particles, 13, card.muons.efficiency, rng)
    sigma = relative_resolution(card.muons.resolution, muon_pt, particles.eta[muons])
    muon_pt = smeared(muon_pt, sigma * muon_pt, rng.standard_normal(len(muons)))
    index, pt = np.concatenate([electrons, muons]), np.concatenate([electron_pt, muon_pt])
    activity = _activity(particles, tracks, index, card)
    is_electron = np.arange(len(index)) < len(electrons)
    kept = _is_good(pt, activity, is_electron, card.electrons, card.muons)
    order = np.flatnonzero(kept)[np.argsort(index[kept], kind="stable")]
    chosen = index[order]
    leptons = Leptons(
        particles.event[chosen],
        pt[order],
        particles.eta[chosen],
        particles.phi[chosen],
        charges(particles.pdg[chosen]).astype(np.int64),
        is_electron[order],
    )
    muon_momenta = massless(muon_pt, particles.eta[muons], particles.phi[muons])
    return leptons, Towers(particles.event[muons], muon_momenta)


def _found(
    particles: Particles, code: int, card: Efficiency, rng: np.random.Generator
) -> tuple[Integers, Floats]:
    index = np.flatnonzero(np.abs(particles.pdg) == code)
    pt = particles.pt[index]
    kept = rng.random(len(index)) < efficiency(card, pt, particles.eta[index])
    return index[kept], pt[kept]


def _smear_electrons(
    particles: Particles, index: Integers, pt: Floats, card: DetectorCard, rng: np.random.Generator
) -> Floats:
    energy, region = particles.momenta[3][index], region_of(card.ecal.resolution, particles.eta[index])
    sigma = resolution(card.ecal.resolution, region, energy)
    measured: Floats = pt * smeared(energy, sigma, rng.standard_normal(len(index))) / energy
    return measured


def _activity(particles: Particles, tracks: Tracks, leptons: Integers, card: DetectorCard) -> Floats:
    """Scalar sum of pt around each lepton: tracks, photons and neutral hadrons."""
    neutral = np.flatnonzero((charges(particles.pdg) == 0) & (particles.pt > card.isolation.min_pt))
    seen_tracks = np.flatnonzero(tracks.pt > card.isolation.min_pt)
    index = np.concatenate([neutral, tracks.particle[seen_tracks]])
    order = np.argsort(index)
    pt = np.concatenate([particles.pt[neutral], tracks.pt[seen_tracks]])[order]
    index = index[order]
    starts = np.searchsorted(index, particles.starts)
    lepton, k = pairs_within_events(particles.event[leptons], starts)
    eta, phi = particles.eta, particles.phi
    at, other = leptons[lepton], index[k]
    near = delta_r2(eta[at], phi[at], eta[other], phi[other]) < card.isolation.cone**2
    near &= at != other
    return sums_by(lepton[near], pt[k[near]], len(leptons))


def _is_good(
    pt: Floats, activity: Floats, is_electron: Booleans, electrons: Electrons, muons: Electrons
) -> Booleans:
    threshold = np.where(is_electron, electrons.min_pt, muons.min_pt)
    isolation = np.where(is_electron, electrons.isolation, muons.isolation)
    good: Booleans = (pt > threshold) & (activity < isolation * pt)
    return good
