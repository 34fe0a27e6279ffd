"""Real worker processes, and everything that can go wrong in them."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from ast import literal_eval
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from fairuniverse.errors import IsolationError, SubmissionError
from fairuniverse.isolation.answers import check
from fairuniverse.isolation.backends import BACKENDS, NoIsolation, get_backend
from fairuniverse.isolation.output import OutputLog
from fairuniverse.isolation.process import SharedTraining, Worker
from fairuniverse.isolation.shared import SharedTable
from fairuniverse.submission import load_submission
from fairuniverse.training import TrainingSpec, locate, training_seed

SUBMISSIONS = Path(__file__).parents[1] / "submissions"
DEEDS = (
    "loop",
    "allocate",
    "allocate_in_children",
    "leave",
    "segfault",
    "be_killed",
    "flood",
    "leave_daemon",
    "forge",
    "reply_without_end",
    "reply_half",
)


@pytest.fixture(scope="module")
def training(tiny_benchmark):
    """The training set of the tiny world, as workers receive it."""
    benchmark = tiny_benchmark()
    spec = TrainingSpec(
        locate(benchmark.simulator), {}, training_seed(3), ["scale"], benchmark.config.mu_range, 0.6827
    )
    training = SharedTraining(benchmark.training_events, spec)
    yield training
    training.close()


@pytest.fixture
def start(training, tmp_path, tiny_benchmark):
    """Starts workers, and ends them after the test."""
    workers = []

    def start(submission, *, memory_mib=500, predict_timeout_s=20.0, fit_timeout_s=60.0):
        limits = tiny_benchmark(
            memory_mib=memory_mib, predict_timeout_s=predict_timeout_s, fit_timeout_s=fit_timeout_s
        ).config.limits
        path = submission if isinstance(submission, Path) else SUBMISSIONS / submission
        workers.append(
            Worker(
                load_submission(path),
                training,
                backend=NoIsolation(),
                limits=limits,
                log=OutputLog(tmp_path / "worker.log"),
                stop=threading.Event(),
            )
        )
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


def show(worker, x=1.0):
    """Give a worker a toy whose first x is this."""
    toy = SharedTable()
    toy.write({"x": np.array([x, 5.0, 5.0], np.float32), "z": np.zeros(3, np.float32)})
    worker.show(toy)
    toy.close()


def do(worker, deed):
    """Let the deadly submission do one of its deeds."""
    show(worker, DEEDS.index(deed))
    return worker.predict()


def model_folder(tmp_path, text):
    """A submission with this model.py."""
    folder = tmp_path / "method"
    folder.mkdir()
    (folder / "model.py").write_text(text)
    return folder


FIT = "    def fit(self, train): pass\n"
PREDICT = "    def predict(self, test): return {}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "model.py defines no class Model"),
        ("def Model(): pass\n", "model.py defines no class Model"),
        ("class Model:\n", r"(SyntaxError|IndentationError): .*model\.py, line 1"),
        (
            "import no_such_library\n",
            r"ModuleNotFoundError: No module named 'no_such_library' \(model\.py, line 1\)",
        ),
        (f"class Model:\n{PREDICT}", r"Model has no method fit; add: def fit\(self, train\)"),
        (f"class Model:\n{FIT}", r"Model has no method predict; add: def predict\(self, test\)"),
        (
            f"class Model:\n    def fit(self): pass\n{PREDICT}",
            r"def fit\(self\): must be def fit\(self, train\)",
        ),
        (
            f"class Model:\n{FIT}    def predict(self, a, b): pass\n",
            r"def predict\(self, a, b\): must be def predict\(self, test\)",
        ),
        (
            f"class Model:\n    def __init__(self, systematics): pass\n{FIT}{PREDICT}",
            r"Model\(\) must work without",
        ),
        (f"class Model:\n{FIT}{PREDICT}    def save(self, folder): pass\n", "only one of save and load"),
    ],
    ids=["none", "function", "syntax", "import", "fit", "predict", "fit()", "predict(a, b)", "init", "save"],
)
def test_unusable_models_say_what_to_change(start, tmp_path, text, message):
    """Found when the worker starts, before any training."""
    with pytest.raises(SubmissionError, match=message) as raised:
        start(model_folder(tmp_path, text))
    assert raised.value.status == "fit_failed"


def test_own_files_do_not_shadow_ours(start, tmp_path):
    """A json.py, a numpy.py or a fairuniverse folder in a submission do not break the worker."""
    folder = model_folder(tmp_path, "import helper\nclass Model:\n" + FIT + PREDICT)
    for name in ("json.py", "numpy.py", "psutil.py", "socket.py", "fairuniverse.py"):
        (folder / name).write_text("raise RuntimeError('shadowed')\n")
    (folder / "helper.py").write_text("")
    worker = start(folder)
    worker.fit()


IN_PARTS = f"""
from . import parts
from .settings import MU
class Model:
{FIT}
    def predict(self, test):
        return {{"mu_hat": MU, "lower": parts.through_pickle(parts.Lower()).value, "upper": 2}}
