"""Runs in a real object store: made by workers, killed, gone on with, and read by every command."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from conftest import ROOT
from fairuniverse.cli import main
from fairuniverse.errors import StorageError
from fairuniverse.executors.processes import ProcessPool
from fairuniverse.store import find_runs, open_place, read_manifest
from sample_runs import TESTS, assert_same, run

NAMES = ["counting", "unpicklable", "fails_to_fit"]

CONFIG = f"""
name: tiny
version: "1"
seed: 3
simulator: {{name: {ROOT / "tests" / "tiny_world.py"}}}
nuisances: [scale, bkg_scale]
training:
  n_events: {{signal: 1000, background: 2000}}
pseudo_experiments:
  n_mu: 2
  n_toys: 10
  n_events: {{signal: 1000, background: 2000}}
"""


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """The same in one process, on a file system."""
    return run(tmp_path_factory.mktemp("serial"), NAMES, n_toys=10)


def invoke(*arguments: object) -> str:
    """Output of a command that must succeed."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_workers_share_a_bucket(serial, s3):
    """Models, parts and logs travel through it; the answers are the same, bit for bit."""
    url = f"{s3}/{uuid4().hex}"
    with ProcessPool(2) as pool:
        found = run(open_place(url), NAMES, pool, n_toys=10)
    assert_same(found, serial)
    counting = open_place(f"{url}/counting")
    files = " ".join(sorted(counting.files()))
    assert re.search(r"fit-\w+\.json manifest\.json model-\w+\.tar truths\.parquet", files)
    assert len(counting.files("parts")) >= 2
    for name, words in (("unpicklable", b"fitting"), ("fails_to_fit", b"cannot work")):
        place = open_place(f"{url}/{name}")
        logs = [place.read(file) for file in place.files() if file.endswith(".log")]
        assert any(words in log for log in logs)  # though the worker that knew it is gone
    assert not counting.is_locked()


def test_the_host_fills_a_bucket(serial, s3):
    """With workers of its own, too."""
    assert_same(run(open_place(f"{s3}/{uuid4().hex}"), ["counting"], n_toys=10), serial)


def test_a_killed_client_costs_nothing(s3, tmp_path):
    """What workers had written stays, and the same command goes on; no toy is missing or twice."""
    whole, url = run(tmp_path, ["slow"], n_toys=20), f"{s3}/{uuid4().hex}"
    code = "from sample_runs import run; from fairuniverse.store import open_place\n"
    code += f"run(open_place({url!r}), ['slow'], n_toys=20)"
    parts = open_place(f"{url}/slow")
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(TESTS)}
    ) as client:
        end = time.monotonic() + 120
        while not parts.files("parts"):
            assert client.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        client.send_signal(signal.SIGKILL)
    n_kept = len(parts.files("parts"))
    assert json.loads(invoke("status", url, "--json"))[0]["n_answered"] > 0
    found = run(open_place(url), ["slow"], n_toys=20)
    assert_same(found, whole)
    assert len(read_manifest(parts)["sessions"]) == 2
    assert len(parts.files("parts")) > n_kept


@pytest.fixture(scope="module")
def commands(s3, tmp_path_factory) -> tuple[Path, str]:
    """A folder, and the URL of runs that the command line made with its configuration."""
    folder, url = tmp_path_factory.mktemp("commands"), f"{s3}/{uuid4().hex}/runs"
    (folder / "tiny.yaml").write_text(CONFIG)
    submission = ROOT / "tests" / "submissions" / "counting"
    invoke("run", folder / "tiny.yaml", submission, "--output", url, "--isolation", "none")
    return folder, url


def test_every_command_reads_a_url(commands):
    """The tables are those of a copy on this machine."""
    folder, url = commands
    (remote,) = find_runs(url)
    copy = folder / "runs" / "counting"
    (copy / "parts").mkdir(parents=True)
    for name in (*remote.files(), *remote.files("parts")):
        (copy / name).write_bytes(remote.read(name))
    assert invoke("score", url) == invoke("score", copy)
    assert invoke("table", url) == invoke("table", copy.parent)
    assert json.loads(invoke("status", url, "--json"))[0]["state"] == "finished"
    for source, name in ((url, "remote"), (copy.parent, "local")):
        invoke("export", f"{source}/counting", "--output", folder / name)
        invoke("leaderboard", source, "--output", folder / f"{name}-site")
    pages = ("predictions/result_0.json", "reference/test_settings.json")
    for page in pages:
        assert (folder / "remote" / page).read_text() == (folder / "local" / page).read_text()
    assert (folder / "remote-site" / "index.html").is_file()
    invoke("report", url, "--output", folder / "report.html")
    assert "counting" in (folder / "report.html").read_text()
    invoke("compact", url)
    assert len(remote.files("parts")) == 1
    assert invoke("score", url) == invoke("score", copy)


def test_runs_are_read_over_plain_http(commands, tmp_path):
    """A folder of runs that a web server lists can be scored, and nothing can be written to it."""
    pytest.importorskip("aiohttp")
    _, url = commands
    (remote,) = find_runs(url)
    copy = tmp_path / "runs" / "counting"
    (copy / "parts").mkdir(parents=True)
    for name in (*remote.files(), *remote.files("parts")):
        (copy / name).write_bytes(remote.read(name))
    server = [
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "0",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(tmp_path),
    ]
    with subprocess.Popen(server, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            port = process.stdout.readline().split(" port ")[1].split()[0]
            web = f"http://127.0.0.1:{port}/runs"
            assert invoke("score", web) == invoke("score", copy)
            assert json.loads(invoke("status", web, "--json"))[0]["state"] == "finished"
            with pytest.raises(StorageError, match=r"cannot write to http://127.0.0.1"):
                run(open_place(f"{web}/others"), ["counting"], n_toys=2)
        finally:
            process.terminate()
