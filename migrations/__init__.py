"""Alembic migrations of the ledger. A version imports nothing from `bot`: its meaning never moves."""
