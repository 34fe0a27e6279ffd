"""Runs whose toys are answered by other processes, on this machine and on a Dask cluster."""

import re
import threading
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairuniverse import backlog, runner, team
from fairuniverse.distribution import Site
from fairuniverse.executors import ProcessPool, WorkerLostError
from fairuniverse.executors import dask as dask_executor
from fairuniverse.executors.dask import DaskCluster
from fairuniverse.isolation.backends import NoIsolation
from fairuniverse.production import Sample
from fairuniverse.runner import run_submissions
from fairuniverse.store import RunStore
from fairuniverse.submission import load_submission
from fairuniverse.tasks import answer
from loopback_dask import dask
from processes import running_below
from sample_runs import NAMES, assert_same, make_recording, run, wait_for_part
from tiny_blocks import TinyBlocks

SUBMISSIONS = Path(__file__).parents[1] / "submissions"


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
    assert session["n_workers_lost"] == 0


def test_answers_from_remembered_toys_are_found_by_several_processes(tmp_path):
    """Beside an honest method, whichever process asks about which toys."""
    with ProcessPool(2) as pool:
        found = run(tmp_path, ["counting", "hostile_remembers"], pool, n_mu=1, n_toys=20)
    statuses = {name: results.manifest["repeatability"] for name, results in found.items()}
    assert statuses["counting"]["status"] == "ok"
    assert statuses["counting"]["n_toys"] == 4
    assert statuses["hostile_remembers"]["status"] == "order_dependent"


class Noting(ProcessPool):
    """A pool that notes what it is asked to do."""

    def __init__(self, n_workers):
        super().__init__(n_workers)
        self.tasks = []

    def submit(self, function, /, *arguments):
        """As usual."""
        self.tasks.append(function.__name__)
        return super().submit(function, *arguments)


def test_toys_are_asked_again_while_others_are_answered(tmp_path, monkeypatch):
    """In one task, as long as others have work, and not once more in the end."""
    monkeypatch.setattr(backlog, "TASK_S", 0.0)
    with Noting(1) as pool:
        found = run(tmp_path, ["counting", "slow"], pool, n_toys=30)
    assert pool.tasks.count("ask_again") == 1
    assert pool.tasks.index("ask_again") < len(pool.tasks) - 2
    assert [r.manifest["repeatability"]["n_toys"] for r in found.values()] == [4, 4]


class DoingTwice(ProcessPool):
    """A pool that does the first block of toys again by itself, as Dask does when it loses a result."""

    def submit(self, function, /, *arguments):
        """Gives back what the second time brings."""
        if function is answer and not getattr(self, "has_done", False):
            self.has_done = True
            super().submit(function, *arguments).result()
        return super().submit(function, *arguments)


def test_what_died_is_known_though_its_block_was_done_before(serial, tmp_path):
    """Deaths that nobody told of count: what follows is not tried, in the same words."""
    with DoingTwice(1) as pool:
        found = run(tmp_path, NAMES, pool, n_toys=30)
    assert_same(found, serial)


class LosingReports(ProcessPool):
    """A pool that loses a worker after it has written its first block of toys."""

    has_lost = False

    def submit(self, function, /, *arguments):
        """As usual, but for that loss."""
        future = super().submit(function, *arguments)
        if function is answer and not self.has_lost:
            self.has_lost = True
            future.result()
            future = Future()
            future.set_exception(WorkerLostError("it ended"))
        return future


def test_toys_that_a_lost_worker_had_answered_are_not_asked_again(serial, tmp_path):
    """Each row is there once."""
    with LosingReports(1) as pool:
        found = run(tmp_path, ["counting"], pool, n_toys=30)
    assert_same(found, {"counting": serial["counting"]})
    assert sum(len(pd.read_parquet(part)) for part in tmp_path.glob("counting/parts/*")) == 60
    (retry,) = found["counting"].manifest["sessions"][0]["retries"]
    assert "it ended" in retry


@pytest.mark.parametrize("n_workers", [0, 2])
def test_what_is_given_up_does_not_depend_on_interruptions(serial, tmp_path, monkeypatch, n_workers):
    """A session that was killed had tried later toys; the next one says what an undisturbed run says."""
    with monkeypatch.context() as patient:
        patient.setattr(team, "MAX_DEATHS", 10)
        tried = run(tmp_path, ["always_dies"], n_toys=30)["always_dies"].table
    assert (~tried["message"].str.startswith("not tried")).sum() == 10
    with RunStore(tmp_path / "always_dies", {}) as store:
        store.forget([3, *range(10, 60)])
    with ProcessPool(n_workers) if n_workers else nullcontext() as pool:
        found = run(tmp_path, ["always_dies"], pool, n_toys=30)
    assert_same(found, {"always_dies": serial["always_dies"]})


