"""What to ask Bybit next until a stretch of history is whole, and what its answers leave missing.

Pure: `ask` names the next question, `answer` takes what came back. Whoever holds a walk does the requests, repeats
the ones that fail, and stores what `take` hands out.

Bars are asked forwards in windows of one full page, both ends given, so that nothing depends on which rows the venue
drops from a longer range. Funding is asked backwards by its end alone, the one form whose answer is documented: the
last 200 rates up to then.

Source: Bybit V5 `market/kline` and `market/history-fund-rate`.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from bot.domain.market import I64
from bot.venues.bybit.history_pages import (
    INTERVALS,
    MS,
    PAGE_BARS,
    PAGE_FUNDING,
    Ask,
    BadPage,
    BarTexts,
    Refused,
    Rows,
    bar_complaint,
    bar_rows,
    funding_rows,
    iso,
    rate_complaint,
    read_bars,
    read_funding,
)

Stretch = tuple[int, int]  # [from_ns, to_ns)
Series = Literal["kline", "mark-price-kline", "index-price-kline"]

_HOUR_NS = 3_600_000_000_000
_DAY_NS = 24 * _HOUR_NS
_FAR_NS = 2**62
LONGEST_NS = 8 * _HOUR_NS  # the longest schedule of funding


class BarWalk:
    """The bars of one symbol that open within some stretches of time, from the oldest to the newest.

    Args:
        series: traded bars, or those of the mark or index price.
        step_ns: the bars' length, one of `INTERVALS`.
        stretches: what is wanted, ascending and apart; their ends are multiples of `step_ns`.
        closed_by_ns: no bar that closes later is asked for or kept: it may still be forming.
    """

    def __init__(
        self,
        *,
        series: Series,
        category: str,
        symbol: str,
        step_ns: int,
        stretches: Sequence[Stretch],
        closed_by_ns: int,
    ) -> None:
        self._series: Series = series
        self._about = {"category": category, "symbol": symbol}
        self._step_ns = step_ns
        self._width = 7 if series == "kline" else 5
        self._end_ns = closed_by_ns // step_ns * step_ns
        self._todo = [(lo, min(hi, self._end_ns)) for lo, hi in stretches if lo < min(hi, self._end_ns)]
        self._missing: set[int] = set()  # opens, in ms, of the window being asked for
        self._window: Stretch | None = None
        self._asks = 0  # of this window
        self._bars: dict[int, BarTexts] = {}  # by open, in ms
        self._extra: dict[int, BarTexts] = {}  # that came unasked: what is asked for later must agree
        # From its first day with a bar to the end of its last; unknown until a whole window comes back empty.
        self._life: Stretch | None = (-_FAR_NS, _FAR_NS) if step_ns >= _DAY_NS else None
        self._probe: _Probe | None = None
        self.absent: list[Stretch] = []  # asked for twice, and not there
        self.refused: dict[int, Refused] = {}  # by open, in ns

    @property
    def done_until_ns(self) -> int:
        """Return the time before which nothing is left to ask; 2**62 at the end."""
        return self._todo[0][0] if self._todo else _FAR_NS

    def ask(self) -> Ask | None:
        """Return the next question; None when there is none left."""
        if self._probe is not None:
            return self._question(INTERVALS[_DAY_NS], *self._probe.span_ns())
        if self._window is None:
            self._open_window()
        if self._window is None:
            return None
        span_ns = min(self._missing) * MS, max(self._missing) * MS + self._step_ns
        return self._question(INTERVALS[self._step_ns], *span_ns)

    def answer(self, result: Any) -> int:
        """Take the answer to the last question; return how many bars it brought.

        Raises:
            BadPage: it cannot be the answer; nothing is taken, and `ask` asks the same again.
        """
        ask = self.ask()
        if ask is None:
            raise ValueError("nothing was asked")
        if self._probe is not None:
            self._probe.answer(read_bars(result, ask, step_ns=_DAY_NS, width=self._width))
            if self._probe.life is not None:
                self._life, self._probe = self._probe.life, None
            return 0
        assert self._window is not None
        new = self._news(read_bars(result, ask, step_ns=self._step_ns, width=self._width), self._window)
        self._asks += 1
        self._bars.update(new)
        for open_ms in new:
            self._missing.discard(open_ms)
            self.refused.pop(open_ms * MS, None)
        is_empty = len(self._missing) * self._step_ns == self._window[1] - self._window[0]
        if is_empty and self._life is None:
            self._window, self._probe = None, _Probe(self._todo[0][0], self._todo[-1][1])
        elif not self._missing or (not new and self._asks > 1):
            self._close_window()
        return len(new)

    def take(self, before_ns: int) -> Rows:
        """Hand out, and forget, the bars that open before a time; none of them is handed out twice."""
        taken = {open_ms: texts for open_ms, texts in self._bars.items() if open_ms * MS < before_ns}
        for open_ms in taken:
            del self._bars[open_ms]
        return bar_rows(taken)

    def _question(self, interval: str, from_ns: int, to_ns: int) -> Ask:
        # `end` is the last ms inside, so that it does not matter whether the venue counts it in.
        span = {"start": from_ns // MS, "end": to_ns // MS - 1, "limit": PAGE_BARS}
        return Ask(endpoint=self._series, params={**self._about, "interval": interval, **span})

    def _open_window(self) -> None:
        while self._todo and self._life is not None:
            lo, hi = self._todo[0]
            if lo < self._life[0]:
                self._skip_to(min(hi, self._life[0]))
            elif lo >= self._life[1]:
                self._skip_to(hi)
            else:
                break
        if self._todo:
            lo, hi = self._todo[0]
            self._window = lo, min(hi, lo + PAGE_BARS * self._step_ns)
            self._missing = set(range(lo // MS, self._window[1] // MS, self._step_ns // MS))
            self._asks = 0

    def _close_window(self) -> None:
        assert self._window is not None
        for lo, hi in _runs_of(sorted(self._missing), self._step_ns // MS):
            self._add_absent(lo * MS, hi * MS)
        self._extra = {open_ms: texts for open_ms, texts in self._extra.items() if open_ms * MS >= self._window[1]}
        self._todo[0] = self._window[1], self._todo[0][1]
        self._drop_done()
        self._window = None

    def _skip_to(self, to_ns: int) -> None:
        lo, hi = self._todo[0]
        self._add_absent(lo, to_ns)
        self._todo[0] = to_ns, hi
        self._drop_done()

    def _drop_done(self) -> None:
        if self._todo[0][0] >= self._todo[0][1]:
            del self._todo[0]

    def _add_absent(self, lo: int, hi: int) -> None:
        if self.absent and self.absent[-1][1] == lo:
            lo = self.absent.pop()[0]
        self.absent.append((lo, hi))

    def _news(self, page: dict[int, BarTexts], window: Stretch) -> dict[int, BarTexts]:
        """Return the page's bars that were missing, once the others agree with what is known."""
        step_ms = self._step_ns // MS
        reach_ms = PAGE_BARS * step_ms
        new, extra, refused = {}, {}, {}
        # What closes after the end was still forming when we began: it may differ each time, and is nobody's.
        closed = {open_ms: texts for open_ms, texts in page.items() if (open_ms + step_ms) * MS <= self._end_ns}
        if closed and not any(window[0] <= open_ms * MS < window[1] for open_ms in closed):
            raise BadPage(f"asked from {iso(window[0])} to {iso(window[1])}, got a bar of {iso(max(closed) * MS)}")
        for open_ms, texts in closed.items():
            if not window[0] // MS - reach_ms <= open_ms < window[1] // MS + reach_ms:
                raise BadPage(f"asked from {iso(window[0])} to {iso(window[1])}, got a bar of {iso(open_ms * MS)}")
            known = self._bars.get(open_ms, self._extra.get(open_ms, texts))
            if not _are_same(known, texts):
                raise BadPage(f"the bar of {iso(open_ms * MS)} was {', '.join(known)}, and now {', '.join(texts)}")
            if open_ms in self._missing:
                if (complaint := bar_complaint(texts)) is None:
                    new[open_ms] = texts
                else:
                    refused[open_ms * MS] = Refused(ts_ns=open_ms * MS, reason=complaint, text=", ".join(texts)[:200])
            elif open_ms not in self._bars:
                extra[open_ms] = texts
        self._extra.update(extra)
        self.refused.update(refused)
        return new


