"""What `Model.fit` receives: labelled training events, and the same events under other nuisance values."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events
from fairuniverse.nuisance import NuisanceParameter, complete
from fairuniverse.pools import MAX_ROWS_IN_MEMORY
from fairuniverse.protocols import Process, Simulator
from fairuniverse.seeding import Streams, generator, seed_sequence

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrainingSpec:
    """What a worker must know, apart from the events, to make a `TrainingSet`: plain values, no truth.

    Attributes:
        simulator: Where the simulator's class is, ``package.module:Class`` or ``/path/file.py:Class``.
        options: Keyword arguments of that class.
        seed: Seed of the training set's own streams.
        nuisances: Names of the nuisance parameters that vary from toy to toy.
        mu_range: Smallest and largest mu of the benchmark.
        confidence_level: Probability content the intervals must have.
    """

    simulator: str
    options: Mapping[str, Any]
    seed: int
    nuisances: Sequence[str]
    mu_range: Sequence[float]
    confidence_level: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for the way to the worker."""
        return asdict(self)


def training_seed(seed: int) -> int:
    """Seed for everything random in training; no stream of a toy follows from it."""
    return int(seed_sequence(seed, "training set").generate_state(1, np.uint64)[0])


def locate(simulator: Simulator) -> str:
    """Where another process finds the class of a simulator, for `load_simulator`."""
    cls = type(simulator)
    package = cls.__module__.partition(".")[0]
    if any(finder.find_spec(package, None) for finder in sys.meta_path):
        return f"{cls.__module__}:{cls.__qualname__}"
    return f"{sys.modules[cls.__module__].__file__}:{cls.__qualname__}"


def load_simulator(location: str, options: Mapping[str, Any]) -> Simulator:
    """Simulator from where `locate` said it is."""
    where, _, name = location.rpartition(":")
    module = _load_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    simulator: Simulator = getattr(module, name)(**options)
    return simulator


def _load_file(file: Path) -> Any:
    name = f"fairuniverse_simulator_{file.parent.name if file.stem == '__init__' else file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before execution: dataclasses look their module up
    spec.loader.exec_module(module)
    return module


BLOCK = 1 << 12
"""Neighbours that a sample of a large training set takes together."""

_SCAN = 1 << 20
"""Events that are looked at together."""


