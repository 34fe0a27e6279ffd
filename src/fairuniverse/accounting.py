"""What a run cost and what had to be done again, from its table and its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.results import Results

SECONDS_PER_HOUR = 3600


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
        manifest: Its manifest; predictions that were scored from files have no sessions in theirs.
    """
    answered = table[table["status"] != "missing"]
    failed = answered[answered["status"] != "ok"]
    sessions = manifest.get("sessions", [])
    fit_s = manifest.get("fit", {}).get("cpu_time_s", 0.0)
    return Account(
        n_answered=len(answered),
        failures={str(status): int(n) for status, n in failed["status"].value_counts().items()},
        core_hours=(float(table["wall_time_s"].sum()) + fit_s) / SECONDS_PER_HOUR,
        wall_s_per_toy=_mean(answered, "wall_time_s"),
        cpu_s_per_toy=_mean(answered, "cpu_time_s"),
        n_sessions=len(sessions),
        n_workers_lost=sum(int(s.get("n_workers_lost", 0)) for s in sessions),
        retries=tuple(str(retry) for s in sessions for retry in s.get("retries", [])),
    )


def accounts(results: Results) -> dict[str, Account]:
    """Account of each submission by its name."""
    runs = results.manifest.get("runs", {})
    return {
        name: account(results.of(name).table, runs.get(name, results.manifest))
        for name in results.submissions
    }


def _mean(table: pd.DataFrame, column: str) -> float | None:
    known = table[column].dropna() if column in table else ()
    return float(sum(known) / len(known)) if len(known) else None
