"""Exact profile likelihood: a complete submission folder, for worlds that know their densities."""
