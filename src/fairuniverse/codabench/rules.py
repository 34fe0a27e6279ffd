"""What the platform refuses, hangs on or only finds when the first submission runs, found before upload.

The rules are those of Codabench's unpacker, serializers and compute worker (github.com/codalab/codabench),
and what its users have met.
"""

from __future__ import annotations

import stat
import tempfile
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from fairuniverse.codabench.leaks import leaks
from fairuniverse.errors import InvalidDataError

DATA = ("ingestion_program", "input_data", "scoring_program", "reference_data")
PROGRAMS = ("ingestion_program", "scoring_program")

SUBMISSION_RULES = (
    "Add",
    "Add_And_Delete",
    "Add_And_Delete_Multiple",
    "Force_Last",
    "Force_Latest_Multiple",
    "Force_Best",
)

DEFAULT_TIME_LIMIT_S = 600
"""Largest time limit of the platform's own queue; a queue of one's own has none."""

MAX_BYTES = 10 * 1000**3
"""Cache of a compute worker: larger data are fetched anew for every submission."""

_MAX_UNPACKED = 64 << 30
_IMAGES = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif"}
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
_CLUTTER = {"__MACOSX", ".DS_Store", "__pycache__", "Thumbs.db"}


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


def check_bundle(path: Path) -> list[Finding]:
    """What is wrong with a bundle, errors first.

    Args:
        path: Folder, or zip as it would be uploaded.

    Raises:
        InvalidDataError: The path is neither.
    """
    if path.is_dir():
        found = list(_check(path))
    elif zipfile.is_zipfile(path):
        with _unpacked(path) as (folder, problems):
            found = (
                [*problems, *_check(folder)] if not any(p.level == "error" for p in problems) else problems
            )
    else:
        raise InvalidDataError(f"{path} is neither a folder nor a zip: give a bundle")
    return sorted(found, key=lambda f: f.level)


@contextmanager
def _unpacked(path: Path) -> Iterator[tuple[Path, list[Finding]]]:
    """A zip as a temporary folder, unless something in it makes that unsafe."""
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        problems = [p for info in archive.infolist() for p in _entry(info)]
        if sum(info.file_size for info in archive.infolist()) > _MAX_UNPACKED:
            problems.append(
                _error(path.name, f"more than {_MAX_UNPACKED >> 30} GiB unpacked: leave data out")
            )
        if not any(p.level == "error" for p in problems):
            archive.extractall(folder)
        yield Path(folder), problems


def _entry(info: zipfile.ZipInfo) -> Findings:
    name = PurePosixPath(info.filename)
    if name.is_absolute() or ".." in name.parts:
        yield _error(info.filename, "leads out of the bundle: pack it anew")
    if stat.S_ISLNK(info.external_attr >> 16):
        yield _error(info.filename, "is a link: put the file itself there")


def _check(folder: Path) -> Findings:
    import yaml

    path = folder / "competition.yaml"
    if not path.is_file():
        nested = sorted(p.relative_to(folder).parent.as_posix() for p in folder.glob("*/competition.yaml"))
        hint = f"it is in {nested[0]}: zip the content of that folder, not the folder" if nested else "add it"
        yield _error("competition.yaml", f"is not at the top of the bundle; {hint}")
        return
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield _error("competition.yaml", f"is not valid YAML ({' '.join(str(error).split())})")
        return
    if not isinstance(content, dict):
        yield _error("competition.yaml", "holds no settings")
        return
    yield from _clutter(folder)
    yield from _heading(content)
    yield from _pages(folder, content)
    yield from _logo(folder, content)
    yield from _tasks(folder, content)
    yield from _phases(folder, content)
    yield from _leaderboards(content)
    yield from leaks_of(folder, content)


