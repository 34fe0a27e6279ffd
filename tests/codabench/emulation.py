"""The two steps of a Codabench worker, as its code takes them: unpack, run, collect, score.

What a worker does with the files is written after its source (compute_worker.py in the platform's
repository); its container is emulated by bubblewrap: the same paths, no shell, no network, a root that cannot
be written, 64 MB of shared memory, a time limit.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import yaml

METADATA = ("metadata.yaml", "metadata")
ROOT = Path(__file__).parents[2]


class FailedError(Exception):
    """The platform shows the submission as failed, with this message and what the programs printed."""


@dataclass
class Outcome:
    """What the platform keeps of a submission.

    Attributes:
        scores: Score of each leaderboard column.
        page: The detailed results.
        prediction: Zip of the prediction output, which the participant can download.
        log: What the programs printed in both steps.
    """

    scores: dict[str, Decimal]
    page: str
    prediction: Path
    log: str


def submit(bundle: Path, submission: Path, folder: Path) -> Outcome:
    """Take a submission through both steps.

    Args:
        bundle: Folder of the bundle.
        submission: Zip as uploaded.
        folder: Empty folder to work in.

    Raises:
        FailedError: The platform would show the submission as failed.
    """
    content = yaml.safe_load((bundle / "competition.yaml").read_text())
    (task,), (phase,) = content["tasks"], content["phases"]
    limit = phase["execution_time_limit"]
    uploads = {
        k: _packed(bundle / task[k], folder / f"{k}.zip") for k in task if (bundle / str(task[k])).is_dir()
    }

    first = folder / "prediction"
    _unpack(submission, first / "program", is_program=False)
    _unpack(uploads["ingestion_program"], first / "ingestion_program", is_program=True)
    _unpack(uploads["input_data"], first / "input_data", is_program=False)
    if not any((first / "program" / name).exists() for name in METADATA):
        shutil.copytree(first / "program", first / "output")
    (first / "output").mkdir(exist_ok=True)
    mounts = {
        "ingestion_program": "program",
        "output": "output",
        "program": "ingested_program",
        "input_data": "input_data",
    }
    log = _run(first, mounts, first / "ingestion_program", limit)
    prediction = _finish(first / "output", folder / "prediction_result")

    second = folder / "scoring"
    _unpack(uploads["scoring_program"], second / "program", is_program=True)
    _unpack(uploads["reference_data"], second / "input/ref", is_program=False)
    _unpack(prediction, second / "input/res", is_program=False)
    (second / "output").mkdir()
    log += _run(
        second, {"program": "program", "output": "output", "input": "input"}, second / "program", limit
    )
    if not (second / "output/scores.json").exists():
        raise FailedError(f"Could not find scores file, did the scoring program output it?\n{log}")
    return Outcome(
        _scores(second / "output/scores.json", content["leaderboards"][0]["columns"]),
        (second / "output/detailed_results.html").read_text(encoding="utf-8"),
        prediction,
        log,
    )


def _packed(folder: Path, path: Path) -> Path:
    return Path(shutil.make_archive(str(path.with_suffix("")), "zip", folder))


def _unpack(path: Path, destination: Path, *, is_program: bool) -> None:
    """Extract; the content of a first folder inside is moved up, in programs only if it has the metadata."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(destination)
        nested = [n for n in archive.namelist() if "/" in n and (not is_program or Path(n).name in METADATA)]
    if nested:
        parent = destination / nested[0].split("/")[0]
        for item in list(parent.iterdir()):
            item.rename(destination / item.name)
        parent.rmdir()


def _run(folder: Path, mounts: dict[str, str], program: Path, limit: float) -> str:
    """Run the command of a program in the container; its exit status changes nothing."""
    metadata = next((program / name for name in METADATA if (program / name).exists()), None)
    if metadata is None:
        raise FailedError("Program directory missing 'metadata.yaml/metadata'")
    command = yaml.safe_load(metadata.read_text())["command"]
    for variable, path in (
        ("$input", "/app/input_data"),
        ("$output", "/app/output"),
        ("$program", "/app/program"),
    ):
        command = command.replace(variable, path)
    try:
        done = subprocess.run(
            [*_container(folder, mounts), *command.split(" ")],
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FailedError(f"Execution Time Limit exceeded. Limit was {limit} seconds") from error
    return done.stdout + done.stderr


def _container(folder: Path, mounts: dict[str, str]) -> list[str]:
    """A bubblewrap command with the platform's mounts and what the image has: system, Python, package."""
    image = [Path("/usr"), Path("/etc"), Path(sys.base_prefix), Path(sys.prefix), ROOT / "src"]
    image += [ROOT / name for name in ("simulators", "scoring", "baselines", "configs")]
    options = [
        "--unshare-net",
        "--unshare-pid",
        "--unshare-ipc",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
    ]
    for link in ("bin", "lib", "lib64"):
        options += ["--symlink", f"usr/{link}", f"/{link}"]
    options += ["--proc", "/proc", "--dev", "/dev"]
    options += ["--size", str(64 << 20), "--perms", "1777", "--tmpfs", "/dev/shm"]
    options += ["--size", str(1 << 30), "--perms", "1777", "--tmpfs", "/tmp"]
    for path in dict.fromkeys(image):
        options += ["--ro-bind", str(path), str(path)]
    for host, inside in mounts.items():
        options += ["--bind", str(folder / host), f"/app/{inside}"]
    environment = {"PATH": f"{sys.prefix}/bin:/usr/bin", "PYTHONUNBUFFERED": "1", "HOME": "/nonexistent"}
    for name, value in environment.items():
        options += ["--setenv", name, value]
    return [shutil.which("bwrap") or "bwrap", *options, "--remount-ro", "/", "--chdir", "/app/program"]


def _finish(output: Path, path: Path) -> Path:
    """Add the platform's own file and pack the output."""
    if (output / "metadata").exists():
        raise FailedError("Error, the output directory already contains a metadata file.")
    (output / "metadata").write_text("exitCode: null\n")
    return Path(shutil.make_archive(str(path), "zip", output))


def _scores(path: Path, columns: list[dict[str, object]]) -> dict[str, Decimal]:
    """Scores as the platform stores them: finite decimals of 20 digits, 10 of them behind the point."""
    scores = json.loads(path.read_text(), parse_constant=_refuse)
    stored = {str(c["key"]): Decimal(str(scores[str(c["key"])])) for c in columns if str(c["key"]) in scores}
    for key, value in stored.items():
        if not value.is_finite() or abs(value) >= Decimal(10) ** 10:
            raise FailedError(f"{key}: {value} does not fit")
    return stored


def _refuse(constant: str) -> None:
    raise FailedError(f"scores.json holds {constant}")


def is_available() -> bool:
    """Whether bubblewrap works here as it must."""
    command = ["bwrap", "--unshare-net", "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev", "true"]
    return (
        bool(shutil.which("bwrap"))
        and os.name == "posix"
        and subprocess.run(command, check=False).returncode == 0
    )
