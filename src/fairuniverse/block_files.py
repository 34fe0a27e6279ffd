"""Files of the blocks of a simulated sample, told whole from damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fairuniverse.errors import StorageError

NUMBERS = ("block", "total_rows", "n_tried", "cpu_s", "sum_weights", "acceptance", "expected_yield")
"""What is read of the numbers of a block."""


def require_whole(path: Path, n_events: int) -> None:
    """Refuse a block whose file was cut off, by its end.

    Raises:
        StorageError: It has another number of events, or no readable end.
    """
    import pyarrow.parquet as pq

    try:
        n_rows = pq.read_metadata(path).num_rows
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    if n_rows != n_events:
        raise damaged(path, f"{n_rows} events instead of {n_events}")


def read_numbers(path: Path) -> dict[str, float]:
    """Numbers of a block, such as its selected and tried events.

    Raises:
        StorageError: They are damaged.
    """
    try:
        content = read_json(path)
        return {name: float(content[name]) for name in NUMBERS}
    except KeyError as error:
        raise damaged(path, f"no {error}") from error
    except (OSError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, reason: object) -> StorageError:
    """The error of a file of a block, with what to do."""
    line = " ".join(str(reason).split())
    return StorageError(f"{path} is damaged ({line}): delete it, and the same command makes its block again")


def read_json(path: Path) -> dict[str, Any]:
    """Content of a file that holds a JSON object.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds something else.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    return content
