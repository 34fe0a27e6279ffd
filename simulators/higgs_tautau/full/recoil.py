"""What the detector makes of an event without its hard leptons and taus: what a re-decayed event needs of it.

Jets are found with each object in its place, as a deposit of typical size, so that they share the environment
as in a whole event: what the jet of an object has besides the object is its *extra*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fairuniverse.events import Feature, Schema

from ..fast.quantised import (
    ELECTRON,
    JET_BYTES,
    MUON,
    N_JETS,
    N_OBJECTS,
    OBJECT_BYTES,
    POSITIVE,
    TAU_OF_H,
    TAU_OF_W,
    TAU_OF_Z,
)
from . import calorimeter
from .arrays import Floats, Integers, sums_by
from .calorimeter import Towers
from .cards import DetectorCard
from .jets import cluster_with_members, count_near, tau_charges
from .particles import Particles, TrueTaus, charges, delta_r2, pairs_within_events
from .tracks import Tracks, find_leptons, find_tracks
from .undecayed import BOSONS, Objects, Undecayed

MIN_RAW_PT = 16.0
"""Jets of the environment (GeV): room below the threshold of the record for jets that come with an object."""

VISIBLE_SHARE = 0.55
"""Part of a tau's momentum that its deposit has, about the mean of hadronic decays that are selected."""

MIN_OBJECT_PT = 5.0
"""Softer objects (GeV) are left out: they give neither leptons nor taus."""

_JET = (*JET_BYTES, "n_tracks", "tau_charge")
COLUMNS = (
    "prescale",
    "soft_x",
    "soft_y",
    *(f"object{i}_{name}" for i in range(N_OBJECTS) for name in OBJECT_BYTES),
    *(f"jet{i}_{name}" for i in range(N_JETS) for name in _JET),
)
"""Columns of a record; see `measure_recoil`."""

At = tuple[Integers, Floats, Floats]
"""Event, pseudorapidity and azimuth of some objects."""

RECOIL_SCHEMA = Schema(tuple(Feature(name, "", "", 0.0) for name in COLUMNS))

KIND = {
    **{(11, boson): ELECTRON for boson in BOSONS},
    **{(13, boson): MUON for boson in BOSONS},
    **{(15, 24): TAU_OF_W, (15, 23): TAU_OF_Z, (15, 25): TAU_OF_H},
}
"""Kinds of objects by particle and parent."""


@dataclass(frozen=True, eq=False)
class _Clustered:
    """What jets of towers and objects give.

    Attributes:
        event: Event of each jet without objects, increasing.
        momenta: Their momenta, shape (4, n).
        extras: Momentum of the towers in the jet of each object, shape (4, n_objects).
    """

    event: Integers
    momenta: Floats
    extras: Floats


def measure_recoil(undecayed: Undecayed, card: DetectorCard, *, rng: np.random.Generator) -> Floats:
    """Records of a batch, shape (n_columns, n_kept): GeV and rad, 0 for what is missing.

    Events with an isolated lepton that is none of the objects are left out: with one that is, they have two.
    The azimuth of the first object is zero. `soft` is the momentum of all towers in no jet and no extra. An
    axis is that of `Objects`. An extra has its distance from the object; it is 0 for all but the hardest
    object of a jet.
    """
    particles, n = undecayed.environment, undecayed.environment.n_events
    objects, rank = _ranked(undecayed.objects)
    tracks = find_tracks(particles, card, rng=rng)
    leptons, muons = find_leptons(particles, tracks, card, rng=rng)
    towers = calorimeter.joined([calorimeter.measure(particles, card, rng=rng), muons])
    clustered = _cluster_with(objects, towers, n, card)
    hard = tracks.pt > card.tau_tag.min_track_pt
    at = (tracks.event[hard], tracks.eta[hard], tracks.phi[hard])
    rows = np.zeros((len(COLUMNS), n))
    rows[0] = undecayed.weights
    values = _object_values(objects, clustered.extras)
    values["activity"] = _activity(particles, tracks, objects, card)
    _, jet_eta, jet_phi = _directions(clustered.extras + _deposits(objects))
    values["n_tracks"] = count_near(objects.event, jet_eta, jet_phi, *at, card.tau_tag.cone)
    for k, name in enumerate(OBJECT_BYTES):
        rows[3 + len(OBJECT_BYTES) * rank + k, objects.event] = values[name]
    for k in (0, 1):
        rows[1 + k] = sums_by(towers.event, towers.momenta[k], n)
        rows[1 + k] -= sums_by(objects.event, clustered.extras[k], n)
    _write_jets(rows, clustered, at, undecayed.taus, card)
    has_objects = np.bincount(objects.event, minlength=n) > 0
    return _turned(rows[:, has_objects & (np.bincount(leptons.event, minlength=n) == 0)])


