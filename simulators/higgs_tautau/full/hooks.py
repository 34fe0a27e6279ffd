"""Filters inside Pythia: what ends events before the expensive steps, and weights of those that go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Protocol

import numpy as np

from fairuniverse.errors import InvalidConfigError

from . import taus
from .arrays import Floats, Integers
from .taus import Vector

MAX_DROPPED = 30_000
"""Events that a filter drops in a row before the card is taken to be wrong."""


class EventFilter(Protocol):
    """Judges events twice: when there is the hard process, and when the shower has come down to a scale."""

    @property
    def scale(self) -> float:
        """Transverse momentum of the shower, GeV, at which events are judged again."""
        ...

    def begins(self, process: Any) -> bool:
        """Whether an event is worth a shower, given Pythia's record of the hard process."""
        ...

    def weight(self, event: Any) -> float:
        """Weight of the same event, given Pythia's record at the scale; 0 if it is not worth going on."""
        ...


def new_hooks(base: Any, event_filter: EventFilter) -> Any:
    """Pythia's hooks with a filter; `base` is its class `UserHooks`."""
    return _hooks_class(base)(event_filter)


@cache
def _hooks_class(base: Any) -> Any:
    """Derived from a class of Pythia, it can exist only where Pythia is installed."""

    class FilterHooks(base):  # type: ignore[misc]
        """Asks the filter, numbers events and keeps their weights; the names of its methods are Pythia's."""

        def __init__(self, event_filter: EventFilter) -> None:
            base.__init__(self)
            self._filter = event_filter
            self._weights: dict[int, float] = {}
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
            _require_progress(self.n_tried - self._last_passed)
            self._is_pending = True
            if not self._filter.begins(process):
                return True
            process[3].pol(float(self.n_tried))
            return False

        def canVetoPT(self) -> bool:
            return True

        def scaleVetoPT(self) -> float:
            return self._filter.scale

        def doVetoPT(self, i_position: int, event: Any) -> bool:
            if not self._is_pending:  # asked again later in the same event
                return False
            self._is_pending = False
            weight = self._filter.weight(event)
            if not weight:
                return True
            self._weights[self.n_tried] = weight
            self._last_passed = self.n_tried
            return False

    return FilterHooks


def _require_progress(n_dropped: int) -> None:
    """Refuse to go on when no event passes the filter.

    Raises:
        InvalidConfigError: `MAX_DROPPED` events in a row have been dropped.
    """
    if n_dropped > MAX_DROPPED:
        raise InvalidConfigError(
            f"of {MAX_DROPPED:,} events in a row none passes the filter: correct the card, whose "
            "settings make no electrons, muons or taus, or no others than its filter drops"
        )


def hard_leptons(process: Any) -> Iterator[tuple[int, int]]:
    """Indices of electrons, muons, taus of the hard process, and of the outgoing particles they come from."""
    for i in range(5, process.size()):
        particle = process[i]
        if particle.idAbs() not in (11, 13, 15) or not particle.isFinal():
            continue
        outgoing = i
        while process[outgoing].mother1() > 4:
            outgoing = process[outgoing].mother1()
        yield i, outgoing


def vector_of(particle: Any) -> Vector:
    """Momentum of one of Pythia's particles."""
    return particle.px(), particle.py(), particle.pz(), particle.e()


def momenta_after(event: Any, outgoing: Iterable[int]) -> dict[int, Vector]:
    """Momenta that outgoing particles of the hard process have after the shower so far."""
    return {i: vector_of(event[event[i].iBotCopyId()]) for i in outgoing}


def moved(p: Vector, before: Vector, after: Vector) -> Vector:
    """A decay product, when the particle that it comes from has changed its momentum."""
    m = taus.mass_of(before)
    return taus.boost(taus.boost(p, before, m, -1), after, m)


def is_within(p: Vector, min_pt: float, max_eta: float) -> bool:
    """Whether a momentum is above a transverse threshold, and within reach in pseudorapidity."""
    pt2 = p[0] * p[0] + p[1] * p[1]
    return bool(pt2 > min_pt * min_pt and p[2] * p[2] < np.sinh(max_eta) ** 2 * pt2)
