"""What the answers cost, and how often there was none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fairuniverse.protocols import ScoreValue
from fairuniverse.results import STATUSES, Results

from .resampling import finite


def failures(results: Results) -> dict[str, int]:
    """Number of toys of each status except ``ok``, in the order of `fairuniverse.results.STATUSES`."""
    counts = results.table["status"].value_counts()
    return {status: int(counts.get(status, 0)) for status in STATUSES if status != "ok"}


class Cost:
    """Time and memory of ``predict``, over the toys where they were measured, and failures by kind."""

    def __call__(self, results: Results) -> tuple[ScoreValue, ...]:
        """``wall_time_*, cpu_time_median, peak_memory, n_failed, failed_<status>``."""
        n, n_failed = len(results.table), int((~results.is_ok).sum())
        unknown = np.full(n, np.nan)
        wall_time, cpu_time, memory = (
            results.table[c].to_numpy(dtype=np.float64) if c in results.table else unknown
            for c in ("wall_time_s", "cpu_time_s", "memory_mib")
        )
        measured = (
            ("wall_time_median", "s", wall_time, np.median, "Median wall time of one prediction."),
            (
                "wall_time_p95",
                "s",
                wall_time,
                _percentile_95,
                "95th percentile of the wall time of a prediction.",
            ),
            ("wall_time_total", "s", wall_time, np.sum, "Wall time of all predictions together."),
            ("cpu_time_median", "s", cpu_time, np.median, "Median processor time of one prediction."),
            ("peak_memory", "MiB", memory, np.max, "Largest memory of the worker process."),
        )
        counted = {"n_failed": (n_failed, "Toys without a valid interval.")} | {
            f"failed_{status}": (count, f"Failed toys of this kind: {STATUSES[status]}.")
            for status, count in failures(results).items()
        }
        return (
            *(
                ScoreValue(name, _of_known(function, x), None, unit, False, n, n_failed, meaning)
                for name, unit, x, function, meaning in measured
            ),
            *(
                ScoreValue(name, count, None, "toys", False, n, n_failed, meaning)
                for name, (count, meaning) in counted.items()
            ),
        )


def _percentile_95(x: NDArray[np.float64]) -> float:
    return float(np.percentile(x, 95))


def _of_known(function: Callable[[NDArray[np.float64]], float], x: NDArray[np.float64]) -> float | None:
    known = x[np.isfinite(x)]
    return finite(function(known)) if len(known) else None
