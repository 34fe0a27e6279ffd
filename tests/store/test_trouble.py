"""Disks that are full or read-only, writers that are killed or meet: nothing finished is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from fairuniverse.api import run_status, score_runs
from fairuniverse.cli import main
from fairuniverse.errors import StorageError
from fairuniverse.executors.processes import ProcessPool
from fairuniverse.store import RunFolder, compact, parts_of, read_manifest, read_results
from sample_runs import assert_same, run
from small_runs import make_run

N_TOYS = 30
ROOM = 36_000
"""Bytes that are left on a disk: enough for a run to begin and to write some parts."""


@contextmanager
def mounted(*arguments):
    """A mount, where this may be done."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield arguments[-1]
    finally:
        subprocess.run(["umount", "--lazy", arguments[-1]], check=True)


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=2m", "tmpfs", folder):
        yield folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Results without a disturbance."""
    return run(tmp_path_factory.mktemp("whole"), ["counting"], n_toys=N_TOYS)


def fill(disk: Path) -> Path:
    """Leave little room; gives back what takes it."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - ROOM))
    return ballast


@pytest.mark.parametrize("is_pool", [False, True], ids=["threads", "processes"])
def test_a_disk_that_fills_up(whole, disk, is_pool):
    """One message with value, rule and remedy; what is finished is there, and the same command goes on."""
    ballast = fill(disk)

    def again():
        if not is_pool:
            return run(disk / "runs", ["counting"], n_toys=N_TOYS)
        with ProcessPool(1) as pool:
            return run(disk / "runs", ["counting"], pool, n_toys=N_TOYS)

    message = r"cannot write to .*runs/counting \(No space left on device\): free space.*same command goes on"
    with pytest.raises(StorageError, match=message):
        again()
    (status,) = run_status([disk / "runs"])
    assert status.state == "stopped"
    assert 0 < status.account.n_answered < status.n_toys
    kept = read_results(disk / "runs").table
    ballast.unlink()
    found = again()
    assert_same(found, whole)
    both = found["counting"].table[(kept["status"] == "ok").to_numpy()].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept[kept["status"] == "ok"].reset_index(drop=True), both)


def test_a_full_disk_cannot_be_merged_on(disk):
    """Its parts stay, whole, until there is room."""
    run(disk / "runs", ["counting"], n_toys=N_TOYS)
    before = read_results(disk / "runs").table
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
    with pytest.raises(StorageError, match="No space left on device"):
        compact(disk / "runs" / "counting")
    pd.testing.assert_frame_equal(read_results(disk / "runs").table, before)
    ballast.unlink()
    assert compact(disk / "runs" / "counting").n_after == 1
    pd.testing.assert_frame_equal(read_results(disk / "runs").table, before)


def test_a_disk_that_is_read_only(whole, tmp_path):
    """It is told in one line, runs can be read from it, and they go on once it can be written."""
    run(tmp_path / "runs", ["counting"], n_toys=N_TOYS)
    for part in list(tmp_path.glob("runs/counting/parts/*"))[1:]:
        part.unlink()
    before = read_results(tmp_path / "runs").table
    with mounted("--bind", tmp_path / "runs", tmp_path / "runs"):
        subprocess.run(["mount", "-o", "remount,bind,ro", tmp_path / "runs"], check=True)
        with pytest.raises(StorageError, match=r"cannot write to .*counting \(Read-only file system\)"):
            run(tmp_path / "runs", ["counting"], n_toys=N_TOYS)
        refused = CliRunner().invoke(main, ["compact", str(tmp_path / "runs")])
        assert refused.exit_code == 1
        (line,) = refused.output.splitlines()
        assert "Read-only file system): free space, get permission, or give another run folder" in line
        assert score_runs([tmp_path / "runs"])[0].n_failed == (before["status"] != "ok").sum() > 0
        assert run_status([tmp_path / "runs"])[0].state == "stopped"
    assert_same(run(tmp_path / "runs", ["counting"], n_toys=N_TOYS), whole)


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process that has the test's helpers."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    )


WRITER = """
import sys
from fairuniverse.store import RunFolder
from small_runs import row
folder = RunFolder(sys.argv[1], sys.argv[2])
folder.write_part([row(0, i) for i in range(3)])
print("ready", flush=True)
while True:
    folder.write_part([row(0, i) for i in range(3)])
"""


def test_two_processes_write_one_part(shared):
    """Over and over at the same time: whoever reads finds a whole one."""
    make_run(shared, [])
    folder = RunFolder(shared, read_manifest(shared)["run"])
    writers = [start(WRITER, shared, folder.run) for _ in range(2)]
    try:
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert [r["mu_hat"] for r in folder.rows()] in ([], [1.5] * 3)
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert folder.finished() == {(0, 0), (0, 1), (0, 2)}
    assert len(parts_of(folder.folder, folder.run)) == 1


MANY = """
import os, sys
from fairuniverse.store import RunFolder
from small_runs import row
noise = lambda n: os.urandom(n // 2).hex()
folder = RunFolder(sys.argv[1], sys.argv[2])
for i in range(10**6):
    folder.write_part([row(0, 3 * i + k, message=noise(600_000)) for k in range(3)])
    if not i:
        print("ready", flush=True)
"""


def test_a_killed_writer_leaves_no_half_part(shared):
    """At whatever moment: each part that has its name has all its rows, and the next session cleans up."""
    make_run(shared, [])
    folder = RunFolder(shared, read_manifest(shared)["run"])
    delays = random.Random(5)
    for _ in range(2):
        with start(MANY, shared, folder.run) as writer:
            assert writer.stdout.readline() == "ready\n"
            time.sleep(delays.uniform(0.0, 0.2))
            writer.send_signal(signal.SIGKILL)
        rows = folder.rows()
        assert len(rows) == 3 * len(parts_of(folder.folder, folder.run)) > 0
        assert all(len(r["message"]) == 600_000 for r in rows)
