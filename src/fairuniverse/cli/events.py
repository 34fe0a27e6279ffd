"""Commands that make tables of events, change and compare them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from fairuniverse.cli.options import (
    EXISTING,
    NEW,
    RESUME,
    cluster_option,
    json_option,
    key_values,
    numbers_of,
    output_option,
    scheduler_option,
    threads_option,
)
from fairuniverse.errors import FairUniverseError

SAMPLE = click.Path(path_type=Path)
"""A file of events, or the name of a simulation that comes with a sample."""


@click.command()
@click.option("--simulator", default="higgs_tautau", show_default=True, help="Name or path of the simulator.")
@click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the simulator, repeatable."
)
@click.option(
    "--events",
    required=True,
    help="Events per process: a number, or a list such as htautau=2000,ztautau=1e6.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random streams."
)
@click.option(
    "--purpose",
    default="simulate",
    show_default=True,
    help="Name of the streams: two samples of the same seed share no event if their purposes differ.",
)
@threads_option
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Worker processes of a simulation that works in blocks, such as higgs_tautau.full.",
)
@scheduler_option
@cluster_option
@output_option
def simulate(
    simulator: str,
    options: tuple[str, ...],
    events: str,
    seed: int,
    purpose: str,
    threads: int | None,
    workers: int,
    scheduler: str | None,
    cluster: Path | None,
    output: Path,
) -> None:
    """Simulate nominal weighted events and write them to a .parquet or .root file.

    A simulation that works in blocks keeps them in a folder beside the file, OUTPUT.blocks, or in the folder
    OUTPUT: the same command goes on where it stopped, a larger number of events adds to them. Such blocks can
    also be made by the workers of a Dask cluster.
    """
    from fairuniverse import api
    from fairuniverse.registry import is_block_source

    numbers = numbers_of(events)
    if is_block_source(simulator):
        if threads or purpose != "simulate":
            raise click.UsageError(
                f"{simulator} works in blocks: --workers takes the place of --threads, --seed of --purpose"
            )
        try:
            made = api.produce(
                simulator,
                key_values(options),
                numbers,
                output,
                seed=seed,
                n_workers=workers,
                scheduler=scheduler,
                cluster=cluster,
            )
        except KeyboardInterrupt:
            click.echo(f"interrupted; finished blocks are kept{RESUME}", err=True)
            sys.exit(130)
        for process, sums in made.statistics.items():
            click.echo(
                f"{process}: {sums['total_rows']:,.0f} events, acceptance {sums['acceptance']:.3%}, "
                f"{sums['expected_yield']:,.0f} expected at leading order, "
                f"{sums['total_rows'] / sums['cpu_s']:.1f} per second of processor time"
            )
        click.echo(f"wrote {made.table or made.folder}")
        return
    if scheduler or cluster:
        raise click.UsageError(
            f"{simulator} makes no blocks for a cluster: leave out --scheduler and --cluster"
        )
    if workers > 1:
        raise click.UsageError(f"{simulator} makes no blocks for --workers: it uses --threads in one process")
    written = api.simulate(
        simulator, key_values(options), numbers, output, seed=seed, purpose=purpose, n_threads=threads
    )
    click.echo(f"wrote {len(written):,} events to {output}")


class _ShiftCommand(click.Command):
    """A command with one option for every nuisance parameter of the chosen simulator."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from fairuniverse.registry import make_simulator

        simulator = _value_of("--simulator", args) or "higgs_tautau"
        try:
            parameters = make_simulator(simulator, {}).nuisances
        except FairUniverseError as error:
            raise click.ClickException(str(error)) from error
        known = {p.name for p in self.params}
        self.params += [
            click.Option([_flag(p.name), p.name], type=float, help=f"{p.meaning} Nominal {p.nominal:g}.")
            for p in parameters
            if p.name not in known
        ]
        return super().parse_args(ctx, args)


