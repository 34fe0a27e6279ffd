"""Rules for the tasks of a bundle: their data, their programs and the commands that start these."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairuniverse.codabench.findings import Findings, error_at, is_uuid, mappings, warning_at

DATA = ("ingestion_program", "input_data", "scoring_program", "reference_data")
PROGRAMS = ("ingestion_program", "scoring_program")

MAX_BYTES = 10 * 1000**3
"""Cache of a compute worker: larger data are fetched anew for every submission."""

_SHELL = set("|&;<>\"'`*?~(){}$\\")
_VARIABLES = (
    "$input",
    "$output",
    "$program",
    "$ingestion_program",
    "$hidden",
    "$shared",
    "$submission_program",
)


def check_tasks(folder: Path, content: Mapping[str, Any]) -> Findings:
    """What is wrong with the tasks."""
    tasks = mappings(content.get("tasks"))
    if not tasks:
        yield error_at("tasks", "must be a list with at least one task")
    indexes = [task.get("index") for task in tasks]
    for i, task in enumerate(tasks):
        if task.get("index") is None or indexes.count(task["index"]) > 1:
            yield error_at(f"tasks[{i}].index", "must be there and differ from those of the other tasks")
        if "key" in task:
            continue
        if not task.get("name"):
            yield error_at(f"tasks[{i}].name", "is missing")
        if "scoring_program" not in task:
            yield error_at(f"tasks[{i}].scoring_program", "is missing: every task needs one")
        for kind in DATA:
            if kind in task:
                yield from _data(folder, task[kind], kind, f"tasks[{i}].{kind}")


def _data(folder: Path, name: Any, kind: str, where: str) -> Findings:
    """A folder or zip named in a task."""
    path = folder / str(name)
    if not path.exists():
        if not is_uuid(name):
            yield error_at(where, f"there is no {name} in the bundle")
    elif path.is_dir():
        if not str(name).endswith("/"):
            yield error_at(
                where, f"{name} is a folder: write {name}/, with the slash, or another folder is packed"
            )
        files = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
        yield from _content(kind, where, list(files), lambda n: files[n].read_bytes())
        n_bytes = sum(p.stat().st_size for p in files.values())
        if n_bytes > MAX_BYTES:
            yield warning_at(where, f"{n_bytes / 1e9:.0f} GB are more than a worker keeps: take fewer toys")
    elif not zipfile.is_zipfile(path):
        yield error_at(where, f"{name} is neither a folder nor a zip")
    else:
        with zipfile.ZipFile(path) as archive:
            names = [i.filename for i in archive.infolist() if not i.is_dir()]
            yield from _content(kind, where, names, archive.read)


def _content(kind: str, where: str, names: Sequence[str], read: Any) -> Findings:
    if not names:
        yield error_at(where, "is empty")
    nested = sorted({n.split("/")[0] for n in names if "/" in n})
    if kind not in PROGRAMS:
        if nested:
            yield error_at(
                where,
                f"has the folder {nested[0]}: workers move the content of a first folder up; keep none",
            )
        return
    metadata = next((n for n in ("metadata.yaml", "metadata") if n in names), None)
    if metadata is None:
        yield error_at(where, "has no metadata.yaml at its top: the platform would only say so when it runs")
    else:
        yield from _command(read(metadata), names, f"{where}/{metadata}")


def _command(content: bytes, names: Sequence[str], where: str) -> Findings:
    """The command is split at each space and started without a shell."""
    import yaml

    try:
        metadata = yaml.safe_load(content)
    except yaml.YAMLError:
        metadata = None
    command = metadata.get("command") if isinstance(metadata, dict) else None
    if not isinstance(command, str) or not command.strip():
        yield error_at(where, "has no command, such as: command: python3 /app/program/scoring.py")
        return
    plain = command
    for variable in sorted(_VARIABLES, key=len, reverse=True):
        plain = plain.replace(variable, "")
    strange = sorted(_SHELL & set(plain))
    if strange:
        yield error_at(where, f"{strange[0]} in the command means nothing: it is started without a shell")
    words = command.split(" ")
    if "" in words:
        yield error_at(
            where, "the command has two spaces in a row or one at its end: each makes an empty argument"
        )
    scripts = [w for w in words if w.endswith((".py", ".sh"))]
    missing = [s for s in scripts if s.removeprefix("/app/program/").removeprefix("$program/") not in names]
    if missing:
        yield error_at(
            where, f"{missing[0]} is not in the program; it is found at /app/program/, not by other names"
        )
