"""Bybit V5: its market history so far."""
