"""The protocol of the public challenge (arXiv:2410.02867), as changes to a configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairuniverse.config import BenchmarkConfig

N_MU, N_TOYS = 10, 100
"""Sets of one mu each, and pseudo-experiments per set, of the public phase."""

MU_RANGE = (0.1, 3.0)
CONFIDENCE_LEVEL = 0.6827
NUISANCES = ("tes", "jes", "soft_met", "ttbar_scale", "diboson_scale", "bkg_scale")
OPTIONS = {"systematics": "official", "yields": "official", "boundary": "clip"}
"""Options of the simulator with which shifted events have the values of the public package."""


def with_official_protocol(config: BenchmarkConfig) -> BenchmarkConfig:
    """The same benchmark under the public protocol: its sets, toys, priors and way to shift events.

    Where events come from stays as it is: with ``file`` the pool is the public one, as in the challenge.
    """
    return replace(
        config,
        name=f"{config.name}-official",
        simulator=replace(config.simulator, options={**config.simulator.options, **OPTIONS}),
        mu_range=MU_RANGE,
        confidence_level=CONFIDENCE_LEVEL,
        nuisances=list(NUISANCES),
        pseudo_experiments=replace(config.pseudo_experiments, n_mu=N_MU, n_toys=N_TOYS, mu_values=None),
    )
