"""A market in memory, whose future can be changed: what look-ahead checks replay again and again."""

from collections.abc import Iterator, Sequence
from typing import Any

from bot.core.lookahead import MakeGenerator
from bot.core.perturb import Kind, known_times, perturb
from bot.domain.errors import DataError
from bot.domain.instrument import Instrument
from bot.domain.market import BarBatch, FundingBatch, TradeBatch
from bot.ports import Histories


class HeldHistory:
    """A `ports.MarketHistory` in memory.

    Args:
        instrument: what it is of.
        parts: its rows, one batch after another.
        funding: settled rates.
        scale_ns: the length of its bars, None where it holds trades.
    """

    def __init__(
        self,
        instrument: Instrument,
        parts: Sequence[TradeBatch] | Sequence[BarBatch],
        funding: FundingBatch | None,
        scale_ns: int | None,
    ) -> None:
        self._instrument = instrument
        self._parts: list[Any] = [part for part in parts if len(part)]
        self._funding = funding
        self._scale_ns = scale_ns

    @property
    def source_scale_ns(self) -> int | None:
        """See `ports.MarketHistory`."""
        return self._scale_ns

    def span_ns(self) -> tuple[int, int]:
        """See `ports.MarketHistory`."""
        if not self._parts:
            raise DataError(
                f"{self._instrument.name}: no market data in the range tried; choose another with --from and --to"
            )
        return int(row_times(self._parts[0])[0]), int(row_times(self._parts[-1])[-1]) + (self._scale_ns or 1)

    def slabs(self, rows: int) -> Iterator[Any]:
        """See `ports.MarketHistory`. A slab may hold rows of two parts: where they meet does not show."""
        pending: list[Any] = []
        room = rows
        for part in self._parts:
            start = 0
            while start < len(part):
                piece = part.rows(start, min(start + room, len(part)))
                pending.append(piece)
                start, room = start + len(piece), room - len(piece)
                if not room:
                    yield type(part).join(pending)
                    pending, room = [], rows
        if pending:
            yield type(pending[0]).join(pending)

    def funding(self) -> FundingBatch | None:
        """See `ports.MarketHistory`."""
        return self._funding

    def whole(self) -> Any:
        """Return all rows in one batch; there must be one."""
        if len(self._parts) > 1:
            self._parts = [type(self._parts[0]).join(self._parts)]
        return self._parts[0]

    def changed(self, after_ns: int, kind: Kind, make_generator: MakeGenerator, *, rows_max: int) -> "HeldHistory":
        """Return the same past with another future, of at most `rows_max` rows.

        A source's bar that is forming at `after_ns` keeps its open: the simulated venue fills there.
        """
        whole, name = self.whole(), f"{self._instrument.name} {kind} {after_ns}"
        keep = int(known_times(whole).searchsorted(after_ns, side="right"))
        last = max(keep - 1, 0)  # what is constant is so at the last known price
        end = whole.rows(last, min(keep + rows_max, len(whole)))
        end = perturb(end, after_ns, kind, make_generator(name), keep_forming_open=True)
        funding = self._funding
        if funding is not None:
            funding = perturb(funding, after_ns, kind, make_generator(f"funding {name}"))
        return HeldHistory(self._instrument, [whole.rows(0, last), end], funding, self._scale_ns)


Held = Sequence[tuple[Instrument, HeldHistory]]


def hold(market: Histories, *, days_max: int | None = None, rows_max: int | None = None) -> tuple[Held, int | None]:
    """Read a market into memory, as much of its beginning as the limits allow.

    Args:
        days_max: so many days from each instrument's first row; None for all.
        rows_max: and about so many rows of each.

    Returns:
        the market, and the time before which its rows lie if a limit has cut it short, else None.

    Raises:
        DataError: there is no market data, or it is damaged.
    """
    limits_ns: list[int] = []
    read: list[list[Any]] = []
    for _, history in market:
        start_ns, end_ns = history.span_ns()
        limit_ns = end_ns if days_max is None else start_ns + days_max * _DAY_NS
        parts, rows = [], 0
        for slab in history.slabs(_READ_ROWS):
            parts.append(slab)
            rows += len(slab)
            last_ns = int(row_times(slab)[-1])
            if rows_max is not None and rows > rows_max:
                limit_ns = min(limit_ns, last_ns)
            if last_ns >= limit_ns:
                break
        read.append(parts)
        limits_ns += [limit_ns] if limit_ns < end_ns else []
    limit_ns = min(limits_ns, default=2**62)
    held = []
    for (instrument, history), parts in zip(market, read, strict=True):
        inside: list[Any] = [part.rows(0, int(row_times(part).searchsorted(limit_ns))) for part in parts]
        held.append((instrument, HeldHistory(instrument, inside, history.funding(), history.source_scale_ns)))
    return held, limit_ns if limits_ns else None


def row_times(rows: TradeBatch | BarBatch) -> Any:
    """Return what a range of a history goes by: when each trade was, when each bar opened."""
    return rows.ts_ns if isinstance(rows, TradeBatch) else rows.open_ns


_DAY_NS = 86_400_000_000_000
_READ_ROWS = 65_536
