"""Prescaled samples: many events where the signal is, few elsewhere, every one with its weight.

Nearly all events look nothing like the signal, and a sample large enough where they do would be mostly made
of those that do not. As in a trigger, a *prescale* of n keeps one in n of them, with n times the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

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
"""Features, record and weights (1 or the prescale) of a sample."""


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
    process: str,
    n_events: int,
    prescale: int,
    *,
    seed: int,
    purpose: str,
    recoils: Library | None = None,
    n_threads: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Sample:
    """Simulate a number of events of one process, and keep all that resemble the signal, of others one in n.

    Args:
        process: One of the world's processes.
        n_events: Number of simulated events; fewer are kept.
        prescale: How many events that do not resemble the signal each kept one stands for.
        seed: Seed of the benchmark.
        purpose: What the events are for.
        recoils: Records of the full chain to make events of; tables if not given.
        n_threads: Threads to use; the bytes do not depend on it.
        progress: Called with the number of simulated events that were just finished.
    """

    def block(i: int) -> Sample:
        size = min(BLOCK_EVENTS, n_events - i * BLOCK_EVENTS)
        record = generate_block(process, size, seed=seed, purpose=purpose, block=i, recoils=recoils)
        features = nominal_features(record)
        coins = generator(seed, f"{purpose}:prescale:{process}", i).random(size)
        is_core = is_signal_like(features)
        rows = np.flatnonzero(is_core | (coins * prescale < 1))
        weights = np.where(is_core[rows], 1.0, float(prescale))
        return features.take(rows, axis=1), record.take(rows, axis=1), weights

    n_blocks = -(-n_events // BLOCK_EVENTS)
    with ThreadPoolExecutor(n_threads) as pool:
        futures = [pool.submit(block, i) for i in range(n_blocks)]
        try:
            for future in as_completed(futures):
                future.result()
                if progress is not None:
                    progress(min(BLOCK_EVENTS, n_events))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interrupt need not wait for blocks not yet begun
            raise
    return _joined([f.result() for f in futures])


def _joined(blocks: Sequence[Sample]) -> Sample:
    if not blocks:
        n_features, n_record = len(SCHEMA.features), len(SCHEMA.record)
        return np.empty((n_features, 0), np.float32), np.empty((n_record, 0), np.float32), np.empty(0)
    features, records, weights = zip(*blocks, strict=True)
    return np.concatenate(features, axis=1), np.concatenate(records, axis=1), np.concatenate(weights)
