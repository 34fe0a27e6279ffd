"""The scoring program of containers and platforms: two folders in, ``scores.json`` and a page out.

``python -m fairuniverse.scoring.program PREDICTIONS REFERENCE OUTPUT`` scores the official layout; it needs
no network, no home folder, and writes nowhere but in OUTPUT. Run folders are for ``fairuniverse score``.
"""

from __future__ import annotations

import argparse
import html
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fairuniverse.errors import FairUniverseError, StorageError
from fairuniverse.results import Results

from .card import ScoreCard, score_card
from .official import read_official
from .truth import read_truth, with_truth

Reader = Callable[[Path], Results]
PageWriter = Callable[[ScoreCard, Results, Path], object]

MANIFEST = "manifest.json"
"""The file that tells a run folder of ours from the official layout."""


def read_predictions(predictions: Path, reference: Path | None, read_run: Reader | None = None) -> Results:
    """Results of one submission from a run folder of ours or from the official layout.

    With a reference folder the truth comes from there alone, whatever the predictions claim. A run folder can
    be scored without one, by the truth it holds; the official layout cannot.

    Args:
        predictions: Folder with a run of ours (it holds ``manifest.json``) or ``result_{set}.json`` files.
        reference: Folder with the settings; None to use the truth in the run folder.
        read_run: Reader of run folders; None to accept the official layout only.

    Raises:
        StorageError: A folder does not exist or cannot be read.
        InvalidDataError: The reference is not valid, or there are no predictions.
    """
    if not predictions.is_dir():
        raise StorageError(f"there is no folder of predictions {predictions}")
    if (predictions / MANIFEST).is_file():
        if read_run is None:
            raise StorageError(f"{predictions} is a run folder: score it with the command fairuniverse score")
        results = read_run(predictions)
        return results if reference is None else with_truth(results, read_truth(reference))
    if reference is None:
        raise StorageError(f"{predictions} has no {MANIFEST}: the official layout needs a reference folder")
    return read_official(predictions, reference)


def score_folders(
    predictions: Path,
    reference: Path | None,
    output: Path,
    *,
    read_run: Reader | None = None,
    write_page: PageWriter | None = None,
    shows_truth: bool = True,
) -> ScoreCard:
    """Score a folder of predictions; write ``scores.json`` and ``detailed_results.html``.

    Args:
        predictions: See `read_predictions`.
        reference: See `read_predictions`.
        output: Folder for the two files; made if it does not exist.
        read_run: See `read_predictions`.
        write_page: Writer of the HTML page from the card, the results and the path; by default a plain table.
        shows_truth: Whether the page may tell the true mu of sets; not to participants who meet them again.

    Raises:
        StorageError: Something cannot be read or written.
        InvalidDataError: The reference is not valid, there are no predictions, or the run has several
            submissions.
    """
    results = read_predictions(predictions, reference, read_run)
    card = score_card(results) if shows_truth else score_card(results).without_truth()
    _write(output / "scores.json", json.dumps(card.to_flat(), allow_nan=False, indent=2) + "\n")
    page = output / "detailed_results.html"
    # The plain page comes first: should the richer one fail, there is still one beside the scores.
    _write(page, plain_page(card))
    if write_page is not None:
        write_page(card, results, page)
    return card


def plain_page(card: ScoreCard) -> str:
    """The card, its warnings included, as a self-contained HTML page without pictures."""
    rows = "".join(
        f"<tr><td>{html.escape(s.name)}</td><td>{_cell(s.value)}</td><td>{_cell(s.error)}</td>"
        f"<td>{s.n_toys}</td><td>{s.n_failed}</td><td>{html.escape(s.meaning)}</td></tr>\n"
        for s in card.scores.values()
    )
    title = html.escape(f"Scores of {card.submission}")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        "<style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em .8em}th{text-align:left}</style>\n"
        "</head>\n"
        f"<body>\n<h1>{title}</h1>\n<pre>{html.escape(card.render())}</pre>\n<table>\n"
        "<tr><th>score</th><th>value</th><th>error</th><th>toys</th><th>failed</th><th>meaning</th></tr>\n"
        f"{rows}</table>\n</body>\n</html>\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the container; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fairuniverse.scoring.program", description=__doc__)
    parser.add_argument("predictions", type=Path, help="folder with result_{set}.json files")
    parser.add_argument("reference", type=Path, help="folder with test_settings.json or settings/data.json")
    parser.add_argument("output", type=Path, help="folder for scores.json and detailed_results.html")
    folders = parser.parse_args(arguments)
    try:
        card = score_folders(folders.predictions, folders.reference, folders.output)
    except FairUniverseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(card.render())
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}; is the folder writable, the disk full?"
        ) from error


def _cell(x: float | None) -> str:
    return "not computable" if x is None else f"{x:.6g}"


if __name__ == "__main__":
    sys.exit(main())
