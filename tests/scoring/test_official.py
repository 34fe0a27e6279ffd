"""The official file layout: read as it is, broken in every way, and written."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairuniverse.scoring import score_card
from fairuniverse.scoring.official import MAX_BYTES, read_official, write_official
from fairuniverse.scoring.truth import read_truth, with_truth, write_truth

from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.results import Results
from interval_toys import failing, gaussian_results

GOOD = {"mu_hats": [1.0, 1.1], "delta_mu_hats": [0.1, 0.1], "p16": [0.9, 1.0], "p84": [1.1, 1.2]}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions for one set of two toys at mu = 1, and their reference."""
    predictions, reference = tmp_path / "predictions", tmp_path / "reference"
    predictions.mkdir()
    reference.mkdir()
    _write(predictions / "result_0.json", GOOD)
    settings = {"ground_truth_mus": [1.0], "num_of_sets": 1, "num_pseudo_experiments": 2}
    _write(reference / "test_settings.json", settings)
    return predictions, reference


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def _read(folders: tuple[Path, Path], content: Any) -> Results:
    _write(folders[0] / "result_0.json", content)
    return read_official(*folders)


def test_a_good_file_is_read(folders: tuple[Path, Path]) -> None:
    """Every list reaches its column, the truth comes from the reference."""
    table = read_official(*folders).table
    assert table["status"].tolist() == ["ok", "ok"]
    assert table["mu_true"].tolist() == [1.0, 1.0]
    assert table[["mu_hat", "lower", "upper"]].to_numpy().tolist() == [[1.0, 0.9, 1.1], [1.1, 1.0, 1.2]]
    assert table["delta_mu_hat"].tolist() == [0.1, 0.1]


@pytest.mark.parametrize(
    ("literal", "status"),
    [
        ("NaN", "non_finite"),
        ("Infinity", "non_finite"),
        ("-Infinity", "non_finite"),
        ("1e999", "non_finite"),
        pytest.param("1" * 5000, "non_finite", id="integer of 5000 digits"),
        ("null", "invalid_type"),
        ('"0.9"', "invalid_type"),
        ("true", "invalid_type"),
        ("[0.9]", "invalid_type"),
        ("{}", "invalid_type"),
        ("5.0", "swapped"),
        ("1", "ok"),
        ("-0.0", "ok"),
        ("1.1", "ok"),
    ],
)
@pytest.mark.parametrize("key", ["p16"])
def test_one_odd_number(folders: tuple[Path, Path], key: str, literal: str, status: str) -> None:
    """A single odd answer is a row with its status and a message; the toy beside it is untouched."""
    table = _read(folders, json.dumps(GOOD).replace('"p16": [0.9', f'"{key}": [{literal}')).table
    assert table["status"].tolist() == [status, "ok"]
    assert (table["message"] != "").tolist() == [status != "ok", False]


@pytest.mark.parametrize("key", ["mu_hats", "p16", "p84"])
def test_missing_list(folders: tuple[Path, Path], key: str) -> None:
    """Without one of the three lists every toy of the set lacks a key."""
    table = _read(folders, {k: v for k, v in GOOD.items() if k != key}).table
    assert table["status"].tolist() == ["missing_key"] * 2
    assert f"{key} = absent" in table["message"][0]


def test_missing_uncertainty_costs_nothing(folders: tuple[Path, Path]) -> None:
    """The interval is what counts: delta_mu_hats may be absent."""
    table = _read(folders, {k: v for k, v in GOOD.items() if k != "delta_mu_hats"}).table
    assert table["status"].tolist() == ["ok"] * 2


def test_ragged_lists(folders: tuple[Path, Path]) -> None:
    """Toys beyond the end of the shortest list are missing; message and warning name the list."""
    results = _read(folders, GOOD | {"p16": [0.9]})
    assert results.table["status"].tolist() == ["ok", "missing"]
    assert results.table["message"].tolist() == ["", "result_0.json: p16 has 1 entries for 2 toys"]
    assert results.manifest["warnings"] == [
        "result_0.json: p16 has 1 entries for 2 toys: 1 toy counts as missing"
    ]
    assert _read(folders, {k: v[:1] for k, v in GOOD.items()}).table["status"].tolist() == ["ok", "missing"]


