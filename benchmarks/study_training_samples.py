"""Is the profile-likelihood estimate biased, or does one training sample merely fluctuate?

Run with ``python benchmarks/study_training_samples.py``. All pseudo-experiments of a run share one training
sample, whose fluctuation moves every estimate of that run alike. Here a large simulated sample stands for the
truth. Training samples are drawn from it (Poisson bootstrap of whole events, the same in every shifted copy),
and each is fitted to the expectation of the truth. The mean over training samples is the bias of the method,
their scatter is what one training sample does to a run.
"""

import argparse

import numpy as np
import pandas as pd
from fairuniverse.baselines.profile_likelihood.model import Observable
from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from tqdm import tqdm

from fairuniverse.likelihood import binned_model, fit
from fairuniverse.seeding import Streams
from fairuniverse.training import TrainingSet

N_EVENTS = {"htautau": 150_000, "ztautau": 3_000_000, "ttbar": 150_000, "diboson": 50_000}
"""Events of one block, the training sample of the configuration `quick`."""

PRESCALE = 4
TRUTH = {"soft_met": 1.0}
LOST = np.iinfo(np.uint8).max
"""Stands for the bin of an event that is not selected."""


class Truth:
    """A large sample that stands for the truth: the bin of each event at every point of the nuisances."""

    def __init__(self, world, observable, n_blocks):
        self.world, self.observable = world, observable
        self.blocks = [
            world.generate(N_EVENTS, seed=i, purpose="pool", prescale=PRESCALE) for i in range(n_blocks)
        ]
        self.process = np.concatenate([b.process for b in self.blocks])
        self.weights = np.concatenate([b.weights for b in self.blocks]) / n_blocks
        self._bins = {}

    def bins(self, values):
        point = tuple(values.items())
        if point not in self._bins:
            self._bins[point] = np.concatenate([self._shift(i, values) for i in range(len(self.blocks))])
        return self._bins[point]

    def _shift(self, i, values):
        bins = np.full(len(self.blocks[i]), LOST, np.uint8)
        shifted, survivors = self.world.shift_with_rows(self.blocks[i], values, streams=Streams(i))
        bins[survivors] = self.observable(shifted.to_pandas())
        return bins

    def counts(self, values):
        return np.bincount(self.bins(values), self.weights, minlength=LOST + 1)[: self.observable.n_bins]


class TrainingSample:
    """Training set drawn from the truth, with the same events in every shifted copy.

    It has what `binned_model` asks of a training set; instead of its features a table carries the bins.
    """

    def __init__(self, truth, share, rng):
        self.truth, self.processes, self.nuisances = truth, truth.world.processes, truth.world.nuisances
        times = rng.poisson(share, len(truth.weights))
        self.events = np.flatnonzero(times)
        self.weights = truth.weights[self.events] * times[self.events] / share

    def shift(self, values=None):
        bins = self.truth.bins(values or {})[self.events]
        names = [p.name for p in self.processes]
        process = pd.Categorical.from_codes(self.truth.process[self.events].astype(np.int64), names)
        table = pd.DataFrame({"bin": bins.astype(np.int64), "process": process, "weights": self.weights})
        return table[bins != LOST]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--blocks", type=int, default=8, help="size of the truth, in training samples of quick"
    )
    parser.add_argument("--samples", type=int, default=50, help="training samples of each size")
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 4], help="in training samples of quick")
    options = parser.parse_args()

    world = HiggsTauTau()
    events = world.generate(N_EVENTS, seed=0, purpose="training", prescale=PRESCALE)
    names = [p.name for p in world.nuisances]
    train = TrainingSet(world, events, seed=0, nuisances=names, mu_range=(0.1, 3), confidence_level=0.6827)
    observable, _ = Observable.fit(train.shift(), train.features)
    assert observable.n_bins < LOST
    truth = Truth(world, observable, options.blocks)
    data = truth.counts(TRUTH)
    print(f"truth: {len(truth.weights):,} events\n")
    print("| size | bias of mu_hat | scatter over training samples | error of one pseudo-experiment |")
    print("|---|---|---|---|")
    for size in options.sizes:
        answers = []
        for i in tqdm(range(options.samples), desc=f"size {size:g}", leave=False, disable=None):
            sample = TrainingSample(truth, size / options.blocks, np.random.default_rng(i))
            model = binned_model(sample, lambda table: table["bin"].to_numpy(), observable.n_bins)
            best = fit(model.likelihood(data))
            answers.append((best["mu"] - 1, best.error("mu")))
        bias, error = np.array(answers).T
        scatter = bias.std(ddof=1)
        print(
            f"| {size:g} | {bias.mean():+.3f} ± {scatter / len(bias) ** 0.5:.3f} | {scatter:.3f} "
            f"| {error.mean():.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
