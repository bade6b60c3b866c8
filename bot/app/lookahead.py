"""Prove of a strategy that nothing comes from the future: `docs/lookahead.md`.

A strategy is replayed as it is, and replayed with everything after a moment changed: what the run left of that moment
and before must be the same, entry by entry.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from msgspec.structs import replace

from bot.app.held_market import Held, hold
from bot.app.journal_words import JournalEntry, first_difference
from bot.app.outcomes import Interrupted, RunFailed
from bot.app.replay import Progress
from bot.app.replay import replay as run_replay
from bot.app.strategy_columns import probe_columns
from bot.core.lookahead import (
    Cause,
    Finding,
    MakeGenerator,
    Market,
    Outputs,
    Report,
    choose_cuts,
    compare,
    iso,
)
from bot.core.perturb import Kind, Table
from bot.domain.errors import BotError, DataError
from bot.ports import Histories
from bot.runtime.env import seeded_generator
from bot.runtime.settings import Settings
from bot.store.run_reader import RunReader

DAYS_MAX = 45  # so much of the market is tried where the settings do not say until when
ROWS_MAX = 5_000_000
_SLABS = (251, 11)  # numbers of slabs that the market is cut into as well
_FUTURE_SLABS = 3  # so many slabs of changed future follow: more than ever lies ahead of the clock
# After a moment of decision: whatever a decision gains by knowing the next prices, one of the two contradicts it.
_CONTRARY = (Kind.SCALE_UP, Kind.SCALE_DOWN)
_OTHERS = ((Kind.SHUFFLE, Kind.TRUNCATE), (Kind.NOISE, Kind.RETIME), (Kind.REVERSE, Kind.CONSTANT))
_EVER = 2**63 - 1


def _generators(seed: int) -> MakeGenerator:
    return lambda stream: seeded_generator(seed, f"lookahead {stream}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What was tried on a strategy and what came of it.

    Attributes:
        finding: the first thing found; None if nothing was.
        strategy: its name.
        from_ns, to_ns: the range of the market that was tried.
        is_limited: whether that is less than the settings ask for.
        rows: market rows in it.
        decisions, entries: of the replay as it is: decisions, and journal entries.
        columns: what was tried on `columns()`; None where the strategy has none.
        cuts_ns: the moments after which the future was changed.
        replays: how many replays were made, the one as it is among them.
        cautions: what makes the result worth less than it looks.
    """

    finding: Finding | None
    strategy: str
    from_ns: int
    to_ns: int
    is_limited: bool
    rows: int
    decisions: int
    entries: int
    columns: Report | None
    cuts_ns: tuple[int, ...]
    replays: int
    cautions: tuple[str, ...]


def check_replay(
    settings: Settings,
    market: Histories,
    *,
    cuts: int = 8,
    seed: int = 1,
    on_progress: Callable[[float, str], None] = lambda done, at: None,
) -> Checked:
    """Replay a strategy with futures changed and in other slabs; stop at the first thing that comes from the future.

    The boundary is exact: a trade is past at its own time, a funding rate at its settlement, a bar of the source at its
    close, but for its open, at which the simulated venue fills from the bar's opening on. An entry is held to what it
    was if it was recorded at that moment or before. With forecasts and tape it is the close plus `bars.lateness` that
    counts.

    Raises:
        BotError: something the user can mend, such as a range in which the strategy decides nothing.
        RunFailed: the strategy ends by an error.
    """
    return _Check(settings, market, cuts, seed, on_progress).run()


@dataclass(frozen=True, slots=True)
class _Trace:
    """What a replay left."""

    entries: list[JournalEntry]
    tables: Outputs  # its forecasts and its tape

    def first_difference(self, after: "_Trace", until_ns: int) -> Finding | None:
        """Return the first difference in what is of `until_ns` or before."""
        known = [[entry for entry in trace.entries if entry.ts_ns <= until_ns] for trace in (self, after)]
        return first_difference(*known) or compare(self.tables, after.tables, until_ns)

    def decisions(self) -> list[JournalEntry]:
        return [entry for entry in self.entries if entry.kind == "DecisionMade"]

    def next_wish(self, after_ns: int) -> tuple[int, Any] | None:
        """Return when what was next asked for, without what was seen on the way."""
        return next(((e.ts_ns, e.body()["action"]) for e in self.decisions() if e.ts_ns > after_ns), None)


