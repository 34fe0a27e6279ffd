"""A fitted model is tried out by the processes that will answer toys with it."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil

from fairuniverse.executors import ProcessPool
from sample_runs import TESTS, assert_same, run

N_TOYS = 3


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
    end = time.monotonic() + 60
    while True:
        logs = [log for log in folder.glob("*/worker.?*.log") if "loading" in log.read_text()]
        if len(logs) == n:
            return [int(log.name.split(".")[-2].rpartition("-")[2]) for log in logs]
        assert time.monotonic() < end, f"{len(logs)} of {n} processes load a model"
        time.sleep(0.01)


def run_killing(folder, n_killed):
    """A run of which so many of two processes are killed while they load the model, and its one session."""

    def kill():
        for pid in loading(folder, 2)[:n_killed]:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with ProcessPool(2) as pool:
        found = run(folder, ["slow_load"], pool, n_toys=N_TOYS)
    killer.join()
    (session,) = found["slow_load"].manifest["sessions"]
    assert session["n_workers_lost"] == n_killed
    assert len(session["retries"]) == n_killed
    assert all(r.startswith("try_out of slow_load: a worker process ended") for r in session["retries"])
    return found


def test_the_word_of_one_process_is_enough(tmp_path):
    """Idle ones try the model, too: if one is lost, another says whether it can be loaded."""
    found = run_killing(tmp_path / "killed", 1)
    assert_same(found, run(tmp_path / "here", ["slow_load"], n_toys=N_TOYS))
    assert not (tmp_path / "killed" / "slow_load" / "worker.log").exists()


def test_a_model_is_tried_here_if_every_process_is_lost(tmp_path):
    """It is no fault of the model."""
    found = run_killing(tmp_path / "killed", 2)
    assert found["slow_load"].is_ok.all()
    assert found["slow_load"].manifest["fit"]["is_saved"]
    assert (tmp_path / "killed" / "slow_load" / "worker.log").read_text().count("loading") == 1


CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fairuniverse.executors import ProcessPool
from sample_runs import run
if __name__ == "__main__":
    with ProcessPool(2) as pool:
        run(Path(sys.argv[2]), ["slow_load"], pool)
"""


def test_an_interrupted_trial(tmp_path):
    """Ctrl-C ends it at once, with everything below, and the next run does not know of it."""
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, script, TESTS, folder], stderr=subprocess.PIPE) as client:
        loading(folder, 2)
        below = psutil.Process(client.pid).children(recursive=True)
        start = time.monotonic()
        client.send_signal(signal.SIGINT)
        said = client.communicate(timeout=60)[1].decode()
        assert time.monotonic() - start < 30
    assert "KeyboardInterrupt" in said.splitlines()[-1]
    assert not psutil.wait_procs(below, timeout=20)[1]
    found = run(folder, ["slow_load"])
    assert found["slow_load"].is_ok.all()
