"""What is behind a minute's end waits for the venue's last word on that minute, and no longer."""

import msgspec
import numpy as np

from bot.domain.market import TradeBatch
from bot.venues.bybit.decode import TradeDecoder
from bot.venues.bybit.instrument_feed import Claim
from bot.venues.bybit.trade_gate import NewestTrades, TradeGate
from bot.venues.bybit.wire import WireTrade
from tests.support.emulator import BTC, MINUTE, SECOND, START_NS
from tests.support.market_sim import MS

END_NS = START_NS + MINUTE


def trades(*ts_ns: int) -> TradeBatch:
    """Return trades of ten steps each."""
    count = len(ts_ns)
    return TradeBatch(
        instrument=BTC,
        first_row=0,
        ts_ns=np.array(ts_ns, dtype=np.int64),
        price_ticks=np.full(count, 600_000, dtype=np.int64),
        qty_steps=np.full(count, 10, dtype=np.int64),
        is_buy=np.ones(count, dtype=np.bool_),
    )


def told(open_ns: int, volume_steps: int, *, at_ns: int, is_closed: bool = False) -> Claim:
    return Claim(open_ns=open_ns, ts_ns=at_ns, known_ns=at_ns, volume_steps=volume_steps, is_closed=is_closed)


def told_by_rest(ts_ns: int, name: str) -> WireTrade:
    return WireTrade(
        T=ts_ns // MS, s=BTC.name, S="Buy", v=msgspec.Raw(b'"0.010"'), p=msgspec.Raw(b'"60000.0"'), i=name, BT=False
    )


def open_gate(confirm_ns: int = SECOND) -> TradeGate:
    """Return a gate that is open, and that a trade of ten steps has passed at 50 s."""
    gate = TradeGate(BTC, TradeDecoder(BTC), start_ns=START_NS, confirm_ns=confirm_ns)
    at_ns = START_NS + 50 * SECOND
    gate.on_trades(trades(at_ns), ["a"])
    assert gate.step(at_ns, is_confirmed=True) == NewestTrades()
    gate.on_recent([told_by_rest(START_NS - SECOND, "before"), told_by_rest(at_ns, "a")], at_ns)
    assert gate.is_open
    assert passed(gate) == [at_ns]
    return gate


def passed(gate: TradeGate) -> list[int]:
    """Return the times of the trades that have passed since."""
    return [int(ts) for each in gate.take() if isinstance(each, TradeBatch) for ts in each.ts_ns]


def test_the_next_minute_waits_until_the_last_is_told_closed() -> None:
    """Trades of one batch part at the minute's end; the later ones pass with the venue's word that none is missing."""
    gate = open_gate()
    gate.on_trades(trades(END_NS - MS, END_NS, END_NS + MS), ["b", "c", "d"])
    assert passed(gate) == [END_NS - MS]
    gate.on_claims([told(END_NS, 20, at_ns=END_NS + 2 * MS)])  # counts what waits: held against it later
    gate.step(END_NS + 3 * MS, is_confirmed=True)
    assert passed(gate) == []
    gate.on_claims([told(START_NS, 20, at_ns=END_NS + 4 * MS, is_closed=True)])
    assert passed(gate) == [END_NS, END_NS + MS]
    gate.step(END_NS + 3 * SECOND, is_confirmed=True)
    assert not gate.is_suspicious


def test_a_word_that_does_not_come_is_waited_for_no_longer_than_said() -> None:
    gate = open_gate()
    gate.on_trades(trades(END_NS), ["b"])
    gate.step(END_NS + SECOND - 1, is_confirmed=True)
    assert passed(gate) == []
    gate.step(END_NS + SECOND, is_confirmed=True)
    assert passed(gate) == [END_NS]


def test_a_minute_that_lacks_trades_stays_open_until_the_stream_begins_anew() -> None:
    """What waits is not lost when the gate shuts: it passes in its place, behind what REST knows of the minute."""
    gate = open_gate()
    gate.on_trades(trades(END_NS), ["c"])
    gate.on_claims([told(START_NS, 20, at_ns=END_NS + MS, is_closed=True)])
    for ms in (2, 1_500, 2_100):
        gate.step(END_NS + ms * MS, is_confirmed=True)
        assert [each for each in gate.take() if not isinstance(each, int) or each >= END_NS] == []
    assert gate.is_suspicious
    gate.shut("the venue's minutes tell of more trades")
    now_ns = END_NS + 3 * SECOND
    gate.step(now_ns, is_confirmed=True)
    assert gate.step(now_ns + SECOND, is_confirmed=True) == NewestTrades()
    rest = [
        told_by_rest(START_NS + 50 * SECOND, "a"),
        told_by_rest(END_NS - MS, "b"),
        told_by_rest(END_NS, "c"),
    ]
    gate.on_recent(rest, now_ns)
    assert gate.is_open
    assert passed(gate) == [END_NS - MS, END_NS]


def test_nothing_waits_where_that_is_not_asked_for() -> None:
    gate = open_gate(confirm_ns=0)
    gate.on_trades(trades(END_NS), ["b"])
    assert passed(gate) == [END_NS]
