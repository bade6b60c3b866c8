"""Whole models, one file each, every one a `bot.ports.Predictor`."""
