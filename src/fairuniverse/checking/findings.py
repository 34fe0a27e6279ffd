"""What a check finds: how bad, what exactly, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["problem", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: ``"problem"`` if the submission would fail or lose toys, ``"warning"`` if it might.
        code: Short name for scripts; does not change from version to version.
        found: What was found.
        remedy: What to do about it.
    """

    severity: Severity
    code: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.found}\n  to do: {self.remedy}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def problem(code: str, found: str, remedy: str) -> Finding:
    """A finding with which the submission would fail."""
    return Finding("problem", code, found, remedy)


def warning(code: str, found: str, remedy: str) -> Finding:
    """A finding with which the submission might fail."""
    return Finding("warning", code, found, remedy)
