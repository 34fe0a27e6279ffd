"""A folder of runs as a static site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fairuniverse.api.gathering import gather
from fairuniverse.api.scores import public, references
from fairuniverse.errors import InvalidDataError

if TYPE_CHECKING:
    from fairuniverse.reporting.leaderboard import Board
    from fairuniverse.reporting.standings import Standing
    from fairuniverse.store import Where

DATA = "leaderboard.json"
"""The numbers for machines; it also tells that a folder is a site of ours."""

PAGES = "submissions"


def write_leaderboard(folder: Where, output: Path, *, title: str = "Leaderboard") -> Path:
    """Gather the runs anywhere below a folder into one static site; an earlier site is replaced.

    Args:
        folder: Folder with run folders, of any benchmarks; a path or URL.
        output: Folder of the site: ``index.html``, a page per submission, and ``leaderboard.json``.
        title: Heading of the site.

    Returns:
        The first page.

    Raises:
        InvalidDataError: The output folder holds something else than a site.
        StorageError: There is no run, or a file cannot be written.
        MissingDependencyError: The libraries of the ``report`` extra are not installed.
    """
    from fairuniverse.files import atomic_path
    from fairuniverse.reporting.leaderboard import Board, page_name, write_index
    from fairuniverse.reporting.standings import to_json

    _require_site(output)
    blocks, problems = gather([folder])
    boards = [
        Board(block, {s.submission: f"{PAGES}/{page_name(block, s.submission)}" for s in block.standings})
        for block in blocks
    ]
    index = write_index(boards, output / "index.html", title=title, problems=problems)
    with atomic_path(output / DATA) as temporary:
        temporary.write_text(to_json(blocks), encoding="utf-8")
    for page in (output / PAGES).glob("*.html"):
        page.unlink()
    for board in boards:
        for standing in board.latest:
            _write_submission(board, standing, output / board.pages[standing.submission], title)
    return index


def _write_submission(board: Board, standing: Standing, path: Path, title: str) -> None:
    """The report of a submission's latest run, with the history of its runs.

    Where the seed is secret, the pages do not tell the true mu either: it would help to answer the same toys.
    """
    from fairuniverse.reporting import write_report
    from fairuniverse.reporting.leaderboard import history_section
    from fairuniverse.scoring.card import score_card
    from fairuniverse.store import read_results

    results = public(read_results(standing.run))
    is_public = board.block.seed is not None
    card = score_card(results) if is_public else score_card(results).without_truth()
    write_report(
        results,
        path,
        cards={card.submission: tuple(card.scores.values())},
        references=references(card),
        title=f"{standing.submission}: {board.block.title}",
        more=(history_section(board, standing.submission),),
        links=((title, "../index.html"),),
        shows_truth=is_public,
    )


def _require_site(output: Path) -> None:
    """An output folder must be new, empty, or an earlier site."""
    if output.is_dir() and any(output.iterdir()) and not (output / DATA).is_file():
        raise InvalidDataError(f"{output} is not empty and holds no leaderboard: choose another folder")