@click.command(cls=_ShiftCommand)
@click.argument("source", metavar="INPUT", type=EXISTING)
@click.argument("output", type=NEW)
@click.option("--simulator", default="higgs_tautau", show_default=True, help="Name or path of the simulator.")
@click.option(
    "--compat",
    type=click.Choice(["official", "posthoc", "detector"]),
    default=None,
    help="For higgs_tautau. official: value for value as the public code; posthoc (default): the same, made "
    "consistent; detector: shifts before thresholds, for simulated events.",
)
@click.option("--noise", type=EXISTING, help="Unit noise per event (.npy or .parquet, two columns x and y).")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the noise.")
@threads_option
def shift(
    source: Path,
    output: Path,
    simulator: str,
    compat: str | None,
    noise: Path | None,
    seed: int,
    threads: int | None,
    **nuisances: float | None,
) -> None:
    """Shift the events of a table by nuisance parameters, select them and derive their features anew.

    Fewer events come out than go in, even without a shift: the selection of higgs_tautau starts at
    PRI_had_pt = 26 GeV, and its tables reach lower, for events that a shift lifts above.
    """
    from fairuniverse import api

    values = {name: value for name, value in nuisances.items() if value is not None}
    n_before, n_after = api.shift_table(
        source, output, values, simulator=simulator, compat=compat, noise=noise, seed=seed, n_threads=threads
    )
    dropped = f"; {n_before - n_after:,} are outside the selection (see --help)" if n_after < n_before else ""
    click.echo(f"wrote {n_after:,} of {n_before:,} events to {output}{dropped}")


@click.command()
@click.argument("simulated", type=SAMPLE, nargs=-1, required=True)
@click.argument("reference", type=SAMPLE)
@click.option("--simulator", default="higgs_tautau", show_default=True, help="Name or path of the simulator.")
@click.option("--output", "-o", type=NEW, default=None, help="Page with the distributions and their ratios.")
@json_option
def compare(
    simulated: tuple[Path, ...], reference: Path, simulator: str, output: Path | None, as_json: bool
) -> None:
    """Compare event tables with a reference, the last one, process by process and feature by feature.

    Each is a file, or higgs_tautau.full: the sample that comes with the full simulation.
    """
    from fairuniverse import api

    validation = api.compare(simulated, reference, simulator=simulator, output=output)
    click.echo(json.dumps(validation.to_json(), indent=2) if as_json else validation.render())
    if output and not as_json:
        click.echo(f"\nwrote {output}")


@click.command()
@click.option("--simulator", default="higgs_tautau.full", show_default=True, help="A simulation in blocks.")
@click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the simulator, repeatable."
)
@click.option(
    "--shift",
    "shifts",
    multiple=True,
    metavar="NAME=VALUE",
    default=("tes=1.03", "tes=0.97", "jes=1.03", "jes=0.97", "soft_met=3"),
    show_default=True,
    help="Value of a nuisance parameter, repeatable.",
)
@click.option("--process", "processes", multiple=True, help="Only this process, repeatable.")
@click.option("--blocks", type=click.IntRange(1), default=1, show_default=True, help="Blocks per process.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the sample.")
@click.option("--output", "-o", type=NEW, default=None, help="Page that draws both ways.")
@json_option
def closure(
    simulator: str,
    options: tuple[str, ...],
    shifts: tuple[str, ...],
    processes: tuple[str, ...],
    blocks: int,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Shift the same generated events inside the detector and as a finished table, and compare features."""
    from fairuniverse import api

    values = [{k: float(v)} for shift in shifts for k, v in key_values([shift]).items()]
    answer = api.closure(
        simulator,
        key_values(options),
        values,
        processes=processes,
        n_blocks=blocks,
        seed=seed,
        output=output,
    )
    click.echo(json.dumps(answer.to_json(), indent=2) if as_json else answer.render())


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _value_of(flag: str, args: Sequence[str]) -> str | None:
    """Value of an option among raw arguments, before they are parsed."""
    for i, arg in enumerate(args):
        if arg.startswith(f"{flag}="):
            return arg.partition("=")[2]
        if arg == flag and i + 1 < len(args):
            return args[i + 1]
    return None
