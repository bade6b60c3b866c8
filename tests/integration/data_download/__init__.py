"""Downloads from a local Bybit that has history."""
