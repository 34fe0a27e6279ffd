"""What the platform refuses, hangs on or only finds when the first submission runs, found before upload.

The rules are those of Codabench's unpacker, serializers and compute worker (github.com/codalab/codabench),
and what its users have met.
"""

from __future__ import annotations

import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from fairuniverse.codabench.boards import check_leaderboards
from fairuniverse.codabench.findings import Finding, Findings, error_at, mappings, warning_at
from fairuniverse.codabench.leaks import leaks
from fairuniverse.codabench.phases import check_phases
from fairuniverse.codabench.tasks import check_tasks
from fairuniverse.errors import InvalidDataError

_MAX_UNPACKED = 64 << 30
_IMAGES = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif"}
_CLUTTER = {"__MACOSX", ".DS_Store", "__pycache__", "Thumbs.db"}


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
                error_at(path.name, f"more than {_MAX_UNPACKED >> 30} GiB unpacked: leave data out")
            )
        if not any(p.level == "error" for p in problems):
            archive.extractall(folder)
        yield Path(folder), problems


def _entry(info: zipfile.ZipInfo) -> Findings:
    name = PurePosixPath(info.filename)
    if name.is_absolute() or ".." in name.parts:
        yield error_at(info.filename, "leads out of the bundle: pack it anew")
    if stat.S_ISLNK(info.external_attr >> 16):
        yield error_at(info.filename, "is a link: put the file itself there")


def _check(folder: Path) -> Findings:
    import yaml

    path = folder / "competition.yaml"
    if not path.is_file():
        nested = sorted(p.relative_to(folder).parent.as_posix() for p in folder.glob("*/competition.yaml"))
        hint = f"it is in {nested[0]}: zip the content of that folder, not the folder" if nested else "add it"
        yield error_at("competition.yaml", f"is not at the top of the bundle; {hint}")
        return
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield error_at("competition.yaml", f"is not valid YAML ({' '.join(str(error).split())})")
        return
    if not isinstance(content, dict):
        yield error_at("competition.yaml", "holds no settings")
        return
    yield from _clutter(folder)
    yield from _heading(content)
    yield from _pages(folder, content)
    yield from _logo(folder, content)
    yield from check_tasks(folder, content)
    yield from check_phases(folder, content)
    yield from check_leaderboards(content)
    yield from leaks_of(folder, content)


def leaks_of(folder: Path, content: Mapping[str, Any]) -> Findings:
    """Truth where participants or their code can read it."""
    references = [
        folder / str(t["reference_data"]) for t in mappings(content.get("tasks")) if "reference_data" in t
    ]
    for where, what in leaks(folder, references):
        yield error_at(where, f"tells {what}, which only the reference data may hold")


def _heading(content: Mapping[str, Any]) -> Findings:
    if str(content.get("version", "1")) != "2":
        yield error_at("version", f"is {content.get('version')!r}: write version: 2")
    if not isinstance(content.get("title"), str) or not 0 < len(content["title"]) <= 256:
        yield error_at("title", "must be a text of at most 256 characters")
    image = content.get("docker_image")
    if not isinstance(image, str) or not image:
        yield error_at(
            "docker_image", "is missing: the platform's own image has not the packages of the programs"
        )
    elif image.startswith("localhost/") or "/" not in image:
        yield warning_at(
            "docker_image", f"{image} cannot be pulled from anywhere: push it and give its full name"
        )


def _pages(folder: Path, content: Mapping[str, Any]) -> Findings:
    pages = content.get("pages")
    if not isinstance(pages, list) or not pages:
        yield error_at("pages", "must be a list of pages with title and file")
    for i, page in enumerate(mappings(pages)):
        if not page.get("title"):
            yield error_at(f"pages[{i}]", "has no title")
        yield from _text(folder, page.get("file"), f"pages[{i}].file")
    yield from _text(folder, content.get("terms"), "terms")


def _text(folder: Path, name: Any, where: str) -> Findings:
    if not isinstance(name, str):
        yield error_at(where, "is missing: name a file of the bundle")
    elif not (folder / name).is_file():
        yield error_at(where, f"there is no file {name}")
    elif not (folder / name).read_bytes().strip():
        yield error_at(where, f"{name} is empty")


def _logo(folder: Path, content: Mapping[str, Any]) -> Findings:
    name = content.get("image")
    if not isinstance(name, str) or not (folder / name).is_file():
        yield error_at("image", f"there is no file {name}: a logo is required")
        return
    with (folder / name).open("rb") as file:
        head = file.read(16)
    kinds = [suffix for magic, suffix in _IMAGES.items() if head.startswith(magic)]
    if not kinds:
        yield error_at("image", f"{name} is no PNG, JPEG or GIF; SVG is refused: convert it")
    elif Path(name).suffix.lower().replace(".jpeg", ".jpg") not in kinds:
        yield error_at("image", f"{name} is a {kinds[0]} file by its content: rename it")


def _clutter(folder: Path) -> Findings:
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.name in _CLUTTER)
    if found:
        yield warning_at(found[0], "does not belong into a bundle: remove it" + _more(len(found) - 1))


def _more(n: int) -> str:
    return f" (and {n} more)" if n else ""
