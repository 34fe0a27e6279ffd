"""Event tables on disk: Parquet and ROOT, in and out.

The layout is that of the public data (Zenodo record 15131565): one column per feature, ``weights``,
``detailed_labels`` (process name), ``labels`` (1 = signal), and a JSON file beside the table with
``sum_weights``. Detector-level ``REC_`` columns are written and read where events carry a record.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError, MissingDependencyError, StorageError
from fairuniverse.events import Events, Feature, Schema
from fairuniverse.files import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

WEIGHTS, PROCESS, LABEL = "weights", "detailed_labels", "labels"
_TREE = "events"


@dataclass(frozen=True, eq=False)
class Table:
    """Events of a file together with the columns that the schema does not know.

    Attributes:
        events: The events.
        extra: Other columns by name, each of shape (n_events,), carried along unchanged.
    """

    events: Events
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def read_table(
    path: str | Path, schema: Schema, processes: Sequence[str], *, required: Sequence[str] = ()
) -> Table:
    """Events from a ``.parquet`` or ``.root`` file.

    Args:
        path: The file.
        schema: Columns to look for.
        processes: Known process names, in the order of their codes.
        required: Features that must be there; all features if empty. The others are zero where absent.

    Raises:
        InvalidDataError: A column is missing (near matches are named), not numeric or not finite, a weight is
            not finite, or a process is not known.
        StorageError: The file cannot be read.
    """
    path = Path(path)
    columns = _read_columns(path)
    require_columns(path, columns, required or schema.names)
    events = to_events(path, columns, schema, tuple(processes), required or schema.names)
    known = {*schema.names, *schema.record_names, WEIGHTS, PROCESS, LABEL}
    extra = {name: values for name, values in columns.items() if name not in known}
    _check_metadata(path, events)
    return Table(events, extra)


def read_events(path: str | Path, schema: Schema, processes: Sequence[str]) -> Events:
    """Events of a file with every feature of the schema; errors as for `read_table`."""
    return read_table(path, schema, processes).events


def write_table(
    path: str | Path,
    table: Table | Events,
    *,
    signal: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write events to ``.parquet`` (zstd) or ``.root``, with a metadata file beside it.

    The file appears under its name only when it is complete.

    Args:
        path: The file; its ending chooses the format.
        table: What to write.
        signal: Processes whose ``labels`` are 1.
        metadata: More entries for the metadata file, which is written last.

    Raises:
        StorageError: The disk is full or the folder not writable.
        InvalidDataError: The ending is neither ``.parquet`` nor ``.root``.
    """
    path = Path(path)
    if isinstance(table, Events):
        table = Table(table)
    require_writable_table(path)
    writer = {".parquet": _write_parquet, ".root": _write_root}[path.suffix]
    columns = _to_columns(table, signal)
    with atomic_path(path) as temporary:
        writer(temporary, columns)
    content = {**metadata_of(table.events, columns), **(metadata or {})}
    with atomic_path(metadata_path(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=_plain) + "\n", encoding="utf-8")


def require_writable_table(path: Path) -> None:
    """Check a file name before the work that fills the file.

    Raises:
        InvalidDataError: The ending is neither ``.parquet`` nor ``.root``.
        MissingDependencyError: ROOT files need a library that is not installed.
    """
    if path.suffix not in (".parquet", ".root"):
        raise InvalidDataError(f"cannot write {path.name}: the name must end in .parquet or .root")
    if path.suffix == ".root":
        _uproot()


def metadata_of(events: Events, columns: Mapping[str, object]) -> dict[str, Any]:
    """Metadata of a table in the layout of the public files."""
    metadata: dict[str, Any] = {
        "total_rows": len(events),
        "total_columns": len(columns),
        "columns": list(columns),
    }
    if events.process is not None:
        metadata |= {
            "detailed_labels": list(events.processes),
            "sum_weights_by_process": events.sum_weights(),
        }
    if events.weights is not None:
        metadata["sum_weights"] = float(events.weights.sum())
    return metadata


def metadata_path(path: Path) -> Path:
    """The file beside a table that tells its size and sums of weights."""
    return path.with_name(f"{path.stem}_metadata.json")


def _plain(value: Any) -> Any:
    """A number of NumPy's, a path or anything else as JSON can hold it."""
    return value.item() if isinstance(value, np.generic) else str(value)


def read_metadata(path: Path) -> dict[str, Any]:
    """What the file beside a table tells; nothing if there is none that can be read."""
    try:
        content = json.loads(metadata_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _check_metadata(path: Path, events: Events) -> None:
    """Say so when the weights are not those that the metadata file promises."""
    expected = read_metadata(path).get("sum_weights")
    if expected is None or events.weights is None:
        return
    total = float(events.weights.sum())
    if not np.isclose(total, expected, rtol=1e-3):
        logger.warning(
            "%s: weights sum to %.6g, its metadata say %.6g: is it a subset? Rescale each process by itself.",
            path,
            total,
            expected,
        )


def _read_columns(path: Path) -> dict[str, NDArray[Any]]:
    reader = {".parquet": _read_parquet, ".root": _read_root}.get(path.suffix)
    if reader is None:
        raise InvalidDataError(f"cannot read {path.name}: the name must end in .parquet or .root")
    if not path.is_file():
        raise StorageError(f"no such file: {path}")
    try:
        return reader(path)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}: {error}") from error


