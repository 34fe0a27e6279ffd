"""Two Gaussians in a plane that a nuisance rotates or translates: the likelihood is known exactly."""

from .simulator import Gaussian2D

__all__ = ["Gaussian2D"]
