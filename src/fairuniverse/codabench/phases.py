"""Rules for the phases of a bundle: their times, limits and files."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from fairuniverse.codabench.findings import Findings, error_at, is_uuid, mappings, warning_at

DEFAULT_TIME_LIMIT_S = 600
"""Largest time limit of the platform's own queue; a queue of one's own has none."""


def check_phases(folder: Path, content: Mapping[str, Any]) -> Findings:
    """What is wrong with the phases, one by one and in their order."""
    phases = sorted(mappings(content.get("phases")), key=lambda p: p.get("index") or 0)
    if not phases:
        yield error_at("phases", "must be a list with at least one phase")
    indexes = {task.get("index") for task in mappings(content.get("tasks"))}
    for i, phase in enumerate(phases):
        yield from _phase(folder, phase, indexes, f"phases[{i}]", is_first=i == 0)
    for i, (one, two) in enumerate(pairwise(phases)):
        end, start = _moment(one.get("end")), _moment(two.get("start"))
        if end is None:
            yield error_at(f"phases[{i}].end", "is missing: a phase that another one follows must end")
        elif start is not None and start <= end:
            yield error_at(
                f"phases[{i + 1}].start", f"{start} is not after the end of the phase before, {end}"
            )


def _phase(
    folder: Path, phase: Mapping[str, Any], indexes: set[Any], where: str, *, is_first: bool
) -> Findings:
    if not phase.get("name"):
        yield error_at(f"{where}.name", "is missing")
    if not phase.get("start"):
        yield error_at(f"{where}.start", "is missing: the platform hangs on it")
    for key in ("start", "end"):
        value = phase.get(key)
        if isinstance(value, datetime):
            yield error_at(f"{where}.{key}", f"put quotes around {value}: without them it is cut to midnight")
        elif value and _moment(value) is None:
            yield error_at(f"{where}.{key}", f"{value!r} is no date such as '2026-01-31 12:00:00'")
    start, end = _moment(phase.get("start")), _moment(phase.get("end"))
    if start and end and end <= start:
        yield error_at(f"{where}.end", f"{end} is not after the start, {start}")
    tasks = phase.get("tasks")
    if not isinstance(tasks, list) or not tasks or not set(tasks) <= indexes:
        yield error_at(f"{where}.tasks", f"must list indexes of tasks, not {tasks}")
    if is_first and phase.get("auto_migrate_to_this_phase"):
        yield error_at(f"{where}.auto_migrate_to_this_phase", "there is no phase before the first one")
    for key in ("execution_time_limit", "max_submissions", "max_submissions_per_day"):
        value = phase.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            yield error_at(f"{where}.{key}", f"{value!r} is no whole number above 0")
    limit = phase.get("execution_time_limit")
    if isinstance(limit, int) and limit > DEFAULT_TIME_LIMIT_S:
        yield warning_at(
            f"{where}.execution_time_limit",
            f"the platform's own queue stops at {DEFAULT_TIME_LIMIT_S} s: use your own",
        )
    for key in ("starting_kit", "public_data"):
        if key in phase and not (folder / str(phase[key])).exists() and not is_uuid(phase[key]):
            yield error_at(f"{where}.{key}", f"there is no {phase[key]} in the bundle")
        elif key in phase and (folder / str(phase[key])).is_dir() and not str(phase[key]).endswith("/"):
            yield error_at(f"{where}.{key}", f"{phase[key]} is a folder: write {phase[key]}/, with the slash")


def _moment(value: Any) -> datetime | None:
    """A time as the platform understands it."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, date):
        return datetime.combine(value, datetime.min.time())
    try:
        return datetime.fromisoformat(str(value)).replace(tzinfo=None) if value else None
    except ValueError:
        return None
