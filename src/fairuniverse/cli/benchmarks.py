"""Commands about benchmarks: what there is, their data sets, their toys."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fairuniverse.cli.options import config_argument, json_option, output_option, threads_option


@click.command()
@config_argument
def prepare(config: str) -> None:
    """Bring the data sets of CONFIG that are larger than memory into random order on disk.

    `run` and `toys` do it, too, when they first need it. The same command goes on where it stopped.
    """
    from fairuniverse import api

    folders = api.Benchmark.load(config).prepare()
    for folder in folders:
        click.echo(f"ready: {folder}")
    if not folders:
        click.echo("nothing to prepare: no data set of this benchmark has more than ten million rows")


@click.command()
@config_argument
@click.option("--sets", type=click.IntRange(1), default=None, help="How many of the sets (one mu each).")
@click.option("--toys", "n_toys", type=click.IntRange(1), default=None, help="How many toys of each set.")
@threads_option
@output_option
def toys(config: str, sets: int | None, n_toys: int | None, threads: int | None, output: Path) -> None:
    """Draw pseudo-experiments and write them to files, the truth apart from the events."""
    from fairuniverse import api

    n = api.write_toys(config, output, n_sets=sets, n_toys=n_toys, n_threads=threads)
    click.echo(f"wrote {n} pseudo-experiments to {output}/input and their truth to {output}/reference")


@click.command(name="list")
@json_option
def list_names(as_json: bool) -> None:
    """List what can be named: configurations, simulators, baselines, and references for them."""
    from fairuniverse import registry

    names = {
        "configurations": registry.configs(),
        "simulators": registry.names(registry.SIMULATORS),
        "simulators in blocks": registry.names(registry.BLOCK_SOURCES),
        "baselines": registry.names(registry.BASELINES),
        "references": registry.names(registry.REFERENCES),
    }
    if as_json:
        click.echo(json.dumps(names, indent=2))
        return
    for kind, known in names.items():
        click.echo(f"{kind:22}{', '.join(known)}")
