"""Columns of what a market stream tells besides trades and books: best quotes; mark and index price and funding."""

from bot.domain.market import BookBatch, QuoteBatch, TickerBatch

__all__ = ["QuoteBatch", "TickerBatch", "quotes_of"]


def quotes_of(books: BookBatch) -> QuoteBatch:
    """Return the best level of every book."""
    return QuoteBatch(
        instrument=books.instrument,
        first_row=books.first_row,
        ts_ns=books.ts_ns,
        known_ns=books.known_ns,
        bid_ticks=books.bid_ticks[:, 0],
        bid_steps=books.bid_steps[:, 0],
        ask_ticks=books.ask_ticks[:, 0],
        ask_steps=books.ask_steps[:, 0],
    )
