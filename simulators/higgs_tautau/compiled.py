"""The compiled event kernel: loading, its C structures, and work spread over threads.

The kernel is plain C in a shared library beside this file (sources in ``kernel/``), called with ctypes: the
interpreter lock is released during a call, and the first call of a process costs no compilation. It holds one
implementation per instruction set and picks the best that the machine has; all give the same bits.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import POINTER, byref, c_double, c_int, c_int32, c_int64, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError, MissingDependencyError
from fairuniverse.pools import Runs

INSTRUCTION_SETS = ("avx512", "avx2", "base")
"""Implementations, fastest first."""

MODES = ("detector", "posthoc", "official")
"""How energy scales act (see `systematics`), by their number in the kernel."""


class Shift(ctypes.Structure):
    """What happens to every event."""

    _fields_ = [
        ("mode", c_int32),
        ("select", c_int32),
        ("tes", c_double),
        ("jes", c_double),
        ("soft_met", c_double),
        ("noise_key", c_uint64 * 2),
    ]


class Columns(ctypes.Structure):
    """Events in columns."""

    _fields_ = [
        ("data", c_void_p),
        ("stride", c_int64),
        ("noise", c_void_p),
        ("noise_stride", c_int64),
        ("order", c_void_p),
    ]


class Output(ctypes.Structure):
    """Where features go."""

    _fields_ = [("data", c_void_p), ("stride", c_int64), ("rows", c_void_p)]


class Process(ctypes.Structure):
    """Events of one process in rows, and the draws from them."""

    _fields_ = [
        ("rows", c_void_p),
        ("aliases", c_void_p),
        ("chunk_rows", c_void_p),
        ("chunk_draws", c_void_p),
        ("n_chunks", c_int64),
        ("key", c_uint64 * 2),
        ("chosen", c_void_p),
    ]


class Draws(ctypes.Structure):
    """A pseudo-experiment to be drawn."""

    _fields_ = [
        ("processes", c_void_p),
        ("n_processes", c_int64),
        ("frequent", c_int64),
        ("labels", c_void_p),
        ("first_draws", c_void_p),
        ("n_slots", c_int64),
        ("segment_size", c_int64),
    ]


_KEY = POINTER(c_uint64)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "fu_shift_columns": (POINTER(Shift), POINTER(Columns), c_int64, c_int64, POINTER(Output), c_int64),
    "fu_count_selected": (POINTER(Shift), POINTER(Columns), c_int64, c_int64),
    "fu_count_nonfinite": (c_void_p, c_int64),
    "fu_draw_segment": (POINTER(Shift), POINTER(Draws), c_int64, POINTER(Output)),
    "fu_pack_rows": (c_int32, c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_void_p),
    "fu_alias": (c_void_p, c_void_p, c_int64, c_void_p, c_void_p, c_void_p),
    "fu_read_runs": (c_int, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64, c_void_p),
    "fu_label": (_KEY, c_void_p, c_int64, c_int64, c_int64, c_int64, c_void_p, c_void_p),
    "fu_order": (c_void_p, c_int64, c_void_p, c_void_p),
    "fu_close_gaps": (c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64, c_void_p),
}


@cache
def library() -> ctypes.CDLL:
    """The kernel, with the best instruction set of this machine.

    Raises:
        MissingDependencyError: The library was not built with the package.
    """
    lib = load("_kernel.so", {**_SIGNATURES, "fu_use": (ctypes.c_char_p,)})
    for name in _SIGNATURES:
        getattr(lib, name).restype = c_int64
    next(name for name in INSTRUCTION_SETS if lib.fu_use(name.encode()) == 0)
    return lib


def load(name: str, signatures: Mapping[str, Sequence[type]]) -> ctypes.CDLL:
    """A shared library of this package, the argument types of its functions declared.

    Raises:
        MissingDependencyError: It was not built with the package, or from other sources.
    """
    path = Path(__file__).with_name(name)
    try:
        lib = ctypes.CDLL(str(path))
        for function, arguments in signatures.items():
            getattr(lib, function).argtypes = arguments
    except (OSError, AttributeError) as error:
        raise MissingDependencyError(
            f"the compiled library {name} cannot be used ({error}): reinstall fairuniverse (in a checkout: "
            "`pip install -e .`); an installation from source needs a C compiler"
        ) from error
    return lib


def use(instruction_set: str) -> None:
    """Force one of `INSTRUCTION_SETS`, for tests; results do not depend on it.

    Raises:
        InvalidDataError: This machine does not have it.
    """
    if library().fu_use(instruction_set.encode()) != 0:
        raise InvalidDataError(
            f"no instruction set {instruction_set!r} on this machine; known: {', '.join(INSTRUCTION_SETS)}"
        )


def read_runs(fd: int, runs: Runs, first: int, into: NDArray[Any]) -> None:
    """As `fairuniverse.pools.read_runs`, without the interpreter: threads do not wait for one another."""
    error = library().fu_read_runs(
        fd,
        runs.starts.ctypes.data,
        runs.length,
        runs.n_rows,
        into.strides[0],
        first,
        len(into),
        into.ctypes.data,
    )
    if error:
        raise EOFError if error < 0 else OSError(error, os.strerror(error))


def key_words(key: tuple[int, int]) -> Any:
    """Key of a counter-based stream, as the kernel takes it."""
    return (c_uint64 * 2)(*key)


def address(array: NDArray[Any] | None) -> int | None:
    """Address of an array's first element; the caller keeps the array alive."""
    return None if array is None else array.ctypes.data


def address_of(structure: Any) -> int:
    """Address of a structure or an array of them; the caller keeps it alive."""
    return ctypes.addressof(structure)


def reference(structure: ctypes.Structure) -> Any:
    """Pointer to a structure, for one call."""
    return byref(structure)


def in_threads(work: Callable[[int], None], n: int, n_threads: int) -> None:
    """Do work(0) ... work(n - 1), each thread taking the next one that is left."""
    if n_threads < 1:
        raise InvalidDataError(f"n_threads = {n_threads}: use at least one thread")
    remaining = iter(range(n))

    def serve() -> None:
        for i in remaining:
            work(i)

    if min(n, n_threads) <= 1:
        serve()
        return
    with ThreadPoolExecutor(n_threads) as executor:
        for job in [executor.submit(serve) for _ in range(min(n, n_threads))]:
            job.result()
