"""Fixtures and settings shared by all tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from fairuniverse.api import Benchmark
from fairuniverse.config import (
    BenchmarkConfig,
    LimitsConfig,
    PseudoExperimentsConfig,
    SimulatorConfig,
    TrainingConfig,
)

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


def make_tiny(*, n_mu: int = 2, n_toys: int = 4, seed: int = 3, mu_values=None, **limits) -> Benchmark:
    """A benchmark in a world of two features that costs nothing; see tests/tiny_world.py."""
    n_events = {"signal": 1000, "background": 2000}
    return Benchmark(
        BenchmarkConfig(
            name="tiny",
            version="1",
            seed=seed,
            simulator=SimulatorConfig(name=str(ROOT / "tests" / "tiny_world.py")),
            nuisances=["scale", "bkg_scale"],
            training=TrainingConfig(n_events=n_events),
            pseudo_experiments=PseudoExperimentsConfig(
                n_mu=n_mu, n_toys=n_toys, n_events=n_events, mu_values=mu_values
            ),
            limits=LimitsConfig(**limits),
        )
    )


@pytest.fixture(scope="session")
def tiny_benchmark() -> Callable[..., Benchmark]:
    """Makes benchmarks in the tiny world."""
    return make_tiny
