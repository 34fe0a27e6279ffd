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
from .arrays import Floats
from .cards import Cards
from .filters import DecayFilter, Draws
from .hooks import EventFilter, new_hooks
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
        self._draws: Draws | None = None
        event_filter: EventFilter | None = None
        if mode == "production":
            self._draws = Draws(card, rng)
            event_filter = DecayFilter(cards.generation.filter, card, self._draws)
        self._pythia = Pythia(cards, process, seed=seed, event_filter=event_filter)

    @property
    def branching(self) -> float:
        """Branching fraction of the decays that are made."""
        return taus.B_LEPTON_HADRON if self._draws is not None and self._draws.is_forced else 1.0

    @property
    def n_tried(self) -> int:
        """Events begun so far, those that the filter dropped included."""
        return self._pythia.n_tried

    def batches(self, n_events: int) -> Iterator[Generated]:
        """Events that pass the filter, in batches of `BATCH`.

        Raises:
            GenerationError: Pythia fails at all events.
            InvalidConfigError: No event passes the filter.
        """
        for raw, weights in self._pythia.batches(n_events):
            if self._draws is None:
                yield Generated(*decayed_by_pythia(raw), weights)
            else:
                yield Generated(*decayed(raw, self._draws, self._rng), weights)
                self._draws.forget()


class Pythia:
    """A Pythia for one process; with a filter it leaves taus undecayed.

    Args:
        cards: What to generate.
        process: Process of the cards.
        seed: Seed of its generator, 1 to 900,000,000.
        event_filter: Drops events early, and weights the others.

    Raises:
        MissingDependencyError: Pythia is not installed.
        InvalidConfigError: It does not know a setting of the cards, or cannot start with them.
    """

    def __init__(
        self, cards: Cards, process: str, *, seed: int, event_filter: EventFilter | None = None
    ) -> None:
        library = pythia_library()
        own = () if event_filter is None else ("15:mayDecay = off",)
        self._pythia = library.Pythia("", False)
        self._hooks = None if event_filter is None else new_hooks(library.UserHooks, event_filter)
        self._n_plain = 0
        for line in ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}"):
            self._pythia.readString(line)
        for line in (*cards.generation.settings, *cards.process(process).settings, *own):
            if not self._pythia.readString(line, False):
                raise InvalidConfigError(
                    f"Pythia does not understand the setting {line!r} of process {process}: correct the card"
                )
        if self._hooks is not None:
            self._pythia.setUserHooksPtr(self._hooks)
        if not self._pythia.init():
            raise InvalidConfigError(
                f"Pythia cannot start with the settings of process {process}: add `Print:quiet = off` "
                "to them to see why"
            )

    @property
    def n_tried(self) -> int:
        """Events begun so far, those that the filter dropped included."""
        return self._n_plain if self._hooks is None else int(self._hooks.n_tried)

    def batches(self, n_events: int) -> Iterator[tuple[RawEvents, Floats]]:
        """Events that pass the filter, in batches of `BATCH`, with their weights.

        Raises:
            GenerationError: Pythia fails at all events.
            InvalidConfigError: No event passes the filter.
        """
        while n_events:
            raw = flat(self._pythia.nextBatch(min(BATCH, n_events)))
            if not raw.n_events:
                raise GenerationError("Pythia fails at every event: check the settings of the card")
            n_events -= raw.n_events  # events that Pythia cannot hadronise are left out
            self._n_plain += raw.n_events
            yield raw, np.ones(raw.n_events) if self._hooks is None else self._hooks.weights_of(raw.tags)


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
