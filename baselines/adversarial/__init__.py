"""A classifier that hides the nuisances from an adversary: a complete submission folder."""
