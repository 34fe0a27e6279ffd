"""Jets: anti-kt on towers and muons with fastjet, matched to true taus and counted tracks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fairuniverse.errors import MissingDependencyError

from .arrays import Booleans, Floats, Integers
from .calorimeter import Towers
from .cards import DetectorCard
from .particles import TrueTaus, delta_r2, pairs_within_events, starts_of
from .tracks import Leptons, Tracks

MIN_PT = 10.0
"""Jets below this raw pt (GeV) are not looked at: no energy scale brings them above a threshold."""


@dataclass(frozen=True, eq=False)
class Jets:
    """Jets before calibration, without those that are leptons.

    Attributes:
        event: Event of each, shape (n,), increasing.
        raw: Transverse momentum before calibration, GeV.
        eta: Pseudorapidity.
        phi: Azimuth.
        n_tracks: Number of tracks in the tagging cone.
        tau_charge: Charge of the true hadronic tau in the cone; 0 if there is none.
    """

    event: Integers
    raw: Floats
    eta: Floats
    phi: Floats
    n_tracks: Integers
    tau_charge: Integers


def find_jets(
    towers: Towers, leptons: Leptons, tracks: Tracks, taus: TrueTaus, n_events: int, card: DetectorCard
) -> Jets:
    """Jets of a batch of events.

    Raises:
        MissingDependencyError: fastjet is not installed.
    """
    event, momenta = _cluster(towers, n_events, card.jets.radius)
    pt = np.hypot(momenta[0], momenta[1])
    eta, phi = np.arcsinh(momenta[2] / pt), np.arctan2(momenta[1], momenta[0])
    keep = np.abs(eta) < card.jets.max_eta
    keep &= count_near(event, eta, phi, leptons.event, leptons.eta, leptons.phi, card.jets.lepton_cone) == 0
    event, pt, eta, phi = event[keep], pt[keep], eta[keep], phi[keep]
    hard = tracks.pt > card.tau_tag.min_track_pt
    cone = card.tau_tag.cone
    n_tracks = count_near(event, eta, phi, tracks.event[hard], tracks.eta[hard], tracks.phi[hard], cone)
    return Jets(event, pt, eta, phi, n_tracks, tau_charges(event, eta, phi, taus, card))


def count_near(
    event: Integers, eta: Floats, phi: Floats, of: Integers, of_eta: Floats, of_phi: Floats, cone: float
) -> Integers:
    """How many objects of the same event are within a cone around each jet; both ordered by event."""
    jet, _, near = _near(event, eta, phi, of, of_eta, of_phi, cone)
    return np.bincount(jet[near], minlength=len(event))


def _near(
    event: Integers, eta: Floats, phi: Floats, of: Integers, of_eta: Floats, of_phi: Floats, cone: float
) -> tuple[Integers, Integers, Booleans]:
    n_events = 1 + int(max(event.max(initial=-1), of.max(initial=-1)))
    jet, k = pairs_within_events(event, starts_of(of, n_events))
    return jet, k, delta_r2(eta[jet], phi[jet], of_eta[k], of_phi[k]) < cone**2


def tau_charges(event: Integers, eta: Floats, phi: Floats, taus: TrueTaus, card: DetectorCard) -> Integers:
    """Charge of the nearest true tau within the cone of each jet; 0 without one."""
    pt = np.hypot(taus.momenta[0], taus.momenta[1])
    tau_eta, tau_phi = np.arcsinh(taus.momenta[2] / pt), np.arctan2(taus.momenta[1], taus.momenta[0])
    seen = np.flatnonzero((pt > 1) & (np.abs(tau_eta) < card.tau_tag.max_eta))
    jet, k, near = _near(event, eta, phi, taus.event[seen], tau_eta[seen], tau_phi[seen], card.tau_tag.cone)
    charge = np.zeros(len(event), np.int64)
    charge[jet[near]] = taus.charge[seen][k[near]]
    return charge


@cache
def _library() -> Any:
    try:
        import fastjet
    except ImportError as error:
        raise MissingDependencyError(
            "the full simulation needs Pythia 8 and fastjet: pip install 'fairuniverse[full]'"
        ) from error
    with _silence():  # its first clustering prints a banner
        particle = fastjet.PseudoJet(1.0, 0.0, 0.0, 1.0)
        fastjet.ClusterSequence([particle], fastjet.JetDefinition(fastjet.antikt_algorithm, 0.4))
    return fastjet


@contextmanager
def _silence() -> Iterator[None]:
    """Throw away what C++ code prints to standard output."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with Path(os.devnull).open("w") as sink:
            os.dup2(sink.fileno(), 1)
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _cluster(towers: Towers, n_events: int, radius: float) -> tuple[Integers, Floats]:
    """Event and momentum, shape (4, n_jets), of the jets above `MIN_PT`, ordered by event."""
    return _jets_of(_sequence(towers, n_events, radius), n_events)


def cluster_with_members(towers: Towers, n_events: int, radius: float) -> tuple[Integers, Floats, Integers]:
    """As `find_jets` clusters: event, momentum (4, n_jets), and the jet of each tower (-1: in none).

    Raises:
        MissingDependencyError: fastjet is not installed.
    """
    import awkward as ak

    sequence = _sequence(towers, n_events, radius)
    members = sequence.constituent_index(min_pt=MIN_PT)
    event, momenta = _jets_of(sequence, n_events)
    sizes = ak.to_numpy(ak.flatten(ak.num(members, axis=2)))
    first = np.searchsorted(towers.event, event)
    index = ak.to_numpy(ak.flatten(members, axis=None)) + np.repeat(first, sizes)
    jet_of = np.full(len(towers.event), -1)
    jet_of[index] = np.repeat(np.arange(len(event)), sizes)
    return event, momenta, jet_of


def _sequence(towers: Towers, n_events: int, radius: float) -> Any:
    """Clustering of all events."""
    import awkward as ak

    fastjet = _library()
    counts = np.bincount(towers.event, minlength=n_events)
    columns = dict(zip(("px", "py", "pz", "E"), towers.momenta, strict=True))
    inputs = ak.unflatten(ak.zip(columns, with_name="Momentum4D"), counts)
    return fastjet.ClusterSequence(inputs, fastjet.JetDefinition(fastjet.antikt_algorithm, radius))


def _jets_of(sequence: Any, n_events: int) -> tuple[Integers, Floats]:
    import awkward as ak

    jets = sequence.inclusive_jets(min_pt=MIN_PT)
    event = np.repeat(np.arange(n_events), ak.to_numpy(ak.num(jets.px)))
    momenta = np.stack([ak.to_numpy(ak.flatten(jets[k])) for k in ("px", "py", "pz", "E")])
    return event, momenta
