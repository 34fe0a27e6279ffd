"""Commands about finished runs: scores, tables, pages, platforms."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairuniverse.cli.options import (
    EXISTING,
    NEW,
    RUN,
    json_option,
    output_option,
    telling_errors,
    threads_option,
)

if TYPE_CHECKING:
    from fairuniverse.scoring.card import ScoreCard
    from fairuniverse.store import Where


@click.command()
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

    The exit status is 1 if a run cannot be read; the others are scored.
    """
    from fairuniverse import api

    if bool(runs) == bool(predictions):
        raise click.UsageError("give either RUN folders, or --predictions and --reference")
    if predictions and not (reference and output):
        raise click.UsageError("--predictions needs --reference and --output")
    if predictions:
        assert reference is not None
        assert output is not None
        _echo_cards([api.score_folders(predictions, reference, output)], as_json=as_json)
        return
    with telling_errors() as tell:
        _echo_cards(api.score_runs(runs, output, on_error=tell), as_json=as_json)


def _echo_cards(cards: Sequence[ScoreCard], *, as_json: bool) -> None:
    from fairuniverse.scoring.card import render_summary

    if as_json:
        click.echo(json.dumps([card.to_json() for card in cards], indent=2))
        return
    blocks = [card.render() for card in cards]
    click.echo("\n\n".join([*blocks, render_summary(cards)] if len(cards) > 1 else blocks))


@click.command()
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


@click.command()
@click.argument("run_folder", metavar="RUN", type=RUN)
@output_option
def export(run_folder: Where, output: Path) -> None:
    """Write a run in the layout of the public challenge: OUTPUT/predictions and, apart, OUTPUT/reference."""
    from fairuniverse import api

    for path in api.export_official(run_folder, output):
        click.echo(f"wrote {path}")


@click.command()
@click.argument("runs", nargs=-1, type=RUN, required=True, metavar="RUN...")
@click.option("--output", "-o", type=NEW, default=Path("report.html"), show_default=True, help="The page.")
@click.option("--picture", type=NEW, help="Also write the intervals as one picture, .png or .svg.")
@threads_option
def report(runs: Sequence[Where], output: Path, picture: Path | None, threads: int | None) -> None:
    """Compare runs in one self-contained HTML page.

    The exit status is 1 if a run cannot be read; the others are compared.
    """
    from fairuniverse import api

    with telling_errors() as tell:
        page = api.report(runs, output, picture=picture, n_threads=threads, on_error=tell)
        click.echo(f"wrote {page}")


@click.command()
@click.argument("folder", type=RUN)
@click.option("--output", "-o", type=NEW, required=True, help="Folder of the site.")
@click.option("--title", default="Leaderboard", show_default=True, help="Heading of the site.")
def leaderboard(folder: Where, output: Path, title: str) -> None:
    """Gather all finished runs below FOLDER into a static site: ranking, history, a page per submission."""
    from fairuniverse import api

    click.echo(f"wrote {api.write_leaderboard(folder, output, title=title)}")


@click.command()
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
