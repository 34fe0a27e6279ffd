"""Calorimeters: particles bent into cells, cells smeared and kept above noise, as massless towers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import Booleans, Floats, Integers, sums_by
from .cards import Calorimeter, DetectorCard, EnergyResolution, Magnet, Regions
from .particles import Particles, charges

BENDING = 0.299792458
"""GeV per tesla metre and unit of charge."""


@dataclass(frozen=True, eq=False)
class Towers:
    """Massless deposits (or muons) that jets and missing momentum are made of.

    Attributes:
        event: Event of each, shape (n,), increasing.
        momenta: x, y, z, energy in GeV, shape (4, n).
    """

    event: Integers
    momenta: Floats


def region_of(regions: Regions, eta: Floats) -> Integers:
    """Index of the region in |eta| of each entry; the number of regions for those beyond all."""
    return np.searchsorted(np.array(regions.eta), np.abs(eta), side="right")


def measure(particles: Particles, card: DetectorCard, *, rng: np.random.Generator) -> Towers:
    """Towers of both calorimeters; muons leave nothing.

    Args:
        particles: Visible particles.
        card: The detector.
        rng: Generator of the resolution and of positions within cells.
    """
    size = np.abs(particles.pdg)
    phi, reaches = _azimuth_at_calorimeter(particles, card.magnet)
    electromagnetic = reaches & np.isin(size, (11, 22))
    hadronic = reaches & ~np.isin(size, (11, 13, 22))
    parts = [
        _towers(particles, np.flatnonzero(chosen), phi, calorimeter, rng)
        for chosen, calorimeter in ((electromagnetic, card.ecal), (hadronic, card.hcal))
    ]
    return joined(parts)


def joined(parts: list[Towers]) -> Towers:
    """Towers of all parts, ordered by event."""
    event = np.concatenate([p.event for p in parts])
    order = np.argsort(event, kind="stable")
    return Towers(event[order], np.concatenate([p.momenta for p in parts], axis=1)[:, order])


def resolution(card: EnergyResolution, region: Integers, energy: Floats) -> Floats:
    """Standard deviation of a measured energy, GeV."""
    stochastic, constant, noise = (
        np.array(values)[region] for values in (card.stochastic, card.constant, card.noise)
    )
    sigma: Floats = np.sqrt(stochastic**2 * energy + (constant * energy) ** 2 + noise**2)
    return sigma


def smeared(energy: Floats, sigma: Floats, normal: Floats) -> Floats:
    """Lognormal around an energy, which stays its mean."""
    spread = np.sqrt(np.log1p((sigma / np.maximum(energy, 1e-9)) ** 2))
    measured: Floats = energy * np.exp(spread * normal - 0.5 * spread**2)
    return measured


def _azimuth_at_calorimeter(particles: Particles, magnet: Magnet) -> tuple[Floats, Booleans]:
    """Where particles enter the calorimeters, and which curl up in the field before."""
    charge = charges(particles.pdg)
    slope = np.abs(particles.momenta[2]) / np.maximum(particles.pt, 1e-9)
    radius = np.minimum(magnet.radius, magnet.half_length / np.maximum(slope, 1e-9))
    sagitta = 0.5 * BENDING * magnet.field * radius / np.maximum(particles.pt, 1e-9)
    reaches = (charge == 0) | (sagitta < 1)
    return particles.phi - charge * np.arcsin(np.minimum(sagitta, 1)), reaches


def _towers(
    particles: Particles, chosen: Integers, phi: Floats, card: Calorimeter, rng: np.random.Generator
) -> Towers:
    """Towers of the chosen particles in one calorimeter."""
    eta = particles.eta[chosen]
    region = region_of(card.cells, eta)
    inside = region < len(card.cells.eta)
    chosen, eta, region = chosen[inside], eta[inside], region[inside]
    deta = np.array(card.cells.deta)[region]
    dphi = np.radians(np.array(card.cells.dphi_degrees)[region])
    begin = np.array([0.0, *card.cells.eta[:-1]])[region]
    row = np.floor((np.abs(eta) - begin) / deta).astype(np.int64)
    column = np.floor(np.mod(phi[chosen], 2 * np.pi) / dphi).astype(np.int64)
    side = (eta < 0).astype(np.int64)
    key = (((particles.event[chosen] * 4 + region) * 2 + side) * 1024 + row) * 512 + column
    _, first, cell = np.unique(key, return_index=True, return_inverse=True)
    energy = sums_by(cell, particles.momenta[3][chosen], len(first))
    region_edges = card.resolution
    where = np.minimum(region_of(region_edges, eta[first]), len(region_edges.eta) - 1)
    measured = smeared(energy, resolution(region_edges, where, energy), rng.standard_normal(len(first)))
    sigma = resolution(region_edges, where, measured)
    kept = (measured > card.min_energy) & (measured > card.min_significance * sigma)
    u, v = rng.random((2, len(first)))
    sign = 1 - 2 * side[first]
    tower_eta = (sign * (begin[first] + (row[first] + u) * deta[first]))[kept]
    tower_phi = ((column[first] + v) * dphi[first])[kept]
    event = particles.event[chosen][first][kept]
    return Towers(event, massless(measured[kept] / np.cosh(tower_eta), tower_eta, tower_phi))


def massless(pt: Floats, eta: Floats, phi: Floats) -> Floats:
    """Momenta of massless objects, shape (4, n)."""
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)])
