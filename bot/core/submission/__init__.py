"""Requests in flight: between what `core.orders` wants sent and what the venue made of it."""
