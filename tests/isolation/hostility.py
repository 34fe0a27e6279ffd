"""Everything hostile that we know, done in real sandboxes, and what must become of it.

Run as a script, ``hostility.py BACKEND``, it prints what became of it here, as JSON: for another user.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from conftest import make_tiny  # noqa: E402
from fairuniverse.config import LimitsConfig  # noqa: E402
from fairuniverse.errors import SubmissionError  # noqa: E402
from fairuniverse.isolation.answers import check  # noqa: E402
from fairuniverse.isolation.backends import get_backend  # noqa: E402
from fairuniverse.isolation.output import OutputLog  # noqa: E402
from fairuniverse.isolation.process import SharedTraining, Worker  # noqa: E402
from fairuniverse.isolation.shared import SharedTable  # noqa: E402
from fairuniverse.station import training_spec  # noqa: E402
from fairuniverse.submission import load_submission  # noqa: E402

MEMORY_MIB = 1600
"""More than /tmp and /dev/shm hold together: what is in them counts, where control groups can be made."""

SURVIVED = {
    "read_truth": "FileNotFoundError",
    "follow_a_link_to_the_truth": "FileNotFoundError",
    "find_seeds": "no configuration",
    "find_the_host": "no process of the host",
    "read_the_memory_of_parents": "no memory of another",
    "find_the_run_in_tables": "no trace of the run",
    "connect": "Address family not supported",
    "send_a_packet": "Address family not supported",
    "kill_the_host": "ProcessLookupError",
    "kill_the_guard": "still there|PermissionError",
    "trace": "PermissionError",
    "become_root": "PermissionError|Invalid argument",
    "change_the_submission": "Read-only file system",
    "forge_results": "FileNotFoundError|Read-only file system|PermissionError",
    "change_the_package": "Read-only file system",
    "fill_the_disk": "No space left|File too large",
    "fill_shared_memory": "No space left",
    "hide_memory": "Function not implemented",
    "shrink_the_toy": "no file of the host became shorter",
    "fork_bomb": "BlockingIOError",
    "leave_daemon": "left a daemon",
}
"""What the hostile submission does and survives: an exception, whose message is this."""

FATAL = {
    "allocate_in_children": ("out_of_memory", "MiB used"),
    "print_gigabytes": ("crashed", "predict printed more than 64 MiB"),
    "forge_a_reply": ("crashed", "a reply that nobody asked for"),
    "loop": ("timeout", "predict took more than 1 s"),
}
"""What ends it: status and message."""

NARROW = {"allocate_in_children": {"memory_mib": 500}, "loop": {"predict_timeout_s": 1.0}}
"""Limits that are soon reached, of what reaches them."""

PATCHED = ("invalid_type", "something else than numbers")
"""The answer of a worker that was patched."""


@contextmanager
def sandboxes(backend):
    """Starts fitted workers of the hostile submission, and ends them."""
    folder, workers = Path(tempfile.mkdtemp()), []
    folder.chmod(0o755)
    benchmark = make_tiny()
    training = SharedTraining(benchmark.training_events, training_spec(benchmark))

    def start(deed=""):
        limits = {"memory_mib": MEMORY_MIB, "predict_timeout_s": 60.0} | NARROW.get(deed, {})
        worker = Worker(
            load_submission(folder / "hostile"),
            training,
            backend=backend,
            limits=LimitsConfig(**limits),
            log=OutputLog(folder / "worker.log"),
            stop=threading.Event(),
        )
        workers.append(worker)
        worker.fit()
        return worker

    victim = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    with victim, socket.create_server(("127.0.0.1", 0)) as server:
        (folder / "truth.json").write_text('{"mu": 1.7}')
        target = {"truth": str(folder / "truth.json"), "pid": victim.pid, "port": server.getsockname()[1]}
        target |= {"configs": str(TESTS.parent / "configs"), "run": folder.name}
        shutil.copytree(TESTS / "submissions" / "hostile", folder / "hostile")
        (folder / "hostile" / "target.json").write_text(json.dumps(target))
        try:
            yield start
            assert victim.poll() is None, "a process of the host was killed"
            assert {p.name for p in folder.iterdir()} <= {"hostile", "truth.json", "worker.log"}
            assert (folder / "truth.json").read_text() == '{"mu": 1.7}'
            assert sum(p.stat().st_size for p in folder.glob("*.log")) < (1 << 20) + 100
        finally:
            victim.stdin.close()
            for worker in workers:
                worker.close()
            training.close()
            shutil.rmtree(folder)


def ask(worker, deed):
    """Status and message of one deed."""
    toy = SharedTable()
    names = [*SURVIVED, *FATAL, "patch_the_worker", "meet", "leave_messages", "find_messages"]
    toy.write({"x": np.array([names.index(deed), 5.0], np.float32), "z": np.zeros(2, np.float32)})
    worker.show(toy)
    toy.close()
    try:
        answer = check(worker.predict().content)
    except SubmissionError as death:
        return death.status, str(death)
    return answer.status, answer.message


def do_everything(backend):
    """What became of each deed, and how many processes of it are left."""
    with sandboxes(backend) as start:
        worker = start()
        outcomes = {deed: ask(worker, deed) for deed in SURVIVED}
        ask(worker, "patch_the_worker")
        outcomes["patch_the_worker"] = ask(worker, "read_truth")
        family = [(worker, psutil.Process(worker.pid).children(recursive=True))]
        for deed in FATAL:
            worker = start(deed)
            family.append((worker, psutil.Process(worker.pid).children(recursive=True)))
            outcomes[deed] = ask(worker, deed)
        for worker, _ in family:
            worker.close()
            assert not worker.folder.exists()
        time.sleep(0.1)
        left = [p for _, processes in family for p in processes if p.is_running() and not is_zombie(p)]
    return outcomes, len(left)


def messages(backend):
    """What a process finds of what the one before it left."""
    with sandboxes(backend) as start:
        worker = start()
        assert ask(worker, "leave_messages") == ("ok", "")
        worker.close()
        status, message = ask(start(), "find_messages")
    assert status == "exception"
    return re.search(r"found: (\[.*?\])", message)[1]


def is_zombie(process):
    """Whether a process has ended and waits for nothing but its parent."""
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def unexpected(outcomes):
    """Deeds that did not end as they must."""
    expected = {deed: ("exception", message) for deed, message in SURVIVED.items()}
    expected |= FATAL | {"patch_the_worker": PATCHED}
    assert set(outcomes) == set(expected)
    return {
        deed: outcomes[deed]
        for deed, (status, message) in expected.items()
        if outcomes[deed][0] != status or not re.search(message, outcomes[deed][1])
    }


if __name__ == "__main__":
    backend = get_backend(sys.argv[1])
    outcomes, n_left = do_everything(backend)
    report = {"uid": os.getuid(), "is_isolated": backend.is_isolated, "n_left": n_left}
    report["messages"] = messages(backend)
    print(json.dumps({**report, "unexpected": unexpected(outcomes)}))
