"""Our official numbers against those of the public scorer (HiggsML 0.1.5)."""

import json
from pathlib import Path

import pytest
from fairuniverse.scoring.program import score_folders

GOLDEN = Path(__file__).parents[1] / "golden" / "scoring"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())


@pytest.mark.parametrize("case", EXPECTED)
def test_official_keys_agree_with_the_public_scorer(case: str, tmp_path: Path) -> None:
    """All five official numbers agree with the public scorer's to 1e-9."""
    score_folders(GOLDEN / case / "predictions", GOLDEN / case / "reference", tmp_path)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {k: scores[k] for k in EXPECTED[case]} == pytest.approx(EXPECTED[case], rel=1e-9, abs=1e-9)
