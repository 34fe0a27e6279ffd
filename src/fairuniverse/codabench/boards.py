"""Rules for the leaderboards of a bundle and their columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairuniverse.codabench.findings import Findings, error_at, mappings, warning_at

SUBMISSION_RULES = (
    "Add",
    "Add_And_Delete",
    "Add_And_Delete_Multiple",
    "Force_Last",
    "Force_Latest_Multiple",
    "Force_Best",
)


def check_leaderboards(content: Mapping[str, Any]) -> Findings:
    """What is wrong with the leaderboards."""
    boards = mappings(content.get("leaderboards"))
    if not boards:
        yield error_at("leaderboards", "must be a list with at least one leaderboard")
    for i, board in enumerate(boards):
        where = f"leaderboards[{i}]"
        yield from _labels(board, where, {"title": 64, "key": 36})
        if board.get("submission_rule", "Add") not in SUBMISSION_RULES:
            yield error_at(f"{where}.submission_rule", f"must be one of {', '.join(SUBMISSION_RULES)}")
        columns = mappings(board.get("columns"))
        if not columns:
            yield error_at(f"{where}.columns", "must be a list with at least one column")
            continue
        primary = board.get("primary_index", 0)
        indexes = [c.get("index") for c in columns]
        if primary not in indexes:
            yield error_at(f"{where}.columns", f"no column has index {primary}, by which the platform ranks")
        for key in ("index", "key"):
            values = [c.get(key) for c in columns]
            if None in values or len(set(values)) < len(values):
                yield error_at(f"{where}.columns", f"each column needs {key} of its own")
        for j, column in enumerate(columns):
            yield from _column(column, f"{where}.columns[{j}]")


def _column(column: Mapping[str, Any], where: str) -> Findings:
    yield from _labels(column, where, {"title": 36, "key": 36})
    sorting = column.get("sorting")
    if sorting is None:
        yield warning_at(
            f"{where}.sorting", "is missing: larger is taken to be better, for widths and times, too"
        )
    elif sorting not in ("asc", "desc"):
        yield error_at(f"{where}.sorting", f"{sorting!r} is neither asc nor desc")
    if "precision" not in column:
        yield warning_at(f"{where}.precision", "is missing: two decimals are shown")
    if "computation" in column and "computation_indexes" not in column:
        yield error_at(
            f"{where}.computation_indexes", "is missing: a computation needs the columns it acts on"
        )


def _labels(item: Mapping[str, Any], where: str, lengths: Mapping[str, int]) -> Findings:
    for key, longest in lengths.items():
        value = item.get(key)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            yield error_at(f"{where}.{key}", f"must be a text of at most {longest} characters, not {value!r}")
