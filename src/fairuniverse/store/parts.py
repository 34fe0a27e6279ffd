"""Parts: the rows of some toys in one Parquet file, named after the run and the first and last of them.

Whoever reads does so in one order of the parts and takes the first row of a toy that is in several. A part
that covers others comes before them, so nothing changes for a reader while parts are merged.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fairuniverse.errors import StorageError
from fairuniverse.store.places import Place, reading

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FOLDER = "parts"

_NAME = re.compile(rf"{FOLDER}/part-(?P<run>[^-]+)-(?P<first>\d{{7,}})-(?P<last>\d{{7,}})\.parquet")

_AT_ONCE = 1000
"""Parts whose bytes are in memory at the same time."""

_LISTINGS = 5
"""Times that parts are listed anew if some vanish before they are read, because they are being merged."""


@dataclass(frozen=True)
class Part:
    """A part by its name.

    Attributes:
        run: Name of the run.
        first: Place of its first toy in the order of presentation.
        last: Place of its last toy.
    """

    run: str
    first: int
    last: int

    @property
    def name(self) -> str:
        """Its file."""
        return f"{FOLDER}/part-{self.run}-{self.first:07d}-{self.last:07d}.parquet"


def parts_of(place: Place, run: str) -> list[Part]:
    """Parts of a run in the order of reading."""
    named = [_NAME.fullmatch(name) for name in place.files(FOLDER)]
    found = [Part(run, int(m["first"]), int(m["last"])) for m in named if m and m["run"] == run]
    return sorted(found, key=lambda part: (part.first, -part.last))


def read_parts(
    place: Place, run: str, *, first: int = 0, last: int | None = None, at: Collection[int] | None = None
) -> pd.DataFrame | None:
    """Rows of all finished toys, in the order of presentation; None if there are none.

    Of a toy that was done twice, by a worker that had been given up, the first answer counts.

    Args:
        place: The run folder.
        run: Name of the run.
        first: First toy that is asked for.
        last: Last toy that is asked for; all by default.
        at: If given, only parts are read that may have these toys.

    Raises:
        StorageError: A part is damaged.
    """
    table = joined(place, run, first=first, last=last, at=at)
    return None if table is None else table.to_pandas()


def joined(
    place: Place, run: str, *, first: int = 0, last: int | None = None, at: Collection[int] | None = None
) -> pa.Table | None:
    """The same as one Arrow table."""
    for n_listings in range(1, _LISTINGS + 1):
        try:
            with reading(place):
                parts = parts_of(place, run)
            wanted = [
                p.name
                for p in parts
                if p.last >= first
                and (last is None or p.first <= last)
                and (at is None or any(p.first <= toy <= p.last for toy in at))
            ]
            tables = read_tables(place, wanted)
            return _one_row_each(tables, first, last) if tables else None
        except FileNotFoundError as error:
            if n_listings == _LISTINGS:
                raise StorageError(
                    f"parts of {place} vanish while they are read ({error}): read it again when nobody "
                    "merges or removes them"
                ) from error
    return None


_REMEDY = "if it is damaged, delete it and run again; its toys are made anew"


def read_tables(place: Place, names: Sequence[str], *, remedy: str = _REMEDY) -> list[pa.Table]:
    """Parquet files of a run folder.

    Args:
        place: The run folder.
        names: The files.
        remedy: What to do if one is damaged.

    Raises:
        FileNotFoundError: One is gone.
        StorageError: One is damaged.
    """
    tables = []
    for i in range(0, len(names), _AT_ONCE):
        some = names[i : i + _AT_ONCE]
        with reading(place):
            contents = list(place.read_all(some))
        tables += [_table(place, name, content, remedy) for name, content in zip(some, contents, strict=True)]
    return tables


def to_parquet(table: pa.Table) -> bytes:
    """A table as the content of a Parquet file."""
    import pyarrow.parquet as pq

    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


def rows_to_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as the content of a Parquet file."""
    import pyarrow as pa

    return to_parquet(pa.Table.from_pylist([dict(row) for row in rows]))


def _table(place: Place, name: str, content: bytes, remedy: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(pa.BufferReader(content)).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"cannot read {place}/{name} ({error}): {remedy}") from error


def _one_row_each(tables: Sequence[pa.Table], first: int, last: int | None) -> pa.Table:
    """Rows in the order of presentation, the first of each toy."""
    import pyarrow as pa

    # A column that is empty in one part, or unknown to it, takes its type from the others.
    table = pa.concat_tables(tables, promote_options="permissive")
    places = table.column("place").to_numpy()
    _, rows = np.unique(places, return_index=True)
    wanted = rows[(places[rows] >= first) & (places[rows] <= (np.inf if last is None else last))]
    return table.take(wanted)
