"""Benchmark for measuring a quantity *and its uncertainty* when the simulation is imperfect."""

from fairuniverse._version import __version__
from fairuniverse.protocols import Interval

__all__ = ["Interval", "__version__"]
