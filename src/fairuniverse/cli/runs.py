"""Commands about submissions and their runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fairuniverse.cli.options import (
    NEW,
    RUN,
    PathOrUrl,
    cluster_option,
    config_argument,
    isolation_option,
    json_option,
    official_option,
    scheduler_option,
    telling_errors,
    threads_option,
)
from fairuniverse.executors import EXECUTORS

if TYPE_CHECKING:
    from fairuniverse.api import RunStatus
    from fairuniverse.store import Where


@click.command()
@click.argument("folder", type=NEW)
def init(folder: Path) -> None:
    """Make FOLDER with a small method that runs, to start your own from."""
    from fairuniverse import api

    for path in api.init_submission(folder):
        click.echo(f"wrote {path}")
    click.echo(f"next: fairuniverse run quick {folder} --output runs")


@click.command()
@click.argument("submission")
@click.option("--config", default="quick", show_default=True, help="Benchmark whose world and limits count.")
@isolation_option
@official_option
@json_option
def check(submission: str, config: str, isolation: str, official: bool, as_json: bool) -> None:
    """Look at SUBMISSION before it is uploaded: files, imports, answers, time and memory.

    It runs in a small version of the benchmark's world, in seconds. The exit status is 0 if nothing was
    found, 3 for warnings only, 4 for problems with which it would fail, 1 if it could not be checked.
    """
    from fairuniverse import api

    report = api.check_submission(submission, config=config, isolation=isolation, is_official=official)
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.render())
    sys.exit(report.exit_code)


@click.command()
@config_argument
@click.argument("submissions", nargs=-1, required=True, metavar="SUBMISSION...")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Worker processes.")
@click.option(
    "--executor",
    type=click.Choice(EXECUTORS),
    help="What looks after the workers: this process with threads that draw for all (the default), a process "
    "for each, or a Dask cluster (the default with --scheduler or --cluster).",
)
@scheduler_option
@cluster_option
@isolation_option
@click.option(
    "--gpus",
    "with_gpus",
    is_flag=True,
    help="Give submissions the graphics processors of the machines they run on, where there are some; a "
    "driver is one more way out of a sandbox.",
)
@click.option("--overwrite", is_flag=True, help="Throw away earlier runs of these submissions.")
@official_option
@threads_option
@click.option(
    "--output",
    "-o",
    type=PathOrUrl(path_type=Path),
    required=True,
    metavar="PATH|URL",
    help="Folder for the runs, also in an object store, such as s3://bucket/runs.",
)
def run(
    config: str,
    submissions: Sequence[str],
    workers: int,
    executor: str | None,
    scheduler: str | None,
    cluster: Path | None,
    isolation: str,
    with_gpus: bool,
    overwrite: bool,
    official: bool,
    threads: int | None,
    output: Where,
) -> None:
    """Train submissions and let them measure every pseudo-experiment.

    Each submission has a folder of its own below the output folder. Training events and pseudo-experiments
    are made once for all of them. The same command goes on where an interrupted one stopped. The exit status
    is 1 if a submission answered no toy.
    """
    from fairuniverse import api

    finished = api.run(
        config,
        submissions,
        output,
        n_workers=workers,
        n_threads=threads,
        isolation=isolation,
        with_gpus=with_gpus,
        overwrite=overwrite,
        is_official=official,
        executor=executor,
        scheduler=scheduler,
        cluster=cluster,
    )
    from fairuniverse.results import repeatability_warning  # which `run` imports while it waits

    for name, results in finished.items():
        n_ok = int(results.is_ok.sum())
        mark = "" if results.manifest["isolation"]["is_isolated"] else " (run without isolation)"
        click.echo(f"{name}: {n_ok} of {len(results.table)} toys answered{mark}")
        if warning := repeatability_warning(results.manifest):
            click.echo(f"  warning: {warning}")
        failed = results.table[~results.is_ok]
        for status, rows in failed.groupby("status"):
            click.echo(f"  {len(rows)} x {status}, such as: {rows['message'].iloc[0]}")
        if len(failed):
            click.echo(f"  what it printed, if anything, with tracebacks: {output}/{name}/worker*.log")
        if official:
            board = api.official_scores(results)
            click.echo("  " + "  ".join(f"{k} {'-' if v is None else f'{v:.4f}'}" for k, v in board.items()))
    if not all(results.is_ok.any() for results in finished.values()):
        sys.exit(1)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN, metavar="RUN...")
@json_option
def status(runs: Sequence[Where], as_json: bool) -> None:
    """Tell how far runs are, from any terminal or machine that sees their folders or URLs.

    The exit status is 1 if a run cannot be read; the others are shown.
    """
    from fairuniverse import api

    with telling_errors() as tell:
        _echo_statuses(api.run_status(runs, on_error=tell), as_json=as_json)


def _echo_statuses(found: Sequence[RunStatus], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([status.to_json() for status in found], indent=2))
        return
    width = max(len(status.name) for status in found)
    for status in found:
        click.echo(f"{status.name:{width}}  {_progress_line(status)}")


def _progress_line(status: RunStatus) -> str:
    from fairuniverse.reporting.standings import duration

    done = status.account
    parts = [f"{status.state:8}  {done.n_answered:,} of {status.n_toys:,} toys"]
    if status.phase not in (None, "answering"):
        parts.append(status.phase)
    if status.toys_per_s and status.remaining_s is not None and status.state == "running":
        parts.append(f"{status.toys_per_s:.3g} a second, {duration(status.remaining_s)} left")
    parts.append(f"{done.core_hours:.2g} core-hours")
    if done.wall_s_per_toy is not None:
        parts.append(f"{done.wall_s_per_toy:.2g} s a toy")
    parts += [f"{n:,} x {name}" for name, n in done.failures.items()]
    if done.n_workers_lost:
        parts.append(f"{done.n_workers_lost} workers lost")
    if done.retries:
        parts.append(f"{len(done.retries)} times something done again")
    return "  ".join(parts)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN, metavar="RUN...")
def compact(runs: Sequence[Where]) -> None:
    """Merge the many small files of runs, finished or not, into one each.

    Results stay the same, bit for bit, and a run goes on afterwards. One that is being worked on is refused.
    The exit status is 1 if a run cannot be merged; the others are.
    """
    from fairuniverse import api

    with telling_errors() as tell:
        for merged in api.compact_runs(runs, on_error=tell):
            done = (
                f"{merged.n_before} files -> {merged.n_after}" if merged.n_before > 1 else "compact already"
            )
            click.echo(f"{merged.folder}: {merged.n_toys:,} toys, {done}")
