"""Pseudo-experiments drawn with replacement from a pool of events, in one compiled pass.

The number of events of each process is Poisson distributed around its expected yield; rows are drawn with
probability proportional to their weights. The cost grows with the events drawn, not with the pool.

The pool is kept row by row, permuted, in chunks that fit a core's cache: a multinomial draw says how many
events each chunk gives, then rows are drawn chunk by chunk. Neither the position of a row in the pool nor the
order of the output carries information: the processes are arranged at random, and the places of rejected
events are filled from the end. Threads take fixed segments of the output, so the result does not depend on
their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events
from fairuniverse.nuisance import NuisanceParameter, complete, normalisation
from fairuniverse.seeding import Streams, generator

from . import compiled, systematics
from .schema import SCHEMA
from .slots import Slots, aligned_block
from .world import SIGNAL

CHUNK_BYTES = 1 << 18
MAX_CHUNKS = 1024


@dataclass(frozen=True, eq=False)
class _ProcessPool:
    """Events of one process, in rows and chunks.

    Attributes:
        name: Name of the process.
        total: Sum of weights.
        rows: Shape (n_rows, row width), aligned to cache lines.
        chunk_rows: First row of each chunk, and one past the last.
        shares: Share of each chunk in the total.
        aliases: Alias table of each chunk, shape (n_rows, 2); None where all weights are equal.
    """

    name: str
    total: float
    rows: NDArray[np.float32]
    chunk_rows: NDArray[np.int64]
    shares: NDArray[np.float64]
    aliases: NDArray[np.uint32] | None


class PoolSampler:
    """Pseudo-experiments drawn from a pool; a `fairuniverse.protocols.Sampler`.

    The features of a pseudo-experiment are a view of a buffer that the next call reuses: copy what must last.

    Args:
        pool: Weighted nominal events with process codes; not referred to afterwards.
        parameters: Nuisance parameters of the world.
        mode: How energy scales act, see `systematics`.

    Raises:
        InvalidDataError: No weights or process codes; weights that are negative, not finite or all zero;
        features
            that are not finite; a missing record in ``detector`` mode.
    """

    def __init__(self, pool: Events, parameters: Sequence[NuisanceParameter], mode: str) -> None:
        self._parameters = tuple(parameters)
        self._mode = mode
        columns = systematics.input_columns(pool, mode)
        systematics.require_finite(columns, mode)
        weights, process = _checked_weights(pool)
        self._pools = tuple(
            _pack(name, columns, weights, np.flatnonzero((process == code) & (weights > 0)), mode)
            for code, name in enumerate(pool.processes)
        )
        self._slots = Slots()

    def sample(
        self, mu: float, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        """One pseudo-experiment; see `fairuniverse.protocols.Sampler.sample`.

        Raises:
            InvalidDataError: A negative mu, or nuisance values out of range.
        """
        values = complete(self._parameters, nuisances)
        draws = [_draws(p, self._yield(p, mu, values), streams) for p in self._pools]
        counts = np.array([d[-1] for d in draws], dtype=np.int64)
        first_draws = self._slots.arrange(counts, streams.key("order"))
        shift = systematics.kernel_shift(values, self._mode, streams.key("noise"), select=True)
        processes = [_kernel_process(p, d, streams) for p, d in zip(self._pools, draws, strict=True)]
        features = self._slots.fill(shift, lambda _: nullcontext(processes), counts, first_draws, n_threads)
        return Events(SCHEMA, features)

    def _yield(self, pool: _ProcessPool, mu: float, values: Mapping[str, float]) -> float:
        return pool.total * strength_of(pool.name, mu) * normalisation(self._parameters, values, pool.name)


def _checked_weights(pool: Events) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    if pool.weights is None or pool.process is None:
        raise InvalidDataError("a pool needs weights and process codes: read or simulate labelled events")
    for rule, broken in (("finite", ~np.isfinite(pool.weights)), ("non-negative", pool.weights < 0)):
        if broken.any():
            first = int(np.argmax(broken))
            raise InvalidDataError(
                f"{int(broken.sum())} pool weights are not {rule} (row {first}: {pool.weights[first]}): "
                "weights are expected numbers of events, remove these rows"
            )
    if not pool.weights.sum() > 0:
        raise InvalidDataError("the weights of the pool sum to zero: there is nothing to draw")
    return pool.weights, pool.process


def _pack(
    name: str,
    columns: NDArray[np.float32],
    weights: NDArray[np.float64],
    members: NDArray[np.int64],
    mode: str,
) -> _ProcessPool:
    """Rows of one process, permuted so that their place says nothing about them."""
    # Events are read in sequence and rows written at random: one cache miss per event, not one per column.
    place = generator(0, f"pool order:{name}").permutation(len(members))
    rows = packed_rows(columns, members, place, mode)
    n_chunks = min(max(1, rows.nbytes // CHUNK_BYTES), MAX_CHUNKS)
    chunk_rows = np.linspace(0, len(members), n_chunks + 1).astype(np.int64)
    ordered = np.empty(len(members))
    ordered[place] = weights[members]
    sums = np.array([ordered[a:b].sum() for a, b in pairwise(chunk_rows)])
    total = float(sums.sum())
    return _ProcessPool(
        name, total, rows, chunk_rows, sums / (total or 1.0), _alias_tables(ordered, chunk_rows)
    )


def packed_rows(
    columns: NDArray[np.float32], members: NDArray[np.int64], place: NDArray[np.int64], mode: str
) -> NDArray[np.float32]:
    """Columns as the rows that the kernel draws: event members[i] in row place[i].

    Returns:
        Shape (n_members, 32 in ``detector`` mode and 16 else).
    """
    rows = aligned_block(len(members), 32 if mode == "detector" else 16, pitch=0)
    compiled.library().fu_pack_rows(
        compiled.MODES.index(mode),
        columns.ctypes.data,
        columns.strides[0] // columns.itemsize,
        members.ctypes.data,
        place.ctypes.data,
        len(members),
        rows.ctypes.data,
    )
    return rows


def _alias_tables(weights: NDArray[np.float64], chunk_rows: NDArray[np.int64]) -> NDArray[np.uint32] | None:
    if len(weights) == 0 or np.ptp(weights) <= 1e-9 * weights[0]:
        return None
    aliases = np.empty((len(weights), 2), dtype=np.uint32)
    largest = int(np.diff(chunk_rows).max())
    share, scratch = np.empty(largest), np.empty(largest, dtype=np.uint32)
    compiled.library().fu_alias(
        weights.ctypes.data,
        chunk_rows.ctypes.data,
        len(chunk_rows) - 1,
        aliases.ctypes.data,
        share.ctypes.data,
        scratch.ctypes.data,
    )
    return aliases


def strength_of(process: str, mu: float) -> float:
    """Factor of mu on the yield of a process.

    Raises:
        InvalidDataError: It is negative or undefined.
    """
    if not mu >= 0:
        raise InvalidDataError(f"mu = {mu}: a signal yield cannot be negative, draw with mu >= 0")
    return mu if process == SIGNAL else 1.0


def _draws(pool: _ProcessPool, expected: float, streams: Streams) -> NDArray[np.int64]:
    """Number of the first draw from each chunk, and the number of draws in all."""
    rng = streams.rng(f"counts:{pool.name}")
    counts = (
        rng.multinomial(rng.poisson(expected), pool.shares)
        if expected > 0
        else np.zeros(len(pool.shares), int)
    )
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _kernel_process(pool: _ProcessPool, chunk_draws: NDArray[np.int64], streams: Streams) -> compiled.Process:
    return compiled.Process(
        pool.rows.ctypes.data,
        compiled.address(pool.aliases),
        pool.chunk_rows.ctypes.data,
        chunk_draws.ctypes.data,
        len(pool.shares),
        compiled.key_words(streams.key(f"rows:{pool.name}")),
    )
