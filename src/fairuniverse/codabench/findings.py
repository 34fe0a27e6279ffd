"""What is wrong with a bundle, and what all its rules need."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a bundle.

    Attributes:
        level: Whether the platform will not work with it, or will in a way that may surprise.
        where: The file or setting.
        text: What was found and what to do.
    """

    level: Literal["error", "warning"]
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.text}"


Findings = Iterator[Finding]
"""What a rule gives."""


def error_at(where: str, text: str) -> Finding:
    """Something with which the platform will not work."""
    return Finding("error", where, text)


def warning_at(where: str, text: str) -> Finding:
    """Something with which the platform works in a way that may surprise."""
    return Finding("warning", where, text)


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in a list; none if it is no list."""
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def is_uuid(value: Any) -> bool:
    """Whether a value names something that the platform has already."""
    try:
        uuid.UUID(str(value))
    except ValueError:
        return False
    return True
