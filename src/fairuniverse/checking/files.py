"""What can be said about a submission without running it: its layout, its syntax, its imports."""

from __future__ import annotations

import ast
import importlib.util
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fairuniverse.checking.findings import Finding, problem, warning
from fairuniverse.errors import FairUniverseError
from fairuniverse.official.modules import MODULES, PACKAGE
from fairuniverse.submission import ENTRY, Submission, load_submission

LARGE_BYTES = 256 << 20
"""Size from which a submission is called large, bytes; many platforms refuse more."""

_RUBBISH = {
    "__MACOSX": "added by macOS",
    ".DS_Store": "added by macOS",
    "__pycache__": "compiled Python files",
    ".ipynb_checkpoints": "copies of notebooks",
    ".git": "a repository",
}
_ENVIRONMENT = "pyvenv.cfg"


@dataclass(frozen=True)
class Listing:
    """Files of a submission as they are in its folder or zip.

    Attributes:
        path: The folder or zip.
        sizes: Size of each file by its name, bytes.
    """

    path: Path
    sizes: Mapping[PurePosixPath, int]

    @property
    def is_zip(self) -> bool:
        """Whether it is a zip."""
        return self.path.is_file()


def check_files(path: Path) -> tuple[Submission | None, list[Finding]]:
    """The submission, if it can be run at all, and what is wrong with its files."""
    try:
        listing = _list(path)
    except OSError as error:
        return None, [problem("unreadable", f"{path} cannot be read: {error}", "make the files readable")]
    if listing is None:
        return None, [_no_submission(path)]
    found = [*_layout(listing), *_rubbish(listing), *_size(listing)]
    if any(f.severity == "problem" for f in found):
        return None, found
    try:
        submission = load_submission(path)
    except FairUniverseError as error:
        return None, [*found, problem("refused", str(error), "hand in plain files and folders only")]
    return submission, found


def check_source(folder: Path) -> list[Finding]:
    """Faults of the source files in an unpacked submission: syntax, and packages that are not installed."""
    found: list[Finding] = []
    missing: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            where = f"{name}, line {line}" if line else str(name)
            found.append(_unparsable(where, getattr(error, "msg", error), is_entry=str(name) == ENTRY))
        else:
            for module in _imports(tree):
                missing.setdefault(module, str(name))
    own = {p.stem if p.is_file() else p.name for p in folder.iterdir()}
    return [*found, *(_missing_package(m, n) for m, n in missing.items() if not _is_there(m, own))]


def missing_package(name: str, where: str) -> Finding:
    """Finding about a package whose import failed."""
    return problem(
        "missing_package",
        f"{where}: the package {name} is not installed where submissions run",
        "use an installed package, put the module beside model.py, or ask the organizer to install it",
    )


def _list(path: Path) -> Listing | None:
    if path.is_dir():
        files = (p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
        return Listing(path, {PurePosixPath(p.relative_to(path).as_posix()): p.stat().st_size for p in files})
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = [i for i in archive.infolist() if not i.is_dir()]
            return Listing(path, {PurePosixPath(i.filename): i.file_size for i in entries})
    return None


def _no_submission(path: Path) -> Finding:
    state = "neither a folder nor a zip" if path.exists() else "not there"
    return problem("no_submission", f"{path} is {state}", f"give a folder or a zip with {ENTRY} at its top")


def _layout(listing: Listing) -> Iterator[Finding]:
    """Whether ``model.py`` is at the top."""
    names = [n for n in listing.sizes if not set(n.parts) & set(_RUBBISH)]
    if PurePosixPath(ENTRY) in names:
        return
    nested = sorted((n for n in names if n.name == ENTRY), key=lambda n: len(n.parts))
    similar = [n for n in names if len(n.parts) == 1 and n.name.lower() == ENTRY]
    if nested and listing.is_zip:
        inner = nested[0].parent
        yield problem(
            "folder_zipped",
            f"the folder {inner} was zipped instead of its content: {ENTRY} is not at the top of the zip",
            f"cd {inner} && zip -r ../{listing.path.name} . -x '*__MACOSX*' '*.DS_Store'",
        )
    elif nested:
        yield problem(
            "nested",
            f"{ENTRY} is in the folder {nested[0].parent} inside",
            f"give {listing.path / nested[0].parent}",
        )
    elif similar:
        yield problem("wrong_name", f"the file is called {similar[0]}", f"rename it to {ENTRY}")
    else:
        yield problem(
            "no_model_py",
            f"there is no {ENTRY}",
            f"add {ENTRY} with a class Model that has fit and predict; `fairuniverse init` writes one",
        )


def _rubbish(listing: Listing) -> Iterator[Finding]:
    parts = {part for name in listing.sizes for part in name.parts}
    present = [r for r in _RUBBISH if r in parts]
    if listing.is_zip and present:
        what = ", ".join(f"{r} ({_RUBBISH[r]})" for r in present)
        patterns = " ".join(f"'*{r}*'" for r in present)
        yield warning(
            "rubbish",
            f"the zip holds {what}",
            f"zip -d {listing.path.name} {patterns}",
        )
    environments = [n.parent for n in listing.sizes if n.name == _ENVIRONMENT]
    if environments:
        yield problem(
            "environment",
            f"{environments[0]} is a virtual environment",
            "leave it out: packages are those installed where submissions run",
        )


def _size(listing: Listing) -> Iterator[Finding]:
    total = sum(listing.sizes.values())
    if total > LARGE_BYTES:
        name, largest = max(listing.sizes.items(), key=lambda item: item[1])
        yield warning(
            "large",
            f"{total >> 20} MiB unpacked, of which {name} has {largest >> 20} MiB",
            "leave out what predict does not need; the training data are given to fit",
        )


def _unparsable(where: str, reason: object, *, is_entry: bool) -> Finding:
    make = problem if is_entry else warning
    version = ".".join(map(str, sys.version_info[:2]))
    return make("syntax", f"{where}: {reason}", f"correct it; submissions run in Python {version}")


def _imports(tree: ast.Module) -> Iterator[str]:
    """Top-level names of the modules that are imported anywhere, unless under ``try`` or ``if``."""
    guarded = {
        inner for node in ast.walk(tree) if isinstance(node, ast.Try | ast.If) for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _is_there(module: str, own: set[str]) -> bool:
    if module in own or module in (*MODULES, PACKAGE) or module in sys.modules:
        return True
    return importlib.util.find_spec(module) is not None


def _missing_package(module: str, where: str) -> Finding:
    found = missing_package(module, where)
    return warning(found.code, found.found, f"{found.remedy}; nothing is wrong if this line is never reached")
