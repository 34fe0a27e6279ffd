"""How processes end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairuniverse.lifetimes import wait_for_end


@pytest.fixture(params=["told", "looking"])
def kernel(request, monkeypatch):
    """One that tells when a process has ended, and one that has to be asked again and again."""
    if request.param == "looking":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    else:
        try:
            os.close(os.pidfd_open(os.getpid()))
        except (AttributeError, OSError) as error:
            pytest.skip(f"this system cannot tell: {error}")
        monkeypatch.setattr(time, "sleep", lambda s: pytest.fail(f"looks again in {s} s"))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("script", "code"), [("", 0), ("import time; time.sleep(0.2); raise SystemExit(3)", 3)]
)
def test_waiting_for_a_process(script, code):
    """Until it ends, which may have been long ago."""
    with subprocess.Popen([sys.executable, "-ISc", script]) as process:
        assert wait_for_end(process, 60.0) == code
        assert wait_for_end(process, 60.0) == code


@pytest.mark.usefixtures("kernel")
def test_waiting_in_vain():
    """The process goes on."""
    with subprocess.Popen([sys.executable, "-ISc", "input()"], stdin=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired, match=r"timed out after 0\.1 seconds"):
            wait_for_end(process, 0.1)
        assert process.poll() is None
        process.kill()
        assert wait_for_end(process, 60.0) == -9


def test_a_process_that_ends_quickly_does_all_that_it_was_to_do():
    """Only what is left over in memory is left there."""
    script = """
import atexit, tempfile, weakref
from fairuniverse.lifetimes import end_quickly

class Left:
    def __init__(self):
        self.me = self
    def __del__(self):
        print("looked for")

end_quickly()
end_quickly()
atexit.register(print, "registered")
folder = tempfile.TemporaryDirectory()
weakref.finalize(folder, print, "finalized")
left = Left()
print(folder.name)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    folder, *others = done.stdout.splitlines()
    assert sorted(others) == ["finalized", "registered"]
    assert not Path(folder).exists()
