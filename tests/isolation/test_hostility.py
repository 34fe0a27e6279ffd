"""The hostile submission in every sandbox there is, of root and of an ordinary user."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fairuniverse.errors import IsolationError
from fairuniverse.isolation import process
from fairuniverse.isolation.backends import get_backend
from fairuniverse.isolation.usage import Usage
from fairuniverse.runner import run_submission
from fairuniverse.submission import load_submission
from isolation import hostility

PICKLE_BOMB = """
import os, pickle
class Bomb:
    def __reduce__(self):
        return os.system, ("echo exploded as $(id -u); echo > {target}; ls {target}",)
class Model:
    def fit(self, train): self.bomb = Bomb()
    def predict(self, test): return {{"mu_hat": 1.0, "lower": 0.0, "upper": 2.0}}
"""


@pytest.fixture(scope="module", params=["bubblewrap", "podman"])
def sandbox(request):
    """The backend, checked; where it does not work there is nothing to test."""
    try:
        return get_backend(request.param)
    except IsolationError as error:
        pytest.skip(f"no sandbox of {request.param} can be made here: {error}")


def test_every_hostile_deed_is_stopped_and_named(sandbox):
    """Each is a status with a message; the host, its files and processes are as before; nothing is left."""
    outcomes, n_left = hostility.do_everything(sandbox)
    assert not hostility.unexpected(outcomes)
    assert n_left == 0


def test_what_the_kernel_kills_is_noticed(sandbox, monkeypatch):
    """Where control groups limit memory, a child that the kernel killed is named, however fast that was."""
    monkeypatch.setattr(process, "usage_of", lambda _: Usage(0.0, 0.0))
    with hostility.sandboxes(sandbox) as start:
        worker = start("allocate_in_children")
        if sandbox.name == "bubblewrap" and "memory" not in worker._group.folders:
            pytest.skip("no control group can be made here")
        status, message = hostility.ask(worker, "allocate_in_children")
    assert (status, "the kernel killed it" in message) == ("out_of_memory", True)


@pytest.mark.parametrize("sandbox", ["podman"], indirect=True)
def test_a_container_is_charged_for_what_is_in_it(sandbox):
    """Its processes are asked from its control group; those of podman around it are not the submission's."""
    with hostility.sandboxes(sandbox) as start:
        group = start()._group
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in group.pids()]
    inside = [re.search(r"^NSpid:\s+\d+\s+(\d+)$", status, re.M) for status in statuses]
    assert inside
    assert all(inside)


@pytest.mark.skipif(os.geteuid() != 0, reason="all other tests run as an ordinary user already")
@pytest.mark.parametrize("sandbox", ["bubblewrap"], indirect=True)  # podman needs users that only root gives
def test_an_ordinary_user_has_the_same_sandbox(sandbox):
    """A user without any right, and without control groups, runs the hostile submission as root does."""
    command = [*as_user(60123), sys.executable, hostility.__file__, sandbox.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report.pop("messages") == "['mode', 'times']"  # of a file that this user owns, inside and outside
    assert report == {"uid": 60123, "is_isolated": True, "n_left": 0, "unexpected": {}}


def as_user(uid):
    """Command that runs another as this user, who can pass the closed folders before the interpreter."""
    base = Path(sys.base_prefix).resolve()
    closed = [p for p in reversed(base.parents) if not p.stat().st_mode & 0o001]
    view = []
    if closed:
        view += ["--perms", "0755", "--tmpfs", closed[0]]
        inner = [p for p in reversed(base.parents) if closed[0] in p.parents]
        view += [word for p in inner for word in ("--perms", "0755", "--dir", p)]
        view += ["--ro-bind", base, base]
    change = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    return ["bwrap", "--dev-bind", "/", "/", *view, *change]


def test_submissions_at_the_same_time_do_not_meet(sandbox):
    """Two of them take the same names of sockets and files, and neither sees the other."""
    with hostility.sandboxes(sandbox) as start:
        workers = [start(), start()]
        assert [hostility.ask(worker, "meet") for worker in workers] == [("ok", "")] * 2


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's processes are all of one user")
def test_a_process_leaves_nothing_for_the_next(sandbox):
    """What one process of a submission was told is not found by the next, anywhere in what they share."""
    assert hostility.messages(sandbox) == "[]"


def test_a_pickle_bomb_explodes_inside(sandbox, tiny_benchmark, tmp_path):
    """A saved model is code: it is loaded in a sandbox like any other, and never by the host."""
    tmp_path.chmod(0o777)
    (tmp_path / "bomb").mkdir()
    (tmp_path / "bomb" / "model.py").write_text(PICKLE_BOMB.format(target=tmp_path / "exploded"))
    submission = load_submission(tmp_path / "bomb")
    results = run_submission(tiny_benchmark(n_mu=1, n_toys=1), submission, tmp_path / "run", backend=sandbox)
    assert not (tmp_path / "exploded").exists()
    log = (tmp_path / "run" / "worker.log").read_text()
    assert f"exploded as {os.geteuid()}" not in log or os.geteuid() != 0
    assert "exploded as" in log
    assert results.table["status"].isin(["ok", "exception"]).all()
