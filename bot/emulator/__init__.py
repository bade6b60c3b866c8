"""The emulator: a venue on this machine that speaks Bybit's V5 protocol to any client."""
