"""Is shifting a finished table the same as shifting inside the detector? Both ways on the same events.

Errors are from a Poisson bootstrap of the generated events: an event that both ways select counts as often in
both, so what they share cancels in the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events

if TYPE_CHECKING:
    import pandas as pd

N_BOOTSTRAP = 200
"""Bootstrap samples: errors are known to 5 %."""

YIELD = "selected events"
"""Stands among the features for the number of events, relative to the nominal one."""

LARGE_PULL = 3.0


@dataclass(frozen=True, eq=False)
class Weighted:
    """Selected events with the generated event that each one comes from.

    Attributes:
        events: The events, with weights.
        row: Number of the generated event of each, shape (n_events,).
    """

    events: Events
    row: NDArray[np.int64]


Pair = tuple[Weighted, Weighted]
"""Nominal and shifted events."""


@dataclass(frozen=True)
class FeatureClosure:
    """How far one nuisance parameter moves the mean of one feature of one process, both ways.

    Shifts are in standard deviations of the nominal feature, of events that have it; those of `YIELD` in
    units of the nominal yield.

    Attributes:
        process: Name of the process.
        nuisance: Name of the nuisance parameter.
        value: Its value.
        mode: How the finished table is shifted.
        feature: Name of the feature, or `YIELD`.
        inside: Shift inside the detector.
        after: Shift of the finished table.
        inside_error: Its standard error.
        after_error: Its standard error.
        error: Standard error of `difference`.
    """

    process: str
    nuisance: str
    value: float
    mode: str
    feature: str
    inside: float
    after: float
    inside_error: float
    after_error: float
    error: float

    @property
    def difference(self) -> float:
        """Shift of the table minus shift inside the detector."""
        return self.after - self.inside

    @property
    def pull(self) -> float:
        """Difference over its error; 0 where both are exactly the same."""
        return 0.0 if self.difference == 0 else self.difference / max(self.error, 1e-12)


@dataclass(frozen=True)
class Closure:
    """Answer of the comparison: one entry per process, nuisance value, mode and feature."""

    entries: tuple[FeatureClosure, ...]

    def to_frame(self) -> pd.DataFrame:
        """A table, one row per entry."""
        import pandas as pd

        rows = [asdict(e) | {"difference": e.difference, "pull": e.pull} for e in self.entries]
        return pd.DataFrame(rows)

    def to_json(self) -> list[dict[str, Any]]:
        """Plain records; None where a feature does not exist."""
        frame = self.to_frame()
        return [{str(k): None if v != v else v for k, v in row.items()} for row in frame.to_dict("records")]

    def render(self) -> str:
        """For each process and shift: how many features differ, and those that differ most."""
        lines: list[str] = []
        frame = self.to_frame()
        for (process, nuisance, value), group in frame.groupby(["process", "nuisance", "value"], sort=False):
            lines.append(f"{process}, {nuisance} = {value:g} (shifts in standard deviations of the feature)")
            head = f"  {'':<10}{'feature':<30}{'in detector':>13}{'on table':>11}{'difference':>13}"
            lines.append(f"{head}{'error':>9}{'pull':>7}")
            for mode, rows in group.groupby("mode", sort=False):
                lines += list(_render_mode(str(mode), rows))
        return "\n".join(lines)


def _render_mode(mode: str, rows: pd.DataFrame) -> Iterator[str]:
    known = rows[np.isfinite(rows["pull"])]
    n_large = int((known["pull"].abs() > LARGE_PULL).sum())
    worst = known.reindex(known["pull"].abs().sort_values(ascending=False).index)[:5]
    for _, r in worst.iterrows():
        numbers = f"{r['inside']:>+13.4f}{r['after']:>+11.4f}{r['difference']:>+13.4f}{r['error']:>9.4f}"
        yield f"  {mode:<10}{r['feature']:<30}{numbers}{r['pull']:>+7.1f}"
    yield f"  {mode:<10}{n_large} of {len(known)} features differ by more than {LARGE_PULL:g} standard errors"


def closure(
    inside: Pair,
    after: Mapping[str, Pair],
    n_generated: int,
    *,
    process: str,
    nuisance: str,
    value: float,
    rng: np.random.Generator,
) -> list[FeatureClosure]:
    """Compare a shift inside the detector with shifts of the finished table.

    Args:
        inside: Selected events, nominal and shifted inside the detector.
        after: Nominal and shifted events of finished tables of the same generated events, by mode; modes may
            differ in what they count at nominal values.
        n_generated: Number of generated events that rows count.
        process: Name of the process.
        nuisance: Name of the nuisance parameter.
        value: Its value.
        rng: Generator of the bootstrap.

    Raises:
        InvalidDataError: One of the samples is empty.
    """
    samples = [s for pair in (inside, *after.values()) for s in pair]
    if not all(len(s.events) for s in samples):
        raise InvalidDataError(f"no {process} events are selected: generate more")
    counts = np.vstack([np.ones(n_generated), rng.poisson(1.0, (N_BOOTSTRAP, n_generated))])
    spread = _spreads(inside[0])
    there = _shift(inside, counts, spread)
    entries = []
    for mode, pair in after.items():
        here = _shift(pair, counts, spread)
        for i, name in enumerate((*inside[0].events.schema.names, YIELD)):
            a, b = there[:, i], here[:, i]
            errors = [float(np.std(x[1:])) for x in (a, b, b - a)]
            entries.append(
                FeatureClosure(process, nuisance, value, mode, name, float(a[0]), float(b[0]), *errors)
            )
    return entries


def _shift(pair: Pair, counts: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift of every mean and of the yield in all bootstrap samples, shape (n_counts, n_features + 1)."""
    before, after = (_means(sample, counts) for sample in pair)
    shift = after - before
    shift[:, :-1] /= spread
    shift[:, -1] /= before[:, -1]
    return shift


def _means(sample: Weighted, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of every feature of the events that have it, and the yield: shape (n_counts, n_features + 1)."""
    values = sample.events.features.astype(np.float64)
    exists = _exists(sample.events)
    weights = sample.events.weights
    assert weights is not None
    weighted = counts[:, sample.row] * weights
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (weighted @ (values * exists).T) / (weighted @ exists.T)
    return np.column_stack([means, weighted.sum(axis=1)])


def _exists(events: Events) -> NDArray[np.float64]:
    missing = [np.nan if f.missing is None else f.missing for f in events.schema.features]
    exists: NDArray[np.float64] = (events.features != np.array(missing, np.float32)[:, None]).astype(float)
    return exists


def _spreads(sample: Weighted) -> NDArray[np.float64]:
    """Standard deviation of each feature."""
    events, exists = sample.events, _exists(sample.events) > 0
    return np.array(
        [np.std(x[e]) if e.any() else np.nan for x, e in zip(events.features, exists, strict=True)]
    )
