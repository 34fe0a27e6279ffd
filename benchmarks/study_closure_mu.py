"""What a fit to tables shifted after the fact makes of data that were shifted inside the detector.

Run with ``python benchmarks/study_closure_mu.py``. The profile-likelihood baseline learns from events whose
systematics act on the finished table. It then fits the expectation (mu = 1) of the same events shifted on the
table, which it knows how to describe, and shifted inside the detector, by way of the record: `fairuniverse
closure` tells that this is the same. The difference is the price of the simpler systematics. Events are those
of the fast simulation: an affordable sample of the full one has a hundred times the weight per Z event.
"""

import argparse

import numpy as np
from fairuniverse.baselines.profile_likelihood.model import Model
from fairuniverse.simulators.higgs_tautau import HiggsTauTau

from fairuniverse.likelihood import fit
from fairuniverse.seeding import Streams
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
    bins = model.observable(events.to_pandas())
    counts = np.bincount(bins, events.weights, minlength=model.observable.n_bins)
    best = fit(model.binned.likelihood(counts))
    return best["mu"], best.error("mu")


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    worlds = {mode: HiggsTauTau(systematics=mode) for mode in ("posthoc", "detector")}
    # Training events as data, too: what is not 1 then is no fluctuation of templates.
    events = worlds["posthoc"].generate(N_EVENTS, seed=0, purpose="training", prescale=PRESCALE)
    model = trained(worlds["posthoc"], events)
    print("| shift | mu_hat, table shifted | mu_hat, detector shifted | difference | error of mu |")
    print("|---|---|---|---|---|")
    for values in SHIFTS:
        (table, error), (detector, _) = (
            estimate(model, w.shift(events, values, streams=Streams(1))) for w in worlds.values()
        )
        shift = ", ".join(f"{k} = {v:g}" for k, v in values.items()) or "none"
        print(
            f"| {shift} | {table:.3f} | {detector:.3f} | {detector - table:+.3f} | {error:.3f} |", flush=True
        )


if __name__ == "__main__":
    main()
