"""Whatever ends in the middle of a run, what was finished stays, and the same command goes on."""

import os
import re
import signal
import subprocess
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pandas as pd
import psutil
import pytest
import yaml

from conftest import ROOT
from fairuniverse import tasks
from fairuniverse.distribution import Site
from fairuniverse.errors import ExecutorError, InvalidDataError, StorageError
from fairuniverse.executors import ProcessPool
from fairuniverse.isolation.backends import NoIsolation
from fairuniverse.runner import run_submissions
from fairuniverse.store import LocalPlace, RunStore, read_manifest
from fairuniverse.submission import load_submission
from fairuniverse.tasks import Block, Job, answer
from loopback_dask import dask
from processes import running_below
from sample_runs import TESTS, assert_same, client_command, make_benchmark, run, wait_for_part

NAMES = ["slow", "always_dies"]
N_TOYS = 30


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Results without a disturbance."""
    return run(tmp_path_factory.mktemp("undisturbed"), NAMES, n_toys=N_TOYS)


@pytest.fixture(scope="module")
def dask_folder(tmp_path_factory):
    """Folder for a Dask cluster, where Dask is installed."""
    pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    return tmp_path_factory.mktemp("dask")


def rows_of(folder):
    """All rows of the parts of a run."""
    return pd.concat([pd.read_parquet(p) for p in folder.glob("parts/part-*.parquet")])


def kill_client(folder, names, scheduler=""):
    """Start a run in a process of its own and kill it once a block is done; gives back what lived below."""
    command = client_command(folder, names, N_TOYS, scheduler)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as client:
        wait_for_part(folder)
        os.kill(client.pid, signal.SIGSTOP)  # or it may have ended before it is killed
        below = psutil.Process(client.pid).children(recursive=True)
        os.kill(client.pid, signal.SIGKILL)
    assert client.returncode == -signal.SIGKILL
    return below


def assert_goes_on(folder, undisturbed, executor=None, names=("slow",)):
    """The same command finishes the run, with the same answers, and no toy twice."""
    n_before = len(rows_of(folder / "slow"))
    assert 0 < n_before < 2 * N_TOYS
    with executor or ProcessPool(2) as opened:
        found = run(folder, names, opened, n_toys=N_TOYS)
    assert_same(found, {name: undisturbed[name] for name in names})
    assert len(rows_of(folder / "slow")) == 2 * N_TOYS


def test_a_killed_client_of_a_pool(tmp_path, undisturbed):
    """Its processes end with it, the methods' processes too; a method that keeps dying is not tried again."""
    below = kill_client(tmp_path, NAMES)
    assert below
    assert not psutil.wait_procs(below, timeout=20)[1]
    assert_goes_on(tmp_path, undisturbed, names=NAMES)


def test_a_killed_client_of_a_cluster(tmp_path, undisturbed, dask_folder):
    """The workers go on for the next client, though one may still be writing for the first."""
    from fairuniverse.executors.dask import DaskCluster

    with dask(dask_folder) as cluster:
        kill_client(tmp_path, ["slow"], cluster.address)
        assert_goes_on(tmp_path, undisturbed, DaskCluster(cluster.address, timeout_s=120))


def test_a_killed_scheduler(tmp_path, undisturbed, dask_folder):
    """The run ends at once and says what to do; without a cluster it goes on as well as with one."""
    from fairuniverse.executors.dask import DaskCluster

    with dask(dask_folder) as cluster, DaskCluster(cluster.address, timeout_s=120) as executor:

        def kill():
            wait_for_part(tmp_path)
            cluster.scheduler.kill()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        start = time.monotonic()
        with pytest.raises(ExecutorError, match=f"the scheduler at {cluster.address} is gone: start one"):
            run(tmp_path, ["slow"], executor, n_toys=N_TOYS)
        assert time.monotonic() - start < 60
        killer.join()
        assert psutil.wait_procs([psutil.Process(w.pid) for w in cluster.workers], timeout=60)[1] == []
    assert_goes_on(tmp_path, undisturbed)


