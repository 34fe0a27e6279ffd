"""Run folders: what a run leaves on disk, written so that nothing finished is ever lost.

Layout of a run folder (one per submission)::

    manifest.json     benchmark, submission, limits, isolation, versions, machine, times
    truths.parquet    the true mu and nuisance values of every toy
    parts/*.parquet   rows of the results table, some toys each: part-RUN-FIRST-LAST.parquet
    model/            the fitted model as the submission saved it
    fit.json          how the fit went that made it
    worker.log        what the submission printed (at most 1 MiB)

Files appear complete or not at all: they are written under another name, flushed to the disk and renamed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from fairuniverse.errors import InvalidDataError, StorageError

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.pseudo_experiments import Truth
    from fairuniverse.results import Results

FORMAT = 2
"""Version of the layout."""

_KEY = ["i_mu", "i_toy"]

_OWN = ("parts", "truths.parquet", "model", "fit.json")
"""What a run folder may hold before it has a manifest."""

_CHANGED = {
    "benchmark_digest": "the configuration has changed",
    "submission_digest": "the submission has changed",
}


class RunFolder:
    """A run folder as all workers of a run see it: with a fitted model, and room for what they finish.

    Args:
        folder: The run folder.
        run: Name of the run; what another run left in the folder, or a late worker of it writes, is not read.
    """

    def __init__(self, folder: str | Path, run: str) -> None:
        self.folder = Path(folder).resolve()
        self.run = run

    @property
    def model_folder(self) -> Path:
        """Where the fitted model is, once there is one."""
        return self.folder / "model"

    def new_candidate_folder(self) -> Path:
        """Where a fitted model is until it is known that it can be loaded; another one at each call."""
        return self.folder / f"model.candidate-{uuid4().hex}"

    def keep_model(self, candidate: Path, fit: Mapping[str, Any]) -> None:
        """Make a candidate the model of this run, unless there is one by now.

        Args:
            candidate: Its folder.
            fit: How the fit went.
        """
        with _storage(self.folder):
            with _appearing(self.folder / "fit.json") as file:
                file.write(json.dumps(fit).encode())
            try:
                candidate.rename(self.model_folder)
            except OSError:
                if not self.model_folder.is_dir():
                    raise
                shutil.rmtree(candidate)

    def kept_fit(self) -> dict[str, Any] | None:
        """How the fit went that made the model; None if there is no model."""
        path = self.folder / "fit.json"
        if not (self.model_folder.is_dir() and path.is_file()):
            return None
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept

    def require_visible(self) -> None:
        """Make sure that this machine sees the folder as the one does that began the run.

        Raises:
            StorageError: It is another folder, or none.
        """
        try:
            found = read_manifest(self.folder).get("run")
        except StorageError:
            found = None
        if found != self.run:
            raise StorageError(
                f"{self.folder} is not the run folder here that it is where the run was started: choose an "
                "output folder on a file system that all machines share"
            )

    def log_path(self, who: str = "") -> Path:
        """Where the output of the submission goes, by the name of the machine and process that asks it."""
        return self.folder / (f"worker.{who}.log" if who else "worker.log")

    def write_part(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record finished toys, the first and last of which name the part.

        Args:
            rows: Rows of the results table, with the ``place`` of the toy in the order of presentation.

        Raises:
            StorageError: They cannot be written; what was written before is intact.
        """
        places = [int(row["place"]) for row in rows]
        self._write_table(self._part(min(places), max(places)), rows)

    def has_part(self, first: int, last: int) -> bool:
        """Whether there is a part with these toys at its ends."""
        return self._part(first, last).is_file()

    def _part(self, first: int, last: int) -> Path:
        return self.folder / "parts" / f"part-{self.run}-{first:07d}-{last:07d}.parquet"

    def finished(self) -> set[tuple[int, int]]:
        """Keys (i_mu, i_toy) of the toys that have a row."""
        table = read_parts(self.folder, self.run)
        return set() if table is None else set(table[_KEY].itertuples(index=False, name=None))

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the finished toys, in the order of presentation."""
        table = read_parts(self.folder, self.run)
        return (
            [] if table is None else [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
        )

    def _write_table(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist([dict(r) for r in rows])
        with _storage(self.folder), _appearing(path) as file:
            pq.write_table(table, file)


class RunStore(RunFolder):
    """One run folder, kept by this process alone; others may only add parts to it.

    Args:
        folder: The run folder; made if it does not exist.
        identity: What must be the same for a run to be resumed: entries of the manifest.
        overwrite: Whether to throw away a run that is there. One without any answer never stands in the way.

    Raises:
        InvalidDataError: The folder belongs to another benchmark or submission, or holds something else.
        StorageError: The folder cannot be written, or another process is writing to it.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any], *, overwrite: bool = False) -> None:
        super().__init__(folder, "")
        _require_run_folder(self.folder)
        with _storage(self.folder):
            (self.folder / "parts").mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder)
        try:
            with _storage(self.folder):
                has_run = (self.folder / "manifest.json").exists()
                has_parts = any((self.folder / "parts").glob("part-*.parquet"))
                if overwrite or not has_run or not has_parts:
                    _remove_run(self.folder, identity, overwrite=overwrite)
                _remove_unfinished(self.folder)
            self.manifest = self._open_manifest(identity)
            self.run = self.manifest["run"]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes write to the folder."""
        self._lock.close()

    def update(self, **entries: Any) -> None:
        """Set entries of the manifest.

        Raises:
            StorageError: It cannot be written.
        """
        self.manifest = {**self.manifest, **entries}
        content = json.dumps(self.manifest, indent=2, default=str) + "\n"
        with _storage(self.folder), _appearing(self.folder / "manifest.json") as file:
            file.write(content.encode())

    def write_truths(self, truths: Sequence[Truth]) -> None:
        """Record the truth of every toy, so that toys without an answer are known, too."""
        rows = [{"i_mu": t.i_mu, "i_toy": t.i_toy, "mu_true": t.mu, **prefixed(t.nuisances)} for t in truths]
        self._write_table(self.folder / "truths.parquet", rows)

    def remove_parts_after(self, place: int) -> None:
        """Forget the toys that were shown after one."""
        for part in part_files(self.folder, self.run):
            if int(part.stem.split("-")[2]) > place:
                part.unlink()

    def _open_manifest(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        path = self.folder / "manifest.json"
        if not path.exists():
            return {"format": FORMAT, "run": uuid4().hex[:12], **identity}
        manifest = read_manifest(self.folder)
        for key, value in identity.items():
            if manifest.get(key) != value:
                raise InvalidDataError(
                    f"{self.folder} holds a run that does not go with this one: {_CHANGED.get(key, key)} "
                    "since then. Choose another output folder, or overwrite that run (on the command line: "
                    "--overwrite)"
                )
        return manifest


def prefixed(nuisances: Mapping[str, float]) -> dict[str, float]:
    """Nuisance values under their column names in the results table."""
    from fairuniverse.results import NUISANCE_PREFIX

    return {f"{NUISANCE_PREFIX}{name}": float(value) for name, value in nuisances.items()}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Manifest of a run folder.

    Raises:
        StorageError: There is none, or it is damaged.
    """
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path} ({error}): is {folder} a run folder?") from error
    if manifest.get("format") != FORMAT:
        raise StorageError(f"{path} has format {manifest.get('format')}; this version reads {FORMAT}")
    return manifest


