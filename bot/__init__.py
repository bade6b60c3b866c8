"""multiscale-bot: an event-driven trading bot that sees every time scale at once."""

__version__ = "0.1.0"
