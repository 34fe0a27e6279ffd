"""Classifier with the nuisance parameters as inputs, profiled: a complete submission folder."""