def fit_recorded(folder, executor):
    """Times that training events are made for three submissions, none of which needs them for the toys."""
    (records := folder / "records").mkdir()
    make = partial(make_recording, records)
    names = ["counting", "slow", "hostile_remembers"]
    submissions = [(load_submission(SUBMISSIONS / name), folder / name) for name in names]
    site = Site(partial(nullcontext, executor), make, NoIsolation)
    results = run_submissions(make(1), submissions, backend=NoIsolation(), site=site)
    assert [r.manifest["fit"]["status"] for r in results] == ["ok"] * 3
    return len(list(records.iterdir()))


def test_fits_of_a_machine_share_training_events(tmp_path):
    """Those of a pool of processes."""
    with ProcessPool(2) as pool:
        assert fit_recorded(tmp_path, pool) == 1


def kill_one(folder):
    """End a process of a pool once a block of toys is done."""
    wait_for_part(folder)
    running_below("spawn_main")[0].kill()


def test_a_process_that_is_killed_changes_nothing(tmp_path, monkeypatch):
    """Its block is done again, by a new process; no toy is missing or twice, and the manifest tells."""
    monkeypatch.setattr(backlog, "TASK_S", 0.1)
    whole = run(tmp_path / "whole", ["slow"], n_toys=60)
    killer = threading.Thread(target=kill_one, args=(tmp_path / "killed",), daemon=True)
    with ProcessPool(2) as pool:
        killer.start()
        found = run(tmp_path / "killed", ["slow"], pool, n_toys=60)
    killer.join()
    assert_same(found, whole)
    rows = pd.concat([pd.read_parquet(p) for p in tmp_path.glob("killed/slow/parts/part-*.parquet")])
    assert len(rows) == 120
    (session,) = found["slow"].manifest["sessions"]
    assert session["n_workers_lost"] == 1
    assert any("a worker process ended" in retry for retry in session["retries"])


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """Address of a Dask scheduler with two workers, each a process that was started as its users start it."""
    distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    with dask(tmp_path_factory.mktemp("dask")) as cluster:
        with distributed.Client(cluster.address) as client:
            client.wait_for_workers(2, timeout=60)
        yield cluster.address


def test_a_dask_cluster_gives_the_same_bits(serial, scheduler, tmp_path, monkeypatch, capsys):
    """Started by somebody else, and known by its address; the log of a job tells how far it is."""
    monkeypatch.setattr(runner, "LINE_S", 0.0)
    with DaskCluster(scheduler, timeout_s=120) as cluster:
        found = run(tmp_path, NAMES, cluster, n_toys=30)
    assert_same(found, serial)
    session = found["counting"].manifest["sessions"][0]
    assert session["executor"].startswith(f"Dask at {scheduler}")
    assert session["n_workers"] == 2
    log = capsys.readouterr().err
    assert f"on Dask at {scheduler}" in log
    assert re.search(r"\d+ of 240 answers, \d processes, [\d.]+ core-hours", log)


def test_fits_of_a_worker_share_training_events(scheduler, tmp_path):
    """On a cluster, each process makes them once."""
    with DaskCluster(scheduler, timeout_s=120) as cluster:
        assert fit_recorded(tmp_path, cluster) <= 2


def test_a_sample_made_on_a_cluster(scheduler, tmp_path):
    """Blocks of a slow simulation are tasks like any others: the same events as in one process here."""
    wanted = {"signal": 15, "background": 30}
    here = Sample(tmp_path / "here", TinyBlocks, 1)
    there = Sample(tmp_path / "there", TinyBlocks, 1)
    expected = here.table(here.produce(wanted)).events
    with DaskCluster(scheduler, timeout_s=120) as cluster:
        found = there.table(there.produce(wanted, executor=cluster)).events
    np.testing.assert_array_equal(found.features, expected.features)
    assert here.n_made(wanted) == there.n_made(wanted) == len(found)


def test_a_worker_that_is_lost_with_a_block(tmp_path, monkeypatch):
    """Dask has another one make it; the same events, and the manifest tells."""
    distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    monkeypatch.setattr(dask_executor, "_LOOK_S", 0.1)
    wanted = {"background": 200}
    expected = Sample(tmp_path / "here", TinyBlocks, 1).produce(wanted)["background"]
    (tmp_path / "dask").mkdir()
    make = partial(TinyBlocks, trouble="die once", at=4, marks=str(tmp_path), wait_s=0.7)
    there = Sample(tmp_path / "there", make, 1)
    with dask(tmp_path / "dask") as cluster, DaskCluster(cluster.address, timeout_s=120) as executor:
        with distributed.Client(cluster.address) as client:
            client.wait_for_workers(2, timeout=60)
        assert there.produce(wanted, executor=executor)["background"] == expected
    assert there.manifest["n_workers_lost"] == 1
    (again,) = there.manifest["given_again"]
    assert "which was lost, had begun" in again
    assert there.manifest["failures"] == []
