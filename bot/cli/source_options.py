"""What a user may say of files that do not say it themselves: options of the commands that read other people's data."""

from collections.abc import Sequence
from typing import Annotated

import typer

from bot.core.durations import parse_duration
from bot.domain.errors import ConfigError
from bot.store.importing.options import ImportOptions

KINDS = ("trades", "bars", "mark", "index", "funding", "quotes")
UNITS = ("s", "ms", "us", "ns")

Venue = Annotated[str | None, typer.Option(help="Where the data are from, such as bybit-linear.")]
Symbol = Annotated[str | None, typer.Option(help="As the venue spells it, such as BTCUSDT.")]
Kind = Annotated[str | None, typer.Option(help=f"What the files hold: {', '.join(KINDS)}.")]
Interval = Annotated[str | None, typer.Option(help="Length of the bars, such as 1m.")]
Map = Annotated[
    list[str], typer.Option("--map", help="Columns with other names: ts=time,open=o. May be given several times.")
]
TimeUnit = Annotated[str | None, typer.Option("--time-unit", help=f"Of the times: {', '.join(UNITS)}.")]
Decimals = Annotated[
    int | None, typer.Option(min=0, max=18, help="Round numbers with more decimals, instead of refusing their rows.")
]
Depth = Annotated[str | None, typer.Option(help="Of captures with books of several depths: 1, 50, 500 ...")]


def make_options(
    *,
    venue: str | None,
    symbol: str | None,
    kind: str | None,
    interval: str | None,
    columns: Sequence[str],
    time_unit: str | None,
    decimals: int | None,
    depth: str | None,
) -> ImportOptions:
    """Return what was said of the files.

    Raises:
        ConfigError: an option says what cannot be.
    """
    if kind is not None and "-" in kind:  # as the store calls it: bars-1m
        kind, _, length = kind.partition("-")
        if interval not in (None, length):
            raise ConfigError(f"--kind {kind}-{length} and --interval {interval} contradict each other; give one")
        interval = length
    for option, value, known in (("--kind", kind, KINDS), ("--time-unit", time_unit, UNITS)):
        if value is not None and value not in known:
            raise ConfigError(f"{option} {value}: there are {', '.join(known)}; captures and books tell it themselves")
    return ImportOptions(
        venue=venue,
        symbol=symbol,
        kind=kind,
        interval_ns=None if interval is None else _interval_ns(interval),
        columns=dict(_pair(text) for text in ",".join(columns).split(",") if text.strip()),
        time_unit=time_unit,
        decimals=decimals,
        depth=depth,
    )


def _interval_ns(text: str) -> int:
    try:
        interval_ns = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--interval: {error}") from error
    if not interval_ns:
        raise ConfigError("--interval: a bar has a length, such as 1m")
    return interval_ns


def _pair(text: str) -> tuple[str, str]:
    ours, equals, theirs = text.strip().partition("=")
    if not (ours and equals and theirs):
        raise ConfigError(f"--map {text}: write our name, = and the file's name of the column, such as ts=time")
    return ours, theirs
