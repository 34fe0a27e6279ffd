"""What was run, with which versions, and on which machine: the entries of a manifest that say so."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fairuniverse._version import __version__

if TYPE_CHECKING:
    from fairuniverse.isolation.backends import Backend
    from fairuniverse.station import Benchmark
    from fairuniverse.submission import Submission

_LIBRARIES = (
    "numpy",
    "pandas",
    "scipy",
    "pyarrow",
    "xgboost",
    "xgboost-cpu",
    "scikit-learn",
    "iminuit",
    "torch",
)


def provenance(
    benchmark: Benchmark, submission: Submission, backend: Backend, earlier: Mapping[str, Any]
) -> dict[str, Any]:
    """Entries of the manifest that say what was run, and where.

    Args:
        benchmark: The benchmark.
        submission: The submission.
        backend: Isolates it.
        earlier: How it was isolated in earlier sessions: isolated is what always was.
    """
    config = benchmark.config
    return {
        "benchmark": {"name": config.name, "version": config.version, "config": config.to_dict()},
        "mu_range": list(config.mu_range),
        "confidence_level": config.confidence_level,
        "n_mu": benchmark.pseudo_experiments.n_mu,
        "n_toys": benchmark.pseudo_experiments.n_toys,
        "submission": {
            "name": submission.name,
            "digest": submission.digest,
            "is_reference": submission.is_reference,
        },
        "isolation": {
            "backend": backend.name,
            "is_isolated": backend.is_isolated and earlier["is_isolated"],
            "gpus": sorted({*earlier.get("gpus", []), *(str(gpu.inside) for gpu in backend.gpus)}),
        },
        "versions": versions(),
        "machine": {"platform": platform.platform(), "n_cores": n_cores(), "processor": platform.machine()},
    }


def versions() -> dict[str, str]:
    """Versions of what can change a bit of the results."""
    found = {"fairuniverse": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
