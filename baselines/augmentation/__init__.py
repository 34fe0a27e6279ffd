"""A classifier trained on shifted copies of the events: a complete submission folder."""
