"""Markets for the tests of features: made up with everything that goes wrong, or real; and how an engine is fed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bot.core.features.engine import FeatureEngine
from bot.domain.instrument import Instrument
from bot.domain.market import (
    EMPTY,
    GAP,
    NO_FLOW,
    PARTIAL,
    BarBatch,
    BookBatch,
    FeatureBatch,
    FundingBatch,
)
from tests.support.shared_data import shared_file

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
START = 1_709_164_800 * SECOND  # 2024-02-29 00:00: a leap day, the end of a month, a Thursday


def instrument(name: str = "XUSDT", *, tick_size: str = "0.1", qty_step: str = "0.001") -> Instrument:
    """Return an instrument on that grid."""
    return Instrument(
        name=name,
        base=name.removesuffix("USDT").removesuffix("USD"),
        quote="USDT",
        tick_size=Decimal(tick_size),
        qty_step=Decimal(qty_step),
        qty_min=Decimal(qty_step),
        qty_max=Decimal(10**12),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """What is joined to bars; the reference's bars may be of several scales."""

    funding: FundingBatch | None = None
    marks: BarBatch | None = None
    references: Sequence[BarBatch] = ()
    book: BookBatch | None = None


# --- feeding an engine ------------------------------------------------------------------------------------------------


class Feeder:
    """Hand an engine what is joined to bars as early as possible, or as late as is allowed, and then the bars."""

    def __init__(self, engine: FeatureEngine, joined: Joined, *, is_early: bool) -> None:
        self._engine = engine
        self._joined = joined
        self._done: dict[object, int] = {}
        if is_early:
            self._deliver(2**62, 2**62)

    def on_bars(self, batches: Iterable[BarBatch]) -> dict[str, FeatureBatch]:
        """Return what the engine makes of bars that became known together."""
        bars = list(batches)
        told = [each for each in bars if len(each)]
        if told:
            self._deliver(max(int(each.close_ns[-1]) for each in told), max(int(each.known_ns[-1]) for each in told))
        return self._engine.on_bars(bars)

    def _deliver(self, close_ns: int, known_ns: int) -> None:
        """Hand over what bars of that close, known then, may see."""
        joined = self._joined
        if joined.funding is not None:
            self._engine.on_funding(self._next("funding", joined.funding, joined.funding.ts_ns <= close_ns))
        if joined.marks is not None:
            self._engine.on_marks(self._next("marks", joined.marks, joined.marks.known_ns <= known_ns))
        for at, bars in enumerate(joined.references):
            self._engine.on_reference(self._next(at, bars, bars.known_ns <= known_ns))
        if joined.book is not None:
            due = (joined.book.ts_ns < close_ns) & (joined.book.known_ns <= known_ns)
            self._engine.on_book(self._next("book", joined.book, due))

    def _next(self, stream: object, rows: Any, due: NDArray[np.bool_]) -> Any:
        start = self._done.get(stream, 0)
        stop = max(start, int(np.flatnonzero(due)[-1]) + 1 if due.any() else 0)
        self._done[stream] = stop
        return rows.rows(start, stop)


def by_time(bars: Sequence[BarBatch], edges_ns: Iterable[int]) -> list[list[BarBatch]]:
    """Return the bars of several scales in pieces: what became known by each of these times, and the rest."""
    pieces = []
    before = [0] * len(bars)
    for edge_ns in [*sorted(edges_ns), 2**62]:
        until = [int(each.known_ns.searchsorted(edge_ns, side="right")) for each in bars]
        pieces.append([each.rows(start, stop) for each, start, stop in zip(bars, before, until, strict=True)])
        before = until
    return pieces


def compute(
    engine: FeatureEngine, pieces: Iterable[Iterable[BarBatch]], joined: Joined | None = None, *, is_early: bool = True
) -> dict[str, FeatureBatch]:
    """Return what an engine makes of all pieces, by scale, in one piece."""
    feeder = Feeder(engine, joined or Joined(), is_early=is_early)
    parts: dict[str, list[FeatureBatch]] = {}
    for piece in pieces:
        for scale, made in feeder.on_bars(piece).items():
            parts.setdefault(scale, []).append(made)
    return {scale: FeatureBatch.join(made) for scale, made in parts.items()}


# --- made up ----------------------------------------------------------------------------------------------------------


