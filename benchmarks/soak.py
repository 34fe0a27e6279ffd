"""Ten thousand small toys while workers, the methods' processes and the client are killed at random.

The same command is given again and again until the run is finished. Then every toy has one row, and every row
is, bit for bit, that of a run in one process that nobody disturbed, but for toys whose method was killed.

    python benchmarks/soak.py [--executor processes|dask|threads] [--toys 10000] [--seed 1]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import yaml

import fairuniverse
from fairuniverse.store import read_manifest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from loopback_dask import dask

SUBMISSION = "exact_likelihood"
COSTS = ["wall_time_s", "cpu_time_s", "memory_mib"]
N_MU = 10
CLIENT_SHARE = 0.2


def configuration(folder: Path, n_toys: int) -> Path:
    """The on/off world with as many toys."""
    package = Path(fairuniverse.__file__).parent
    (source,) = (p for p in (package / "configs", package.parents[1] / "configs") if p.is_dir())
    content = yaml.safe_load((source / "counting.yaml").read_text())
    content["pseudo_experiments"]["n_toys"] = n_toys // N_MU
    path = folder / "soak.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def command(config: Path, output: Path, *options: str) -> list[str]:
    """The command that a user gives."""
    program = [sys.executable, "-m", "fairuniverse"]
    return [*program, "run", str(config), SUBMISSION, "--output", str(output), *options]


def targets(client: psutil.Process, workers: list[psutil.Process]) -> Iterator[tuple[str, psutil.Process]]:
    """What can be killed, by kind."""
    yield "client", client
    for process in [p for c in (client, *workers) for p in c.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            line = " ".join(process.cmdline())
            if "fairuniverse.isolation.worker" in line:
                yield "method", process
            elif "fairuniverse.isolation.guard" in line:
                yield "guard", process
            elif "spawn_main" in line:
                yield "worker", process


@contextmanager
def site(executor: str, folder: Path) -> Iterator[tuple[list[str], list[psutil.Process]]]:
    """Options of the command, and processes above the workers that are not the client's."""
    if executor != "dask":
        yield ["--executor", executor, "--workers", "2"], []
        return
    with dask(folder) as cluster:
        yield ["--scheduler", cluster.address], [psutil.Process(w.pid) for w in cluster.workers]


def soak(argv: list[str], workers: list[psutil.Process], rng: np.random.Generator, pause_s: float) -> Counter:
    """Give the command until it ends well; what was killed, by kind."""
    killed: Counter[str] = Counter()
    while True:
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
            client = psutil.Process(process.pid)
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(rng.exponential(pause_s))
                    break
                with suppress(psutil.NoSuchProcess):
                    found = list(targets(client, workers))
                    kinds = sorted({kind for kind, _ in found} - {"client"}) or ["client"]
                    kind = "client" if rng.random() < CLIENT_SHARE else str(rng.choice(kinds))
                    victim = rng.choice([i for i, (k, _) in enumerate(found) if k == kind])
                    found[victim][1].send_signal(signal.SIGKILL)
                    killed[kind] += 1
            message = process.stderr.read() if process.stderr else ""
        if process.returncode == 0:
            return killed
        if process.returncode != -signal.SIGKILL:
            print(f"the client ended with status {process.returncode}: {message.strip()[-300:]}")
        killed["times begun again"] += 1


def rows(folder: Path) -> pd.DataFrame:
    """Every row of every part, and what it says of the toy."""
    table = pd.concat([pd.read_parquet(p) for p in (folder / SUBMISSION / "parts").glob("part-*.parquet")])
    return table.sort_values(["i_mu", "i_toy"], ignore_index=True).drop(columns=COSTS, errors="ignore")


def main() -> None:
    """Run undisturbed, run disturbed, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--executor", choices=["threads", "processes", "dask"], default="processes")
    parser.add_argument("--toys", type=int, default=10_000)
    parser.add_argument("--pause", type=float, default=4.0, help="mean time between kills, seconds")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[1] / "tests")
        config = configuration(folder, options.toys)
        start = time.perf_counter()
        subprocess.run(command(config, folder / "whole"), check=True, stdout=subprocess.DEVNULL)
        whole_s, start = time.perf_counter() - start, time.perf_counter()
        with site(options.executor, folder) if options.executor else nullcontext() as (arguments, workers):
            killed = soak(command(config, folder / "soaked", *arguments), workers, rng, options.pause)
        soaked_s = time.perf_counter() - start
        whole, soaked = rows(folder / "whole"), rows(folder / "soaked")
        assert len(soaked) == options.toys, f"{len(soaked)} rows of {options.toys} toys"
        differ = soaked["status"] != whole["status"]
        killed["toys that lost their process"] = int(differ.sum())
        pd.testing.assert_frame_equal(soaked[~differ], whole[~differ], check_exact=True)
        assert set(soaked.loc[differ, "status"]) <= {"crashed"}, "a toy may only cost its process"
        sessions = read_manifest(folder / "soaked" / SUBMISSION)["sessions"]
        retries = sum(len(session.get("retries", [])) for session in sessions)
        print(
            f"{options.toys} toys, {options.executor}: undisturbed {whole_s:.0f} s, soaked {soaked_s:.0f} s"
        )
        print(", ".join(f"{kind}: {n}" for kind, n in sorted(killed.items())))
        print(f"{len(sessions)} sessions, {retries} blocks or fits done again; every toy is there once")


if __name__ == "__main__":
    main()
