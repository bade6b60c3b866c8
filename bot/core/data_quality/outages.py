"""Holes that all symbols of a venue have at the same time: the venue stood still, not one quiet symbol."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bot.core.data_quality.findings import Example, Finding, Holes, Limits, Severity, many, when
from bot.core.durations import format_duration
from bot.domain.market import I64


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """A stretch of intervals that no symbol has."""

    start_ns: int
    intervals: int
    symbols: int  # that have bars before and after it, all of them


def common_holes(holes: Mapping[str, Holes]) -> list[Outage]:
    """Return the stretches that every symbol lacks that has bars both before and after, and at least two have.

    All holes must be of one interval. In order of time.
    """
    events: list[I64] = []
    for each in holes.values():
        # position, change of how many symbols are there, change of how many lack it
        ends = each.start + each.length
        ones, nothing = np.ones_like(each.start), np.zeros_like(each.start)
        events.append(np.stack([each.start, nothing, ones]))
        events.append(np.stack([ends, nothing, -ones]))
        events.append(np.array([[each.first, each.last + 1], [1, -1], [0, 0]]))
    if not events:
        return []
    joined = np.concatenate(events, axis=1)
    joined = joined[:, np.argsort(joined[0], kind="stable")]
    position = joined[0]
    there, lacking = np.cumsum(joined[1]), np.cumsum(joined[2])
    is_last = np.append(np.diff(position) > 0, True)  # of the events at one position only the sum counts
    position, there, lacking = position[is_last], there[is_last], lacking[is_last]
    is_out = (there >= 2) & (lacking == there)
    interval_ns = next(iter(holes.values())).interval_ns
    outages: list[Outage] = []
    for i in np.flatnonzero(is_out).tolist():
        length = int(position[i + 1] - position[i])
        start_ns = int(position[i]) * interval_ns
        last = outages[-1] if outages else None
        if last is not None and last.start_ns + last.intervals * interval_ns == start_ns:
            outages[-1] = Outage(
                start_ns=last.start_ns, intervals=last.intervals + length, symbols=min(last.symbols, int(there[i]))
            )
        else:
            outages.append(Outage(start_ns=start_ns, intervals=length, symbols=int(there[i])))
    return outages


def find_outages(venue: str, holes: Mapping[str, Holes], limits: Limits) -> list[Finding]:
    """Return the outages of a venue as a finding.

    Short holes in common are left out: symbols are quiet at the same hours, so that they come by chance.
    """
    stretches = common_holes(holes)
    interval_ns = next(iter(holes.values())).interval_ns if holes else 1
    outages = [stretch for stretch in stretches if stretch.intervals * interval_ns >= limits.outage_ns]
    if not outages:
        return []
    longest = sorted(outages, key=lambda outage: (-outage.intervals, outage.start_ns))[: limits.examples]
    kept = tuple(
        Example(
            row=None,
            ts_ns=outage.start_ns,
            text=f"{format_duration(outage.intervals * interval_ns)} missing after "
            f"{when(outage.start_ns - interval_ns)} in all {outage.symbols} symbols",
        )
        for outage in longest
    )
    missing, unit = sum(outage.intervals for outage in outages), format_duration(interval_ns)
    return [
        Finding(
            code="venue.outage",
            severity=Severity.WARNING,
            message=f"{venue}: {many(len(outages), 'outage')}, {missing:,} {unit} intervals that "
            f"{', '.join(sorted(holes))} lack together, the longest {kept[0].text}; nothing could be traded there, and "
            f"{len(stretches) - len(outages):,} shorter holes in common may be quiet ones",
            count=len(outages),
            examples=kept,
        )
    ]
