"""Selected events per second and core of the fast generator, and how it scales with threads.

Run with ``python benchmarks/bench_simulator.py``. Settings are interleaved and the fastest of several rounds
is reported: other programs can only slow a round down.
"""

import argparse
import math
import time
from functools import partial

from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.higgs_tautau.fast import BLOCK_EVENTS, generate_records
from fairuniverse.simulators.higgs_tautau.world import PROCESS_NAMES


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    n = BLOCK_EVENTS * options.threads
    best = {}
    for i in range(options.rounds):
        for process in PROCESS_NAMES:
            for threads in (1, options.threads):
                work = partial(generate_records, [(process, n)], seed=i, n_threads=threads)
                best[process, threads] = min(seconds(work), best.get((process, threads), math.inf))
    many_threads = f"{options.threads} threads"
    print(f"{'process':<10}{'events/s, 1 thread':>20}{many_threads:>12}{'scaling':>9}")
    for process in PROCESS_NAMES:
        one, many = (best[process, t] for t in (1, options.threads))
        print(f"{process:<10}{n / one:>20,.0f}{n / many:>12,.0f}{one / many:>9.2f}")
    world = HiggsTauTau()
    taken = seconds(lambda: world.generate({"ztautau": 4 * n}, seed=0, n_threads=options.threads))
    print(f"with features, {options.threads} threads: {4 * n / taken:,.0f} ztautau events/s")


if __name__ == "__main__":
    main()
