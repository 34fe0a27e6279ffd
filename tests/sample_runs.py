"""Runs of sample submissions in the tiny world, here and elsewhere."""

import sys
import time
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from tempfile import mkstemp

import pandas as pd

from conftest import make_tiny
from fairuniverse.api.benchmark import Benchmark
from fairuniverse.distribution import Site
from fairuniverse.isolation.backends import NoIsolation
from fairuniverse.runner import run_submissions
from fairuniverse.submission import load_submission

TESTS = Path(__file__).parent
COSTS = ["wall_time_s", "cpu_time_s", "memory_mib", "submission"]


def make_benchmark(n_threads, **options):
    """The tiny benchmark, by a function that other processes find under its name."""
    return make_tiny(**options)


class Recording(Benchmark):
    """A benchmark that leaves a file for each time that its training events are made."""

    folder_of_records = Path()

    @cached_property
    def training_events(self):
        """As they are."""
        mkstemp(dir=self.folder_of_records)
        return super().training_events


def make_recording(folder, n_threads):
    """The tiny benchmark, recording in a folder."""
    recording = Recording(make_tiny().config)
    recording.folder_of_records = folder
    return recording


def run(folder, names, executor=None, **options):
    """Results in the tiny world of sample submissions, or others by their path, by name or path."""
    make = partial(make_benchmark, **options)
    site = executor and Site(partial(nullcontext, executor), make, NoIsolation)
    loaded = [(load_submission(TESTS / "submissions" / name), folder / Path(name).name) for name in names]
    results = run_submissions(make(1), loaded, backend=NoIsolation(), site=site)
    return dict(zip(names, results, strict=True))


def assert_same(first, second):
    """The same answers, bit for bit."""
    for name in first:
        tables = (results[name].table.drop(columns=COSTS, errors="ignore") for results in (first, second))
        pd.testing.assert_frame_equal(*tables, check_exact=True)


NAMES = ["counting", "keeps_training", "unpicklable", "always_dies"]


def wait_for_part(folder, timeout_s=120.0):
    """Wait until a run below a folder has written something."""
    end = time.monotonic() + timeout_s
    while not list(folder.glob("*/parts/part-*.parquet")):
        assert time.monotonic() < end, f"nothing was written to {folder}"
        time.sleep(0.01)


_CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fairuniverse.executors import ProcessPool
from fairuniverse.executors.dask import DaskCluster
from sample_runs import run
with DaskCluster(sys.argv[3]) if sys.argv[3] else ProcessPool(2) as executor:
    run(Path(sys.argv[2]), sys.argv[5:], executor, n_toys=int(sys.argv[4]))
"""


def client_command(folder, names, n_toys, scheduler=""):
    """A program that runs submissions on two processes, or on a Dask cluster."""
    return [sys.executable, "-c", _CLIENT, *map(str, (TESTS, folder, scheduler, n_toys, *names))]
