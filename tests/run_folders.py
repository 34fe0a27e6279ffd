"""Run folders with answers made from closed formulas, as the runner would have left them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairuniverse.config import BenchmarkConfig
from fairuniverse.pseudo_experiments import Truth
from fairuniverse.results import NUISANCE_PREFIX, Results
from fairuniverse.store import RunStore


def write_run(
    folder: Path,
    results: Results,
    name: str,
    *,
    config: BenchmarkConfig | None = None,
    finished: str | None = "2026-01-02T03:04:05+00:00",
    n_answered: int | None = None,
    **entries: Any,
) -> Path:
    """Write a run folder.

    Args:
        folder: Where.
        results: Answers of one submission to every toy.
        name: Name of the submission.
        config: Benchmark; one called "tiny" if not given.
        finished: When it ended; None for a run that did not.
        n_answered: How many toys have an answer; all by default.
        entries: Further entries of the manifest.
    """
    config = config or BenchmarkConfig(name="tiny", version="1", seed=987654321)
    table = results.table
    nuisances = [NUISANCE_PREFIX + n for n in results.nuisance_names]
    identity = {"benchmark_digest": config.digest(), "submission_digest": f"digest of {name}"}
    with RunStore(folder, identity) as store:
        store.write_truths(
            [
                Truth(
                    int(row["i_mu"]),
                    int(row["i_toy"]),
                    float(row["mu_true"]),
                    {n.removeprefix(NUISANCE_PREFIX): float(row[n]) for n in nuisances},
                )
                for row in table.to_dict("records")
            ]
        )
        store.write_part(
            table.assign(submission=name, place=range(len(table))).iloc[:n_answered].to_dict("records")
        )
        store.update(
            **{
                "benchmark": {"name": config.name, "version": config.version, "config": config.to_dict()},
                "mu_range": list(results.mu_range),
                "confidence_level": results.confidence_level,
                "submission": {
                    "name": name,
                    "digest": f"digest of {name}",
                    "is_reference": name == "oracle",
                },
                "isolation": {"backend": "bubblewrap", "is_isolated": True},
                "versions": {"fairuniverse": "1.2.3"},
                "fit": {"status": "ok", "wall_time_s": 14.0, "cpu_time_s": 12.5, "memory_mib": 500.0},
                "sessions": [{"started": "2026-01-02T03:00:00+00:00", "n_workers": 1}],
                **({"finished": finished} if finished else {}),
                **entries,
            }
        )
    return folder
