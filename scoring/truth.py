"""The reference folder: what the organiser knows and no submission may touch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.protocols import ONE_SIGMA_CL
from fairuniverse.results import COLUMNS, NUISANCE_PREFIX, Results

OFFICIAL_MU_RANGE = (0.1, 3.0)
MAX_TOYS = 100_000
"""Largest number of toys a set is taken to have on the word of the predictions alone."""

SETTINGS = ("test_settings.json", "settings/data.json")
"""Where the official layout keeps its settings, in the order of search."""


@dataclass(frozen=True)
class Truth:
    """True values of a benchmark's toys.

    Attributes:
        mu: True mu of each set.
        n_toys: Toys in each set; None if the settings do not tell.
        nuisances: True values by name, shape (n_sets, n_toys); may be empty.
        mu_range: Smallest and largest mu of the benchmark.
        confidence_level: Confidence level the intervals claim.
        settings: The settings as read, for provenance.
        order: Where toys were presented in an order that says nothing about them, shape (n_sets * n_toys,):
            which toy of `table` each one presented is. The predictions are then one list in that order.
    """

    mu: NDArray[np.float64]
    n_toys: int | None = None
    nuisances: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    mu_range: tuple[float, float] = OFFICIAL_MU_RANGE
    confidence_level: float = ONE_SIGMA_CL
    settings: Mapping[str, Any] = field(default_factory=dict)
    order: NDArray[np.intp] | None = None

    def table(self, n_toys: int) -> pd.DataFrame:
        """Truth of every toy: ``i_mu, i_toy, mu_true, nuisance_*``, in this order."""
        n_sets = len(self.mu)
        columns = {
            "i_mu": np.repeat(np.arange(n_sets), n_toys),
            "i_toy": np.tile(np.arange(n_toys), n_sets),
            "mu_true": np.repeat(self.mu, n_toys),
        }
        return pd.DataFrame(columns | {NUISANCE_PREFIX + k: v.ravel() for k, v in self.nuisances.items()})


def read_truth(reference: Path) -> Truth:
    """Truth from the settings file of a reference folder.

    Official keys: ``ground_truth_mus`` (one mu per set) and, where present, ``num_of_sets`` and
    ``num_pseudo_experiments``. Ours, optional: ``nuisances`` (name to a list of lists, one value per set and
    toy), ``mu_range``, ``confidence_level`` and ``order`` (see `Truth`).

    Raises:
        StorageError: There is no readable settings file.
        InvalidDataError: It is not valid; the message names the key.
    """
    path = next((reference / s for s in SETTINGS if (reference / s).is_file()), None)
    if path is None:
        raise StorageError(
            f"no settings in the reference folder {reference}: expected {' or '.join(SETTINGS)}"
        )
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(f"cannot read {path}: {error}") from error
    if not isinstance(settings, dict):
        raise InvalidDataError(f"{path} holds {type(settings).__name__}, not an object with ground_truth_mus")
    return _truth(settings, path)


def _truth(settings: dict[str, Any], path: Path) -> Truth:
    mu = _numbers(settings.get("ground_truth_mus"), path, "ground_truth_mus", n_dimensions=1)
    n_sets = _count(settings, "num_of_sets", path)
    if n_sets is not None and n_sets > len(mu):
        raise InvalidDataError(f"{path}: num_of_sets is {n_sets}, but ground_truth_mus has {len(mu)} values")
    mu = mu[:n_sets]
    n_toys = _count(settings, "num_pseudo_experiments", path)
    nuisances = settings.get("nuisances", {})
    if not isinstance(nuisances, dict):
        raise InvalidDataError(
            f"{path}: nuisances must map names to lists of lists, one value per set and toy"
        )
    values = {k: _numbers(v, path, f"nuisances.{k}", n_dimensions=2) for k, v in nuisances.items()}
    for name, array in values.items():
        n_toys = array.shape[1] if n_toys is None else n_toys
        if array.shape != (len(mu), n_toys):
            raise InvalidDataError(
                f"{path}: nuisances.{name} has shape {array.shape}, not ({len(mu)}, {n_toys})"
            )
    low, high = _numbers(
        settings.get("mu_range", OFFICIAL_MU_RANGE), path, "mu_range", n_dimensions=1, length=2
    )
    level = settings.get("confidence_level", ONE_SIGMA_CL)
    if not isinstance(level, float) or not 0 < level < 1:
        raise InvalidDataError(f"{path}: confidence_level is {level!r}, not a number between 0 and 1")
    order = _order(settings, path, len(mu), n_toys)
    return Truth(mu, n_toys, values, (float(low), float(high)), level, settings, order)


def _order(
    settings: Mapping[str, Any], path: Path, n_sets: int, n_toys: int | None
) -> NDArray[np.intp] | None:
    if "order" not in settings:
        return None
    order = _numbers(settings["order"], path, "order", n_dimensions=1)
    if n_toys is None or sorted(order.tolist()) != list(range(n_sets * n_toys)):
        raise InvalidDataError(
            f"{path}: order must hold each number from 0 to num_of_sets * num_pseudo_experiments - 1 once"
        )
    return order.astype(np.intp)


def write_truth(results: Results, reference: Path, *, order: Sequence[int] | None = None) -> Path:
    """Write the truth of some results as ``test_settings.json``, readable by the official scorer, too.

    Args:
        results: Results whose truth is written.
        reference: The folder.
        order: Order in which the toys are presented (see `Truth`), if not that of the sets.

    Raises:
        InvalidDataError: Sets differ in their number of toys.
        StorageError: The file cannot be written.
    """
    table = results.of(results.submissions[0]).table.sort_values(["i_mu", "i_toy"])
    by_mu = table.groupby("i_mu")
    n_toys = by_mu.size()
    if n_toys.nunique() != 1 or list(n_toys.index) != list(range(len(n_toys))):
        raise InvalidDataError("the official layout needs sets numbered from 0 with equally many toys")
    shape = (len(n_toys), int(n_toys.iloc[0]))
    settings = {
        "num_of_sets": shape[0],
        "num_pseudo_experiments": shape[1],
        "ground_truth_mus": by_mu["mu_true"].first().tolist(),
        "nuisances": {
            n: table[NUISANCE_PREFIX + n].to_numpy().reshape(shape).tolist() for n in results.nuisance_names
        },
        "mu_range": list(results.mu_range),
        "confidence_level": results.confidence_level,
        **({} if order is None else {"order": [int(i) for i in order]}),
    }
    path = reference / SETTINGS[0]
    try:
        reference.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error}") from error
    return path


def with_truth(results: Results, truth: Truth) -> Results:
    """Results of one submission judged by this truth alone; whatever truth they carried is dropped.

    Every toy of the truth has one row: a toy without an answer is ``missing``, of several answers the first
    counts, answers to toys that do not exist are left out. The manifest says how many under ``dropped_rows``.
    A row is only ``ok`` if its numbers are finite and in order.

    Raises:
        InvalidDataError: The results are of several submissions.
    """
    if len(results.submissions) != 1:
        raise InvalidDataError(f"expected results of one submission, not of {', '.join(results.submissions)}")
    answers = results.table.drop(columns=[c for c in results.table if str(c).startswith(NUISANCE_PREFIX)])
    answers = answers.drop(columns="mu_true").drop_duplicates(["i_mu", "i_toy"])
    for column in (c for c, dtype in COLUMNS.items() if dtype != "object" and c in answers):
        answers[column] = pd.to_numeric(answers[column], errors="coerce")
    n_toys = truth.n_toys or min(max(int(answers["i_toy"].max()) + 1, 1), MAX_TOYS)
    table = truth.table(n_toys).merge(answers, how="left", on=["i_mu", "i_toy"])
    unanswered = table["status"].isna()
    table.loc[unanswered, ["status", "message"]] = ["missing", "no answer for this toy in the predictions"]
    table["submission"] = results.submissions[0]
    table["n_events"] = table["n_events"].fillna(0).astype("int64")
    n_used = int((~unanswered).sum())
    manifest = dict(results.manifest) | {"dropped_rows": len(results.table) - n_used}
    return Results(
        require_ordered(table[[*COLUMNS, *(NUISANCE_PREFIX + n for n in truth.nuisances)]]),
        truth.mu_range,
        truth.confidence_level,
        manifest,
    )


def require_ordered(table: pd.DataFrame) -> pd.DataFrame:
    """The table, rows marked ok with numbers that are not finite or not in order marked as what they are."""
    values = table[["mu_hat", "lower", "upper"]].to_numpy(dtype=np.float64)
    is_ok = (table["status"] == "ok").to_numpy()
    is_finite = np.isfinite(values).all(axis=1)
    swapped = is_ok & is_finite & (values[:, 1] > values[:, 2])
    table = table.copy()
    table.loc[is_ok & ~is_finite, ["status", "message"]] = [
        "non_finite",
        "mu_hat, lower or upper is not finite",
    ]
    table.loc[swapped, ["status", "message"]] = ["swapped", "lower > upper"]
    return table


def _numbers(
    value: Any, path: Path, key: str, *, n_dimensions: int, length: int | None = None
) -> NDArray[np.float64]:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidDataError(f"{path}: {key} must hold numbers only: {error}") from error
    if array.ndim != n_dimensions or not array.size or not np.isfinite(array).all():
        raise InvalidDataError(
            f"{path}: {key} must be a list of finite numbers, {n_dimensions} deep, not empty"
        )
    if length is not None and len(array) != length:
        raise InvalidDataError(f"{path}: {key} must have {length} values, not {len(array)}")
    return array


def _count(settings: Mapping[str, Any], key: str, path: Path) -> int | None:
    value = settings.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 1:
        raise InvalidDataError(f"{path}: {key} is {value!r}, not a whole number of at least 1")
    if value != int(value):
        raise InvalidDataError(f"{path}: {key} is {value!r}, not a whole number")
    return int(value)
