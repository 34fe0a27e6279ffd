"""Benchmark for measuring a quantity *and its uncertainty* when the simulation is imperfect."""

from fairuniverse._version import __version__

__all__ = ["__version__"]
