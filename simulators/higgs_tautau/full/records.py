"""Pythia's record as flat arrays, and its taus as what the detector sees of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import taus
from .arrays import Booleans, Floats, Integers, sums_by
from .filters import N_TEMPLATES, Draws
from .particles import NEUTRINOS, Particles, TrueTaus, starts_of
from .taus import Orientations, Templates

MAX_ETA = 5.0
"""End of the detector."""

_NO_DRAW = 9.0
"""Polarisation that Pythia gives to particles of which it knows none."""


@dataclass(frozen=True, eq=False)
class RawEvents:
    """Pythia's record of a batch as flat arrays, ordered by event; mothers are indices into them."""

    starts: Integers
    pdg: NDArray[np.int32]
    status: NDArray[np.int32]
    mother: Integers
    momenta: Floats
    polarisation: Floats

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.starts) - 1

    @property
    def tags(self) -> Integers:
        """Number that the filter left in the fourth line of each event."""
        return self.polarisation[self.starts[:-1] + 3].astype(np.int64)

    @property
    def is_visible(self) -> Booleans:
        """Final particles that the detector can see."""
        pt2 = self.momenta[0] ** 2 + self.momenta[1] ** 2
        central = self.momenta[2] ** 2 < np.sinh(MAX_ETA) ** 2 * pt2
        visible: Booleans = (self.status > 0) & central & ~np.isin(np.abs(self.pdg), NEUTRINOS)
        return visible


def flat(batch: Any) -> RawEvents:
    """Columns of Pythia's batch."""
    import awkward as ak

    particles = batch.prt
    sizes = ak.to_numpy(ak.num(particles.id))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def column(values: Any) -> NDArray[Any]:
        flat: NDArray[Any] = ak.to_numpy(ak.flatten(values))
        return flat

    momenta = np.stack([column(particles.p[k]) for k in ("px", "py", "pz", "e")])
    mother = column(particles.mother1) + np.repeat(starts[:-1], sizes)
    return RawEvents(
        starts, column(particles.id), column(particles.status), mother, momenta, column(particles.pol)
    )


def decayed(raw: RawEvents, draws: Draws, rng: np.random.Generator) -> tuple[Particles, TrueTaus]:
    """Taus that Pythia left, decayed: those of the hard process as drawn, those of hadrons unpolarised."""
    event = np.repeat(np.arange(raw.n_events), np.diff(raw.starts))
    is_tau = (np.abs(raw.pdg) == 15) & (raw.status > 0)
    last = np.flatnonzero(is_tau)
    first = first_copies(raw, last)
    numbers = np.where(raw.polarisation[first] == _NO_DRAW, 0, raw.polarisation[first]).astype(np.int64)
    visible, codes, is_leptonic = _products(draws, numbers, rng)
    tau = tuple(raw.momenta[:, last, None])
    parent = tuple(raw.momenta[:, raw.mother[first], None])
    lab = np.stack(taus.to_lab(tuple(np.moveaxis(visible, -1, 0)), tau, parent))
    sign = np.sign(raw.pdg[last])
    return _merged(raw, event, last, lab, codes * sign[:, None]), _true_taus(
        event[last], lab, is_leptonic, -sign
    )


def first_copies(raw: RawEvents, particles: Integers) -> Integers:
    """The copies of taus that came out of the hard process or a hadron, before they radiated."""
    while True:
        mothers = raw.mother[particles]
        is_copy = raw.pdg[mothers] == raw.pdg[particles]
        if not is_copy.any():
            return particles
        particles = np.where(is_copy, mothers, particles)


