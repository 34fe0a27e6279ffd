"""The on/off counting experiment: the interval and its coverage are known in closed form."""

from .simulator import OnOffCounting

__all__ = ["OnOffCounting"]
