"""A library of records from the full chain: hard leptons, undecayed taus, and the rest as measured.

The generator draws a record, turns and mirrors it, decays its taus anew and measures them; see ``library.h``.
One file for each process, and one with decays of taus at rest; ``full/pack.py`` makes them.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidConfigError, StorageError
from fairuniverse.files import atomic_path

from .. import compiled
from . import quantised as q

PACKAGED = Path(__file__).parent / "recoils"
"""The library that comes with the package."""

FORMAT = 1
METADATA = b"fairuniverse.recoils"

DETECTOR = "fc49627579db32fa"
"""Digest of the detector card whose response to leptons and taus ``library.h`` has."""

POLARISATIONS = ("left", "right")
"""Names of polarisations -1 and 1."""

M_TAU, B_LEPTONIC, Z_POLARISATION, MIN_LEPTON_PT = 1.77686, 0.3521, 0.147, 18.0
"""As in ``tau.h``, ``tables.h`` and ``response.h``."""

DRAW = np.dtype([("keep", "u4"), ("alias", "u4"), ("bound", "f4"), ("first", "u2", (2, 2))])
DECAY = np.dtype([("polarimeter", "f4"), ("n_charged", "i4"), ("n_visible", "i4"), ("p", "f4", (4, 3))])


class KernelLibrary(ctypes.Structure):
    """A process of a library as the generator takes it."""

    _fields_ = [
        ("records", ctypes.c_void_p),
        ("draws", ctypes.c_void_p),
        ("n_records", ctypes.c_int64),
        ("decays", ctypes.c_void_p),
        ("n_decays", ctypes.c_int64),
        ("leptons", ctypes.c_void_p * 2),
        ("n_leptons", ctypes.c_int64),
        ("scales", ctypes.c_float * 13),
    ]


@dataclass(frozen=True, eq=False)
class Records:
    """Records of one process.

    Attributes:
        bytes: Shape (n_records, len(BYTES)).
        weights: How often each is drawn, in proportion.
        bounds: Largest probability that an event of it has exactly one tag.
        manifest: Where they come from.
    """

    bytes: NDArray[np.uint8]
    weights: NDArray[np.float32]
    bounds: NDArray[np.float32]
    manifest: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.bytes)


@dataclass(frozen=True, eq=False)
class Decays:
    """Decays of a tau at rest.

    Attributes:
        hadronic: Visible particles, shape (n_hadronic,).
        leptonic: Energy over the largest and cosine of the lepton for polarisations -1 and 1, each in the
            order of the part of the tau's momentum that it gets, shape (2, n_leptonic, 2).
    """

    hadronic: NDArray[Any]
    leptonic: NDArray[np.float32]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Part of the momentum of a fast tau that its lepton gets, shape (2, n_leptonic), increasing."""
        return shares_of(self.leptonic)


def shares_of(leptonic: NDArray[np.float32]) -> NDArray[np.float64]:
    """Part of the momentum of a fast tau that a lepton of given energy and cosine gets."""
    x, cosine = np.moveaxis(leptonic.astype(np.float64), -1, 0)
    shares: NDArray[np.float64] = 0.5 * x * (1 + cosine)
    return shares


