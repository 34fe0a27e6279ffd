"""What isolation costs: handing a toy over, a control round trip, starting, and a whole run of `quick`.

    python benchmarks/bench_isolation.py [--repeats 30] [--toys 12] [--rounds 3] [--skip-run]

Wall time suffers from whatever else the machine does; processor time (host and workers together) hardly does.
"""

import argparse
import os
import socket
import statistics
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from fairuniverse.api import Benchmark
from fairuniverse.config import LimitsConfig
from fairuniverse.errors import IsolationError
from fairuniverse.isolation.backends import BACKENDS, get_backend
from fairuniverse.isolation.cgroup import Limits, join, make_group, remove
from fairuniverse.isolation.output import OutputLog
from fairuniverse.isolation.process import SharedTraining, Worker
from fairuniverse.isolation.shared import SharedTable
from fairuniverse.registry import find_submission, make_simulator
from fairuniverse.runner import run_submission
from fairuniverse.submission import load_submission
from fairuniverse.training import TrainingSpec, locate

N_EVENTS, N_FEATURES = 1_000_000, 28
READER = """
class Model:
    def fit(self, train): pass
    def predict(self, test):
        total = float(sum(test.to_numpy().T[i].sum() for i in range(test.shape[1]))) if {touch} else 0.0
        return {{"mu_hat": 1.0 + 0 * total, "lower": 0.0, "upper": 2.0}}
"""


def available():
    """The backends that work here."""
    for name in BACKENDS:
        start = time.perf_counter()
        try:
            backend = get_backend(name)
        except IsolationError as error:
            print(f"{name}: not here ({str(error)[:90]})")
        else:
            print(f"{name}: checked in {time.perf_counter() - start:.2f} s")
            yield backend


def quantiles(seconds):
    """Median and best, in milliseconds."""
    return f"{1e3 * statistics.median(seconds):8.2f} ({1e3 * min(seconds):.2f})"


