"""Pseudo-experiments drawn from a pool on disk, of which each segment reads its rows when its turn comes.

What a thread has read for a segment of slots stays in its cache until the kernel has done it, so that memory
holds little more than the features of one pseudo-experiment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fairuniverse.events import Events
from fairuniverse.nuisance import NuisanceParameter, complete, normalisation
from fairuniverse.pools import Drawn, RowBuffer, StoredPool
from fairuniverse.seeding import Streams

from . import compiled, systematics
from .pool import packed_rows, strength_of
from .schema import SCHEMA
from .slots import Slots
from .world import PROCESS_NAMES


class StoredSampler:
    """Pseudo-experiments drawn from a pool on disk; a `fairuniverse.protocols.Sampler`.

    The features of a pseudo-experiment are a view of a buffer that the next call reuses: copy what must last.

    Args:
        pool: Rows as `pool_rows` makes them.
        parameters: Nuisance parameters of the world.
        mode: How energy scales act, see `systematics`.
    """

    def __init__(self, pool: StoredPool, parameters: Sequence[NuisanceParameter], mode: str) -> None:
        self._pool = pool
        self._parameters = tuple(parameters)
        self._mode = mode
        self._slots = Slots()
        self._buffers: list[list[RowBuffer]] = []

    def sample(
        self, mu: float, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        """One pseudo-experiment; see `fairuniverse.protocols.Sampler.sample`.

        Raises:
            InvalidDataError: A negative mu, or nuisance values out of range.
            StorageError: The pool cannot be read.
        """
        values = complete(self._parameters, nuisances)
        strengths = {
            name: strength_of(name, mu) * normalisation(self._parameters, values, name)
            for name in PROCESS_NAMES
        }
        drawn = self._pool.draw(strengths, streams=streams)
        counts = np.array([len(d) for d in drawn], dtype=np.int64)
        first_draws = self._slots.arrange(counts, streams.key("order"))
        shift = systematics.kernel_shift(values, self._mode, streams.key("noise"), select=True)
        processes_of = partial(self._processes_of, drawn, np.concatenate([first_draws, [counts]]))
        return Events(SCHEMA, self._slots.fill(shift, processes_of, counts, first_draws, n_threads))

    @contextmanager
    def _processes_of(
        self, drawn: Sequence[Drawn], edges: NDArray[np.int64], segment: int
    ) -> Iterator[Sequence[compiled.Process]]:
        """Where the draws of one segment are, as long as it takes."""
        try:
            buffers = self._buffers.pop()
        except IndexError:  # each thread that works at the same time needs some
            buffers = [RowBuffer(self._pool.width) for _ in drawn]
        firsts, ends = edges[segment : segment + 2].tolist()
        read = [
            d.read(first, end, buffer, compiled.read_runs)
            for d, first, end, buffer in zip(drawn, firsts, ends, buffers, strict=True)
        ]
        yield [
            compiled.Process(
                rows=rows.ctypes.data,
                # The kernel numbers draws from the first one of the pseudo-experiment.
                chosen=chosen.ctypes.data - first * chosen.itemsize,
            )
            for first, (rows, chosen) in zip(firsts, read, strict=True)
        ]
        self._buffers.append(buffers)


def pool_rows(events: Events, mode: str) -> NDArray[np.float32]:
    """Nominal events as the kernel draws them, shape (n_events, 32 in ``detector`` mode and 16 else).

    Raises:
        InvalidDataError: Features that are not finite; a missing record in ``detector`` mode.
    """
    columns = systematics.input_columns(events, mode)
    systematics.require_finite(columns, mode)
    everything = np.arange(len(events))
    return packed_rows(columns, everything, everything, mode)