class _Probe:
    """Finds the first and the last day of a range that has a bar, by the venue's daily bars.

    A minute's walk over the years before a symbol was listed would be a thousand questions; this is two in 1000 days.
    Every question is asked twice: a day that one answer left out by mistake would cost all its minutes.
    """

    def __init__(self, from_ns: int, to_ns: int) -> None:
        self._at_ns = from_ns // _DAY_NS * _DAY_NS
        self._to_ns = to_ns
        self._is_second = False
        self._first_ns, self._last_ns = _FAR_NS, -_FAR_NS
        self.life: Stretch | None = None  # known once the range is walked

    def span_ns(self) -> Stretch:
        """Return what to ask for."""
        return self._at_ns, min(self._at_ns + PAGE_BARS * _DAY_NS, -(-self._to_ns // _DAY_NS) * _DAY_NS)

    def answer(self, days: dict[int, BarTexts]) -> None:
        from_ns, to_ns = self.span_ns()
        inside_ns = [open_ms * MS for open_ms in days if from_ns <= open_ms * MS < to_ns]
        if days and not inside_ns:
            raise BadPage(f"asked from {iso(from_ns)} to {iso(to_ns)}, got a bar of {iso(min(days) * MS)}")
        self._first_ns = min([self._first_ns, *inside_ns])
        self._last_ns = max([self._last_ns, *inside_ns])
        self._is_second = not self._is_second
        if not self._is_second:
            self._at_ns = to_ns
            if to_ns >= self._to_ns:
                self.life = self._first_ns, self._last_ns + _DAY_NS


class FundingWalk:
    """The settled funding rates of one symbol within [from_ns, to_ns), from the newest to the oldest.

    The venue changes a symbol's schedule without notice, so no grid tells what is missing. A step that is longer than
    the longest schedule, or longer than both its neighbours, is asked again, and named in `holes` if it stays.
    """

    def __init__(self, *, category: str, symbol: str, from_ns: int, to_ns: int, longest_ns: int = LONGEST_NS) -> None:
        self._about = {"category": category, "symbol": symbol}
        self._from_ms, self._to_ms = -(-from_ns // MS), -(-to_ns // MS)
        self._longest_ms = longest_ns // MS
        self._end_ms = self._to_ms + self._longest_ms - 1  # the newest that is still unknown
        self._rates: dict[int, str] = {}  # by settlement, in ms; also some before and after the range, as neighbours
        self._empty_answers = 0
        self._suspects: list[tuple[int, int]] | None = None  # None until the walk has reached the beginning
        self._asked_again: set[tuple[int, int]] = set()
        self.holes: list[Stretch] = []  # between two settlements, both outside of it
        self.refused: dict[int, Refused] = {}

    def ask(self) -> Ask | None:
        """Return the next question; None when there is none left."""
        if self._from_ms >= self._to_ms or self._suspects == []:
            return None
        end_ms = self._end_ms if self._suspects is None else self._suspects[0][1] - 1
        return Ask(endpoint="funding/history", params={**self._about, "endTime": end_ms, "limit": PAGE_FUNDING})

    def answer(self, result: Any) -> int:
        """Take the answer to the last question; return how many rates of the range it brought.

        Raises:
            BadPage: it cannot be the answer; nothing is taken, and `ask` asks the same again.
        """
        ask = self.ask()
        if ask is None:
            raise ValueError("nothing was asked")
        end_ms = int(ask.params["endTime"])
        page = read_funding(result, ask)
        if page and min(page) > end_ms:
            raise BadPage(f"asked for the rates up to {iso(end_ms * MS)}, got none so old")
        new = self._news(page)
        self._rates.update(new)
        if self._suspects is None:
            self._go_back(page, end_ms)
        else:
            asked = self._suspects.pop(0)
            self._asked_again.add(asked)
            if not any(asked[0] < ts_ms < asked[1] for ts_ms in new):
                self.holes.append((asked[0] * MS, asked[1] * MS))
            elif not self._suspects:
                self._suspects = self._suspicious()
        return sum(self._from_ms <= ts_ms < self._to_ms for ts_ms in new)

    def rows(self) -> Rows:
        """Return the rates of the range."""
        return funding_rows({ts: rate for ts, rate in self._rates.items() if self._from_ms <= ts < self._to_ms})

    def _go_back(self, page: dict[int, str], end_ms: int) -> None:
        self._empty_answers = 0 if page else self._empty_answers + 1
        if page and min(page) > self._from_ms:
            self._end_ms = min(page) - 1
        elif page or self._empty_answers > 1:  # an empty answer is asked again once: a beginning or a slip?
            self._suspects = self._suspicious()

    def _news(self, page: dict[int, str]) -> dict[int, str]:
        new, refused = {}, {}
        for ts_ms, rate in page.items():
            known = self._rates.get(ts_ms)
            if known is not None and not _are_same((known,), (rate,)):
                raise BadPage(f"the rate of {iso(ts_ms * MS)} was {known}, and now {rate}")
            if (complaint := rate_complaint(rate)) is not None:
                refused[ts_ms * MS] = Refused(ts_ns=ts_ms * MS, reason=complaint, text=rate[:200])
            elif known is None:
                new[ts_ms] = rate
        self.refused.update(refused)
        return new

    def _suspicious(self) -> list[tuple[int, int]]:
        """Return the steps between settlements that look like a hole, and were not asked again yet."""
        times = np.array(sorted(self._rates), dtype=np.int64)
        steps = [(int(times[i]), int(times[i + 1])) for i in suspect_steps(times, self._longest_ms)]
        ours = [(lo, hi) for lo, hi in steps if hi > self._from_ms and lo < self._to_ms]
        return [step for step in ours if step not in self._asked_again]


def suspect_steps(times: I64, longest: int) -> list[int]:
    """Return which steps between settlements look like a hole: the numbers of the times before them.

    Those longer than the longest schedule, and those longer than both the steps beside them.

    Args:
        times: of settlements, in order.
        longest: the longest schedule, in the unit of the times.
    """
    steps = np.diff(times)
    beside = np.full(len(steps), _FAR_NS, dtype=np.int64)
    if len(steps) > 2:
        beside[1:-1] = np.maximum(steps[2:], steps[:-2])
    return np.flatnonzero((steps > longest) | (steps > beside)).tolist()


def _are_same(left: Sequence[str], right: Sequence[str]) -> bool:
    """Return whether two rows say the same, however many zeros they are spelled with."""
    return left == right or [_trimmed(text) for text in left] == [_trimmed(text) for text in right]


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _runs_of(opens: Sequence[int], step: int) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for at in opens:
        if runs and runs[-1][1] == at:
            runs[-1] = runs[-1][0], at + step
        else:
            runs.append((at, at + step))
    return runs
