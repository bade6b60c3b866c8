"""Trading strategies, one file each: closed bars and forecasts in, orders out."""
