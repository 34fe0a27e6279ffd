"""Events as a struct of arrays, and the schema that says what each column means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Feature:
    """One column of the event table.

    Attributes:
        name: Column name, as in the files.
        unit: Unit (``"GeV"``, ``"rad"``), empty for a pure number.
        meaning: One sentence for the documentation.
        missing: Sentinel that stands for "does not exist in this event"; None if always present.
        is_derived: Whether it is a function of the other features, so that a table may leave it out.
    """

    name: str
    unit: str
    meaning: str
    missing: float | None = None
    is_derived: bool = False


@dataclass(frozen=True)
class Schema:
    """Columns of a world's event table: single source for docs, checks, readers and writers.

    Attributes:
        features: What a submission sees, in column order.
        record: Detector-level columns that only simulated events carry, on which `detector`
            systematics act; never shown to a submission. Empty if the world has none.
        drawn: Names of the features that a report draws.
    """

    features: tuple[Feature, ...]
    record: tuple[Feature, ...] = ()
    drawn: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in column order."""
        return tuple(f.name for f in self.features)

    @cached_property
    def primary_names(self) -> tuple[str, ...]:
        """Names of the features that every table must have."""
        return tuple(f.name for f in self.features if not f.is_derived)

    @cached_property
    def record_names(self) -> tuple[str, ...]:
        """Names of the record columns, in column order."""
        return tuple(f.name for f in self.record)

    def index(self, name: str) -> int:
        """Row of a feature in `Events.features`.

        Raises:
            InvalidDataError: No feature has that name.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise InvalidDataError(f"no feature {name!r}; the schema has {', '.join(self.names)}") from None


@dataclass(frozen=True, eq=False)
class Events:
    """Events as one float32 block, a feature per contiguous row, with weights and process codes where known.

    Attributes:
        schema: Meaning of the rows of `features`.
        features: Shape (n_features, n_events), float32: one feature per row, each row contiguous (rows may be
            further apart than their length, as in a view of a larger buffer).
        weights: Shape (n_events,), float64, expected number of events each row stands for; None
            for unweighted data.
        process: Shape (n_events,), uint8, index into `processes`; None where the truth is hidden.
        processes: Names of the processes.
        record: Shape (n_record, n_events), float32, the detector-level record; None if absent.
    """

    schema: Schema
    features: NDArray[np.float32]
    weights: NDArray[np.float64] | None = None
    process: NDArray[np.uint8] | None = None
    processes: tuple[str, ...] = ()
    record: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _require_block("features", self.features, len(self.schema.features))
        n = self.n_events
        if self.record is not None:
            _require_block("record", self.record, len(self.schema.record))
            _require_length("record", self.record.shape[1], n)
        if self.weights is not None:
            _require_length("weights", len(self.weights), n)
        if self.process is not None:
            _require_length("process", len(self.process), n)
            if n and int(self.process.max()) >= len(self.processes):
                raise InvalidDataError(
                    f"process code {int(self.process.max())} has no name: processes are {self.processes}"
                )

    @property
    def n_events(self) -> int:
        """Number of events."""
        return int(self.features.shape[1])

    def __len__(self) -> int:
        return self.n_events

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """One feature as a view, shape (n_events,)."""
        column: NDArray[np.float32] = self.features[self.schema.index(name)]
        return column

    def select(self, rows: ArrayLike) -> Events:
        """Copy of the events chosen by a boolean mask or an index array, every column alike.

        Raises:
            InvalidDataError: A mask of another length.
        """
        rows = np.asarray(rows)
        if rows.dtype == bool:
            _require_length("the mask", len(rows), len(self))
            rows = np.flatnonzero(rows)
        return Events(
            self.schema,
            np.asarray(np.take(self.features, rows, axis=1)),  # several times as fast as an index
            None if self.weights is None else self.weights[rows],
            None if self.process is None else self.process[rows],
            self.processes,
            None if self.record is None else np.asarray(np.take(self.record, rows, axis=1)),
        )

    def of_process(self, name: str) -> Events:
        """Events of one process.

        Raises:
            InvalidDataError: Process codes are not known, or the name is not one of `processes`.
        """
        if self.process is None or name not in self.processes:
            raise InvalidDataError(f"no process {name!r} among {self.processes or 'unlabelled events'}")
        return self.select(self.process == self.processes.index(name))

    def sum_weights(self) -> dict[str, float]:
        """Sum of weights by process, in expected events; counts where events are unweighted."""
        if self.process is None:
            raise InvalidDataError("sums by process need process codes; these events are unlabelled")
        sums = np.bincount(self.process, self.weights, minlength=len(self.processes))
        return dict(zip(self.processes, map(float, sums), strict=True))

    def to_pandas(self) -> pd.DataFrame:
        """Features as a DataFrame that shares memory with `features` (no copy)."""
        import pandas as pd

        return pd.DataFrame(self.features.T, columns=list(self.schema.names), copy=False)


def concatenate(parts: Sequence[Events]) -> Events:
    """Events of all parts, in order.

    Raises:
        InvalidDataError: No parts, or parts that differ in schema, processes or known columns.
    """
    if not parts:
        raise InvalidDataError("nothing to concatenate: give at least one block of events")
    first = parts[0]
    for part in parts[1:]:
        if part.schema != first.schema or part.processes != first.processes:
            raise InvalidDataError("events of different schemas or processes cannot be concatenated")
    return Events(
        first.schema,
        np.concatenate([p.features for p in parts], axis=1),
        _join([p.weights for p in parts], "weights"),
        _join([p.process for p in parts], "process"),
        first.processes,
        _join([p.record for p in parts], "record", axis=1),
    )


def split(events: Events, fraction: float, *, rng: np.random.Generator) -> tuple[Events, Events]:
    """Two disjoint random parts of labelled weighted events.

    Weights are rescaled process by process, so that each part alone stands for the expected yields: rescaling
    the total would give the parts different signal yields.

    Args:
        events: What to split.
        fraction: Share of the rows in the first part, between 0 and 1.
        rng: Generator that chooses the rows.

    Raises:
        InvalidDataError: Weights or processes are not known, or a part has no event of a process.
    """
    if events.weights is None or events.process is None:
        raise InvalidDataError("splitting needs weights and process labels; this table lacks them")
    order = rng.permutation(len(events))
    n_first = round(fraction * len(events))
    totals = events.sum_weights()
    first, second = (_rescaled(events.select(np.sort(rows)), totals) for rows in np.split(order, [n_first]))
    return first, second


def _rescaled(part: Events, totals: Mapping[str, float]) -> Events:
    assert part.weights is not None
    assert part.process is not None
    sums = part.sum_weights()
    lost = [p for p, total in totals.items() if total > 0 and sums[p] <= 0]
    if lost:
        raise InvalidDataError(f"no {lost[0]} event is left in one part of the table: use a larger table")
    factors = np.array([totals[p] / sums[p] if sums[p] > 0 else 1.0 for p in part.processes])
    return replace(part, weights=part.weights * factors[part.process])


def _join(arrays: Sequence[NDArray | None], name: str, axis: int = 0) -> NDArray | None:  # type: ignore[type-arg]
    known = [a for a in arrays if a is not None]
    if not known:
        return None
    if len(known) != len(arrays):
        raise InvalidDataError(f"some blocks have {name} and some have not: give all or none")
    return np.concatenate(known, axis=axis)


def _require_block(name: str, block: NDArray[np.float32], n_rows: int) -> None:
    if block.dtype != np.float32 or block.ndim != 2 or not _has_contiguous_rows(block):
        raise InvalidDataError(
            f"{name} must be a float32 block of shape (n, n_events) with contiguous rows, "
            f"not {block.dtype} of shape {block.shape}: pass np.ascontiguousarray(block, dtype=np.float32)"
        )
    if block.shape[0] != n_rows:
        raise InvalidDataError(f"{name} has {block.shape[0]} rows, the schema names {n_rows} columns")


def _has_contiguous_rows(block: NDArray[np.float32]) -> bool:
    return block.shape[1] < 2 or block.strides[1] == block.itemsize


def _require_length(name: str, length: int, n_events: int) -> None:
    if length != n_events:
        raise InvalidDataError(f"{name} has {length} entries for {n_events} events")
