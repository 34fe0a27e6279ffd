"""Where Python and its packages are: what a sandboxed process must be able to read, and no more.

Environments and folders of installed packages are shown whole. Other entries of the import path (editable
installs, PYTHONPATH) may lie beside run folders and configurations: only the packages in them are shown.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairuniverse.errors import IsolationError
from fairuniverse.isolation.backends import clean_environment

_ASK = """
import importlib.util, json, sys
finders = [m for name, m in list(sys.modules.items()) if name.startswith("__editable__")]
configs = importlib.util.find_spec("fairuniverse.configs")
print(json.dumps({
    "prefixes": sorted({sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}),
    "path": sys.path,
    "mapped": [folder for f in finders for folder in getattr(f, "MAPPING", {}).values()],
    "configs": list(configs.submodule_search_locations) if configs else [],
}))
"""

_TOO_WIDE = ("/", "/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/var")
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_METADATA = (".dist-info", ".egg-info")
_MODULES = (".py", ".so", ".pth")


@dataclass(frozen=True)
class Installed:
    """What a sandbox shows of the host, beyond /usr.

    Attributes:
        folders: Folders and files to show, none inside another.
        masks: Folders among them to hide again: configurations hold the seeds of the truth.
    """

    folders: tuple[Path, ...]
    masks: tuple[Path, ...]

    def require_hidden(self, shown: Sequence[Path], hidden: Sequence[Path]) -> None:
        """Refuse to show what lies beside something secret.

        Raises:
            IsolationError: Something hidden is in a folder that is shown, and not masked.
        """
        for secret in (path.resolve() for path in hidden):
            is_masked = any(is_below(secret, mask) for mask in self.masks)
            exposing = [path for path in shown if is_below(secret, path.resolve())]
            if exposing and not is_masked:
                raise IsolationError(
                    f"{secret} lies in {exposing[0]}, which submissions must read to import packages: "
                    "put it elsewhere"
                )


def find_installed() -> Installed:
    """What a worker's interpreter imports from, asked from such an interpreter.

    Raises:
        IsolationError: The interpreter does not start, or is installed where its folder holds other things.
    """
    command = [sys.executable, "-P", "-c", _ASK]
    try:
        answer = subprocess.run(
            command, env=clean_environment(Path("/"), 1), cwd="/", capture_output=True, check=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise IsolationError(f"{sys.executable} cannot say where its packages are: {error}") from error
    found = json.loads(answer.stdout)
    shown = [*map(Path, found["prefixes"]), *_interpreters(), *map(Path, found["mapped"])]
    shown += _of_import_path([Path(p) for p in found["path"] if p], found["prefixes"])
    shown += [path.resolve() for path in shown]
    folders = _outermost(p for p in shown if p.exists() and not is_below(p, Path("/usr")))
    too_wide = [p for p in folders if str(p) in _TOO_WIDE or is_below(Path.home(), p)]
    if too_wide:
        raise IsolationError(
            f"Python or a package is installed in {too_wide[0]}, together with much that must stay hidden: "
            "use a virtual environment in a folder of its own"
        )
    return Installed(folders, _everywhere([Path(p).resolve() for p in found["configs"]], folders))


def _everywhere(masks: Sequence[Path], folders: Sequence[Path]) -> tuple[Path, ...]:
    """Every path by which a mask can be reached: a folder shown under two names shows it twice."""
    real = [(folder, folder.resolve()) for folder in folders]
    aliases = {f / m.relative_to(r) for m in masks for f, r in real if is_below(m, r)}
    return tuple(sorted({*masks, *aliases}))


def source_files(location: str) -> tuple[Path, ...]:
    """Files or folders that `fairuniverse.training.load_simulator` reads and that are not installed."""
    file = Path(location.rpartition(":")[0])
    if file.suffix != ".py":
        return ()
    return (file.parent if file.stem == "__init__" else file,)


def is_below(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or lies in it."""
    return path == folder or folder in path.parents


def _interpreters() -> Iterator[Path]:
    """Each link on the way to the interpreter; the last, real file is in a prefix."""
    path = Path(sys.executable)
    while path.is_symlink():
        yield path
        path = path.parent / path.readlink()


def _of_import_path(entries: Iterable[Path], prefixes: Iterable[str]) -> Iterator[Path]:
    known = [Path(p) for p in prefixes]
    for entry in entries:
        if entry.name in _PACKAGE_FOLDERS or entry.is_file():
            yield entry
        elif entry.is_dir() and not any(is_below(entry, p) for p in known):
            yield from filter(_is_importable, entry.iterdir())


def _is_importable(path: Path) -> bool:
    if path.is_dir():
        return (path / "__init__.py").is_file() or path.suffix in _METADATA
    return path.suffix in _MODULES


def _outermost(paths: Iterable[Path]) -> tuple[Path, ...]:
    unique = sorted(set(paths))
    return tuple(p for p in unique if not any(p != q and is_below(p, q) for q in unique))
