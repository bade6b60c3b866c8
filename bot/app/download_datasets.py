"""Bring one dataset of one symbol from Bybit into the store: what is missing is asked for, written, and counted."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from bot.domain.errors import StorageError
from bot.domain.market import I64
from bot.store.download_log import DownloadLog, Stretch, union, without
from bot.store.importing.options import ImportOptions
from bot.store.importing.part import Part, Rejected
from bot.store.importing.sources import recognise
from bot.store.market_format import Layout, layout_of, partition_keys, partition_name, partition_span_ns
from bot.store.market_store import MarketStore, Written
from bot.venues.bybit.history import BybitHistory
from bot.venues.bybit.history_pages import Refused, Rows
from bot.venues.bybit.history_walk import LONGEST_NS, BarWalk, FundingWalk, Series, suspect_steps

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
# A bar is asked for so long after its close, a funding rate after its settlement: the venue may still be writing.
_BAR_SETTLES_NS = 5 * _SECOND_NS
_FUNDING_SETTLES_NS = 600 * _SECOND_NS
# That the venue has nothing is believed for good when it is so long ago. Until then it is asked again each time.
_BELIEVED_AFTER_NS = 3 * _DAY_NS
_SERIES: dict[str, Series] = {"bars": "kline", "mark": "mark-price-kline", "index": "index-price-kline"}

Tell = Callable[[float, int, int], None]  # how much is done, 0 to 1; the time reached; rows so far


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetJob:
    """What to bring, from where, to where.

    Attributes:
        kind: as the store has it, such as "bars-1m".
        from_ns, to_ns: the range, no later than now.
        now_ns: the venue's time at the start.
        again: ask also for what is there.
    """

    history: BybitHistory
    store: MarketStore
    log: DownloadLog
    venue: str
    category: str
    symbol: str
    kind: str
    from_ns: int
    to_ns: int
    now_ns: int
    again: bool

    @property
    def layout(self) -> Layout:
        """Return how the store keeps it."""
        return layout_of(self.kind)

    @property
    def directory(self) -> Path:
        """Return where the store keeps it."""
        return self.store.directory(self.venue, self.symbol, self.kind)

    def times(self, stretch: Stretch) -> I64:
        """Return the times of the rows that the store holds of a stretch, in order."""
        if not self.directory.is_dir():
            return np.empty(0, np.int64)
        time = self.layout.time
        found = self.store.dataset(self.venue, self.symbol, self.kind).read([time], *stretch)
        return np.concatenate([np.empty(0, np.int64), *(each.columns[time] for each in found)])

    def write(self, rows: Rows, refused: list[Refused], *, name: str) -> Written:
        """Merge rows into the store."""
        step_ns = self.layout.interval_ns or 1
        part = Part(
            venue=self.venue,
            symbol=self.symbol,
            kind=self.kind,
            price_exponent=rows.price_exponent,
            qty_exponent=rows.qty_exponent,
            columns=rows.columns,
            rejected=tuple(
                Rejected(row=each.ts_ns // step_ns, reason=each.reason, text=f"{each.ts_ns}: {each.text}"[:200])
                for each in refused
            ),
            source="bybit-rest",
        )
        (written,) = self.store.write(part, name=f"download-{name}")
        return written

    def begin(self, from_ns: int, to_ns: int) -> "Downloaded":
        """Return the account of this job, with nothing in it yet."""
        return Downloaded(venue=self.venue, symbol=self.symbol, kind=self.kind, from_ns=from_ns, to_ns=to_ns)

    def believe_absent(self, stretches: list[Stretch]) -> None:
        """Remember of which stretches the venue has nothing, as far as they are long enough ago."""
        sure_ns = self.now_ns - _BELIEVED_AFTER_NS
        for lo, hi in stretches:
            if lo < min(hi, sure_ns):
                self.log.add_absent(self.kind, (lo, min(hi, sure_ns)))


@dataclass(kw_only=True, slots=True)
class Downloaded:
    """What a download did to one dataset, and what is there now.

    Attributes:
        from_ns, to_ns: the range that was looked at; a bar or a day that has not ended is not in it.
        new, replaced, rejected: of the rows that came, those that were not there, that differed from what was there,
            and that cannot be right.
        rows: how many the store holds of the range now; of trades, how many days.
        expected: how many it would hold if nothing were missing; None where no schedule tells (funding).
        gaps: stretches without a row between the first row and the last; of funding, steps that look like one.
        before, after: how much of the range lies before the first row and after the last, ns.
        pending: days of trades that have ended and are not in the archive yet.
        kept: days of trades that come from elsewhere, and were left as they are.
        requests: questions to the venue, the repeated ones too.
    """

    venue: str
    symbol: str
    kind: str
    from_ns: int
    to_ns: int
    new: int = 0
    replaced: int = 0
    rejected: int = 0
    rows: int = 0
    expected: int | None = None
    gaps: tuple[Stretch, ...] = ()
    before_ns: int = 0
    after_ns: int = 0
    pending: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    requests: int = 0

    @property
    def missing(self) -> int | None:
        """Return how many rows are missing; None where nothing tells."""
        return None if self.expected is None else self.expected - self.rows

    def add(self, written: Written) -> None:
        """Count what the store did."""
        self.new += written.new
        self.replaced += written.replaced
        self.rejected += written.rejected


def download_bars(job: DatasetJob, tell: Tell) -> Downloaded:
    """Bring bars: those of the grid that the store lacks and the venue is not known to lack."""
    step_ns = job.layout.interval_ns
    assert step_ns is not None
    first_ns = -(-job.from_ns // step_ns) * step_ns
    end_ns = max(first_ns, min(job.to_ns, job.now_ns - _BAR_SETTLES_NS) // step_ns * step_ns)
    done = job.begin(first_ns, end_ns)
    stretches = _grid_gaps(job.times((first_ns, end_ns)), first_ns, end_ns, step_ns)
    absent = job.log.absent(job.kind)
    stretches = [(first_ns, end_ns)] if job.again else [left for each in stretches for left in without(each, absent)]
    walk = BarWalk(
        series=_SERIES[job.layout.family],
        category=job.category,
        symbol=job.symbol,
        step_ns=step_ns,
        stretches=[each for each in stretches if each[0] < each[1]],
        closed_by_ns=end_ns,
    )
    files: dict[str, Stretch] = {}  # what is asked for of each file of the store, holes and all
    for name, (lo, hi) in _files(job.layout, union(stretches)):
        files[name] = files.get(name, (lo, hi))[0], hi
    waiting = list(files.items())
    rows = 0
    while (ask := walk.ask()) is not None:
        rows += job.history.answer(ask, walk.answer)
        at_ns = min(walk.done_until_ns, end_ns)
        tell((at_ns - first_ns) / (end_ns - first_ns), at_ns, rows)
        while waiting and walk.done_until_ns >= waiting[0][1][1]:
            _write_bars(job, walk, done, *waiting.pop(0))
    for name, span in waiting:  # the venue's end came before the range's
        _write_bars(job, walk, done, name, span)
    times = job.times((first_ns, end_ns))
    done.rows, done.expected = len(times), (end_ns - first_ns) // step_ns
    if len(times):
        done.before_ns, done.after_ns = int(times[0]) - first_ns, end_ns - int(times[-1]) - step_ns
        done.gaps = tuple(_grid_gaps(times, int(times[0]), int(times[-1]), step_ns))
    else:
        done.before_ns = end_ns - first_ns
    return done


def _write_bars(job: DatasetJob, walk: BarWalk, done: Downloaded, name: str, span: Stretch) -> None:
    """Write the bars of one file of the store, all of which were asked for."""
    rows = walk.take(span[1])
    refused = [each for each in walk.refused.values() if span[0] <= each.ts_ns < span[1]]
    if len(rows) or refused:
        done.add(job.write(rows, refused, name=name))
    job.believe_absent(walk.absent)
    job.log.save()


def download_funding(job: DatasetJob, tell: Tell) -> Downloaded:
    """Bring funding rates, a year at a time: the store cannot tell how many there should be, so the log does."""
    first_ns = job.from_ns
    end_ns = max(first_ns, min(job.to_ns, job.now_ns - _FUNDING_SETTLES_NS))
    done = job.begin(first_ns, end_ns)
    known = [*job.log.answered(job.kind, lambda span: len(job.times(span))), *job.log.absent(job.kind)]
    rows = 0
    for name, (lo, hi) in _files(job.layout, without((first_ns, end_ns), [] if job.again else known)):
        walk = FundingWalk(category=job.category, symbol=job.symbol, from_ns=lo, to_ns=hi)
        while (ask := walk.ask()) is not None:
            rows += job.history.answer(ask, walk.answer)
            tell((lo - first_ns) / (end_ns - first_ns), lo, rows)
        found = walk.rows()
        refused = [each for each in walk.refused.values() if lo <= each.ts_ns < hi]
        if len(found) or refused:
            done.add(job.write(found, refused, name=name))
        _remember_funding(job, (lo, hi), found)
    times = job.times((first_ns, end_ns))
    done.rows = len(times)
    around = job.times((first_ns - LONGEST_NS, end_ns + LONGEST_NS))
    done.gaps = tuple((int(around[i]), int(around[i + 1])) for i in suspect_steps(around, LONGEST_NS))
    if len(times):  # a schedule's step at either end is nothing
        done.before_ns, done.after_ns = int(times[0]) - first_ns, end_ns - int(times[-1])
    else:
        done.before_ns = end_ns - first_ns
    done.before_ns, done.after_ns = (0 if each <= LONGEST_NS else each for each in (done.before_ns, done.after_ns))
    return done


def _remember_funding(job: DatasetJob, stretch: Stretch, found: Rows) -> None:
    """Remember a stretch as answered: up to its last rate, and further where that is long enough ago."""
    lo, hi = stretch
    times = found.columns["ts_ns"]
    until_ns = max(min(hi, job.now_ns - _BELIEVED_AFTER_NS), int(times[-1]) + 1 if len(times) else lo)
    if len(times):
        job.log.add_answer(job.kind, (lo, until_ns), len(times))
    elif lo < until_ns:
        job.log.add_absent(job.kind, (lo, until_ns))
    job.log.save()


def download_trades(job: DatasetJob, tell: Tell) -> Downloaded:
    """Bring trades from the archive, whole days that have ended."""
    first_day = job.from_ns // _DAY_NS
    end_day = max(first_day, min(-(-job.to_ns // _DAY_NS), job.now_ns // _DAY_NS))
    done = job.begin(first_day * _DAY_NS, end_day * _DAY_NS)
    pending, kept, there = [], [], []
    try:
        for day in range(first_day, end_day):
            span = day * _DAY_NS, (day + 1) * _DAY_NS
            tell((day - first_day) / (end_day - first_day), span[0], done.new)
            name = partition_name(job.layout, day)
            state = _trades_of(job, name, span, done)
            if state == "pending":
                pending.append(name)
            if state == "kept":
                kept.append(name)
            if state in ("there", "kept"):
                there.append(day)
    finally:
        job.log.save()
    done.pending, done.kept = tuple(pending), tuple(kept)
    done.expected, done.rows = end_day - first_day, len(there)
    if there:
        done.before_ns = (there[0] - first_day) * _DAY_NS
        done.after_ns = (end_day - 1 - there[-1]) * _DAY_NS
        days = np.array(there, dtype=np.int64) * _DAY_NS
        done.gaps = tuple(_grid_gaps(days, int(days[0]), int(days[-1]), _DAY_NS))
    else:
        done.before_ns = (end_day - first_day) * _DAY_NS
    return done


def _trades_of(
    job: DatasetJob, name: str, span: Stretch, done: Downloaded
) -> Literal["there", "kept", "absent", "pending"]:
    """See to one day; return what the store has of it now."""
    path = job.directory / f"{name}.parquet"
    if path.exists() and not job.again:
        sources = job.store.dataset(job.venue, job.symbol, job.kind).open(path).header.sources
        return "there" if "bybit-archive" in sources else "kept"
    if not without(span, job.log.absent(job.kind)) and not job.again:
        return "absent"
    folder = job.store.root / ".downloading" / job.venue
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}; choose a folder you may write with --store") from error
    file = folder / f"{job.symbol}_{name}.csv.gz"
    try:
        day = datetime.fromtimestamp(span[0] // _SECOND_NS, UTC).date()
        if job.history.archive_day(job.category, job.symbol, day, file):
            parts = recognise(file, ImportOptions(venue=job.venue, symbol=job.symbol)).read()
            for written in job.store.write(parts, name=f"download-{name}"):
                done.add(written)
            if path.exists():
                return "there"
    finally:
        file.unlink(missing_ok=True)
    if span[1] > job.now_ns - _BELIEVED_AFTER_NS:
        return "pending"
    job.log.add_absent(job.kind, span)
    return "absent"


def _grid_gaps(times: I64, first_ns: int, end_ns: int, step_ns: int) -> list[Stretch]:
    """Return the stretches of the grid [first, end) on which no time lies; all times do, in order."""
    edges = np.concatenate([[first_ns - step_ns], times, [end_ns]])
    holes = np.flatnonzero(np.diff(edges) > step_ns)
    return [(int(edges[i]) + step_ns, int(edges[i + 1])) for i in holes]


def _files(layout: Layout, stretches: list[Stretch]) -> list[tuple[str, Stretch]]:
    """Cut stretches where the store cuts its files; return each with the name of its file."""
    found = []
    for lo, hi in stretches:
        first, last = partition_keys(layout, np.array([lo, hi - 1], dtype=np.int64)).tolist()
        for key in range(first, last + 1):
            name = partition_name(layout, key)
            span = partition_span_ns(layout, name)
            assert span is not None
            found.append((name, (max(lo, span[0]), min(hi, span[1]))))
    return found
