"""Options that several commands have, and how their values are read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from fairuniverse.errors import FairUniverseError

EXISTING = click.Path(exists=True, path_type=Path)


class LocalPath(click.Path):
    """A path of this machine, and no URL."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.Path.convert`."""
        if "://" in str(value):
            self.fail(
                f"{str(value)!r} is a URL, and this command writes to this machine only: "
                "give a path, and copy the result to the URL",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


NEW = LocalPath(path_type=Path)


class PathOrUrl(click.Path):
    """A path, or the URL of runs, which stays as it is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.Path.convert`."""
        return value if "://" in str(value) else super().convert(value, param, ctx)


RUN = PathOrUrl(exists=True, path_type=Path)

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
    "--scheduler",
    metavar="ADDRESS|FILE",
    help="Dask scheduler: its address, such as tcp://host:8786, or the .json file that it writes.",
)
cluster_option = click.option(
    "--cluster", type=EXISTING, help="File that describes a cluster for dask-jobqueue to start."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


RESUME = "; the same command goes on where it stopped"


@contextmanager
def telling_errors() -> Iterator[Callable[[FairUniverseError], None]]:
    """Tells each error that it is given on standard error; at the end, exit status 1 if there was one."""
    told: list[FairUniverseError] = []

    def tell(error: FairUniverseError) -> None:
        told.append(error)
        click.ClickException(str(error)).show()

    yield tell
    if told:
        sys.exit(1)


def key_values(pairs: Sequence[str]) -> dict[str, Any]:
    """Options of a simulator: numbers and truth values as in YAML, anything else a word."""
    import yaml

    for pair in pairs:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r} is not of the form KEY=VALUE")
    return {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in pairs)}


def numbers_of(text: str) -> dict[str, int] | int:
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