def part_files(folder: Path, run: str) -> list[Path]:
    """Parts of a run, in the order of presentation."""
    return sorted((folder / "parts").glob(f"part-{run}-*.parquet"))


def read_parts(folder: Path, run: str) -> pd.DataFrame | None:
    """Rows of all finished toys, in the order of presentation; None if there are none.

    A toy that was done twice, by a worker that had been given up, has the same answer in both parts.

    Raises:
        StorageError: A part is damaged.
    """
    import pandas as pd

    parts = [_read_table(p) for p in part_files(folder, run)]
    if not parts:
        return None
    rows = pd.concat(parts, ignore_index=True).sort_values("place", kind="stable")
    return rows.drop_duplicates(_KEY, ignore_index=True)


def find_runs(path: str | Path) -> list[Path]:
    """Run folders at a path: itself, or those directly below it.

    Raises:
        StorageError: There is none.
    """
    path = Path(path)
    if (path / "manifest.json").is_file():
        return [path]
    runs = sorted(p.parent for p in path.glob("*/manifest.json"))
    if not runs:
        raise StorageError(f"no run at {path}: expected a folder with manifest.json, or folders of that kind")
    return runs


def read_results(paths: str | Path | Sequence[str | Path]) -> Results:
    """Results of run folders as one table, sorted by submission, i_mu and i_toy.

    Toys without an answer have a row of status "missing". Where two runs have a submission of the same name,
    the names of the run folders are added.

    Args:
        paths: A run folder, a folder of run folders, or several of these.

    Raises:
        StorageError: There is no run, or a file is damaged.
        InvalidDataError: The runs are of different benchmarks.
    """
    import pandas as pd

    from fairuniverse.results import Results

    given = [paths] if isinstance(paths, str | Path) else list(paths)
    folders = [f for p in given for f in find_runs(p)]
    manifests = [read_manifest(f) for f in folders]
    _require_one_benchmark(folders, manifests)
    names = _distinct_names(folders, manifests)
    tables = [read_run(f).assign(submission=n) for f, n in zip(folders, names, strict=True)]
    first = manifests[0]
    return Results(
        pd.concat(tables, ignore_index=True).astype({"submission": "object"}),
        (float(first["mu_range"][0]), float(first["mu_range"][1])),
        float(first["confidence_level"]),
        first if len(folders) == 1 else _joint(names, manifests),
    )


