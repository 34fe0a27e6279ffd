"""The wheel holds what the tree holds, and works where nothing else of the project is."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

FOLDERS = {
    "src/fairuniverse": "fairuniverse",
    "simulators": "fairuniverse/simulators",
    "scoring": "fairuniverse/scoring",
    "baselines": "fairuniverse/baselines",
    "configs": "fairuniverse/configs",
}


def run(*command: object, **options) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """Wheel built from a copy of the tracked and new files, so that no stale build folder helps."""
    source = tmp_path_factory.mktemp("source")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=root).splitlines()
    for name in listed:
        if (root / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((root / name).read_bytes())
    output = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", output, source)
    return next(output.glob("*.whl"))


def test_the_wheel_holds_every_module_and_data_file(root, wheel):
    """No sub-package vanishes from the wheel, and nothing but the package is in it."""
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"{package}/{path.relative_to(root / folder).as_posix()}"
        for folder, package in FOLDERS.items()
        for path in (root / folder).rglob("*")
        if path.suffix in (".py", ".yaml", ".json", ".npz") and "egg-info" not in str(path)
    }
    assert not expected - names
    assert any(n.endswith("_kernel.so") for n in names)
    assert {n.split("/")[0].split("-")[0] for n in names} == {"fairuniverse"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Folder of commands of a new environment with the wheel; libraries come from this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # Without --ignore-installed pip would remove the package from the environment of the tests.
    options = ("--quiet", "--no-deps", "--ignore-installed", "--prefix", folder)
    run(sys.executable, "-m", "pip", "install", *options, wheel)
    # The path of this environment, but not its import hooks: they would find the working tree.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_installed_wheel_runs_the_chain(installed, tmp_path):
    """Simulate, shift and list work from the wheel alone, from another folder, with an empty home."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONNOUSERSITE": "1"}

    def fairuniverse(*arguments: object) -> str:
        return run(installed / "python", "-m", "fairuniverse", *arguments, cwd=tmp_path, env=environment)

    where = run(
        installed / "python",
        "-c",
        "import fairuniverse.simulators as s; print(s.__file__)",
        cwd=tmp_path,
        env=environment,
    )
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert "higgs_tautau" in fairuniverse("list")
    assert "wrote 400 events" in fairuniverse("simulate", "--events", 100, "-o", "t.parquet")
    assert "of 400 events" in fairuniverse("shift", "t.parquet", "s.parquet", "--tes", 1.02, "--soft-met", 1)
