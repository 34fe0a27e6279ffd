"""The command ``fairuniverse``, its sub-commands in the order of the work."""

from __future__ import annotations

import sys
from typing import Any

import click

from fairuniverse._version import __version__
from fairuniverse.cli import benchmarks, events, results, runs
from fairuniverse.cli.options import RESUME
from fairuniverse.errors import FairUniverseError
from fairuniverse.lifetimes import end_quickly


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
            click.echo(f"interrupted{RESUME if resumes else ''}", err=True)
            sys.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fairuniverse")
def main() -> None:
    """Benchmark for measuring a quantity and its uncertainty when the simulation is imperfect.

    CONFIG is a YAML file, or the name of a benchmark that comes with the package; SUBMISSION is a folder or
    zip with a model.py, or the name of a baseline. `fairuniverse list` shows the names.
    """
    end_quickly()


for _command in (
    runs.init,
    events.simulate,
    events.shift,
    benchmarks.prepare,
    benchmarks.toys,
    runs.check,
    runs.run,
    runs.status,
    runs.compact,
    results.score,
    results.table,
    results.export,
    results.report,
    results.leaderboard,
    results.bundle,
    events.compare,
    events.closure,
    benchmarks.list_names,
):
    main.add_command(_command)
