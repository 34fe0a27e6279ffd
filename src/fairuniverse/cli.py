"""The command ``fairuniverse``, its sub-commands in the order of the work."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairuniverse._version import __version__
from fairuniverse.errors import FairUniverseError
from fairuniverse.executors import EXECUTORS

if TYPE_CHECKING:
    from fairuniverse.api import RunStatus
    from fairuniverse.store import Where

EXISTING = click.Path(exists=True, path_type=Path)
NEW = click.Path(path_type=Path)


class _PathOrUrl(click.Path):
    """A path, or the URL of runs, which stays as it is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if "://" in str(value) else super().convert(value, param, ctx)


RUN = _PathOrUrl(exists=True, path_type=Path)

config_argument = click.argument("config")
output_option = click.option("--output", "-o", type=NEW, required=True, help="Where to write.")
threads_option = click.option(
    "--threads", type=click.IntRange(1), default=None, help="Threads to use; results do not depend on it."
)
official_option = click.option(
    "--official",
    is_flag=True,
    help="Measure by the public challenge's protocol: 10 sets of 100 toys, events shifted as there.",
)
isolation_option = click.option(
    "--isolation",
    metavar="[auto|bubblewrap|podman|podman:IMAGE|none]",
    default="auto",
    show_default=True,
    help="bubblewrap: each submission in a sandbox without network and files; podman: the same in a "
    "container, of this machine's Python or of an image; none: only for code you trust; auto: bubblewrap, "
    "except for our own baselines where it does not work.",
)
scheduler_option = click.option(
    "--scheduler", metavar="ADDRESS", help="Dask scheduler, such as tcp://host:8786."
)
cluster_option = click.option(
    "--cluster", type=EXISTING, help="File that describes a cluster for dask-jobqueue to start."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


_RESUME = "; the same command goes on where it stopped"


class _Commands(click.Group):
    """Sub-commands in order of definition; errors of ours are one message, not a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FairUniverseError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            resumes = ctx.invoked_subcommand in ("run", "toys", "prepare")
            click.echo(f"interrupted{_RESUME if resumes else ''}", err=True)
            sys.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fairuniverse")
def main() -> None:
    """Benchmark for measuring a quantity and its uncertainty when the simulation is imperfect.

    CONFIG is a YAML file, or the name of a benchmark that comes with the package; SUBMISSION is a folder or
    zip with a model.py, or the name of a baseline. `fairuniverse list` shows the names.
    """


@main.command()
@click.argument("folder", type=NEW)
def init(folder: Path) -> None:
    """Make FOLDER with a small method that runs, to start your own from."""
    from fairuniverse import api

    for path in api.init_submission(folder):
        click.echo(f"wrote {path}")
    click.echo(f"next: fairuniverse run quick {folder} --output runs")


@main.command()
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

    numbers = _numbers(events)
    if is_block_source(simulator):
        try:
            made = api.produce(
                simulator,
                _key_values(options),
                numbers,
                output,
                seed=seed,
                n_workers=workers,
                scheduler=scheduler,
                cluster=cluster,
            )
        except KeyboardInterrupt:
            click.echo(f"interrupted; finished blocks are kept{_RESUME}", err=True)
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
    written = api.simulate(
        simulator, _key_values(options), numbers, output, seed=seed, purpose=purpose, n_threads=threads
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


@main.command(cls=_ShiftCommand)
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
    """Shift the events of a table by nuisance parameters, select them and derive their features anew."""
    from fairuniverse import api

    values = {name: value for name, value in nuisances.items() if value is not None}
    n_before, n_after = api.shift_table(
        source, output, values, simulator=simulator, compat=compat, noise=noise, seed=seed, n_threads=threads
    )
    click.echo(f"wrote {n_after:,} of {n_before:,} events to {output}")


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
@config_argument
@click.argument("submissions", nargs=-1, required=True, metavar="SUBMISSION...")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Worker processes.")
@click.option(
    "--executor",
    type=click.Choice(["threads", *EXECUTORS]),
    help="What looks after the workers: this process with threads that draw for all (the default), a process "
    "for each, or a Dask cluster (the default with --scheduler or --cluster).",
)
@scheduler_option
@cluster_option
@isolation_option
@click.option("--overwrite", is_flag=True, help="Throw away earlier runs of these submissions.")
@official_option
@threads_option
@click.option(
    "--output",
    "-o",
    type=_PathOrUrl(path_type=Path),
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
    from fairuniverse.results import repeatability_warning

    finished = api.run(
        config,
        submissions,
        output,
        n_workers=workers,
        n_threads=threads,
        isolation=isolation,
        overwrite=overwrite,
        is_official=official,
        executor=executor,
        scheduler=scheduler,
        cluster=cluster,
    )
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
            click.echo(f"  what it printed, with tracebacks: {output}/{name}/worker*.log")
        if official:
            board = api.official_scores(results)
            click.echo("  " + "  ".join(f"{k} {'-' if v is None else f'{v:.4f}'}" for k, v in board.items()))
    if not all(results.is_ok.any() for results in finished.values()):
        sys.exit(1)


@main.command()
@click.argument("runs", nargs=-1, required=True, type=RUN, metavar="RUN...")
@json_option
def status(runs: Sequence[Where], as_json: bool) -> None:
    """Tell how far runs are, from any terminal or machine that sees their folders or URLs."""
    from fairuniverse import api

    found = api.run_status(runs)
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


@main.command()
@click.argument("runs", nargs=-1, required=True, type=RUN, metavar="RUN...")
def compact(runs: Sequence[Where]) -> None:
    """Merge the many small files of runs, finished or not, into one each.

    Results stay the same, bit for bit, and a run goes on afterwards. One that is being worked on is refused.
    """
    from fairuniverse import api

    for merged in api.compact_runs(runs):
        click.echo(f"{merged.folder}: {merged.n_toys:,} toys, {merged.n_before} files -> {merged.n_after}")


@main.command()
@click.argument("runs", nargs=-1, type=RUN, metavar="[RUN...]")
@click.option("--predictions", type=EXISTING, help="Folder of predictions, in our or the official layout.")
@click.option("--reference", type=EXISTING, help="Folder of the truth for --predictions.")
@click.option("--output", "-o", type=NEW, default=None, help="Folder for scores.json and a page.")
@json_option
def score(
    runs: Sequence[Where],
    predictions: Path | None,
    reference: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Score finished runs, or a folder of predictions against a folder of truths.

    Predictions are a run folder, or in the official layout: a file result_{set}.json per set with the lists
    mu_hats, delta_mu_hats, p16 and p84. The reference folder holds test_settings.json or settings/data.json
    with the list ground_truth_mus, one mu per set.
    """
    from fairuniverse import api

    if bool(runs) == bool(predictions):
        raise click.UsageError("give either RUN folders, or --predictions and --reference")
    if predictions and not (reference and output):
        raise click.UsageError("--predictions needs --reference and --output")
    if predictions:
        assert reference is not None
        assert output is not None
        cards = [api.score_folders(predictions, reference, output)]
    else:
        cards = api.score_runs(runs, output)
    if as_json:
        click.echo(json.dumps([card.to_json() for card in cards], indent=2))
    else:
        from fairuniverse.scoring.card import render_summary

        blocks = [card.render() for card in cards]
        click.echo("\n\n".join([*blocks, render_summary(cards)] if len(cards) > 1 else blocks))


@main.command()
@click.argument("runs", nargs=-1, type=RUN, required=True, metavar="RUN...")
@click.option("--output", "-o", type=NEW, help="Write the table to a .md, .csv or .json file.")
@click.option("--update", type=EXISTING, help="Put it into a Markdown file, between its two marker lines.")
def table(runs: Sequence[Where], output: Path | None, update: Path | None) -> None:
    """Gather finished runs into one table for each set of toys.

    RUN is a run folder, or a folder with run folders anywhere below it, of any benchmarks.
    """
    from fairuniverse import api

    text = api.write_table(runs, output=output, update=update)
    if output is None and update is None:
        click.echo(text, nl=False)


@main.command()
@click.argument("run_folder", metavar="RUN", type=RUN)
@output_option
def export(run_folder: Where, output: Path) -> None:
    """Write a run in the layout of the public challenge: OUTPUT/predictions and, apart, OUTPUT/reference."""
    from fairuniverse import api

    for path in api.export_official(run_folder, output):
        click.echo(f"wrote {path}")


@main.command()
@click.argument("runs", nargs=-1, type=RUN, required=True, metavar="RUN...")
@click.option("--output", "-o", type=NEW, default=Path("report.html"), show_default=True, help="The page.")
@click.option("--picture", type=NEW, help="Also write the intervals as one picture, .png or .svg.")
@threads_option
def report(runs: Sequence[Where], output: Path, picture: Path | None, threads: int | None) -> None:
    """Compare runs in one self-contained HTML page."""
    from fairuniverse import api

    click.echo(f"wrote {api.report(runs, output, picture=picture, n_threads=threads)}")


@main.command()
@click.argument("folder", type=RUN)
@click.option("--output", "-o", type=NEW, required=True, help="Folder of the site.")
@click.option("--title", default="Leaderboard", show_default=True, help="Heading of the site.")
def leaderboard(folder: Where, output: Path, title: str) -> None:
    """Gather all finished runs below FOLDER into a static site: ranking, history, a page per submission."""
    from fairuniverse import api

    click.echo(f"wrote {api.write_leaderboard(folder, output, title=title)}")


@main.command()
@click.argument("config", required=False)
@click.option("--output", "-o", type=NEW, help="The bundle: a new folder, or a .zip to upload.")
@click.option("--check", type=EXISTING, help="Only hold this bundle against the platform's rules.")
@click.option("--image", default=None, help="Container image of the programs, as workers pull it.")
@click.option("--title", default=None, help="Name of the competition.")
@click.option("--start", type=click.DateTime(), default=None, help="When it starts, UTC; default now.")
@click.option("--end", type=click.DateTime(), default=None, help="When it ends, UTC; default never.")
@click.option(
    "--time-limit",
    type=click.IntRange(1),
    default=600,
    show_default=True,
    help="Seconds for each of prediction and scoring; the platform's own queue allows 600.",
)
@threads_option
def bundle(
    config: str | None,
    output: Path | None,
    check: Path | None,
    time_limit: int,
    threads: int | None,
    **given: Any,
) -> None:
    """Write a competition for Codabench, or check one: all that the platform would only find later.

    The exit status is 1 if the platform would refuse the bundle or fail with it.
    """
    from fairuniverse import api
    from fairuniverse.codabench import check_bundle

    if bool(config) == bool(check) or bool(config) != bool(output):
        raise click.UsageError("give either CONFIG and --output, or --check")
    if check:
        findings = check_bundle(check)
    else:
        assert config is not None
        assert output is not None
        given["image"] = given["image"] or api.IMAGE
        findings = api.bundle(config, output, time_limit_s=time_limit, n_threads=threads, **given)
        click.echo(f"wrote {output}")
    for finding in findings:
        click.echo(finding)
    if any(finding.level == "error" for finding in findings):
        sys.exit(1)
    if check and not findings:
        click.echo("nothing found")


@main.command()
@click.argument("simulated", type=NEW)
@click.argument("reference", type=NEW)
@click.option("--simulator", default="higgs_tautau", show_default=True, help="Name or path of the simulator.")
@click.option("--output", "-o", type=NEW, default=None, help="Page with the distributions and their ratios.")
@json_option
def compare(simulated: Path, reference: Path, simulator: str, output: Path | None, as_json: bool) -> None:
    """Compare two event tables, process by process and feature by feature.

    Each is a file, or higgs_tautau.full: the sample that comes with the full simulation.
    """
    from fairuniverse import api

    comparison = api.compare(simulated, reference, simulator=simulator, output=output)
    click.echo(json.dumps(comparison.to_json(), indent=2) if as_json else comparison.render())


@main.command()
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

    values = [{k: float(v)} for shift in shifts for k, v in _key_values([shift]).items()]
    answer = api.closure(
        simulator,
        _key_values(options),
        values,
        processes=processes,
        n_blocks=blocks,
        seed=seed,
        output=output,
    )
    click.echo(json.dumps(answer.to_json(), indent=2) if as_json else answer.render())


@main.command(name="list")
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


def _key_values(pairs: Sequence[str]) -> dict[str, Any]:
    """Options of a simulator: numbers and truth values as in YAML, anything else a word."""
    import yaml

    for pair in pairs:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r} is not of the form KEY=VALUE")
    return {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in pairs)}


def _numbers(text: str) -> dict[str, int] | int:
    """Events per process: one number for each, or name=number pairs."""
    try:
        if "=" not in text:
            return int(float(text))
        return {
            name.strip(): int(float(n)) for name, _, n in (item.partition("=") for item in text.split(","))
        }
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither a number nor a list such as htautau=2000,ztautau=1e6"
        ) from None


if __name__ == "__main__":
    main()
