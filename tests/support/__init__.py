"""Parts that tests and benchmarks share."""
