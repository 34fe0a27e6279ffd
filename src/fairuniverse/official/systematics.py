"""The public package's functions on tables of events, over the simulator of this process.

`systematics` gives the values of HiggsML 0.1.5 where the simulator's mode is its ``official`` one, soft
missing momentum from the same seed included. Three faults of it are not repeated: normalisations do scale the
weights (there a misspelt column name left them alone), `bkg_scale` reaches every background, and random
streams of processes and toys do not overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events
from fairuniverse.nuisance import complete, normalisation
from fairuniverse.seeding import Streams, generator
from fairuniverse.training import attached_training_set

if TYPE_CHECKING:
    import pandas as pd

SEED = 31415
"""Seed that the public package takes where none is given."""

_LABELS = ("weights", "labels", "detailed_labels")


def systematics(
    data_set: Any = None,
    tes: float = 1.0,
    jes: float = 1.0,
    soft_met: float = 0.0,
    seed: int = SEED,
    ttbar_scale: float | None = None,
    diboson_scale: float | None = None,
    bkg_scale: float | None = None,
    dopostprocess: bool = True,
) -> Any:
    """Events under other nuisance values: shifted, selected, derived features anew, weights scaled.

    Args:
        data_set: A table, or a dict with the table ``data``, ``weights`` and further columns. It is not
            changed.
        tes: Tau energy scale.
        jes: Jet energy scale.
        soft_met: Width of the noise on each component of the missing momentum, GeV.
        seed: Seed of that noise.
        ttbar_scale: Factor on the top yield; None is 1, as for the next two.
        diboson_scale: Factor on the diboson yield.
        bkg_scale: Factor on the yield of every background.
        dopostprocess: Whether to select; only nominal events can be had unselected.

    Returns:
        A table or dict, as `data_set` is.

    Raises:
        InvalidDataError: Not such a data set, a value out of range, or normalisations without labels.
    """
    shape = {"tes": tes, "jes": jes, "soft_met": soft_met}
    scales = {"ttbar_scale": ttbar_scale, "diboson_scale": diboson_scale, "bkg_scale": bkg_scale}
    given = {k: float(v) for k, v in scales.items() if v is not None}
    table = _joined(data_set)
    shifted, rows = apply_shift(table, shape, seed=seed, select=dopostprocess)
    result = _like(table, shifted, rows)
    if "weights" in result:
        result["weights"] = result["weights"].to_numpy() * _factors(result, given)
    return _as_given(result, data_set)


def apply_shift(
    table: pd.DataFrame, values: Mapping[str, float], *, seed: int = SEED, select: bool = True
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Features of the surviving events of a table, and the row each comes from.

    Args:
        table: Nominal events with the primary features.
        values: Values of the shape nuisances.
        seed: Seed of the soft missing momentum, the same numbers as in the public package.
        select: Whether to select.

    Raises:
        InvalidDataError: A missing feature, a value out of range, a seed that is no whole number, or a
            simulator whose systematics need more than a table.
    """
    simulator = attached_training_set().simulator
    events = _events(table)
    if not select:
        return _unselected(events, values)
    noise = _noise(seed, len(events)) if values.get("soft_met", 0.0) > 0 else None
    _require_tables(events)
    shifted, rows = simulator.shift_with_rows(events, values, streams=Streams(0), noise=noise)
    return shifted.to_pandas(), rows


def _require_tables(events: Events) -> None:
    """Tell what to do if the simulator shifts its own events only."""
    simulator = attached_training_set().simulator
    try:
        simulator.shift(events.select([False] * len(events)), {}, streams=Streams(0))
    except InvalidDataError as error:
        raise InvalidDataError(
            "this benchmark shifts events before they become a table, which `systematics` of the public "
            "challenge cannot; add --official"
        ) from error


def _unselected(events: Events, values: Mapping[str, float]) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    simulator = attached_training_set().simulator
    if complete(simulator.nuisances, values) != complete(simulator.nuisances, {}):
        raise InvalidDataError("dopostprocess = False is served for nominal events only: select shifted ones")
    return simulator.derive(events).to_pandas(), np.arange(len(events))


def _events(table: pd.DataFrame) -> Events:
    schema = attached_training_set().simulator.schema
    missing = [name for name in schema.primary_names if name not in table]
    if missing:
        raise InvalidDataError(f"the table lacks {', '.join(missing)}: give all primary features")
    features = np.zeros((len(schema.names), len(table)), dtype=np.float32)
    for name in schema.primary_names:
        features[schema.index(name)] = table[name]
    return Events(schema, features)


def _noise(seed: Any, n_events: int) -> NDArray[np.float64]:
    """Unit noise of both components, the numbers that the public package draws from a seed."""
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise InvalidDataError(
            f"seed = {seed!r} is no whole number: the arguments are data_set, tes, jes, soft_met, seed, "
            "ttbar_scale, diboson_scale, bkg_scale, in this order"
        )
    return np.random.RandomState(int(seed)).normal(size=(2, n_events))


def _joined(data_set: Any) -> pd.DataFrame:
    """One table of everything that has a row per event."""
    import pandas as pd

    if isinstance(data_set, pd.DataFrame):
        return data_set
    if not isinstance(data_set, Mapping) or not {"data", "weights"} <= set(data_set):
        found = ", ".join(data_set) if isinstance(data_set, Mapping) else type(data_set).__name__
        raise InvalidDataError(f"data_set must be a table, or a dict with data and weights; found {found}")
    columns = {k: np.asarray(v) for k, v in data_set.items() if k not in ("data", "settings")}
    table: pd.DataFrame = data_set["data"].reset_index(drop=True).assign(**columns)
    return table


