"""Counts, in a module beside model.py as challenge submissions have them."""

import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))

with open("cuts.json") as file:  # relative to the working directory
    CUTS = json.load(file)


def count(data, weights):
    """Expected or observed number of boosted events."""
    return float(weights[data["DER_pt_h"] > CUTS["DER_pt_h"]].sum())
