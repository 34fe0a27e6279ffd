"""Which events are worth a detector: tau decays drawn with the hard process, and a filter inside Pythia."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fairuniverse.errors import InvalidConfigError

from . import taus
from .arrays import Floats, Integers
from .cards import Filter, ProcessCard
from .taus import Orientations, Vector

N_TEMPLATES = 8000
"""Decays of each kind that a block turns and boosts."""

MAX_DROPPED = 30_000
"""Events that the filter drops in a row before the card is taken to be wrong."""

Z_POLARISATION = -0.147
"""Mean helicity of a tau- from a Z decay (LEP, Phys. Rept. 427 (2006) 257)."""

_HIGGS, _Z, _W = 25, 23, 24


class Draws:
    """Tau decays drawn so far in this batch, numbered from 1, with the templates they are made of."""

    def __init__(self, card: ProcessCard, rng: np.random.Generator) -> None:
        self._rng = rng
        self._uniforms: list[float] = []
        self.is_forced = card.force_lepton_hadron
        self.leptonic = taus.leptonic_templates(N_TEMPLATES, rng=rng)
        self.hadronic = taus.hadronic_templates(N_TEMPLATES, rng=rng)
        self._visible = [[tuple(p) for p in t.visible.tolist()] for t in (self.leptonic, self.hadronic)]
        self._polarimeters = [t.polarimeter.tolist() for t in (self.leptonic, self.hadronic)]
        self.list: list[tuple[bool, Orientations]] = []

    def forget(self) -> None:
        """Drop the decays of a finished batch."""
        self.list.clear()

    def uniform(self) -> float:
        """A uniform random number; one at a time would cost a microsecond each."""
        if not self._uniforms:
            self._uniforms = self._rng.random(4096).tolist()
        return self._uniforms.pop()

    def draw(self, is_leptonic: bool, polarisation: float) -> tuple[int, Vector]:
        """Number of a new decay, and its visible momentum in the helicity frame."""
        kind = 0 if is_leptonic else 1
        i = int(self.uniform() * N_TEMPLATES)
        uniforms = (self.uniform(), self.uniform(), self.uniform())
        o = taus.orient(i, self._polarimeters[kind][i], polarisation, uniforms)
        self.list.append((is_leptonic, o))
        return len(self.list), taus.rotate(taus.rotation(o), self._visible[kind][i])

    def is_leptonic(self) -> bool:
        """How a tau decays."""
        return self.uniform() < taus.B_LEPTONIC


@dataclass
class _Object:
    """A lepton or a tau of the hard process, as long as its momentum changes.

    Attributes:
        resonance: Index of the outgoing particle of the hard process that it comes from.
        momentum: Its momentum in the hard process.
        parent: Momentum of its parent there.
        visible: For a tau, its visible decay products in the helicity frame.
        is_lepton: Whether an electron or a muon is seen.
    """

    resonance: int
    momentum: Vector
    parent: Vector
    visible: Vector | None
    is_lepton: bool

    def in_lab(self, before: Vector, after: Vector) -> Vector:
        """Visible momentum when the resonance has changed its own."""
        m = taus.mass_of(before)
        p, parent = (taus.boost(taus.boost(v, before, m, -1), after, m) for v in (self.momentum, self.parent))
        return p if self.visible is None else taus.to_lab(self.visible, p, parent)


@cache
def filter_class(base: Any) -> Any:
    """The filter: derived from Pythia's hooks, it can exist only where Pythia is installed."""

    class EventFilter(base):  # type: ignore[misc]
        """Stops events that cannot be selected; the names of its methods are Pythia's."""

        def __init__(
            self, card: Filter, process: ProcessCard, draws: Draws, rng: np.random.Generator
        ) -> None:
            base.__init__(self)
            self._card, self._draws = card, draws
            self._prescale = process.fakes_prescale
            self._weights: dict[int, float] = {}
            self._objects: list[_Object] = []
            self._resonances: dict[int, Vector] = {}
            self._weight = 1.0
            self._is_pending = False
            self._last_passed = 0
            self.n_tried = 0

        def weights_of(self, tags: Integers) -> Floats:
            """Weights of finished events; those of dropped ones are forgotten."""
            weights = np.array([self._weights[tag] for tag in tags.tolist()])
            self._weights.clear()
            return weights

        def canVetoProcessLevel(self) -> bool:
            return True

        def doVetoProcessLevel(self, process: Any) -> bool:
            self.n_tried += 1
            require_progress(self.n_tried - self._last_passed)
            self._is_pending = True
            self._weight = 1.0
            self._objects, self._resonances = _hard_objects(process, self._draws)
            if not any(o.is_lepton for o in self._objects):
                return True
            has_tau = any(o.visible is not None and not o.is_lepton for o in self._objects)
            if not has_tau and self._is_unlucky():
                return True
            process[3].pol(float(self.n_tried))
            return False

        def canVetoPT(self) -> bool:
            return True

        def scaleVetoPT(self) -> float:
            return float(self._card.scale)

        def doVetoPT(self, i_position: int, event: Any) -> bool:
            if not self._is_pending:  # asked again later in the same event
                return False
            self._is_pending = False
            card = self._card
            after = {i: vector_of(event[event[i].iBotCopyId()]) for i in self._resonances}
            seen = [
                (o.is_lepton, o.in_lab(self._resonances[o.resonance], after[o.resonance]))
                for o in self._objects
            ]
            if not any(is_lepton and is_within(p, card.lepton_pt, card.lepton_eta) for is_lepton, p in seen):
                return True
            has_tau = any(not is_lepton and is_within(p, card.tau_pt, card.tau_eta) for is_lepton, p in seen)
            is_prescaled = self._weight != 1
            if not has_tau and not is_prescaled and self._is_unlucky():
                return True
            self._weights[self.n_tried] = self._weight
            self._last_passed = self.n_tried
            return False

        def _is_unlucky(self) -> bool:
            """Whether the prescale drops an event without a tau."""
            if self._draws.uniform() * self._prescale >= 1:
                return True
            self._weight *= self._prescale
            return False

    return EventFilter


