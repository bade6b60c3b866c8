"""`bot data download`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from pydantic import TypeAdapter, ValidationError

from bot.app import data_download as downloading
from bot.app.download_datasets import Downloaded
from bot.cli.output import Json, err, progress
from bot.core.durations import parse_duration
from bot.domain.errors import BotError, ConfigError
from bot.runtime.env import StopFlag, run_in_thread
from bot.runtime.setting_types import Time
from bot.venues.bybit.history import ARCHIVE
from bot.venues.bybit.history_pages import iso

_GAPS_SHOWN = 5


def download(
    symbols: Annotated[list[str], typer.Argument(help="As the venue spells them: BTCUSDT ETHUSDT.")],
    start: Annotated[str, typer.Option("--from", help="First moment, UTC: 2024-03-01 or with a time.")],
    end: Annotated[str | None, typer.Option("--to", help="First moment after the end, UTC; now if left out.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="klines, trades, funding, mark, index; several with commas. Klines and funding if left out."),
    ] = None,
    interval: Annotated[str, typer.Option(help="Length of the bars; several with commas: 1m,1h.")] = "1m",
    category: Annotated[str, typer.Option(help="linear or spot.")] = "linear",
    store: Annotated[Path, typer.Option(help="Root of the market store.")] = Path("data/market"),
    base_url: Annotated[str, typer.Option("--base-url", help="mainnet, testnet, or the REST address.")] = "mainnet",
    archive_url: Annotated[str, typer.Option("--archive-url", help="Where the archive of trades is.")] = ARCHIVE,
    again: Annotated[bool, typer.Option("--again", help="Fetch also what is there, and replace what differs.")] = False,
    delisted: Annotated[bool, typer.Option("--delisted", help="Take symbols that the venue does not list.")] = False,
    as_json: Json = False,
) -> None:
    """Download market history from Bybit into the store, and say what is missing. Again, it goes on where it was."""
    wanted = downloading.Wanted(
        symbols=tuple(dict.fromkeys(symbols)),
        kinds=_words(kind if kind is not None else "klines" if category == "spot" else "klines,funding"),
        intervals_ns=tuple(_interval_ns(word) for word in _words(interval)),
        from_ns=_time_ns("--from", start),
        to_ns=None if end is None else _time_ns("--to", end),
        category=category,
        store=store,
        base_url=base_url,
        archive_url=archive_url,
        again=again,
        delisted=delisted,
    )
    results: list[Downloaded] = []
    is_interrupted = False
    try:
        with progress("download") as tell:
            _download(wanted, tell, results)
    except KeyboardInterrupt:
        is_interrupted = True
    except BotError:
        _print(results, as_json)  # these are whole, whatever became of the others
        raise
    _print(results, as_json)
    if is_interrupted:
        err.print("bot: interrupted; what is stored stays, and the same command goes on behind it", markup=False)
        raise typer.Exit(1)


def _download(wanted: downloading.Wanted, tell: Callable[[float, str], None], results: list[Downloaded]) -> None:
    """Download in a thread, so that Ctrl-C is heard; add to `results` what is done."""

    def on_progress(at: downloading.Progress) -> None:
        tell(at.done, f"{at.what}, {iso(at.at_ns)[:16]}, {at.rows_per_second:,.0f} rows/s")

    def work(flag: StopFlag) -> None:
        with downloading.connect(wanted, flag, lambda note: err.print(note, markup=False)) as history:
            downloading.download(wanted, history, on_progress=on_progress, on_done=results.append)

    run_in_thread(work)


def _print(results: list[Downloaded], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode({"datasets": [_as_json(each) for each in results]}).decode() + "\n")
        return
    for each in results:
        for line in _lines(each):
            typer.echo(line)


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _interval_ns(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--interval: {error}") from error


def _time_ns(option: str, text: str) -> int:
    try:
        value: int | None = TypeAdapter(Time).validate_python(text)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{option} {text}: {reason}") from error
    if value is None:
        raise ConfigError(f"{option}: empty; write a time such as 2024-03-01")
    return value


def _lines(done: Downloaded) -> list[str]:
    unit = "days" if done.kind == "trades" else "rows"
    of = "" if done.expected is None else f" of {done.expected:,}"
    head = f"{done.symbol} {done.kind}: {done.rows:,}{of} {unit} from {iso(done.from_ns)} to {iso(done.to_ns)}"
    lines = [f"{head}; {done.new:,} rows new, {done.requests:,} requests"]
    if done.replaced:
        lines.append(f"  {done.replaced:,} rows differed from what was there and were replaced")
    if done.rejected:
        lines.append(f"  {done.rejected:,} rows cannot be right and were left out; the store's rejected/ lists them")
    if done.before_ns:
        lines.append(f"  nothing before {iso(done.from_ns + done.before_ns)}")
    if done.after_ns:
        lines.append(f"  nothing after {iso(done.to_ns - done.after_ns)}")
    word = "possible gap" if done.kind == "funding" else "gap"
    lines += [f"  {word}: {iso(lo)} to {iso(hi)}" for lo, hi in done.gaps[:_GAPS_SHOWN]]
    if len(done.gaps) > _GAPS_SHOWN:
        lines.append(f"  and {len(done.gaps) - _GAPS_SHOWN:,} more {word}s; --json lists them")
    if done.pending:
        lines.append(f"  not in the archive yet: {', '.join(done.pending)}; run it again later")
    if done.kept:
        lines.append(f"  from another source, left as they are: {', '.join(done.kept[:_GAPS_SHOWN])}")
    return lines


def _as_json(done: Downloaded) -> dict[str, Any]:
    return {
        "venue": done.venue,
        "symbol": done.symbol,
        "kind": done.kind,
        "from": iso(done.from_ns),
        "to": iso(done.to_ns),
        "rows": done.rows,
        "expected": done.expected,
        "missing": done.missing,
        "new": done.new,
        "replaced": done.replaced,
        "rejected": done.rejected,
        "gaps": [[iso(lo), iso(hi)] for lo, hi in done.gaps],
        "before_first_seconds": done.before_ns // 1_000_000_000,
        "after_last_seconds": done.after_ns // 1_000_000_000,
        "pending": list(done.pending),
        "kept": list(done.kept),
        "requests": done.requests,
    }
