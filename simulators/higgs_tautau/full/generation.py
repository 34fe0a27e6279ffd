"""Events of Pythia 8: shower, multiple interactions, hadronisation, and polarised tau decays of our own.

Two modes:

* ``production`` leaves taus undecayed in Pythia, draws their decays (see `taus`) as soon as the hard process
  is there, and stops the parton shower early where no lepton, or no tau and no luck, is in reach. Nearly all
  of the time goes to multiple interactions at low transverse momentum, which come after that.
* ``reference`` is plain Pythia with its own helicity tau decays and no filter.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import numpy as np

from fairuniverse.errors import FairUniverseError, InvalidConfigError, MissingDependencyError

from . import taus
from .cards import Cards
from .filters import Draws, filter_class
from .particles import Generated
from .records import RawEvents, decayed, decayed_by_pythia, flat

Mode = Literal["production", "reference"]

BATCH = 100
"""Events at a time: Pythia's full record takes some 150 kB each."""


class GenerationError(FairUniverseError, RuntimeError):
    """Pythia could not generate events."""


class Generator:
    """Source of generated events of one process.

    Args:
        cards: What to generate.
        process: Process of the cards.
        seed: Seed of Pythia's generator, 1 to 900,000,000.
        rng: Generator of everything else.
        mode: See the module.

    Raises:
        MissingDependencyError: Pythia is not installed.
        InvalidConfigError: Pythia does not know a setting of the cards, or cannot start with them.
    """

    def __init__(
        self, cards: Cards, process: str, *, seed: int, rng: np.random.Generator, mode: Mode = "production"
    ) -> None:
        card = cards.process(process)
        self._rng = rng
        self._pythia = new_pythia(seed)
        self._draws = None if mode == "reference" else Draws(card, rng)
        self._hooks = None
        if self._draws is not None:
            hooks = filter_class(pythia_library().UserHooks)
            self._hooks = hooks(cards.generation.filter, card, self._draws, rng)
        start_pythia(self._pythia, cards, process, hooks=self._hooks)
        self._n_plain = 0

    @property
    def branching(self) -> float:
        """Branching fraction of the decays that are made."""
        return taus.B_LEPTON_HADRON if self._draws is not None and self._draws.is_forced else 1.0

    @property
    def n_tried(self) -> int:
        """Events begun so far, those that the filter dropped included."""
        return self._n_plain if self._hooks is None else int(self._hooks.n_tried)

    def batches(self, n_events: int) -> Iterator[Generated]:
        """Events that pass the filter, in batches of `BATCH`.

        Raises:
            GenerationError: Pythia fails at all events.
            InvalidConfigError: No event passes the filter.
        """
        n_left = n_events
        while n_left:
            raw = flat(self._pythia.nextBatch(min(BATCH, n_left)))
            if not raw.n_events:
                raise GenerationError("Pythia fails at every event: check the settings of the card")
            n_left -= raw.n_events  # events that Pythia cannot hadronise are left out
            self._n_plain += raw.n_events
            yield self._reference(raw) if self._hooks is None else self._production(raw)

    def _production(self, raw: RawEvents) -> Generated:
        assert self._hooks is not None
        assert self._draws is not None
        weights = self._hooks.weights_of(raw.tags)
        particles, true_taus = decayed(raw, self._draws, self._rng)
        self._draws.forget()
        return Generated(particles, true_taus, weights)

    def _reference(self, raw: RawEvents) -> Generated:
        return Generated(*decayed_by_pythia(raw), np.ones(raw.n_events))


@cache
def pythia_library() -> Any:
    """The module of Pythia.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import awkward  # noqa: F401 - Pythia hands batches over in its arrays
        import pythia8mc
    except ImportError as error:
        raise MissingDependencyError(
            "the full simulation needs Pythia 8 and fastjet: pip install 'fairuniverse[full]'"
        ) from error
    return pythia8mc


def new_pythia(seed: int) -> Any:
    """A silent Pythia."""
    pythia = pythia_library().Pythia("", False)
    for line in ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}"):
        pythia.readString(line)
    return pythia


def start_pythia(pythia: Any, cards: Cards, process: str, *, hooks: Any | None) -> None:
    """Make a Pythia ready for one process; with hooks it leaves taus undecayed.

    Raises:
        InvalidConfigError: It does not know a setting of the cards, or cannot start with them.
    """
    own = [] if hooks is None else ["15:mayDecay = off"]
    for line in (*cards.generation.settings, *cards.process(process).settings, *own):
        if not pythia.readString(line, False):
            raise InvalidConfigError(
                f"Pythia does not understand the setting {line!r} of process {process}: correct the card"
            )
    if hooks is not None:
        pythia.setUserHooksPtr(hooks)
    if not pythia.init():
        raise InvalidConfigError(
            f"Pythia cannot start with the settings of process {process}: add `Print:quiet = off` "
            "to them to see why"
        )
