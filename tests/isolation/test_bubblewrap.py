"""Hostile submissions in real sandboxes, of root and of an ordinary user."""

import os
import shutil
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairuniverse.errors import IsolationError
from fairuniverse.isolation import installed
from fairuniverse.isolation.answers import check
from fairuniverse.isolation.backends import NoIsolation, get_backend
from fairuniverse.isolation.bubblewrap import Bubblewrap
from fairuniverse.isolation.output import OutputLog
from fairuniverse.isolation.process import SharedTraining, Worker
from fairuniverse.isolation.seccomp import filter_program
from fairuniverse.isolation.shared import SharedTable
from fairuniverse.runner import run_submission
from fairuniverse.submission import load_submission
from fairuniverse.training import TrainingSpec, locate

TESTS = Path(__file__).parents[1]
SUBMISSIONS = TESTS / "submissions"
MEMORY_MIB = 1600
"""More than /tmp and /dev/shm hold together: what is in them counts, where control groups can be made."""

COSTS = ["wall_time_s", "cpu_time_s", "memory_mib"]


@pytest.fixture(scope="module")
def sandbox():
    """The backend, checked; without it there is nothing to test."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    try:
        return get_backend("bubblewrap")
    except IsolationError as error:
        pytest.skip(f"no sandbox can be made here: {error}")


@pytest.fixture
def start(sandbox, tiny_benchmark, tmp_path):
    """Starts fitted workers in sandboxes, and ends them after the test."""
    limits = tiny_benchmark(memory_mib=MEMORY_MIB).config.limits
    benchmark, workers = tiny_benchmark(), []
    spec = TrainingSpec(locate(benchmark.simulator), {}, 1, ["scale"], (0.1, 3.0), 0.6827)
    training = SharedTraining(benchmark.training_events, spec)

    def start(folder):
        worker = Worker(
            load_submission(folder),
            training,
            backend=sandbox,
            limits=limits,
            log=OutputLog(tmp_path / "worker.log"),
            stop=threading.Event(),
        )
        workers.append(worker)
        worker.fit()
        return worker

    yield start
    for worker in workers:
        worker.close()
    training.close()


def ask(worker, deed):
    """The answer to a toy whose first x is this number."""
    toy = SharedTable()
    toy.write({"x": np.array([deed, 5.0], np.float32), "z": np.zeros(2, np.float32)})
    worker.show(toy)
    toy.close()
    return check(worker.predict().content)


@pytest.mark.parametrize("name", ["saved", "libraries"])
def test_a_sandbox_changes_no_answer(sandbox, tiny_benchmark, tmp_path, name):
    """The same bits with and without, with models saved and loaded in either way."""
    submission, benchmark = load_submission(SUBMISSIONS / name), tiny_benchmark()
    tables = [
        run_submission(benchmark, submission, tmp_path / backend.name, backend=backend, n_threads=2).table
        for backend in (NoIsolation(), sandbox)
    ]
    assert (tables[0]["status"] == "ok").all()
    pd.testing.assert_frame_equal(*(t.drop(columns=COSTS) for t in tables), check_exact=True)


def test_one_session_without_isolation_marks_the_run(sandbox, tiny_benchmark, tmp_path):
    """A run that is resumed in a sandbox may have seen the truth before; the answers are the same bits."""
    submission = load_submission(SUBMISSIONS / "counting")
    isolated = run_submission(tiny_benchmark(), submission, tmp_path / "run", backend=sandbox)
    assert isolated.manifest["isolation"] == {"backend": "bubblewrap", "is_isolated": True, "gpus": []}
    for backend in (NoIsolation(), sandbox):
        for part in (tmp_path / "run" / "parts").iterdir():
            part.unlink()
        results = run_submission(tiny_benchmark(), submission, tmp_path / "run", backend=backend)
        tables = (isolated.table, results.table)
        pd.testing.assert_frame_equal(*(t.drop(columns=COSTS) for t in tables), check_exact=True)
    assert results.manifest["isolation"] == {"backend": "bubblewrap", "is_isolated": False, "gpus": []}


class Leaky(Bubblewrap):
    """A sandbox with the host's network and all system calls."""

    def _arguments(self, submission, readable, filter_fd):
        arguments = super()._arguments(submission, readable, filter_fd)
        i = arguments.index("--seccomp")
        del arguments[i : i + 2]
        if os.geteuid() == 0:
            arguments.remove("--unshare-net")
        else:
            arguments.insert(1 + arguments.index("--unshare-all"), "--share-net")
        return arguments


