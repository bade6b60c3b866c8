"""Benchmarks. `make bench` runs them all; results that were measured are kept in `results/`."""
