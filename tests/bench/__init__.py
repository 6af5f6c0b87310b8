"""Benchmarks: the adapter of `make bench`, and the filters beside those of others (`python -m tests.bench.filters`)."""
