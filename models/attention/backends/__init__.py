"""Kernels, one file each; `models.attention.select` finds every one that is here."""