def leaks_of(folder: Path, content: Mapping[str, Any]) -> Findings:
    """Truth where participants or their code can read it."""
    references = [
        folder / str(t["reference_data"]) for t in _mappings(content.get("tasks")) if "reference_data" in t
    ]
    for where, what in leaks(folder, references):
        yield _error(where, f"tells {what}, which only the reference data may hold")


def _heading(content: Mapping[str, Any]) -> Findings:
    if str(content.get("version", "1")) != "2":
        yield _error("version", f"is {content.get('version')!r}: write version: 2")
    if not isinstance(content.get("title"), str) or not 0 < len(content["title"]) <= 256:
        yield _error("title", "must be a text of at most 256 characters")
    image = content.get("docker_image")
    if not isinstance(image, str) or not image:
        yield _error(
            "docker_image", "is missing: the platform's own image has not the packages of the programs"
        )
    elif image.startswith("localhost/") or "/" not in image:
        yield _warning(
            "docker_image", f"{image} cannot be pulled from anywhere: push it and give its full name"
        )


def _pages(folder: Path, content: Mapping[str, Any]) -> Findings:
    pages = content.get("pages")
    if not isinstance(pages, list) or not pages:
        yield _error("pages", "must be a list of pages with title and file")
    for i, page in enumerate(_mappings(pages)):
        if not page.get("title"):
            yield _error(f"pages[{i}]", "has no title")
        yield from _text(folder, page.get("file"), f"pages[{i}].file")
    yield from _text(folder, content.get("terms"), "terms")


def _text(folder: Path, name: Any, where: str) -> Findings:
    if not isinstance(name, str):
        yield _error(where, "is missing: name a file of the bundle")
    elif not (folder / name).is_file():
        yield _error(where, f"there is no file {name}")
    elif not (folder / name).read_bytes().strip():
        yield _error(where, f"{name} is empty")


def _logo(folder: Path, content: Mapping[str, Any]) -> Findings:
    name = content.get("image")
    if not isinstance(name, str) or not (folder / name).is_file():
        yield _error("image", f"there is no file {name}: a logo is required")
        return
    with (folder / name).open("rb") as file:
        head = file.read(16)
    kinds = [suffix for magic, suffix in _IMAGES.items() if head.startswith(magic)]
    if not kinds:
        yield _error("image", f"{name} is no PNG, JPEG or GIF; SVG is refused: convert it")
    elif Path(name).suffix.lower().replace(".jpeg", ".jpg") not in kinds:
        yield _error("image", f"{name} is a {kinds[0]} file by its content: rename it")


def _tasks(folder: Path, content: Mapping[str, Any]) -> Findings:
    tasks = _mappings(content.get("tasks"))
    if not tasks:
        yield _error("tasks", "must be a list with at least one task")
    indexes = [task.get("index") for task in tasks]
    for i, task in enumerate(tasks):
        if task.get("index") is None or indexes.count(task["index"]) > 1:
            yield _error(f"tasks[{i}].index", "must be there and differ from those of the other tasks")
        if "key" in task:
            continue
        if not task.get("name"):
            yield _error(f"tasks[{i}].name", "is missing")
        if "scoring_program" not in task:
            yield _error(f"tasks[{i}].scoring_program", "is missing: every task needs one")
        for kind in DATA:
            if kind in task:
                yield from _data(folder, task[kind], kind, f"tasks[{i}].{kind}")


def _data(folder: Path, name: Any, kind: str, where: str) -> Findings:
    """A folder or zip named in a task."""
    path = folder / str(name)
    if not path.exists():
        if not _is_uuid(name):
            yield _error(where, f"there is no {name} in the bundle")
    elif path.is_dir():
        if not str(name).endswith("/"):
            yield _error(
                where, f"{name} is a folder: write {name}/, with the slash, or another folder is packed"
            )
        files = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
        yield from _content(kind, where, list(files), lambda n: files[n].read_bytes())
        n_bytes = sum(p.stat().st_size for p in files.values())
        if n_bytes > MAX_BYTES:
            yield _warning(where, f"{n_bytes / 1e9:.0f} GB are more than a worker keeps: take fewer toys")
    elif not zipfile.is_zipfile(path):
        yield _error(where, f"{name} is neither a folder nor a zip")
    else:
        with zipfile.ZipFile(path) as archive:
            names = [i.filename for i in archive.infolist() if not i.is_dir()]
            yield from _content(kind, where, names, archive.read)


