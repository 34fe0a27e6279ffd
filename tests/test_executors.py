"""Processes of this machine: what is lost with one, and what comes back from it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from fairuniverse.errors import ExecutorError, InvalidDataError
from fairuniverse.executors import ProcessPool, WhereToWork, WorkerLostError
from pool_tasks import fail, fail_stubbornly
from processes import running_below


@pytest.fixture(scope="module")
def pool():
    """Two processes."""
    with ProcessPool(2) as opened:
        yield opened


def test_tasks_are_done_by_other_processes(pool):
    """Each process does many."""
    found = {pool.submit(os.getpid).result() for _ in range(10)}
    assert os.getpid() not in found
    assert 1 <= len(found) <= 2


def test_errors_come_back(pool):
    """With where they arose; one that cannot be unpickled as its name and words."""
    with pytest.raises(InvalidDataError, match="bad value") as caught:
        pool.submit(fail, InvalidDataError("bad value")).result()
    assert "in process" in caught.value.__notes__[0]
    with pytest.raises(ExecutorError, match="StubbornError: no way"):
        pool.submit(fail_stubbornly).result()
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        pool.submit(lambda: 1).result()
    assert pool.submit(abs, -1).result() == 1


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (signal.raise_signal, (signal.SIGKILL,), r"by signal 9 \(out of memory\?\)"),
        (signal.raise_signal, (signal.SIGSEGV,), "by signal 11"),
        (os._exit, (3,), "with status 3"),
    ],
    ids=["killed", "crashed", "left"],
)
def test_a_process_that_ends_costs_its_own_task(pool, function, arguments, words):
    """The task says how it ended; the other process, and the next one, do theirs."""
    n_lost = pool.n_lost
    other, lost = pool.submit(time.sleep, 0.3), pool.submit(function, *arguments)
    with pytest.raises(WorkerLostError, match=words):
        lost.result()
    assert other.result() is None
    assert pool.n_lost == n_lost + 1
    assert [f.result() for f in [pool.submit(abs, -i) for i in range(4)]] == [0, 1, 2, 3]


def interrupt(futures):
    """Ctrl-C while tasks are being done."""
    with ProcessPool(2) as pool:
        futures += [pool.submit(time.sleep, 600) for _ in range(4)]
        while sum(f.running() for f in futures) < 2:
            time.sleep(0.01)
        raise KeyboardInterrupt


def test_an_error_ends_everything_at_once():
    """What has not begun is cancelled, and what has is not waited for."""
    start, before, futures = time.monotonic(), psutil.Process().children(), []
    with pytest.raises(KeyboardInterrupt):
        interrupt(futures)
    assert time.monotonic() - start < 60
    assert [f.cancelled() for f in futures] == [False, False, True, True]
    assert set(psutil.Process().children()) <= set(before)


def test_processes_end_with_their_host(tmp_path):
    """Killed without a word to them, in the middle of their tasks."""
    script = (
        "import time; from fairuniverse.executors import ProcessPool\n"
        "with ProcessPool(2) as pool:\n"
        "    for f in [pool.submit(time.sleep, 600) for _ in range(2)]: f.result()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as host:
        spawned, end = [], time.monotonic() + 60
        while len(spawned) < 2 and time.monotonic() < end:
            spawned = running_below("spawn_main", host.pid)
            time.sleep(0.05)
        host.kill()
    assert len(spawned) == 2
    assert not psutil.wait_procs(spawned, timeout=20)[1]


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"executor": "processes", "scheduler": "tcp://x:1"}, "choose dask"),
        ({"executor": "threads", "scheduler": "tcp://x:1"}, "choose dask"),
        ({"executor": "spark"}, "no executor 'spark'; there are: threads, processes, dask"),
        ({"executor": "threads"}, "choose processes or dask"),
        ({"scheduler": ""}, "is a variable not set"),
        ({"scheduler": "tcp://x:1", "cluster": Path("slurm.yaml")}, "choose one"),
    ],
)
def test_impossible_choices_are_refused(choice, words):
    """Naming what there is."""
    with pytest.raises(InvalidDataError, match=words):
        WhereToWork(**choice).open()


def test_an_address_means_dask():
    """And no choice at all is left to who asks."""
    assert WhereToWork(scheduler="tcp://x:1").name == "dask"
    assert WhereToWork().name is None
    threads = threading.active_count()
    with WhereToWork(n_workers=3).open() as opened:
        assert opened.description == "3 processes"
    assert threading.active_count() == threads


def test_a_script_that_does_everything_again(tmp_path):
    """Its processes say what is missing in it, instead of working on the same run."""
    script = tmp_path / "mine.py"
    script.write_text(
        "import sys; from pathlib import Path; from fairuniverse import api\n"
        "options = {'executor': 'processes', 'isolation': 'none'}\n"
        "api.run('counting', ['exact_likelihood'], Path(sys.argv[1]), **options)\n"
    )
    done = subprocess.run(
        [sys.executable, script, tmp_path / "runs"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "this script does its work again in every process" in done.stderr
    assert "lost 3 times, the last: a worker process ended with status 1. See what it said" in done.stderr