def _object_values(objects: Objects, extras: Floats) -> dict[str, Any]:
    """Columns of the objects that follow from momenta."""
    pt, eta, phi = _directions(objects.momenta)
    extra, extra_eta, extra_phi = _directions(extras)
    pairs = zip(objects.pdg.tolist(), objects.parent.tolist(), strict=True)
    is_tau, has_extra = np.abs(objects.pdg) == 15, extra > 0
    return {
        "kind": np.array([KIND[abs(p), boson] + POSITIVE * (p < 0) for p, boson in pairs], float),
        "pt": pt,
        "eta": eta,
        "phi": phi,
        "axis_cosine": np.where(is_tau, objects.axis[2], 0),
        "axis_phi": np.where(is_tau, np.arctan2(objects.axis[1], objects.axis[0]), 0),
        "extra": extra,
        "extra_deta": np.where(has_extra, extra_eta - eta, 0),
        "extra_dphi": np.where(has_extra, _wrapped(extra_phi - phi), 0),
    }


def _ranked(objects: Objects) -> tuple[Objects, Integers]:
    """The hardest objects of each event, taus first, those of a pair together; place of each."""
    pt = np.hypot(objects.momenta[0], objects.momenta[1])
    near = np.abs(objects.momenta[2]) < np.sinh(4.0) * pt
    rows = np.flatnonzero((pt > MIN_OBJECT_PT) & near)
    is_lepton = np.abs(objects.pdg[rows]) != 15
    rows = rows[np.lexsort((rows, -objects.parent[rows], is_lepton, objects.event[rows]))]
    event = objects.event[rows]
    rank = np.arange(len(rows)) - np.searchsorted(event, event)
    rows, rank = rows[rank < N_OBJECTS], rank[rank < N_OBJECTS]
    chosen = Objects(
        objects.event[rows],
        objects.pdg[rows],
        objects.parent[rows],
        objects.momenta[:, rows],
        objects.axis[:, rows],
    )
    return chosen, rank


def _directions(momenta: Floats) -> tuple[Floats, Floats, Floats]:
    pt = np.hypot(momenta[0], momenta[1])
    return pt, np.arcsinh(momenta[2] / np.maximum(pt, 1e-9)), np.arctan2(momenta[1], momenta[0])


def _wrapped(phi: Floats) -> Floats:
    turned: Floats = np.mod(phi + np.pi, 2 * np.pi) - np.pi
    return turned


def _activity(particles: Particles, tracks: Tracks, objects: Objects, card: DetectorCard) -> Floats:
    """Scalar sum of pt in the isolation cone: tracks, photons and neutral hadrons."""
    neutral = np.flatnonzero((charges(particles.pdg) == 0) & (particles.pt > card.isolation.min_pt))
    seen = np.flatnonzero(tracks.pt > card.isolation.min_pt)
    pt = np.concatenate([particles.pt[neutral], tracks.pt[seen]])
    index = np.concatenate([neutral, tracks.particle[seen]])
    order = np.argsort(index)
    pt, index = pt[order], index[order]
    _, eta, phi = _directions(objects.momenta)
    at, k = pairs_within_events(objects.event, np.searchsorted(index, particles.starts))
    distance2 = delta_r2(eta[at], phi[at], particles.eta[index[k]], particles.phi[index[k]])
    near = distance2 < card.isolation.cone**2
    return sums_by(at[near], pt[k[near]], len(objects.event))


