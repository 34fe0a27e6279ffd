"""Run folders: what a run leaves on disk or in an object store, so that nothing finished is ever lost.

Layout of a run folder (one per submission)::

    manifest.json     benchmark, submission, limits, isolation, versions, machine, times
    truths.parquet    the true mu and nuisance values of every toy
    parts/*.parquet   rows of the results table, some toys each: part-RUN-FIRST-LAST.parquet
    model-RUN/        the fitted model as the submission saved it; model-RUN.tar in an object store
    fit-RUN.json      how the fit went that made it
    worker.log        what the submission printed (at most 1 MiB)

Files appear complete or not at all: on a file system they are written under another name, flushed to the disk
and renamed; an object store shows an object when all of it is there.
"""

from fairuniverse.store.compaction import Compacted, compact
from fairuniverse.store.folders import RunFolder, RunStore, prefixed
from fairuniverse.store.manifests import read_manifest
from fairuniverse.store.parts import parts_of, read_parts
from fairuniverse.store.places import LocalPlace, Place, Where, is_url, open_place
from fairuniverse.store.reading import (
    OnError,
    find_runs,
    naming_damage,
    read_each,
    read_results,
    read_run,
    runs_below,
    with_truths,
)

__all__ = [
    "Compacted",
    "LocalPlace",
    "OnError",
    "Place",
    "RunFolder",
    "RunStore",
    "Where",
    "compact",
    "find_runs",
    "is_url",
    "naming_damage",
    "open_place",
    "parts_of",
    "prefixed",
    "read_each",
    "read_manifest",
    "read_parts",
    "read_results",
    "read_run",
    "runs_below",
    "with_truths",
]
