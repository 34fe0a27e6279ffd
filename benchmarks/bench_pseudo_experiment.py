"""Speed of one pseudo-experiment against the public package HiggsML 0.1.5, repeat by repeat in the same run.

Both draw about 1.05 million events (mu = 1, all six nuisance parameters on) from the same pool, shift and
select them and compute the derived features. The package runs in a virtual environment of its own, which is
made beside this file on the first run. Every repeat times the package and then ours, so both see the same
load of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
from public_data import NUISANCES, SHARES

PEER = "HiggsML==0.1.5"
HERE = Path(__file__).parent
WEIGHT_SPREAD = {"htautau": 0.01, "ttbar": 0.12}
"""Relative spread of the public weights; those of the other processes are constant."""
SIMULATED_ROWS = 900_000


def simulate_pool(n_rows: int, with_record: bool) -> Any:
    """Events in the shares and with the weights of the public files; repeated if many rows are asked for."""
    from fairuniverse.simulators.higgs_tautau.simulator import HiggsTauTau

    from fairuniverse.events import Events

    n_simulated = min(n_rows, SIMULATED_ROWS)
    counts = {name: round(n_simulated * share) for name, share in SHARES.items()}
    events = HiggsTauTau().generate(counts, seed=1, n_threads=os.cpu_count() or 1)
    rng = np.random.default_rng(1)
    weights = np.array(events.weights)
    for code, name in enumerate(events.processes):
        rows = events.process == code
        total = weights[rows].sum()
        weights[rows] *= rng.choice(1 + WEIGHT_SPREAD.get(name, 0.0) * np.linspace(-1, 1, 5), rows.sum())
        weights[rows] *= total / weights[rows].sum()
    copies = n_rows // n_simulated
    return Events(
        events.schema,
        np.tile(events.features, copies),
        np.tile(weights / copies, copies),
        np.tile(events.process, copies),
        events.processes,
        np.tile(events.record, copies) if with_record else None,
    )


def save_pool(pool: Any, folder: Path) -> None:
    """Write the pool for the other processes."""
    for name in ("features", "weights", "process", "record"):
        if getattr(pool, name) is not None:
            np.save(folder / f"{name}.npy", getattr(pool, name))
    description = {"names": pool.schema.names, "processes": pool.processes}
    (folder / "pool.json").write_text(json.dumps(description))


def read_pool(folder: Path) -> Any:
    """The pool that `save_pool` wrote."""
    from fairuniverse.simulators.higgs_tautau.schema import SCHEMA

    from fairuniverse.events import Events

    columns = {n: np.load(folder / f"{n}.npy") for n in ("features", "weights", "process")}
    record = np.load(folder / "record.npy") if (folder / "record.npy").exists() else None
    processes = tuple(json.loads((folder / "pool.json").read_text())["processes"])
    return Events(SCHEMA, **columns, processes=processes, record=record)


def sampler_of(pool: Any, mode: str) -> Any:
    """Our sampler."""
    from fairuniverse.simulators.higgs_tautau.pool import PoolSampler
    from fairuniverse.simulators.higgs_tautau.world import NUISANCES as PARAMETERS

    return PoolSampler(pool, PARAMETERS, mode)


def draw(sampler: Any, i_toy: int, n_threads: int) -> tuple[float, int]:
    """Seconds and events of one pseudo-experiment of ours."""
    from fairuniverse.seeding import Streams

    start = time.perf_counter()
    events = sampler.sample(1.0, NUISANCES, streams=Streams(1, 0, i_toy), n_threads=n_threads)
    return time.perf_counter() - start, len(events)


class Peer:
    """The public package in its own process."""

    def __init__(self, folder: Path, python: Path) -> None:
        command = [python, HERE / "peer_worker.py", folder]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the public package's process ended, see its message above")
        return line

    def draw(self, seed: int) -> tuple[float, int]:
        """Seconds and events of one pseudo-experiment of the package."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"mu": 1.0, "seed": seed, "nuisances": NUISANCES}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._read())
        return answer["seconds"], answer["n_events"]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def peer_python() -> Path:
    """Interpreter of an environment that holds the public package."""
    folder = HERE / ".venv-peer"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing {PEER} into {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True)
        (folder / "ready").touch()
    return python


