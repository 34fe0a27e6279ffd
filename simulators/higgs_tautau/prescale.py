"""Prescaled samples: many events where the signal is, few elsewhere, every one with its weight.

Nearly all events look nothing like the signal, and a sample large enough where they do would be mostly made
of those that do not. As in a trigger, a *prescale* of n keeps one in n of them, with n times the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fairuniverse.seeding import generator

from .fast import BLOCK_EVENTS, Library, generate_block
from .schema import SCHEMA
from .systematics import nominal_features

MASS = (50.0, 140.0)
MAX_MT = 70.0
MIN_PT_H = 50.0
"""Signal-like events: visible mass between the first two, transverse mass and boost, GeV. A margin stands
around the region of interest, so that shifted events do not enter it from the prescaled side."""

Sample = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]
"""Features, record and weights (1 or the prescale) of some events."""


def is_signal_like(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which events resemble the signal: shape (n_events,)."""
    mass, mt, pt_h, n_jets = (
        features[SCHEMA.index(name)]
        for name in ("DER_mass_vis", "DER_mass_transverse_met_lep", "DER_pt_h", "PRI_n_jets")
    )
    is_boosted = (pt_h > MIN_PT_H) | (n_jets > 0)
    chosen: NDArray[np.bool_] = is_boosted & (mass > MASS[0]) & (mass < MASS[1]) & (mt < MAX_MT)
    return chosen


def generate_prescaled(
    n_events: Sequence[tuple[str, int]],
    prescale: int,
    *,
    seed: int,
    purpose: str,
    recoils: Library | None = None,
    n_threads: int = 1,
    progress: Callable[[int], object] | None = None,
) -> tuple[Sample, list[int]]:
    """Simulate events of several processes, and keep all that resemble the signal, of others one in n.

    Args:
        n_events: Each process with its number of simulated events; fewer are kept.
        prescale: How many events that do not resemble the signal each kept one stands for.
        seed: Seed of the benchmark.
        purpose: What the events are for.
        recoils: Records of the full chain to make events of; tables if not given.
        n_threads: Threads to use; the bytes do not depend on it.
        progress: Called with the number of simulated events that were just finished.

    Returns:
        The events, one process after the other, and how many of each there are.
    """

    def make(process: str, number: int, size: int) -> Sample:
        record = generate_block(process, size, seed=seed, purpose=purpose, block=number, recoils=recoils)
        features = nominal_features(record)
        coins = generator(seed, f"{purpose}:prescale:{process}", number).random(size)
        is_core = is_signal_like(features)
        rows = np.flatnonzero(is_core | (coins * prescale < 1))
        weights = np.where(is_core[rows], 1.0, float(prescale))
        return features.take(rows, axis=1), record.take(rows, axis=1), weights

    tasks = [
        (process, number, min(BLOCK_EVENTS, n - first))
        for process, n in n_events
        for number, first in enumerate(range(0, n, BLOCK_EVENTS))
    ]
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            blocks: list[Sample] = []
            kept = dict.fromkeys((process for process, _ in n_events), 0)
            futures = [pool.submit(make, *task) for task in tasks]
            for (process, _, size), future in zip(tasks, futures, strict=True):
                blocks.append(future.result())
                kept[process] += len(blocks[-1][2])
                if progress is not None:
                    progress(size)
            return _joined(blocks, pool), list(kept.values())
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interrupt need not wait for blocks not yet begun
            raise


def _joined(blocks: Sequence[Sample], pool: ThreadPoolExecutor) -> Sample:
    """All blocks, one after the other; threads share the copy, and the touch of new memory that it is."""
    ends = np.cumsum([0, *(len(weights) for _, _, weights in blocks)])
    joined = (
        np.empty((len(SCHEMA.features), ends[-1]), np.float32),
        np.empty((len(SCHEMA.record), ends[-1]), np.float32),
        np.empty(ends[-1]),
    )

    def copy(block: Sample, start: int, end: int) -> None:
        for target, part in zip(joined, block, strict=True):
            target[..., start:end] = part

    list(pool.map(copy, blocks, ends[:-1], ends[1:]))
    return joined
