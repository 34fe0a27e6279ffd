"""The image: what its recipe promises, and scoring and a competition in it, as a platform would run them."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from fairuniverse.scoring import score_card
from fairuniverse.scoring.official import write_official
from fairuniverse.scoring.truth import write_truth

from codabench.test_steps import CONFIG, zipped
from fairuniverse.api import bundle, run
from interval_toys import gaussian_results

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("FAIRUNIVERSE_IMAGE", "localhost/fairuniverse")
PLATFORM_IMAGE = f"{IMAGE}-platform"

WALLS = (
    "--rm",
    "--network=none",
    "--read-only",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--shm-size=64m",
    "--tmpfs=/tmp:size=512m",
    "--ulimit=nofile=1024:1024",
    "--ulimit=nproc=1024:1024",
)


def podman(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run podman, where there is no systemd, too."""
    options = [] if Path("/run/systemd/system").is_dir() else ["--cgroup-manager=cgroupfs"]
    options += ["--runtime=runc"] if shutil.which("runc") else []
    command = ["podman", *options, "--events-backend=none", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def require(image: str) -> None:
    """Skip where the image was not built."""
    if shutil.which("podman") is None or podman("image", "exists", image).returncode:
        pytest.skip(f"no image {image}: build it with `make container`")


def run_in(image: str, *command: object, options: tuple[str, ...] = ()) -> str:
    """What a command in the container prints; it must succeed."""
    require(image)
    done = podman("run", *WALLS, *options, image, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def recipe() -> str:
    """The Containerfile without its comments."""
    text = (ROOT / "scoring" / "Containerfile").read_text()
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def test_the_recipe_copies_what_the_package_is_made_of():
    """Every folder that pyproject.toml maps, and every file the build reads, is copied and let through."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {path.split("/")[0] for path in project["tool"]["setuptools"]["package-dir"].values()}
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*)$", recipe(), re.M) for word in line.split()[:-1]
    }
    passed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert folders <= copied
    assert copied == passed
    assert all((ROOT / name).exists() for name in copied)


def test_the_recipe_is_pinned_and_its_image_is_nobodys():
    """A base of a stated version, packages of constraints.txt, no root at the end, no entry point."""
    text = recipe()
    assert re.search(r"^ARG BASE=\S+:\d+\.\d+\.\d+\S*$", text, re.M)
    assert all("-c constraints.txt" in line for line in re.findall(r"pip install .*", text))
    assert re.findall(r"^USER (\S+)", text, re.M)[-1] == "65534:65534"
    assert text.rindex("USER") > text.rindex("FROM")
    assert "ENTRYPOINT" not in text


def test_the_image_runs_as_nobody_and_is_complete():
    """The default user has no rights, pages of data files are installed, nothing of the build is left."""
    assert run_in(IMAGE, "id", "-u").strip() == "65534"
    assert run_in(IMAGE, "fairuniverse", "--version").startswith("fairuniverse, version")
    code = "from importlib.resources import files; print(*files('fairuniverse.codabench.pages').iterdir())"
    assert run_in(IMAGE, "python3", "-c", code).count(".md") == 5
    assert run_in(IMAGE, "sh", "-c", "ls /opt").split() == ["fairuniverse"]


def test_scoring_in_the_image_gives_the_same_scores(tmp_path):
    """Without a network and with a root that cannot be written, scores.json is what it is outside."""
    results = gaussian_results(n_toys=10)
    write_truth(results, tmp_path / "ref")
    write_official(results, tmp_path / "in")
    (tmp_path / "out").mkdir(mode=0o777)
    (tmp_path / "out").chmod(0o777)
    volumes = [f"--volume={tmp_path / n}:/{n}:{'rw' if n == 'out' else 'ro'}" for n in ("in", "ref", "out")]
    command = ("fairuniverse", "score", "--predictions", "/in", "--reference", "/ref", "--output", "/out")
    run_in(IMAGE, *command, options=tuple(volumes))
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == pytest.approx(
        {k: v for k, v in score_card(results).to_flat().items() if not k.startswith(("wall", "peak"))},
        rel=1e-9,
    )
    assert "<svg" in (tmp_path / "out" / "detailed_results.html").read_text(encoding="utf-8")


def test_both_steps_of_a_platform_in_the_image(tmp_path):
    """With the platform's mounts and its commands, a submission gets the scores it would get at home."""
    require(PLATFORM_IMAGE)
    (tmp_path / "secret.yaml").write_text(CONFIG)
    bundle(tmp_path / "secret.yaml", tmp_path / "bundle", image=PLATFORM_IMAGE, n_threads=1)
    shutil.unpack_archive(zipped(tmp_path / "mine.zip"), tmp_path / "mine")
    for name in ("prediction", "scores", "input"):
        (tmp_path / name).mkdir()
    shutil.copytree(tmp_path / "bundle/reference_data", tmp_path / "input/ref")
    steps = (
        (
            "ingestion_program",
            {
                "bundle/ingestion_program": "program",
                "mine": "ingested_program",
                "bundle/input_data": "input_data",
                "prediction": "output",
            },
        ),
        ("scoring_program", {"bundle/scoring_program": "program", "input": "input", "scores": "output"}),
    )
    for program, mounts in steps:
        metadata = yaml.safe_load((tmp_path / "bundle" / program / "metadata.yaml").read_text())
        volumes = [f"--volume={tmp_path / host}:/app/{inside}" for host, inside in mounts.items()]
        run_in(PLATFORM_IMAGE, *metadata["command"].split(" "), options=(*volumes, "--workdir=/app/program"))
        if program == "ingestion_program":
            shutil.copytree(tmp_path / "prediction", tmp_path / "input/res")
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    (results,) = run(
        tmp_path / "secret.yaml", [tmp_path / "mine.zip"], tmp_path / "runs", isolation="none"
    ).values()
    home = score_card(results).to_flat()
    assert scores == pytest.approx({k: home[k] for k in scores}, rel=1e-9)
