"""A fitted model is tried out by the processes that will answer toys with it."""

import os
import signal
import subprocess
import threading
import time

import psutil
import pytest

from fairuniverse.executors import ProcessPool
from sample_runs import assert_same, client_command, run

N_TOYS = 3

WAITING = """
import os, time
from pathlib import Path
from fairuniverse import Interval

class Model:
    def fit(self, train):
        self.expected = float(train.data["weights"].sum())

    def save(self, folder):
        (folder / "expected.txt").write_text(str(self.expected))

    @classmethod
    def load(cls, folder):
        print("loading", flush=True)
        end = time.monotonic() + 120
        while not Path("{go}").exists() and time.monotonic() < end:
            time.sleep(0.01)
        model = cls()
        model.expected = float((folder / "expected.txt").read_text())
        return model

    def predict(self, test):
        ratio = len(test) / self.expected
        return Interval(ratio, ratio - 0.1, ratio + 0.1)
"""


@pytest.fixture
def waiting(tmp_path):
    """A submission whose models are loaded only once a file is there, and this file."""
    (tmp_path / "waiting").mkdir()
    go = tmp_path / "go"
    (tmp_path / "waiting" / "model.py").write_text(WAITING.format(go=go))
    return tmp_path / "waiting", go


def test_a_model_that_cannot_be_loaded_stays_in_its_process(tmp_path):
    """It answers as without a pool, beside one that can; the manifest says why, and no model is left."""
    names = ["unloadable", "counting"]
    with ProcessPool(2) as pool:
        found = run(tmp_path / "pool", names, pool, n_toys=N_TOYS)
    assert_same(found, run(tmp_path / "here", names, n_toys=N_TOYS))
    manifest = found["unloadable"].manifest
    assert manifest["fit"]["status"] == "ok"
    assert "numbers are no longer what they were" in manifest["fit"]["message"]
    assert manifest["repeatability"]["status"] == "not_checked"
    assert not list((tmp_path / "pool" / "unloadable").glob("model*"))
    assert found["unloadable"].is_ok.all()


def loading(folder, n):
    """Processes of the pool in which a model is being loaded, once there are so many."""
    end = time.monotonic() + 100
    while True:
        logs = [log for log in folder.glob("*/worker.?*.log") if "loading" in log.read_text()]
        if len(logs) == n:
            return [int(log.name.split(".")[-2].rpartition("-")[2]) for log in logs]
        assert time.monotonic() < end, f"{len(logs)} of {n} processes load a model"
        time.sleep(0.01)


def run_killing(folder, waiting, n_killed):
    """A run of which so many of two processes are killed while they load the model; it ends well."""
    submission, go = waiting

    def kill():
        for pid in loading(folder, 2)[:n_killed]:
            os.kill(pid, signal.SIGKILL)
        go.touch()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with ProcessPool(2) as pool:
        found = run(folder, [submission], pool, n_toys=N_TOYS)[submission]
    killer.join()
    (session,) = found.manifest["sessions"]
    assert session["n_workers_lost"] == n_killed
    assert len(session["retries"]) == n_killed
    assert all(r.startswith("try_out of waiting: a worker process ended") for r in session["retries"])
    assert found.is_ok.all()
    assert found.manifest["fit"]["is_saved"]


def test_the_word_of_one_process_is_enough(tmp_path, waiting):
    """Idle ones try the model, too: if one is lost, another says whether it can be loaded."""
    run_killing(tmp_path / "run", waiting, 1)
    assert not (tmp_path / "run" / "waiting" / "worker.log").exists()


def test_a_model_is_tried_here_if_every_process_is_lost(tmp_path, waiting):
    """It is no fault of the model."""
    run_killing(tmp_path / "run", waiting, 2)
    assert (tmp_path / "run" / "waiting" / "worker.log").read_text().count("loading") == 1


def test_an_interrupted_trial(tmp_path, waiting):
    """Ctrl-C ends it at once, with everything below, and nothing of the model is left."""
    folder, (submission, _) = tmp_path / "run", waiting
    with subprocess.Popen(client_command(folder, [submission], N_TOYS), stderr=subprocess.PIPE) as client:
        loading(folder, 2)
        below = psutil.Process(client.pid).children(recursive=True)
        start = time.monotonic()
        client.send_signal(signal.SIGINT)
        said = client.communicate(timeout=60)[1].decode()
        assert time.monotonic() - start < 30
    assert "KeyboardInterrupt" in said.splitlines()[-1]
    assert not psutil.wait_procs(below, timeout=20)[1]
    assert not list(folder.glob("*/model*"))
    assert not list(folder.glob("*/parts/*"))