def test_short_list_of_uncertainties_is_a_warning_only(folders: tuple[Path, Path]) -> None:
    """Every toy keeps its interval; the warning says what stands in."""
    results = _read(folders, GOOD | {"delta_mu_hats": [0.1]})
    assert results.is_ok.all()
    assert results.manifest["warnings"] == [
        "result_0.json: delta_mu_hats has 1 entries for 2 toys: half the width is used instead"
    ]


def test_too_many_answers_are_noted(folders: tuple[Path, Path]) -> None:
    """Answers beyond the toys of the reference are not used, and the manifest says so."""
    results = _read(folders, {k: v * 3 for k, v in GOOD.items()})
    assert len(results.table) == 2
    assert results.manifest["warnings"] == ["result_0.json: 4 answers beyond the 2 toys are not used"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1, 2]", "holds no object"),
        ("3", "holds no object"),
        ("{}", "no list"),
        ('{"mu_hats": 1, "p16": "x", "p84": null}', "no list"),
    ],
    ids=["empty", "truncated", "deep", "list", "number", "no keys", "no lists"],
)
def test_unusable_file(folders: tuple[Path, Path], content: str, message: str) -> None:
    """A file without answers makes rows of status missing that say why."""
    results = _read(folders, content)
    assert results.table["status"].tolist() == ["missing"] * 2
    assert message in results.table["message"][0]
    (warning,) = results.manifest["warnings"]
    assert warning.startswith("result_0.json: ")
    assert message in warning
    assert warning.endswith(": 2 toys count as missing")


def test_binary_file(folders: tuple[Path, Path]) -> None:
    """Bytes that are no text are not valid JSON."""
    (folders[0] / "result_0.json").write_bytes(bytes(range(128, 256)))
    assert read_official(*folders).table["status"].tolist() == ["missing"] * 2


