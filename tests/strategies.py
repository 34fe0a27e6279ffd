"""Hypothesis strategies and small builders shared by the tests."""

import numpy as np
from hypothesis import strategies as st

from fairuniverse.events import Events, Feature, Schema

SCHEMA = Schema((Feature("x", "GeV", "One feature."), Feature("n", "", "Another.", missing=-25.0)))
PROCESSES = ("signal", "background")


def make_events(n_events: int, *, seed: int = 0, is_labelled: bool = True) -> Events:
    """Random events of a two-feature schema."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, n_events)).astype(np.float32)
    if not is_labelled:
        return Events(SCHEMA, features)
    process = (np.arange(n_events) % 2).astype(np.uint8)
    return Events(SCHEMA, features, rng.uniform(0.5, 1.5, n_events), process, PROCESSES)


seeds = st.integers(0, 2**63 - 1)
indices = st.integers(0, 2**31 - 1)