def _content(kind: str, where: str, names: Sequence[str], read: Any) -> Findings:
    if not names:
        yield _error(where, "is empty")
    nested = sorted({n.split("/")[0] for n in names if "/" in n})
    if kind not in PROGRAMS:
        if nested:
            yield _error(
                where,
                f"has the folder {nested[0]}: workers move the content of a first folder up; keep none",
            )
        return
    metadata = next((n for n in ("metadata.yaml", "metadata") if n in names), None)
    if metadata is None:
        yield _error(where, "has no metadata.yaml at its top: the platform would only say so when it runs")
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
        yield _error(where, "has no command, such as: command: python3 /app/program/scoring.py")
        return
    plain = command
    for variable in sorted(_VARIABLES, key=len, reverse=True):
        plain = plain.replace(variable, "")
    strange = sorted(_SHELL & set(plain))
    if strange:
        yield _error(where, f"{strange[0]} in the command means nothing: it is started without a shell")
    words = command.split(" ")
    if "" in words:
        yield _error(
            where, "the command has two spaces in a row or one at its end: each makes an empty argument"
        )
    scripts = [w for w in words if w.endswith((".py", ".sh"))]
    missing = [s for s in scripts if s.removeprefix("/app/program/").removeprefix("$program/") not in names]
    if missing:
        yield _error(
            where, f"{missing[0]} is not in the program; it is found at /app/program/, not by other names"
        )


def _phases(folder: Path, content: Mapping[str, Any]) -> Findings:
    phases = sorted(_mappings(content.get("phases")), key=lambda p: p.get("index") or 0)
    if not phases:
        yield _error("phases", "must be a list with at least one phase")
    indexes = {task.get("index") for task in _mappings(content.get("tasks"))}
    for i, phase in enumerate(phases):
        yield from _phase(folder, phase, indexes, f"phases[{i}]", is_first=i == 0)
    for i, (one, two) in enumerate(pairwise(phases)):
        end, start = _moment(one.get("end")), _moment(two.get("start"))
        if end is None:
            yield _error(f"phases[{i}].end", "is missing: a phase that another one follows must end")
        elif start is not None and start <= end:
            yield _error(f"phases[{i + 1}].start", f"{start} is not after the end of the phase before, {end}")


def _phase(
    folder: Path, phase: Mapping[str, Any], indexes: set[Any], where: str, *, is_first: bool
) -> Findings:
    if not phase.get("name"):
        yield _error(f"{where}.name", "is missing")
    if not phase.get("start"):
        yield _error(f"{where}.start", "is missing: the platform hangs on it")
    for key in ("start", "end"):
        value = phase.get(key)
        if isinstance(value, datetime):
            yield _error(f"{where}.{key}", f"put quotes around {value}: without them it is cut to midnight")
        elif value and _moment(value) is None:
            yield _error(f"{where}.{key}", f"{value!r} is no date such as '2026-01-31 12:00:00'")
    start, end = _moment(phase.get("start")), _moment(phase.get("end"))
    if start and end and end <= start:
        yield _error(f"{where}.end", f"{end} is not after the start, {start}")
    tasks = phase.get("tasks")
    if not isinstance(tasks, list) or not tasks or not set(tasks) <= indexes:
        yield _error(f"{where}.tasks", f"must list indexes of tasks, not {tasks}")
    if is_first and phase.get("auto_migrate_to_this_phase"):
        yield _error(f"{where}.auto_migrate_to_this_phase", "there is no phase before the first one")
    for key in ("execution_time_limit", "max_submissions", "max_submissions_per_day"):
        value = phase.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            yield _error(f"{where}.{key}", f"{value!r} is no whole number above 0")
    limit = phase.get("execution_time_limit")
    if isinstance(limit, int) and limit > DEFAULT_TIME_LIMIT_S:
        yield _warning(
            f"{where}.execution_time_limit",
            f"the platform's own queue stops at {DEFAULT_TIME_LIMIT_S} s: use your own",
        )
    for key in ("starting_kit", "public_data"):
        if key in phase and not (folder / str(phase[key])).exists() and not _is_uuid(phase[key]):
            yield _error(f"{where}.{key}", f"there is no {phase[key]} in the bundle")
        elif key in phase and (folder / str(phase[key])).is_dir() and not str(phase[key]).endswith("/"):
            yield _error(f"{where}.{key}", f"{phase[key]} is a folder: write {phase[key]}/, with the slash")