def test_huge_file_is_not_read(folders: tuple[Path, Path]) -> None:
    """A file beyond the limit is refused before it is parsed."""
    with (folders[0] / "result_0.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "larger than" in read_official(*folders).table["message"][0]


def test_pipe_does_not_block(folders: tuple[Path, Path]) -> None:
    """Something that is no regular file is as good as absent."""
    (folders[0] / "result_0.json").unlink()
    os.mkfifo(folders[0] / "result_0.json")
    assert "no file" in read_official(*folders).table["message"][0]


def test_absent_predictions(folders: tuple[Path, Path]) -> None:
    """A folder without any prediction is refused with its path, the expected files and their keys."""
    (folders[0] / "result_0.json").unlink()
    with pytest.raises(
        InvalidDataError, match=r"predictions: expected result_0\.json, .*mu_hats.* p16 and p84"
    ):
        read_official(*folders)


def test_only_a_file_of_another_set(folders: tuple[Path, Path]) -> None:
    """Every toy is missing, both the absent and the surplus file are named, and there is a score card."""
    (folders[0] / "result_0.json").rename(folders[0] / "result_7.json")
    results = read_official(*folders)
    assert results.table["status"].tolist() == ["missing"] * 2
    assert results.manifest["warnings"] == [
        "result_0.json: no file of this name in the predictions: 2 toys count as missing",
        "result_7.json: no such set in the reference (the only set is 0), not read",
    ]
    assert score_card(results).to_flat()["coverage"] == 0


def test_place_of_an_error_in_the_json(folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    """The warning tells line and column, and is logged, too."""
    expected = "result_0.json: not valid JSON (line 1 column 9): 2 toys count as missing"
    assert _read(folders, '{"p16": ').manifest["warnings"] == [expected]
    assert caplog.messages == [expected]


def test_missing_list_is_a_warning(folders: tuple[Path, Path]) -> None:
    """The warning names the lists that are absent or no lists; a good folder has no warnings."""
    assert read_official(*folders).manifest["warnings"] == []
    assert _read(folders, {"mu_hats": [1.0, 1.0], "p16": 3}).manifest["warnings"] == [
        "result_0.json: no list p16 and no list p84: 2 toys count as failed"
    ]


def test_sets_are_matched_by_number(tmp_path: Path) -> None:
    """Set 10 belongs to the eleventh mu, whatever the order of the directory; an absent set stays absent."""
    mus = [0.1 * (i + 1) for i in range(11)]
    for i in (10, 2, 0):
        content = {"mu_hats": [mus[i]], "p16": [mus[i]], "p84": [mus[i]]}
        _write(tmp_path / "predictions" / f"result_{i}.json", content)
    _write(tmp_path / "reference" / "settings" / "data.json", {"ground_truth_mus": mus})
    results = read_official(tmp_path / "predictions", tmp_path / "reference")
    assert results.table["i_mu"][results.covers()].tolist() == [0, 2, 10]
    assert (results.table["status"] == "missing").sum() == 8


def test_forged_settings_have_no_effect(folders: tuple[Path, Path]) -> None:
    """Settings among the predictions, under any official name, change nothing."""
    before = score_card(read_official(*folders)).to_flat()
    forged = {"ground_truth_mus": [2.5], "num_pseudo_experiments": 1, "mu_range": [0.0, 1e-9]}
    for name in ("test_settings.json", "settings/data.json", "random_mu.json"):
        _write(folders[0] / name, forged)
    assert score_card(read_official(*folders)).to_flat() == before


def test_stray_files_are_noted(folders: tuple[Path, Path]) -> None:
    """Files of sets that do not exist, or with odd names, are not read, and the manifest says so."""
    for name in ("result_1.json", "result_00.json", "result_x.json"):
        _write(folders[0] / name, GOOD)
    results = read_official(*folders)
    assert len(results.table) == 2
    assert results.manifest["warnings"] == [
        "result_00.json, result_1.json, result_x.json: "
        "no such set in the reference (the only set is 0), not read"
    ]


def test_number_of_toys_without_a_word_from_the_reference(tmp_path: Path) -> None:
    """The longest list of any set counts; shorter sets have missing toys."""
    _write(tmp_path / "reference" / "test_settings.json", {"ground_truth_mus": [1.0, 2.0]})
    _write(tmp_path / "predictions" / "result_0.json", GOOD)
    _write(tmp_path / "predictions" / "result_1.json", {k: v[:1] for k, v in GOOD.items()})
    results = read_official(tmp_path / "predictions", tmp_path / "reference")
    assert results.table["status"].tolist() == ["ok", "ok", "ok", "missing"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "ground_truth_mus"),
        ({"ground_truth_mus": []}, "ground_truth_mus"),
        ({"ground_truth_mus": ["a"]}, "ground_truth_mus"),
        ({"ground_truth_mus": [float("nan")]}, "ground_truth_mus"),
        ({"ground_truth_mus": [[1.0]]}, "ground_truth_mus"),
        ({"ground_truth_mus": [1.0], "num_of_sets": 2}, "num_of_sets is 2"),
        ({"ground_truth_mus": [1.0], "num_pseudo_experiments": 0}, "num_pseudo_experiments is 0"),
        ({"ground_truth_mus": [1.0], "num_pseudo_experiments": True}, "num_pseudo_experiments is True"),
        ({"ground_truth_mus": [1.0], "num_pseudo_experiments": 1.5}, "num_pseudo_experiments is 1.5"),
        ({"ground_truth_mus": [1.0], "mu_range": [0.1]}, "mu_range"),
        ({"ground_truth_mus": [1.0], "confidence_level": 68}, "confidence_level is 68"),
        ({"ground_truth_mus": [1.0], "nuisances": [1]}, "nuisances must map"),
        (
            {"ground_truth_mus": [1.0], "num_pseudo_experiments": 2, "nuisances": {"tes": [[1.0]]}},
            "nuisances.tes",
        ),
        ([1.0], "holds list"),
    ],
)
def test_damaged_reference_is_the_organisers_fault(tmp_path: Path, settings: Any, message: str) -> None:
    """A reference that cannot be right is refused with the key, instead of scoring wrongly."""
    _write(tmp_path / "test_settings.json", settings)
    with pytest.raises(InvalidDataError, match=message):
        read_truth(tmp_path)


def test_absent_reference_is_refused(tmp_path: Path) -> None:
    """Without a settings file the message says what is expected."""
    with pytest.raises(StorageError, match=r"test_settings\.json"):
        read_truth(tmp_path)