def _cluster_with(objects: Objects, towers: Towers, n_events: int, card: DetectorCard) -> _Clustered:
    """Jets of towers and objects."""
    event = np.concatenate([objects.event, towers.event])
    order = np.argsort(event, kind="stable")
    momenta = np.concatenate([_deposits(objects), towers.momenta], axis=1)[:, order]
    jet, jets, ordered_members = cluster_with_members(
        Towers(event[order], momenta), n_events, card.jets.radius
    )
    members = np.empty_like(ordered_members)
    members[order] = ordered_members
    of_objects, of_towers = np.split(members, [len(objects.event)])
    pt, eta, _ = _directions(jets)
    is_free = (pt > MIN_RAW_PT) & (np.abs(eta) < card.jets.max_eta)
    is_free[of_objects[of_objects >= 0]] = False
    return _Clustered(
        jet[is_free], jets[:, is_free], _extras(objects, towers, of_objects, of_towers, len(jet))
    )


def _deposits(objects: Objects) -> Floats:
    """What stands for the objects, massless, shape (4, n_objects)."""
    deposits: Floats = objects.momenta * np.where(np.abs(objects.pdg) == 15, VISIBLE_SHARE, 1.0)
    deposits[3] = np.linalg.norm(deposits[:3], axis=0)
    return deposits


def _extras(
    objects: Objects, towers: Towers, of_objects: Integers, of_towers: Integers, n_jets: int
) -> Floats:
    """Momentum of the towers in the jet of each object; that of several objects goes to the hardest."""
    inside = of_towers >= 0
    sums = np.stack([sums_by(of_towers[inside], p[inside], n_jets) for p in towers.momenta])
    order = np.argsort(np.hypot(objects.momenta[0], objects.momenta[1]))
    owner = np.full(n_jets + 1, -1)
    owner[of_objects[order]] = order  # the hardest comes last; those in no jet share the last entry
    jets = np.flatnonzero(owner[:-1] >= 0)
    extras = np.zeros((4, len(objects.event)))
    extras[:, owner[jets]] = sums[:, jets]
    return extras


def _write_jets(rows: Floats, jets: _Clustered, tracks: At, taus: TrueTaus, card: DetectorCard) -> None:
    """The hardest jets; their momentum is taken out of the soft one."""
    event = jets.event
    pt, eta, phi = _directions(jets.momenta)
    n_tracks = np.minimum(count_near(event, eta, phi, *tracks, card.tau_tag.cone), 2)
    charge = tau_charges(event, eta, phi, taus, card)
    order = np.lexsort((-pt, event))
    rank = np.arange(len(order)) - np.searchsorted(event[order], event[order])
    order, rank = order[rank < N_JETS], rank[rank < N_JETS]
    for k in (0, 1):
        rows[1 + k] -= sums_by(event[order], jets.momenta[k, order], rows.shape[1])
    begin = len(COLUMNS) - N_JETS * len(_JET)
    for k, values in enumerate((pt, eta, phi, n_tracks, charge)):
        rows[begin + len(_JET) * rank + k, event[order]] = values[order]


def _turned(rows: Floats) -> Floats:
    """Turned so that the first object is at azimuth zero."""
    index = {name: k for k, name in enumerate(COLUMNS)}
    turn = -rows[index["object0_phi"]]
    x, y = rows[1].copy(), rows[2].copy()
    rows[1], rows[2] = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    for name, marker in (
        *((f"object{i}_phi", f"object{i}_kind") for i in range(N_OBJECTS)),
        *((f"object{i}_axis_phi", f"object{i}_axis_phi") for i in range(N_OBJECTS)),
        *((f"jet{i}_phi", f"jet{i}_raw") for i in range(N_JETS)),
    ):
        column, exists = rows[index[name]], rows[index[marker]] != 0
        rows[index[name]] = np.where(exists, _wrapped(column + turn), 0)
    return rows
