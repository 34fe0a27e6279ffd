"""Generated events as flat arrays: what reaches the detector, and which hadronic taus there were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Integers

NEUTRINOS = (12, 14, 16)

_POSITIVE, _NEGATIVE = (211, 321, 2212, 3222), (11, 13, 15, 3112, 3312, 3334)
"""Particles that live long enough for a detector, by their charge; light nuclei do not occur."""


@dataclass(frozen=True, eq=False)
class Particles:
    """Visible final particles of a batch of events, ordered by event.

    Attributes:
        starts: Where each event begins, and the end: shape (n_events + 1,).
        pdg: Particle codes, shape (n,).
        momenta: x, y, z, energy in GeV, shape (4, n).
    """

    starts: Integers
    pdg: NDArray[np.int32]
    momenta: Floats

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.starts) - 1

    @property
    def event(self) -> Integers:
        """Event of each particle, shape (n,)."""
        return np.repeat(np.arange(self.n_events), np.diff(self.starts))

    @property
    def pt(self) -> Floats:
        """Transverse momenta, GeV."""
        pt: Floats = np.hypot(self.momenta[0], self.momenta[1])
        return pt

    @property
    def eta(self) -> Floats:
        """Pseudorapidities."""
        eta: Floats = np.arcsinh(self.momenta[2] / np.maximum(self.pt, 1e-9))
        return eta

    @property
    def phi(self) -> Floats:
        """Azimuths."""
        phi: Floats = np.arctan2(self.momenta[1], self.momenta[0])
        return phi


@dataclass(frozen=True, eq=False)
class TrueTaus:
    """Visible momenta of hadronic tau decays.

    Attributes:
        event: Event of each, shape (n,), increasing.
        momenta: x, y, z, energy in GeV, shape (4, n).
        charge: Charge of the tau, shape (n,).
    """

    event: Integers
    momenta: Floats
    charge: Integers


@dataclass(frozen=True, eq=False)
class Generated:
    """A batch of generated events.

    Attributes:
        particles: What reaches the detector.
        taus: The hadronic taus among them.
        weights: Weight of each event from prescales, shape (n_events,).
    """

    particles: Particles
    taus: TrueTaus
    weights: Floats


def charges(pdg: NDArray[np.int32]) -> NDArray[np.int8]:
    """Charge of each particle, 0 for neutral and unknown ones."""
    table = np.zeros(4096, np.int8)
    table[list(_POSITIVE)], table[list(_NEGATIVE)] = 1, -1
    size = np.abs(pdg)
    known = np.where(size < len(table), size, 0)
    charge: NDArray[np.int8] = table[known] * np.sign(pdg).astype(np.int8)
    return charge


def starts_of(event: Integers, n_events: int) -> Integers:
    """Where each event begins among particles ordered by event, and the end."""
    return np.searchsorted(event, np.arange(n_events + 1))


def pairs_within_events(event: Integers, starts: Integers) -> tuple[Integers, Integers]:
    """All pairs of a few objects with every particle of their event.

    Args:
        event: Event of each object, shape (n_objects,).
        starts: Where each event begins among the particles.

    Returns:
        Index of the object and index of the particle, shape (n_pairs,) each, ordered by object.
    """
    sizes = np.diff(starts)[event]
    objects = np.repeat(np.arange(len(event)), sizes)
    first = np.cumsum(sizes) - sizes
    return objects, np.arange(len(objects)) - first[objects] + starts[event][objects]


def delta_r2(eta: Floats, phi: Floats, other_eta: Floats, other_phi: Floats) -> Floats:
    """Squared distance in pseudorapidity and azimuth."""
    d = np.abs(phi - other_phi) % (2 * np.pi)
    square: Floats = (eta - other_eta) ** 2 + np.minimum(d, 2 * np.pi - d) ** 2
    return square
