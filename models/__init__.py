"""Forecasting models. Torch is imported here and nowhere else."""
