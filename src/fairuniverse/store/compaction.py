"""Merging the parts of a run into one, at any time and in any state of the run."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from fairuniverse.errors import StorageError
from fairuniverse.store.manifests import read_manifest
from fairuniverse.store.parts import Part, joined, parts_of, to_parquet
from fairuniverse.store.places import Place, Where, open_place, writing


@dataclass(frozen=True)
class Compacted:
    """What became of the parts of a run.

    Attributes:
        folder: The run folder.
        n_toys: Toys that have a row.
        n_before: Parts that there were.
        n_after: Parts that there are.
    """

    folder: str
    n_toys: int
    n_before: int
    n_after: int


def compact(folder: Where) -> Compacted:
    """Merge the parts of a run, finished or not, into one. Results stay the same, bit for bit.

    The new part is complete, and read back, before the first old one goes: killed at any moment, all rows
    are there, some of them in two parts, of which every reader takes one. What a late worker writes meanwhile
    stays.

    Raises:
        StorageError: A process is at work on the run, or something cannot be read or written.
    """
    place = open_place(folder)
    read_manifest(place)  # a folder that is no run stays untouched
    with writing(place), closing(place.lock()):
        return _merged(place, read_manifest(place)["run"])


def _merged(place: Place, run: str) -> Compacted:
    old = parts_of(place, run)
    table = joined(place, run)
    if table is None or len(old) == 1:
        return Compacted(str(place), 0 if table is None else len(table), len(old), len(old))
    places = table.column("place").to_numpy()
    new, content = Part(run, int(places.min()), int(places.max())), to_parquet(table)
    place.write(new.name, content)
    if place.read(new.name) != content:
        raise StorageError(
            f"{place}/{new.name} is not what was written: delete it; all other parts are there"
        )
    place.remove([part.name for part in old if part != new])
    return Compacted(str(place), len(table), len(old), 1)
