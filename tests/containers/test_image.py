"""The image: what its recipe promises, and scoring and a competition in it, as a platform would run them."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from fairuniverse.scoring import score_card
from fairuniverse.scoring.official import write_official
from fairuniverse.scoring.truth import write_truth

from codabench.test_steps import CONFIG, zipped
from containers import images
from containers.images import WALLS, podman
from fairuniverse.api import bundle, run
from interval_toys import gaussian_results

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def image() -> str:
    """Name of the image, built if need be."""
    try:
        return images.image()
    except images.UnavailableError as error:
        pytest.skip(str(error))


def run_in(image: str, *command: object, options: tuple[str, ...] = ()) -> str:
    """What a command in the container prints; it must succeed."""
    done = podman("run", *WALLS, *options, image, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def recipe() -> str:
    """The Containerfile without its comments."""
    text = (ROOT / "scoring" / "Containerfile").read_text()
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def test_the_recipe_copies_what_the_package_is_made_of():
    """Every folder that pyproject.toml maps, and every file the build reads, is let through, and no more."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {path.split("/")[0] for path in project["tool"]["setuptools"]["package-dir"].values()}
    files = {
        "pyproject.toml",
        "setup.py",
        "constraints.txt",
        *re.findall(r"README\.md|LICENSE", str(project)),
    }
    assert re.findall(r"^COPY (?!--from)(.*)$", recipe(), re.M) == [". ."]
    passed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert passed == folders | files
    assert {file.relative_to(ROOT).parts[0] for file in images.sources()} == passed


def test_the_recipe_is_pinned_and_its_image_is_nobodys():
    """A base of a stated version, packages of constraints.txt, no root at the end, no entry point."""
    text = recipe()
    assert re.search(r"^ARG BASE=\S+:\d+\.\d+\.\d+\S*$", text, re.M)
    commands = re.sub(r"\\\n\s*", "", text)
    installs = re.findall(r"/pip (?:--python \S+ )?install [^&\n]*", commands)
    assert len(installs) == 2
    assert all(re.search(r"-c (/opt/wheel/)?constraints\.txt", line) for line in installs)
    assert re.findall(r"^USER (\S+)", text, re.M)[-1] == "65534:65534"
    assert text.rindex("USER") > text.rindex("FROM")
    assert "ENTRYPOINT" not in text


def apptainer() -> dict[str, str]:
    """Sections of the Apptainer definition by name; the header is ``""``."""
    text = (ROOT / "scoring" / "apptainer.def").read_text()
    name, *rest = re.split(r"^%(\w+)\n", "\n" + text, flags=re.M)
    return {"": name, **dict(zip(rest[::2], rest[1::2], strict=True))}


def test_the_apptainer_definition_says_what_the_recipe_says():
    """It takes the archive that its comment writes, of the recipe's image, and sets the recipe's PATH."""
    sections = apptainer()
    header = dict(re.findall(r"^(\w+): (.*)$", sections[""], re.M))
    assert header == {"Bootstrap": "oci-archive", "From": "fairuniverse.tar"}
    assert "podman build -f scoring/Containerfile -t fairuniverse ." in sections[""]
    assert f"--format {header['Bootstrap']} -o {header['From']} localhost/fairuniverse" in sections[""]
    (path,) = re.findall(r"export PATH=(\S+)", sections["environment"])
    assert f"ENV PATH={path} " in recipe()
    assert sections.keys() == {"", "environment", "runscript", "test"}


def test_the_apptainer_definition_works_in_the_image(image):
    """Its test and its run script, with its environment, as Apptainer would run them: as whoever calls."""
    sections = apptainer()
    anybody = ("--user=12345:12345", "--env=PATH=/usr/bin:/bin")
    for section, arguments, printed in (
        ("test", (), "fairuniverse, version"),
        ("runscript", ("score", "--help"), "Usage: fairuniverse score"),
    ):
        script = f"set -e\n{sections['environment']}\n{sections[section]}"
        assert printed in run_in(image, "sh", "-c", script, "sh", *arguments, options=anybody)


def test_the_image_runs_as_nobody_and_is_complete(image):
    """The default user has no rights, pages of data files are installed, nothing of the build is left."""
    assert run_in(image, "id", "-u").strip() == "65534"
    assert run_in(image, "fairuniverse", "--version").startswith("fairuniverse, version")
    code = "from importlib.resources import files; print(*files('fairuniverse.codabench.pages').iterdir())"
    assert run_in(image, "python3", "-c", code).count(".md") == 5
    assert run_in(image, "sh", "-c", "ls /opt").split() == ["fairuniverse"]


def test_scoring_in_the_image_gives_the_same_scores(image, tmp_path):
    """Without a network and with a root that cannot be written, scores.json is what it is outside."""
    results = gaussian_results(n_toys=10)
    write_truth(results, tmp_path / "ref")
    write_official(results, tmp_path / "in")
    (tmp_path / "out").mkdir(mode=0o777)
    (tmp_path / "out").chmod(0o777)
    volumes = [f"--volume={tmp_path / n}:/{n}:{'rw' if n == 'out' else 'ro'}" for n in ("in", "ref", "out")]
    command = ("fairuniverse", "score", "--predictions", "/in", "--reference", "/ref", "--output", "/out")
    run_in(image, *command, options=tuple(volumes))
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == pytest.approx(
        {k: v for k, v in score_card(results).to_flat().items() if not k.startswith(("wall", "cpu", "peak"))},
        rel=1e-9,
    )
    assert "<svg" in (tmp_path / "out" / "detailed_results.html").read_text(encoding="utf-8")


def test_both_steps_of_a_platform_in_the_image(image, tmp_path):
    """With the platform's mounts and its commands, a submission gets the scores it would get at home."""
    platform_image = f"{image}-platform"
    (tmp_path / "secret.yaml").write_text(CONFIG)
    bundle(tmp_path / "secret.yaml", tmp_path / "bundle", image=platform_image, n_threads=1)
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
        run_in(platform_image, *metadata["command"].split(" "), options=(*volumes, "--workdir=/app/program"))
        if program == "ingestion_program":
            shutil.copytree(tmp_path / "prediction", tmp_path / "input/res")
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    (results,) = run(
        tmp_path / "secret.yaml", [tmp_path / "mine.zip"], tmp_path / "runs", isolation="none"
    ).values()
    home = score_card(results).to_flat()
    assert scores == pytest.approx({k: home[k] for k in scores}, rel=1e-9)