def test_workers_that_never_come_back(tmp_path, undisturbed, dask_folder):
    """As when an allocation ends: after some patience the run ends and says so."""
    from fairuniverse.executors.dask import DaskCluster

    with dask(dask_folder) as cluster, DaskCluster(cluster.address, timeout_s=120, patience_s=1) as executor:

        def kill():
            wait_for_part(tmp_path)
            for worker in cluster.workers:
                for process in [*psutil.Process(worker.pid).children(recursive=True), worker]:
                    process.kill()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        with pytest.raises(ExecutorError, match="has had no worker for 1 s: has an allocation ended"):
            run(tmp_path, ["slow"], executor, n_toys=N_TOYS)
        killer.join()
    assert_goes_on(tmp_path, undisturbed)


def kill_at(word, n_words, folder, victim):
    """Kill a process, found when it is time, once submissions have printed a word so many times."""

    def kill():
        while sum(log.read_text().count(word) for log in folder.glob("*/worker*.log")) < n_words:
            time.sleep(0.01)
        victim().kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    return killer


def test_a_fit_whose_worker_is_lost_is_done_again(tmp_path, dask_folder):
    """By another worker of the cluster; the manifest tells."""
    from fairuniverse.executors.dask import DaskCluster

    names, folder = ["slow_fit"], tmp_path / "killed"
    whole = run(tmp_path / "whole", names, n_toys=4)
    with dask(dask_folder, n_workers=1) as cluster, DaskCluster(cluster.address, timeout_s=120) as executor:
        (nanny,) = cluster.workers
        killer = kill_at("fitting", 1, folder, lambda: running_below("spawn_main", nanny.pid)[0])
        found = run(folder, names, executor, n_toys=4)
        killer.join()
    assert_same(found, whole)
    (session,) = found["slow_fit"].manifest["sessions"]
    assert session["n_workers_lost"] == 1


def test_a_process_that_is_lost_while_it_asks_again(tmp_path):
    """The check is done again, by a new process; the manifest tells."""
    names, folder = ["slow_fit"], tmp_path / "killed"
    n_toys = 4
    killer = kill_at("asked", 2 * n_toys + 1, folder, lambda: running_below("spawn_main")[0])
    with ProcessPool(1) as pool:
        found = run(folder, names, pool, n_toys=n_toys)
    killer.join()
    manifest = found["slow_fit"].manifest
    assert manifest["repeatability"]["status"] == "ok"
    (session,) = manifest["sessions"]
    assert session["n_workers_lost"] == 1
    assert any(retry.startswith("ask_again of slow_fit: a worker process") for retry in session["retries"])


FALLIBLE = """
import os
from pathlib import Path
from fairuniverse import Interval


class Model:
    def fit(self, train):
        pass

    def predict(self, test):
        if Path({!r}).exists():
            os._exit(3)
        return Interval(len(test), 0.0, 1e6)
"""


@pytest.fixture
def interrupted(tmp_path):
    """A run of which some toys are missing: how it goes on, and the file that is trouble for its method."""
    trouble = tmp_path / "trouble"
    (tmp_path / "fallible").mkdir()
    (tmp_path / "fallible" / "model.py").write_text(FALLIBLE.format(str(trouble)))
    submission, folder = load_submission(tmp_path / "fallible"), tmp_path / "run"

    def go_on(executor=None):
        make = partial(make_benchmark, n_toys=20)
        site = executor and Site(partial(nullcontext, executor), make, NoIsolation)
        found = run_submissions(make(1), [(submission, folder)], backend=NoIsolation(), site=site)
        return found[0].table["status"].value_counts().to_dict()

    assert go_on() == {"ok": 40}
    identity = {
        key: read_manifest(LocalPlace(folder))[key] for key in ("benchmark_digest", "submission_digest")
    }
    with RunStore(folder, identity) as store:
        store.forget(range(10, 20))
    return go_on, trouble


def test_a_method_that_fails_for_a_while_keeps_its_earlier_answers(interrupted):
    """Given up after five deaths in a row, it loses what is missing and nothing that is there."""
    go_on, trouble = interrupted
    trouble.touch()
    with ProcessPool(1) as pool:
        assert go_on(pool) == {"ok": 30, "crashed": 10}


def test_a_damaged_model_is_an_error_of_the_store(interrupted, tmp_path):
    """And not of the method: no answer is asked of it, and the run goes on once it is put back."""
    go_on, _ = interrupted
    (model,) = tmp_path.glob("run/model-*/*")
    content = model.read_bytes()
    model.write_bytes(content[:-5])
    with pytest.raises(StorageError, match="is not the model that was saved there: put it back"):
        go_on()
    model.write_bytes(content)
    assert go_on() == {"ok": 40}


