"""Runs on a real Slurm of two nodes, which live on this machine."""

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

import loopback_slurm as slurm
from conftest import ROOT, make_tiny
from fairuniverse import api
from fairuniverse.errors import ExecutorError
from fairuniverse.executors import jobs
from fairuniverse.executors.dask import DaskCluster
from fairuniverse.executors.jobs import JobCluster
from fairuniverse.store import read_results
from sample_runs import TESTS, assert_same, run, wait_for_part

pytestmark = [
    pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing()),
    # Dask leaves a socket behind with which it has tried the port of the dashboard.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket"),
]

JOBS = {
    "cores": 1,
    "processes": 1,
    "memory": "2GB",
    "walltime": "00:10:00",
    "queue": "debug",
    "interface": "lo",
    "scheduler_options": {"dashboard_address": None, "host": "127.0.0.1"},
    "worker_extra_args": ["--no-dashboard"],
    "job_script_prologue": [f"export PYTHONPATH={TESTS}"],
}


@pytest.fixture(scope="module")
def cluster_file():
    """What a user writes to describe the cluster."""
    pytest.importorskip("dask_jobqueue", reason="the extra 'cluster' is not installed")
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        folder.chmod(0o755)  # munge has a user of its own
        jobs = {**JOBS, "log_directory": str(folder / "jobs"), "local_directory": str(folder / "local")}
        file = folder / "slurm.yaml"
        file.write_text(yaml.safe_dump({"SLURMCluster": jobs}))
        with slurm.slurm(folder) as configuration:
            patch.setenv("SLURM_CONF", str(configuration))
            yield file


@pytest.fixture
def occupied_dashboard():
    """Somebody else on the same machine has the port of Dask's dashboard."""
    with socket.socket() as other:
        with suppress(OSError):  # somebody really has it
            other.bind(("", 8787))
            other.listen()
        yield


def cancel_one(folder):
    """Cancel a job once a block of toys is done."""
    wait_for_part(folder)
    job = subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True).stdout.split()[0]
    subprocess.run(["scancel", job], check=True)


@pytest.mark.usefixtures("occupied_dashboard")
def test_the_quick_benchmark_with_a_job_cancelled(cluster_file, tmp_path):
    """One of two jobs ends in the middle of it: the same table, bit for bit, and manifest and status tell."""
    serial = api.run("quick", ["counting"], tmp_path / "serial")
    killer = threading.Thread(target=cancel_one, args=(tmp_path / "slurm",), daemon=True)
    killer.start()
    found = api.run("quick", ["counting"], tmp_path / "slurm", cluster=cluster_file, n_workers=2, n_threads=1)
    killer.join()
    assert_same(found, serial)
    assert (found["counting"].table["status"] == "ok").all()
    (session,) = found["counting"].manifest["sessions"]
    assert session["executor"].startswith("Dask at tcp://127.0.0.1")
    assert session["n_workers_lost"] >= 1
    assert any("which was lost, had begun" in retry for retry in session["retries"])


def documented_job():
    """The job script of the documentation."""
    text = (ROOT / "docs" / "cluster.md").read_text()
    (job,) = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", text, re.DOTALL)
    return job


HERE = ["--partition=debug", "--nodes=2", "--ntasks-per-node=1", "--time=10", "--wait", "--export=ALL"]


def test_the_documented_job(cluster_file, tmp_path, monkeypatch):
    """As it is written, but for the size: from a benchmark and a submission to scores."""
    (tmp_path / "fairuniverse" / "bin").mkdir(parents=True)
    programs = Path(sys.executable).parent
    (tmp_path / "fairuniverse" / "bin" / "activate").write_text(f"PATH={programs}:$PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    benchmark = make_tiny(n_toys=20)
    Path("my-benchmark.yaml").write_text(json.dumps(asdict(benchmark.config)))
    shutil.copytree(TESTS / "submissions" / "counting", "submissions/counting")
    Path("benchmark.sh").write_text(documented_job())
    done = subprocess.run(["sbatch", *HERE, "benchmark.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, [done.stderr, *(log.read_text() for log in Path().glob("*.log"))]
    here = run(tmp_path / "here", ["counting"], n_toys=20)
    there = {"counting": read_results(Path("runs/counting"))}
    assert_same(there, here)
    assert there["counting"].manifest["sessions"][0]["executor"].startswith("Dask at tcp://")
    assert (tmp_path / "scores" / "counting" / "scores.json").is_file()


def changed(cluster_file, folder, **options):
    """The same cluster with other options."""
    described = yaml.safe_load(cluster_file.read_text())
    described["SLURMCluster"] |= options
    (file := folder / "slurm.yaml").write_text(yaml.safe_dump(described))
    return file


def test_a_job_that_is_not_taken(cluster_file, tmp_path):
    """The run ends with the words of the batch system, instead of waiting for ever."""
    with pytest.raises(ExecutorError, match=r"takes no job .*invalid partition specified: nosuch"):
        DaskCluster(cluster=changed(cluster_file, tmp_path, queue="nosuch"))


def test_jobs_that_end_at_once(cluster_file, tmp_path, monkeypatch, caplog):
    """A run without workers says now and then where to look."""
    monkeypatch.setattr(jobs, "HINT_S", 1.0)
    cluster = JobCluster(changed(cluster_file, tmp_path, python="/nonexistent/python"), 1)
    try:
        for _ in range(4):
            cluster.require_hope()
            time.sleep(0.5)
    finally:
        cluster.cluster.close()
    assert "no job has a worker: see whether they wait in the queue" in caplog.text
