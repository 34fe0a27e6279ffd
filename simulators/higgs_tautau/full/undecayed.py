"""Events whose hard leptons and taus are kept apart, so that taus can be decayed again and again.

The *objects* of an event are the electrons, muons and taus of its W, Z and H bosons; taus do not decay. All
else is its *environment*, which reaches the detector without them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import taus
from .arrays import Floats, Integers
from .cards import Cards, Filter
from .filters import Draws
from .generation import Pythia
from .hooks import hard_leptons, is_within, momenta_after, moved, vector_of
from .particles import Particles, TrueTaus
from .records import RawEvents, decayed, first_copies

BOSONS = (23, 24, 25)
"""Codes of the parents of objects."""

MIN_TAU_PT = 2.0
"""GeV above the filter's threshold for visible taus, or for leptons, that a tau needs to give one."""


@dataclass(frozen=True, eq=False)
class Objects:
    """Electrons, muons and undecayed taus, ordered by event.

    Attributes:
        event: Event of each, shape (n,).
        pdg: Particle codes.
        parent: Code of the boson that each comes from, without sign.
        momenta: x, y, z, energy in GeV, after radiation, shape (4, n).
        axis: Unit vector of a tau's flight away from its parent, in its rest frame, shape (3, n).
    """

    event: Integers
    pdg: Integers
    parent: Integers
    momenta: Floats
    axis: Floats


@dataclass(frozen=True, eq=False)
class Undecayed:
    """A batch of events.

    Attributes:
        environment: What reaches the detector besides the objects.
        taus: Hadronic taus in it, from decays of hadrons.
        objects: The objects.
        weights: Weight of each event from the prescale.
    """

    environment: Particles
    taus: TrueTaus
    objects: Objects
    weights: Floats


class UndecayedGenerator:
    """Source of such events for one process.

    Args:
        cards: What to generate; thresholds are those of its filter, prescales those of its processes.
        process: Process of the cards.
        seed: Seed of Pythia's generator, 1 to 900,000,000.
        rng: Generator of everything else.

    Raises:
        MissingDependencyError: Pythia is not installed.
        InvalidConfigError: Pythia does not know a setting of the cards, or cannot start with them.
    """

    def __init__(self, cards: Cards, process: str, *, seed: int, rng: np.random.Generator) -> None:
        card = cards.process(process)
        self._rng = rng
        self._draws = Draws(card, rng)  # decays of taus that come from hadrons
        event_filter = UndecayedFilter(cards.generation.filter, card.fakes_prescale, rng)
        self._pythia = Pythia(cards, process, seed=seed, event_filter=event_filter)

    @property
    def n_tried(self) -> int:
        """Events begun so far."""
        return self._pythia.n_tried

    def batches(self, n_events: int) -> Iterator[Undecayed]:
        """Events that pass the filter, in batches.

        Raises:
            GenerationError: Pythia fails at all events.
            InvalidConfigError: No event passes the filter.
        """
        for raw, weights in self._pythia.batches(n_events):
            yield split(raw, weights, self._draws, self._rng)


def split(raw: RawEvents, weights: Floats, draws: Draws, rng: np.random.Generator) -> Undecayed:
    """Take the objects out of Pythia's events."""
    last = np.flatnonzero(np.isin(np.abs(raw.pdg), (11, 13, 15)) & (raw.status > 0))
    first = first_copies(raw, last)
    parent = np.abs(raw.pdg[raw.mother[first]]).astype(np.int64)
    chosen = np.isin(parent, BOSONS)
    last, mothers, parent = last[chosen], raw.mother[first[chosen]], parent[chosen]
    event = np.searchsorted(raw.starts, last, side="right") - 1
    objects = Objects(
        event,
        raw.pdg[last].astype(np.int64),
        parent,
        raw.momenta[:, last],
        _axes(raw.momenta[:, last], raw.momenta[:, mothers]),
    )
    status = raw.status.copy()
    status[last] = -1
    return Undecayed(*decayed(replace(raw, status=status), draws, rng), objects, weights)


def _axes(momenta: Floats, parents: Floats) -> Floats:
    """Direction against the parent, in the rest frame of each particle."""
    back = np.stack(taus.boost(tuple(parents), tuple(momenta), taus.mass_of(tuple(momenta)), -1))[:3]
    unit: Floats = -back / np.maximum(np.linalg.norm(back, axis=0), 1e-12)
    return unit


class UndecayedFilter:
    """Drops events that no decay of their taus can save, and most that only a mistag can.

    Args:
        card: Scale and thresholds, those of visible momenta.
        prescale: One in so many events that have a lepton, but no tau beside it, goes on.
        rng: Generator of the luck of these.
    """

    def __init__(self, card: Filter, prescale: int, rng: np.random.Generator) -> None:
        self.scale = card.scale
        self._card, self._prescale, self._rng = card, prescale, rng
        self._objects: list[tuple[int, bool, taus.Vector]] = []
        self._before: dict[int, taus.Vector] = {}

    def begins(self, process: Any) -> bool:
        """Whether there are leptons or taus."""
        found = list(hard_leptons(process))
        self._objects = [(top, process[i].idAbs() == 15, vector_of(process[i])) for i, top in found]
        self._before = {top: vector_of(process[top]) for _, top in found}
        return bool(found)

    def weight(self, event: Any) -> float:
        """Weight of the event from the prescale; 0 if it is dropped."""
        after = momenta_after(event, self._before)
        seen = [(is_tau, moved(p, self._before[i], after[i])) for i, is_tau, p in self._objects]
        if _can_have_pair(seen, self._card):
            return 1.0
        if not _can_have_lepton(seen, self._card) or self._rng.random() * self._prescale >= 1:
            return 0.0
        return float(self._prescale)


def _gives_lepton(is_tau: bool, p: taus.Vector, card: Filter) -> bool:
    return is_within(p, card.lepton_pt + MIN_TAU_PT * is_tau, card.lepton_eta)


def _can_have_lepton(seen: list[tuple[bool, taus.Vector]], card: Filter) -> bool:
    return any(_gives_lepton(is_tau, p, card) for is_tau, p in seen)


def _can_have_pair(seen: list[tuple[bool, taus.Vector]], card: Filter) -> bool:
    """Whether there is a lepton in reach, and beside it a tau that may decay to hadrons."""
    leptons = [i for i, (is_tau, p) in enumerate(seen) if _gives_lepton(is_tau, p, card)]
    hadrons = [
        i
        for i, (is_tau, p) in enumerate(seen)
        if is_tau and is_within(p, card.tau_pt + MIN_TAU_PT, card.tau_eta)
    ]
    return any(i != j for i in leptons for j in hadrons)
