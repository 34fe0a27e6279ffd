"""What the nuisance parameters do to events: shift, select, derive.

Three modes, one definition of every feature:

* ``detector``: the energy scales act on raw energies before every threshold, so jets can enter as well as
  leave, and all jets contribute to the missing momentum. Only for simulated events, which carry the record it
  needs.
* ``posthoc``: the scales act on a finished table. Jets that fall below 26 GeV vanish from every feature that
  counts them; jets beyond the second are not listed, so they follow `n_jets` and the scalar sum only.
* ``official``: as ``posthoc``, with the values of the public package HiggsML 0.1.5, rounding and oddities
  included (an event may count two jets and list one: its jet-pair features then come from the sentinel -25).

In all modes the missing momentum takes up the changes of the tau and of the jets, soft noise of width
`soft_met` is added to both its components, and events need a tau above 26 GeV and a lepton of at least 20
GeV.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events
from fairuniverse.nuisance import complete, normalisation

from . import compiled
from .schema import PRIMARY, RECORD, SCHEMA
from .world import NUISANCES

SEGMENT = 1 << 15
"""Events per unit of work of a thread."""


def shift_events(
    events: Events,
    values: Mapping[str, float],
    *,
    mode: str,
    noise_key: tuple[int, int] | None = None,
    noise: NDArray[np.float64] | None = None,
    n_threads: int = 1,
    apply_selection: bool = True,
) -> Events:
    """Nominal events under other values of the nuisance parameters.

    Args:
        events: Nominal events, before the 26 GeV selection; their derived features are not read.
        values: Values of nuisance parameters; those not named stay nominal.
        mode: ``"detector"``, ``"posthoc"`` or ``"official"``.
        noise_key: Key of the soft-MET noise, from `Streams.key`. Row i of the input always gets the i-th
            numbers of the stream, whatever the other parameters do.
        noise: Unit normal noise to use instead, shape (2, n_events): x and y components.
        n_threads: Threads to use; the answer does not depend on it.
        apply_selection: Whether events below the thresholds are dropped, and jets too.

    Returns:
        The surviving events in their order, weights scaled by the normalisation parameters. They have no
        record: another shift starts from the nominal events.

    Raises:
        InvalidDataError: Features that are missing or not finite, no record in ``detector`` mode, soft-MET
        noise
            asked for without a key, or normalisation parameters for events without weights or process codes.
    """
    return shift_with_rows(
        events,
        values,
        mode=mode,
        noise_key=noise_key,
        noise=noise,
        n_threads=n_threads,
        apply_selection=apply_selection,
    )[0]


def shift_with_rows(
    events: Events,
    values: Mapping[str, float],
    *,
    mode: str,
    noise_key: tuple[int, int] | None = None,
    noise: NDArray[np.float64] | None = None,
    n_threads: int = 1,
    apply_selection: bool = True,
) -> tuple[Events, NDArray[np.int64]]:
    """As `shift_events`, with the row of the input that each event comes from, shape (n_surviving,)."""
    values = complete(NUISANCES, values)
    columns = input_columns(events, mode)
    require_finite(columns, mode, n_threads)
    noise = _checked_noise(noise, len(events))
    if values["soft_met"] > 0 and noise is None and noise_key is None:
        raise InvalidDataError(
            "soft_met > 0 needs random numbers: give noise_key, or noise of shape (2, n_events)"
        )
    shift = kernel_shift(values, mode, noise_key or (0, 0), select=apply_selection)
    features, rows = _shift_columns(shift, columns, noise, n_threads)
    selected = Events(
        SCHEMA,
        features,
        _scaled_weights(events, values, rows),
        None if events.process is None else events.process.take(rows),
        events.processes,
    )
    return selected, rows


def nominal_features(record: NDArray[np.float32], n_threads: int = 1) -> NDArray[np.float32]:
    """Features at nominal nuisance parameters, without the 26 GeV selection.

    Args:
        record: Detector-level record, shape (32, n_events).
        n_threads: Threads to use; the answer does not depend on it.

    Returns:
        Shape (28, n_events), float32.
    """
    return _shift_columns(nominal_shift(), np.ascontiguousarray(record, dtype=np.float32), None, n_threads)[0]


def input_columns(events: Events, mode: str) -> NDArray[np.float32]:
    """Columns that a mode reads: the record, or the 16 primary features.

    Raises:
        InvalidDataError: An unknown mode, features of another schema, or no record where one is needed.
    """
    if mode not in compiled.MODES:
        raise InvalidDataError(f"no systematics mode {mode!r}: choose {', '.join(compiled.MODES)}")
    if mode == "detector":
        if events.record is None:
            raise InvalidDataError(
                "mode 'detector' needs the detector-level record, which only simulated events carry before "
                "they are shifted: use mode 'posthoc' for tables"
            )
        return events.record
    if events.schema.names[: len(PRIMARY)] != SCHEMA.names[: len(PRIMARY)]:
        missing = [f.name for f in PRIMARY if f.name not in events.schema.names]
        raise InvalidDataError(
            f"events must have the 16 PRI_ features in order; missing: {missing or 'none'}"
        )
    return events.features[: len(PRIMARY)]


def require_finite(columns: NDArray[np.float32], mode: str, n_threads: int = 1) -> None:
    """Refuse columns with NaN or infinite values.

    Raises:
        InvalidDataError: Names the column and the number of bad rows.
    """
    bad = np.zeros(len(columns), dtype=np.int64)

    def count(i: int) -> None:
        bad[i] = compiled.library().fu_count_nonfinite(columns[i].ctypes.data, columns.shape[1])

    compiled.in_threads(count, len(columns), n_threads)
    if bad.any():
        names = [f.name for f in (RECORD if mode == "detector" else PRIMARY)]
        found = ", ".join(f"{names[i]} ({bad[i]} rows)" for i in np.flatnonzero(bad))
        raise InvalidDataError(f"NaN or infinite values in {found}: remove these events")


def kernel_shift(
    values: Mapping[str, float], mode: str, noise_key: tuple[int, int], *, select: bool
) -> compiled.Shift:
    """Parameters of the kernel."""
    return compiled.Shift(
        compiled.MODES.index(mode),
        select,
        values["tes"],
        values["jes"],
        values["soft_met"],
        compiled.key_words(noise_key),
    )


def nominal_shift() -> compiled.Shift:
    """From the record to nominal features, without selection."""
    return kernel_shift(complete(NUISANCES, {}), "detector", (0, 0), select=False)


def shift_into(
    shift: compiled.Shift,
    columns: NDArray[np.float32],
    n_events: int,
    output: compiled.Output,
    *,
    at: int = 0,
    order: NDArray[np.int32] | None = None,
) -> int:
    """Shift the first `n_events` columns into `output` from position `at` on; returns how many survive.

    Args:
        shift: Parameters of the kernel.
        columns: The record, or primary features, of at least `n_events` events; they have to be finite.
        n_events: Number of events.
        output: Where features go.
        at: Position of the first survivor there.
        order: Which event comes at each place; as they are if not given.
    """
    stride = columns.strides[0] // columns.itemsize
    source = compiled.Columns(columns.ctypes.data, stride, None, 0, compiled.address(order))
    kept: int = compiled.library().fu_shift_columns(
        compiled.reference(shift), compiled.reference(source), 0, n_events, compiled.reference(output), at
    )
    return kept


def _shift_columns(
    shift: compiled.Shift, columns: NDArray[np.float32], noise: NDArray[np.float64] | None, n_threads: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    lib = compiled.library()
    n = columns.shape[1]
    source = compiled.Columns(
        columns.ctypes.data, columns.strides[0] // columns.itemsize, compiled.address(noise), n, None
    )
    edges = np.minimum(np.arange(0, n + SEGMENT, SEGMENT), n).tolist()
    kept = np.zeros(len(edges) - 1, dtype=np.int64)

    def count(i: int) -> None:
        kept[i] = lib.fu_count_selected(
            compiled.reference(shift), compiled.reference(source), edges[i], edges[i + 1]
        )

    compiled.in_threads(count, len(kept), n_threads)
    begins = np.concatenate([[0], np.cumsum(kept)]).tolist()
    features = np.empty((len(SCHEMA.features), begins[-1]), dtype=np.float32)
    rows = np.empty(begins[-1], dtype=np.int64)
    output = compiled.Output(features.ctypes.data, begins[-1], rows.ctypes.data)

    def work(i: int) -> None:
        lib.fu_shift_columns(
            compiled.reference(shift),
            compiled.reference(source),
            edges[i],
            edges[i + 1],
            compiled.reference(output),
            begins[i],
        )

    compiled.in_threads(work, len(kept), n_threads)
    return features, rows


def _checked_noise(noise: NDArray[np.float64] | None, n_events: int) -> NDArray[np.float64] | None:
    if noise is None:
        return None
    noise = np.ascontiguousarray(noise, dtype=np.float64)
    if noise.shape != (2, n_events) or not np.isfinite(noise).all():
        raise InvalidDataError(f"noise must be finite and of shape (2, {n_events}), not {noise.shape}")
    return noise


def _scaled_weights(
    events: Events, values: Mapping[str, float], rows: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    if events.process is not None and events.weights is not None:
        weights = events.weights.take(rows)
        factors = np.array([normalisation(NUISANCES, values, p) for p in events.processes])
        return weights if (factors == 1).all() else weights * factors[events.process[rows]]
    scales = [p.name for p in NUISANCES if p.kind == "normalisation" and values[p.name] != p.nominal]
    if scales:
        raise InvalidDataError(
            f"{', '.join(scales)} scale weights by process: events need weights and process codes"
        )
    return None if events.weights is None else events.weights[rows]
