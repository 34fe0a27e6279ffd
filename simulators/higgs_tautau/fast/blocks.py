"""Blocks of simulated events: pure functions of (seed, purpose, process, block), whatever the threads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.seeding import seed_sequence

from ..compiled import INSTRUCTION_SETS, load
from ..schema import RECORD
from ..world import PROCESS_NAMES
from .library import KernelLibrary, Library

BLOCK_EVENTS = 50_000
"""Events of a full block; the last block of a sample may be shorter."""


@cache
def _library() -> ctypes.CDLL:
    integer, pointer = ctypes.c_int64, ctypes.c_void_p
    signatures: dict[str, tuple[Any, ...]] = {
        "generate_block": (ctypes.c_int, integer, pointer, pointer, integer),
        "generate_from_library": (ctypes.POINTER(KernelLibrary), integer, pointer, pointer, integer),
        "sample_tau_pairs": (ctypes.c_int, ctypes.c_float, integer, pointer, pointer),
        "fast_use": (ctypes.c_char_p,),
    }
    library = load("_fast.so", signatures)
    library.generate_from_library.restype = integer
    next(name for name in INSTRUCTION_SETS if library.fast_use(name.encode()) == 0)
    return library


def use(instruction_set: str) -> None:
    """Force one of `compiled.INSTRUCTION_SETS`, for tests; results do not depend on it.

    Raises:
        InvalidDataError: This machine does not have it.
    """
    if _library().fast_use(instruction_set.encode()) != 0:
        raise InvalidDataError(
            f"no instruction set {instruction_set!r} on this machine; known: {', '.join(INSTRUCTION_SETS)}"
        )


def generate_block(
    process: str,
    n_events: int,
    *,
    seed: int,
    purpose: str = "simulate",
    block: int = 0,
    recoils: Library | None = None,
) -> NDArray[np.float32]:
    """Detector-level records of selected events of one process.

    Args:
        process: One of the world's processes.
        n_events: Number of selected events.
        seed: Seed of the benchmark.
        purpose: What the events are for; other purposes give independent events.
        block: Index of the block within the sample.
        recoils: Records of the full chain to make events of; tables if not given.

    Returns:
        Shape (32, n_events), float32, rows as in the schema's record (GeV, rad). The first events of a
        block do not depend on how many follow.

    Raises:
        InvalidDataError: An unknown process, or a negative number of events.
        StorageError: The records cannot be read.
    """
    _require_valid(process, n_events)
    out = np.empty((len(RECORD), n_events), np.float32)
    fill_block(out, 0, n_events, process, seed=seed, purpose=purpose, block=block, recoils=recoils)
    return out


def generate_records(
    n_events: Sequence[tuple[str, int]],
    *,
    seed: int,
    purpose: str = "simulate",
    recoils: Library | None = None,
    n_threads: int = 1,
    progress: Callable[[int], object] | None = None,
) -> NDArray[np.float32]:
    """Records of several processes, one after the other, in blocks of `BLOCK_EVENTS` shared among threads.

    Returns:
        Shape (32, sum of n_events), float32; the same bytes for any number of threads.

    Raises:
        InvalidDataError: An unknown process, or a negative number of events.
        StorageError: The records of the full chain cannot be read.
    """
    for process, n in n_events:
        _require_valid(process, n)
    out = np.empty((len(RECORD), sum(n for _, n in n_events)), np.float32)
    tasks, start = [], 0
    for process, n in n_events:
        for block, first in enumerate(range(0, n, BLOCK_EVENTS)):
            size = min(BLOCK_EVENTS, n - first)
            tasks.append((start + first, size, process, block))
        start += n

    def work(first: int, size: int, process: str, block: int) -> int:
        fill_block(out, first, size, process, seed=seed, purpose=purpose, block=block, recoils=recoils)
        return size

    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for future in [pool.submit(work, *task) for task in tasks]:
                size = future.result()
                if progress is not None:
                    progress(size)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interrupt need not wait for blocks not yet begun
            raise
    return out


def sample_tau_pairs(is_scalar: bool, tau_energy: float, n_pairs: int, *, seed: int) -> NDArray[np.float32]:
    """Decays of tau pairs as the generator makes them, before any cut: one to a lepton, one to hadrons.

    Args:
        is_scalar: Whether the pair comes from a scalar (opposite polarisations) or a Z boson (equal ones).
        tau_energy: Energy of each tau in the rest frame of the pair, GeV.
        n_pairs: Number of pairs.
        seed: Seed.

    Returns:
        Shape (6, n_pairs): polarisation of the tau, cosine of its visible product in the helicity frame,
        and its share of the tau's energy, for the lepton; then the same for the hadrons.
    """
    out = np.empty((n_pairs, 6), np.float32)
    key = seed_sequence(seed, "tau pairs").generate_state(4, np.uint64)
    _library().sample_tau_pairs(is_scalar, tau_energy, n_pairs, key.ctypes.data, out.ctypes.data)
    return np.ascontiguousarray(out.T)


def _require_valid(process: str, n_events: int) -> None:
    if process not in PROCESS_NAMES:
        raise InvalidDataError(f"no process {process!r}: choose among {', '.join(PROCESS_NAMES)}")
    if n_events < 0:
        raise InvalidDataError(f"{n_events} events of {process}: the number must not be negative")


def fill_block(
    out: NDArray[np.float32],
    first: int,
    n_events: int,
    process: str,
    *,
    seed: int,
    purpose: str,
    block: int,
    recoils: Library | None = None,
) -> int:
    """Write one block, as `generate_block` returns it, into the columns of `out` that start at `first`.

    Returns:
        The number of candidates that the events were chosen of, where they are made of records; else 0.
    """
    address, stride = out.ctypes.data + first * out.itemsize, out.strides[0] // out.itemsize
    if recoils is None:
        key = seed_sequence(seed, f"{purpose}:{process}", block).generate_state(6, np.uint64)
        _library().generate_block(PROCESS_NAMES.index(process), n_events, key.ctypes.data, address, stride)
        return 0
    key = seed_sequence(seed, f"{purpose}:recoils:{process}", block).generate_state(4, np.uint64)
    kernel = recoils.kernel(process)
    return int(_library().generate_from_library(kernel, n_events, key.ctypes.data, address, stride))
