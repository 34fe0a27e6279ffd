"""INFERNO, bins learnt by the expected error of mu: a complete submission folder."""
