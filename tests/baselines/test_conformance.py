"""Every registered baseline passes the check that participants run before they upload."""

import pytest

from fairuniverse import registry
from fairuniverse.conformance import check_submission

WORLDS = {"exact_likelihood": "inferno-toy"}
"""Baselines that need another world than the demo's."""


@pytest.mark.parametrize("name", registry.names(registry.BASELINES))
def test_baselines_have_no_problems(name):
    """Sound files, imports, answers that depend on the toy alone, and costs within the demo's limits."""
    if "fairuniverse.learning" in (registry.find_submission(name) / "model.py").read_text():
        pytest.skip("trains a network, which takes minutes also in a small world; try fairuniverse check")
    findings = check_submission(name, config=WORLDS.get(name, "quick"), isolation="none")
    assert [f for f in findings if f.severity == "problem"] == []
