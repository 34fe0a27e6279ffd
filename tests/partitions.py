"""Data sets of several Parquet files in the Gaussian world, whose rows can be told apart."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from fairuniverse.simulators.gaussian_2d import Gaussian2D

from fairuniverse.datasets import Dataset
from fairuniverse.events import Events
from fairuniverse.tables import write_table

WORLD = Gaussian2D()
PROCESSES = tuple(p.name for p in WORLD.processes)


def numbered(counts, *, weights=None, first=0):
    """Events of the processes, mixed, whose x0 is their number within the process (exact up to 2^24)."""
    process = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    features = np.zeros((2, len(process)), dtype=np.float32)
    features[0] = first + np.concatenate([np.arange(n) for n in counts])
    features[1] = process
    order = np.random.default_rng(first).permutation(len(process))
    weights = np.ones(len(process)) if weights is None else np.concatenate(weights)
    return Events(WORLD.schema, features, weights, process, PROCESSES).select(order)


def write_parts(folder: Path, parts, *, row_group_size=None) -> Path:
    """Each part as a file; with small row groups if asked for."""
    for i, events in enumerate(parts):
        path = folder / f"part-{i}.parquet"
        write_table(path, events)
        if row_group_size:
            pq.write_table(pq.read_table(path), path, row_group_size=row_group_size)
    return folder


def dataset(path: Path) -> Dataset:
    """The data set in the Gaussian world."""
    return Dataset(path, WORLD.schema, WORLD.processes)
