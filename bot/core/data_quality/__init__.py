"""Scans of market data for what may be wrong in it: pure, fed with rows cut anywhere, in little memory."""
