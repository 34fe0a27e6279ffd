"""Profile likelihood of boosted-tree scores: a complete submission folder."""
