"""The words of the trade: instruments, market columns, orders, accounts, ledger entries, errors."""
