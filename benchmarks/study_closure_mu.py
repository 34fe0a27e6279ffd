"""What a fit to tables shifted after the fact makes of data that were shifted inside the detector.

Run with ``python benchmarks/study_closure_mu.py full.parquet``, the table made by ``fairuniverse simulate
--simulator higgs_tautau.full``. The profile-likelihood baseline learns from fast events whose systematics act
on the finished table. It then fits the expectation (mu = 1) of data shifted on the table, which it knows how
to describe, and of the same data shifted inside the detector, by way of the record: ``fairuniverse closure``
tells that this is the same. The difference is the price of the simpler systematics.
"""

import argparse
from pathlib import Path

import numpy as np
from fairuniverse.baselines.profile_likelihood.model import Model
from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.higgs_tautau.schema import SCHEMA

from fairuniverse.likelihood import fit
from fairuniverse.seeding import Streams
from fairuniverse.tables import read_events
from fairuniverse.training import TrainingSet

N_EVENTS = {"htautau": 100_000, "ztautau": 1_500_000, "ttbar": 100_000, "diboson": 40_000}
PRESCALE = 4
SHIFTS = (
    {},
    {"tes": 1.01},
    {"tes": 0.99},
    {"tes": 1.03},
    {"tes": 0.97},
    {"jes": 1.01},
    {"jes": 0.99},
    {"jes": 1.03},
    {"jes": 0.97},
    {"soft_met": 3.0},
)


def trained(world, events):
    names = [p.name for p in world.nuisances]
    model = Model()
    model.fit(TrainingSet(world, events, seed=0, nuisances=names, mu_range=(0.1, 3), confidence_level=0.6827))
    return model


def estimate(model, events):
    counts = np.bincount(
        model.observable(events.to_pandas()), events.weights, minlength=model.observable.n_bins
    )
    best = fit(model.binned.likelihood(counts))
    return best["mu"], best.error("mu")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("full", type=Path, help="table of the full simulation")
    options = parser.parse_args()
    worlds = {mode: HiggsTauTau(systematics=mode) for mode in ("posthoc", "detector")}
    processes = [p.name for p in worlds["detector"].processes]
    # Training events as data, too: what is not 1 then is no fluctuation of templates.
    fast = worlds["posthoc"].generate(N_EVENTS, seed=0, purpose="training", prescale=PRESCALE)
    samples = {"fast": fast, "full": read_events(options.full, SCHEMA, processes)}
    model = trained(worlds["posthoc"], fast)
    print("| data | shift | mu_hat, table shifted | mu_hat, detector shifted | difference | error of mu |")
    print("|---|---|---|---|---|---|")
    for name, events in samples.items():
        for values in SHIFTS:
            (table, error), (detector, _) = (
                estimate(model, w.shift(events, values, streams=Streams(1))) for w in worlds.values()
            )
            shift = ", ".join(f"{k} = {v:g}" for k, v in values.items()) or "none"
            numbers = f"{table:.3f} | {detector:.3f} | {detector - table:+.3f} | {error:.3f}"
            print(f"| {name} | {shift} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