"""
PARTS = """
import pickle, plain
from .settings import MU
class Lower:
    value = MU - plain.HALF
def through_pickle(thing): return pickle.loads(pickle.dumps(thing))
"""


def test_modules_beside_model_py_are_imported_by_either_name(start, tmp_path):
    """Relative imports work as in a package, plain ones as in a folder on the path; their classes pickle."""
    folder = model_folder(tmp_path, IN_PARTS)
    (folder / "parts.py").write_text(PARTS)
    (folder / "settings.py").write_text("MU = 1.5\n")
    (folder / "plain.py").write_text("HALF = 0.5\n")
    worker = start(folder)
    worker.fit()
    show(worker)
    answer = check(worker.predict().content)
    assert (answer.status, answer.mu_hat, answer.lower) == ("ok", 1.5, 1.0)


@pytest.mark.parametrize(
    ("deed", "status", "message"),
    [
        ("loop", "timeout", r"predict took more than 1 s"),
        ("allocate_in_children", "out_of_memory", "MiB used"),
        ("leave", "crashed", "exit code 3"),
        ("segfault", "crashed", "signal SIGSEGV"),
        ("be_killed", "crashed", "signal SIGKILL"),
        ("reply_without_end", "crashed", "a reply of 1073741824 bytes"),
        ("reply_half", "timeout", "half a reply"),
    ],
)
def test_deaths_are_told_apart(start, deed, status, message):
    """Each way to die has its status and a message that says what happened; nothing of it is left."""
    worker = start("deadly", predict_timeout_s=1.0 if status == "timeout" else 30.0)
    worker.fit()
    processes = psutil.Process(worker.pid).children(recursive=True)
    with pytest.raises(SubmissionError, match=message) as raised:
        do(worker, deed)
    assert raised.value.status == status
    assert not worker.is_usable
    worker.close()
    assert not [p for p in processes if p.is_running()]
    assert not worker.folder.exists()


def test_what_a_worker_survives(start, tmp_path):
    """One worker: too large an allocation, a flood of output, an attempt to change the toy."""
    worker = start("deadly")
    worker.fit()
    greedy = check(do(worker, "allocate").content)
    assert greedy.status == "out_of_memory"
    assert "MemoryError" in greedy.message
    assert check(do(worker, "flood").content).status == "ok"
    show(worker, -1)
    assert "read-only" in check(worker.predict().content).message
    worker.close()
    log = (tmp_path / "worker.log").read_bytes()
    assert b"Traceback" in log
    assert log.endswith(b"[more output was dropped]\n")
    assert len(log) < (1 << 20) + 100


BROKEN = """
class Model:
    def fit(self, train): self.kept = lambda: 0
    def predict(self, test): {}
"""


@pytest.mark.parametrize(
    ("source", "first"),
    [
        ("x = 1\n1 / 0\n", '/submission/model.py", line 2, in <module>'),
        ("class Model\n", '/submission/model.py", line 1'),
        (BROKEN.format("return test['z'] / {}"), '/submission/model.py", line 4, in predict'),
        (BROKEN.format("return 3"), ""),
    ],
    ids=["import", "syntax", "predict", "answer"],
)
def test_tracebacks_begin_in_the_submission(start, tmp_path, source, first):
    """What calls it is of no use to its author; of an answer of the wrong type the message says all."""
    with suppress(SubmissionError):
        worker = start(model_folder(tmp_path, source))
        worker.fit()
        show(worker)
        assert "status" in worker.predict().content
        worker.close()
    printed = (tmp_path / "worker.log").read_text() if (tmp_path / "worker.log").exists() else ""
    assert first in next((line for line in printed.splitlines() if "File" in line), "")
    assert "hosted.py" not in printed


def test_what_fails_in_our_code_shows_it(start, tmp_path):
    """Such as saving what pickle cannot: no line of the submission is to blame."""
    worker = start(model_folder(tmp_path, BROKEN.format("return 3")))
    worker.fit()
    with suppress(SubmissionError):
        worker.save(tmp_path / "saved")
    worker.close()
    assert "in _save" in (tmp_path / "worker.log").read_text()


def test_forged_replies_are_found(start):
    """A reply written past the worker answers nothing."""
    worker = start("deadly")
    worker.fit()
    with pytest.raises(SubmissionError, match="a reply that nobody asked for"):
        do(worker, "forge")


def daemon_of(pid):
    """The daemon that the deadly submission left behind, once its own parents are gone."""
    for _ in range(200):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if is_daemon(process):
                    return process
        time.sleep(0.05)
    raise AssertionError("no daemon is a child of the guard or the sandbox")


def is_daemon(process):
    """Whether a process has another session than its parent, who is no part of the daemon's family."""
    parent, mark = process.parent(), "fairuniverse-test-daemon"
    is_adopted = mark in process.cmdline() and mark not in parent.cmdline()
    return is_adopted and os.getsid(process.pid) != os.getsid(parent.pid)


