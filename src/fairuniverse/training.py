"""What `Model.fit` receives: labelled training events, and the same events under other nuisance values."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events
from fairuniverse.nuisance import NuisanceParameter, complete
from fairuniverse.protocols import Process, Simulator
from fairuniverse.seeding import Streams, seed_sequence

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
        return self._table(
            self._simulator.shift(self._events, complete_values, streams=Streams(self.seed, seed))
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
        self.is_referred_to = True
        return attached_training_set, ()


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