def test_only_the_first_sets_are_used(tmp_path: Path) -> None:
    """num_of_sets may be smaller than the list of mu, as in the official settings."""
    _write(tmp_path / "test_settings.json", {"ground_truth_mus": [1.0, 2.0, 3.0], "num_of_sets": 2})
    assert read_truth(tmp_path).mu.tolist() == [1.0, 2.0]


def test_written_results_are_read_back(tmp_path: Path) -> None:
    """Answers, statuses and truth survive the official layout; no truth is among the predictions."""
    results = failing(failing(gaussian_results(n_mu=3, n_toys=20), [5], "timeout"), [7], "crashed")
    paths = write_official(results, tmp_path / "predictions")
    write_truth(results, tmp_path / "reference")
    again = read_official(tmp_path / "predictions", tmp_path / "reference")
    for column in ("i_mu", "i_toy", "mu_true", "mu_hat", "lower", "upper", "status", "nuisance_tes"):
        expected, found = results.table[column], again.table[column]
        assert (
            found.tolist() == pytest.approx(expected.tolist(), nan_ok=True) if found.dtype != object else True
        )
        assert found.dtype != object or found.tolist() == expected.tolist()
    keys = {k for path in paths for k in json.loads(path.read_text())}
    assert keys == {"mu_hats", "delta_mu_hats", "p16", "p16s", "p84", "p84s", "status"}


def test_truth_of_the_reference_replaces_the_claimed_one(tmp_path: Path) -> None:
    """Results that claim another truth, lack, repeat or invent toys are judged by the reference alone."""
    honest = gaussian_results(n_mu=2, n_toys=10)
    write_truth(honest, tmp_path)
    table = honest.table.assign(mu_true=honest.table["mu_hat"], nuisance_tes=0.0)
    table = table.drop(index=[3])
    table.loc[19, "i_toy"] = 99
    table.loc[18, "i_toy"] = 0
    judged = with_truth(Results(table, (0.0, 1e-9), 0.99), read_truth(tmp_path))
    assert judged.table["mu_true"].tolist() == pytest.approx(honest.table["mu_true"].tolist())
    assert judged.table["nuisance_tes"].tolist() == pytest.approx(honest.table["nuisance_tes"].tolist())
    assert np.flatnonzero(judged.table["status"] == "missing").tolist() == [3, 18, 19]
    assert (judged.mu_range, judged.confidence_level) == ((0.1, 3.0), 0.6827)
    assert judged.manifest["dropped_rows"] == 2


def test_numbers_in_words_are_no_numbers(tmp_path: Path) -> None:
    """A results table of a stranger that holds text where numbers belong is scored as it is."""
    honest = gaussian_results(n_mu=1, n_toys=3)
    write_truth(honest, tmp_path)
    table = honest.table.astype({"lower": object, "wall_time_s": object})
    table.loc[0, "lower"], table.loc[1, "wall_time_s"] = "low", "fast"
    judged = with_truth(Results(table, honest.mu_range), read_truth(tmp_path))
    assert judged.table["status"].tolist() == ["non_finite", "ok", "ok"]
    assert score_card(judged)["wall_time_total"].value == 1.0


def test_several_submissions_are_not_judged_as_one(tmp_path: Path) -> None:
    """Predictions of several submissions are refused."""
    one = gaussian_results(n_mu=1, n_toys=3)
    write_truth(one, tmp_path)
    both = Results(pd.concat([one.table, one.table.assign(submission="other")]), one.mu_range)
    with pytest.raises(InvalidDataError, match="method, other"):
        with_truth(both, read_truth(tmp_path))


def test_a_claimed_ok_is_checked(tmp_path: Path) -> None:
    """Rows that call themselves ok and are not become non_finite and swapped."""
    honest = gaussian_results(n_mu=1, n_toys=3)
    write_truth(honest, tmp_path)
    table = honest.table.copy()
    table.loc[0, "lower"] = np.nan
    table.loc[1, ["lower", "upper"]] = [2.0, 1.0]
    judged = with_truth(Results(table, honest.mu_range), read_truth(tmp_path))
    assert judged.table["status"].tolist() == ["non_finite", "swapped", "ok"]
