"""How a target becomes orders: at the market, patiently at the best price, or in slices."""
