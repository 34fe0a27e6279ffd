"""Manifests of run folders, told from those of other folders and from damaged ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fairuniverse.errors import StorageError
from fairuniverse.store.places import Place, Where, open_place

FORMAT = 2
"""Version of the layout."""

MANIFEST = "manifest.json"

AGAIN = (
    "put it back from a copy, or give the command of the run again with --overwrite, which throws its "
    "answers away"
)
"""What to do if an answered run cannot be read for want of its manifest."""


def read_manifest(folder: Where) -> dict[str, Any]:
    """Manifest of a run folder.

    Raises:
        StorageError: There is none, it is damaged, or it is that of something else.
    """
    place = open_place(folder)
    try:
        manifest = json.loads(place.read(MANIFEST))
    except OSError as error:
        raise StorageError(f"cannot read {place}/{MANIFEST} ({error}): is {place} a run folder?") from error
    except ValueError as error:
        raise StorageError(f"cannot read {place}/{MANIFEST} ({error}): {AGAIN}") from error
    if not isinstance(manifest, dict) or not manifest:
        raise StorageError(f"{place}/{MANIFEST} holds no entries, as that of a run does: {AGAIN}")
    if not _is_of_run(manifest):
        raise StorageError(_foreign(place, manifest))
    if manifest.get("format") != FORMAT:
        raise StorageError(
            f"{place}/{MANIFEST} has format {manifest.get('format')}; this version reads {FORMAT}: use the "
            "version of fairuniverse that made the run, or give the command of the run again with --overwrite"
        )
    if lacking := _lacking(manifest):
        raise StorageError(f"{place}/{MANIFEST} has no valid entry {lacking!r}: {AGAIN}")
    return manifest


def holds_run(place: Place) -> bool:
    """Whether a folder has a manifest that is known to be that of a run."""
    manifest = _entries(place)
    return manifest is not None and _is_of_run(manifest)


def holds_something_else(place: Place) -> bool:
    """Whether a folder has a manifest that is known to be that of something else, such as a sample."""
    manifest = _entries(place)
    return manifest is not None and not _is_of_run(manifest)


def _entries(place: Place) -> dict[str, Any] | None:
    """Entries of a manifest; None if there is none, or if it is damaged."""
    try:
        manifest = json.loads(place.read(MANIFEST))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest else None


def _is_of_run(manifest: Mapping[str, Any]) -> bool:
    return manifest.get("format") == FORMAT or "submission_digest" in manifest


def _foreign(place: Place, manifest: Mapping[str, Any]) -> str:
    if {"world", "source"} <= manifest.keys():
        what = f"{place} is a sample of simulated events, not a run"
    else:
        what = f"{place}/{MANIFEST} is the manifest of something else than a run"
    return f"{what}: give a folder that `fairuniverse run` wrote"


def _lacking(manifest: Mapping[str, Any]) -> str | None:
    """An entry that every reader needs and that is not there, or of another type."""
    submission, mu_range = manifest.get("submission"), manifest.get("mu_range")
    benchmark = manifest.get("benchmark")
    needed = {
        "run": isinstance(manifest.get("run"), str),
        "benchmark_digest": isinstance(manifest.get("benchmark_digest"), str),
        "benchmark": isinstance(benchmark, dict) and isinstance(benchmark.get("config"), dict),
        "submission": isinstance(submission, dict) and isinstance(submission.get("name"), str),
        "mu_range": isinstance(mu_range, list) and len(mu_range) == 2 and all(map(_is_number, mu_range)),
        "confidence_level": _is_number(manifest.get("confidence_level")),
    }
    return next((entry for entry, is_valid in needed.items() if not is_valid), None)


def _is_number(entry: object) -> bool:
    return isinstance(entry, int | float) and not isinstance(entry, bool)
