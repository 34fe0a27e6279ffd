"""Selected events per CPU-second of the fast generator, and the time of one fresh pseudo-experiment.

Run with ``python benchmarks/bench_simulator.py``. Settings are interleaved and the fastest of several rounds
is reported: other programs can only slow a round down. CPU-seconds do not count the waiting for a busy core.
"""

import argparse
import math
import time
from functools import partial
from typing import get_args

from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.higgs_tautau.fast import BLOCK_EVENTS, generate_records
from fairuniverse.simulators.higgs_tautau.simulator import Systematics
from fairuniverse.simulators.higgs_tautau.world import PROCESS_NAMES

from fairuniverse.seeding import Streams

NUISANCES = {"tes": 1.01, "jes": 0.99, "soft_met": 2.0, "ttbar_scale": 1.05}
MODES = get_args(Systematics)


def seconds(work, clock=time.perf_counter):
    start = clock()
    work()
    return clock() - start


def rates(rounds):
    """Selected events per CPU-second of each process, records only."""
    best = dict.fromkeys(PROCESS_NAMES, math.inf)
    for i in range(rounds):
        for process in PROCESS_NAMES:
            work = partial(generate_records, [(process, 2 * BLOCK_EVENTS)], seed=i)
            best[process] = min(best[process], seconds(work, time.process_time))
    return {process: 2 * BLOCK_EVENTS / s for process, s in best.items()}


def toy_times(rounds, n_threads):
    """Best wall and CPU seconds of a fresh pseudo-experiment, by mode and threads."""
    samplers = {mode: HiggsTauTau(systematics=mode).fresh_sampler() for mode in MODES}
    best = {}
    for i in range(rounds + 1):
        for mode, sampler in samplers.items():
            for threads in (1, n_threads):
                work = partial(sampler.sample, 1.0, NUISANCES, streams=Streams(i, 0, 0), n_threads=threads)
                cpu = time.process_time()
                wall = seconds(work)
                taken = wall, time.process_time() - cpu
                if i > 0:  # the first round touches the buffers
                    old = best.get((mode, threads), (math.inf, math.inf))
                    best[mode, threads] = tuple(map(min, old, taken))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"{'process':<12}selected events per CPU-second")
    for process, rate in rates(options.rounds).items():
        print(f"{process:<12}{rate:>12,.0f}")
    print(f"\n{'fresh toy':<12}{'threads':>8}{'wall, s':>10}{'CPU, s':>9}")
    for (mode, threads), (wall, cpu) in toy_times(options.rounds, options.threads).items():
        print(f"{mode:<12}{threads:>8}{wall:>10.2f}{cpu:>9.2f}")


if __name__ == "__main__":
    main()
