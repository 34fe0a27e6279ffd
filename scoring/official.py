"""The file layout of the public challenge: one ``result_{set}.json`` per value of mu.

Each file holds lists of one number per toy: ``mu_hats``, ``delta_mu_hats``, and the ends of the interval as
``p16, p84`` (the 2024 challenge) or ``p16s, p84s`` (the PyPI package HiggsML 0.1.5). Files are found by the
number of their set. Nothing else in the folder is read: a settings file among the predictions has no effect.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import StorageError
from fairuniverse.results import STATUSES, Results

from .official_errors import DELTA, stated_uncertainty
from .truth import MAX_TOYS, Truth, read_truth

KEYS: Mapping[str, tuple[str, ...]] = {
    "mu_hat": ("mu_hats",),
    "lower": ("p16", "p16s"),
    "upper": ("p84", "p84s"),
    DELTA: ("delta_mu_hats",),
}
"""Our columns and their official names; the first that is there is read, all are written."""

MAX_BYTES = 32 * 2**20
"""Largest file that is read: ten times what 10,000 toys need."""


def read_official(predictions: Path, reference: Path, *, submission: str = "submission") -> Results:
    """Results from a folder of predictions in the official layout, judged by the reference folder alone.

    Every toy of every set has one row, whatever the files hold. The number of toys in a set is
    ``num_pseudo_experiments`` of the reference; where that is missing, the longest list found (at most
    `MAX_TOYS`). Unreadable or absent files make rows of status ``missing``, and so do lists that end early;
    the message says why. The manifest lists what was found and not used under ``notes``. Costs are unknown:
    ``n_events`` is 0, times and memory are NaN.

    Args:
        predictions: Folder with the ``result_{set}.json`` files.
        reference: Folder with ``test_settings.json`` or ``settings/data.json``.
        submission: Name for the results table.

    Raises:
        StorageError, InvalidDataError: The reference folder cannot be used (see `read_truth`).
    """
    truth = read_truth(reference)
    files = [_read_set(predictions / f"result_{i}.json") for i in range(len(truth.mu))]
    longest = max((f.n_toys for f in files), default=0)
    n_toys = truth.n_toys or min(max(longest, 1), MAX_TOYS)
    parts = [f.columns(n_toys) for f in files]
    table = truth.table(n_toys).assign(submission=submission)
    for column in parts[0]:
        table[column] = np.concatenate([part[column] for part in parts])
    notes = [note for f in files for note in f.notes(n_toys)] + _unused_files(predictions, len(files))
    manifest = {"layout": "official", "notes": notes, "settings": _without_truth(truth)}
    return Results(table, truth.mu_range, truth.confidence_level, manifest)


def write_official(results: Results, predictions: Path) -> list[Path]:
    """Write the answers of one submission in the official layout, without any truth.

    The files serve both official scorers. Numbers of a failed toy are null, and a list ``status``, ours, says
    what failed; the official scorers refuse files with nulls.

    Raises:
        StorageError: A file cannot be written.
    """
    table = results.table.assign(**{DELTA: stated_uncertainty(results)}).sort_values(["i_mu", "i_toy"])
    paths = []
    for i_mu, part in table.groupby("i_mu"):
        is_ok = (part["status"] == "ok").to_numpy()
        content: dict[str, list[Any]] = {
            name: [x if ok else None for x, ok in zip(part[column].tolist(), is_ok, strict=True)]
            for column, names in KEYS.items()
            for name in names
        }
        if not is_ok.all():
            content["status"] = part["status"].tolist()
        paths.append(predictions / f"result_{i_mu}.json")
        try:
            predictions.mkdir(parents=True, exist_ok=True)
            paths[-1].write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
        except OSError as error:
            raise StorageError(f"cannot write {paths[-1]}: {error}") from error
    return paths


@dataclass(frozen=True)
class _SetFile:
    """Content of one file: lists as found, or why there are none."""

    name: str
    lists: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    statuses: Sequence[Any] = ()
    problem: str = ""

    @property
    def n_toys(self) -> int:
        """Length of the longest list."""
        return max(map(len, self.lists.values()), default=0)

    def notes(self, n_toys: int) -> list[str]:
        """What is there and not used."""
        surplus = self.n_toys - n_toys
        return (
            [f"{self.name}: {surplus} answers beyond the {n_toys} toys are not used"] if surplus > 0 else []
        )

    def columns(self, n_toys: int) -> dict[str, Any]:
        """Columns of the results table for one set."""
        values, statuses = {}, np.full(n_toys, "ok", dtype=object)
        has = {c: np.arange(n_toys) < len(self.lists.get(c, ())) for c in KEYS}
        is_number = {}
        for column in KEYS:
            values[column], is_number[column] = _floats(self.lists.get(column, ())[:n_toys], n_toys)
        needed = [c for c in KEYS if c != DELTA]
        stated = [s if isinstance(s, str) and s in STATUSES else "ok" for s in self.statuses[:n_toys]]
        # From the mildest to the gravest finding: the last one that applies is kept.
        statuses[values["lower"] > values["upper"]] = "swapped"
        statuses[~np.all([np.isfinite(values[c]) for c in needed], axis=0)] = "non_finite"
        statuses[~np.all([is_number[c] for c in needed], axis=0)] = "invalid_type"
        statuses[~np.all([has[c] for c in needed], axis=0)] = "missing_key"
        statuses[~np.any([has[c] for c in needed], axis=0)] = "missing"
        for i, status in enumerate(stated):
            statuses[i] = statuses[i] if status == "ok" else status
        return {
            **{c: np.where(np.isfinite(v), v, np.nan) for c, v in values.items()},
            "status": statuses,
            "message": np.array([self._message(i, s) for i, s in enumerate(statuses)], dtype=object),
            "n_events": np.zeros(n_toys, dtype=np.int64),
            "wall_time_s": np.full(n_toys, np.nan),
            "memory_mib": np.full(n_toys, np.nan),
        }

    def _message(self, i: int, status: str) -> str:
        if status == "ok":
            return ""
        if self.problem:
            return self.problem
        found = {
            KEYS[c][0]: _brief(self.lists[c][i]) if i < len(self.lists.get(c, ())) else "absent"
            for c in KEYS
            if c != DELTA
        }
        return f"{self.name}, toy {i}: " + ", ".join(f"{k} = {v}" for k, v in found.items())


def _read_set(path: Path) -> _SetFile:
    name = path.name
    try:
        if not path.is_file():  # also refuses a pipe, which would never end
            return _SetFile(name, problem=f"no file {name} in the predictions")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return _SetFile(name, problem=f"{name} is larger than {MAX_BYTES // 2**20} MiB and was not read")
        content = json.loads(data, parse_int=float)
    except OSError as error:
        return _SetFile(name, problem=f"cannot read {name}: {error.strerror}")
    except (ValueError, RecursionError) as error:
        return _SetFile(name, problem=f"{name} is not valid JSON: {str(error)[:200]}")
    if not isinstance(content, dict):
        return _SetFile(name, problem=f"{name} holds no object with mu_hats, p16 and p84")
    return _set_file(name, content)


def _set_file(name: str, content: Mapping[str, Any]) -> _SetFile:
    found = {c: next((content[k] for k in names if k in content), None) for c, names in KEYS.items()}
    lists = {c: v for c, v in found.items() if isinstance(v, list)}
    statuses = content.get("status")
    problem = "" if lists else f"{name} has no list under mu_hats, p16 and p84"
    return _SetFile(name, lists, statuses if isinstance(statuses, list) else (), problem)


def _floats(items: Sequence[Any], n_toys: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers, NaN where there are none, and which items were numbers; padded to n_toys."""
    values, is_number = np.full(n_toys, np.nan), np.zeros(n_toys, dtype=bool)
    # The parser makes every JSON number a float, so that a bool is not taken for one.
    is_number[: len(items)] = [type(x) is float for x in items]
    values[: len(items)] = [x if type(x) is float else math.nan for x in items]
    return values, is_number


def _brief(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 40 else text[:37] + "..."


def _unused_files(predictions: Path, n_sets: int) -> list[str]:
    used = {f"result_{i}.json" for i in range(n_sets)}
    try:
        surplus = sorted(f.name for f in predictions.glob("result_*") if f.name not in used)
    except OSError:
        return []
    return (
        [f"{len(surplus)} files belong to no set and are not read, such as {surplus[0]}"] if surplus else []
    )


def _without_truth(truth: Truth) -> dict[str, Any]:
    hidden = ("ground_truth_mus", "nuisances")
    return {k: v for k, v in truth.settings.items() if k not in hidden}