class Library:
    """Records of all processes, read when first needed.

    Args:
        folder: The library's; that of the package if not given.

    Raises:
        InvalidConfigError: There is no such folder.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = PACKAGED if folder is None else Path(folder)
        if not self.folder.is_dir():
            raise InvalidConfigError(
                f"no library of recoils at {self.folder}: recoil is tables, library or a folder of pack",
                option="recoil",
            )
        self._lock = Lock()
        self._found: dict[str, _Prepared] = {}

    def kernel(self, process: str) -> KernelLibrary:
        """Records of one process for the generator; may be called from any thread.

        Raises:
            StorageError: The file is missing, damaged, or of another format.
            InvalidConfigError: It was made with another detector.
        """
        return self._prepared(process).kernel

    def share(self, process: str) -> float:
        """Acceptance of a process, over the share of candidates that pass (see `fill_block`).

        Raises:
            StorageError: As `kernel`.
            InvalidConfigError: As `kernel`.
        """
        prepared = self._prepared(process)
        return float(prepared.weights.sum()) / float(prepared.records.manifest["n_tried"])

    def cross_section(self, process: str) -> float:
        """Leading-order cross section of a process, fb.

        Raises:
            StorageError: As `kernel`.
            InvalidConfigError: As `kernel`.
        """
        return float(self._prepared(process).records.manifest["cross_section_fb"])

    def _prepared(self, process: str) -> _Prepared:
        with self._lock:
            if process not in self._found:
                records = read_records(self.folder / f"{process}.parquet")
                self._found[process] = _Prepared(records, self._decays)
            return self._found[process]

    @cached_property
    def _decays(self) -> Decays:
        return read_decays(self.folder / "decays.parquet")


class _Prepared:
    """Records of a process with what the generator needs beside them; it keeps the arrays alive."""

    def __init__(self, records: Records, decays: Decays) -> None:
        self.records, self._decays = records, decays
        first, factors = _first_leptons(records, decays)
        self.weights = records.weights * factors
        self._draws = np.empty(len(records), DRAW)
        aliases = _alias_table(self.weights)
        self._draws["keep"], self._draws["alias"] = aliases.T
        self._draws["bound"], self._draws["first"] = records.bounds, first
        scales = [v for s in (q.PT, q.ACTIVITY, q.EXTRA, q.RAW, q.SOFT) for v in (s.low, s.step)]
        scales += [s.reach for s in (q.OBJECT_ETA, q.EXTRA_REACH, q.JET_ETA)]
        self.kernel = KernelLibrary(
            records.bytes.ctypes.data,
            self._draws.ctypes.data,
            len(records),
            decays.hadronic.ctypes.data,
            len(decays.hadronic),
            (ctypes.c_void_p * 2)(*(decays.leptonic[i].ctypes.data for i in range(2))),
            decays.leptonic.shape[1],
            (ctypes.c_float * len(scales))(*scales),
        )


def _first_leptons(records: Records, decays: Decays) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Which leptonic decays of a pair of taus alone can pass, and what they leave of each record's weight.

    Returns:
        Index of the first decay by record, tau and polarisation; part of the weight of each record, 1 for
        records that are more than a pair.
    """
    kinds = records.bytes[:, [q.BYTES.index(f"object{i}_kind") for i in range(3)]] % q.POSITIVE
    codes = records.bytes[:, [q.BYTES.index(f"object{i}_pt") for i in range(2)]]
    highest = 1.02 * q.PT.low * np.exp(q.PT.step * codes.astype(np.float64))  # as draw_lepton has it
    lowest = (MIN_LEPTON_PT - 0.5 * M_TAU) / highest
    first = np.stack([np.searchsorted(shares, lowest) for shares in decays.shares], axis=2)
    is_scalar = kinds[:, 0] == q.TAU_OF_H
    positive = np.where(is_scalar, 0.5, 0.5 * (1 - Z_POLARISATION))
    chances = 0.5 * np.stack([1 - positive, positive], axis=1)[:, None, :]
    left = (chances * (1 - first / decays.leptonic.shape[1])).sum(axis=(1, 2))
    both = np.where(is_scalar, 0.5 * B_LEPTONIC / (1 - B_LEPTONIC), 0.0)
    is_alone = (kinds[:, 0] == kinds[:, 1]) & (kinds[:, 0] >= q.TAU_OF_Z) & (kinds[:, 2] == 0)
    return first.astype(np.uint16), np.where(is_alone, (left + both) / (1 + both), 1.0)


def _alias_table(weights: NDArray[np.float64]) -> NDArray[np.uint32]:
    aliases = np.empty((len(weights), 2), np.uint32)
    share, scratch = np.empty(len(weights)), np.empty(len(weights), np.uint32)
    ends = np.array([0, len(weights)], np.int64)
    addresses = [a.ctypes.data for a in (aliases, share, scratch)]
    compiled.library().fu_alias(weights.ctypes.data, ends.ctypes.data, 1, *addresses)
    return aliases


