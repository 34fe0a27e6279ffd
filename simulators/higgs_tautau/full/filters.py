"""Which events are worth a detector: tau decays drawn with the hard process, and a filter for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import taus
from .cards import Filter, ProcessCard
from .hooks import hard_leptons, is_within, momenta_after, moved, vector_of
from .taus import Orientations, Vector

N_TEMPLATES = 8000
"""Decays of each kind that a block turns and boosts."""

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


@dataclass(frozen=True)
class _Object:
    """A lepton or a tau of the hard process, as long as its momentum changes.

    Attributes:
        outgoing: Index of the outgoing particle of the hard process that it comes from.
        momentum: Its momentum in the hard process.
        parent: Momentum of its parent there.
        visible: For a tau, its visible decay products in the helicity frame.
        is_lepton: Whether an electron or a muon is seen.
    """

    outgoing: int
    momentum: Vector
    parent: Vector
    visible: Vector | None
    is_lepton: bool

    def in_lab(self, before: Vector, after: Vector) -> Vector:
        """Visible momentum when the outgoing particle has changed its own."""
        p = moved(self.momentum, before, after)
        return p if self.visible is None else taus.to_lab(self.visible, p, moved(self.parent, before, after))


class DecayFilter:
    """Draws tau decays with the hard process; events need a lepton in reach, and a hadronic tau or luck.

    Args:
        card: Scale and thresholds.
        process: Process of the cards.
        draws: Takes the decays.
    """

    def __init__(self, card: Filter, process: ProcessCard, draws: Draws) -> None:
        self.scale = card.scale
        self._card, self._draws = card, draws
        self._prescale = process.fakes_prescale
        self._objects: list[_Object] = []
        self._before: dict[int, Vector] = {}
        self._weight = 1.0

    def begins(self, process: Any) -> bool:
        """Whether there is a lepton, and a hadronic tau or luck."""
        self._weight = 1.0
        self._objects, self._before = _drawn(process, self._draws)
        if not any(o.is_lepton for o in self._objects):
            return False
        has_tau = any(o.visible is not None and not o.is_lepton for o in self._objects)
        return has_tau or self._is_lucky()

    def weight(self, event: Any) -> float:
        """Weight of the event from the prescale; 0 without a lepton in reach, or neither tau nor luck."""
        after = momenta_after(event, self._before)
        seen = [(o.is_lepton, o.in_lab(self._before[o.outgoing], after[o.outgoing])) for o in self._objects]
        card = self._card
        if not any(is_lepton and is_within(p, card.lepton_pt, card.lepton_eta) for is_lepton, p in seen):
            return 0.0
        has_tau = any(not is_lepton and is_within(p, card.tau_pt, card.tau_eta) for is_lepton, p in seen)
        is_prescaled = self._weight != 1
        return self._weight if has_tau or is_prescaled or self._is_lucky() else 0.0

    def _is_lucky(self) -> bool:
        """Whether the prescale keeps an event without a tau, which then stands for others."""
        if self._draws.uniform() * self._prescale >= 1:
            return False
        self._weight *= self._prescale
        return True


def _drawn(process: Any, draws: Draws) -> tuple[list[_Object], dict[int, Vector]]:
    """Leptons and taus of the hard process, and the momenta of the outgoing particles they come from.

    Decays of the taus are drawn, and their numbers left in the polarisations of the event record.
    """
    objects: list[_Object] = []
    before: dict[int, Vector] = {}
    partners: dict[int, tuple[float, bool]] = {}
    for i, outgoing in hard_leptons(process):
        particle = process[i]
        i_parent = particle.mother1()
        if particle.idAbs() == 15:
            visible, is_lepton, number = _draw_tau(process[i_parent], i_parent, partners, draws)
            particle.pol(float(number))
        else:
            visible, is_lepton = None, True
        before[outgoing] = vector_of(process[outgoing])
        objects.append(
            _Object(outgoing, vector_of(particle), vector_of(process[i_parent]), visible, is_lepton)
        )
    return objects, before


def _draw_tau(
    parent: Any, i_parent: int, partners: dict[int, tuple[float, bool]], draws: Draws
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
