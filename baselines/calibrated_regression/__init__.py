"""Regression of mu from a histogram, its interval calibrated: a complete submission folder."""
