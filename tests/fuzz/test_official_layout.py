"""Whatever a submission writes into the official files, there are scores, and they are finite."""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

from fairuniverse.scoring.official import read_official
from fairuniverse.scoring.program import score_folders
from hypothesis import given
from hypothesis import strategies as st

from fairuniverse.results import STATUSES

numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 3) | st.integers()
values = st.recursive(
    numbers | st.none() | st.booleans() | st.text(max_size=3), lambda x: st.lists(x, max_size=2), max_leaves=3
)
lists = st.lists(numbers | values, max_size=6)
keys = st.sampled_from(["mu_hats", "delta_mu_hats", "p16", "p84", "p16s", "p84s", "status"])
contents = st.dictionaries(keys, lists | values, max_size=7) | values
N_SETS, N_TOYS = 2, 4


def _folders(root: Path, files: list[bytes]) -> tuple[Path, Path]:
    predictions, reference = root / "predictions", root / "reference"
    predictions.mkdir()
    reference.mkdir()
    for i, content in enumerate(files):
        (predictions / f"result_{i}.json").write_bytes(content)
    settings = {"ground_truth_mus": [0.5, 2.0], "num_pseudo_experiments": N_TOYS}
    (reference / "test_settings.json").write_text(json.dumps(settings))
    return predictions, reference


def _require_sound_scores(files: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        predictions, reference = _folders(Path(folder), files)
        results = read_official(predictions, reference)
        card = score_folders(predictions, reference, Path(folder) / "output")
        scores = json.loads((Path(folder) / "output" / "scores.json").read_text())
    table = results.table
    assert len(table) == N_SETS * N_TOYS
    assert set(table["status"]) <= set(STATUSES)
    ok = table[table["status"] == "ok"]
    assert (ok["lower"] <= ok["upper"]).all()
    assert ok["mu_hat"].map(math.isfinite).all()
    assert (table.loc[table["status"] != "ok", "message"] != "").all()
    if (table["status"] == "missing").any() and not any(b"status" in f for f in files):
        assert results.manifest["warnings"]
    assert {"quantiles_score", "interval", "coverage", "rmse", "mae"} <= set(scores)
    assert all(math.isfinite(v) and abs(v) < 1e10 for v in scores.values())
    json.dumps(card.to_json(), allow_nan=False)


@given(st.lists(contents, min_size=1, max_size=N_SETS))
def test_any_json(files: list[Any]) -> None:
    """Valid JSON of any content, NaN and Infinity literals included."""
    _require_sound_scores([json.dumps(f).encode() for f in files])


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=N_SETS))
def test_any_bytes(files: list[bytes]) -> None:
    """Files that need not be JSON nor text."""
    _require_sound_scores(files)
