"""Checking a submission before it is uploaded."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fairuniverse.api.benchmark import Benchmark
from fairuniverse.api.submissions import choose_backend
from fairuniverse.registry import find_config, find_submission

if TYPE_CHECKING:
    from fairuniverse.checking.costs import Costs
    from fairuniverse.checking.findings import Finding
    from fairuniverse.checking.report import CheckReport
    from fairuniverse.isolation.backends import Backend
    from fairuniverse.submission import Submission


def check_submission(
    submission: str | Path,
    *,
    config: str | Path = "quick",
    isolation: str = "auto",
    is_official: bool = False,
) -> CheckReport:
    """Look at a submission and run it in a small version of a benchmark's world.

    Args:
        submission: Folder, zip, or name of a baseline.
        config: Benchmark whose world and limits count.
        isolation: As for `fairuniverse.api.run`.
        is_official: Whether the benchmark is meant under the protocol of the public challenge.

    Returns:
        What was found; its `exit_code` is for scripts.

    Raises:
        InvalidConfigError, NotRegisteredError: The configuration cannot be used.
        IsolationError: The backend does not work here.
    """
    from fairuniverse.checking.costs import Costs
    from fairuniverse.checking.files import check_files
    from fairuniverse.checking.report import CheckReport

    start = time.perf_counter()
    benchmark = Benchmark.load(config, is_official=is_official)
    path = _path(submission)
    loaded, findings = check_files(path)
    costs, output, backend_name = Costs(), "", ""
    if loaded is not None:
        backend = choose_backend(isolation, [path], hidden=[find_config(config)])
        ran, costs, output = _run(loaded, benchmark, backend)
        findings, backend_name = [*findings, *ran], backend.name
    return CheckReport(
        str(submission),
        benchmark.config.name,
        backend_name,
        sorted(findings, key=lambda f: f.severity),
        costs,
        time.perf_counter() - start,
        output,
    )


def _path(submission: str | Path) -> Path:
    """A path that need not exist, or the folder of a baseline."""
    path = Path(submission)
    is_path = path.exists() or len(path.parts) > 1 or path.suffix
    return path.resolve() if is_path else find_submission(submission)


def _run(submission: Submission, benchmark: Benchmark, backend: Backend) -> tuple[list[Finding], Costs, str]:
    """What running it shows, what it costs, and what it printed."""
    from fairuniverse.checking.answers import check_answers, check_course
    from fairuniverse.checking.costs import check_costs, measure
    from fairuniverse.checking.files import check_source
    from fairuniverse.checking.small import SmallBenchmark
    from fairuniverse.checking.trial import try_submission

    small = SmallBenchmark(benchmark.config, benchmark.simulator)
    with tempfile.TemporaryDirectory(prefix="fairuniverse-check-") as name:
        folder = Path(name)
        submission.unpack(folder / "source")
        trial = try_submission(submission, small, backend=backend, folder=folder)
        course = check_course(trial)
        told = {f.code for f in course}
        source = [f for f in check_source(folder / "source") if f.code not in told]
    costs = measure(trial, small)
    findings = [*course, *source, *check_answers(trial), *check_costs(costs, benchmark.config.limits)]
    return findings, costs, trial.output