def wake_ups(repeats):
    """What two processes of this machine need to wake each other over a socket: no protocol can be faster."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        ours.close()
        while word := theirs.recv(4):
            theirs.sendall(word)
        os._exit(0)
    theirs.close()
    seconds = []
    with ours:
        for _ in range(repeats + 2):
            time.sleep(0.02)  # as between two toys: a process that waits has lost its core
            start = time.perf_counter()
            ours.sendall(b"word")
            ours.recv(4)
            seconds.append(time.perf_counter() - start)
    os.waitpid(child, 0)
    print(f"{'no protocol':12}{'bare round trip':22}{quantiles(seconds[2:])} ms")


def hand_over(backend, repeats):
    """Time to hand over a toy, to answer without and with reading it, and of round trips without one."""
    world = make_simulator("higgs_tautau", {})
    names = list(world.schema.names)
    assert len(names) == N_FEATURES
    events = world.generate({p.name: 100 for p in world.processes}, seed=1)
    training = SharedTraining(events, TrainingSpec(locate(world), {}, 1, [], (0.1, 3.0), 0.68))
    block = np.random.default_rng(1).normal(size=(N_FEATURES, N_EVENTS)).astype(np.float32)
    toy, tiny = SharedTable(), SharedTable()
    tiny.write(dict(zip(names, block[:, :1], strict=True)))
    rows = ("start", "write", "show", "predict", "predict, all read", "control round trip", "with one event")
    times = {row: [] for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        for touch in (False, True):
            path = Path(folder) / f"reader{touch}"
            path.mkdir()
            (path / "model.py").write_text(READER.format(touch=touch))
            start = time.perf_counter()
            worker = Worker(
                load_submission(path),
                training,
                backend=backend,
                limits=LimitsConfig(),
                log=OutputLog(Path(folder) / "log"),
                stop=threading.Event(),
            )
            times["start"].append(time.perf_counter() - start)
            worker.fit()
            for i in range(repeats + 2):
                t0 = time.perf_counter()
                toy.write(dict(zip(names, block, strict=True)))
                t1 = time.perf_counter()
                worker.show(toy)
                t2 = time.perf_counter()
                reply = worker.predict()
                t3 = time.perf_counter()
                worker.show(tiny)
                t4 = time.perf_counter()
                worker.predict()
                t5 = time.perf_counter()
                time.sleep(0.02)
                t6 = time.perf_counter()
                worker.fit()  # which does nothing: a request without data
                t7 = time.perf_counter()
                if i >= 2:  # the first touch of the pages is not the rule
                    times["write"].append(t1 - t0)
                    times["show"].append(t2 - t1)
                    times["predict, all read" if touch else "predict"].append(t3 - t2)
                    times["with one event"].append(t5 - t4)
                    times["control round trip"].append(t7 - t6)
            memory = reply.memory_mib
            worker.close()
    training.close()
    for key, seconds in times.items():
        print(f"{backend.name:12}{key:22}{quantiles(seconds)} ms")
    total = [a + b for a, b in zip(times["write"], times["show"], strict=True)]
    total = [a + b for a, b in zip(total, times["predict"], strict=False)]
    host = psutil.Process().memory_info().rss / (1 << 20)
    print(f"{backend.name:12}{'hand-over in all':22}{quantiles(total)} ms")
    print(f"{backend.name:12}{'memory':22}{memory:8.0f} MiB in the worker, {host:.0f} in the host")


class PreDrawn:
    """Toys that are drawn once, so that the runs differ in nothing but their isolation."""

    def __init__(self, toys, n):
        self._toys, self.n_mu, self.n_toys = toys, 1, n
        self._drawn = [self._kept(toys.draw(t, n_threads=1)) for t in self.truths()]

    def __len__(self):
        return self.n_toys

    @staticmethod
    def _kept(toy):
        """A copy: the next draw reuses the memory."""
        return replace(toy, events=toy.events.select(np.arange(len(toy.events))))

    def truths(self):
        return self._toys.truths()[: self.n_toys]

    def draw(self, truth, *, n_threads=1):
        return self._drawn[truth.i_toy]


class QuickBenchmark:
    """The benchmark `quick` with pre-drawn toys."""

    def __init__(self, n_toys):
        full = Benchmark.load("quick")
        self.config, self.simulator = full.config, full.simulator
        self.training_events = full.training_events
        self.pseudo_experiments = PreDrawn(full.pseudo_experiments, n_toys)


@contextmanager
def processor_time():
    """Counter of the processor time of this process and of every one it starts, dead or alive."""
    group = make_group(f"fairuniverse-bench-{os.getpid()}", Limits(1 << 20, 1 << 15, os.cpu_count() or 1))
    homes = [folder.parent for folder in group.joinable]
    join(group.joinable)  # the workers' groups are made below ours
    try:
        yield lambda: group.cpu_s() or 0.0
    finally:
        join(homes)
        remove(group.joinable)


def whole_runs(backends, n_toys, rounds, cpu_s):
    """Wall and processor time of `run quick counting`, round by round with each backend."""
    start, at = time.perf_counter(), cpu_s()
    benchmark = QuickBenchmark(n_toys)
    print(
        f"\ndrawing {n_toys} toys and the training events: {time.perf_counter() - start:.1f} s wall, "
        f"{cpu_s() - at:.1f} s processor (not counted below)"
    )
    submission = load_submission(find_submission("counting"))
    times = {b.name: [] for b in backends}
    for _ in range(rounds):
        for backend in backends:
            with tempfile.TemporaryDirectory() as folder:
                wall, cpu = time.perf_counter(), cpu_s()
                results = run_submission(
                    benchmark, submission, Path(folder) / "run", backend=backend, n_threads=1
                )
                times[backend.name].append((time.perf_counter() - wall, cpu_s() - cpu))
                assert results.is_ok.all()
    for name, pairs in times.items():
        wall, cpu = ([p[i] for p in pairs] for i in (0, 1))
        print(f"{name:12}wall {min(wall):.2f} s best of {rounds}, processor {statistics.median(cpu):.2f} s")


def main():
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--toys", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-run", action="store_true")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; median (best) in milliseconds")
    backends = list(available())
    wake_ups(options.repeats)
    for backend in backends:
        hand_over(backend, options.repeats)
    if not options.skip_run:
        with processor_time() as cpu_s:
            whole_runs(backends, options.toys, options.rounds, cpu_s)


if __name__ == "__main__":
    main()
