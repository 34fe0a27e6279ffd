"""Selected events per CPU-second of the full simulation, its parts, and the memory of a long run.

Run with ``python benchmarks/bench_full.py``; needs the extra ``full``. CPU-seconds do not count the waiting
for a busy core. Effective events are (sum w)^2 / sum w^2: what equal weights would give the same errors.
"""

import argparse
import time

import numpy as np
import psutil
from fairuniverse.simulators.higgs_tautau.full import generation
from fairuniverse.simulators.higgs_tautau.full.cards import read_cards
from fairuniverse.simulators.higgs_tautau.full.detector import measure
from fairuniverse.simulators.higgs_tautau.full.selection import select


def run(cards, process, mode, n_events):
    """Start and running CPU-seconds, those of the detector, weights of selected events, and the generator."""
    begin = time.process_time()
    rng = np.random.default_rng(1)
    source = generation.Generator(cards, process, seed=1, rng=rng, mode=mode)
    started = time.process_time()
    detector, weights = 0.0, []
    for batch in source.batches(n_events):
        arrived = time.process_time()
        weights.append(select(measure(batch, cards.detector, rng=rng), cards.detector).weights)
        detector += time.process_time() - arrived
    return started - begin, time.process_time() - started, detector, np.concatenate(weights), source


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1000, help="generated events of each process")
    parser.add_argument("--reference", type=int, default=0, help="the same of plain Pythia events")
    parser.add_argument("--long", type=int, default=0, help="Z events for the memory of a long run")
    options = parser.parse_args()
    cards = read_cards()
    head = ("process", "mode", "selected/s", "effective/s", "start, s", "ms/event", "detector", "acceptance")
    print("".join(f"{h:>12}" for h in head))
    modes = (("production", options.events), ("reference", options.reference))
    for process in cards.generation.processes:
        for mode, n in modes:
            if not n:
                continue
            start, total, detector, weights, source = run(cards, process, mode, n)
            effective = weights.sum() ** 2 / (weights**2).sum()
            acceptance = weights.sum() * source.branching / source.n_tried
            rates = f"{len(weights) / total:>12.1f}{effective / total:>12.1f}{start:>12.2f}"
            shares = f"{1e3 * total / n:>12.2f}{detector / total:>12.1%}{acceptance:>12.3%}"
            print(f"{process:>12}{mode:>12}{rates}{shares}", flush=True)
    if options.long:
        memory = psutil.Process()
        source = generation.Generator(cards, "ztautau", seed=1, rng=np.random.default_rng(1))
        step = max(1, options.long // 10)
        for k in range(10):
            for batch in source.batches(step):
                measure(batch, cards.detector, rng=np.random.default_rng(k))
            print(f"{(k + 1) * step:>9,} Z events: {memory.memory_info().rss / 2**20:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