def fresh_process(folder: Path, mode: str) -> None:
    """What a new process pays: seconds to the first pseudo-experiment, and its peak memory."""
    start = time.perf_counter()
    pool = read_pool(folder)
    read = time.perf_counter()
    sampler = sampler_of(pool, mode)
    built = time.perf_counter()
    seconds, _ = draw(sampler, 0, 1)
    for i_toy in range(1, 4):
        draw(sampler, i_toy, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    read_ms, build_ms = 1e3 * (read - start), 1e3 * (built - read)
    print(
        f"{mode:9} {read_ms:6.0f} ms read pool, {build_ms:6.0f} ms import and build, "
        f"{1e3 * seconds:6.0f} ms first draw, peak {peak:5.0f} MiB"
    )


def in_fresh_process(folder: Path, mode: str) -> None:
    """Run `fresh_process` in a new interpreter."""
    subprocess.run([sys.executable, __file__, "--fresh", folder, "--modes", mode], check=True)


def compare(pool: Any, peer: Peer, modes: list[str], threads: list[int], n_repeats: int) -> None:
    """Time the package and ours in turn, and print medians of the ratios."""
    samplers = {mode: sampler_of(pool, mode) for mode in modes}
    cases = [(mode, n) for mode in modes for n in threads]
    seconds: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    peers, n_kept = [], {}
    for i in range(n_repeats + 1):
        peer_seconds, n_peer = peer.draw(i)
        for mode, n_threads in cases:
            ours, n_kept[mode] = draw(samplers[mode], i, n_threads)
            seconds[mode, n_threads].append(ours)
        peers.append(peer_seconds)
    peer_ms = 1e3 * np.array(peers[1:])  # the first repeat warms up both
    print(f"\npackage: {np.median(peer_ms):.0f} ms (best {peer_ms.min():.0f}), {n_peer} events kept")
    print("mode      threads   ms (best)       ns per drawn event   ratio median (min - max)   events kept")
    drawn = expected_events(pool)
    for (mode, n_threads), values in seconds.items():
        ms = 1e3 * np.array(values[1:])
        ratio = peer_ms / ms
        print(
            f"{mode:9} {n_threads:7}   {np.median(ms):5.1f} ({ms.min():5.1f})   "
            f"{1e6 * np.median(ms) / drawn:18.1f}   "
            f"{np.median(ratio):12.1f} ({ratio.min():.1f} - {ratio.max():.1f})   {n_kept[mode]:14}"
        )


def expected_events(pool: Any) -> float:
    """Expected number of drawn events."""
    from fairuniverse.simulators.higgs_tautau.world import NUISANCES as PARAMETERS

    from fairuniverse.nuisance import normalisation

    return sum(w * normalisation(PARAMETERS, NUISANCES, p) for p, w in pool.sum_weights().items())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=SIMULATED_ROWS, help="rows of the pool, such as 27000000")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--modes", nargs="+", default=["detector", "posthoc", "official"])
    parser.add_argument(
        "--peer-python", type=Path, help="interpreter that has the package, instead of making one"
    )
    parser.add_argument("--fresh", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.fresh:
        fresh_process(options.fresh, options.modes[0])
        return
    python = options.peer_python or peer_python()
    pool = simulate_pool(options.rows, "detector" in options.modes)
    print(f"pool of {len(pool)} events, {expected_events(pool):.0f} drawn, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        save_pool(pool, Path(name))
        for mode in options.modes:
            in_fresh_process(Path(name), mode)
        peer = Peer(Path(name), python)
        compare(pool, peer, options.modes, options.threads, options.repeats)
        peer.close()


if __name__ == "__main__":
    main()
