"""Scores and reports of finished runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fairuniverse.api.progress import progress_bar
from fairuniverse.errors import InvalidDataError
from fairuniverse.provenance import n_cores
from fairuniverse.registry import make_simulator

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.protocols import Simulator
    from fairuniverse.results import Results
    from fairuniverse.scoring.card import ScoreCard
    from fairuniverse.store import OnError, Where

SHAPE_EVENTS = 200_000
"""Events per process behind the shapes in a report."""

OFFICIAL_SCORES = ("rmse", "mae", "interval", "coverage", "quantiles_score")
"""Scores of the public challenge's board."""

WITHHELD = "withheld"
"""Stands where a page does not tell what would give away toys to come."""


def score_runs(
    runs: Sequence[Where], output: Path | None = None, *, on_error: OnError | None = None
) -> list[ScoreCard]:
    """Score cards of finished runs, one per submission; with `output`, written to a folder per submission.

    Args:
        runs: Run folders, or folders of run folders, by path or URL.
        output: Folder on this machine.
        on_error: See `fairuniverse.store.read_results`.
    """
    from fairuniverse.scoring.card import score_card
    from fairuniverse.store import read_results

    results = public(read_results(runs, on_error=on_error))
    cards = [score_card(results.of(name)) for name in results.submissions]
    if output is not None:
        for card in cards:
            _write_card(card, results.of(card.submission), output / card.submission)
    return cards


def score_folders(predictions: Path, reference: Path | None, output: Path) -> ScoreCard:
    """Score a folder of predictions, in our or the official layout, against a folder of truths.

    Writes ``scores.json`` and ``detailed_results.html`` to `output`, and nothing elsewhere.
    """
    from fairuniverse.scoring import program
    from fairuniverse.store import read_results

    def read_run(folder: Path) -> Results:
        return public(read_results(folder))

    return program.score_folders(predictions, reference, output, read_run=read_run, write_page=write_page)


def official_scores(results: Results) -> dict[str, float | None]:
    """The numbers of the public challenge's board, under its names; None where there is none.

    Args:
        results: Results of one submission.
    """
    from fairuniverse.scoring.card import score_card

    scores = score_card(results).scores
    return {name: scores[name].value for name in OFFICIAL_SCORES}


def export_official(run: Where, output: Path) -> list[Path]:
    """Write a run in the layout of the public challenge, the truth apart from the answers.

    ``predictions`` holds a file ``result_{set}.json`` per set, ``reference`` the settings with the true mu;
    the official scorers read both, and so does `score_folders`.

    Returns:
        The files written.

    Raises:
        InvalidDataError: The run has several submissions.
        StorageError: Something cannot be read or written.
    """
    from fairuniverse.scoring.official import write_official
    from fairuniverse.scoring.truth import write_truth
    from fairuniverse.store import read_results

    results = read_results(run)
    if len(results.submissions) != 1:
        raise InvalidDataError(f"{run} has {len(results.submissions)} submissions: export one run at a time")
    return [*write_official(results, output / "predictions"), write_truth(results, output / "reference")]


def report(
    runs: Sequence[Where],
    output: Path,
    *,
    picture: Path | None = None,
    n_threads: int | None = None,
    on_error: OnError | None = None,
) -> Path:
    """Compare finished runs in one HTML page, with the shapes of signal and background.

    Args:
        runs: Run folders, or folders of run folders, of the same benchmark, by path or URL.
        output: The page.
        picture: File for the intervals as one picture, .png or .svg.
        n_threads: Threads for simulating the shapes.
        on_error: See `fairuniverse.store.read_results`.

    Returns:
        The page.

    Raises:
        StorageError: There is no run, or a file is damaged.
    """
    from fairuniverse.reporting import overview_chart, save_chart, shape_table, write_report
    from fairuniverse.scoring.card import score_card
    from fairuniverse.store import read_results

    results = public(read_results(runs, on_error=on_error))
    if picture is not None:
        save_chart(overview_chart(results), picture)
    cards = [score_card(results.of(name)) for name in results.submissions]
    simulator = _simulator_of(results)
    with progress_bar(SHAPE_EVENTS * len(simulator.processes), "simulating shapes", " events") as advance:
        events = simulator.generate(
            {p.name: SHAPE_EVENTS for p in simulator.processes},
            seed=0,
            purpose="shapes",
            n_threads=n_threads or n_cores(),
            progress=advance,
        )
    drawn = simulator.schema.drawn or simulator.schema.names
    shapes = shape_table(simulator, events, drawn, seed=0, n_threads=n_threads or n_cores())
    return write_report(
        results,
        output,
        cards={card.submission: tuple(card.scores.values()) for card in cards},
        references=references(cards[0]),
        shapes=shapes,
    )


def public(results: Results) -> Results:
    """The same results without what would give away toys to come: pages and scores are for everybody."""
    manifest = json.loads(json.dumps(results.manifest, default=str))
    config = manifest.get("benchmark", {}).get("config", {})
    if "seed" in config:
        config["seed"] = WITHHELD
    if config.get("pseudo_experiments", {}).get("mu_values"):
        config["pseudo_experiments"]["mu_values"] = WITHHELD
    if config.get("show_messages", True):
        return replace(results, manifest=manifest)
    return replace(results, manifest=manifest, table=_without_words(results.table))


def _without_words(table: pd.DataFrame) -> pd.DataFrame:
    """The table without what strangers' code said: their words may hold data of the toys that they saw."""
    from fairuniverse.isolation.answers import WORKER_STATUSES

    said = table["status"].isin(WORKER_STATUSES) & (table["message"] != "")
    return table.assign(message=table["message"].mask(said, f"{WITHHELD}; the organizer's results have it"))


def _simulator_of(results: Results) -> Simulator:
    """The world that the results were measured in, from their manifest."""
    config = results.manifest["benchmark"]["config"]["simulator"]
    return make_simulator(config["name"], config["options"])


def references(card: ScoreCard) -> dict[str, dict[str, float]]:
    """Lines to compare with, as the report takes them: by name, then by score."""
    return {
        line.name: {
            "quantiles_score": line.quantiles_score,
            "coverage": line.coverage,
            "interval": line.width,
            "winkler": line.winkler,
        }
        for line in card.references
    }


def _write_card(card: ScoreCard, results: Results, folder: Path) -> None:
    from fairuniverse.files import atomic_path

    with atomic_path(folder / "scores.json") as temporary:
        temporary.write_text(json.dumps(card.to_flat(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    write_page(card, results, folder / "detailed_results.html")


def write_page(card: ScoreCard, results: Results, path: Path, *, shows_truth: bool = True) -> None:
    """The page of one submission; without the report libraries, the plain table of the scores."""
    from fairuniverse.errors import MissingDependencyError
    from fairuniverse.reporting import write_report
    from fairuniverse.scoring.program import plain_page

    cards = {card.submission: tuple(card.scores.values())}
    try:
        write_report(results, path, cards=cards, references=references(card), shows_truth=shows_truth)
    except MissingDependencyError:
        path.write_text(plain_page(card), encoding="utf-8")
