"""The Higgs world as a simulator: nominal events, shifted events, pseudo-experiments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events, Schema
from fairuniverse.nuisance import Boundary, NuisanceParameter, complete
from fairuniverse.pools import StoredPool
from fairuniverse.protocols import Process, Sampler
from fairuniverse.seeding import Streams
from fairuniverse.worlds import require_option

from .fast import Library, fill_block, generate_records
from .fresh import FreshSampler
from .pool import PoolSampler
from .prescale import generate_prescaled
from .schema import SCHEMA
from .stored import StoredSampler, pool_rows
from .systematics import nominal_features, shift_events, shift_with_rows
from .world import LUMINOSITY, NUISANCES, PROCESS_NAMES, YIELDS, processes

ACCEPTANCE_EVENTS = 20_000
"""Events of a process whose candidates are counted for its acceptance."""

Systematics = Literal["detector", "posthoc", "official"]


class HiggsTauTau:
    """Lepton + hadronic tau events of four processes, with six nuisance parameters.

    Args:
        systematics: How tau, jet and missing-momentum nuisances act: ``"detector"`` before the thresholds, on
            the detector-level record of simulated events; ``"posthoc"`` on the columns of a table,
            consistently; ``"official"`` as the public challenge did, value for value.
        yields: Preset of expected events, ``"official"`` or ``"physics"``.
        boundary: What becomes of nuisance draws outside their range, ``"clip"`` or ``"truncate"``.
        recoil: Where the hard process and what recoils against it come from: ``"tables"``, fast and without
            repetition; ``"library"``, records of the full simulation that come with the package; or the
            folder of a library of your own (see ``full/pack.py``).

    Raises:
        InvalidConfigError: One of the options has no such value.
    """

    def __init__(
        self,
        systematics: Systematics = "detector",
        yields: str = "official",
        boundary: Boundary = "clip",
        recoil: str = "tables",
    ) -> None:
        require_option("systematics", systematics, get_args(Systematics))
        require_option("yields", yields, list(YIELDS))
        require_option("boundary", boundary, get_args(Boundary))
        self.systematics, self._processes = systematics, processes(yields)
        self._nuisances = tuple(replace(p, boundary=boundary) for p in NUISANCES)
        self._recoils = None if recoil == "tables" else Library(None if recoil == "library" else recoil)

    @property
    def schema(self) -> Schema:
        """The 28 public features and the 32 columns of the record."""
        return SCHEMA

    @property
    def processes(self) -> tuple[Process, ...]:
        """Signal first, with the yields of the preset."""
        return self._processes

    @property
    def nuisances(self) -> tuple[NuisanceParameter, ...]:
        """Tau and jet energy scale, soft missing momentum, and three normalisations."""
        return self._nuisances

    def generate(
        self,
        n_events: Mapping[str, int],
        *,
        seed: int,
        purpose: str = "simulate",
        prescale: int = 1,
        n_threads: int = 1,
        progress: Callable[[int], object] | None = None,
    ) -> Events:
        """Nominal weighted events, before the 26 GeV selection that follows the nuisances.

        Args:
            n_events: How many events of each process; processes not named get none.
            seed: Seed of the benchmark.
            purpose: What the events are for; other purposes give independent events.
            prescale: Of events that do not resemble the signal (see `is_signal_like`) one in so many is kept,
                with so many times the weight; fewer than `n_events` are returned.
            n_threads: Threads to use; the bytes do not depend on it.
            progress: Called with the number of events that were just finished, from any thread.

        Returns:
            Events with record; the weights of a process sum to its expected yield, and are equal if there is
            no prescale.

        Raises:
            InvalidDataError: An unknown process, a negative number, or a prescale below 1.
        """
        counts = self._counts(n_events)
        if prescale != 1:
            return self._generate_prescaled(counts, prescale, seed, purpose, n_threads, progress)
        named = list(zip(PROCESS_NAMES, counts, strict=True))
        record = generate_records(
            named, seed=seed, purpose=purpose, recoils=self._recoils, n_threads=n_threads, progress=progress
        )
        weights = [p.expected_yield / n if n else 0.0 for p, n in zip(self._processes, counts, strict=True)]
        return Events(
            SCHEMA,
            nominal_features(record, n_threads),
            np.repeat(weights, counts),
            np.repeat(np.arange(len(counts), dtype=np.uint8), counts),
            PROCESS_NAMES,
            record,
        )

    def _generate_prescaled(
        self,
        counts: Sequence[int],
        prescale: int,
        seed: int,
        purpose: str,
        n_threads: int,
        progress: Callable[[int], object] | None,
    ) -> Events:
        if prescale < 1:
            raise InvalidDataError(f"prescale = {prescale} must be at least 1: one event in so many is kept")
        (features, record, weights), kept = generate_prescaled(
            list(zip(PROCESS_NAMES, counts, strict=True)),
            prescale,
            seed=seed,
            purpose=purpose,
            recoils=self._recoils,
            n_threads=n_threads,
            progress=progress,
        )
        for process, part in zip(self._processes, np.split(weights, np.cumsum(kept)[:-1]), strict=True):
            part *= process.expected_yield / (part.sum() or 1.0)
        codes = np.repeat(np.arange(len(kept), dtype=np.uint8), kept)
        return Events(SCHEMA, features, weights, codes, PROCESS_NAMES, record)

    def acceptances(
        self, n_events: Mapping[str, int], *, seed: int, purpose: str = "simulate"
    ) -> dict[str, dict[str, float]]:
        """Acceptance and leading-order yield of the processes, of `ACCEPTANCE_EVENTS` of each: to 0.7 %.

        Returns:
            Numbers of each process with events; nothing where events do not come from a library, since the
            tables are of selected events only.
        """
        if self._recoils is None:
            return {}
        return {
            process: self._acceptance(self._recoils, process, seed, purpose)
            for process, n in zip(PROCESS_NAMES, self._counts(n_events), strict=True)
            if n
        }

    def _acceptance(self, recoils: Library, process: str, seed: int, purpose: str) -> dict[str, float]:
        n = ACCEPTANCE_EVENTS
        out = np.empty((len(SCHEMA.record), n), np.float32)
        n_candidates = fill_block(out, 0, n, process, seed=seed, purpose=purpose, block=0, recoils=recoils)
        acceptance = recoils.share(process) * n / n_candidates
        expected = recoils.cross_section(process) * LUMINOSITY * acceptance
        return {"acceptance": acceptance, "expected_yield": expected}

    def shift(
        self, events: Events, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        """The same events under other nuisance values, selected, weights scaled by the normalisations.

        Raises:
            InvalidDataError: An unknown nuisance, a value out of range, or events without the record that
                ``"detector"`` systematics need.
        """
        return self.shift_with_rows(events, nuisances, streams=streams, n_threads=n_threads)[0]

    def shift_with_rows(
        self,
        events: Events,
        nuisances: Mapping[str, float],
        *,
        streams: Streams,
        noise: NDArray[np.float64] | None = None,
        n_threads: int = 1,
    ) -> tuple[Events, NDArray[np.int64]]:
        """As `shift`, with the input row of every surviving event; `noise` replaces the random soft noise."""
        return shift_with_rows(
            events,
            complete(self._nuisances, nuisances),
            mode=self.systematics,
            noise_key=streams.key("soft_met"),
            noise=noise,
            n_threads=n_threads,
        )

    def derive(self, events: Events) -> Events:
        """The same events, unshifted and unselected, with the derived features computed anew."""
        derived = shift_events(events, {}, mode="posthoc", apply_selection=False)
        return replace(derived, record=events.record)

    def pool_sampler(self, pool: Events) -> Sampler:
        """Pseudo-experiments drawn with replacement from a pool of weighted nominal events."""
        return PoolSampler(pool, self._nuisances, self.systematics)

    def pool_rows(self, events: Events) -> NDArray[np.float32]:
        """What a pool on disk holds of each event, shape (n_events, width); the width depends on the mode.

        Raises:
            InvalidDataError: Events without the record that ``"detector"`` systematics need.
        """
        return pool_rows(events, self.systematics)

    def stored_pool_sampler(self, pool: StoredPool) -> Sampler:
        """Pseudo-experiments drawn from a pool on disk."""
        return StoredSampler(pool, self._nuisances, self.systematics)

    def fresh_sampler(self) -> Sampler:
        """Pseudo-experiments of newly simulated events: no two share any."""
        return FreshSampler(self.processes, self._nuisances, self.systematics, self._recoils)

    def _counts(self, n_events: Mapping[str, int]) -> list[int]:
        unknown = sorted(set(n_events) - set(PROCESS_NAMES))
        if unknown:
            raise InvalidDataError(f"no process {unknown[0]!r}: choose among {', '.join(PROCESS_NAMES)}")
        return [int(n_events.get(name, 0)) for name in PROCESS_NAMES]
