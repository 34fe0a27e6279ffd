"""Unbinned likelihood of learned density ratios: a complete submission folder."""
