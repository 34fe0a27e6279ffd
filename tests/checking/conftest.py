"""The tiny world as a configuration file."""

from pathlib import Path

import pytest

CONFIG = """
name: tiny
version: "1"
simulator: {{name: "{world}"}}
nuisances: [scale, bkg_scale]
training: {{n_events: {{signal: 2000, background: 2000}}}}
pseudo_experiments: {{n_mu: 2, n_toys: 2, mode: fresh}}
limits: {{fit_timeout_s: 20, predict_timeout_s: 5, memory_mib: 1000}}
"""


@pytest.fixture(scope="session")
def tiny_config(root, tmp_path_factory) -> Path:
    """A configuration of the tiny world."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(CONFIG.format(world=root / "tests" / "tiny_world.py"))
    return path
