"""One pseudo-experiment from a pool on disk, beside one from a pool of a million rows in memory.

Makes a partitioned data set of fast-simulated events in FOLDER (66 million rows take 3 GB, and their pool
5 GB more than it keeps while it is made), brings it into random order, and draws the same pseudo-experiments
from it and from its first million rows in turn. Cold draws find nothing of the pool in the page cache. What
is in FOLDER/out_of_core afterwards is removed, unless --keep is given.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from public_data import NUISANCES, SHARES

PART_ROWS = 1_000_000


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own, whose memory is its alone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def world(mode: str) -> Any:
    from fairuniverse.simulators.higgs_tautau import HiggsTauTau

    return HiggsTauTau(systematics=mode)


def dataset(path: Path, mode: str) -> Any:
    from fairuniverse.datasets import Dataset

    simulator = world(mode)
    return Dataset(path, simulator.schema, simulator.processes)


def make_part(path: Path, i: int, n_parts: int, mode: str) -> None:
    """A million rows with the columns that the mode needs."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    counts = {name: round(PART_ROWS * share) for name, share in SHARES.items()}
    events = world(mode).generate(counts, seed=i)
    names = list(events.schema.primary_names)
    columns = [*events.features[: len(names)]]
    if mode == "detector":
        names += events.schema.record_names
        columns += [*events.record]
    labels = pa.DictionaryArray.from_arrays(events.process, list(events.processes))
    # Partitions are mixed, as those of any production are not, but a shuffle must not care.
    order = pa.array(np.random.default_rng(i).permutation(len(events)))
    table = pa.table([*columns, events.weights / n_parts, labels], [*names, "weights", "detailed_labels"])
    pq.write_table(table.take(order), path, compression="zstd", row_group_size=1 << 18)


def make_data(folder: Path, n_rows: int, mode: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    n_parts = n_rows // PART_ROWS
    for i in range(n_parts):
        path = folder / f"part-{i:03d}.parquet"
        if not path.exists():
            make_part(path.with_suffix(".partial"), i, n_parts, mode)
            path.with_suffix(".partial").rename(path)


def prepare(data: Path, folder: Path, mode: str) -> tuple[Path, float, float, float]:
    """The pool's folder, what making it took (wall and processor seconds), and the peak memory in MiB."""
    from fairuniverse.shuffling import shuffled_pool

    simulator = world(mode)
    wall, cpu = time.perf_counter(), time.process_time()
    path = shuffled_pool(
        dataset(data, mode), lambda e: simulator.pool_rows(simulator.derive(e)), folder, encoding=mode
    )
    return path, time.perf_counter() - wall, time.process_time() - cpu, peak_mib()


def peak_mib() -> float:
    """Peak resident memory; that of `getrusage` begins with the parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def stored(pool: Path, mode: str) -> Any:
    from fairuniverse.pools import StoredPool

    return world(mode).stored_pool_sampler(StoredPool(pool))


def in_memory(data: Path, mode: str) -> Any:
    """Sampler of the first million rows, which stand for all events."""
    part = world(mode).derive(dataset(sorted(data.iterdir())[0], mode).read_all())
    part.weights[:] *= len(list(data.iterdir()))
    return world(mode).pool_sampler(part)


def draw(sampler: Any, i_toy: int, n_threads: int) -> tuple[float, float]:
    """Wall and processor milliseconds of one pseudo-experiment."""
    from fairuniverse.seeding import Streams

    wall, cpu = time.perf_counter(), time.process_time()
    events = sampler.sample(1.0, NUISANCES, streams=Streams(1, 0, i_toy), n_threads=n_threads)
    assert 900_000 < len(events) < 1_100_000
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def forget(pool: Path) -> None:
    """Take the files out of the page cache."""
    for path in pool.iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def warm_up(pool: Path) -> None:
    """Have the page cache hold what it can."""
    for path in pool.glob("*.rows"):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass


def compare(data: Path, pool: Path, mode: str, repeats: int, n_threads: int) -> dict[str, list[Any]]:
    """Times of draws from disk (warm, cold) and from memory, in turn."""
    samplers = {"memory": in_memory(data, mode), "warm": stored(pool, mode)}
    warm_up(pool)
    for sampler in samplers.values():
        draw(sampler, 0, n_threads)
    times: dict[str, list[Any]] = {"memory": [], "warm": [], "cold": []}
    for i in range(1, repeats + 1):
        for name, sampler in samplers.items():
            times[name].append(draw(sampler, i, n_threads))
    for i in range(1, repeats + 1):
        forget(pool)
        times["cold"].append(draw(samplers["warm"], i, n_threads))
    return times


def memory_of(make: Callable[..., Any], path: Path, mode: str, n_toys: int) -> list[float]:
    """Peak memory after the imports, the first and the last of some draws, MiB."""
    world(mode)
    peaks = [peak_mib()]
    sampler = make(path, mode)
    for i in range(n_toys):
        draw(sampler, i, 1)
        peaks.append(peak_mib())
    return [peaks[0], peaks[1], peaks[-1]]


def report(times: dict[str, list[Any]], n_threads: int) -> None:
    for name, values in times.items():
        wall, cpu = zip(*values, strict=True)
        against = [v / m for v, m in zip(wall, next(zip(*times["memory"], strict=True)), strict=True)]
        against_cpu = [v[1] / m[1] for v, m in zip(values, times["memory"], strict=True)]
        print(
            f"| {name} | {n_threads} | {median(wall):.0f} ({min(wall):.0f}) | {median(cpu):.0f} "
            f"({min(cpu):.0f}) | {median(against):.2f} | {median(against_cpu):.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=66_000_000)
    parser.add_argument("--mode", default="posthoc")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    folder, mode = arguments.folder / "out_of_core", arguments.mode
    data = folder / f"{mode}-{arguments.rows}"
    try:
        start = time.perf_counter()
        make_data(data, arguments.rows, mode)
        print(f"data set made in {time.perf_counter() - start:.0f} s", flush=True)
        pool, wall, cpu, peak = alone(prepare, data, folder, mode)
        size = sum(p.stat().st_size for p in pool.iterdir()) / 1e9
        print(
            f"pool of {size:.1f} GB: {wall:.0f} s, {cpu:.0f} s of processor time, peak {peak:.0f} MiB",
            flush=True,
        )
        for name, make, path in (("memory", in_memory, data), ("disk", stored, pool)):
            peaks = alone(memory_of, make, path, mode, 20)
            print(
                "{}: peak {:.0f} MiB before, {:.0f} with one draw, {:.0f} after 20".format(name, *peaks),
                flush=True,
            )
        print("| pool | threads | wall, ms (best) | processor, ms (best) | wall ratio | processor ratio |")
        for n_threads in arguments.threads:
            report(alone(compare, data, pool, mode, arguments.repeats, n_threads), n_threads)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
