"""The one gate through which an instrument's trades go on: in order, each once, and never past a hole unseen.

Sans-IO. While the stream flows, trades pass. When it breaks the gate shuts: what comes is held, and the newest trades
are asked for by REST. If they reach back to the last one that passed, none was lost: the missing ones go on in their
place, and nobody behind the gate notices. If they do not, the venue's own minutes are asked for once they have closed,
and a `TradeHole` goes on with all that is known.

A frame that is lost leaves no mark in the stream of trades, so the venue's own minutes are listened to while it flows
(`trade_claims`): where one claims more than has passed, trades are missing. Nor is a silence believed: a watermark goes
on only as far as the venue's minutes agree with what has passed. And when a minute has ended, trades of the next wait
for the venue's last word on it, for a second at most, longer only while trades are missing.

Source: Bybit V5, `publicTrade`, `kline`, `market/recent-trade`; faults M7, N6 and N7 of the fault catalogue.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

import msgspec
import numpy as np

from bot.domain.instrument import Instrument
from bot.domain.market import NO_FLOW, BarBatch, TradeBatch, TradeHole
from bot.venues.bybit.backoff import Backoff
from bot.venues.bybit.decode import TradeDecoder
from bot.venues.bybit.history_pages import PAGE_BARS
from bot.venues.bybit.instrument_feed import Claim
from bot.venues.bybit.next_minute import NextMinute, Trades, chosen
from bot.venues.bybit.public_answers import without_flow
from bot.venues.bybit.trade_claims import MINUTE_NS, TradeClaims
from bot.venues.bybit.wire import WireTrade

_MS = 1_000_000
_NEVER_NS = 2**62
_S = 1_000 * _MS

FIRST_TRADE_NS = 300 * _MS  # how long the first trade after a break is waited for before the newest are asked for
SETTLE_NS = 1_500 * _MS  # after its close a minute is told as it will stay
DISTRUST_CLAIMS_NS = 600 * _S  # claims that proved wrong are not listened to for so long
RECENT_TRIES = 8
KLINE_TRIES = 6

Passed = TradeBatch | TradeHole | BarBatch | int


class Phase(StrEnum):
    """What the gate does."""

    WARMING = "warming"  # asks for the past, before any trade
    SHUT = "shut"  # holds what comes, until the venue has confirmed that it sends
    ASKING = "asking"  # for the newest trades
    LOST = "lost"  # waits until the minutes of a hole have closed
    ASKING_KLINES = "asking klines"
    OPEN = "open"


class NewestTrades(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for the newest trades."""