# ---- files ----


def content_digest(*arrays: NDArray[Any]) -> str:
    """Digest of the bytes of arrays, in 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any]) -> None:
    """Write a file of a library, with a digest of what it holds.

    Raises:
        StorageError: It cannot be written; what was there stays.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = {"format": FORMAT, **manifest, "content": content_digest(*columns.values())}
    stored = {name: _as_bytes(c) if c.dtype == np.uint8 else c for name, c in columns.items()}
    table = pa.table(stored).replace_schema_metadata({METADATA: json.dumps(content)})
    words = [name for name, c in columns.items() if c.dtype != np.uint8]
    with atomic_path(path) as temporary:
        pq.write_table(
            table,
            temporary,
            use_dictionary=words,
            write_statistics=False,
            compression="zstd",
            compression_level=22,
        )


def read_columns(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Columns of a file of a library, and its manifest.

    Raises:
        StorageError: The file is missing, damaged, or of another format.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    remedy = "reinstall fairuniverse, or pack the library again"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read {path} ({str(error)[:80]}): {remedy}") from error
    manifest = json.loads((table.schema.metadata or {}).get(METADATA, b"{}"))
    if manifest.get("format") != FORMAT:
        raise StorageError(
            f"{path} has format {manifest.get('format')}, this version reads {FORMAT}: {remedy}"
        )
    columns = {name: _to_numpy(table[name]) for name in table.column_names}
    if manifest["content"] != content_digest(*columns.values()):
        raise StorageError(f"{path} is damaged: its content has not the digest it should: {remedy}")
    return columns, manifest


def _as_bytes(column: NDArray[np.uint8]) -> Any:
    """Parquet would keep bytes as 32-bit integers, which compress worse."""
    import pyarrow as pa

    content = pa.py_buffer(np.ascontiguousarray(column).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(1), len(column), [None, content])


def _to_numpy(column: Any) -> NDArray[Any]:
    import pyarrow as pa

    if column.type != pa.binary(1):
        numbers: NDArray[Any] = column.to_numpy()
        return numbers
    parts = [np.frombuffer(c.buffers()[1], np.uint8)[c.offset : c.offset + len(c)] for c in column.chunks]
    return np.concatenate(parts)


def read_records(path: Path) -> Records:
    """Records of one process.

    Raises:
        StorageError: The file is missing, damaged, or of another format.
        InvalidConfigError: It was made with another detector.
    """
    columns, manifest = read_columns(path)
    if manifest["detector"] != DETECTOR:
        raise InvalidConfigError(
            f"{path} was made with another detector card ({manifest['detector']}) than the packaged one, "
            "whose response to leptons and taus the fast simulation has: use higgs_tautau.full for it"
        )
    content = np.stack([columns[name] for name in q.BYTES], axis=1)
    return Records(np.ascontiguousarray(content), columns["weight"], columns["bound"], manifest)


def read_decays(path: Path) -> Decays:
    """Tau decays, as the generator takes them.

    Raises:
        StorageError: The file is missing, damaged, or of another format.
    """
    columns, _ = read_columns(path)
    hadronic = np.zeros(len(columns["polarimeter"]), DECAY)
    for name in ("polarimeter", "n_charged", "n_visible"):
        hadronic[name] = columns[name]
    for i in range(4):
        for k, axis in enumerate("xyz"):
            hadronic["p"][:, i, k] = columns[f"p{i}_{axis}"]
    leptonic = np.stack(
        [np.stack([columns[f"{p}_{v}"] for v in ("x", "cosine")], axis=1) for p in POLARISATIONS]
    )
    order = np.argsort(shares_of(leptonic), axis=1, kind="stable")
    ordered = np.take_along_axis(leptonic.astype(np.float32), order[:, :, None], axis=1)
    return Decays(hadronic, np.ascontiguousarray(ordered))
