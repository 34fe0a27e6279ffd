"""Run folders as those see them who write them: the workers of a run, and the one process that keeps it."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.store.manifests import (
    AGAIN,
    FORMAT,
    MANIFEST,
    holds_run,
    holds_something_else,
    read_manifest,
)
from fairuniverse.store.parts import FOLDER, Part, parts_of, read_parts, rows_to_parquet
from fairuniverse.store.places import Place, Where, open_place, reading, writing
from fairuniverse.store.reading import KEY, TRUTHS

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.pseudo_experiments import Truth

_CANDIDATE = "model.candidate"

_OWN = re.compile(
    rf"{FOLDER}|{re.escape(TRUTHS)}|model-[0-9a-f]+(\.tar)?|fit-[0-9a-f]+\.json|\..*|{_CANDIDATE}.*|worker\..*"
)
"""Names that a run folder may hold before it has a manifest."""

_CHANGED = {
    "benchmark_digest": "the configuration has changed",
    "submission_digest": "the submission has changed",
}


class RunFolder:
    """A run folder as all workers of a run see it: with a fitted model, and room for what they finish.

    Args:
        folder: The run folder, a path or URL.
        run: Name of the run; what another run left in the folder, or a late worker of it writes, is not read.
    """

    def __init__(self, folder: Where, run: str) -> None:
        self.folder = open_place(folder)
        self.run = run

    @property
    def model_folder(self) -> Path:
        """Where the fitted model is on this machine, once there is one; fetched there if need be."""
        with reading(self.folder):
            return self.folder.kept_folder(self._model)

    @property
    def _model(self) -> str:
        """A name of this run: a late worker of another one, with another training set, keeps its own."""
        return f"model-{self.run}"

    @property
    def _fit(self) -> str:
        return f"fit-{self.run}.json"

    def new_candidate_folder(self) -> Path:
        """Where a fitted model is until it is known that it can be loaded; another one at each call."""
        return self.folder.scratch / f"{_CANDIDATE}-{uuid4().hex}"

    def keep_model(self, candidate: Path, fit: Mapping[str, Any]) -> None:
        """Make a candidate the model of this run, unless there is one by now.

        Args:
            candidate: Its folder.
            fit: How the fit went.
        """
        with writing(self.folder):
            self.folder.write(self._fit, json.dumps(fit).encode())
            self.folder.keep_folder(candidate, self._model)

    def kept_fit(self) -> dict[str, Any] | None:
        """How the fit went that made the model; None if there is no model."""
        if not self.model_folder.is_dir():
            return None
        try:
            with reading(self.folder):
                kept: dict[str, Any] = json.loads(self.folder.read(self._fit))
        except FileNotFoundError:
            return None
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
                "output folder that all machines share, or a URL that all can open"
            )

    def log_path(self, who: str = "") -> Path:
        """Where the output of the submission goes, by the name of the machine and process that asks it."""
        return self.folder.scratch / (f"worker.{who}.log" if who else "worker.log")

    def publish(self) -> None:
        """Let others see what the submission has printed so far."""
        with writing(self.folder):
            self.folder.publish()

    def write_part(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record finished toys, the first and last of which name the part.

        Args:
            rows: Rows of the results table, with the ``place`` of the toy in the order of presentation.

        Raises:
            StorageError: They cannot be written; what was written before is intact.
        """
        places = [int(row["place"]) for row in rows]
        with writing(self.folder):
            self.folder.write(self._part(min(places), max(places)), rows_to_parquet(rows))
            self.folder.publish()

    def has_part(self, first: int, last: int) -> bool:
        """Whether there is a part with these toys at its ends."""
        with reading(self.folder):
            return self.folder.is_file(self._part(first, last))

    def _part(self, first: int, last: int) -> str:
        return Part(self.run, first, last).name

    def finished(self) -> set[tuple[int, int]]:
        """Keys (i_mu, i_toy) of the toys that have a row."""
        table = read_parts(self.folder, self.run)
        return set() if table is None else set(table[KEY].itertuples(index=False, name=None))

    def rows(
        self, first: int = 0, last: int | None = None, *, at: Collection[int] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of the finished toys, in the order of presentation.

        Args:
            first: First place.
            last: Last place; all by default.
            at: The only places wanted, if given.
        """
        table = read_parts(self.folder, self.run, first=first, last=last, at=at)
        if table is None:
            return []
        rows = _records(table)
        return rows if at is None else [row for row in rows if row["place"] in at]

    def without_cost(self) -> list[dict[str, Any]]:
        """Rows of the toys of which no process lived to tell what they cost, as those of `rows`."""
        table = read_parts(self.folder, self.run)
        return [] if table is None else _records(table[table["wall_time_s"].isna()])


class RunStore(RunFolder):
    """One run folder, kept by this process alone; others may only add parts to it.

    Args:
        folder: The run folder, a path or URL; made if it does not exist.
        identity: What must be the same for a run to be resumed: entries of the manifest.
        overwrite: Whether to throw away a run that is there. One without any answer never stands in the way.

    Raises:
        InvalidDataError: The folder belongs to another benchmark or submission, or holds something else.
        StorageError: The folder cannot be written, another process is writing to it, or it has answers
            without a manifest that can be read.
    """

    def __init__(self, folder: Where, identity: Mapping[str, Any], *, overwrite: bool = False) -> None:
        super().__init__(folder, "")
        with writing(self.folder):
            _require_run_folder(self.folder)
            self.folder.make(FOLDER)
            self._lock = self.folder.lock()
        try:
            with writing(self.folder):
                has_parts = _has_parts(self.folder)
                if has_parts and not overwrite and not self.folder.is_file(MANIFEST):
                    raise StorageError(f"{self.folder} has answers of a run, but no {MANIFEST}: {AGAIN}")
                if overwrite or not has_parts:
                    _remove_run(self.folder, identity, overwrite=overwrite)
                self.folder.clean()
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
            StorageError: It cannot be written, or another process has taken the run over.
        """
        self.manifest = {**self.manifest, **entries}
        content = json.dumps(self.manifest, indent=2, default=str) + "\n"
        self._write(MANIFEST, content.encode())

    @property
    def has_truths(self) -> bool:
        """Whether the truths are recorded."""
        with reading(self.folder):
            return self.folder.is_file(TRUTHS)

    def write_truths(self, truths: Sequence[Truth]) -> None:
        """Record the truth of every toy, so that toys without an answer are known, too."""
        rows = [{"i_mu": t.i_mu, "i_toy": t.i_toy, "mu_true": t.mu, **prefixed(t.nuisances)} for t in truths]
        self._write(TRUTHS, rows_to_parquet(rows))

    def forget(self, places: Collection[int]) -> None:
        """Remove the rows of the toys that were shown at these places."""
        forgotten = set(places)
        ordered = sorted(forgotten)
        touched = [
            part
            for part in parts_of(self.folder, self.run)
            if bisect_left(ordered, part.first) < bisect_right(ordered, part.last)
        ]
        rows = self.rows(min(part.first for part in touched)) if touched else []
        shown = [row["place"] for row in rows]
        removed = []
        for part in touched:
            inside = rows[bisect_left(shown, part.first) : bisect_right(shown, part.last)]
            if kept := [row for row in inside if row["place"] not in forgotten]:
                self.write_part(kept)  # before the part goes that held them, too
            if not kept or part.name != self._part(kept[0]["place"], kept[-1]["place"]):
                removed.append(part.name)
        with writing(self.folder):
            self.folder.remove(removed)

    def _write(self, name: str, content: bytes) -> None:
        with writing(self.folder):
            if not self._lock.is_held:
                raise BlockingIOError("it went on with the run while this one could not be reached")
            self.folder.write(name, content)
            self.folder.publish()

    def _open_manifest(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        if not self.folder.is_file(MANIFEST):
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


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def prefixed(nuisances: Mapping[str, float]) -> dict[str, float]:
    """Nuisance values under their column names in the results table."""
    from fairuniverse.results import NUISANCE_PREFIX

    return {f"{NUISANCE_PREFIX}{name}": float(value) for name, value in nuisances.items()}


def _require_run_folder(place: Place) -> None:
    """A run may only go to a new or empty folder, or to one of an earlier run: others may hold anything."""
    if holds_run(place):
        return
    may_be_run = not holds_something_else(place)
    names = (*place.files(), *place.folders())
    strange = sorted(n for n in names if not _is_own(n) and not (n == MANIFEST and may_be_run))
    if strange:
        raise InvalidDataError(
            f"{place} is not empty and holds no run ({strange[0]} is in it): choose another output folder"
        )


def _is_own(name: str) -> bool:
    return _OWN.fullmatch(name) is not None


def _is_left_over(name: str) -> bool:
    """Whether an entry goes with its run."""
    return _is_own(name) and not name.startswith(".")


def _has_parts(place: Place) -> bool:
    return any(name.startswith(f"{FOLDER}/part-") for name in place.files(FOLDER))


def _remove_run(place: Place, identity: Mapping[str, Any], *, overwrite: bool) -> None:
    """Remove an earlier run; without `overwrite` only one that is of no use to this one."""
    if place.is_file(MANIFEST):
        if not overwrite and _goes_with(read_manifest(place), identity):
            return
        place.remove([MANIFEST])  # first: answers that are left without it are never taken for a run
    for folder in filter(_is_left_over, place.folders()):
        place.remove_folder(folder)
    place.remove(filter(_is_left_over, place.files()))
    place.make(FOLDER)


def _goes_with(manifest: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    return all(manifest.get(key) == value for key, value in identity.items())
