"""Pseudo-experiments of newly simulated events: no two share any.

Each segment of the output is simulated, shifted, selected and derived in one go, in buffers that stay in a
thread's cache as far as they fit, so memory hardly grows beyond the features of one pseudo-experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events
from fairuniverse.nuisance import NuisanceParameter, complete, normalisation
from fairuniverse.protocols import Process
from fairuniverse.seeding import Streams

from . import compiled, systematics
from .fast import Library, fill_block
from .schema import RECORD, SCHEMA
from .slots import SEGMENT, Slots, aligned_block


class FreshSampler:
    """Pseudo-experiments whose events are simulated anew, from the toy's own streams.

    The features of a pseudo-experiment are a view of a buffer that the next call reuses: copy what must last.

    Args:
        processes: Processes with their expected yields.
        parameters: Nuisance parameters of the world.
        mode: How energy scales act, see `systematics`.
        recoils: Records of the full chain to make events of; tables if not given.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        parameters: Sequence[NuisanceParameter],
        mode: str,
        recoils: Library | None = None,
    ) -> None:
        self._processes = tuple(processes)
        self._parameters = tuple(parameters)
        self._mode = mode
        self._recoils = recoils
        self._slots = Slots()
        self._workspaces: list[_Workspace] = []

    def sample(
        self, mu: float, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        """One unweighted, unlabelled pseudo-experiment; the number of events of each process is Poisson.

        Raises:
            InvalidDataError: A negative mu, or nuisance values out of range.
        """
        if not mu >= 0:
            raise InvalidDataError(f"mu = {mu}: a signal yield cannot be negative, draw with mu >= 0")
        values = complete(self._parameters, nuisances)
        counts = self._draw_counts(mu, values, streams)
        edges = np.concatenate([self._slots.arrange(counts, streams.key("order")), [counts]])
        segments = [b - a for a, b in pairwise(edges)]
        kept = np.zeros(len(segments), dtype=np.int64)

        def work(i: int) -> None:
            kept[i] = self._fill(i, segments[i], values, streams)

        compiled.in_threads(work, len(segments), n_threads)
        return Events(SCHEMA, self._slots.close_gaps(kept, n_threads))

    def _draw_counts(self, mu: float, values: Mapping[str, float], streams: Streams) -> NDArray[np.int64]:
        """Poisson number of events of each process, each from its own stream."""
        counts = []
        for process in self._processes:
            factor = normalisation(self._parameters, values, process.name)
            expected = process.expected_yield * factor * (mu if process.is_signal else 1.0)
            counts.append(streams.rng(f"counts:{process.name}").poisson(expected))
        return np.array(counts, dtype=np.int64)

    def _fill(
        self, segment: int, counts: NDArray[np.int64], values: Mapping[str, float], streams: Streams
    ) -> int:
        """Simulate the events of one segment; returns how many survive the selection."""
        try:
            space = self._workspaces.pop()
        except IndexError:  # each thread that works at the same time needs one
            space = _Workspace(self._mode)
        starts = np.cumsum(counts) - counts
        purpose = "fresh:" + ":".join(map(str, streams.indices))
        for process, start, n in zip(self._processes, starts.tolist(), counts.tolist(), strict=True):
            key: dict[str, Any] = {"seed": streams.seed, "purpose": purpose, "block": segment}
            fill_block(space.record, start, n, process.name, **key, recoils=self._recoils)
        first_slot, n_events = segment * SEGMENT, int(counts.sum())
        order = space.arrange(self._slots.labels[first_slot : first_slot + n_events], starts)
        shift = systematics.kernel_shift(values, self._mode, streams.key(f"soft_met:{segment}"), select=True)
        kept = systematics.shift_into(
            shift, space.columns(n_events), n_events, self._slots.output, at=first_slot, order=order
        )
        self._workspaces.append(space)
        return kept


class _Workspace:
    """Buffers of one thread: the record of a segment, where asked for its nominal features, and its order."""

    def __init__(self, mode: str) -> None:
        self.record = aligned_block(len(RECORD), SEGMENT)
        self._features = None if mode == "detector" else aligned_block(len(SCHEMA.features), SEGMENT)
        self._order = np.empty(SEGMENT, dtype=np.int32)

    def arrange(self, labels: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.int32]:
        """Column of the event of each slot: the next of its process, which begin at `starts`."""
        following = starts.copy()  # the kernel counts up in it
        compiled.library().fu_order(
            labels.ctypes.data, len(labels), following.ctypes.data, self._order.ctypes.data
        )
        return self._order

    def columns(self, n_events: int) -> NDArray[np.float32]:
        """What the mode shifts: the record, or the nominal features made from it."""
        if self._features is None:
            return self.record
        stride = self._features.strides[0] // self._features.itemsize
        output = compiled.Output(self._features.ctypes.data, stride, None)
        systematics.shift_into(systematics.nominal_shift(), self.record, n_events, output)
        return self._features
