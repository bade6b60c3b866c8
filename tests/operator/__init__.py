"""What an operator sees and asks."""
