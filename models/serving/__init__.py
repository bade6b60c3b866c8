"""Artefacts at work: forecasts of a replay in blocks, and bar by bar in a process of their own."""
