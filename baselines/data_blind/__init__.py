"""The interval that ignores the data: a complete submission folder."""
