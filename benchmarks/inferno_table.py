"""Our numbers beside the published ones on the toy of INFERNO (arXiv:1806.04743): run me, I print a table.

Expected standard error of s = 50 mu at mu = 1 and nominal nuisances, in the paper's five benchmarks: from the
exact likelihood; from ten equal bins of the best classifier, which ignores the nuisance parameters; and from
the bins that the baseline ``inferno`` learns. All from Fisher information, the latter two with templates of
100,000 events per process as in the configuration ``inferno-toy``.

    python benchmarks/inferno_table.py [--benchmarks 4]
"""

import argparse
import time

import numpy as np
from fairuniverse.baselines.inferno.model import Model
from fairuniverse.simulators.inferno_toy import InfernoToy

from fairuniverse.likelihood import DensityModel, binned_model
from fairuniverse.training import TrainingSet

N_EVENTS, N_SIGNAL, SEED = 100_000, 50, 1806_04743
PUBLISHED = {
    "exact likelihood": (14.71, 15.52, 15.65, 15.62, 16.89),
    "best classifier, 10 bins": (14.97, 19.12, 24.93, 22.13, 27.98),
    "inferno": (15.51, 16.79, 16.95, 16.89, 18.68),
}


def training_set(benchmark):
    world = InfernoToy(benchmark)
    events = world.generate({p.name: N_EVENTS for p in world.processes}, seed=SEED)
    names = [p.name for p in world.nuisances]
    return TrainingSet(
        world, events, seed=SEED, nuisances=names, mu_range=(0.5, 2.5), confidence_level=0.6827
    )


def exact(train):
    names = [p.name for p in train.nuisances]
    return DensityModel(train.simulator.densities, names).expected_sigma()


def ten_bins(train):
    """Equal bins of the probability of signal, at equal numbers of signal and background events."""
    densities = train.simulator.densities
    nominal = {p.name: p.nominal for p in densities.nuisances}

    def bins(table):
        signal, background = densities.log_densities(table[train.features].to_numpy(float).T, nominal)
        return np.minimum((10 / (1 + np.exp(background - signal))).astype(int), 9)

    return binned_model(train, bins, 10).expected_sigma()


def learnt_bins(train):
    model = Model()
    model.fit(train)
    return model.binned.expected_sigma()


METHODS = dict(zip(PUBLISHED, (exact, ten_bins, learnt_bins), strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmarks", type=int, nargs="+", default=range(5), choices=range(5))
    chosen = parser.parse_args().benchmarks
    print(" " * 34 + "".join(f"benchmark {b}  " for b in chosen))
    started = time.process_time()
    for name, method in METHODS.items():
        ours = [N_SIGNAL * method(training_set(b)) for b in chosen]
        print(f"{name:26s} ours    " + "".join(f"{v:9.2f}    " for v in ours))
        print(f"{'':26s} paper   " + "".join(f"{PUBLISHED[name][b]:9.2f}    " for b in chosen), flush=True)
    print(f"{time.process_time() - started:.0f} s of processor time")


if __name__ == "__main__":
    main()
