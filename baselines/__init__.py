"""Methods that come with the benchmark, one submission folder each."""
