"""Leverage through real crashes: every liquidation and every funding payment agrees with books kept a second time."""

import random
from decimal import Decimal

import pytest

from bot.core.venue.facts import Execution, FundingSettled, LiquidationStarted, Refusal
from bot.core.venue.market import FillModel, neutral, optimistic, pessimistic
from bot.core.venue.orders import Kind, NewOrder, Told
from bot.domain.instrument import Side
from tests.support.crash_days import SCALE_NS, CrashMarket

ALL = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
CENT = Decimal("0.01")
STAKE = Decimal(10_000)

# Real days on which prices fell by a tenth and more, or leapt within minutes.
DAYS = [
    (("BTCUSDT", "SOLUSDT"), "2024-01-02T12:00", "2024-01-04"),
    (("BTCUSDT", "SOLUSDT"), "2024-04-12", "2024-04-15"),
    (("BTCUSDT", "SOLUSDT"), "2024-08-03", "2024-08-07"),
    (ALL, "2025-02-01", "2025-02-04"),
    (ALL, "2025-02-24", "2025-02-27"),
    (ALL, "2025-04-06", "2025-04-10"),
]


class Reconciliation:
    """Trades at random with leverage, and checks every fact against the second books."""

    def __init__(self, market: CrashMarket, seed: int) -> None:
        self.market = market
        self.random = random.Random(seed)
        self.row = 0
        self.liquidations = 0
        self.fundings: set[tuple[str, int]] = set()

    def see(self, told: list[Told]) -> None:
        """Check and book what the venue told."""
        books = self.market.books
        for each in told:
            fact = each.fact
            match fact:
                case LiquidationStarted():
                    self.liquidations += 1
                    marks = dict(fact.marks)
                    assert books.excess(marks) <= CENT, "liquidated with margin to spare"
                    for name, held in books.held.items():
                        if held.qty:
                            low, high = (self.market.price(name, which, self.row) for which in ("low", "high"))
                            before = self.market.price(name, "close", max(0, self.row - 1))
                            assert min(low, before) <= marks[name] <= max(high, before)
                case FundingSettled(instrument=name, ts_ns=ts_ns, rate=rate, mark_price=mark):
                    funding, bars = self.market.funding[name], self.market.bars[name]
                    at = list(funding.ts_ns).index(ts_ns)
                    assert rate == Decimal(int(funding.rate_e8[at])).scaleb(-8)
                    bar = int(bars.open_ns.searchsorted(ts_ns))
                    assert mark == self.market.price(name, "open", bar)
                    assert fact.position_qty == books.held[name].qty
                    self.fundings.add((name, ts_ns))
                case Execution(realized_pnl=realized):
                    before = books.realized
                    books.see(each)
                    assert abs(books.realized - before - realized) < Decimal("1e-6")
                    continue
                case _:
                    pass
            books.see(each)

    def step(self, row: int) -> None:
        """Trade at a bar's open, then let the bar pass."""
        market, name = self.market, self.random.choice(list(self.market.bars))
        open_ns = int(market.bars[name].open_ns[row])
        self.row = row
        self.see(market.venue.advance(open_ns))
        due = {name for name in market.bars if open_ns in set(market.funding[name].ts_ns.tolist())}
        for which in due:
            held = market.books.held.get(which)
            assert ((which, open_ns) in self.fundings) == bool(held and held.qty), "funding missed, or paid on nothing"
        if market.account.margin().balance < STAKE / 10:
            market.deposit(STAKE, open_ns)
        if row and self.random.random() < 0.15:
            self.trade(name, open_ns)
        self.see(market.venue.advance(open_ns + SCALE_NS))
        closes = {which: market.price(which, "close", row) for which in market.bars}
        if any(held.qty for held in market.books.held.values()):
            assert market.books.excess(closes) > -CENT, "margin is gone and nobody was liquidated"
        assert abs(market.account.balance("USDT") - market.books.cash) < CENT

    def trade(self, name: str, now_ns: int) -> None:
        """Take on much, mostly long: the falls shall hurt."""
        market = self.market
        side = Side.BUY if self.random.random() < 0.7 else Side.SELL
        last = market.venue.markets[name].streams["LastPrice"].tape.last_price(now_ns)  # type: ignore[index]
        assert last is not None
        instrument = market.bars[name].instrument
        value = market.account.margin().balance * Decimal(self.random.randint(5, 25))
        qty = instrument.round_qty(value / instrument.price(last))
        request = NewOrder(instrument=name, side=side, kind=Kind.MARKET, qty=qty)
        answer, told = market.venue.submit("ours", request, now_ns)
        if isinstance(answer, Refusal):
            assert answer.code in {"110007", "110090", "10001", "110094"}
        self.see(told)


@pytest.mark.parametrize("days", DAYS, ids=lambda days: days[1][:10])
@pytest.mark.parametrize("model", [pessimistic, neutral, optimistic])
def test_a_leveraged_account_reconciles_to_the_cent(days: tuple[tuple[str, ...], str, str], model: object) -> None:
    names, start, end = days
    assert callable(model)
    fills: FillModel = model(Decimal("0.0001"))
    market = CrashMarket(names, start=start, end=end, model=fills, leverage="50")
    reconciliation = Reconciliation(market, seed=hash_of(start))
    for row in market.rows():
        reconciliation.step(row)
    books = market.books
    state = market.account.state
    for name, held in books.held.items():
        assert state.qty((name, 0)) == held.qty
    assert abs(sum(row.change for row in state.transactions) - books.cash) < CENT
    assert reconciliation.liquidations > 0
    assert reconciliation.fundings


def hash_of(text: str) -> int:
    """Return a number that is the same on every run."""
    return sum(ord(letter) * 31**place for place, letter in enumerate(text)) % 2**31
