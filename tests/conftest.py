"""Fixtures and settings shared by all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
OFFICIAL_SAMPLE = ROOT.parent / "shared" / "data" / "official_sample.parquet"

settings.register_profile("default", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("default")


@pytest.fixture(scope="session")
def root() -> Path:
    """Top folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def official_sample() -> Path:
    """The public 1,000-row sample; tests that need it skip where it is absent."""
    if not OFFICIAL_SAMPLE.is_file():
        pytest.skip("the public 1,000-row sample is not here (it is not ours to distribute)")
    return OFFICIAL_SAMPLE