def test_no_scheduler(dask_folder):
    """The address, and how to start one."""
    from fairuniverse.executors.dask import DaskCluster

    with pytest.raises(ExecutorError, match=r"no Dask scheduler with a worker at tcp://127.0.0.1:1 .*start"):
        DaskCluster("tcp://127.0.0.1:1", timeout_s=1)


@pytest.mark.parametrize("address", ["nonsense", "foo://x:1", "tcp://host"])
def test_no_address(address, dask_folder):
    """Told at once, with what one looks like."""
    from fairuniverse.executors.dask import DaskCluster

    with pytest.raises(ExecutorError, match=f"'{address}' is no address .*give one such as tcp://host:8786"):
        DaskCluster(address)


def test_a_scheduler_that_never_writes_its_file(tmp_path, dask_folder):
    """The file, and how to have it written."""
    from fairuniverse.executors.dask import DaskCluster

    file = tmp_path / "scheduler.json"
    with pytest.raises(ExecutorError, match=f"to {file} within 0.2 s .*: start one with --scheduler-file"):
        DaskCluster(str(file), timeout_s=0.2)


DOCUMENTED = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", [t for t in DOCUMENTED if "Cluster:" in t])
def test_documented_clusters(text):
    """Dask-jobqueue makes job files of them."""
    dask_jobqueue = pytest.importorskip("dask_jobqueue", reason="the extra 'cluster' is not installed")
    ((name, options),) = yaml.safe_load(text).items()
    options.pop("scheduler_options", None)  # of the cluster, not of its jobs
    job = getattr(dask_jobqueue, name).job_cls("tcp://host:1", name="job", **options)
    assert "distributed.cli.dask_worker tcp://host:1" in job.job_script()


def test_a_cluster_without_the_package(tmp_path, dask_folder, monkeypatch):
    """As a scheduler of another environment: what cannot be loaded there is named, and the remedy."""
    from fairuniverse.executors.dask import DaskCluster

    (tmp_path / "only_here.py").write_text("def task():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    with dask(dask_folder, n_workers=1) as cluster, DaskCluster(cluster.address, timeout_s=120) as executor:
        with pytest.raises(ExecutorError, match=r"(?s)cannot load a task .*install fairuniverse there"):
            executor.submit(only_here.task).result()
        assert executor.submit(abs, -1).result() == 1


@pytest.fixture
def job(tmp_path):
    """A job whose run has been begun."""
    run(tmp_path, ["counting"], n_toys=4)
    submission = load_submission(TESTS / "submissions" / "counting")
    return Job("a", partial(make_benchmark, n_toys=4), NoIsolation, ((submission, str(tmp_path), ""),))


def test_other_versions_elsewhere(job):
    """A worker with another version of a library refuses, and names both."""
    there = {**job.versions, "numpy": "1.0"}
    with pytest.raises(
        InvalidDataError, match=r"a worker on \S+ has numpy .*started with 1\.0.*install the same"
    ):
        answer(replace(job, versions=there), [Block({0: [0]})])


def test_what_a_killed_client_left_in_a_worker_goes(tmp_path, monkeypatch):
    """When the next one has tasks there, not before it has been idle for a while."""
    run(tmp_path, ["counting"], n_toys=30)
    submission, folder = load_submission(TESTS / "submissions" / "counting"), tmp_path / "counting"
    with RunStore(folder, {}) as store:
        store.forget(range(30))
    of_run = partial(make_benchmark, n_toys=30), NoIsolation, ((submission, str(folder), store.run),)
    sessions = [("first", 9, 1), ("second", 9, 2), ("third", 0, 1)]
    for number, (session, idle_s, n_running) in enumerate(sessions):
        monkeypatch.setattr(tasks, "IDLE_S", idle_s)
        answer(Job(session, *of_run), [Block({0: [10 * number]})])
        assert len(running_below("isolation.worker")) == 2 * n_running  # each with its guard
    tasks.release()


def test_a_run_folder_that_is_another_one_elsewhere(job):
    """A worker that does not share the file system refuses."""
    with pytest.raises(StorageError, match=r"is not the run folder here .*all machines share"):
        answer(job, [Block({0: [0]})])
