"""The full chain: Pythia 8, anti-kt jets and a parametric detector, with systematics inside the detector."""

from .source import FullChain

__all__ = ["FullChain"]