def _read_parquet(path: Path) -> dict[str, NDArray[Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    table = table.select([n for n in table.column_names if not n.startswith("__index_level_")])
    return {name: _to_numpy(table.column(name)) for name in table.column_names}


def _to_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.asarray(column.to_numpy())


def _write_parquet(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [pa.array(v).dictionary_encode() if v.dtype == object else pa.array(v) for v in columns.values()]
    pq.write_table(
        pa.table(arrays, names=list(columns)),
        path,
        compression="zstd",
        row_group_size=1 << 18,
        use_dictionary=[PROCESS],
    )


def _uproot() -> Any:
    try:
        import uproot
    except ImportError as error:
        raise MissingDependencyError(
            "ROOT files need uproot: run `pip install 'fairuniverse[root]'`, or use a .parquet file"
        ) from error
    return uproot


def _read_root(path: Path) -> dict[str, NDArray[Any]]:
    with _uproot().open(path) as file:
        trees = file.keys(filter_classname="TTree", cycle=False)
        if not trees:
            raise ValueError("it holds no TTree")
        columns: dict[str, NDArray[Any]] = file[_TREE if _TREE in trees else trees[0]].arrays(library="np")
        if "processes" in file:
            names = np.array(json.loads(str(file["processes"])), dtype=object)
            columns[PROCESS] = names[columns.pop("process")]
    return columns


def _write_root(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    numeric = {name: values for name, values in columns.items() if values.dtype != object}
    with _uproot().recreate(path) as file:
        if PROCESS in columns:
            names, codes = np.unique(columns[PROCESS].astype(str), return_inverse=True)
            numeric["process"] = codes.astype(np.uint8)
            file["processes"] = json.dumps(names.tolist())
        file.mktree(_TREE, {name: values.dtype for name, values in numeric.items()})
        file[_TREE].extend(numeric)


def _to_columns(table: Table, signal: Sequence[str]) -> dict[str, NDArray[Any]]:
    events = table.events
    columns: dict[str, NDArray[Any]] = dict(zip(events.schema.names, events.features, strict=True))
    if events.weights is not None:
        columns[WEIGHTS] = events.weights
    if events.process is not None:
        columns[PROCESS] = np.array(events.processes, dtype=object)[events.process]
        is_signal = np.array([p in signal for p in events.processes])
        columns[LABEL] = is_signal[events.process].astype(np.float32)
    if events.record is not None:
        columns |= dict(zip(events.schema.record_names, events.record, strict=True))
    return columns | dict(table.extra)


def require_columns(path: Path, columns: Mapping[str, object], required: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        InvalidDataError: Names what is missing, and a near match.
    """
    missing = [name for name in required if name not in columns]
    if not missing:
        return
    surplus = {name.lower(): name for name in columns if name not in required}
    near = [surplus[name] for name in get_close_matches(missing[0].lower(), surplus, n=1)]
    hint = f" (is it {near[0]!r}?)" if near else ""
    raise InvalidDataError(
        f"{path}: {len(missing)} missing column(s): {', '.join(missing)}{hint}; rename or add them"
    )


def to_events(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    schema: Schema,
    processes: tuple[str, ...],
    required: Sequence[str],
) -> Events:
    """Events of a table's columns, arguments and errors as for `read_table`."""
    n_events = len(next(iter(columns.values())))
    features = _to_block(path, columns, schema.features, n_events, required)
    has_record = bool(schema.record) and all(name in columns for name in schema.record_names)
    record = _to_block(path, columns, schema.record, n_events, schema.record_names) if has_record else None
    weights = _finite(path, WEIGHTS, columns[WEIGHTS], np.float64) if WEIGHTS in columns else None
    codes = process_codes(path, columns[PROCESS], processes) if PROCESS in columns else None
    return Events(schema, features, weights, codes, processes if codes is not None else (), record)


def _to_block(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    features: Sequence[Feature],
    n_events: int,
    required: Sequence[str],
) -> NDArray[np.float32]:
    block = np.zeros((len(features), n_events), dtype=np.float32)
    for row, feature in zip(block, features, strict=True):
        if feature.name in required:
            row[:] = _finite(path, feature.name, columns[feature.name], np.float32)
    return block


def _finite(path: Path, name: str, values: NDArray[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    try:
        numbers = np.asarray(values).astype(dtype)
    except (TypeError, ValueError):
        raise InvalidDataError(f"{path}: column {name} must hold numbers, not {values.dtype}") from None
    n_bad = len(numbers) - int(np.isfinite(numbers).sum())
    if n_bad:
        raise InvalidDataError(
            f"{path}: column {name} has {n_bad} NaN or infinite value(s) in {len(numbers)} rows; "
            "remove these rows or repair them (an absent jet is marked by -25, not by NaN)"
        )
    return numbers


def process_codes(path: Path, names: NDArray[Any], processes: tuple[str, ...]) -> NDArray[np.uint8]:
    """Index of each name in `processes`.

    Raises:
        InvalidDataError: A name is not among them.
    """
    found, inverse = np.unique(np.asarray(names).astype(str), return_inverse=True)
    unknown = sorted({str(name) for name in found} - set(processes))
    if unknown:
        raise InvalidDataError(
            f"{path}: unknown process {unknown[0]!r} in {PROCESS}; known: {', '.join(processes)}"
        )
    codes = np.array([processes.index(str(name)) for name in found], dtype=np.uint8)
    return codes[inverse] if len(found) else np.zeros(len(names), dtype=np.uint8)
