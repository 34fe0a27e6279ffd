"""The full chain: Pythia 8, anti-kt jets and a parametric detector, with systematics inside the detector."""

from .recoil_source import RecoilChain
from .source import FullChain

__all__ = ["FullChain", "RecoilChain"]
