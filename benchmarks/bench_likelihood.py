"""Time of a profile-likelihood interval, beside pyhf's fit of the same workspace, and of unbinned fits.

Run with ``python benchmarks/bench_likelihood.py``. Methods are interleaved, on new data in each round; the
table has medians and the best tenth in CPU time of one thread. Waiting for a busy core does not count, but a
busy neighbour takes a share of the core and of its caches.
"""

import argparse
import os
import time
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is loaded

import numpy as np
from fairuniverse.simulators.higgs_tautau import HiggsTauTau

from fairuniverse.likelihood import (
    Axis,
    BinnedModel,
    EventTerms,
    Monomials,
    PolynomialMorphing,
    Templates,
    UnbinnedModel,
    breakdown,
    fit,
    histfactory_approximation,
    impacts,
    minos_interval,
    profile_interval,
    to_pyhf,
)

WORLD = HiggsTauTau()
SHAPES = [p for p in WORLD.nuisances if p.kind == "shape"]
MONOMIALS = Monomials.up_to([Axis(p, 2 if p.name == "soft_met" else 1) for p in SHAPES])
TRUTH = np.array([1.2, 0.5, -0.6, 0.3, 0.8, -0.5, 0.4])


def shapes(x):
    """Densities of the processes in a score between 0 and 1, and how the nuisances bend them."""
    rates = np.array([3.0, -6.0, 1e-9, -2.0])[:, None]
    densities = rates * np.exp(rates * x) / np.expm1(rates)
    slopes = np.array([0.03, 0.02, 3e-3, 3e-3, 2e-3, 3e-4, 2e-3, 3e-4, 1e-5])[:, None]
    waves = np.cos(2 * np.pi * np.outer([1, 2, 1.5, 0.7, 1.1, 1.7, 0.4, 0.9, 1.3], x))
    return densities, (slopes * waves)[None] * np.array([0.5, 1.0, 0.7, 0.8])[:, None, None]


def binned_model(n_bins):
    x = (np.arange(n_bins) + 0.5) / n_bins
    densities, bends = shapes(x)
    expected = np.array([[p.expected_yield] for p in WORLD.processes])
    yields = densities / densities.sum(axis=1, keepdims=True) * expected
    morphing = PolynomialMorphing(MONOMIALS.axes, MONOMIALS.powers, bends.transpose(1, 0, 2))
    return BinnedModel(Templates(WORLD.processes, yields, yields / 10), WORLD.nuisances, morphing)


def normalisation(rng):
    """Polynomials that normalise the shifted densities of each process, (n_processes, n_terms)."""
    densities, bends = shapes((np.arange(2000) + 0.5) / 2000)
    pulls = rng.uniform(-2, [2, 2, 1.6], (200, 3))
    terms = np.array([MONOMIALS.at_pulls(alpha) for alpha in pulls])
    means = [(d * np.exp(terms @ b)).mean(axis=1) for d, b in zip(densities, bends, strict=True)]
    return np.linalg.lstsq(terms, np.log(means).T, rcond=None)[0].T


def unbinned_likelihood(n_events, rng):
    """Events of a flat reference with the ratios of the same world, scaled to the number of events."""
    x = rng.random(n_events)
    densities, bends = shapes(x)
    bends -= normalisation(rng)[:, :, None]
    expected = np.array([[p.expected_yield] for p in WORLD.processes])
    expected *= n_events / expected.sum()
    shifted = densities * np.exp(MONOMIALS.at_pulls(np.zeros(3)) @ bends)
    keep = rng.random(n_events) * 6.5 < (expected / n_events * shifted).sum(axis=0)
    terms = EventTerms(densities[:, keep].astype(np.float32), bends[:, :, keep].astype(np.float32))
    still = np.zeros((len(MONOMIALS.powers), len(expected), 1))
    expected *= keep.sum() / n_events
    morphing = PolynomialMorphing(MONOMIALS.axes, MONOMIALS.powers, still)
    region = BinnedModel(Templates(WORLD.processes, expected, 0 * expected), WORLD.nuisances, morphing)
    return UnbinnedModel(region, MONOMIALS).likelihood(terms), int(keep.sum())


