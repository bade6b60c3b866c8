"""Several strategies in one walk of the market: each sees its own book; the calendar decides who is next."""

from collections.abc import Mapping, Sequence

from bot.actors.strategy_host import StrategyHost
from bot.core.calendar import NEVER, Key
from bot.core.effects import Notice, Wish
from bot.core.filters import FiltersTold
from bot.core.order import Order
from bot.core.stops import Stops
from bot.domain.account import Position
from bot.domain.instrument import Instrument
from bot.domain.market import MarketSlab
from bot.ports import StrategySpec

_STREAMS = 100_000  # more than one strategy can follow: no two have a key in common


class StrategyHosts:
    """What `StrategyHost` is for one strategy, for several.

    Args:
        strategies: in the order in which they are asked at one and the same moment.
        instruments: what is traded.
    """

    def __init__(self, strategies: Sequence[StrategySpec], instruments: Sequence[Instrument]) -> None:
        self._hosts = {
            each.name: StrategyHost(each, instruments, first_stream=number * _STREAMS)
            for number, each in enumerate(strategies)
        }
        self._keys: dict[str, Key] = dict.fromkeys(self._hosts, NEVER)

    def take_up_own(
        self, strategy: str, positions: Sequence[Position], orders: Sequence[Order], stops: Mapping[str, Stops]
    ) -> None:
        """Let one of them begin with what an earlier run left it."""
        self._hosts[strategy].take_up(positions, orders, stops)

    def begin(self, now_ns: int) -> None:
        """See `StrategyHost`."""
        for host in self._hosts.values():
            host.begin(now_ns)

    def slab(self, slab: MarketSlab, now_ns: int) -> None:
        """See `StrategyHost`."""
        for host in self._hosts.values():
            host.slab(slab, now_ns)

    def refit(self, told: FiltersTold) -> None:
        """See `StrategyHost`."""
        for host in self._hosts.values():
            host.refit(told)

    def notice(self, notice: Notice, now_ns: int) -> list[Wish]:
        """Tell whom it concerns, all of them where it names nobody; return what they want."""
        hosts = [self._hosts[notice.strategy]] if notice.strategy else self._hosts.values()
        return [wish for host in hosts for wish in host.notice(notice, now_ns)]

    def next_key(self) -> Key:
        """Return the least key that could matter to any."""
        self._keys = {name: host.next_key() for name, host in self._hosts.items()}
        return min(self._keys.values())

    def walk(self, horizon: Key) -> tuple[list[Wish], int]:
        """Tell each of its rows before `horizon` in the calendar's order, until one wants something."""
        time_ns = 0
        while True:
            name = min(self._keys, key=self._keys.__getitem__)
            if self._keys[name] >= horizon:
                return [], time_ns
            rest = [key for other, key in self._keys.items() if other != name]
            wishes, time_ns = self._hosts[name].walk(min([horizon, *rest]))
            if wishes:
                return wishes, time_ns
            self._keys[name] = self._hosts[name].next_key()
