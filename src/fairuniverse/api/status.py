"""How far runs are, read from their folders while others write to them; and their many files made one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fairuniverse.accounting import Account, account
from fairuniverse.store import (
    Compacted,
    OnError,
    Place,
    Where,
    compact,
    find_runs,
    naming_damage,
    parts_of,
    read_each,
    read_manifest,
    read_parts,
    with_truths,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunStatus:
    """How far one run is.

    Attributes:
        name: Name of the submission.
        folder: The run folder.
        state: "finished", "running", or "stopped": the same command that began it goes on with it.
        phase: How far a running one has come: "fitting", "answering" once it is fitted, and "asking again",
            the check at the end of some runs whether answers depend on the toy alone; None of another.
        n_toys: Toys of the benchmark.
        account: What is done, what failed, what it cost and what had to be done again.
        toys_per_s: Answers per second since the first of this session; None until there are some.
        remaining_s: Time that the rest will take at this rate, seconds.
    """

    name: str
    folder: str
    state: str
    phase: str | None
    n_toys: int
    account: Account
    toys_per_s: float | None
    remaining_s: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain types, the account among the rest."""
        plain = asdict(self)
        spent = plain.pop("account")
        return {**plain, **spent}


def run_status(runs: Sequence[Where], *, on_error: OnError | None = None) -> list[RunStatus]:
    """How far each run is.

    Args:
        runs: Run folders, or folders of run folders, by path or URL.
        on_error: See `fairuniverse.store.read_results`.

    Raises:
        StorageError: There is no run, or a file is damaged.
    """
    found = read_each(runs, find_runs, on_error)
    return read_each([folder for each in found for folder in each], _status, on_error)


def compact_runs(runs: Sequence[Where], *, on_error: OnError | None = None) -> list[Compacted]:
    """Merge the parts of runs, finished or not, into one each; see `fairuniverse.store.compact`.

    Args:
        runs: Run folders, or folders of run folders, by path or URL.
        on_error: See `fairuniverse.store.read_results`.

    Raises:
        StorageError: There is no run, a process is at work on one, or something cannot be read or written.
    """
    found = read_each(runs, find_runs, on_error)
    return read_each([folder for each in found for folder in each], _compacted, on_error)


def _compacted(folder: Place) -> Compacted:
    with naming_damage(folder):
        return compact(folder)


def _status(folder: Place) -> RunStatus:
    with naming_damage(folder):
        return _status_by(folder, read_manifest(folder))


def _status_by(folder: Place, manifest: Mapping[str, Any]) -> RunStatus:
    answers = read_parts(folder, manifest["run"])
    table = with_truths(folder, answers)
    done = account(table, manifest)
    n_missing = len(table) - done.n_answered
    is_finished = "finished" in manifest and not n_missing
    rate = None if is_finished or answers is None else _rate(folder, manifest, answers)
    is_running = not is_finished and folder.is_locked()
    return RunStatus(
        name=manifest["submission"]["name"],
        folder=str(folder),
        state="finished" if is_finished else "running" if is_running else "stopped",
        phase=_phase(manifest, n_missing) if is_running else None,
        n_toys=len(table),
        account=done,
        toys_per_s=rate,
        remaining_s=n_missing / rate if rate else None,
    )


def _phase(manifest: Mapping[str, Any], n_missing: int) -> str:
    if "fit" not in manifest:
        return "fitting"
    return "answering" if n_missing else "asking again"


def _rate(folder: Place, manifest: Mapping[str, Any], answers: pd.DataFrame) -> float | None:
    """Answers per second between the first and the last part of this session."""
    sessions, times = manifest.get("sessions", []), folder.times("parts")
    began = datetime.fromisoformat(sessions[-1]["started"]).timestamp() if sessions else 0.0
    timed = [(times.get(part.name, 0.0), part) for part in parts_of(folder, manifest["run"])]
    recent = sorted((at, part.first, part.last) for at, part in timed if at >= began)
    if len(recent) < 2 or recent[-1][0] <= recent[0][0]:
        return None
    n_rows = sum(int(answers["place"].between(first, last).sum()) for _, first, last in recent[1:])
    return float(n_rows / (recent[-1][0] - recent[0][0]))
