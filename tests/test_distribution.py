"""Runs whose toys are answered by other processes, on this machine and on a Dask cluster."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from conftest import make_tiny
from fairuniverse.distribution import Site
from fairuniverse.executors import DaskCluster, ProcessPool
from fairuniverse.isolation.backends import NoIsolation
from fairuniverse.runner import run_submissions
from fairuniverse.submission import load_submission

TESTS = Path(__file__).parent
COSTS = ["wall_time_s", "cpu_time_s", "memory_mib", "submission"]


def run(folder, names, executor=None, **options):
    """Results of sample submissions in the tiny world by name."""
    make = partial(make_tiny, **options)
    site = executor and Site(executor, make, NoIsolation)
    loaded = [(load_submission(TESTS / "submissions" / name), folder / name) for name in names]
    results = run_submissions(make(), loaded, backend=NoIsolation(), site=site)
    return dict(zip(names, results, strict=True))


def assert_same(first, second):
    """The same answers, bit for bit."""
    for name in first:
        tables = (results[name].table.drop(columns=COSTS, errors="ignore") for results in (first, second))
        pd.testing.assert_frame_equal(*tables, check_exact=True)


NAMES = ["counting", "keeps_training", "unpicklable", "always_dies"]


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """Everything in one process."""
    return run(tmp_path_factory.mktemp("serial"), NAMES, n_toys=30)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_pool_of_processes_gives_the_same_bits(serial, tmp_path, n_workers):
    """Also for submissions that keep dying, and for one that only the fitting process has."""
    with ProcessPool(n_workers) as pool:
        pooled = run(tmp_path, NAMES, pool, n_toys=30)
    assert_same(pooled, serial)
    (session,) = pooled["counting"].manifest["sessions"]
    assert session["executor"] == f"{n_workers} processes"
    assert session["n_processes"] <= n_workers
    assert session["retries"] == []


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """Address of a Dask scheduler with two workers, each a process that was started as its users start it."""
    pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    folder = tmp_path_factory.mktemp("dask")
    file, environment = folder / "scheduler.json", {**os.environ, "PYTHONPATH": str(TESTS)}
    dask = [sys.executable, "-m", "dask"]
    quiet = ["--no-dashboard", "--scheduler-file", file]
    with ExitStack() as stack:

        def start(*command):
            process = subprocess.Popen(
                [*dask, *command], cwd=folder, env=environment, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)

        start("scheduler", "--host", "127.0.0.1", "--port", "0", *quiet)
        for _ in range(2):
            start("worker", "--nthreads", "1", "--memory-limit", "0", *quiet)
        while not file.exists():
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"]


def test_a_dask_cluster_gives_the_same_bits(serial, scheduler, tmp_path):
    """Started by somebody else, and known by its address."""
    with DaskCluster(scheduler) as cluster:
        found = run(tmp_path, NAMES, cluster, n_toys=30)
    assert_same(found, serial)
    assert found["counting"].manifest["sessions"][0]["executor"].startswith(f"Dask at {scheduler}")