def _products(
    draws: Draws, numbers: Integers, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int32], Booleans]:
    """Products in the helicity frame, shape (n, MAX_PRODUCTS, 4), codes of a tau-, which are leptonic."""
    n = len(numbers)
    visible = np.zeros((n, taus.MAX_PRODUCTS, 4))
    codes = np.zeros((n, taus.MAX_PRODUCTS), np.int32)
    is_leptonic = rng.random(n) < taus.B_LEPTONIC
    oriented: list[Orientations] = []
    for k, number in enumerate(numbers.tolist()):
        if number:
            is_leptonic[k], orientation = draws.list[number - 1]
        else:
            orientation = taus.orient(int(rng.integers(N_TEMPLATES)), 0.0, 0.0, rng.random(3).tolist())
        oriented.append(orientation)
    for flag, templates in ((True, draws.leptonic), (False, draws.hadronic)):
        rows = np.flatnonzero(is_leptonic == flag)
        if len(rows):
            visible[rows], codes[rows] = _turned(templates, [oriented[k] for k in rows.tolist()])
    return visible, codes, is_leptonic


def _turned(templates: Templates, oriented: list[Orientations]) -> tuple[Floats, NDArray[np.int32]]:
    chosen = np.array([o.template for o in oriented])
    angles = np.array([(o.cosine, o.azimuth, o.turn) for o in oriented]).T[:, :, None]
    rows = taus.rotation(Orientations(None, *angles))
    products = templates.products[chosen]
    turned = np.stack(taus.rotate(rows, tuple(np.moveaxis(products, -1, 0))), axis=-1)
    return turned, templates.pdg[chosen]


def _merged(raw: RawEvents, event: Integers, last: Integers, lab: Floats, codes: NDArray[Any]) -> Particles:
    """Final particles with taus replaced by their products."""
    is_kept = raw.is_visible
    is_kept[last] = False
    kept = np.flatnonzero(is_kept)
    exists = codes != 0
    product_event = np.repeat(event[last], exists.sum(axis=1))
    all_events = np.concatenate([event[kept], product_event])
    order = np.argsort(all_events, kind="stable")
    momenta = np.concatenate([raw.momenta[:, kept], lab[:, exists]], axis=1)[:, order]
    pdg = np.concatenate([raw.pdg[kept], codes[exists].astype(np.int32)])[order]
    return Particles(starts_of(all_events[order], raw.n_events), pdg, momenta)


def _true_taus(event: Integers, lab: Floats, is_leptonic: Booleans, charge: Integers) -> TrueTaus:
    rows = np.flatnonzero(~is_leptonic)
    order = rows[np.argsort(event[rows], kind="stable")]
    return TrueTaus(event[order], lab.sum(axis=2)[:, order], charge[order].astype(np.int64))


def decayed_by_pythia(raw: RawEvents) -> tuple[Particles, TrueTaus]:
    """Particles, and the visible momenta of hadronic taus: what is left of a tau without its neutrinos."""
    event = np.repeat(np.arange(raw.n_events), np.diff(raw.starts))
    kept = np.flatnonzero(raw.is_visible)
    particles = Particles(starts_of(event[kept], raw.n_events), raw.pdg[kept], raw.momenta[:, kept])
    is_tau, size = np.abs(raw.pdg) == 15, np.abs(raw.pdg)
    radiates = np.zeros(len(is_tau), bool)
    radiates[raw.mother[is_tau]] = True
    from_tau = np.flatnonzero(is_tau[raw.mother] & ~radiates[raw.mother])
    mothers = raw.mother[from_tau]
    decayed, place = np.unique(mothers, return_inverse=True)
    is_seen = (~np.isin(size[from_tau], NEUTRINOS)).astype(np.float64)
    is_lepton = np.isin(size[from_tau], (11, 13)).astype(np.float64)
    has_lepton = sums_by(place, is_lepton, len(decayed)) > 0
    momenta = raw.momenta[:, from_tau] * is_seen
    visible = np.stack([sums_by(place, p, len(decayed)) for p in momenta])
    rows = np.flatnonzero(~has_lepton)
    charge = -np.sign(raw.pdg[decayed[rows]]).astype(np.int64)
    return particles, TrueTaus(event[decayed[rows]], visible[:, rows], charge)
