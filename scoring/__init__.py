"""Scores, one per file: each a function of the results table of one submission."""

from .card import SCORES, ScoreCard, score_card

__all__ = ["SCORES", "ScoreCard", "score_card"]
