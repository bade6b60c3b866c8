"""`bot data`: bring market data into the store, and list what it holds."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from bot.app.data import FileDone, import_files, list_store
from bot.cli.data_check import check
from bot.cli.data_download import download
from bot.cli.output import Json, err, progress
from bot.cli.source_options import Decimals, Depth, Interval, Kind, Map, Symbol, TimeUnit, Venue, make_options
from bot.domain.errors import DataError, StorageError
from bot.store.market_store import Written

data_app = typer.Typer(no_args_is_help=True, help="Market data: import, download, list, check.")

Store = Annotated[Path, typer.Option("--store", help="The market store's folder.")]
_STORE = Path("data/market")
_COUNTS = ("new", "repeated", "replaced", "rejected", "rounded")


@data_app.command("import")
def data_import(
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders whose files are all to be imported.")],
    store: Store = _STORE,
    venue: Venue = None,
    symbol: Symbol = None,
    kind: Kind = None,
    interval: Interval = None,
    columns: Map = [],  # noqa: B006
    time_unit: TimeUnit = None,
    decimals: Decimals = None,
    depth: Depth = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a file if one of its rows cannot be right.")] = False,
    as_json: Json = False,
) -> None:
    """Import files into the market store: nothing twice, values exact, what cannot be right set aside and reported.

    What a file is, is told by its content and name; an option goes before both, and is said of all files named.
    """
    options = make_options(
        venue=venue,
        symbol=symbol,
        kind=kind,
        interval=interval,
        columns=columns,
        time_unit=time_unit,
        decimals=decimals,
        depth=depth,
    )
    finished: list[FileDone] = []
    try:
        with progress("import") as tell:
            for done in import_files(paths, store=store, options=options, strict=strict, on_progress=tell):
                finished.append(done)
                _tell_file(done)
    except KeyboardInterrupt:
        _print_imported(finished, as_json)
        whole = sum(done.status == "imported" for done in finished)
        err.print(
            f"bot: interrupted; {whole} files were imported, and whole files of the store of the last one at most"
        )
        raise typer.Exit(1) from None
    except StorageError:
        _print_imported(finished, as_json)
        raise
    _print_imported(finished, as_json)
    failed = [done.reason for done in finished if done.status == "failed"]
    if failed:
        raise DataError("\n".join(failed))


@data_app.command("list")
def data_list(store: Store = _STORE, as_json: Json = False) -> None:
    """List the datasets of the market store."""
    datasets = list_store(store)
    if as_json:
        result = [
            {"venue": each.venue, "symbol": each.symbol, "kind": each.kind}
            | {"rows": each.rows, "from": _time(each.first_ns), "to": _time(each.last_ns)}
            | {"first_ns": each.first_ns, "last_ns": each.last_ns, "files": each.files, "bytes": each.bytes}
            for each in datasets
        ]
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    rows = [
        (
            *(each.venue, each.symbol, each.kind, f"{each.rows:,}"),
            *(_time(each.first_ns), _time(each.last_ns), f"{each.files:,}", f"{each.bytes / 1e6:,.1f}"),
        )
        for each in datasets
    ]
    _print_table(("venue", "symbol", "kind", "rows", "first", "last", "files", "MB"), rows, numbers=(3, 6, 7))


data_app.command("check")(check)
data_app.command("download")(download)


def _tell_file(done: FileDone) -> None:
    """Say at once what a person should know of a file: that it was passed over, or what was wrong in it."""
    if done.status == "skipped":
        err.print(f"skipped {done.path}: {done.reason}", markup=False, soft_wrap=True)
    for written in done.written:
        if written.rejected:
            err.print(
                f"{done.path}: {written.rejected:,} rows set aside in {written.rejected_path}",
                markup=False,
                soft_wrap=True,
            )
        for row in written.rejected_first:
            err.print(f"  row {row.row:,}: {row.reason} ({row.text})", markup=False, soft_wrap=True)


def _print_imported(finished: Sequence[FileDone], as_json: bool) -> None:
    totals = _totals(finished)
    if as_json:
        result = {
            "files": [
                {"path": str(done.path), "status": done.status, "what": done.what, "reason": done.reason}
                for done in finished
            ],
            "datasets": [_as_json(each) for each in totals],
        }
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    if not totals:
        return
    counts = [name for name in _COUNTS if name != "rounded" or any(each.rounded for each in totals)]
    rows = [
        (f"{each.venue}/{each.symbol}/{each.kind}", *(f"{getattr(each, name):,}" for name in counts)) for each in totals
    ]
    _print_table(("dataset", *counts), rows, numbers=range(1, len(counts) + 1))


def _totals(finished: Sequence[FileDone]) -> list[Written]:
    """Return what all files together did to each dataset."""
    totals: dict[tuple[str, str, str], Written] = {}
    for done in finished:
        for each in done.written:
            key = (each.venue, each.symbol, each.kind)
            total = totals.get(key) or Written(venue=each.venue, symbol=each.symbol, kind=each.kind)
            sums: dict[str, Any] = {name: getattr(total, name) + getattr(each, name) for name in _COUNTS}
            totals[key] = replace(total, **sums)
    return [totals[key] for key in sorted(totals)]


def _as_json(written: Written) -> dict[str, Any]:
    return {name: getattr(written, name) for name in ("venue", "symbol", "kind", *_COUNTS)}


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int]) -> None:
    widths = [max(len(line[column]) for line in (names, *rows)) for column in range(len(names))]
    for line in (names, *rows):
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())


def _time(ts_ns: int) -> str:
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[s]")).replace("T", " ") + "Z"
