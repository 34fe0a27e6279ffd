"""Scores, one per file: each a function of the results table."""
