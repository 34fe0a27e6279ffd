"""Every registered baseline passes the check that participants run before they upload."""

import re
import shutil

import pytest

from fairuniverse import registry
from fairuniverse.conformance import check_submission

WORLDS = {"exact_likelihood": "inferno-toy"}
"""Baselines that need another world than the demo's; those that train networks take the smallest."""

SMALL = {
    "BATCH_SIZE": 1024,
    "HIDDEN": (16,),
    "MAX_COPY_EVENTS": 4_000,
    "MAX_EVENTS": 2_000,
    "MIN_CALIBRATION": 20,
    "N_ADVERSARY_STEPS": 2,
    "N_CALIBRATED": 2_000_000,
    "N_CELLS": 40,
    "N_CELL_EVENTS": 10_000,
    "N_CLASSIFIER_EPOCHS": 1,
    "N_COPIES": 4,
    "N_EPOCHS": 1,
    "N_EVENTS": 20_000,
    "N_LEARNT": 20_000,
    "N_MORPHING_EVENTS": 100_000,
    "N_NETWORK_EVENTS": 40_000,
    "N_RATIO_EPOCHS": 1,
    "N_RATIO_EVENTS": 40_000,
    "N_ROUNDS": 30,
    "N_SHIFT_EPOCHS": 1,
    "N_SHIFT_EVENTS": 10_000,
    "N_TOYS": 2_000,
    "RATIO_HIDDEN": (16,),
    "SHIFT_HIDDEN": (16,),
}
"""Settings with which the networks train in seconds: what they learn is not at issue here."""


def with_little_training(folder, copy):
    """A copy of a baseline that has these settings instead of its own."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.glob("*.py"):
        own = set(re.findall(r"^([A-Z]\w+)(?:: [^=]+)? = ", path.read_text(), re.MULTILINE))
        with path.open("a") as file:
            file.writelines(f"{name} = {value!r}\n" for name, value in SMALL.items() if name in own)
    return copy


@pytest.mark.parametrize("name", registry.names(registry.BASELINES))
def test_baselines_have_no_problems(name, tmp_path):
    """Sound files, imports, answers that depend on the toy alone, and costs within the limits."""
    submission, world = name, WORLDS.get(name, "quick")
    if "fairuniverse.learning" in (registry.find_submission(name) / "model.py").read_text():
        submission = with_little_training(registry.find_submission(name), tmp_path / name)
        world = "gaussian-2d"
    findings = check_submission(submission, config=world, isolation="none")
    assert [f for f in findings if f.severity == "problem"] == []
