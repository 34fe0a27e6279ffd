"""Data sets larger than memory, brought once into a random order on disk.

The order is that of Rao (1961) and Sandelius (1962): every row goes to a random one of many buckets, then the
rows of each bucket are permuted, and the buckets follow one another; all orders are equally likely. Rows are
assigned by a stream of their number in the data set, so that the order depends on nothing but the data set:
not on memory, threads or interruptions.

Layout of a prepared folder::

    manifest.json                  what is in it, made of what; written last: with it the folder is finished
    *.rows, *.thresholds           a pool, see `fairuniverse.pools`
    features, record, ...          training events, column by column, see `stored_events`
    unfinished/unit-000000.json    a unit of the data set whose rows have been written to
    unfinished/unit-000000-00.npy  these files, bucket by bucket
    unfinished/buckets.json        how many buckets are in their final place

What is finished survives any interruption; the next call goes on from there. Several processes may ask for
the same folder: one works, the others wait.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairuniverse.datasets import Dataset
from fairuniverse.errors import StorageError
from fairuniverse.events import Events, Schema
from fairuniverse.pools import FORMAT, read_manifest
from fairuniverse.shuffling.files import Files, PoolFiles, TrainingFiles
from fairuniverse.shuffling.scatter import N_TENTHS, WHOLE, Scatter, Share
from fairuniverse.shuffling.storage import locked, write_json

__all__ = ["N_TENTHS", "WHOLE", "Share", "shuffled_pool", "shuffled_training", "stored_events"]


def shuffled_pool(
    dataset: Dataset,
    pool_rows: Callable[[Events], NDArray[np.float32]],
    folder: Path,
    *,
    encoding: str,
    share: Share = WHOLE,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """The pool of a data set for `fairuniverse.pools.StoredPool`, made if it is not there.

    Args:
        dataset: Weighted labelled events.
        pool_rows: What the sampler needs of each event, shape (n_events, width).
        folder: Where prepared folders are.
        encoding: Text that differs if `pool_rows` gives other numbers.
        share: Which part of the data set; weights are scaled so that it stands for the whole, process by
            process.
        progress: Called with numbers of rows, each row twice in all.

    Returns:
        The finished folder.

    Raises:
        InvalidDataError: Events that no pool can be made of.
        StorageError: A file is damaged, or the disk full or not writable.
    """
    return _prepare(dataset, pool_rows, PoolFiles, folder, "pool", encoding, share, progress)


def shuffled_training(
    dataset: Dataset,
    derive: Callable[[Events], Events],
    folder: Path,
    *,
    encoding: str,
    share: Share = WHOLE,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Training events of a data set in random order for `stored_events`, made if they are not there.

    Args:
        dataset: Weighted labelled events.
        derive: Computes the derived features.
        folder: As for `shuffled_pool`, as are the other arguments and errors.
        encoding: Text that differs if `derive` gives other numbers.
        share: Which part of the data set.
        progress: Called with numbers of rows.
    """

    def rows(events: Events) -> NDArray[np.float32]:
        derived = derive(events)
        blocks = [derived.features] if derived.record is None else [derived.features, derived.record]
        return np.concatenate(blocks).T

    return _prepare(dataset, rows, TrainingFiles, folder, "training", encoding, share, progress)


def stored_events(folder: Path, schema: Schema) -> Events:
    """Training events as `shuffled_training` wrote them, in memory only as far as they are looked at.

    Raises:
        StorageError: The folder holds none, or files are damaged.
    """
    manifest = read_manifest(folder)
    n, n_features = int(manifest["n_rows"]), len(schema.features)
    n_record = int(manifest["width"]) - n_features
    try:
        features = np.memmap(folder / "features", np.float32, "r", shape=(n_features, n))
        record = np.memmap(folder / "record", np.float32, "r", shape=(n_record, n)) if n_record else None
        weights = np.memmap(folder / "weights", np.float64, "r", shape=(n,))
        process = np.memmap(folder / "process", np.uint8, "r", shape=(n,))
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder} is damaged ({error}): remove it, it is made anew") from error
    return Events(schema, features, weights, process, tuple(manifest["processes"]), record)


def _prepare(
    dataset: Dataset,
    encode: Callable[[Events], NDArray[np.float32]],
    files: type[Files],
    folder: Path,
    kind: str,
    encoding: str,
    share: Share,
    progress: Callable[[int], object] | None,
) -> Path:
    identity = {
        "format": FORMAT,
        "data": dataset.fingerprint,
        "encoding": encoding,
        "tenths": [share.first, share.end],
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    target = folder / f"{kind}-{digest}"
    if (target / "manifest.json").exists():
        return target
    with locked(target):
        if not (target / "manifest.json").exists():
            scatter = Scatter(dataset, encode, target / "unfinished", share)
            summary = scatter.run(progress)
            manifest = files(target, dataset, summary).write(scatter, progress)
            write_json(target / "manifest.json", {"identity": identity, **manifest})
            shutil.rmtree(target / "unfinished")
    return target
