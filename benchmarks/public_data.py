"""What the public data look like, for benchmarks of the same size and mixture."""

SHARES = {"htautau": 0.336, "ztautau": 0.634, "ttbar": 0.026, "diboson": 0.004}
"""Rows by process in the public files."""

NUISANCES = {
    "tes": 1.01,
    "jes": 0.99,
    "soft_met": 2.0,
    "ttbar_scale": 1.02,
    "diboson_scale": 1.1,
    "bkg_scale": 1.001,
}
"""A value away from its nominal one for each."""
