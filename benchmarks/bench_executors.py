"""What executors cost: scaling on this machine, overhead of a task, load of a scheduler, time of the store.

    python benchmarks/bench_executors.py [--repeats 3] [--tasks 2000] [--parts 1000]

The last table extrapolates to 1,000 workers and a million pseudo-experiments with the numbers just measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from fairuniverse.backlog import MAX_TOYS
from fairuniverse.executors import Executor, ProcessPool
from fairuniverse.executors.dask import DaskCluster
from fairuniverse.pseudo_experiments import Truth
from fairuniverse.store import RunStore

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from loopback_dask import dask

SUBMISSIONS = ["counting", "profile_likelihood"]
TASK_S = 1.0
TARGET_WORKERS, TARGET_TOYS, TOY_S = 1_000, 1_000_000, 1.0


def run_quick(folder: Path, n_workers: int) -> tuple[float, float]:
    """Wall time of the quick benchmark on a pool of processes, and from the last fit to the last answer."""
    output = folder / f"quick-{n_workers}"
    cores = ["--workers", str(n_workers), "--threads", str(n_workers)]
    options = ["--executor", "processes", *cores, "--overwrite", "--output", str(output)]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "fairuniverse", "run", "quick", *SUBMISSIONS, *options],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall_s = time.perf_counter() - start
    fitted, answered = (
        max(p.stat().st_mtime for p in output.glob(pattern))
        for pattern in ("*/fit-*.json", "*/parts/*.parquet")
    )
    return wall_s, answered - fitted


def busy(seconds: float) -> float:
    """Use a core for so long."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return seconds


def overhead(executor: Executor, n_workers: int, n_tasks: int) -> float:
    """Share of the wall time in which workers do not work, with tasks of a second."""
    for future in [executor.submit(busy, 0.01) for _ in range(2 * n_workers)]:
        future.result()
    start = time.perf_counter()
    for future in [executor.submit(busy, TASK_S) for _ in range(n_tasks)]:
        future.result()
    return 1 - n_tasks * TASK_S / n_workers / (time.perf_counter() - start)


def no_work(number: int) -> int:
    """As little as a task can be."""
    return number


def scheduler_load(executor: Executor, scheduler: psutil.Process, n_tasks: int) -> tuple[float, float]:
    """Tasks per second that come back, and processor time of the scheduler for each, seconds."""
    before, start = sum(scheduler.cpu_times()[:2]), time.perf_counter()
    for future in [executor.submit(no_work, i) for i in range(n_tasks)]:
        future.result()
    wall_s = time.perf_counter() - start
    return n_tasks / wall_s, (sum(scheduler.cpu_times()[:2]) - before) / n_tasks


def rows_of(part: int) -> list[dict[str, object]]:
    """A block of answers."""
    return [
        {
            "place": part * MAX_TOYS + i,
            "submission": "counting",
            "i_mu": 0,
            "i_toy": part * MAX_TOYS + i,
            "mu_true": 1.0,
            "status": "ok",
            "message": "",
            **{"mu_hat": 1.0, "lower": 0.5, "upper": 1.5},
            **{"n_events": 1_000_000, "wall_time_s": 1.0, "cpu_time_s": 1.0, "memory_mib": 100.0},
            **{f"nuisance.{name}": 1.0 for name in ("tes", "jes", "soft_met")},
        }
        for i in range(MAX_TOYS)
    ]


def store(folder: Path, n_parts: int) -> tuple[float, float]:
    """Time to write a part, and to read it again as a resumed run does, seconds."""
    truths = [Truth(0, i, 1.0, {"tes": 1.0, "jes": 1.0, "soft_met": 1.0}) for i in range(n_parts * MAX_TOYS)]
    with RunStore(folder / "store", {"benchmark_digest": "x", "submission_digest": "y"}) as opened:
        opened.write_truths(truths)
        start = time.perf_counter()
        for part in range(n_parts):
            opened.write_part(rows_of(part))
        written_s, start = time.perf_counter() - start, time.perf_counter()
        assert len(opened.finished()) == n_parts * MAX_TOYS
        return written_s / n_parts, (time.perf_counter() - start) / n_parts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--parts", type=int, default=1000)
    parser.add_argument(
        "--no-quick", action="store_true", help="leave out the scaling of the quick benchmark"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="executors-") as name:
        folder = Path(name)
        with ProcessPool(2) as pool:
            print(f"processes: overhead {overhead(pool, 2, 40):.1%} with tasks of a second")
        with dask(folder) as cluster, DaskCluster(cluster.address) as executor:
            print(f"dask: overhead {overhead(executor, 2, 40):.1%} with tasks of a second")
            rate, cpu_s = scheduler_load(executor, psutil.Process(cluster.scheduler.pid), options.tasks)
            print(f"dask: {rate:.0f} tasks/s, {1e3 * cpu_s:.2f} ms of the scheduler's processor for each")
        write_s, read_s = store(folder, options.parts)
        print(f"store: {1e3 * write_s:.2f} ms to write a part, {1e3 * read_s:.2f} ms to read one")
        if not options.no_quick:
            times = [[run_quick(folder, n) for n in (1, 2)] for _ in range(options.repeats)]
            for what, i in (("the command", 0), ("from the last fit to the last answer", 1)):
                one, two = (statistics.median(row[n][i] for row in times) for n in (0, 1))
                ratio = statistics.median(row[0][i] / row[1][i] for row in times)
                print(f"quick, {what}: {one:.1f} s with one worker, {two:.1f} s with two, ratio {ratio:.2f}")
    n_blocks = TARGET_TOYS // MAX_TOYS
    task_s = MAX_TOYS * TOY_S
    n_per_s = TARGET_WORKERS / task_s
    plan = {
        "tasks": n_blocks,
        "tasks per second": n_per_s,
        "wall time, hours": TARGET_TOYS * TOY_S / TARGET_WORKERS / 3600,
        "scheduler, share of a core": n_per_s * cpu_s,
        "parts written per second": n_per_s,
        "writing, share of a worker's time": write_s / task_s,
        "reading all parts at the end, minutes": n_blocks * read_s / 60,
    }
    print(f"{TARGET_WORKERS} workers, {TARGET_TOYS} toys of {TOY_S:g} s: " + json.dumps(plan, indent=2))


if __name__ == "__main__":
    main()
