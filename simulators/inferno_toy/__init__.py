"""The three-dimensional toy of INFERNO, with its five benchmarks: the likelihood is known exactly."""

from .simulator import InfernoToy

__all__ = ["InfernoToy"]