def test_daemons_end_with_their_worker(start):
    """A process that left its session, group and parents is still found and killed."""
    worker = start("deadly")
    worker.fit()
    assert check(do(worker, "leave_daemon").content).status == "ok"
    daemon = daemon_of(worker.pid)
    worker.close()
    assert not daemon.is_running()


HOST = """
import sys, threading, time
from pathlib import Path
from fairuniverse.config import LimitsConfig
from fairuniverse.isolation.output import OutputLog
from fairuniverse.isolation.process import SharedTraining, Worker
from fairuniverse.isolation.backends import get_backend
from fairuniverse.isolation.shared import SharedTable
from fairuniverse.registry import make_simulator
from fairuniverse.submission import load_submission
from fairuniverse.training import TrainingSpec, locate
import numpy as np
world = make_simulator(sys.argv[1], {})
events = world.generate({"signal": 10, "background": 10}, seed=1)
training = SharedTraining(events, TrainingSpec(locate(world), {}, 1, [], (0.1, 3.0), 0.68))
backend = get_backend(sys.argv[4])
worker = Worker(load_submission(sys.argv[2]), training, backend=backend, limits=LimitsConfig(),
                log=OutputLog(Path(sys.argv[3])), stop=threading.Event())
toy = SharedTable()
toy.write({"x": np.array([7.0], np.float32), "z": np.zeros(1, np.float32)})
worker.show(toy)
worker.predict()
print(worker.pid, worker.folder, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_outlives_a_killed_host(tmp_path, backend):
    """SIGKILL of the host ends worker, guard, sandbox and daemons, and the private folder is removed."""
    try:
        get_backend(backend)
    except IsolationError as error:
        pytest.skip(str(error))
    arguments = [
        SUBMISSIONS.parent / "tiny_world.py",
        SUBMISSIONS / "deadly",
        tmp_path / "worker.log",
        backend,
    ]
    with subprocess.Popen(
        [sys.executable, "-c", HOST, *arguments], stdout=subprocess.PIPE, text=True
    ) as host:
        pid, folder = host.stdout.readline().split()
        daemon_of(int(pid))
        processes = [psutil.Process(int(pid)), *psutil.Process(int(pid)).children(recursive=True)]
        host.kill()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    for _ in range(100):
        if not Path(folder).exists():
            break
        time.sleep(0.05)
    assert not Path(folder).exists()


def test_a_stopped_run_waits_for_nobody(start, training, tmp_path):
    """Once the run is stopped, a worker that computes is given up."""
    worker = start("deadly", predict_timeout_s=600.0)
    worker.fit()
    threading.Timer(0.3, worker.stop.set).start()
    with pytest.raises(SubmissionError, match="the run was stopped"):
        do(worker, "loop")


def test_clean_environment(start, tmp_path, monkeypatch):
    """A worker inherits no variable of the host but those that programs need to start."""
    monkeypatch.setenv("FAIRUNIVERSE_TEST_TRUTH", "1.7")
    text = (
        "import os\nclass Model:\n"
        + FIT
        + "    def predict(self, test): raise ValueError(sorted(os.environ))\n"
    )
    worker = start(model_folder(tmp_path, text))
    show(worker)
    names = set(re.findall(r"'(\w+)'", check(worker.predict().content).message))
    assert "FAIRUNIVERSE_TEST_TRUTH" not in names
    assert {"HOME", "OMP_NUM_THREADS"} <= names


def test_unknown_backends_are_refused():
    """Nothing less safe takes the place of what was asked for."""
    with pytest.raises(IsolationError, match="'chroot'; there are: bubblewrap, podman, none"):
        get_backend("chroot")


HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from model import search
mu = float("1.724539" + "01234567")
text, seed = str(mu), "365018" + str(int("247091"))
print({found.split(" in ")[0] for found in search()})
"""


def test_the_spy_can_find():
    """The search that finds nothing in workers does find a truth in a process that holds one."""
    command = [sys.executable, "-c", HOLDER, SUBMISSIONS / "spy"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert literal_eval(found) >= {"mu", "mu as text", "seed as text"}


def test_signals_to_the_host_do_not_reach_workers(start):
    """Ctrl-C goes to the host, which ends its workers in order."""
    worker = start("deadly")
    assert os.getpgid(worker.pid) != os.getpgid(0)
    os.kill(worker.pid, signal.SIGINT)
    worker.fit()
