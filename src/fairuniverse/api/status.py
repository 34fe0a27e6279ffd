"""How far runs are, read from their folders while others write to them."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fairuniverse.store import find_runs, part_files, read_manifest, read_run

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class RunStatus:
    """How far one run is.

    Attributes:
        name: Name of the submission.
        folder: The run folder.
        state: "finished", "running", or "stopped": the same command that began it goes on with it.
        n_toys: Toys of the benchmark.
        n_answered: Toys that have a row.
        failures: Toys without a valid interval, by status.
        toys_per_s: Answers per second since the first of this session; None until there are some.
        remaining_s: Time that the rest will take at this rate, seconds.
        core_hours: Time that answers took so far, one core each.
        n_workers_lost: Workers that ended before their time.
    """

    name: str
    folder: Path
    state: str
    n_toys: int
    n_answered: int
    failures: Mapping[str, int]
    toys_per_s: float | None
    remaining_s: float | None
    core_hours: float
    n_workers_lost: int

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {**asdict(self), "folder": str(self.folder)}


def run_status(runs: Sequence[Path]) -> list[RunStatus]:
    """How far each run is.

    Args:
        runs: Run folders, or folders of run folders.

    Raises:
        StorageError: There is no run, or a file is damaged.
    """
    return [_status(folder) for path in runs for folder in find_runs(path)]


def _status(folder: Path) -> RunStatus:
    manifest, table = read_manifest(folder), read_run(folder)
    counts = table["status"].value_counts()
    n_missing = int(counts.get("missing", 0))
    sessions = manifest.get("sessions", [])
    is_finished = "finished" in manifest and not n_missing
    rate = None if is_finished else _rate(folder, manifest["run"], sessions)
    return RunStatus(
        name=manifest["submission"]["name"],
        folder=folder,
        state="finished" if is_finished else "running" if _is_locked(folder) else "stopped",
        n_toys=len(table),
        n_answered=len(table) - n_missing,
        failures={str(s): int(n) for s, n in counts.items() if s not in ("ok", "missing")},
        toys_per_s=rate,
        remaining_s=n_missing / rate if rate else None,
        core_hours=float(table["wall_time_s"].sum()) / SECONDS_PER_HOUR,
        n_workers_lost=sum(int(s.get("n_workers_lost", 0)) for s in sessions),
    )


def _rate(folder: Path, run: str, sessions: Sequence[Mapping[str, Any]]) -> float | None:
    """Answers per second between the first and the last part of this session."""
    import pyarrow.parquet as pq

    began = datetime.fromisoformat(sessions[-1]["started"]).timestamp() if sessions else 0.0
    parts = sorted((p.stat().st_mtime, p) for p in part_files(folder, run))
    parts = [(at, p) for at, p in parts if at >= began]
    if len(parts) < 2 or parts[-1][0] <= parts[0][0]:
        return None
    n_rows = sum(pq.read_metadata(p).num_rows for _, p in parts[1:])
    return float(n_rows / (parts[-1][0] - parts[0][0]))


def _is_locked(folder: Path) -> bool:
    """Whether a process of this or, on most file systems, another machine is at work on the run."""
    try:
        with (folder / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
