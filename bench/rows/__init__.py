"""The rows of the benchmark: each measures one thing and returns its figures."""
