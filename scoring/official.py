"""The file layout of the public challenge: one ``result_{set}.json`` per value of mu.

Each file holds lists of one number per toy: ``mu_hats``, ``delta_mu_hats``, and the ends of the interval as
``p16, p84`` (the 2024 challenge) or ``p16s, p84s`` (the PyPI package HiggsML 0.1.5). Files are found by the
number of their set. Nothing else in the folder is read: a settings file among the predictions has no effect.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError, StorageError
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

LOG = logging.getLogger(__name__)

NEEDED = tuple(c for c in KEYS if c != DELTA)
"""Columns without which there is no interval."""

MAX_BYTES = 32 * 2**20
"""Largest file that is read: ten times what 10,000 toys need."""


def read_official(predictions: Path, reference: Path, *, submission: str = "submission") -> Results:
    """Results from a folder of predictions in the official layout, judged by the reference folder alone.

    Every toy of every set has one row, whatever the files hold. The number of toys in a set is
    ``num_pseudo_experiments`` of the reference; where that is missing, the longest list found (at most
    `MAX_TOYS`). Unreadable or absent files make rows of status ``missing``, and so do lists that end early;
    the message says why. Whatever is wrong with a file, and what was found and not used, is logged and listed
    in the manifest under ``warnings``. Costs are unknown: ``n_events`` is 0, times and memory are NaN.

    Where the reference has an ``order``, all toys are in ``result_0.json``, in that order.

    Args:
        predictions: Folder with the ``result_{set}.json`` files.
        reference: Folder with ``test_settings.json`` or ``settings/data.json``.
        submission: Name for the results table.

    Raises:
        StorageError, InvalidDataError: The reference folder cannot be used (see `read_truth`), or the
            predictions hold no ``result_{set}.json`` at all.
    """
    truth = read_truth(reference)
    n_files = len(truth.mu) if truth.order is None else 1
    _require_files(predictions, n_files)
    files = [_read_set(predictions / f"result_{i}.json") for i in range(n_files)]
    longest = max((f.n_toys for f in files), default=0)
    n_toys = truth.n_toys or min(max(longest, 1), MAX_TOYS)
    n_in_file = n_toys if truth.order is None else len(truth.order)
    parts = [f.columns(n_in_file) for f in files]
    table = truth.table(n_toys).assign(submission=submission)
    rows = slice(None) if truth.order is None else np.argsort(truth.order)
    for column in parts[0]:
        table[column] = np.concatenate([part[column] for part in parts])[rows]
    warnings = [w for f in files for w in f.warnings(n_in_file)] + _unused_files(predictions, n_files)
    for warning in warnings:
        LOG.warning(warning)
    manifest = {"layout": "official", "warnings": warnings, "settings": _without_truth(truth)}
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
    """Content of one file: the lists found, by column and with their names, or why there are none."""

    name: str
    lists: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    statuses: Sequence[Any] = ()
    problem: str = ""

    @property
    def n_toys(self) -> int:
        """Length of the longest list."""
        return max(map(len, self.lists.values()), default=0)

    def warnings(self, n_toys: int) -> list[str]:
        """What is wrong with the file, and what it costs."""
        if self.problem:
            return [f"{self.name}: {self.problem}: {_count_as(n_toys, 'missing')}"]
        found = [self._absent(n_toys), self._short(n_toys), self._surplus(n_toys)]
        return [f"{self.name}: {text}" for text in found if text]

    def _absent(self, n_toys: int) -> str:
        names = [KEYS[c][0] for c in NEEDED if c not in self.lists]
        return f"no list {' and no list '.join(names)}: {_count_as(n_toys, 'failed')}" if names else ""

    def _short(self, n_toys: int) -> str:
        lengths = [t for c in KEYS if (t := self._length(c, n_toys))]
        if not lengths:
            return ""
        n_missing = n_toys - min((len(self.lists[c]) for c in NEEDED if c in self.lists), default=n_toys)
        cost = _count_as(n_missing, "missing") if n_missing > 0 else "half the width is used instead"
        return f"{', '.join(lengths)}: {cost}"

    def _surplus(self, n_toys: int) -> str:
        surplus = self.n_toys - n_toys
        return f"{surplus} answers beyond the {n_toys} toys are not used" if surplus > 0 else ""

    def _length(self, column: str, n_toys: int) -> str:
        """How long a list is that ends early."""
        if len(self.lists.get(column, range(n_toys))) >= n_toys:
            return ""
        return f"{self.keys[column]} has {len(self.lists[column])} entries for {n_toys} toys"

    def columns(self, n_toys: int) -> dict[str, Any]:
        """Columns of the results table for one set."""
        values, statuses = {}, np.full(n_toys, "ok", dtype=object)
        is_number = {}
        for column in KEYS:
            values[column], is_number[column] = _floats(self.lists.get(column, ())[:n_toys], n_toys)
        stated = [s if isinstance(s, str) and s in STATUSES else "ok" for s in self.statuses[:n_toys]]
        shortest = min((len(self.lists[c]) for c in NEEDED if c in self.lists), default=0)
        # From the mildest to the gravest finding: the last one that applies is kept.
        statuses[values["lower"] > values["upper"]] = "swapped"
        statuses[~np.all([np.isfinite(values[c]) for c in NEEDED], axis=0)] = "non_finite"
        statuses[~np.all([is_number[c] for c in NEEDED], axis=0)] = "invalid_type"
        if any(c not in self.lists for c in NEEDED):
            statuses[:] = "missing_key"
        statuses[shortest:] = "missing"
        for i, status in enumerate(stated):
            statuses[i] = statuses[i] if status == "ok" else status
        return {
            **{c: np.where(np.isfinite(v), v, np.nan) for c, v in values.items()},
            "status": statuses,
            "message": np.array([self._message(i, s, n_toys) for i, s in enumerate(statuses)], dtype=object),
            "n_events": np.zeros(n_toys, dtype=np.int64),
            "wall_time_s": np.full(n_toys, np.nan),
            "memory_mib": np.full(n_toys, np.nan),
        }

    def _message(self, i: int, status: str, n_toys: int) -> str:
        if status == "ok":
            return ""
        if self.problem:
            return f"{self.name}: {self.problem}"
        ended = [c for c in NEEDED if c in self.lists and len(self.lists[c]) <= i]
        if ended:
            return f"{self.name}: " + ", ".join(self._length(c, n_toys) for c in ended)
        found = {KEYS[c][0]: _brief(self.lists[c][i]) if c in self.lists else "absent" for c in NEEDED}
        return f"{self.name}, toy {i}: " + ", ".join(f"{k} = {v}" for k, v in found.items())


def _count_as(n_toys: int, what: str) -> str:
    return f"1 toy counts as {what}" if n_toys == 1 else f"{n_toys} toys count as {what}"


def _require_files(predictions: Path, n_sets: int) -> None:
    """Refuse a folder without any prediction: the path is wrong, not the method."""
    if not any(predictions.glob("result_*.json")):
        names = "result_0.json" if n_sets == 1 else f"result_0.json to result_{n_sets - 1}.json"
        raise InvalidDataError(
            f"no predictions in {predictions}: expected {names}, each an object with the lists "
            "mu_hats, delta_mu_hats, p16 and p84, one number per toy"
        )


def _read_set(path: Path) -> _SetFile:
    name = path.name
    try:
        if not path.is_file():  # also refuses a pipe, which would never end
            return _SetFile(name, problem="no file of this name in the predictions")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return _SetFile(name, problem=f"larger than {MAX_BYTES // 2**20} MiB, not read")
        content = json.loads(data, parse_int=float)
    except OSError as error:
        return _SetFile(name, problem=f"cannot be read ({error.strerror})")
    except json.JSONDecodeError as error:
        return _SetFile(name, problem=f"not valid JSON (line {error.lineno} column {error.colno})")
    except (ValueError, RecursionError) as error:
        return _SetFile(name, problem=f"not valid JSON ({str(error)[:200]})")
    if not isinstance(content, dict):
        return _SetFile(name, problem="holds no object with the lists mu_hats, p16 and p84")
    return _set_file(name, content)


def _set_file(name: str, content: Mapping[str, Any]) -> _SetFile:
    keys = {c: next((k for k in names if k in content), names[0]) for c, names in KEYS.items()}
    lists = {c: content[k] for c, k in keys.items() if isinstance(content.get(k), list)}
    statuses = content.get("status")
    problem = "" if any(c in lists for c in NEEDED) else "no list under mu_hats, p16 and p84"
    return _SetFile(name, lists, keys, statuses if isinstance(statuses, list) else (), problem)


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
    surplus = sorted(f.name for f in predictions.glob("result_*") if f.name not in used)
    shown = ", ".join(n if n.isprintable() else ascii(n) for n in surplus[:3])
    more = f" and {len(surplus) - 3} more" if len(surplus) > 3 else ""
    sets = "the only set is 0" if n_sets == 1 else f"sets are 0 to {n_sets - 1}"
    return [f"{shown}{more}: no such set in the reference ({sets}), not read"] if surplus else []


def _without_truth(truth: Truth) -> dict[str, Any]:
    hidden = ("ground_truth_mus", "nuisances", "order")
    return {k: v for k, v in truth.settings.items() if k not in hidden}