def require_progress(n_dropped: int) -> None:
    """Refuse to go on when no event passes the filter.

    Raises:
        InvalidConfigError: `MAX_DROPPED` events in a row have been dropped.
    """
    if n_dropped > MAX_DROPPED:
        raise InvalidConfigError(
            f"of {MAX_DROPPED:,} events in a row none passes the filter: correct the card, whose "
            "settings make no electrons, muons or taus, or no others than its filter drops"
        )


def is_within(p: Vector, min_pt: float, max_eta: float) -> bool:
    """Whether a momentum is above a transverse threshold, and within reach in pseudorapidity."""
    pt2 = p[0] * p[0] + p[1] * p[1]
    return bool(pt2 > min_pt * min_pt and p[2] * p[2] < np.sinh(max_eta) ** 2 * pt2)


def vector_of(particle: Any) -> Vector:
    """Momentum of one of Pythia's particles."""
    return particle.px(), particle.py(), particle.pz(), particle.e()


def _hard_objects(process: Any, draws: Draws) -> tuple[list[_Object], dict[int, Vector]]:
    """Leptons and taus of the hard process, with the outgoing particles that they come from.

    Decays of the taus are drawn, and their numbers left in the polarisations of the event record.
    """
    objects: list[_Object] = []
    resonances: dict[int, Vector] = {}
    partners: dict[int, tuple[float, bool]] = {}
    for i in range(5, process.size()):
        particle = process[i]
        size = particle.idAbs()
        if size not in (11, 13, 15) or not particle.isFinal():
            continue
        i_parent = particle.mother1()
        top = i
        while process[top].mother1() > 4:
            top = process[top].mother1()
        if size == 15:
            visible, is_lepton, number = _draw_tau(particle, process[i_parent], i_parent, partners, draws)
            particle.pol(float(number))
        else:
            visible, is_lepton = None, True
        resonances[top] = vector_of(process[top])
        objects.append(_Object(top, vector_of(particle), vector_of(process[i_parent]), visible, is_lepton))
    return objects, resonances


def _draw_tau(
    tau: Any, parent: Any, i_parent: int, partners: dict[int, tuple[float, bool]], draws: Draws
) -> tuple[Vector, bool, int]:
    """Decay of a tau; its helicity, and where forced its decay, go with those of its partner."""
    if i_parent in partners:
        polarisation, is_leptonic = partners[i_parent]
        if parent.idAbs() == _HIGGS:
            polarisation = -polarisation
        is_leptonic = not is_leptonic if draws.is_forced else draws.is_leptonic()
    else:
        polarisation = _polarisation(parent.idAbs(), draws.uniform())
        is_leptonic = draws.uniform() < 0.5 if draws.is_forced else draws.is_leptonic()
        partners[i_parent] = polarisation, is_leptonic
    number, visible = draws.draw(is_leptonic, polarisation)
    return visible, is_leptonic, number


def _polarisation(parent: int, u: float) -> float:
    """Helicity of a tau-, minus that of a tau+, of the first tau of a parent."""
    if parent == _W:
        return -1.0
    chance = {_HIGGS: 0.5, _Z: 0.5 * (1 + Z_POLARISATION)}.get(parent, 0.5)
    return 1.0 if u < chance else -1.0
