"""Reading run folders: what was run, and the results table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from fairuniverse.errors import FairUniverseError, InvalidDataError, StorageError
from fairuniverse.store.manifests import MANIFEST, holds_something_else, read_manifest
from fairuniverse.store.parts import read_parts, read_tables
from fairuniverse.store.places import Place, Where, open_place, reading

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.results import Results

TRUTHS = "truths.parquet"

KEY = ["i_mu", "i_toy"]
"""Columns that tell toys apart."""

OnError = Callable[[FairUniverseError], object]
"""Is told why a run is left out that cannot be read."""

_Item = TypeVar("_Item")
_Read = TypeVar("_Read")


def read_each(
    items: Iterable[_Item], read: Callable[[_Item], _Read], on_error: OnError | None = None
) -> list[_Read]:
    """What is read of each item.

    Args:
        items: What is read.
        read: How.
        on_error: Called with the error of each that cannot be read and is left out, if any of them can be;
            without it, the first error is raised.

    Raises:
        FairUniverseError: An item, or with `on_error` the last of all, cannot be read.
    """
    found: list[_Read] = []
    errors: list[FairUniverseError] = []
    for item in items:
        try:
            found.append(read(item))
        except FairUniverseError as error:
            if on_error is None:
                raise
            errors.append(error)
    last = errors.pop() if errors and not found else None
    if on_error is not None:
        for left_out in errors:
            on_error(left_out)
    if last is not None:
        raise last
    return found


@contextmanager
def naming_damage(place: Place) -> Iterator[None]:
    """Name the run folder whose content is not what was written there."""
    try:
        yield
    except FairUniverseError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        raise StorageError(
            f"{place} is damaged ({type(error).__name__}: {error}): put its files back from a copy, or give "
            "the command of the run again with --overwrite"
        ) from error


_TRUTHS_AGAIN = "if it is damaged, delete it and give the command of the run again, which writes it anew"


def find_runs(path: Where) -> list[Place]:
    """Run folders at a path or URL: itself, or those directly below it.

    A manifest of something else counts at the path itself, where reading it is an error, but not below it.

    Raises:
        StorageError: There is none, or it cannot be reached.
    """
    place = open_place(path)
    with reading(place):
        if place.is_file(MANIFEST):
            return [place]
        runs = [inner for name in place.folders() if _has_manifest(inner := place / name)]
    if not runs:
        raise StorageError(f"no run at {path}: expected a folder with {MANIFEST}, or folders of that kind")
    return runs


def runs_below(path: Where) -> Iterator[Place]:
    """Run folders at a path or URL or anywhere below it; nothing inside a run folder is looked at.

    A manifest of something else counts as in `find_runs`.
    """
    place = open_place(path)
    with reading(place):
        if place.is_file(MANIFEST):
            yield place
            return
        inner = place.folders(follow=False)
    for name in inner:
        yield from _runs_inside(place / name)


def _runs_inside(place: Place) -> Iterator[Place]:
    with reading(place):
        if _has_manifest(place):
            yield place
            return
        inner = place.folders(follow=False)
    for name in inner:
        yield from _runs_inside(place / name)


def _has_manifest(place: Place) -> bool:
    """Whether a folder has a manifest, also a damaged one, that may be that of a run."""
    return place.is_file(MANIFEST) and not holds_something_else(place)


def read_results(paths: Where | Sequence[Where], *, on_error: OnError | None = None) -> Results:
    """Results of run folders as one table, sorted by submission, i_mu and i_toy.

    Toys without an answer have a row of status "missing". Where two runs have a submission of the same name,
    the names of the run folders are added.

    Args:
        paths: A run folder, a folder of run folders, or several of these; paths or URLs.
        on_error: Called with the error of each run that cannot be read and is left out, if any of them can
            be; without it, the first error is raised.

    Raises:
        StorageError: There is no run, or a file is damaged.
        InvalidDataError: The runs are of different benchmarks.
    """
    import pandas as pd

    from fairuniverse.results import Results

    given = list(paths) if isinstance(paths, Sequence) and not isinstance(paths, str) else [paths]
    found = [f for each in read_each(given, find_runs, on_error) for f in each]
    described = read_each(found, lambda f: (f, read_manifest(f)), on_error)
    _require_one_benchmark(*zip(*described, strict=True))
    runs = read_each(described, lambda d: (*d, _table(*d)), on_error)
    folders, manifests, tables = zip(*runs, strict=True)
    names = _distinct_names(folders, manifests)
    named = [table.assign(submission=name) for table, name in zip(tables, names, strict=True)]
    first = manifests[0]
    return Results(
        pd.concat(named, ignore_index=True).astype({"submission": "object"}),
        (float(first["mu_range"][0]), float(first["mu_range"][1])),
        float(first["confidence_level"]),
        first if len(folders) == 1 else _joint(names, manifests),
    )


def read_run(folder: Where) -> pd.DataFrame:
    """Results table of one run folder, with a row for every toy of the benchmark."""
    place = open_place(folder)
    return _table(place, read_manifest(place))


def _table(place: Place, manifest: Mapping[str, Any]) -> pd.DataFrame:
    with naming_damage(place):
        return with_truths(place, read_parts(place, manifest["run"]))


def with_truths(place: Place, answers: pd.DataFrame | None) -> pd.DataFrame:
    """Results table of the rows of a run folder, with a row for every toy of the benchmark."""
    from fairuniverse.results import COLUMNS, OPTIONAL_COLUMNS

    truths = _read_truths(place)
    table = truths if answers is None else _merged(truths, answers)
    stated = [c for c in OPTIONAL_COLUMNS if c in table and table[c].notna().any()]
    table = table.reindex(columns=[*COLUMNS, *stated, *(c for c in truths if c not in COLUMNS)])
    table["status"] = table["status"].astype("object").where(table["status"].notna(), "missing")
    for column, empty in (("message", ""), ("submission", ""), ("n_events", 0)):
        table[column] = table[column].astype("object").where(table[column].notna(), empty)
    return table.astype(dict(COLUMNS)).sort_values(KEY, ignore_index=True)


def _read_truths(place: Place) -> pd.DataFrame:
    try:
        (table,) = read_tables(place, [TRUTHS], remedy=_TRUTHS_AGAIN)
    except FileNotFoundError as error:
        raise StorageError(
            f"{place}/{TRUTHS} is missing: give the command of the run again, which writes it anew"
        ) from error
    if lacking := [column for column in (*KEY, "mu_true") if column not in table.column_names]:
        raise StorageError(f"{place}/{TRUTHS} has no column {lacking[0]}: {_TRUTHS_AGAIN}")
    truths: pd.DataFrame = table.to_pandas()
    return truths


def _merged(truths: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    answered = answers.drop(columns=[c for c in truths if c not in KEY], errors="ignore")
    return truths.merge(answered, on=KEY, how="left", validate="one_to_one")


def _joint(names: Sequence[str], manifests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Entries in which all manifests agree, and each whole manifest under ``runs``."""
    first, *others = manifests
    shared = {k: v for k, v in first.items() if all(m.get(k) == v for m in others)}
    return {**shared, "runs": dict(zip(names, manifests, strict=True))}


def _require_one_benchmark(folders: Sequence[Place], manifests: Sequence[Mapping[str, Any]]) -> None:
    for folder, manifest in zip(folders, manifests, strict=True):
        if manifest["benchmark_digest"] != manifests[0]["benchmark_digest"]:
            raise InvalidDataError(
                f"{folders[0]} and {folder} are runs of different benchmarks: read them apart"
            )


def _distinct_names(folders: Sequence[Place], manifests: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [str(m["submission"]["name"]) for m in manifests]
    return [f"{n} [{f.name}]" if names.count(n) > 1 else n for f, n in zip(folders, names, strict=True)]
