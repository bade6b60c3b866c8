"""Venues, one package each; `simulated` fills orders against the market tape of a replay."""
