"""What a run cost and what had to be done again, from its table and its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.results import Results

SECONDS_PER_HOUR = 3600

_LARGEST = 1e12
"""Numbers beyond are no counts and no seconds."""


@dataclass(frozen=True)
class Account:
    """What one submission's run took.

    Attributes:
        n_answered: Toys that have a row.
        failures: Toys without a valid interval, by status; those without a row are not among them.
        core_hours: Time that answers took, one core each, and the processor time of the fit.
        wall_s_per_toy: Mean time of an answer, seconds; None if it is not known.
        cpu_s_per_toy: Mean processor time of an answer, seconds; None if it is not known.
        n_sessions: Times that the run was begun or went on.
        n_workers_lost: Workers that ended before their time.
        retries: What was handed out again, with the reason, in the order in which it was lost.
    """

    n_answered: int
    failures: Mapping[str, int]
    core_hours: float
    wall_s_per_toy: float | None
    cpu_s_per_toy: float | None
    n_sessions: int
    n_workers_lost: int
    retries: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)


def account(table: pd.DataFrame, manifest: Mapping[str, Any]) -> Account:
    """Account of one run.

    Args:
        table: Its rows of the results table.
        manifest: Its manifest, which may be a stranger's and hold anything; predictions that were scored from
            files have no sessions in theirs.
    """
    answered = table[table["status"] != "missing"]
    failed = answered[answered["status"] != "ok"]
    sessions = [session for session in _list(manifest.get("sessions")) if isinstance(session, Mapping)]
    fit = manifest.get("fit")
    fit_s = _number(fit.get("cpu_time_s")) if isinstance(fit, Mapping) else 0.0
    return Account(
        n_answered=len(answered),
        failures={str(status): int(n) for status, n in failed["status"].value_counts().items()},
        core_hours=(float(table["wall_time_s"].sum()) + fit_s) / SECONDS_PER_HOUR,
        wall_s_per_toy=_mean(answered, "wall_time_s"),
        cpu_s_per_toy=_mean(answered, "cpu_time_s"),
        n_sessions=len(sessions),
        n_workers_lost=int(sum(_number(s.get("n_workers_lost")) for s in sessions)),
        retries=tuple(str(retry) for s in sessions for retry in _list(s.get("retries"))),
    )


def accounts(results: Results) -> dict[str, Account]:
    """Account of each submission by its name."""
    return {
        name: account(results.of(name).table, run_manifest(results.manifest, name))
        for name in results.submissions
    }


def run_manifest(manifest: Mapping[str, Any], submission: str) -> Mapping[str, Any]:
    """Manifest of one submission's run in that of several."""
    found: Mapping[str, Any] = manifest.get("runs", {}).get(submission, manifest)
    return found


def _list(entry: object) -> list[Any]:
    return entry if isinstance(entry, list) else []


def _number(entry: object) -> float:
    """A number of a manifest; 0 for anything else."""
    if isinstance(entry, int | float) and abs(entry) < _LARGEST:
        return float(entry)
    return 0.0


def _mean(table: pd.DataFrame, column: str) -> float | None:
    known = table[column].dropna() if column in table else table.iloc[:0, 0]
    return float(known.mean()) if len(known) else None
