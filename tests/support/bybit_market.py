"""A market as Bybit's public streams tell it: frames as bytes, and what the book truly was after each."""

import json
import random
from dataclasses import dataclass, field
from decimal import Decimal

from bot.domain.instrument import Instrument

MS = 1_000_000
START_NS = 1_760_000_000_000 * MS
SYMBOL = "BTCUSDT"
INSTRUMENT = Instrument(
    name=SYMBOL,
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(1000),
)
MID_TICKS = 600_000

Side = dict[int, int]


def message(topic: str, kind: str, ts_ns: int, data: object, **more: object) -> bytes:
    """Return a frame of a topic."""
    return json.dumps(
        {"topic": topic, "type": kind, "ts": ts_ns // MS, "data": data, **more}, separators=(",", ":")
    ).encode()


def price(ticks: int) -> str:
    """Return a price as the venue spells it."""
    return f"{ticks * INSTRUMENT.tick_size:f}"


def qty(steps: int) -> str:
    """Return a quantity as the venue spells it; none is "0"."""
    return f"{steps * INSTRUMENT.qty_step:f}" if steps else "0"


def book_message(
    ts_ns: int,
    update: int,
    bids: list[tuple[int, int]],
    asks: list[tuple[int, int]],
    *,
    is_snapshot: bool = False,
    levels: int = 50,
    seq: int | None = None,
) -> bytes:
    """Return a frame of a book; levels are (ticks, steps)."""
    data = {
        "s": SYMBOL,
        "b": [[price(p), qty(q)] for p, q in bids],
        "a": [[price(p), qty(q)] for p, q in asks],
        "u": update,
        "seq": 10 * update if seq is None else seq,
    }
    kind = "snapshot" if is_snapshot else "delta"
    return message(f"orderbook.{levels}.{SYMBOL}", kind, ts_ns + 2 * MS, data, cts=ts_ns // MS)


def trade_message(ts_ns: int, trades: list[tuple[int, int, bool]], *, first_id: int = 0, **more: object) -> bytes:
    """Return a frame of trades (ticks, steps, whether the taker bought), a ms apart."""
    data = [
        {
            "T": ts_ns // MS + number,
            "s": SYMBOL,
            "S": "Buy" if is_buy else "Sell",
            "v": qty(steps),
            "p": price(ticks),
            "L": "PlusTick",
            "i": f"20f43950-d8dd-5b31-9112-{first_id + number:012d}",
            "BT": False,
            "seq": 1,
        }
        | more
        for number, (ticks, steps, is_buy) in enumerate(trades)
    ]
    return message(f"publicTrade.{SYMBOL}", "snapshot", ts_ns + len(trades) * MS, data)


def ticker_message(ts_ns: int, *, is_snapshot: bool = False, **fields: str) -> bytes:
    """Return a frame of a ticker with these fields."""
    kind = "snapshot" if is_snapshot else "delta"
    return message(f"tickers.{SYMBOL}", kind, ts_ns, {"symbol": SYMBOL, **fields}, cs=1)


def kline_message(start_ns: int, ts_ns: int, *, confirm: bool, close: str = "60000.5", interval: str = "1") -> bytes:
    """Return a frame of a minute's kline."""
    data = {
        "start": start_ns // MS,
        "end": start_ns // MS + 59_999,
        "interval": interval,
        "open": "60000",
        "close": close,
        "high": "60010",
        "low": "59990.0",
        "volume": "2.5",
        "turnover": "150000.25",
        "confirm": confirm,
        "timestamp": ts_ns // MS,
    }
    return message(f"kline.{interval}.{SYMBOL}", "snapshot", ts_ns, [data])


def best(side: Side, count: int, *, is_bid: bool) -> dict[int, int]:
    """Return the best levels of a side."""
    return {p: side[p] for p in sorted(side, reverse=is_bid)[:count]}


@dataclass
class Sent:
    """A frame, and the best levels of the book that it leads to, where it is of the deep book."""

    ts_ns: int
    raw: bytes
    kind: str  # "snapshot", "delta", "level1", "ticker"
    update: int = 0
    seq: int = 0
    bids: Side = field(default_factory=dict)
    asks: Side = field(default_factory=dict)
    change: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])


