"""A classifier that is flat along the nuisances: a complete submission folder."""
