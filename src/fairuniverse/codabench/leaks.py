"""Truth in a bundle where it does not belong: everywhere but in the reference data."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SECRET_KEYS = ("ground_truth_mus", "mu_true", "mu_values")
"""Words that name true values in files of ours and of the public challenge."""

LABELS = ("weights", "labels", "detailed_labels", "label", "process", "mu", "mu_true")
"""Columns that no table of a pseudo-experiment has."""

_TEXTS = (".json", ".yaml", ".yml", ".txt", ".md", ".csv", ".py", "")
_MAX_TEXT = 1 << 22
_VALUE = r"{}[\"']?\s*[:=]\s*(?!null|none|~)\S"
_DIGITS = 6


def leaks(folder: Path, references: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Where a bundle tells the truth outside its reference data, and what it tells.

    Searched are texts, for the words of `SECRET_KEYS` and for the true numbers themselves, and tables of
    pseudo-experiments (``toy_*``), for the columns of `LABELS`; zips inside the bundle, too.
    """
    hidden = [r.resolve() for r in references]
    numbers = {text for reference in hidden for text in _true_numbers(reference)}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if not any(h == path.resolve() or h in path.resolve().parents for h in hidden):
            yield from _file(path, path.relative_to(folder).as_posix(), numbers)


def _file(path: Path, where: str, numbers: set[str]) -> Iterator[tuple[str, str]]:
    if path.suffix == ".parquet" and path.name.startswith("toy_"):
        yield from _table(path, where)
    elif path.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if Path(info.filename).suffix in _TEXTS and info.file_size <= _MAX_TEXT:
                    yield from _text(archive.read(info), f"{where}/{info.filename}", numbers)
    elif path.suffix in _TEXTS and path.stat().st_size <= _MAX_TEXT:
        yield from _text(path.read_bytes(), where, numbers)


def _table(path: Path, where: str) -> Iterator[tuple[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowInvalid):
        return
    for name in (n for n in schema.names if n in LABELS):
        yield where, f"{name} of the events"
    if schema.metadata:
        yield where, f"metadata ({', '.join(k.decode(errors='replace') for k in schema.metadata)})"


def _text(content: bytes, where: str, numbers: set[str]) -> Iterator[tuple[str, str]]:
    text = content.decode("utf-8", "replace")
    named = next((key for key in SECRET_KEYS if re.search(_VALUE.format(key), text, re.IGNORECASE)), None)
    if named:
        yield where, named
    if where.endswith((".yaml", ".yml")) and _has_seed(text):
        yield where, "a seed of pseudo-experiments"
    number = next((n for n in numbers if n in text), None)
    if number and not named:
        yield where, f"the true value {number}"


def _has_seed(text: str) -> bool:
    """Whether a configuration tells the seed of its toys; 0 stands for withheld."""
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return isinstance(content, dict) and "pseudo_experiments" in content and content.get("seed", 0) != 0


def _true_numbers(reference: Path) -> Iterator[str]:
    """True values of the reference data, as far as they have enough digits to be known again."""
    files = (
        [reference]
        if reference.is_file()
        else sorted(reference.rglob("*.json"))
        if reference.is_dir()
        else []
    )
    for path in files:
        if path.suffix != ".json" or path.stat().st_size > 1 << 26:
            continue
        try:
            content = json.loads(path.read_bytes())
        except ValueError:
            continue
        yield from _numbers(content)


def _numbers(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for item in content:
            yield from _numbers(item)
    elif isinstance(content, float) and len(text := repr(content)) > _DIGITS:
        yield text