def _like(table: pd.DataFrame, shifted: pd.DataFrame, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Surviving rows of a table with the columns it had, features replaced and missing ones appended."""
    import pandas as pd

    columns = {
        str(name): _typed(shifted[name], table[name].dtype)
        if name in shifted
        else table[name].to_numpy()[rows]
        for name in table
    }
    return pd.DataFrame(columns | {name: shifted[name] for name in shifted if name not in columns}, copy=True)


def _typed(values: pd.Series[Any], dtype: Any) -> pd.Series[Any]:
    """Whole numbers stay whole; everything else is float32, as there."""
    return values.round().astype(dtype) if np.issubdtype(dtype, np.integer) else values


def _as_given(table: pd.DataFrame, data_set: Any) -> Any:
    if not isinstance(data_set, Mapping):
        return table
    others = {k: table.pop(k) for k in data_set if k not in ("data", "settings")}
    settings = {"settings": data_set["settings"]} if "settings" in data_set else {}
    return {**others, "data": table, **settings}


def _factors(table: pd.DataFrame, scales: Mapping[str, float]) -> ArrayLike:
    """Factor on the weight of each event."""
    training = attached_training_set()
    if not scales:
        return 1.0
    nuisances = training.simulator.nuisances
    values = complete(nuisances, scales)
    factors = {p.name: normalisation(nuisances, values, p.name) for p in training.processes}
    if set(factors.values()) == {1.0}:
        return 1.0
    if "detailed_labels" in table:
        return table["detailed_labels"].map(factors).to_numpy(dtype=np.float64)
    background = {factors[p.name] for p in training.processes if not p.is_signal}
    if "labels" in table and len(background) == 1:
        return np.where(table["labels"] == 0, background.pop(), 1.0)
    raise InvalidDataError(
        f"{', '.join(scales)} scale weights by process: the data set needs detailed_labels"
    )


def get_bootstrapped_dataset(
    test_set: Mapping[str, pd.DataFrame],
    mu: float = 1.0,
    seed: int = SEED,
    ttbar_scale: float | None = None,
    diboson_scale: float | None = None,
    bkg_scale: float | None = None,
    poisson: bool = True,
) -> pd.DataFrame:
    """Events of one pseudo-experiment at nominal features, unweighted, in random order.

    Args:
        test_set: Weighted events of each process.
        mu: Signal strength.
        seed: Seed; the streams of processes, and those of other seeds, are independent.
        ttbar_scale: Factor on the top yield.
        diboson_scale: Factor on the diboson yield.
        bkg_scale: Factor on the yield of every background.
        poisson: Whether numbers of events fluctuate; otherwise weights are cut to whole numbers.
    """
    scales = {"ttbar_scale": ttbar_scale, "diboson_scale": diboson_scale, "bkg_scale": bkg_scale}
    given = {k: v for k, v in scales.items() if v is not None}
    return _bootstrapped(test_set, mu, seed, given, poisson=poisson)


def _bootstrapped(
    test_set: Mapping[str, pd.DataFrame], mu: float, seed: int, scales: Mapping[str, float], *, poisson: bool
) -> pd.DataFrame:
    import pandas as pd

    training = attached_training_set()
    nuisances = training.simulator.nuisances
    values = complete(nuisances, scales)
    signals = {p.name for p in training.processes if p.is_signal}
    drawn = []
    for process, events in test_set.items():
        strength = mu if process in signals else normalisation(nuisances, values, process)
        expected = strength * events["weights"].to_numpy()
        rng = generator(seed, f"official bootstrap:{process}")
        counts = rng.poisson(expected) if poisson else expected.astype(np.int64)
        drawn.append(events.loc[events.index.repeat(counts)])
    toy = pd.concat(drawn).drop(columns=[c for c in _LABELS if any(c in d for d in drawn)])
    return toy.iloc[generator(seed, "official bootstrap order").permutation(len(toy))].reset_index(drop=True)


get_bootstraped_dataset = get_bootstrapped_dataset


def get_systematics_dataset(
    data: pd.DataFrame, tes: float = 1.0, jes: float = 1.0, soft_met: float = 0.0, seed: int = SEED
) -> dict[str, Any]:
    """Unweighted events under other nuisance values, as ``data`` and unit ``weights``."""
    shifted: dict[str, Any] = systematics(
        {"data": data, "weights": np.ones(len(data))}, tes, jes, soft_met, seed
    )
    return shifted


def generate_pseudo_exp_data(
    data: Mapping[str, pd.DataFrame],
    set_mu: float = 1.0,
    dict_systematics: Mapping[str, bool] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """One pseudo-experiment: nuisances from their priors, events drawn from weighted ones of each process.

    Args:
        data: Weighted nominal events of each process.
        set_mu: Signal strength.
        dict_systematics: Which nuisance parameters vary, by name; none if not given.
        seed: Seed.
    """
    floating = dict_systematics or {}
    drawn: dict[str, dict[str, float]] = {"shape": {}, "normalisation": {}}
    for p in attached_training_set().simulator.nuisances:
        if floating.get(p.name):
            drawn[p.kind][p.name] = p.draw(rng=generator(seed, f"official nuisance:{p.name}"))
    toy = _bootstrapped(data, set_mu, seed, drawn["normalisation"], poisson=True)
    noise_seed = int(generator(seed, "official soft MET").integers(1 << 32))
    return get_systematics_dataset(toy, **drawn["shape"], seed=noise_seed)
