"""The scoring program: folders in, scores.json and a page out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fairuniverse.scoring import ScoreCard, score_card
from fairuniverse.scoring.official import write_official
from fairuniverse.scoring.program import main, plain_page, score_folders
from fairuniverse.scoring.truth import write_truth

from fairuniverse.errors import StorageError
from fairuniverse.results import Results
from interval_toys import failing, gaussian_results


@pytest.fixture
def results() -> Results:
    """Small results with failures."""
    return failing(gaussian_results(n_mu=3, n_toys=20), [1], "timeout")


@pytest.fixture
def folders(tmp_path: Path, results: Results) -> tuple[Path, Path, Path]:
    """Predictions and reference in the official layout, and where the output goes."""
    write_official(results, tmp_path / "predictions")
    write_truth(results, tmp_path / "reference")
    return tmp_path / "predictions", tmp_path / "reference", tmp_path / "output"


def test_scores_json_is_flat_and_finite(folders: tuple[Path, Path, Path], results: Results) -> None:
    """The file holds the numbers of the card, the official keys among them, and the page is there."""
    score_folders(*folders)
    scores = json.loads((folders[2] / "scores.json").read_text())
    assert {"quantiles_score", "interval", "coverage", "rmse", "mae"} <= set(scores)
    assert all(type(v) in (int, float) and abs(v) < 1e10 for v in scores.values())
    assert scores["coverage"] == pytest.approx(float(results.covers().mean()))
    assert "detailed_results.html" in {f.name for f in folders[2].iterdir()}


def test_the_command_line_in_a_bare_environment(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """``python -m`` works without a home folder and writes nowhere but in the output folder."""
    before = _tree(tmp_path)
    command = [sys.executable, "-m", "fairuniverse.scoring.program", *map(str, folders)]
    environment = {"HOME": "/nonexistent", "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "official quantile score" in done.stdout
    assert _tree(tmp_path) - before == {"output", "output/scores.json", "output/detailed_results.html"}


def test_a_bad_reference_ends_with_a_message(folders: tuple[Path, Path, Path], capsys) -> None:
    """No traceback: one line on standard error and a non-zero status."""
    (folders[1] / "test_settings.json").write_text("{}")
    assert main([*map(str, folders)]) == 1
    assert "ground_truth_mus" in capsys.readouterr().err


def test_absent_predictions_folder_is_refused(folders: tuple[Path, Path, Path]) -> None:
    """A mistyped path is an error, not a failed submission."""
    with pytest.raises(StorageError, match="no folder of predictions"):
        score_folders(folders[0] / "typo", *folders[1:])


def test_output_that_cannot_be_written_is_a_storage_error(folders: tuple[Path, Path, Path]) -> None:
    """The message names the file."""
    folders[2].write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"scores\.json"):
        score_folders(*folders)


def test_run_folder_is_read_by_the_given_reader(tmp_path: Path, results: Results) -> None:
    """With a manifest the reader of runs is used; a reference overrules the truth of the run."""
    (tmp_path / "manifest.json").write_text("{}")
    write_truth(results, tmp_path / "reference")
    forged = Results(results.table.assign(mu_true=results.table["mu_hat"]), results.mu_range)
    judged = score_folders(tmp_path, tmp_path / "reference", tmp_path / "a", read_run=lambda _: forged)
    trusted = score_folders(tmp_path, None, tmp_path / "b", read_run=lambda _: forged)
    assert judged["coverage"].value == pytest.approx(float(results.covers().mean()))
    assert trusted["coverage"].value == pytest.approx(59 / 60)


def test_run_folder_without_a_reader_says_what_to_do(tmp_path: Path) -> None:
    """The thin program leaves run folders to the command."""
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(StorageError, match="fairuniverse score"):
        score_folders(tmp_path, None, tmp_path)


def test_official_layout_without_a_reference_is_refused(folders: tuple[Path, Path, Path]) -> None:
    """Without truth there is nothing to score."""
    with pytest.raises(StorageError, match="needs a reference"):
        score_folders(folders[0], None, folders[2])


def test_a_failing_page_leaves_the_scores(folders: tuple[Path, Path, Path]) -> None:
    """Should the richer page fail, scores.json and the plain page are already there."""

    def write_page(card: ScoreCard, results: Results, path: Path) -> None:
        raise StorageError("no space left")

    with pytest.raises(StorageError, match="no space left"):
        score_folders(*folders, write_page=write_page)
    assert (folders[2] / "scores.json").is_file()
    assert "official quantile score" in (folders[2] / "detailed_results.html").read_text()


def test_names_are_escaped_in_the_page() -> None:
    """A submission's name cannot put a script into the page."""
    results = gaussian_results(n_mu=1, n_toys=3)
    named = Results(results.table.assign(submission="<script>alert(1)</script>"), results.mu_range)
    assert "<script" not in plain_page(score_card(named))


def test_broken_files_are_named_in_the_page(folders: tuple[Path, Path, Path]) -> None:
    """The plain page shows the warnings, and what strangers wrote in them is escaped."""
    (folders[0] / "result_1.json").write_text('{"mu_hats"')
    (folders[0] / "result_<b>.json").write_text("{}")
    card = score_folders(*folders)
    page = (folders[2] / "detailed_results.html").read_text()
    assert "warning: result_1.json: not valid JSON (line 1 column 11): 20 toys count as missing" in page
    assert "UNFINISHED: 20 of 60 toys have no answer" in page
    assert "result_&lt;b&gt;.json" in page
    assert "<b>" not in page
    assert len(card.warnings) == 2


def test_empty_predictions_folder_ends_with_a_message(folders: tuple[Path, Path, Path], capsys) -> None:
    """A folder without predictions gives no score but a message with the names of the files."""
    for file in folders[0].iterdir():
        file.unlink()
    assert main([*map(str, folders)]) == 1
    assert "expected result_0.json to result_2.json" in capsys.readouterr().err
    assert not folders[2].exists()


def _tree(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}
