"""Where the events of a pseudo-experiment go: in an order that says nothing about their process.

Every drawn event has a slot; slots are given to processes at random, each arrangement with the same
probability. Threads take fixed segments of slots and write the survivors to the start of each; the gaps are
then filled from the end. So the result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from . import compiled
from .schema import SCHEMA

SEGMENT = 1 << 15
"""Slots per unit of work of a thread; a slot holds one drawn event before selection."""


class Slots:
    """Labels and features of the slots, in buffers that grow to the largest pseudo-experiment so far."""

    def __init__(self) -> None:
        self._features = np.empty((len(SCHEMA.features), 0), dtype=np.float32)
        self._labels = np.empty(0, dtype=np.uint8)

    def arrange(self, counts: NDArray[np.int64], key: tuple[int, int]) -> NDArray[np.int64]:
        """Give every slot a process.

        Args:
            counts: Number of events of each process, shape (n_processes,).
            key: Stream of the arrangement.

        Returns:
            Number of events of each process before each segment, shape (n_segments, n_processes).
        """
        n_slots = int(counts.sum())
        self._reserve(n_slots)
        first_draws = np.zeros((-(-n_slots // SEGMENT), len(counts)), dtype=np.int64)
        compiled.library().fu_label(
            compiled.key_words(key),
            counts.ctypes.data,
            len(counts),
            int(np.argmax(counts)),
            n_slots,
            SEGMENT,
            self._labels.ctypes.data,
            first_draws.ctypes.data,
        )
        return first_draws

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Process of every slot."""
        return self._labels

    @property
    def output(self) -> compiled.Output:
        """Where the kernel writes features; segment i starts at slot i * `SEGMENT`."""
        return compiled.Output(self._features.ctypes.data, self._stride, None)

    def fill(
        self,
        shift: compiled.Shift,
        processes_of: Callable[[int], AbstractContextManager[Sequence[compiled.Process]]],
        counts: NDArray[np.int64],
        first_draws: NDArray[np.int64],
        n_threads: int,
    ) -> NDArray[np.float32]:
        """Draw the events of every slot from rows, shift and select them.

        Args:
            shift: What happens to every event.
            processes_of: Where the events of a segment come from.
            counts: Number of events of each process, shape (n_processes,).
            first_draws: What `arrange` returned for them.
            n_threads: Threads to use; the answer does not depend on it.

        Returns:
            As `close_gaps`.
        """
        kept = np.zeros(len(first_draws), dtype=np.int64)
        frequent = int(np.argmax(counts))

        def work(i: int) -> None:
            with processes_of(i) as processes:
                sources = (compiled.Process * len(processes))(*processes)
                draws = compiled.Draws(
                    compiled.address_of(sources),
                    len(sources),
                    frequent,
                    self._labels.ctypes.data,
                    first_draws.ctypes.data,
                    int(counts.sum()),
                    SEGMENT,
                )
                kept[i] = compiled.library().fu_draw_segment(
                    compiled.reference(shift), compiled.reference(draws), i, compiled.reference(self.output)
                )

        compiled.in_threads(work, len(kept), n_threads)
        return self.close_gaps(kept, n_threads)

    def close_gaps(self, kept: NDArray[np.int64], n_threads: int) -> NDArray[np.float32]:
        """Fill the slots of rejected events from the end.

        Args:
            kept: Survivors of each segment, which lie at its start.
            n_threads: Threads to use; the answer does not depend on it.

        Returns:
            Features of the survivors, shape (28, sum of kept): a view that the next pseudo-experiment
            overwrites.
        """

        def close(i: int) -> None:
            compiled.library().fu_close_gaps(
                self._features.ctypes.data,
                self._stride,
                4 * i,
                4 * i + 4,
                SEGMENT,
                len(kept),
                kept.ctypes.data,
            )

        compiled.in_threads(close, len(SCHEMA.features) // 4, n_threads)
        return self._features[:, : int(kept.sum())]

    @property
    def _stride(self) -> int:
        return self._features.strides[0] // self._features.itemsize

    def _reserve(self, n_slots: int) -> None:
        if len(self._labels) < n_slots:
            n = n_slots + 8 * int(np.sqrt(n_slots)) + 1
            self._labels = np.empty(n, dtype=np.uint8)
            self._features = aligned_block(len(SCHEMA.features), n)


def aligned_block(n_rows: int, n_columns: int, pitch: int = 48) -> NDArray[np.float32]:
    """Uninitialised block on a cache line; rows a power of two apart would share their cache sets."""
    stride = n_columns if pitch == 0 else -(-n_columns // 1024) * 1024 + pitch
    raw = np.empty(n_rows * stride + 16, dtype=np.float32)
    start = -raw.ctypes.data // 4 % 16
    return raw[start : start + n_rows * stride].reshape(n_rows, stride)[:, :n_columns]