class SampleBookStream:
    """A book that moves, told as the venue tells it: an exact window of levels, numbered changes, best quotes beside.

    Args:
        seed: of the market.
        levels: of the topic.
        step_ns: from one change to the next.
    """

    def __init__(self, seed: int, *, levels: int = 50, step_ns: int = 20 * MS, update: int = 1000) -> None:
        self._random = random.Random(seed)
        self.levels = levels
        self.step_ns = step_ns
        self.now_ns = START_NS
        self.update = update
        self.seq = 5_000_000 + update
        wide = range(1, levels + 30)
        self.bids: Side = {MID_TICKS - k: self._qty() for k in wide}
        self.asks: Side = {MID_TICKS + k: self._qty() for k in wide}
        self._shown: tuple[Side, Side] = ({}, {})

    def snapshot(self) -> Sent:
        """Return the whole window; it has the number of the last change."""
        self._shown = self._window()
        bids, asks = (list(side.items()) for side in self._shown)
        raw = book_message(self.now_ns, self.update, bids, asks, is_snapshot=True, levels=self.levels, seq=self.seq)
        return self._sent("snapshot", raw, (bids, asks))

    def delta(self) -> Sent:
        """Let the market move and return what changed of the window."""
        self.now_ns += self.step_ns
        self._move()
        self.update += 1
        self.seq += self._random.randint(1, 9)
        before, after = self._shown, self._window()
        self._shown = after
        bids, asks = (_changes(old, new) for old, new in zip(before, after, strict=True))
        raw = book_message(self.now_ns, self.update, bids, asks, levels=self.levels, seq=self.seq)
        return self._sent("delta", raw, (bids, asks))

    def level1(self) -> Sent:
        """Return the best quote's frame as of now."""
        bid, ask = max(self.bids), min(self.asks)
        sides = ([(bid, self.bids[bid])], [(ask, self.asks[ask])])
        raw = book_message(self.now_ns, self.update, *sides, is_snapshot=True, levels=1, seq=self.seq)
        return self._sent("level1", raw, sides)

    def ticker(self, *, is_snapshot: bool = False) -> Sent:
        """Return a ticker's frame as of now."""
        bid, ask = max(self.bids), min(self.asks)
        fields = {"bid1Price": price(bid), "ask1Price": price(ask), "markPrice": price((bid + ask) // 2)}
        return self._sent("ticker", ticker_message(self.now_ns, is_snapshot=is_snapshot, **fields), ([], []))

    def frames(self, count: int) -> list[Sent]:
        """Return a snapshot and what follows: `count` changes, and quotes and tickers at their own pace."""
        made = [self.snapshot(), self.ticker(is_snapshot=True), self.level1()]
        for number in range(count):
            made.append(self.delta())
            if self._random.random() < 0.7:
                made.append(self.level1())
            if number % 5 == 4:
                made.append(self.ticker())
        return made

    def _window(self) -> tuple[Side, Side]:
        return best(self.bids, self.levels, is_bid=True), best(self.asks, self.levels, is_bid=False)

    def _sent(self, kind: str, raw: bytes, change: tuple[list[tuple[int, int]], list[tuple[int, int]]]) -> Sent:
        bids, asks = self._shown
        return Sent(self.now_ns, raw, kind, self.update, self.seq, dict(bids), dict(asks), change)

    def _qty(self) -> int:
        return self._random.randint(1, 9_999)

    def _move(self) -> None:
        for _ in range(self._random.randint(1, 8)):
            is_bid = self._random.random() < 0.5
            side = self.bids if is_bid else self.asks
            top = max(side) if is_bid else min(side)
            away = -1 if is_bid else 1
            near = top + away * int(self._random.expovariate(0.15))
            if self._random.random() < 0.4 and near in side and len(side) > self.levels + 5:
                del side[near]
            else:
                side[near] = self._qty()
            if self._random.random() < 0.25:  # improve the best price where there is room
                bid, ask = max(self.bids), min(self.asks)
                if ask - bid > 1:
                    side[bid + 1 if is_bid else ask - 1] = self._qty()
        while len(self.bids) < self.levels + 10:
            self.bids[min(self.bids) - 1] = self._qty()
        while len(self.asks) < self.levels + 10:
            self.asks[max(self.asks) + 1] = self._qty()


def _changes(before: Side, after: Side) -> list[tuple[int, int]]:
    gone = [(p, 0) for p in before if p not in after]
    return gone + [(p, q) for p, q in after.items() if before.get(p) != q]
