"""A leveraged account through real days of falling prices, and its books a second time, in plain decimals.

The second books know nothing of the venue model: they are a sum over what the model told, by the textbook's average
cost, and a margin worked out from the tiers as written below.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd

from bot.core.matching import VenueModel
from bot.core.venue.account import VenueAccount
from bot.core.venue.contract import Contract, FeeRates, TierRow, linear_contract
from bot.core.venue.facts import Execution, FundingSettled, InsurancePaid
from bot.core.venue.market import FillModel, Market
from bot.core.venue.orders import Told
from bot.domain.instrument import Instrument
from bot.domain.market import NO_FLOW, BarBatch, FundingBatch
from tests.support.shared_data import shared_file

SCALE_NS = 300_000_000_000
TAKER = Decimal("0.00055")
# value up to, initial rate, maintenance rate, leverage at most
TIERS = (("200000", "0.01", "0.005", "100"), ("1000000", "0.02", "0.01", "50"), ("20000000", "0.05", "0.025", "20"))
FILES = {
    "BTCUSDT": ("data/btcusdt_binance_usdm_5m_2023-01_2025-08.parquet", "0.1", "0.001"),
    "ETHUSDT": ("data/ethusdt_binance_usdm_5m_2025-01_2025-08.parquet", "0.01", "0.001"),
    "SOLUSDT": ("data/solusdt_binance_usdm_5m_2023-11_2025-08.parquet", "0.001", "0.01"),
}
FUNDING = "data/funding_binance_usdm_8h_2020-01_2025-08.parquet"


def instant(text: str) -> int:
    """Return a UTC time in ns."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def contract(name: str) -> Contract:
    """Return a perpetual with the tiers above."""
    _, tick, step = FILES[name]
    instrument = Instrument(
        name=name,
        base=name[:3],
        quote="USDT",
        tick_size=Decimal(tick),
        qty_step=Decimal(step),
        qty_min=Decimal(step),
        qty_max=Decimal(1_000_000),
    )
    rows = [
        TierRow(
            limit_value=Decimal(limit),
            initial_rate=Decimal(initial),
            maintenance_rate=Decimal(maintenance),
            leverage_max=Decimal(leverage),
        )
        for limit, initial, maintenance, leverage in TIERS
    ]
    return linear_contract(instrument, rows, fees=FeeRates(taker=TAKER, maker=Decimal("0.0002")))


def read_bars(of: Contract, from_ns: int, to_ns: int) -> BarBatch:
    """Return an instrument's real 5-minute bars, on its grid."""
    path, tick, step = FILES[of.name]
    frame = pd.read_parquet(shared_file(path))
    open_ns = frame["ts"].to_numpy(np.int64) * 1_000_000
    frame, open_ns = frame[(open_ns >= from_ns) & (open_ns < to_ns)], open_ns[(open_ns >= from_ns) & (open_ns < to_ns)]
    ticks = {
        name: np.rint(frame[name].to_numpy() / float(tick)).astype(np.int64)
        for name in ("open", "high", "low", "close")
    }
    volume = np.rint(frame["volume"].to_numpy() / float(step)).astype(np.int64)
    nothing = np.zeros(len(frame), dtype=np.int64)
    return BarBatch(
        instrument=of.instrument,
        scale_ns=SCALE_NS,
        first_row=0,
        open_ns=open_ns,
        known_ns=open_ns + SCALE_NS,
        open_ticks=ticks["open"],
        high_ticks=ticks["high"],
        low_ticks=ticks["low"],
        close_ticks=ticks["close"],
        volume_steps=volume,
        turnover=nothing,
        count=nothing,
        buy_steps=nothing,
        flags=np.full(len(frame), NO_FLOW, dtype=np.uint8),
    )


def read_funding(of: Contract, from_ns: int, to_ns: int) -> FundingBatch:
    """Return an instrument's real funding rates."""
    frame = pd.read_parquet(shared_file(FUNDING))
    frame = frame[frame["symbol"] == of.name]
    ts_ns = frame["ts"].to_numpy(np.int64) * 1_000_000
    inside = (ts_ns >= from_ns) & (ts_ns < to_ns)
    rates = np.rint(frame["funding_rate"].to_numpy()[inside] * 1e8).astype(np.int64)
    return FundingBatch(instrument=of.instrument, first_row=0, ts_ns=ts_ns[inside], rate_e8=rates)


