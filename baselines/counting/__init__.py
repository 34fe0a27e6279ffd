"""Counting in eight regions: a complete submission folder."""