class Minutes(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for the venue's own minutes that open within [from_ns, to_ns)."""

    from_ns: int
    to_ns: int


Question = NewestTrades | Minutes


class TradeGate:
    """Of one instrument.

    Args:
        instrument: whose.
        decoder: of its stream: it knows which trades have come.
        start_ns: trades before it are not wanted; on a minute.
        history_ns: how far back of it the venue's own minutes are asked for first.
        step_ns: of the shortest bars: watermarks lie on multiples of it.
        quiet_ns: a quiet time is believed so long after it.
        lateness_ns: how long after their close bars take trades.
        confirm_ns: how long the venue's last word on a minute is waited for before trades of the next pass; 0: not.
        seed, stream: of the waits between questions.
    """

    def __init__(
        self,
        instrument: Instrument,
        decoder: TradeDecoder,
        *,
        start_ns: int,
        history_ns: int = 0,
        step_ns: int = _S,
        quiet_ns: int = _S,
        lateness_ns: int = 0,
        confirm_ns: int = 0,
        seed: int = 0,
        stream: int = 0,
    ) -> None:
        self._instrument = instrument
        self._decoder = decoder
        self._start_ns = start_ns
        self._step_ns = step_ns
        self._quiet_ns = quiet_ns
        self._lateness_ns = lateness_ns
        self._confirm_ns = confirm_ns
        self._waits = Backoff(seed=seed, stream=stream)
        self._rows = 0
        self._anchor = ""  # the last trade that passed
        self._anchor_ns = start_ns
        self._held: list[Trades] = []
        self._next = NextMinute()
        self._now_ns = 0
        self._first_id = ""  # of the trades that came since the venue last confirmed that it sends
        self._confirmed_ns = 0  # since when, 0 while it has not
        self._lost: tuple[int, int] | None = None  # a hole that waits for the minutes it touches
        self._question_ns = 0  # when to ask next
        self._tries = 0
        self._history: list[BarBatch] = []
        self._history_ns = start_ns - history_ns // MINUTE_NS * MINUTE_NS
        self._watermark_ns = 0
        self._claims = TradeClaims(start_ns)
        self._passed: list[Passed] = []
        self.phase = Phase.WARMING if history_ns else Phase.SHUT
        self.reason = "starting"  # why it is shut
        self.holes = 0  # that trades were lost in
        self.healed = 0  # breaks in which none was
        self.complaint = ""  # something that a person should hear, told once

    @property
    def is_open(self) -> bool:
        """Return whether trades pass as they come."""
        return self.phase is Phase.OPEN

    @property
    def is_asking(self) -> bool:
        """Return whether it waits for an answer that a break of the stream makes worthless."""
        return self.phase in (Phase.ASKING, Phase.LOST, Phase.ASKING_KLINES)

    @property
    def is_suspicious(self) -> bool:
        """Return whether the venue's minutes claim trades that have not come, and the stream should begin anew."""
        return self.is_open and self._claims.is_overdue

    def take(self) -> list[Passed]:
        """Return what has passed since it was last asked, in order."""
        passed, self._passed = self._passed, []
        return passed

    # --- events -------------------------------------------------------------------------------------------------------

    def on_trades(self, batch: TradeBatch, ids: list[str]) -> None:
        """Take trades of the stream, at least one."""
        if self.phase is Phase.OPEN:
            times: list[int] = batch.ts_ns.tolist()
            late_ns = self._late_ns(times)
            if late_ns is None:
                self._admit(batch, ids, times)
            else:
                self._lose(late_ns, late_ns + 1, batch, ids)
            return
        self._first_id = self._first_id or ids[0]
        self._held.append((batch, ids))

    def on_claims(self, claims: Sequence[Claim]) -> None:
        """Take what the venue's own minutes claim."""
        if self.is_open:
            for claim in claims:
                if not self._next.hold_back(claim, self._minute_end_ns):
                    self._claims.hear(claim)
            self._admit_next()
            if self._claims.is_contradicted:
                self._distrust_claims(claims[-1].known_ns, "more has traded than the venue's own minute tells")

    def shut(self, reason: str) -> None:
        """Let nothing pass: the stream has broken, and what comes next may have a hole before it."""
        self._first_id, self._confirmed_ns = "", 0
        self.reason = reason
        self._held += self._next.take()[0]
        if self.phase is not Phase.WARMING:
            self.phase = Phase.SHUT
            self._question_ns = 0 if self._question_ns == _NEVER_NS else self._question_ns

    def step(self, now_ns: int, *, is_confirmed: bool) -> Question | None:
        """Let time pass; return what is to be asked now.

        Args:
            now_ns: the time.
            is_confirmed: the venue has confirmed that it sends the trades.
        """
        self._now_ns = now_ns
        if self.phase is Phase.OPEN:
            self._claims.look(now_ns)
            self._admit_next()
            self._raise_watermark(now_ns)
            return None
        if is_confirmed:
            self._confirmed_ns = self._confirmed_ns or now_ns
        if now_ns < self._question_ns:
            return None
        match self.phase:
            case Phase.WARMING:
                to_ns = min(self._history_ns + PAGE_BARS * MINUTE_NS, self._start_ns)
                return self._ask(Minutes(from_ns=self._history_ns, to_ns=to_ns))
            case Phase.SHUT if self._confirmed_ns and (self._first_id or now_ns - self._confirmed_ns > FIRST_TRADE_NS):
                self.phase = Phase.ASKING
                return self._ask(NewestTrades())
            case Phase.LOST:
                assert self._lost is not None
                span = _minutes(*self._lost)
                if now_ns >= span[1] + SETTLE_NS:
                    self.phase = Phase.ASKING_KLINES
                    return self._ask(Minutes(from_ns=span[0], to_ns=min(span[1], span[0] + PAGE_BARS * MINUTE_NS)))
        return None

    def on_failed(self, now_ns: int) -> None:
        """Learn that a question has not been answered usably: it will be asked again, later each time."""
        self._question_ns = now_ns + self._waits.wait_ns(self._tries)
        self._tries += 1
        match self.phase:
            case Phase.ASKING:
                self.phase = Phase.SHUT
            case Phase.ASKING_KLINES:
                self.phase = Phase.LOST
            case _:
                pass

    def on_recent(self, trades: Sequence[WireTrade], now_ns: int) -> None:
        """Take the newest trades, the oldest first."""
        if self.phase is not Phase.ASKING:
            return  # it was asked before the stream broke again
        ids = [trade.i for trade in trades]
        if self._first_id and self._first_id not in ids and self._tries < RECENT_TRIES:
            self.on_failed(now_ns)  # the answer lags behind the stream
            return
        at = ids.index(self._anchor) + 1 if self._anchor in ids else -1
        if not self._anchor:  # nothing has passed yet: all from the start on
            at = next((n for n, trade in enumerate(trades) if self._start_ns <= trade.T * _MS), len(trades))
            at = -1 if at == 0 else at  # only one from before the start proves that none is missing after it
        whole_ns = self._claims.whole_from_ns
        late = [t for t in trades[: max(at, 0)] if self._anchor and whole_ns <= t.T * _MS and self._is_news(t)]
        is_short = bool(self._first_id) and self._first_id not in ids
        after = [*late, *trades[max(at, 0) :]]
        known, known_ids = self._compose(after)
        self._tries = 0
        overdue_ns = self._late_ns(known.ts_ns.tolist())
        if at >= 0 and not late and not is_short and self._lost is None and overdue_ns is None:
            self._open(known, known_ids, now_ns)
            return
        to_ns = trades[0].T * _MS if at < 0 and trades else self._anchor_ns + 1
        if is_short or not trades:
            to_ns = int(self._held[-1][0].ts_ns[0]) if self._held else now_ns
        from_ns = late[0].T * _MS if late else self._anchor_ns
        from_ns = from_ns if overdue_ns is None else min(from_ns, overdue_ns)
        self._lose(from_ns, max(to_ns, self._anchor_ns + 1), known, known_ids)

    def on_klines(self, bars: BarBatch, question: Minutes, now_ns: int) -> None:
        """Take the venue's own minutes that were asked for."""
        if self.phase is Phase.WARMING and question.from_ns == self._history_ns:
            self._tries = 0
            if len(bars):
                self._history.append(without_flow(bars, NO_FLOW))
            self._history_ns = question.to_ns
            self._question_ns = 0
            if question.to_ns >= self._start_ns:
                self._begin()
        elif self.phase is Phase.ASKING_KLINES:
            wanted = (question.to_ns - question.from_ns) // MINUTE_NS
            if len(bars) < wanted and self._tries < KLINE_TRIES:
                self.on_failed(now_ns)
                return
            self._tries = 0
            self._fill(bars if len(bars) == wanted else None, now_ns)

    # --- passing ------------------------------------------------------------------------------------------------------

    def _admit(self, batch: TradeBatch, ids: list[str], times: list[int]) -> None:
        """Let trades pass, but for those of a minute that has to wait."""
        end_ns = self._minute_end_ns
        if max(times) >= end_ns and self._awaits_close:
            batch, ids = self._next.keep(batch, ids, end_ns)
        if ids:
            self._pass(batch, ids[-1])
        self._admit_next()

    def _admit_next(self) -> None:
        """Let the next minute's trades pass, unless they still have to wait."""
        if self._next.trades and not self._awaits_close:
            trades, claims = self._next.take()
            for batch, ids in trades:
                self._pass(batch, ids[-1])
            for claim in claims:
                self._claims.hear(claim)

    @property
    def _minute_end_ns(self) -> int:
        """Return the end of the minute of the newest trade that has passed."""
        return (self._anchor_ns // MINUTE_NS + 1) * MINUTE_NS

    @property
    def _awaits_close(self) -> bool:
        """Return whether what is behind that minute's end waits for the venue's last word on it."""
        end_ns = self._minute_end_ns
        if not self._confirm_ns or not self._claims.expects_close(end_ns, self._now_ns):
            return False
        return self._now_ns < end_ns + self._confirm_ns or self._claims.doubts_until(end_ns)

    def _pass(self, batch: TradeBatch, last_id: str) -> None:
        if len(batch):
            self._anchor, self._anchor_ns = last_id, max(self._anchor_ns, int(batch.ts_ns[-1]))
            self._claims.meet(batch)
            self._passed.append(self._numbered(batch))

    def _late_ns(self, times: list[int]) -> int | None:
        """Return the time of a trade that comes after its bar has closed, None where there is none."""
        if not times or not self._anchor:
            return None
        first_ns = min(times)
        close_ns = (first_ns // self._step_ns + 1) * self._step_ns + self._lateness_ns
        return first_ns if close_ns <= max(self._anchor_ns, self._watermark_ns) else None

    def _numbered(self, batch: TradeBatch) -> TradeBatch:
        """Return a batch with the row numbers of what passes."""
        first_row, self._rows = self._rows, self._rows + len(batch)
        return batch if batch.first_row == first_row else replace(batch, first_row=first_row)

    def _raise_watermark(self, now_ns: int) -> None:
        believed_ns = min(now_ns, self._claims.verified_ns(now_ns)) - self._quiet_ns
        if believed_ns >= self._minute_end_ns and self._awaits_close:
            believed_ns = self._minute_end_ns - 1
        mark_ns = believed_ns // self._step_ns * self._step_ns
        if mark_ns > max(self._watermark_ns, self._anchor_ns):
            self._watermark_ns = mark_ns
            self._passed.append(mark_ns)

    def _begin(self) -> None:
        """Let the past pass, and wait for the stream."""
        if self._history:
            bars = BarBatch.join(self._history)
            self._passed.append(replace(bars, first_row=0))
            self._history = []
        self.phase = Phase.SHUT

    def _open(self, known: TradeBatch, ids: list[str], now_ns: int) -> None:
        """Let what was held pass, and what comes."""
        self.phase, self.reason = Phase.OPEN, ""
        self._held = []
        self.healed += bool(self._anchor)
        had_doubt, self._claims.is_overdue = self._claims.is_overdue, False
        if len(known):
            self._pass(known, ids[-1])
        if had_doubt and self._claims.is_unmet:
            self._distrust_claims(now_ns, "the venue's own minutes tell of trades that it does not know")

    def _lose(self, from_ns: int, to_ns: int, known: TradeBatch, ids: list[str]) -> None:
        """Wait until the minutes of a hole have closed."""
        if self._lost is not None:
            from_ns, to_ns = min(from_ns, self._lost[0]), max(to_ns, self._lost[1])
        self._lost = from_ns, to_ns
        self._held = [*self._next.take()[0], (known, ids)]
        self._question_ns = 0
        self.phase, self.reason = Phase.LOST, "trades were lost"

    def _fill(self, klines: BarBatch | None, now_ns: int) -> None:
        """Let the hole pass with what is known of it, and go on behind it."""
        assert self._lost is not None
        (from_ns, to_ns), self._lost = self._lost, None
        until_ns = _minutes(from_ns, to_ns)[1]
        batch, ids = self._compose([])
        split = int(np.argmax(batch.ts_ns >= until_ns)) if (batch.ts_ns >= until_ns).any() else len(batch)
        before, after = batch.rows(0, split), batch.rows(split, len(batch))
        self._held = []
        self.holes += 1
        self._passed.append(
            TradeHole(
                instrument=self._instrument,
                from_ns=from_ns,
                to_ns=to_ns,
                until_ns=until_ns,
                trades=self._numbered(before),
                klines=klines,
            )
        )
        if split:
            self._anchor, self._anchor_ns = ids[split - 1], max(self._anchor_ns, int(before.ts_ns[-1]))
        self._anchor_ns = max(self._anchor_ns, until_ns)
        self._start_ns = self._start_ns if self._anchor else until_ns
        self._watermark_ns = until_ns
        self._claims.begin_anew(until_ns)
        self.phase, self.reason = Phase.OPEN, ""
        if len(after):
            self._pass(after, ids[-1])
        self.complaint = f"trades of {(to_ns - from_ns) / _S:.1f} s were lost" + (
            "" if klines is not None else ", and the venue's own minutes of that time could not be had"
        )

    def _compose(self, told: Sequence[WireTrade]) -> tuple[TradeBatch, list[str]]:
        """Return trades that REST told and those that were held, each once; REST's come in the venue's own order."""
        wanted = [trade for trade in told if not trade.BT]
        batch = self._decoder.decode_again(wanted)
        told_ids = list(self._decoder.ids)
        are_told = set(told_ids)
        early: list[TradeBatch] = []
        late: list[TradeBatch] = []
        early_ids: list[str] = []
        late_ids: list[str] = []
        first_ns = int(batch.ts_ns[0]) if len(batch) else 2**62
        for held, ids in self._held:
            own = np.array([each not in are_told for each in ids], dtype=np.bool_) & (held.ts_ns >= self._start_ns)
            before = own & (held.ts_ns < first_ns) if len(batch) else own
            for part, part_ids, keep in ((early, early_ids, before), (late, late_ids, own & ~before)):
                if keep.any():
                    kept, kept_ids = chosen(held, ids, keep)
                    part.append(kept)
                    part_ids += kept_ids
        return TradeBatch.join([*early, batch, *late]), [*early_ids, *told_ids, *late_ids]

    def _is_news(self, trade: WireTrade) -> bool:
        return not trade.BT and not self._decoder.has_seen(trade.i)

    def _distrust_claims(self, now_ns: int, why: str) -> None:
        self._claims.ignore_until(now_ns + DISTRUST_CLAIMS_NS)
        self.complaint = f"{why}; the minutes are not held against the trades for ten minutes"

    def _ask(self, question: Question) -> Question:
        self._question_ns = _NEVER_NS  # not again before it is answered, or shut
        return question


def _minutes(from_ns: int, to_ns: int) -> tuple[int, int]:
    """Return the minutes that [from_ns, to_ns) touches, as a range."""
    return from_ns // MINUTE_NS * MINUTE_NS, -(-to_ns // MINUTE_NS) * MINUTE_NS