def made_bars(
    seed: int,
    rows: int,
    *,
    scale_ns: int = MINUTE,
    start_ns: int = START,
    lateness_ns: int = 0,
    of: Instrument | None = None,
    has_flow: bool = True,
) -> BarBatch:
    """Return bars with jumps, flat bars, quiet stretches and holes; in a hundred rows the source tells no flow."""
    rng = np.random.default_rng(seed)
    close = np.empty(rows, dtype=np.int64)
    body = np.zeros((rows, 3), dtype=np.int64)  # open, high, low
    flow = np.zeros((rows, 4), dtype=np.int64)  # volume, turnover, count, bought
    flags = np.zeros(rows, dtype=np.uint8)
    last = 300_000
    kinds = ["lively", "flat", "jump", "quiet", "hole"]
    kind, left = "lively", 30
    for row in range(rows):
        if not left:
            kind = str(rng.choice(kinds, p=[0.62, 0.08, 0.1, 0.1, 0.1]))
            left = int(rng.integers(1, {"lively": 90, "flat": 4, "jump": 2}.get(kind, 12)))
            left = int(rng.integers(70, 90)) if kind == "quiet" and rng.random() < 0.1 else left
        left -= 1
        if kind in ("quiet", "hole"):
            close[row], body[row] = last, last
            flags[row] = EMPTY if kind == "quiet" else EMPTY | GAP
            continue
        factor = float(rng.choice([0.2, 0.7, 1.5, 5.0])) if kind == "jump" else float(np.exp(rng.normal(0, 2e-3)))
        open_ = max(1, last + int(rng.integers(-3, 4)))
        last = max(2, round(last * factor)) if 1_000 < last * factor < 10**8 else 300_000
        if kind == "flat":
            open_ = last
            body[row] = last
        else:
            high, low = max(open_, last), min(open_, last)
            body[row] = open_, high + int(rng.integers(0, 1 + high // 500)), max(1, low - int(rng.integers(0, 30)))
        close[row] = last
        flow[row] = _flow(rng, body[row], last)
        flags[row] = PARTIAL if rng.random() < 0.02 else 0
    if not has_flow:
        flags |= NO_FLOW
    elif rows > 600:
        flags[450:550] |= NO_FLOW
    flow[(flags & NO_FLOW) != 0, 1:] = 0
    open_ns = start_ns + scale_ns * np.arange(rows, dtype=np.int64)
    return BarBatch(
        instrument=of or instrument(),
        scale_ns=scale_ns,
        first_row=0,
        open_ns=open_ns,
        known_ns=open_ns + scale_ns + lateness_ns,
        open_ticks=body[:, 0].copy(),
        high_ticks=body[:, 1].copy(),
        low_ticks=body[:, 2].copy(),
        close_ticks=close,
        volume_steps=flow[:, 0].copy(),
        turnover=flow[:, 1].copy(),
        count=flow[:, 2].copy(),
        buy_steps=flow[:, 3].copy(),
        flags=flags,
    )


def _flow(rng: np.random.Generator, body: NDArray[np.int64], close: int) -> tuple[int, int, int, int]:
    """Return volume, turnover, count and bought volume, sizes from crumbs to whales."""
    volume = int(10 ** rng.uniform(0, 7)) + 1
    price = int(rng.integers(body[2], max(int(body[1]), close) + 1))
    count = int(rng.integers(1, min(volume, 5_000) + 1))
    return volume, volume * price, count, int(rng.integers(0, volume + 1))


def made_funding(seed: int, bars: BarBatch, *, every_ns: int = 8 * HOUR) -> FundingBatch:
    """Return settled rates on their grid, from within the bars' stretch to its end and beyond."""
    rng = np.random.default_rng(seed)
    first = (int(bars.open_ns[0]) // every_ns + 1) * every_ns
    ts_ns = np.arange(first, int(bars.close_ns[-1]) + 2 * every_ns, every_ns, dtype=np.int64)
    rate_e8 = rng.integers(-30_000, 30_000, len(ts_ns))
    return FundingBatch(instrument=bars.instrument, first_row=0, ts_ns=ts_ns, rate_e8=rate_e8)


def made_book(seed: int, bars: BarBatch, rows: int, *, depth: int = 12, late_ns: int = 0) -> BookBatch:
    """Return book rows from before the first close to after the last; some not trusted, some with an empty side."""
    rng = np.random.default_rng(seed)
    start, stop = int(bars.open_ns[0]), int(bars.close_ns[-1])
    middle = (start * 7 + stop) // 8  # nothing for the first eighth
    ts_ns = np.sort(rng.integers(middle, stop + (stop - start) // 8, rows))
    ts_ns[: rows // 6] = np.sort(rng.choice(bars.close_ns, rows // 6))  # exactly on closes: seen by the next bar
    ts_ns.sort()
    bid = 300_000 + np.cumsum(rng.integers(-3, 4, rows))
    ask = bid + rng.integers(1, 6, rows)
    ladder = np.cumsum(rng.integers(1, 4, (2, rows, depth)), axis=2)
    ladder -= ladder[:, :, :1]
    steps = rng.integers(1, 5_000, (2, rows, depth))
    there = np.arange(depth) < rng.integers(0, 3 * depth, (2, rows, 1))  # how many levels a side has
    steps = np.where(there, steps, 0)
    return BookBatch(
        instrument=bars.instrument,
        first_row=0,
        ts_ns=ts_ns,
        known_ns=ts_ns + np.sort(rng.integers(0, late_ns + 1, rows)),
        update=np.arange(rows, dtype=np.int64),
        bid_ticks=np.where(there[0], bid[:, None] - ladder[0], 0),
        bid_steps=steps[0],
        ask_ticks=np.where(there[1], ask[:, None] + ladder[1], 0),
        ask_steps=steps[1],
        is_trusted=rng.random(rows) > 0.1,
    )


def without(bars: BarBatch, share: float, seed: int) -> BarBatch:
    """Return bars of which some are missing."""
    kept = np.random.default_rng(seed).random(len(bars)) >= share
    columns = {name: getattr(bars, name)[kept] for name in bars.COLUMNS}
    return replace(bars, **columns)


# --- real -------------------------------------------------------------------------------------------------------------


def real_bars(file: str, *, first: int = 0, rows: int, scale_ns: int, zero_is_empty: bool = True) -> BarBatch:
    """Return candles of the shared data on a grid of 1e-8, with neither turnover nor takers, as their source is.

    A candle without volume is marked EMPTY if asked for: nothing traded in it.
    """
    table = _table(file)
    size = np.float64(1e8)
    columns = {name: np.rint(table[name][first : first + rows] * size).astype(np.int64) for name in _PRICES}
    has_volume = "volume" in table  # mark prices have none
    volume = np.rint(table["volume"][first : first + rows] * size).astype(np.int64) if has_volume else None
    open_ns = table["ts"][first : first + rows] * 1_000_000
    nothing = np.zeros(len(open_ns), dtype=np.int64)
    flags = np.full(len(open_ns), NO_FLOW, dtype=np.uint8)
    if zero_is_empty and volume is not None:
        flags[volume == 0] |= EMPTY
    return BarBatch(
        instrument=instrument(file.split("_")[0].upper(), tick_size="0.00000001", qty_step="0.00000001"),
        scale_ns=scale_ns,
        first_row=0,
        open_ns=open_ns,
        known_ns=open_ns + scale_ns,
        open_ticks=columns["open"],
        high_ticks=columns["high"],
        low_ticks=columns["low"],
        close_ticks=columns["close"],
        volume_steps=nothing if volume is None else volume,
        turnover=nothing,
        count=nothing,
        buy_steps=nothing,
        flags=flags,
    )


def real_funding(file: str, symbol: str, of: Instrument) -> FundingBatch:
    """Return the settled rates of one symbol."""
    table = pq.read_table(shared_file(f"data/{file}.parquet"), filters=[("symbol", "==", symbol)])
    return FundingBatch(
        instrument=of,
        first_row=0,
        ts_ns=table["ts"].to_numpy() * 1_000_000,
        rate_e8=np.rint(table["funding_rate"].to_numpy() * 1e8).astype(np.int64),
    )


def row_at(file: str, ts_ns: int) -> int:
    """Return the row of the first candle that opens at or after a time."""
    return int(_table(file)["ts"].searchsorted(ts_ns // 1_000_000))


_PRICES = ("open", "high", "low", "close")


@cache
def _table(file: str) -> Mapping[str, NDArray[Any]]:
    table = pq.read_table(shared_file(f"data/{file}.parquet"))
    return {name: table[name].to_numpy() for name in table.column_names}
