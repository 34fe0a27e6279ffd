"""Worlds one can measure in, one sub-package each."""
