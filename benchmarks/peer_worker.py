"""Pseudo-experiments of the public package HiggsML, one per line of input; runs in an environment of its own.

Usage: python peer_worker.py FOLDER, where FOLDER holds the pool as written by bench_pseudo_experiment.py.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from HiggsML.systematics import get_bootstrapped_dataset, get_systematics_dataset

SHAPES = ("tes", "jes", "soft_met")


def read_test_set(folder: Path) -> dict[str, pd.DataFrame]:
    """The pool as the package keeps its test set: one table per process, features and weights in float32."""
    description = json.loads((folder / "pool.json").read_text())
    process = np.load(folder / "process.npy")
    table = pd.DataFrame(np.load(folder / "features.npy").T.copy(), columns=description["names"])
    table["weights"] = np.load(folder / "weights.npy").astype(np.float32)
    return {name: table[process == code].copy() for code, name in enumerate(description["processes"])}


def main() -> None:
    test_set = read_test_set(Path(sys.argv[1]))
    print("ready", flush=True)
    for line in sys.stdin:
        toy = json.loads(line)
        shapes = {n: toy["nuisances"][n] for n in SHAPES}
        scales = {n: v for n, v in toy["nuisances"].items() if n not in SHAPES}
        start = time.perf_counter()
        drawn = get_bootstrapped_dataset(test_set, mu=toy["mu"], seed=toy["seed"], **scales)
        events = get_systematics_dataset(drawn, **shapes)
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "n_events": len(events["data"])}), flush=True)


if __name__ == "__main__":
    main()