def test_a_sandbox_with_holes_is_refused(sandbox):
    """The self-check fails closed, names what is possible inside, and says what to do."""
    with pytest.raises(
        IsolationError, match=r"inside, .*a TCP connection; .*tracing; .*is possible"
    ) as raised:
        Leaky()
    assert "an abstract Unix socket of the host" in str(raised.value)
    assert "--isolation none" in str(raised.value)


def test_a_sandbox_that_does_not_start_is_refused(sandbox, tmp_path, monkeypatch):
    """What the program said is in the message."""
    (tmp_path / "bwrap").write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace'; exit 1\n"
    )
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(IsolationError, match=r"does not start \(it says: .*No permissions"):
        get_backend("bubblewrap")


def test_no_program_no_sandbox(monkeypatch, tmp_path):
    """The message says what to install, and how to run one's own code."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(IsolationError, match=r"apt-get install bubblewrap.*--isolation none"):
        get_backend("bubblewrap")


def test_what_is_hidden_is_not_shown(sandbox, tmp_path):
    """A run folder among the installed packages is refused; the package's configurations are masked."""
    masks = installed.find_installed().masks
    with pytest.raises(IsolationError, match="put it elsewhere"):
        get_backend("bubblewrap", hidden=[Path(sys.prefix) / "runs"])
    assert masks
    get_backend("bubblewrap", hidden=[masks[0] / "quick.yaml", tmp_path])


def test_masks_hide_under_every_name(tmp_path):
    """An environment that is reached through a link is shown twice, and so is what must be hidden in it."""
    (tmp_path / "real" / "configs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    shown = (tmp_path / "link", tmp_path / "real")
    masks = installed._everywhere([tmp_path / "real" / "configs"], shown)
    assert masks == (tmp_path / "link" / "configs", tmp_path / "real" / "configs")


@pytest.mark.parametrize(
    ("machine", "audit", "numbers"),
    [
        ("x86_64", 0xC000003E, {"ptrace": 101, "socket": 41}),
        ("aarch64", 0xC00000B7, {"ptrace": 117, "socket": 198}),
    ],
)
def test_filters_judge_their_own_processor(machine, audit, numbers):
    """Another one is killed; ptrace is refused, a Unix socket and anything else pass."""
    assert run_filter(machine, 0, 0) == 0x80000000
    assert run_filter(machine, audit, numbers["ptrace"]) == 0x00050001
    assert run_filter(machine, audit, numbers["socket"], 1) == 0x7FFF0000
    assert run_filter(machine, audit, numbers["socket"], 2) == 0x00050061
    assert run_filter(machine, audit, 63) == 0x7FFF0000
    assert run_filter(machine, audit, 0x40000000 + numbers["ptrace"]) == 0x00050026


def run_filter(machine, audit, number, argument=0):
    """What the filter returns for one call: the instructions it uses, by their definition."""
    words = {0: number, 4: audit, 16: argument, 24: 0}
    program, i, value = list(struct.iter_unpack("=HBBI", filter_program(machine))), 0, 0
    while True:
        code, yes, no, k = program[i]
        if code == 0x06:
            return k
        if code == 0x20:
            value = words[k]
        else:
            holds = {0x15: value == k, 0x35: value >= k, 0x45: bool(value & k)}[code]
            i += yes if holds else no
        i += 1


def test_no_filter_no_sandbox():
    """A processor whose system calls are not known is refused."""
    with pytest.raises(IsolationError, match="processor 'vax'"):
        filter_program("vax")