def _leaderboards(content: Mapping[str, Any]) -> Findings:
    boards = _mappings(content.get("leaderboards"))
    if not boards:
        yield _error("leaderboards", "must be a list with at least one leaderboard")
    for i, board in enumerate(boards):
        where = f"leaderboards[{i}]"
        yield from _labels(board, where, {"title": 64, "key": 36})
        if board.get("submission_rule", "Add") not in SUBMISSION_RULES:
            yield _error(f"{where}.submission_rule", f"must be one of {', '.join(SUBMISSION_RULES)}")
        columns = _mappings(board.get("columns"))
        if not columns:
            yield _error(f"{where}.columns", "must be a list with at least one column")
            continue
        primary = board.get("primary_index", 0)
        indexes = [c.get("index") for c in columns]
        if primary not in indexes:
            yield _error(f"{where}.columns", f"no column has index {primary}, by which the platform ranks")
        for key in ("index", "key"):
            values = [c.get(key) for c in columns]
            if None in values or len(set(values)) < len(values):
                yield _error(f"{where}.columns", f"each column needs {key} of its own")
        for j, column in enumerate(columns):
            yield from _column(column, f"{where}.columns[{j}]")


def _column(column: Mapping[str, Any], where: str) -> Findings:
    yield from _labels(column, where, {"title": 36, "key": 36})
    sorting = column.get("sorting")
    if sorting is None:
        yield _warning(
            f"{where}.sorting", "is missing: larger is taken to be better, for widths and times, too"
        )
    elif sorting not in ("asc", "desc"):
        yield _error(f"{where}.sorting", f"{sorting!r} is neither asc nor desc")
    if "precision" not in column:
        yield _warning(f"{where}.precision", "is missing: two decimals are shown")
    if "computation" in column and "computation_indexes" not in column:
        yield _error(f"{where}.computation_indexes", "is missing: a computation needs the columns it acts on")


def _labels(item: Mapping[str, Any], where: str, lengths: Mapping[str, int]) -> Findings:
    for key, longest in lengths.items():
        value = item.get(key)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            yield _error(f"{where}.{key}", f"must be a text of at most {longest} characters, not {value!r}")


def _clutter(folder: Path) -> Findings:
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.name in _CLUTTER)
    if found:
        yield _warning(found[0], "does not belong into a bundle: remove it" + _more(len(found) - 1))


def _more(n: int) -> str:
    return f" (and {n} more)" if n else ""


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _moment(value: Any) -> datetime | None:
    """A time as the platform understands it."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, date):
        return datetime.combine(value, datetime.min.time())
    try:
        return datetime.fromisoformat(str(value)).replace(tzinfo=None) if value else None
    except ValueError:
        return None


def _is_uuid(value: Any) -> bool:
    try:
        uuid.UUID(str(value))
    except ValueError:
        return False
    return True


def _error(where: str, text: str) -> Finding:
    return Finding("error", where, text)


def _warning(where: str, text: str) -> Finding:
    return Finding("warning", where, text)
