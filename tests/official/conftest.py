"""A benchmark of few events in the form of the public challenge: tables to learn and to draw from."""

from pathlib import Path

import pandas as pd
import pytest

from fairuniverse import api

N_EVENTS = {"htautau": 300, "ztautau": 3000, "ttbar": 300, "diboson": 100}
SCALE = 1e-4
"""A toy has a hundred events instead of a million."""

CONFIG = """
name: small
version: "1"
seed: 5
simulator: {name: higgs_tautau, options: {systematics: posthoc}}
training: {file: train.parquet}
pseudo_experiments: {file: pool.parquet, n_mu: 1, n_toys: 2}
"""


@pytest.fixture(scope="session")
def small_config(tmp_path_factory) -> Path:
    """A configuration file with its tables beside it."""
    folder = tmp_path_factory.mktemp("benchmark")
    for purpose in ("train", "pool"):
        path = folder / f"{purpose}.parquet"
        api.simulate("higgs_tautau", {}, N_EVENTS, path, purpose=purpose)
        table = pd.read_parquet(path)
        table["weights"] *= SCALE
        table.to_parquet(path)
    (folder / "small.yaml").write_text(CONFIG)
    return folder / "small.yaml"
