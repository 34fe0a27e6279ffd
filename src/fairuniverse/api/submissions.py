"""Submissions: begin one, run many."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fairuniverse.api.benchmark import Benchmark
from fairuniverse.errors import InvalidDataError
from fairuniverse.registry import find_config, find_submission, is_reference

if TYPE_CHECKING:
    from fairuniverse.config import BenchmarkConfig
    from fairuniverse.isolation.backends import Backend
    from fairuniverse.results import Results
    from fairuniverse.store import Where
    from fairuniverse.submission import Submission

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


def init_submission(folder: Path) -> list[Path]:
    """Write a small method that runs into a new folder.

    Returns:
        The files written.

    Raises:
        InvalidDataError: The folder exists and is not empty.
    """
    from fairuniverse.files import atomic_path

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidDataError(f"{folder} is not an empty folder: choose a new one")
    written = []
    for source in sorted(resources.files("fairuniverse.scaffold").iterdir(), key=lambda f: f.name):
        if source.name in ("model.py", "README.md"):
            written.append(folder / source.name)
            with atomic_path(written[-1]) as temporary:
                temporary.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    return written


def run(
    config: str | Path,
    submissions: Sequence[str | Path],
    output: Where,
    *,
    n_workers: int = 1,
    n_threads: int | None = None,
    isolation: str = "auto",
    with_gpus: bool = False,
    overwrite: bool = False,
    is_official: bool = False,
    executor: str | None = None,
    scheduler: str | None = None,
    cluster: Path | None = None,
) -> dict[str, Results]:
    """Train submissions and let each measure every pseudo-experiment, which is drawn once for all.

    Args:
        config: Configuration file or name.
        submissions: Folders, zips, or names of baselines.
        output: Folder for the run folders, one per submission, named after it: a path, or a URL that fsspec
            opens.
        n_workers: Processes that answer toys at the same time.
        n_threads: Threads for simulating, drawing and fitting.
        isolation: Backend that starts the submissions' processes: ``bubblewrap``, ``none``, or ``auto`` for
            bubblewrap, and for none where that does not work and only our own baselines are run.
        with_gpus: Whether submissions are given the graphics processors of the machines they run on.
        overwrite: Whether to throw away earlier runs of these submissions.
        is_official: Whether to measure by the protocol of the public challenge.
        executor: Who looks after the submissions' processes: this process with ``threads``, which draws each
            toy once (the default); ``processes``, each of which draws its own toys; or the workers of a
            ``dask`` cluster (the default with one of the next two).
        scheduler: Address of a Dask scheduler, or the ``.json`` file that it writes.
        cluster: File that describes a cluster to start; see `fairuniverse.executors.dask.DaskCluster`.

    Returns:
        Results of each submission by its name.

    Raises:
        SubmissionError: A submission cannot be read; none is run.
        InvalidDataError: Two submissions have the same name.
        IsolationError: The backend does not work here.
        ExecutorError: The cluster cannot be reached, or was lost; what is finished is kept.
    """
    from fairuniverse.executors import WhereToWork
    from fairuniverse.store import LocalPlace, open_place

    choice = WhereToWork(executor, n_workers, scheduler, cluster)
    choice.require_possible()
    runs = open_place(output)
    hidden = [find_config(config).resolve(), *([runs.path] if isinstance(runs, LocalPlace) else [])]
    benchmark = Benchmark.load(config, n_threads=n_threads, is_official=is_official)
    paths = [find_submission(s) for s in submissions]
    loaded = _load(submissions, paths)
    chosen = _begin(choose_backend, isolation, paths, hidden=hidden, with_gpus=with_gpus)
    # Trying a sandbox out is mostly waiting for other processes, and what the run imports takes as long.
    importlib.import_module("fairuniverse.results")
    from fairuniverse.distribution import Site
    from fairuniverse.isolation.backends import get_backend
    from fairuniverse.runner import run_submissions

    backend = chosen.result()
    if with_gpus and not backend.gpus:
        logger.warning("no graphics processor is here: submissions on this machine run without one")
    name = backend.name if isolation == "auto" else isolation
    there = partial(_benchmark_for, benchmark.config, benchmark.folder.resolve())
    elsewhere = partial(get_backend, name, hidden=hidden, with_gpus=with_gpus)
    in_processes = partial(_itself, backend) if choice.name == "processes" else elsewhere
    found = run_submissions(
        benchmark,
        [(submission, runs / submission.name) for submission in loaded],
        backend=backend,
        n_workers=n_workers,
        n_threads=benchmark.n_threads,
        overwrite=overwrite,
        site=None if choice.name in (None, "threads") else Site(choice.open, there, in_processes),
    )
    return {submission.name: results for submission, results in zip(loaded, found, strict=True)}


def _begin(function: Callable[..., _T], *arguments: Any, **options: Any) -> Future[_T]:
    """What a function gives that runs in a thread for which nobody need wait."""
    future: Future[_T] = Future()

    def work() -> None:
        try:
            future.set_result(function(*arguments, **options))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def _load(submissions: Sequence[str | Path], paths: Sequence[Path]) -> list[Submission]:
    """Submissions at these paths, each of another name."""
    from fairuniverse.submission import load_submission

    told = map(is_reference, submissions)
    loaded = [load_submission(path, is_reference=t) for path, t in zip(paths, told, strict=True)]
    names = [s.name for s in loaded]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InvalidDataError(f"two submissions are called {twice[0]!r}: rename a folder or file")
    return loaded


def _itself(backend: Backend) -> Backend:
    """A backend that was tried out on this machine already."""
    return backend


def _benchmark_for(config: BenchmarkConfig, folder: Path, n_threads: int) -> Benchmark:
    return Benchmark(config, folder=folder, n_threads=n_threads)


def choose_backend(
    isolation: str, submissions: Sequence[Path], *, hidden: Sequence[Path], with_gpus: bool = False
) -> Backend:
    """Backend for these submissions; only what comes with the package may go without one.

    Args:
        isolation: As for `run`.
        submissions: Their folders or zips.
        hidden: Files and folders that they may not see.
        with_gpus: Whether they are given the graphics processors of this machine.

    Raises:
        IsolationError: It does not work here.
    """
    from fairuniverse.errors import IsolationError
    from fairuniverse.isolation.backends import get_backend

    if isolation != "auto":
        return get_backend(isolation, hidden=hidden, with_gpus=with_gpus)
    try:
        return get_backend("bubblewrap", hidden=hidden, with_gpus=with_gpus)
    except IsolationError as error:
        ours = Path(str(resources.files("fairuniverse.baselines"))).resolve()
        strangers = [path for path in submissions if path.resolve().parent != ours]
        if not strangers:
            return get_backend("none", with_gpus=with_gpus)
        raise IsolationError(
            f"{strangers[0]} cannot be isolated: {error}. If it is your own code, add --isolation none"
        ) from error
