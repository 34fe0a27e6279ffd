"""Pseudo-experiments as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairuniverse.api.benchmark import Benchmark
from fairuniverse.api.progress import progress_bar
from fairuniverse.errors import InvalidDataError

if TYPE_CHECKING:
    from fairuniverse.config import BenchmarkConfig
    from fairuniverse.pseudo_experiments import Truth
    from fairuniverse.results import Results


def write_toys(
    config: str | Path,
    output: Path,
    *,
    n_sets: int | None = None,
    n_toys: int | None = None,
    n_threads: int | None = None,
) -> int:
    """Write pseudo-experiments to files: ``input/toy_<set>_<toy>.parquet`` and, apart, ``reference/``.

    The reference folder is one that `score_folders` takes. The same call goes on where an interrupted one
    stopped.

    Returns:
        Number of pseudo-experiments.

    Raises:
        InvalidDataError: The folder holds something else, or more toys are asked for than there are.
    """
    from fairuniverse.files import atomic_path
    from fairuniverse.scoring.truth import write_truth
    from fairuniverse.tables import write_table

    benchmark = Benchmark.load(config, n_threads=n_threads)
    toys = benchmark.pseudo_experiments
    n_sets, n_toys = n_sets or toys.n_mu, n_toys or toys.n_toys
    if n_sets > toys.n_mu or n_toys > toys.n_toys:
        raise InvalidDataError(f"{n_sets} x {n_toys} toys: the configuration has {toys.n_mu} x {toys.n_toys}")
    truths = [t for t in toys.truths() if t.i_mu < n_sets and t.i_toy < n_toys]
    manifest = {"benchmark_digest": benchmark.config.digest(), "n_sets": n_sets, "n_toys": n_toys}
    if output.is_dir() and any(output.iterdir()) and _read_json(output / "manifest.json") != manifest:
        raise InvalidDataError(f"{output} holds something else than these toys: choose a new folder")
    with atomic_path(output / "manifest.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    write_truth(unanswered(truths, benchmark.config), output / "reference")
    with progress_bar(len(truths), "drawing pseudo-experiments", " toys") as advance:
        for truth in truths:
            path = output / "input" / f"toy_{truth.i_mu}_{truth.i_toy}.parquet"
            if not path.exists():
                write_table(path, toys.draw(truth, n_threads=benchmark.n_threads).events)
            advance(1)
    return len(truths)


def unanswered(truths: Sequence[Truth], config: BenchmarkConfig) -> Results:
    """Results without any answer: the truth in the form that the scores know."""
    import pandas as pd

    from fairuniverse.results import COLUMNS, NUISANCE_PREFIX, Results

    rows = [
        {"i_mu": t.i_mu, "i_toy": t.i_toy, "mu_true": t.mu, "status": "missing"}
        | {NUISANCE_PREFIX + name: value for name, value in t.nuisances.items()}
        for t in truths
    ]
    table = pd.DataFrame(rows)
    empty = {c: "" if kind == "object" else float("nan") for c, kind in COLUMNS.items() if c not in table}
    return Results(table.assign(**empty), config.mu_range, config.confidence_level)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