def read_run(folder: Path) -> pd.DataFrame:
    """Results table of one run folder, with a row for every toy of the benchmark."""
    from fairuniverse.results import COLUMNS, OPTIONAL_COLUMNS

    truths = _read_table(folder / "truths.parquet")
    answers = read_parts(folder, read_manifest(folder)["run"])
    table = truths if answers is None else _merged(truths, answers)
    stated = [c for c in OPTIONAL_COLUMNS if c in table and table[c].notna().any()]
    table = table.reindex(columns=[*COLUMNS, *stated, *(c for c in truths if c not in COLUMNS)])
    table["status"] = table["status"].astype("object").where(table["status"].notna(), "missing")
    for column, empty in (("message", ""), ("submission", ""), ("n_events", 0)):
        table[column] = table[column].astype("object").where(table[column].notna(), empty)
    return table.astype(dict(COLUMNS)).sort_values(_KEY, ignore_index=True)


def _merged(truths: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    answered = answers.drop(columns=[c for c in truths if c not in _KEY], errors="ignore")
    return truths.merge(answered, on=_KEY, how="left", validate="one_to_one")


def _joint(names: Sequence[str], manifests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Entries in which all manifests agree, and each whole manifest under ``runs``."""
    first, *others = manifests
    shared = {k: v for k, v in first.items() if all(m.get(k) == v for m in others)}
    return {**shared, "runs": dict(zip(names, manifests, strict=True))}


def _require_one_benchmark(folders: Sequence[Path], manifests: Sequence[Mapping[str, Any]]) -> None:
    for folder, manifest in zip(folders, manifests, strict=True):
        if manifest["benchmark_digest"] != manifests[0]["benchmark_digest"]:
            raise InvalidDataError(
                f"{folders[0]} and {folder} are runs of different benchmarks: read them apart"
            )


def _distinct_names(folders: Sequence[Path], manifests: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [str(m["submission"]["name"]) for m in manifests]
    return [f"{n} [{f.name}]" if names.count(n) > 1 else n for f, n in zip(folders, names, strict=True)]


def _read_table(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table: pd.DataFrame = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(
            f"cannot read {path} ({error}): if it is damaged, delete it and run again; its toys are made anew"
        ) from error
    return table


@contextmanager
def _storage(folder: Path) -> Iterator[None]:
    """Turn what the operating system says into what to do."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"cannot write to {folder} ({error.strerror or error}): free space, get permission, or give "
            "another run folder; what is finished is kept, and the same command goes on from there"
        ) from error


@contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is complete and on the disk."""
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}.unfinished")  # others may write the same file
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def _require_run_folder(folder: Path) -> None:
    """A run may only go to a new or empty folder, or to one of an earlier run: others may hold anything."""
    if not folder.is_dir() or (folder / "manifest.json").is_file():
        return
    strange = sorted(p.name for p in folder.iterdir() if not _is_own(p.name))
    if strange:
        raise InvalidDataError(
            f"{folder} is not empty and holds no run ({strange[0]} is in it): choose another output folder"
        )


def _is_own(name: str) -> bool:
    return name in _OWN or name.startswith((".", "model.candidate", "worker."))


def _remove_run(folder: Path, identity: Mapping[str, Any], *, overwrite: bool) -> None:
    """Remove an earlier run; without `overwrite` only one that is of no use to this one."""
    path = folder / "manifest.json"
    if path.exists():
        manifest = read_manifest(folder)
        if not overwrite and all(manifest.get(key) == value for key, value in identity.items()):
            return
        path.unlink()  # first: what is left without it is no run, and goes when the folder is opened again
    for name in ("parts", "model"):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    for file in (folder / "truths.parquet", folder / "fit.json", *folder.glob("worker*.log")):
        file.unlink(missing_ok=True)
    (folder / "parts").mkdir()


def _remove_unfinished(folder: Path) -> None:
    for leftover in (*folder.glob(".*.unfinished"), *folder.glob("parts/.*.unfinished")):
        leftover.unlink()
    for name in folder.glob("model.candidate*"):
        shutil.rmtree(name, ignore_errors=True)


def _flock(file: IO[bytes]) -> None:
    """Lock for this process alone; whoever only looks whether there is a lock holds it for a moment."""
    for n_tries in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if n_tries == 9:
                raise
            time.sleep(0.05)


def _lock(folder: Path) -> IO[bytes]:
    file = (folder / ".lock").open("wb")
    try:
        _flock(file)
    except BlockingIOError as error:
        file.close()
        raise StorageError(
            f"another process is writing to {folder}: wait for it, or give another run folder"
        ) from error
    except OSError:
        pass  # a file system without locks
    return file
