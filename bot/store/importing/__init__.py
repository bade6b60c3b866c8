"""Readers of other people's market data files: each turns a file into `Part`s of exact columns."""