@dataclass
class Held:
    """A position by average cost."""

    qty: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)  # signed, of what is open


@dataclass
class Books:
    """An account's money and positions, from what it was told."""

    leverage: Mapping[str, Decimal]
    cash: Decimal = Decimal(0)
    held: dict[str, Held] = field(default_factory=dict)
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    realized: Decimal = Decimal(0)
    insured: Decimal = Decimal(0)

    def see(self, told: Told) -> None:
        """Book one fact."""
        match told.fact:
            case Execution() as done:
                self._trade(done.instrument, done.qty * done.side.sign, done.price)
                fee = done.qty * done.price * done.fee_rate
                self.fees += fee
                self.cash -= fee
            case FundingSettled() as settled:
                paid = self.held[settled.instrument].qty * settled.mark_price * settled.rate
                self.funding -= paid
                self.cash -= paid
            case InsurancePaid() as insurance:
                self.insured += insurance.amount
                self.cash += insurance.amount
            case _:
                pass

    def _trade(self, name: str, qty: Decimal, price: Decimal) -> None:
        held = self.held.setdefault(name, Held())
        closing = min(abs(qty), abs(held.qty)) if held.qty * qty < 0 else Decimal(0)
        if closing:
            cost = held.cost * closing / abs(held.qty)
            gain = closing.copy_sign(held.qty) * price - cost
            self.realized += gain
            self.cash += gain
            held.cost -= cost
            held.qty += closing.copy_sign(qty)
        opening = abs(qty) - closing
        if opening:
            held.qty += opening.copy_sign(qty)
            held.cost += opening.copy_sign(qty) * price

    def excess(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Return how far liquidation is at `marks`: equity less maintenance margin and fees to close."""
        excess = self.cash
        for name, held in self.held.items():
            if held.qty:
                value = abs(held.qty) * marks[name]
                lost = held.cost / held.qty / self.leverage[name]
                bankrupt = held.cost / held.qty - lost.copy_sign(held.qty)
                excess += held.qty * marks[name] - held.cost
                excess -= maintenance(value) + abs(held.qty) * bankrupt * TAKER
        return excess


def maintenance(value: Decimal) -> Decimal:
    """Return the maintenance margin of a value: each slice at its tier's rate."""
    margin, below = Decimal(0), Decimal(0)
    for limit, _, rate, _ in TIERS:
        margin += max(Decimal(0), min(value, Decimal(limit)) - below) * Decimal(rate)
        below = Decimal(limit)
    return margin + max(Decimal(0), value - below) * Decimal(TIERS[-1][2])


class CrashMarket:
    """A venue that plays some real days of several instruments, and one account at it."""

    def __init__(self, names: tuple[str, ...], *, start: str, end: str, model: FillModel, leverage: str) -> None:
        from_ns, to_ns = instant(start), instant(end)
        contracts = [contract(name) for name in names]
        self.bars = {each.name: read_bars(each, from_ns, to_ns) for each in contracts}
        self.funding = {each.name: read_funding(each, from_ns, to_ns) for each in contracts}
        self.account = VenueAccount(contracts)
        for name in names:
            if self.account.state.leverage[name] != Decimal(leverage):
                assert self.account.set_leverage(name, Decimal(leverage)) is None
        self.venue = VenueModel([Market(each, is_bars=True) for each in contracts], {"ours": self.account}, model)
        for name in names:
            self.venue.extend(self.bars[name], 0)
            self.venue.set_funding(self.funding[name])
        self.books = Books(leverage=dict.fromkeys(names, Decimal(leverage)))

    def deposit(self, amount: Decimal, now_ns: int) -> None:
        """Put money into both books."""
        self.account.deposit("USDT", amount, ts_ns=now_ns)
        self.books.cash += amount

    def rows(self) -> Iterator[int]:
        """Yield the bars' numbers."""
        yield from range(len(next(iter(self.bars.values()))))

    def price(self, name: str, column: str, row: int) -> Decimal:
        """Return one price of one bar."""
        bars = self.bars[name]
        return bars.instrument.price(int(getattr(bars, f"{column}_ticks")[row]))
