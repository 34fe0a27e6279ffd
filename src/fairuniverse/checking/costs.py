"""What a submission costs: measured in a small world, estimated for the benchmark, held against limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from fairuniverse.checking.findings import Finding, problem, warning
from fairuniverse.checking.small import SmallBenchmark
from fairuniverse.checking.trial import Asked, Trial
from fairuniverse.config import LimitsConfig

IMPORT_S = 10.0
"""Time of an import from which it is called heavy, seconds."""

IMPORT_MIB = 1000.0
"""Memory of an import from which it is called heavy, MiB."""

_BYTES_PER_VALUE = 4


@dataclass(frozen=True)
class Costs:
    """Times in seconds, memory in MiB; None where it did not come to that.

    Attributes:
        import_s: Import of the submission.
        import_mib: Memory that the import took.
        fit_s: Fit in the small world.
        predict_s: Answer about a small toy.
        memory_mib: Largest memory of a process seen.
        whole_fit_s: Fit of the benchmark, estimated in proportion to the number of training events.
        whole_predict_s: Answer about a toy of the benchmark, estimated from two sizes.
        whole_memory_mib: Memory in the benchmark, estimated from below: the training table is larger.
    """

    import_s: float | None = None
    import_mib: float | None = None
    fit_s: float | None = None
    predict_s: float | None = None
    memory_mib: float | None = None
    whole_fit_s: float | None = None
    whole_predict_s: float | None = None
    whole_memory_mib: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Plain values."""
        return asdict(self)


def measure(trial: Trial, benchmark: SmallBenchmark) -> Costs:
    """Costs of a trial, as far as it got."""
    started = trial.started.content if trial.started else {}
    replies = [r for r in (trial.fitted, *(a.reply for a in trial.asked)) if r]
    answered = [a for a in (*trial.asked, *([trial.joined] if trial.joined else [])) if a.reply]
    n_whole = _n_selected(trial.asked) / benchmark.share
    memory = max((r.memory_mib for r in replies), default=None)
    ratio, fit_s = benchmark.training_ratio, trial.fitted.wall_time_s if trial.fitted else None
    return Costs(
        import_s=_number(started.get("import_s")),
        import_mib=_number(started.get("import_mib")),
        fit_s=fit_s,
        predict_s=min((a.reply.wall_time_s for a in trial.asked if a.reply), default=None),
        memory_mib=memory,
        whole_fit_s=fit_s * max(ratio, 1.0) if fit_s is not None and ratio else None,
        whole_predict_s=_extrapolated(answered, n_whole) if answered else None,
        whole_memory_mib=memory + _growth_mib(benchmark) if memory is not None else None,
    )


def check_costs(costs: Costs, limits: LimitsConfig) -> list[Finding]:
    """Whether the costs stay within the limits of the benchmark."""
    return [*_import(costs), *_time(costs, limits), *_memory(costs, limits)]


def _import(costs: Costs) -> Iterator[Finding]:
    if (costs.import_s or 0) > IMPORT_S or (costs.import_mib or 0) > IMPORT_MIB:
        yield warning(
            "heavy_import",
            f"importing model.py takes {costs.import_s:.1f} s and {costs.import_mib:.0f} MiB",
            "every process does it again: import what only fit needs inside fit, and no more than is used",
        )


def _time(costs: Costs, limits: LimitsConfig) -> Iterator[Finding]:
    if (costs.whole_predict_s or 0) > limits.predict_timeout_s:
        yield problem(
            "slow_predict",
            f"predict will take about {costs.whole_predict_s:.0f} s for a whole toy (estimate from two small "
            f"sizes); the limit is {limits.predict_timeout_s:g} s",
            "move work to fit, bin events before fitting, or vectorize",
        )
    if (costs.whole_fit_s or 0) > limits.fit_timeout_s:
        yield warning(
            "slow_fit",
            f"fit may take {costs.whole_fit_s:.0f} s on the whole training sample (estimate: "
            f"{costs.fit_s:.1f} s here, in proportion to events); the limit is {limits.fit_timeout_s:g} s",
            "learn from a part of the sample, or in fewer steps",
        )


def _memory(costs: Costs, limits: LimitsConfig) -> Iterator[Finding]:
    if (costs.whole_memory_mib or 0) > limits.memory_mib:
        yield problem(
            "big",
            f"it will need more than {costs.whole_memory_mib:.0f} MiB (estimate: {costs.memory_mib:.0f} MiB "
            f"here, and the whole training sample is larger); the limit is {limits.memory_mib} MiB",
            "keep fewer copies of the events, and use float32",
        )


def _extrapolated(answered: Sequence[Asked], n_events: float) -> float:
    """Time for a number of events, on the line through the best times of the smallest and largest toys."""
    times = sorted((a.n_events, a.reply.wall_time_s) for a in answered if a.reply)
    low, high = times[0][0], times[-1][0]
    small = min(t for n, t in times if n < (low + high) / 2 or low == high)
    if high < 2 * low:
        return small * max(n_events / low, 1.0)
    slope = max(times[-1][1] - small, 0.0) / (high - low)
    return small + slope * max(n_events - low, 0.0)


def _n_selected(asked: Sequence[Asked]) -> float:
    return sum(a.n_events for a in asked) / len(asked) if asked else 0.0


def _growth_mib(benchmark: SmallBenchmark) -> float:
    """How much larger the table of all training events is than the one here."""
    if benchmark.training_ratio is None:
        return 0.0
    n_columns = len(benchmark.world.schema.names)
    n_bytes = len(benchmark.training_events) * n_columns * _BYTES_PER_VALUE
    return max(benchmark.training_ratio - 1, 0.0) * n_bytes / (1 << 20)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
