"""The venue's own books: what an account there is worth, owes, may do, and how it is liquidated."""
