"""Tables of events: simulate them, shift them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairuniverse._version import __version__
from fairuniverse.api.benchmark import read_primary
from fairuniverse.api.progress import progress_bar
from fairuniverse.errors import InvalidConfigError, InvalidDataError
from fairuniverse.nuisance import complete
from fairuniverse.protocols import KnowsAcceptance
from fairuniverse.provenance import n_cores
from fairuniverse.registry import make_simulator, simulator_options
from fairuniverse.seeding import Streams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fairuniverse.events import Events
    from fairuniverse.protocols import Simulator

MAX_EVENTS = 1_000_000_000
"""Most events that are simulated into one file."""


def simulate(
    simulator: str,
    options: Mapping[str, Any],
    n_events: Mapping[str, int] | int,
    output: Path,
    *,
    seed: int = 0,
    purpose: str = "simulate",
    n_threads: int | None = None,
) -> Events:
    """Simulate nominal weighted events and write them to a file.

    Args:
        simulator: Registered name or path.
        options: Options of the simulator.
        n_events: Number per process, or one number for each process.
        output: A ``.parquet`` or ``.root`` file.
        seed: Seed of the random streams.
        purpose: Name of the streams: samples of different purposes share no event.
        n_threads: Threads to use; the answer does not depend on it.
    """
    from fairuniverse.tables import require_writable_table, write_table

    world = make_simulator(simulator, dict(options))
    names = [p.name for p in world.processes]
    numbers = dict.fromkeys(names, n_events) if isinstance(n_events, int) else n_events
    unknown = sorted(set(numbers) - set(names))
    if unknown:
        raise InvalidDataError(f"unknown process {unknown[0]!r}: there are {', '.join(names)}")
    if not 0 < sum(numbers.values()) <= MAX_EVENTS or any(n < 0 for n in numbers.values()):
        raise InvalidDataError(
            f"events per process must be positive, at most {MAX_EVENTS:,} in all: {numbers}"
        )
    require_writable_table(output)
    with progress_bar(sum(numbers.values()), "simulating", " events") as advance:
        events = world.generate(
            numbers, seed=seed, purpose=purpose, n_threads=n_threads or n_cores(), progress=advance
        )
    metadata: dict[str, Any] = {
        "origin": {
            "simulator": simulator,
            "options": dict(options),
            "seed": seed,
            "purpose": purpose,
            "n_events": {name: n for name, n in numbers.items() if n},
            "fairuniverse": __version__,
        }
    }
    if isinstance(world, KnowsAcceptance) and (
        known := world.acceptances(numbers, seed=seed, purpose=purpose)
    ):
        metadata["production"] = known
    write_table(output, events, signal=_signals(world), metadata=metadata)
    return events


def shift_table(
    source: Path,
    output: Path,
    nuisances: Mapping[str, float],
    *,
    simulator: str = "higgs_tautau",
    compat: str | None = None,
    noise: Path | None = None,
    seed: int = 0,
    n_threads: int | None = None,
) -> tuple[int, int]:
    """Shift, select and derive the events of a file; columns that the schema does not know are carried along.

    Args:
        source: Table of nominal events.
        output: Where to write the shifted table.
        nuisances: Values of nuisance parameters; those left out are nominal.
        simulator: World the events belong to.
        compat: Its ``systematics`` mode, if it has several; ``"posthoc"`` if not given.
        noise: File of unit noise, a row for each event of `source`, two columns.
        seed: Seed of the noise where no file is given.
        n_threads: Threads to use; the answer does not depend on it.

    Returns:
        Number of events before and after.

    Raises:
        InvalidConfigError: A mode for a world that has only one.
    """
    import numpy as np

    from fairuniverse.tables import Table, read_metadata, require_writable_table, write_table

    require_writable_table(output)
    if source.resolve() == output.resolve():
        raise InvalidDataError(f"{output} is the input: give the shifted table another name")
    world = make_simulator(simulator, systematics_option(simulator, compat))
    table = read_primary(source, world)
    unit_noise = None if noise is None else _read_noise(noise, len(table.events))
    events, rows = world.shift_with_rows(
        table.events, nuisances, streams=Streams(seed), noise=unit_noise, n_threads=n_threads or n_cores()
    )
    if table.events.record is not None:
        events = replace(events, record=np.take(table.events.record, rows, axis=1))
    extra = {name: values[rows] for name, values in table.extra.items()}
    known = known_provenance(read_metadata(source))
    shift = {
        "nuisances": complete(world.nuisances, nuisances),
        "systematics": systematics_option(simulator, compat).get("systematics"),
        "seed": seed if noise is None else None,
        "source": source.name,
        "fairuniverse": __version__,
    }
    metadata = {**known, "shifts": [*known.get("shifts", []), shift]}
    metadata.pop("production", None)  # which is of the nominal events
    write_table(output, Table(events, extra), signal=_signals(world), metadata=metadata)
    return len(table.events), len(events)


def known_provenance(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What metadata of a table tell of its making in our own words; nothing of what others wrote."""
    found = {name: metadata.get(name) for name in ("origin", "shifts", "production")}
    origin, shifts, production = found.values()
    if not (isinstance(origin, dict) and isinstance(origin.get("options"), dict) and "seed" in origin):
        del found["origin"]
    if not (isinstance(shifts, list) and all(isinstance(s, dict) and "nuisances" in s for s in shifts)):
        del found["shifts"]
    if not (isinstance(production, dict) and all(isinstance(p, dict) for p in production.values())):
        del found["production"]
    return found


def systematics_option(simulator: str, mode: str | None) -> dict[str, Any]:
    """Option for the mode of a world's systematics, if it has several."""
    if "systematics" in simulator_options(simulator):
        return {"systematics": mode or "posthoc"}
    if mode is not None:
        raise InvalidConfigError(f"{simulator} has no compat mode {mode!r}, nor any other: leave it out")
    return {}


def _signals(world: Simulator) -> list[str]:
    return [p.name for p in world.processes if p.is_signal]


def _read_noise(path: Path, n_events: int) -> NDArray[np.floating]:
    """Unit noise of shape (2, n_events) from a .npy or .parquet file with two columns."""
    import numpy as np
    import pandas as pd

    try:
        noise = np.load(path) if path.suffix == ".npy" else pd.read_parquet(path).to_numpy(np.float64)
    except (OSError, ValueError) as error:
        raise InvalidDataError(f"{path} is no table of numbers (.npy or .parquet): {error}") from error
    if noise.shape == (n_events, 2):
        noise = noise.T
    if noise.shape != (2, n_events) or not np.isfinite(noise).all():
        raise InvalidDataError(
            f"{path}: noise must be {n_events} rows (one per event) of two finite numbers, not {noise.shape}"
        )
    return np.ascontiguousarray(noise, dtype=np.float64)
