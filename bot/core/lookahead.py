"""Does anything come from the future? Change everything after a moment: what was known by then must stay, bit for bit.

`probe` asks this of any function from market data to columns, after many moments and in the ways of `core.perturb`, and
asks too whether the result depends on how the market is cut into slabs. What it finds is named by column, row and time.
`docs/lookahead.md` says what it cannot find.

The boundary: at a moment t a market row is past if it is known at or before t, and an output row is held to its value
if it claims to be known at or before t. A trade of exactly t is past; so is a bar that closes at t without lateness.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.core.durations import format_duration
from bot.core.perturb import KINDS, Kind, Rows, Table, known_times, perturb
from bot.domain.market import I64, BarBatch, FundingBatch

Outputs = Mapping[str, Table]
"""What is computed: named tables whose rows each claim to be known at a time."""


class MakeGenerator(Protocol):
    """Gives a seeded generator for a named stream."""

    def __call__(self, stream: str, /) -> np.random.Generator:
        """Return it, always the same for the same name."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Market:
    """What a computation is given.

    Attributes:
        streams: market data by name, each in the order in which its rows become known.
        watermark_ns: nothing known by then is missing; what closes by it can be closed.
        pieces: into how many slabs `slabs` cuts a stream.
    """

    streams: Mapping[str, Rows]
    watermark_ns: int
    pieces: int = 1

    @classmethod
    def of(cls, **streams: Rows) -> "Market":
        """Return a market that is known as far as its last row; one stream at least must have a row."""
        last_ns = [int(known_times(rows)[-1]) for rows in streams.values() if len(rows)]
        return cls(streams=streams, watermark_ns=max(last_ns))

    def __getitem__(self, name: str) -> Any:
        """Return a stream in one piece."""
        return self.streams[name]

    def slabs(self, name: str) -> Iterator[Any]:
        """Yield a stream in pieces: what computes in slabs must read it so, or its cuts are not tried."""
        rows = self.streams[name]
        size = max(1, -(-len(rows) // self.pieces))
        for start in range(0, len(rows), size):
            yield rows.rows(start, min(start + size, len(rows)))

    def cut(self, pieces: int) -> "Market":
        """Return the same market in other slabs."""
        return Market(streams=self.streams, watermark_ns=self.watermark_ns, pieces=pieces)

    def before_holes(self, at_ns: int) -> int:
        """Return the last moment up to `at_ns` at which no stream of bars has a hole.

        What is in a hole shows only when the bar after it comes: a market that ends inside one ends where it began.
        """
        while True:
            begun_ns = [_hole_since(rows, at_ns) for rows in self.streams.values() if isinstance(rows, BarBatch)]
            earlier_ns = min(begun_ns, default=at_ns)
            if earlier_ns == at_ns:
                return at_ns
            at_ns = earlier_ns

    def changed(self, after_ns: int, kind: Kind, make_generator: MakeGenerator) -> "Market":
        """Return a market with the same past and another future."""
        streams = {
            name: perturb(rows, after_ns, kind, make_generator(f"{name} {kind} {after_ns}"))
            for name, rows in self.streams.items()
        }
        watermark_ns = self.watermark_ns
        if kind in (Kind.TRUNCATE, Kind.RETIME):  # it ends earlier, and so does what is known of it
            last_ns = [int(known_times(rows)[-1]) for rows in streams.values() if len(rows)]
            watermark_ns = min(watermark_ns, max(after_ns, *last_ns))
        return Market(streams=streams, watermark_ns=watermark_ns, pieces=self.pieces)


Compute = Callable[[Market], Outputs]


class Cause(StrEnum):
    """What a result turned out to depend on."""

    FUTURE = "future"  # on what came later
    CUT = "cut"  # on how the market was cut into slabs
    CHANCE = "chance"  # on something else: the same market gave two results


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One value that is not what it was, or one row too few or too many."""

    table: str
    column: str | None  # None where the row itself came or went
    element: str = ""  # which part of a value with several, such as [1, 0]
    row: int  # of those known by `until_ns`, counted from 0
    known_ns: int  # when the row claims to be known
    before: str | None  # None where there was no such row
    after: str | None
    cause: Cause = Cause.FUTURE
    kind: Kind | None = None  # how the future was changed
    cut_ns: int | None = None  # after what moment
    pieces: int | None = None  # or into how many slabs the market was cut
    words: str | None = None  # what changed, where something better is to be said than the fields do

    def __str__(self) -> str:
        return f"{self.words or self._what()} {self._why()}"

    def _what(self) -> str:
        where = self.table if self.column is None else f"{self.table}: column {self.column}{self.element}"
        if self.after is None:
            return f"{where}: row {self.row}, known at {iso(self.known_ns)}, was there and is gone"
        if self.before is None:
            return f"{where}: row {self.row}, known at {iso(self.known_ns)}, was not there and is now"
        return f"{where}, row {self.row}, known at {iso(self.known_ns)}: {self.before} became {self.after}"

    def _why(self) -> str:
        match self.cause:
            case Cause.FUTURE:
                assert self.cut_ns is not None
                ahead_ns = self.cut_ns - self.known_ns
                reach = f"at least {_about(ahead_ns)} after it" if ahead_ns else "after it"
                return (
                    f"when only what came after {iso(self.cut_ns)} was changed ({self.kind}): "
                    f"it knows what comes {reach}"
                )
            case Cause.CUT:
                return (
                    f"when the same market came in {self.pieces:,} slabs: it depends on how the market is cut, "
                    "as a look into the rest of a slab does"
                )
            case Cause.CHANCE:
                return (
                    "when it was computed again from the same market: it depends on chance, on the clock or on what "
                    "an earlier computation left behind, and nothing can be said of look-ahead"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was tried and what came of it.

    Attributes:
        findings: the first of each column, those of the earliest rows first.
        cuts_ns: the moments after which the future was changed.
        trials: how many changed futures and cuts into slabs were computed.
        values: how many values were compared.
        unmoved: columns that no change of the future ever moved, later rows included. Right for a calendar or a
            constant; else the column does not read the market it was given, and nothing is known of it.
    """

    findings: tuple[Finding, ...]
    cuts_ns: tuple[int, ...]
    trials: int
    values: int
    unmoved: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Return whether nothing was found."""
        return not self.findings


def compare(before: Outputs, after: Outputs, until_ns: int) -> Finding | None:
    """Return the first difference among the rows known at or before `until_ns`, None where there is none.

    Values are the same if their bits are; any NaN is the same as any other.
    """
    return next(iter(differences(before, after, until_ns)), None)


def differences(before: Outputs, after: Outputs, until_ns: int) -> list[Finding]:
    """Return the first difference of each column, and of the rows themselves, earliest rows first."""
    found: list[Finding] = []
    for name in sorted({*before, *after}):
        left, right = (_known_by(side.get(name, _NO_ROWS), until_ns) for side in (before, after))
        found += _table_differences(name, left, right)
    return sorted(found, key=lambda finding: finding.known_ns)


def probe(
    compute: Compute,
    market: Market,
    *,
    cuts: int | Sequence[int] = 12,
    make_generator: MakeGenerator,
    kinds: Sequence[Kind] = KINDS,
    kinds_per_cut: int | None = None,
    pieces: Sequence[int] = (7, 211),
    on_trial: Callable[[int, int], None] = lambda done, trials: None,
) -> Report:
    """Compute from the market, from the market with other futures and in other slabs, and compare.

    Args:
        compute: from market data to columns; must give the same whenever it is given the same.
        market: what it is given.
        cuts: moments after which to change the future, or how many to choose.
        make_generator: seeds what is drawn; the same seed tries the same.
        kinds: the ways to change it.
        kinds_per_cut: how many of them to try after each moment, in turn; None for all.
        pieces: numbers of slabs to cut the market into.
        on_trial: told how many trials are done, and how many there will be.
    """
    before = compute(market)
    if isinstance(cuts, int):
        known = [table.known_ns for table in before.values()]
        cuts = choose_cuts(market, cuts, make_generator("cuts"), times=known)
    trials = list(_trials(cuts, kinds, kinds_per_cut))
    found = _Findings()
    unmoved = {f"{name}.{column}" for name, table in before.items() for column in table.columns}
    values, done = 0, 0
    for cut_ns, kind in trials:
        cut_ns = market.before_holes(cut_ns) if kind is Kind.TRUNCATE else cut_ns
        after = compute(market.changed(cut_ns, kind, make_generator))
        for difference in differences(before, after, cut_ns):
            found.add(msgspec.structs.replace(difference, kind=kind, cut_ns=cut_ns))
        if unmoved and kind not in (Kind.TRUNCATE, Kind.RETIME):
            unmoved -= {f"{each.table}.{each.column}" for each in differences(before, after, _EVER)}
        values += _count(before, cut_ns)
        done += 1
        on_trial(done, len(trials) + len(pieces))
    for number in pieces:
        for difference in differences(before, compute(market.cut(number)), _EVER):
            found.add(msgspec.structs.replace(difference, cause=Cause.CUT, pieces=number))
        values += _count(before, _EVER)
        done += 1
        on_trial(done, len(trials) + len(pieces))
    if found.first:
        again = differences(before, compute(market), _EVER)
        if again:
            found = _Findings()
            for difference in again:
                found.add(msgspec.structs.replace(difference, cause=Cause.CHANCE))
    return Report(
        findings=tuple(sorted(found.first.values(), key=lambda finding: finding.known_ns)),
        cuts_ns=tuple(cuts),
        trials=done,
        values=values,
        unmoved=tuple(sorted(unmoved)),
    )


def choose_cuts(
    market: Market, count: int, generator: np.random.Generator, *, times: Sequence[I64] = ()
) -> tuple[int, ...]:
    """Return up to `count` moments at which a look ahead is likely to show, in order of time.

    Taken in turn: `times` at random, day borders, funding times, closes of coarse bars, the market's own rows at random
    and its last rows; borders also one ns early and late. Each has a twelfth of the market's rows before it, for
    computations that need a little history, and a row after it.
    """
    own = np.unique(np.concatenate([known_times(rows) for rows in market.streams.values()]))
    fundings = [rows.ts_ns for rows in market.streams.values() if isinstance(rows, FundingBatch)]
    span = range(int(own[len(own) // 12]), int(own[-1]))
    borders = [_multiples(span, scale_ns) for scale_ns in (_DAY_NS, _HOUR_NS, 4 * _HOUR_NS)]
    fundings = fundings or [_multiples(span, 8 * _HOUR_NS)]
    families = [*((each, False) for each in times), *((each, True) for each in (*borders[:1], *fundings, *borders[1:]))]
    families += [(own, False), (own[-4:-1], False)]
    chosen: set[int] = set()
    for turn in range(8 * count):
        family, is_border = families[turn % len(families)]
        if not len(family) or len(chosen) == count:
            continue
        time_ns = int(generator.choice(family)) + (int(generator.choice(_BESIDE)) if is_border else 0)
        if time_ns in span:
            chosen.add(time_ns)
    return tuple(sorted(chosen))


def iso(time_ns: int) -> str:
    """Return a time as text, UTC, with as many digits as it needs."""
    if abs(time_ns) >= 2**62:
        return "never"
    text = str(np.datetime64(time_ns, "ns"))
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}Z"


_EVER = 2**63 - 1
_BESIDE = (-1, -1, 0, 1)  # ns from a border: what is known a little early shows only before it
_HOUR_NS = 3_600_000_000_000
_DAY_NS = 24 * _HOUR_NS
_NO_ROWS = Table(known_ns=np.empty(0, dtype=np.int64), columns={})


@dataclass(slots=True)
class _Findings:
    """The first finding of each column; one that names the future says more than one that names the cut."""

    first: dict[tuple[str, str | None], Finding] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        known = self.first.setdefault((finding.table, finding.column), finding)
        if finding.cause is known.cause and finding.known_ns < known.known_ns:
            self.first[finding.table, finding.column] = finding


def _hole_since(bars: BarBatch, at_ns: int) -> int:
    """Return when the hole began that bars on a grid have at `at_ns`, `at_ns` itself where they have none."""
    keep = int(bars.known_ns.searchsorted(at_ns, side="right"))
    is_inside = 0 < keep < len(bars) and bars.open_ns[keep] > bars.open_ns[keep - 1] + bars.scale_ns
    return int(bars.known_ns[keep - 1]) if is_inside and bars.scale_ns else at_ns


def _trials(cuts: Sequence[int], kinds: Sequence[Kind], per_cut: int | None) -> Iterator[tuple[int, Kind]]:
    each = len(kinds) if per_cut is None else min(per_cut, len(kinds))
    for number, cut_ns in enumerate(cuts):
        for turn in range(each):
            yield cut_ns, kinds[(number * each + turn) % len(kinds)]


def _multiples(span: range, scale_ns: int) -> I64:
    return np.arange(-(-span.start // scale_ns), span.stop // scale_ns + 1, dtype=np.int64) * scale_ns


def _about(duration_ns: int) -> str:
    """Return a duration in its two coarsest units."""
    for unit_ns, finer_ns in ((_DAY_NS, _HOUR_NS), (_HOUR_NS, 60 * 10**9), (60 * 10**9, 10**9), (10**9, 10**6)):
        if duration_ns >= unit_ns:
            whole, rest = duration_ns // unit_ns * unit_ns, duration_ns % unit_ns // finer_ns * finer_ns
            return f"{format_duration(whole)} {format_duration(rest)}" if rest else format_duration(whole)
    return format_duration(duration_ns)


def _known_by(table: Table, until_ns: int) -> Table:
    known = table.known_ns <= until_ns
    columns = {name: np.asarray(column)[known] for name, column in table.columns.items()}
    return Table(known_ns=table.known_ns[known], columns=columns)


def _count(outputs: Outputs, until_ns: int) -> int:
    """Return how many values are known by `until_ns`."""
    tables = [_known_by(table, until_ns) for table in outputs.values()]
    return sum(column.size for table in tables for column in table.columns.values())


def _table_differences(name: str, before: Table, after: Table) -> Iterator[Finding]:
    """Yield the first row that came or went, and the first difference of each column in the rows before it."""
    common = min(len(before), len(after))
    shifted = before.known_ns[:common] != after.known_ns[:common]
    rows = int(shifted.argmax()) if shifted.any() else common
    for column in sorted({*before.columns, *after.columns}):
        if column not in before.columns or column not in after.columns:
            rows = 0  # a table that has lost a column has lost its rows
            continue
        found = _first_difference(before.columns[column][:rows], after.columns[column][:rows])
        if found is not None:
            row, element, left, right = found
            yield Finding(
                table=name,
                column=column,
                element=element,
                row=row,
                known_ns=int(before.known_ns[row]),
                before=left,
                after=right,
            )
    if rows < max(len(before), len(after)):
        is_gone = rows < len(before) and (rows >= len(after) or before.known_ns[rows] <= after.known_ns[rows])
        source = before if is_gone else after
        row_text = ", ".join(f"{column} {_text(source.columns[column][rows])}" for column in sorted(source.columns))
        yield Finding(
            table=name,
            column=None,
            row=rows,
            known_ns=int(source.known_ns[rows]),
            before=row_text if is_gone else None,
            after=None if is_gone else row_text,
        )


def _first_difference(before: NDArray[Any], after: NDArray[Any]) -> tuple[int, str, str, str] | None:
    """Return row, element and both values of the first difference."""
    if not len(before):
        return None
    if before.shape != after.shape:
        return 0, "", f"a shape of {before.shape}", f"a shape of {after.shape}"
    unequal = _unequal(before, after)
    rows = unequal.reshape(len(unequal), -1).any(axis=1)
    if not rows.any():
        return None
    row = int(rows.argmax())
    place = tuple(int(part) for part in np.argwhere(np.atleast_1d(unequal[row]))[0]) if before.ndim > 1 else ()
    element = str(list(place)) if place else ""
    return row, element, _text(before[(row, *place)]), _text(after[(row, *place)])


def _unequal(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    if before.dtype != after.dtype and before.dtype.kind in "biuf" and after.dtype.kind in "biuf":
        # A whole column that turns into floats because a NaN comes later is not what its reader would call a change.
        before, after = before.astype(np.float64), after.astype(np.float64)
    if before.dtype != after.dtype or before.dtype.kind not in "fc":
        unequal = np.asarray(before != after, dtype=np.bool_)
        if before.dtype.kind in "OmM":
            unequal &= ~(np.asarray(before != before) & np.asarray(after != after))
        return np.broadcast_to(unequal, before.shape)
    bits = [np.ascontiguousarray(side).view(np.uint8).reshape(*side.shape, side.itemsize) for side in (before, after)]
    changed: NDArray[np.bool_] = (bits[0] != bits[1]).any(axis=-1) & ~(np.isnan(before) & np.isnan(after))
    return changed


def _text(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return f"{value}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    return repr(value)
