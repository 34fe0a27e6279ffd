"""A Dask cluster on this machine, its processes started as its users start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class LoopbackDask:
    """A scheduler and its workers.

    Attributes:
        address: Address of the scheduler.
        scheduler: Its process.
        workers: The workers' processes.
    """

    address: str
    scheduler: subprocess.Popen
    workers: list[subprocess.Popen] = field(default_factory=list)


@contextmanager
def dask(folder: Path, n_workers: int = 2) -> Iterator[LoopbackDask]:
    """Start one, and end it.

    Args:
        folder: Where it may write.
        n_workers: Workers of one thread each.
    """
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    quiet = ["--no-dashboard", "--scheduler-file", file]
    with ExitStack() as stack:

        def start(*command: object) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *map(str, command)],
                cwd=folder,
                env=environment,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", *quiet)
        end = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < end, "no scheduler"
            time.sleep(0.05)
        cluster = LoopbackDask(json.loads(file.read_text())["address"], scheduler)
        options = ["--nthreads", 1, "--memory-limit", 0, "--death-timeout", 20]
        cluster.workers += [start("worker", *options, *quiet) for _ in range(n_workers)]
        yield cluster
