"""What every simulator must do, whatever world it is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fairuniverse.checking.findings import Finding
from fairuniverse.conformance.rules import apply_rules, refuses
from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events
from fairuniverse.nuisance import normalisation
from fairuniverse.protocols import Sampler, Simulator
from fairuniverse.seeding import Streams

N_EVENTS = 70_000
"""Events per process: more than a block of random numbers, so that threads have something to share."""

FALSE_ALARM = 1e-6
"""Of each statistical comparison."""

_N_COMPARED = 5_000
"""Rows of a toy that are compared: few enough that drawing them twice from a pool hardly matters."""

_N_HALF = 100_000
"""Rows of each half of a fresh toy that are compared."""


def check_simulator(simulator: Simulator, *, n_events: int = N_EVENTS) -> list[Finding]:
    """What a simulator does wrong.

    Args:
        simulator: The world.
        n_events: Events per process to simulate; with few, faults of threads may not show.

    Returns:
        One finding for each broken rule, and what was seen. Distributions are compared at a rate of false
        alarms of `FALSE_ALARM`.
    """
    return apply_rules(_RULES, _World(simulator, n_events))


class _World:
    """A simulator and what several rules look at."""

    def __init__(self, simulator: Simulator, n_events: int) -> None:
        self.simulator = simulator
        self.n_events = n_events
        self.numbers = {p.name: n_events for p in simulator.processes}
        self.yields = {p.name: p.expected_yield for p in simulator.processes}
        self.streams = Streams(1, 0)

    @cached_property
    def events(self) -> Events:
        return self.simulator.generate(self.numbers, seed=1, n_threads=2)

    @cached_property
    def shifted(self) -> Events:
        return self.simulator.shift(self.events, {}, streams=self.streams)

    @cached_property
    def samplers(self) -> dict[str, Sampler]:
        return {"pool": self.simulator.pool_sampler(self.events), "fresh": self.simulator.fresh_sampler()}


def _weights(world: _World) -> Iterator[str]:
    """Generate all events that are asked for, finite, with weights that sum to the expected yields."""
    events = world.events
    if len(events) != world.n_events * len(world.numbers):
        yield f"{len(events)} events for {world.numbers}"
    if events.schema is not world.simulator.schema:
        yield "the events have another schema than the simulator"
    if not np.isfinite(events.features).all():
        yield "features that are not finite"
    yield from _other_yields(events.sum_weights(), world.yields)


def _streams(world: _World) -> Iterator[str]:
    """Let generated events depend on seed and purpose alone, and tell the progress of each."""
    finished: list[int] = []
    again = world.simulator.generate(world.numbers, seed=1, n_threads=1, progress=finished.append)
    if not np.array_equal(again.features, world.events.features):
        yield "one thread gives other events than two"
    if sum(finished) != len(again):
        yield f"progress was told of {sum(finished)} events of {len(again)}"
    others = {
        "seed": world.simulator.generate(world.numbers, seed=2, n_threads=2),
        "purpose": world.simulator.generate(world.numbers, seed=1, purpose="other", n_threads=2),
    }
    for what, other in others.items():
        if (other.features != world.events.features).any(axis=0).mean() <= 0.2:
            yield f"another {what} gives the same events"


def _prescale(world: _World) -> Iterator[str]:
    """With a prescale, keep fewer events of the same yields, weights equal or that many times larger."""
    thinned = world.simulator.generate(world.numbers, seed=1, prescale=4)
    if len(thinned) >= len(world.events):
        yield f"{len(thinned)} of {len(world.events)} events with a prescale of 4"
    yield from _other_yields(thinned.sum_weights(), world.yields)
    for name in world.numbers:
        weights = thinned.of_process(name).weights
        assert weights is not None
        ratio = weights.max() / weights.min()
        if not (np.isclose(ratio, 4) or np.isclose(ratio, 1)):
            yield f"weights of {name} differ by {ratio:.6g}"
    if not refuses(InvalidDataError, lambda: world.simulator.generate(world.numbers, seed=1, prescale=0)):
        yield "prescale = 0 is taken"


def _processes(world: _World) -> Iterator[str]:
    """Refuse numbers for a process that is not there, with InvalidDataError."""
    if not refuses(InvalidDataError, lambda: world.simulator.generate({"nonsense": 10}, seed=1)):
        yield "events of the process 'nonsense' are generated"


def _nominal(world: _World) -> Iterator[str]:
    """Shift to the nominal point without changing weights, processes or most primary features."""
    nominal = {p.name: p.nominal for p in world.simulator.nuisances}
    shifted, rows = world.simulator.shift_with_rows(world.events, nominal, streams=world.streams)
    before = world.events.select(rows)
    for what in ("weights", "process"):
        if not np.array_equal(getattr(shifted, what), getattr(before, what)):
            yield f"{what} of the surviving events have changed"

    def again(n_threads: int) -> Events:
        return world.simulator.shift(world.events, {}, streams=world.streams, n_threads=n_threads)

    with ThreadPoolExecutor(2) as threads:
        for other in threads.map(again, (1, 2)):
            if not np.array_equal(other.features, shifted.features):
                yield "shifting again, in two threads at once, gives other features"
    primary = [world.simulator.schema.index(name) for name in world.simulator.schema.primary_names]
    same = np.isclose(shifted.features[primary], before.features[primary], rtol=1e-4, atol=1e-4).all(axis=0)
    if same.mean() < 0.7:  # objects between two thresholds may vanish
        yield f"only {same.mean():.0%} of the events keep their primary features"


def _normalisations(world: _World) -> Iterator[str]:
    """Let each normalisation multiply the weights of its processes, and of no other."""
    parameters = world.simulator.nuisances
    nominal = {p.name: p.nominal for p in parameters}
    for p in parameters:
        if p.kind == "normalisation":
            values = {p.name: p.bounds[1]}
            after = world.simulator.shift(world.events, values, streams=world.streams).sum_weights()
            expected = {
                name: total * normalisation(parameters, nominal | values, name)
                for name, total in world.shifted.sum_weights().items()
            }
            yield from (f"{p.name}: {text}" for text in _other_yields(after, expected))


def _shapes(world: _World) -> Iterator[str]:
    """Let every shape nuisance change something, and refuse values out of range with InvalidDataError."""
    for p in world.simulator.nuisances:
        upper = p.bounds[1]
        if not refuses(InvalidDataError, lambda p=p: _shift(world, p.name, p.bounds[1] + 1)):  # type: ignore[misc]
            yield f"{p.name} = {upper + 1} is taken, above its range"
        if p.kind == "shape" and _is_same(_shift(world, p.name, upper), world.shifted.features):
            yield f"{p.name} = {upper} changes no feature"


def _derived(world: _World) -> Iterator[str]:
    """Derive features from the primary ones, which stay as they are."""
    derived = world.simulator.derive(world.events)
    for name in world.simulator.schema.primary_names:
        if not np.allclose(derived[name], world.events[name], rtol=1e-5, atol=1e-5):
            yield f"{name} has changed"


def _toys(world: _World) -> Iterator[str]:
    """Draw toys without labels that depend on their streams alone, and refuse mu below 0."""
    for mode, sampler in world.samplers.items():
        toy = sampler.sample(1.0, {}, streams=Streams(3, 0, 1), n_threads=2)
        if not (toy.weights is None and toy.process is None and toy.record is None):
            yield f"a {mode} toy carries weights, processes or the record"
        features = toy.features.copy()
        sampler.sample(2.0, {}, streams=Streams(3, 0, 2))
        if not _is_same(sampler.sample(1.0, {}, streams=Streams(3, 0, 1)).features, features):
            yield f"the same {mode} toy with one thread, after another toy, differs"
        if _is_same(sampler.sample(1.0, {}, streams=Streams(3, 1, 1)).features, features):
            yield f"another {mode} toy is the same"
        if not refuses(InvalidDataError, lambda s=sampler: s.sample(-1.0, {}, streams=Streams(3, 0, 1))):  # type: ignore[misc]
            yield f"a {mode} toy of mu = -1 is drawn"


def _modes(world: _World) -> Iterator[str]:
    """Draw toys from a pool and fresh ones with the same counts and distributions."""
    from scipy import stats

    values = {p.name: p.prior.from_alpha(0.5) for p in world.simulator.nuisances}
    pool, fresh = (
        world.samplers[mode].sample(1.5, values, streams=Streams(4, i, 0), n_threads=2).features.copy()
        for i, mode in enumerate(("pool", "fresh"))
    )
    n_pool, n_fresh = pool.shape[1], fresh.shape[1]
    # The pool's own fluctuation of what is selected is that of its number of events.
    scatter = np.sqrt(n_pool + n_fresh + n_pool**2 / world.n_events)
    if abs(n_pool - n_fresh) > stats.norm.isf(FALSE_ALARM / 2) * scatter:
        yield f"{n_pool} events from a pool, {n_fresh} fresh ones"
    rng = np.random.default_rng(0)
    for name, *columns in zip(world.simulator.schema.names, pool, fresh, strict=True):
        one, two = (rng.choice(x, min(len(x), _N_COMPARED), replace=False) for x in columns)
        if _p_value(one, two) < FALSE_ALARM:
            yield f"{name} is distributed otherwise in fresh toys than in toys from a pool"


def _order(world: _World) -> Iterator[str]:
    """Bring the rows of a toy in an order that says nothing."""
    rng = np.random.default_rng(0)
    for mode, sampler in world.samplers.items():
        toy = sampler.sample(1.0, {}, streams=Streams(5, 0, 0))
        half = len(toy) // 2
        n_rows = min(half, _N_COMPARED if mode == "pool" else _N_HALF)
        rows = rng.choice(half, n_rows, replace=False)
        for name, feature in zip(toy.schema.names, toy.features, strict=True):
            if _p_value(feature[rows], feature[half + rows]) < FALSE_ALARM:
                yield f"{name} is distributed otherwise in the first half of a {mode} toy"


_RULES = (
    _weights,
    _streams,
    _prescale,
    _processes,
    _nominal,
    _normalisations,
    _shapes,
    _derived,
    _toys,
    _modes,
    _order,
)


def _other_yields(found: dict[str, float], expected: dict[str, float]) -> Iterator[str]:
    for name, total in expected.items():
        if not np.isclose(found.get(name, 0.0), total):
            yield f"{name} has {found.get(name, 0.0):.6g} expected events instead of {total:.6g}"


def _shift(world: _World, name: str, value: float) -> NDArray[np.float32]:
    return world.simulator.shift(world.events, {name: value}, streams=world.streams).features


def _is_same(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def _p_value(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    from scipy import stats

    return float(stats.ks_2samp(a, b, method="asymp").pvalue)
