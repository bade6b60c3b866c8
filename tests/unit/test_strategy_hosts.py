"""Several strategies in one walk: the calendar's order decides, and each is told its own."""

from decimal import Decimal

from bot.actors.strategy_hosts import StrategyHosts
from bot.core.calendar import NEVER
from bot.core.effects import Notice
from bot.domain.market import BarBatch, MarketSlab
from bot.domain.orders import OrderFilled, Target
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar
from tests.support.money import BTC, NAME, bars, dec, filled

SCALE_NS = 10


class Buyer(Strategy[StrategyParams]):
    """Wants as much as it has seen bars, at every so-manieth."""

    scales_ns = (SCALE_NS,)

    def __init__(self, name: str, every: int) -> None:
        super().__init__(StrategyParams())
        self.name, self.every, self.seen = name, every, 0
        self.fills: list[Decimal] = []

    def on_bar(self, bar: Bar) -> Target | None:
        self.seen += 1
        return self.target(NAME, Decimal(self.seen), reason="more") if self.seen % self.every == 0 else None

    def on_fill(self, fill: OrderFilled) -> None:
        self.fills.append(fill.qty)


def slab(batch: BarBatch) -> MarketSlab:
    return MarketSlab(instrument=BTC, watermark_ns=10_000, bars={SCALE_NS: batch})


def test_rows_are_told_in_the_calendars_order_and_in_the_order_of_the_strategies() -> None:
    """The second bar's wish of the one comes before the third bar of the other."""
    one, two = Buyer("one", 3), Buyer("two", 2)
    hosts = StrategyHosts([one, two], [BTC])
    hosts.slab(slab(bars([(n * SCALE_NS, 1000, 1000, 1000, 1000) for n in range(6)])), 0)
    seen = []
    while hosts.next_key() != NEVER:
        wishes, time_ns = hosts.walk(NEVER)
        seen += [(time_ns, wish.strategy, wish.action.qty) for wish in wishes]  # type: ignore[union-attr]
        assert abs(one.seen - two.seen) <= 1
    assert seen == [
        (20, "two", dec(2)),
        (30, "one", dec(3)),
        (40, "two", dec(4)),
        (60, "one", dec(6)),
        (60, "two", dec(6)),
    ]


def test_nothing_is_told_beyond_the_horizon() -> None:
    one, two = Buyer("one", 100), Buyer("two", 100)
    hosts = StrategyHosts([one, two], [BTC])
    hosts.slab(slab(bars([(n * SCALE_NS, 1000, 1000, 1000, 1000) for n in range(6)])), 0)
    hosts.next_key()
    assert hosts.walk((35, 0, 0, 0))[0] == []
    assert (one.seen, two.seen) == (3, 3)


def test_a_part_is_told_to_its_owner_alone() -> None:
    """Each believes its own book."""
    one, two = Buyer("one", 1), Buyer("two", 1)
    hosts = StrategyHosts([one, two], [BTC])
    hosts.notice(Notice(order=None, event=filled(qty="3"), strategy="two"), 5)
    assert (one.fills, two.fills) == ([], [dec(3)])
    assert (one.position(NAME).qty, two.position(NAME).qty) == (0, dec(3))
