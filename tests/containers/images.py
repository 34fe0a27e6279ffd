"""Images for the tests, built from the recipe: once for all test processes, and again when something changed.

There is no registry: the base is made of the system's packages, and Python's packages are fetched as wheels
by this machine's pip, as it is set up here, so that the build itself needs no network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"
BASE, IMAGE = "localhost/fairuniverse-test-base", "localhost/fairuniverse-test"
LABEL = "fairuniverse.made-of"
ULIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
"""podman's own defaults may be above what this machine allows."""

WALLS = (
    "--rm",
    "--network=none",
    "--read-only",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--shm-size=64m",
    "--tmpfs=/tmp:size=512m",
    *ULIMITS,
)


class UnavailableError(Exception):
    """Images cannot be built here; the message says why."""


def podman(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run podman, where there is no systemd, too."""
    options = [] if Path("/run/systemd/system").is_dir() else ["--cgroup-manager=cgroupfs"]
    options += ["--runtime=runc"] if shutil.which("runc") else []
    command = ["podman", *options, "--events-backend=none", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def sources() -> list[Path]:
    """Files that .dockerignore lets into the build."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    names = [line[1:] for line in lines if line.startswith("!")]
    files = [file for name in names for file in (ROOT / name, *(ROOT / name).rglob("*")) if file.is_file()]
    left_out = {line.removeprefix("**/") for line in lines if line.startswith("**/")}
    return sorted(f for f in files if not any(part.match(p) for p in left_out for part in (f, *f.parents)))


def image() -> str:
    """Name of the image to score with; with ``-platform`` appended, that of the platforms' image.

    Raises:
        UnavailableError: There is no podman, or the packages cannot be had.
    """
    if "FAIRUNIVERSE_IMAGE" in os.environ:
        return os.environ["FAIRUNIVERSE_IMAGE"]
    if shutil.which("podman") is None or shutil.which("apt-get") is None or os.geteuid() != 0:
        raise UnavailableError("images are built with podman from packages of Debian or Ubuntu, as root")
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        base = _base()
        with tempfile.TemporaryDirectory() as context:  # whatever is edited meanwhile
            made_of = _digest(_copied(Path(context)), base)
            if _label(IMAGE) != made_of or _label(f"{IMAGE}-platform") != made_of:
                _build(Path(context), made_of)
    return IMAGE


def _copied(context: Path) -> list[Path]:
    """The files of the build in a folder of their own."""
    files = [*sources(), ROOT / ".dockerignore"]
    for file in files:
        copy = context / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    return files


def _base() -> str:
    """Digest of what the base is made of; it is made if it is not there."""
    script = Path(__file__).with_name("make_base.sh")
    made_of = _digest([script])
    if _label(BASE) != made_of:
        done = subprocess.run(
            ["sh", script, BASE, f"LABEL {LABEL}={made_of}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UnavailableError(f"no base image can be made here: {done.stderr[-300:]}")
    started = podman("run", *WALLS, BASE, "true")
    if started.returncode:
        raise UnavailableError(f"podman starts no container here: {started.stderr[-300:]}")
    return made_of


def _build(context: Path, made_of: str) -> None:
    wheels = BUILD / "wheels"
    _fetch(wheels)
    options = [f"--volume={wheels}:/wheels:ro", "--network=none", f"--label={LABEL}={made_of}", *ULIMITS]
    for variable, value in {"BASE": BASE, "PIP_NO_INDEX": 1, "PIP_FIND_LINKS": "/wheels"}.items():
        options.append(f"--build-arg={variable}={value}")
    options.append(f"--file={context / 'scoring' / 'Containerfile'}")
    for tag, target in {IMAGE: (), f"{IMAGE}-platform": ("--target=platform",)}.items():
        old = podman("image", "inspect", "--format={{.Id}}", tag).stdout.strip()
        done = podman("build", *options, *target, f"--tag={tag}", context)
        assert done.returncode == 0, done.stdout + done.stderr
        if old:
            podman("rmi", old)  # unless something still needs it


def _fetch(folder: Path) -> None:
    """Wheels that the build asks for, of the base's Python, as this machine's pip finds them."""
    version = podman(
        "run", *WALLS, BASE, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"
    )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", folder]
    command += ["--constraint", ROOT / "constraints.txt", "--python-version", version.stdout.strip()]
    done = subprocess.run([*command, *_requirements()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"packages of the image cannot be downloaded: {done.stderr[-300:]}")


def _requirements() -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    yield from (
        "setuptools",
        "ziglang",
        *project["dependencies"],
        *project["optional-dependencies"]["report"],
    )


def _digest(files: list[Path], *others: str) -> str:
    digest = hashlib.sha256("".join(others).encode())
    for file in files:
        digest.update(f"{file.relative_to(ROOT)} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _label(name: str) -> str:
    return podman("image", "inspect", f'--format={{{{index .Labels "{LABEL}"}}}}', name).stdout.strip()
