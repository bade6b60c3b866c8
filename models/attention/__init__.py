"""Attention: one description of what is wanted, and many kernels that can do it."""