class TrainingSet:
    """Training events of a benchmark and everything a method may know about the world.

    Weights sum to the expected yields, that is to one pseudo-experiment's expectation at mu = 1. Tables are
    made when they are asked for, and are the caller's own: change them freely.

    Args:
        simulator: The world.
        events: Nominal weighted labelled events.
        seed: Seed of the noise of `shift`.
        nuisances: Names of the nuisance parameters that vary from toy to toy.
        mu_range: Smallest and largest mu of the benchmark.
        confidence_level: Probability content the intervals must have.
        n_threads: Threads that a fit may use, and `shift` does where the world can; results may not depend on
            it.
    """

    def __init__(
        self,
        simulator: Simulator,
        events: Events,
        *,
        seed: int,
        nuisances: Sequence[str],
        mu_range: Sequence[float],
        confidence_level: float,
        n_threads: int = 1,
    ) -> None:
        if events.weights is None or events.process is None:
            raise InvalidDataError("training events need weights and process codes; these events lack them")
        self._simulator = simulator
        self._events = events
        self._nuisances = tuple(nuisances)
        self.seed = seed
        self.is_referred_to = False
        self.mu_range = (float(mu_range[0]), float(mu_range[1]))
        self.confidence_level = confidence_level
        self.n_threads = n_threads
        self._made: tuple[Any, ...] | None = None

    @property
    def simulator(self) -> Simulator:
        """The world itself: simulate more of it, or use its exact `densities` where it has them."""
        return self._simulator

    @property
    def nuisances(self) -> tuple[NuisanceParameter, ...]:
        """Nuisance parameters that vary from toy to toy, with their priors and bounds."""
        return tuple(p for p in self._simulator.nuisances if p.name in self._nuisances)

    @property
    def processes(self) -> tuple[Process, ...]:
        """Processes with their expected yields before selection."""
        return self._simulator.processes

    @property
    def features(self) -> list[str]:
        """Names of the features, in column order: the columns that `Model.predict` gets."""
        return list(self._simulator.schema.names)

    @property
    def events(self) -> Events:
        """Nominal events before any selection, as they were simulated or read."""
        return self._events

    def sample(self, n_events: int, *, seed: int = 0) -> TrainingSet:
        """A training set of some of the events, for methods that cannot hold all.

        Args:
            n_events: Most events of each process; they are taken by chance, and their weights grow so that
                each process keeps its expected yield.
            seed: Which events.

        Raises:
            InvalidDataError: No events asked for.

        Notes:
            A set of more than ten million events is read in pieces of `BLOCK` neighbours. Such sets are in
            random order, or simulated, where neighbours are as independent as any others.
        """
        if n_events < 1:
            raise InvalidDataError(f"n_events = {n_events} must be at least 1")
        rows = self._chosen_rows(n_events, seed)
        events = self._events.select(rows)
        assert events.weights is not None
        assert events.process is not None
        kept = np.bincount(events.process, events.weights, len(self.processes))
        factors = np.divide(self._totals, kept, out=np.ones_like(kept), where=kept > 0)
        return self._part(
            replace(events, weights=events.weights * factors[events.process]), _sample, n_events, seed
        )

    def batches(self, n_events: int) -> Iterator[TrainingSet]:
        """All events in parts with the same mixture of processes, each a training set.

        Weights are those of the whole: what is added up over the batches is what all events give.

        Args:
            n_events: Events of a batch, about.

        Raises:
            InvalidDataError: No events asked for.
        """
        if n_events < 1:
            raise InvalidDataError(f"n_events = {n_events} must be at least 1")
        n_batches = max(1, round(len(self._events) / n_events))
        for number in range(n_batches):
            yield self._batch(number, n_batches)

    def _batch(self, number: int, n_batches: int) -> TrainingSet:
        n, block = len(self._events), self._block
        rows = _rows_of_blocks(np.arange(number, -(-n // block), n_batches), block, n)
        return self._part(self._events.select(rows), _batch, number, n_batches)

    @property
    def _block(self) -> int:
        """Neighbours that are read together: one by one only from a set that fits into memory."""
        return BLOCK if len(self._events) > MAX_ROWS_IN_MEMORY else 1

    @cached_property
    def _totals(self) -> NDArray[np.float64]:
        """Sum of weights by process, added up without a copy of all."""
        events, n = self._events, len(self._events)
        assert events.weights is not None
        assert events.process is not None
        totals = np.zeros(len(self.processes))
        for i in range(0, n, _SCAN):
            part = slice(i, i + _SCAN)
            totals += np.bincount(events.process[part], events.weights[part], len(totals))
        return totals

    def _chosen_rows(self, n_events: int, seed: int) -> NDArray[np.int64]:
        """Rows of at most so many events of each process, in ascending order."""
        n, block = len(self._events), self._block
        assert self._events.process is not None
        order = generator(self.seed, "training sample", seed).permutation(-(-n // block))
        wanted = np.full(len(self.processes), n_events)
        chosen: list[NDArray[np.int64]] = []
        for i in range(0, len(order), _SCAN // block):
            rows = _rows_of_blocks(order[i : i + _SCAN // block], block, n)
            codes = self._events.process[rows]
            for code in np.flatnonzero(wanted):
                found = rows[codes == code][: wanted[code]]
                wanted[code] -= len(found)
                chosen.append(found)
            if not wanted.any():
                break
        return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)

    def _part(self, events: Events, make: Callable[..., TrainingSet], *arguments: int) -> TrainingSet:
        part = TrainingSet(
            self._simulator,
            events,
            seed=self.seed,
            nuisances=self._nuisances,
            mu_range=self.mu_range,
            confidence_level=self.confidence_level,
            n_threads=self.n_threads,
        )
        part._made = make, (self, *arguments)
        return part

    @cached_property
    def data(self) -> pd.DataFrame:
        """Events at nominal nuisance values.

        Columns: the features (float32), ``weights`` (float64), ``process`` (categorical) and ``label``
        (uint8, 1 = signal).
        """
        return self.shift()

    def shift(
        self, values: Mapping[str, float] | None = None, /, *, seed: int = 0, **nuisances: float
    ) -> pd.DataFrame:
        """The same events under other nuisance values, columns as in `data`.

        Args:
            values: Values by name; those left out are nominal. Features are shifted and events selected
                again; normalisations scale the weights.
            seed: Which random noise, for parameters that add noise: equal seeds, equal noise.
            nuisances: The same as keywords, such as ``tes=1.01``.

        Raises:
            InvalidDataError: An unknown name or a value out of range.
        """
        complete_values = complete(self._simulator.nuisances, {**(values or {}), **nuisances})
        streams = Streams(self.seed, seed)
        return self._table(
            self._simulator.shift(self._events, complete_values, streams=streams, n_threads=self.n_threads)
        )

    def _table(self, events: Events) -> pd.DataFrame:
        import pandas as pd

        assert events.process is not None
        is_signal = np.array([p.is_signal for p in self.processes], dtype=np.uint8)
        table = events.to_pandas()
        table["weights"] = events.weights
        processes = pd.Index(events.processes)
        table["process"] = pd.Categorical.from_codes(events.process.astype(np.int64), processes)
        table["label"] = is_signal[events.process]
        return table

    def __reduce__(self) -> tuple[Any, ...]:
        # A model that keeps its training set is saved without the events, which every worker can be given.
        if self._made is not None:
            return self._made
        self.is_referred_to = True
        return attached_training_set, ()


def _sample(training: TrainingSet, n_events: int, seed: int) -> TrainingSet:
    return training.sample(n_events, seed=seed)


def _batch(training: TrainingSet, number: int, n_batches: int) -> TrainingSet:
    return training._batch(number, n_batches)


def _rows_of_blocks(blocks: NDArray[np.int64], size: int, n_rows: int) -> NDArray[np.int64]:
    """Rows of blocks of neighbours; the last block of all may be short."""
    rows = (blocks[:, None] * size + np.arange(size)).ravel()
    return rows[rows < n_rows]


_attached: TrainingSet | None = None


def attach(training: TrainingSet) -> None:
    """Declare the training set of this process, which unpickled references stand for."""
    global _attached
    _attached = training


def attached_training_set() -> TrainingSet:
    """The training set of this process.

    Raises:
        InvalidDataError: There is none.
    """
    if _attached is None:
        raise InvalidDataError("a training set is only there inside a worker, which has one")
    return _attached