class _Check:
    """One check of one strategy."""

    def __init__(
        self,
        settings: Settings,
        market: Histories,
        cuts: int,
        seed: int,
        on_progress: Callable[[float, str], None],
    ) -> None:
        limits = {"days_max": DAYS_MAX, "rows_max": ROWS_MAX} if settings.run.end is None else {}
        self._market, limit_ns = hold(market, **limits)
        self._is_limited = limit_ns is not None
        self._settings = settings if limit_ns is None else _with_run(settings, end=limit_ns)
        self._cuts = cuts
        self._make_generator = _generators(seed)
        self._on_progress = on_progress
        self._steps = 2 * cuts + len(_SLABS) + 2
        self._done = 0
        self._replays = 0
        self._cautions: list[str] = []
        spans = [history.span_ns() for _, history in self._market]
        self._from_ns, self._to_ns = min(span[0] for span in spans), max(span[1] for span in spans)
        self._all_since_ns = max(span[0] for span in spans)
        self._rows = sum(len(history.whole()) for _, history in self._market)

    def run(self) -> Checked:
        """Try columns, then futures, then slabs."""
        columns = probe_columns(
            self._settings,
            self._market,
            cuts=self._cuts,
            pieces=_SLABS,
            make_generator=self._make_generator,
            on_trial=lambda done, trials: self._tell(done / trials, "columns"),
        )
        self._step("columns")
        if columns is not None and columns.findings:
            return self._checked(columns.findings[0], None, columns, columns.cuts_ns)
        try:
            before = self._replayed(self._settings, self._market)
        except RunFailed as error:
            raise RunFailed(f"{error.__cause__}; `bot replay` with the same settings leaves a log of it") from error
        self._step("as it is")
        decisions = before.decisions()
        if not decisions:
            raise DataError(
                f"{self._settings.strategy_name} decides nothing from {iso(self._from_ns)} to {iso(self._to_ns)}, so "
                "nothing can be said of it; choose a longer range with --from and --to"
            )
        if len(decisions) < 3:
            self._cautions.append(f"decisions to compare: no more than {len(decisions)}; a longer range may have more")
        trials = self._choose_trials(sorted({entry.ts_ns for entry in decisions}))
        cuts_ns = tuple(sorted({cut_ns for cut_ns, _ in trials}))
        finding = self._try_futures(before, trials) or self._try_slabs(before)
        if finding is not None:
            again = before.first_difference(self._replayed(self._settings, self._market), _EVER)
            finding = finding if again is None else replace(again, cause=Cause.CHANCE)
        return self._checked(finding, before, columns, cuts_ns)

    def _checked(
        self, finding: Finding | None, before: _Trace | None, columns: Report | None, cuts_ns: tuple[int, ...]
    ) -> Checked:
        return Checked(
            finding=finding,
            strategy=self._settings.strategy_name,
            from_ns=self._from_ns,
            to_ns=self._to_ns,
            is_limited=self._is_limited,
            rows=self._rows,
            decisions=0 if before is None else len(before.decisions()),
            entries=0 if before is None else len(before.entries),
            columns=columns,
            cuts_ns=cuts_ns,
            replays=self._replays,
            cautions=tuple(self._cautions),
        )

    def _choose_trials(self, decided_ns: Sequence[int]) -> list[tuple[int, Kind]]:
        """Return after which moments to change the future and how: half are moments of decisions, twice each."""
        streams: dict[str, Any] = {}
        for instrument, history in self._market:
            streams[instrument.name] = history.whole()
            if (funding := history.funding()) is not None:
                within = int(funding.ts_ns.searchsorted(self._to_ns))
                streams[f"{instrument.name} funding"] = funding.rows(0, within)
        since = range(self._all_since_ns + 1, self._to_ns - 1)
        generator = self._make_generator("cuts")
        usable = [time_ns for time_ns in decided_ns if time_ns in since]
        decided = generator.permutation(usable)[: -(-self._cuts // 2)].tolist()
        times = [np.array(decided_ns, dtype=np.int64)]
        others = choose_cuts(Market.of(**streams), 2 * self._cuts, generator, times=times)
        mixed = [cut_ns for cut_ns in others if cut_ns in since and cut_ns not in decided]
        mixed = generator.permutation(mixed)[: self._cuts - len(decided)].tolist()
        trials = [(cut_ns, kind) for cut_ns in sorted(decided) for kind in _CONTRARY]
        return trials + [(cut_ns, k) for n, cut_ns in enumerate(sorted(mixed)) for k in _OTHERS[n % len(_OTHERS)]]

    def _try_futures(self, before: _Trace, trials: Sequence[tuple[int, Kind]]) -> Finding | None:
        """Return the first difference that a changed future makes."""
        failures: list[str] = []
        whole = Market.of(**{instrument.name: history.whole() for instrument, history in self._market})
        has_moved = all(before.next_wish(cut_ns) is None for cut_ns, _ in trials)
        for cut_ns, kind in trials:
            if kind is Kind.TRUNCATE:
                cut_ns = whole.before_holes(cut_ns)
            after = None
            try:
                after = self._replayed_with_future(cut_ns, kind)
            except (BotError, RunFailed) as error:
                failures.append(f"{kind} after {iso(cut_ns)}: {error.__cause__ or error}")
            self._step(f"another future after {iso(cut_ns)}")
            if after is None:
                continue
            finding = before.first_difference(after, cut_ns)
            if finding is not None:
                return replace(finding, kind=kind, cut_ns=cut_ns)
            if kind not in (Kind.TRUNCATE, Kind.RETIME):
                has_moved |= before.next_wish(cut_ns) != after.next_wish(cut_ns)
        if len(failures) == len(trials):
            raise RunFailed(f"no changed market could be replayed: {failures[0] if failures else 'the range is short'}")
        if failures:
            self._cautions.append(
                f"{len(failures)} replays of changed markets failed and count for nothing, the first: {failures[0]}"
            )
        if not has_moved:
            self._cautions.append(
                "what it decided after those moments was the same in every market: right if it goes by the clock "
                "alone, but if it reads a file or a table of its own, this check cannot see into that"
            )
        return None

    def _try_slabs(self, before: _Trace) -> Finding | None:
        """Return the first difference that other slabs make."""
        for pieces in _SLABS:
            settings = _with_run(self._settings, slab_rows=max(1, -(-self._rows // pieces)))
            finding = before.first_difference(self._replayed(settings, self._market), _EVER)
            self._step(f"in {pieces} slabs")
            if finding is not None:
                return replace(finding, cause=Cause.CUT, pieces=pieces)
        return None

    def _replayed_with_future(self, cut_ns: int, kind: Kind) -> _Trace:
        rows_max = max(_FUTURE_SLABS * self._settings.run.slab_rows, 10_000)
        market = [
            (instrument, history.changed(cut_ns, kind, self._make_generator, rows_max=rows_max))
            for instrument, history in self._market
        ]
        # Where nothing follows, the range ends just after the moment: what closes by then is closed.
        end_ns = cut_ns + 1 if kind is Kind.TRUNCATE else None
        return self._replayed(_with_run(self._settings, end=end_ns), market)

    def _replayed(self, settings: Settings, market: Held) -> _Trace:
        self._replays += 1
        with TemporaryDirectory(prefix="bot-lookahead-") as out:
            try:
                done = run_replay(_with_run(settings, out=Path(out)), market, on_progress=self._follow)
            except Interrupted:
                raise KeyboardInterrupt from None  # nothing of it is kept
            return _read(done.directory, settings.bars.lateness)

    # --- progress ---

    def _follow(self, progress: Progress) -> None:
        self._tell(min(progress.done, 1.0), f"replay {self._replays}")

    def _step(self, what: str) -> None:
        self._done += 1
        self._tell(0.0, what)

    def _tell(self, part: float, what: str) -> None:
        self._on_progress(min((self._done + part) / self._steps, 1.0), what)


def _with_run(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"run": settings.run.model_copy(update=changes)})


def _read(directory: Path, lateness_ns: int) -> _Trace:
    reader = RunReader(directory)
    try:
        journal = reader.frame("journal")
        columns = (journal[name].tolist() for name in ("ts_ns", "kind", "body"))
        entries = [JournalEntry(*row) for row in zip(*columns, strict=True)]
        tables: dict[str, Table] = {}
        for instrument, parts in reader.forecasts().items():
            columns_of = {field: parts[field] for field in ("quantiles", "importance")}
            tables[f"forecasts of {instrument}"] = Table(known_ns=parts["close_ns"] + lateness_ns, columns=columns_of)
        for name, bars in reader.tape().groupby("instrument"):
            known_ns = bars["close_ns"].to_numpy(np.int64) + lateness_ns
            values = {str(field): bars[field].to_numpy() for field in bars.columns if field != "instrument"}
            tables[f"tape of {name!s}"] = Table(known_ns=known_ns, columns=values)
        return _Trace(entries, tables)
    finally:
        reader.close()