def pyhf_interval(spec):
    """Pyhf's fit with Minuit, and MINOS on mu."""
    import pyhf

    workspace = pyhf.Workspace(spec)
    model = workspace.model()
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    _, result = pyhf.infer.mle.fit(workspace.data(model), model, return_result_obj=True)
    errors = result.minuit.minos(model.config.poi_index).merrors["mu"]
    mu = result.minuit.values[model.config.poi_index]
    return mu + errors.lower, mu + errors.upper


def cpu_seconds(work):
    start = time.process_time()
    answer = work()
    return time.process_time() - start, answer


def row(name, times):
    ordered = sorted(1e3 * t for t in times)
    print(
        f"{name:<52}{np.median(ordered):>10.1f}{ordered[len(ordered) // 10]:>10.1f}{len(ordered):>6}",
        flush=True,
    )


def bench_binned(n_bins, n_rounds, n_pyhf, rng):
    model = binned_model(n_bins)
    works = {
        "fit": fit,
        "profile interval": profile_interval,
        "MINOS": minos_interval,
        "impacts": impacts,
        "breakdown": breakdown,
    }
    times = {name: [] for name in [*works, "pyhf", "ours of pyhf's model"]}
    for i in range(n_rounds + 1):
        data = model.toy(TRUTH, rng=rng)
        likelihood = model.likelihood(data)
        for name, work in works.items():
            taken, _ = cpu_seconds(partial(work, likelihood))
            if i > 0:  # the first round loads libraries
                times[name].append(taken)
        if i <= n_pyhf:
            same = histfactory_approximation(model).likelihood(data)
            taken, ours = cpu_seconds(partial(profile_interval, same))
            theirs_taken, theirs = cpu_seconds(partial(pyhf_interval, to_pyhf(model, data)))
            if i > 0:
                times["ours of pyhf's model"].append(taken)
                times["pyhf"].append(theirs_taken)
                difference = max(abs(ours.lower - theirs[0]), abs(ours.upper - theirs[1]))
                print(f"  bounds of mu differ by {difference / (ours.upper - ours.lower):.1e} of the width")
    for name in works:
        row(f"{n_bins} bins, six nuisance parameters: {name}", times[name])
    if n_pyhf:
        row(f"{n_bins} bins, HistFactory's morphing: profile interval", times["ours of pyhf's model"])
        row(f"{n_bins} bins, the same workspace: pyhf's fit and MINOS", times["pyhf"])


def bench_unbinned(n_events, n_rounds, rng):
    likelihood, n_kept = unbinned_likelihood(n_events, rng)
    start = likelihood.model.start
    for name, work in (("value", likelihood.twice_nll), ("gradient", likelihood.gradient)):
        times = [cpu_seconds(partial(work, start))[0] for _ in range(1 + 5 * n_rounds)]
        row(f"{n_kept:,} events unbinned: one {name}", times[1:])
    times = []
    for _ in range(n_rounds):
        fresh, _ = unbinned_likelihood(n_events, rng)
        times.append(cpu_seconds(partial(profile_interval, fresh))[0])
    row(f"{n_kept:,} events unbinned: profile interval", times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bins", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--pyhf-rounds", type=int, default=2)
    parser.add_argument("--events", type=int, nargs="*", default=[600_000, 6_000_000])
    parser.add_argument("--unbinned-rounds", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    print(f"{'CPU time, ms':<52}{'median':>10}{'best 10%':>10}{'n':>6}")
    bench_binned(options.bins, options.rounds, options.pyhf_rounds, rng)
    for n_events in options.events:
        bench_unbinned(n_events, options.unbinned_rounds, rng)


if __name__ == "__main__":
    main()
