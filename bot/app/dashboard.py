"""Wires the dashboard: run directories and ledgers to the page's server."""

import asyncio
import os
import re
import tomllib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from bot.domain.errors import ConfigError, DataError
from bot.domain.operation import STATUS_FILE
from bot.operator.page_figures import SECOND, candles, equity_of, importance_of, interval_of
from bot.operator.page_server import PageServer
from bot.operator.status_client import StatusAt, find_status
from bot.runtime.env import WriterThread, make_token
from bot.runtime.operator_settings import DashboardSettings
from bot.store.page_reader import PageReader
from bot.store.tape_parts import read_rows, rows_stamp

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}")  # a + joins several strategies
_BARS = 1_200  # of a chart
_POINTS = 1_500  # of equity
_MARKS = 300  # executions on a chart
_LOG_BYTES = 131_072
_LOG_LINES = 200
_CACHED = 4  # runs whose columns are kept in memory
_RUNS_MAX = 500
_METRICS = ("total_return", "end_equity", "start_equity", "sharpe", "max_drawdown", "win_rate", "fees", "currency")


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the charts need of a run: by instrument, columns of its bars and of its forecasts."""

    tape: dict[str, dict[str, Any]]
    forecasts: dict[str, dict[str, Any]]
    about: dict[str, Any]  # of the forecasts: horizons, levels, scales
    equity: dict[str, list[Any]] = field(default_factory=dict)  # drawn when first asked for


class RunLibrary:
    """The runs of a directory: a `PageSource`.

    Args:
        directory: the one that holds the runs' directories.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cache: OrderedDict[tuple[str, int], _Columns] = OrderedDict()

    def runs(self) -> list[dict[str, Any]]:
        """See `PageSource`."""
        return [self._summary(name) for name in self._names()[:_RUNS_MAX]]

    def run(self, name: str) -> dict[str, Any]:
        """See `PageSource`."""
        directory = self._find(name)
        summary = self._summary(name)
        about: dict[str, Any] = {}
        books: list[dict[str, Any]] = []
        with suppress(DataError):
            reader = self._reader(name)
            about, books = reader.run(), reader.books()
        columns = self._columns(directory)
        if not columns.equity:
            parts = [(each["close_ns"], each["profit"]) for each in columns.tape.values()]
            columns.equity.update(equity_of(float(about.get("start_cash") or 0), parts, _POINTS))
        equity = columns.equity
        if not equity["t"] and about:
            equity = _of_marks(self._reader(name).equity(_POINTS))
        told = {"about": about, "equity": equity, "instruments": sorted(columns.tape), "books": books}
        return {**summary, **told, "forecasts": sorted(columns.forecasts)}

    def chart(self, name: str, instrument: str, span_s: int) -> dict[str, Any]:
        """See `PageSource`."""
        columns = self._columns(self._find(name))
        tape = columns.tape.get(instrument)
        if tape is None or not len(tape["close_ns"]):
            return {"bars": candles(np.empty(0, np.int64), (np.empty(0),) * 5, 1), "interval": 60, "fills": []}
        close_ns = tape["close_ns"]
        end_ns = int(close_ns[-1])
        whole_ns = end_ns - int(close_ns[0]) + SECOND
        span_ns = min(span_s * SECOND, whole_ns) if span_s else whole_ns
        interval_ns = interval_of(span_ns, _BARS)
        first = int(np.searchsorted(close_ns, end_ns - span_ns, side="right"))
        series = tuple(tape[each][first:] for each in ("open", "high", "low", "close", "volume"))
        from_ns = end_ns - span_ns if span_ns < whole_ns else 0
        fills = self._reader(name).marks(instrument, from_ns, end_ns + 86_400 * SECOND, _MARKS)
        answer: dict[str, Any] = {
            "bars": candles(close_ns[first:], series, interval_ns),
            "interval": interval_ns // SECOND,
            "fills": [[ts_ns // SECOND, side, price, qty] for ts_ns, side, price, qty in reversed(fills)],
        }
        said = columns.forecasts.get(instrument)
        if said is not None:
            row = int(np.searchsorted(said["close_ns"], end_ns - span_ns))
            answer["importance"] = importance_of(said["close_ns"][row:], said["importance"][row:], 400)
            answer["scales"] = [each // SECOND for each in columns.about["scales_ns"]]
        return answer

    def fan(self, name: str, instrument: str, at_s: int) -> dict[str, Any]:
        """See `PageSource`."""
        columns = self._columns(self._find(name))
        said, tape = columns.forecasts.get(instrument), columns.tape.get(instrument)
        if said is None or tape is None or not len(said["close_ns"]):
            raise DataError("no forecasts were kept of this run")
        at_ns = at_s * SECOND if at_s else int(said["close_ns"][-1])
        row = max(int(np.searchsorted(said["close_ns"], at_ns, side="right")) - 1, 0)
        close_ns = int(said["close_ns"][row])
        bar = max(int(np.searchsorted(tape["close_ns"], close_ns, side="right")) - 1, 0)
        return {
            "at": close_ns // SECOND,
            "close": float(tape["close"][bar]),
            "horizons": [each // SECOND for each in columns.about["horizons_ns"]],
            "levels": columns.about["levels"],
            "quantiles": said["quantiles"][row].tolist(),
            "scales": [each // SECOND for each in columns.about["scales_ns"]],
            "importance": said["importance"][row].tolist(),
        }

    def trades(self, name: str, before: int, count: int) -> list[dict[str, Any]]:
        """See `PageSource`."""
        return self._reader(name).trades(before, count)

    def log(self, name: str) -> list[dict[str, Any]]:
        """See `PageSource`."""
        path = self._find(name) / "log.jsonl"
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _LOG_BYTES))
                lines = file.read(_LOG_BYTES).splitlines()[-_LOG_LINES:]
        except OSError:
            return []
        found = []
        for line in lines:
            with suppress(msgspec.DecodeError, RecursionError):
                row = msgspec.json.decode(line)
                if isinstance(row, dict):
                    found.append({str(key): _short(value) for key, value in row.items()})
        return found

    def status_at(self, name: str) -> StatusAt | None:
        """See `PageSource`."""
        directory = self._find(name)
        return find_status(directory) if (directory / STATUS_FILE).is_file() else None

    def _names(self) -> list[str]:
        try:
            entries = [
                each.name
                for each in os.scandir(self._directory)
                if _NAME.fullmatch(each.name) and each.is_dir(follow_symlinks=False)
            ]
        except OSError as error:
            raise DataError(f"{self._directory}: {error.strerror}") from error
        kept = [name for name in entries if (self._directory / name / "config.toml").is_file()]
        return sorted(kept, reverse=True)

    def _find(self, name: str) -> Path:
        """Return a run's directory: a name that leads anywhere else finds nothing."""
        directory = self._directory / name
        if not _NAME.fullmatch(name) or directory.is_symlink() or not (directory / "config.toml").is_file():
            raise DataError("no such run")
        return directory

    def _summary(self, name: str) -> dict[str, Any]:
        directory = self._find(name)
        summary: dict[str, Any] = {"name": name, "live": (directory / STATUS_FILE).is_file()}
        with suppress(OSError, ValueError, RecursionError):
            path = directory / "metrics.json"
            if path.stat().st_size <= 4 << 20:
                metrics = msgspec.json.decode(path.read_bytes())
                wanted = (*_METRICS, "from", "to", "fills", "mode", "strategy", "in_sample")
                summary |= {key: metrics.get(key) for key in wanted}
        return summary

    def _reader(self, name: str) -> PageReader:
        directory = self._find(name)
        return PageReader(str(self._ledger_of(directory)), name)

    def _ledger_of(self, directory: Path) -> str | Path:
        if (directory / "ledger.sqlite").is_file():
            return directory
        try:
            settings = tomllib.loads((directory / "config.toml").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{directory}: its settings cannot be read") from error
        at = settings.get("ledger", {}).get("at")
        if at:
            return str(at)
        venue = settings.get("venue", {})
        label = "-".join(str(venue[key]) for key in ("environment", "uid") if venue.get(key))
        if not _NAME.fullmatch(label):
            raise DataError(f"{directory}: no ledger here")
        return self._directory / "ledgers" / label

    def _columns(self, directory: Path) -> _Columns:
        """Return a run's columns, kept for the runs that were looked at last."""
        key = (directory.name, max(rows_stamp(directory, each) for each in ("tape", "forecasts")))
        if key not in self._cache:
            self._cache[key] = _read_columns(directory)
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]


def _read_columns(directory: Path) -> _Columns:
    tape: dict[str, dict[str, Any]] = {}
    forecasts: dict[str, dict[str, Any]] = {}
    about: dict[str, Any] = {}
    try:
        bars, table = read_rows(directory, "tape"), read_rows(directory, "forecasts")
        if bars is not None:
            tape = _by_instrument(bars)
        if table is not None:
            about = msgspec.json.decode((table.schema.metadata or {})[b"forecasts"])
            if about["horizons_ns"]:
                forecasts = _by_instrument(table.drop_columns(["quantiles", "importance"]))
                names = table["instrument"].to_numpy(zero_copy_only=False)
                for name, columns in forecasts.items():
                    part = table.filter(pa.array(names == name))
                    shape = (part.num_rows, len(about["horizons_ns"]), len(about["levels"]))
                    columns["quantiles"] = _flat(part["quantiles"]).reshape(shape)
                    columns["importance"] = _flat(part["importance"]).reshape(part.num_rows, len(about["scales_ns"]))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DataError(f"{directory}: its tape or forecasts are damaged ({error})") from error
    return _Columns(tape=tape, forecasts=forecasts, about=about)


def _by_instrument(table: pa.Table) -> dict[str, dict[str, Any]]:
    names = table["instrument"].to_numpy(zero_copy_only=False)
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(set(names)):
        part = table.filter(pa.array(names == name))
        found[str(name)] = {each: part[each].to_numpy() for each in part.column_names if each != "instrument"}
    return found


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    values: np.ndarray = column.combine_chunks().flatten().to_numpy()
    return values


def _of_marks(marks: list[tuple[int, float]]) -> dict[str, list[Any]]:
    peak, drawdown = 0.0, []
    for _, equity in marks:
        peak = max(peak, equity)
        drawdown.append(equity / peak - 1 if peak > 0 else 0.0)
    return {"t": [ts // SECOND for ts, _ in marks], "equity": [each for _, each in marks], "drawdown": drawdown}


def _short(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 400 else text[:399] + "\N{HORIZONTAL ELLIPSIS}"


async def serve_dashboard(directory: Path, settings: DashboardSettings, on_ready: Callable[[str, str], None]) -> None:
    """Serve the page until cancelled.

    Args:
        directory: the one that holds the runs' directories.
        settings: of the page.
        on_ready: told the address, and the address with the token, once it listens.

    Raises:
        ConfigError: the settings or the directory are no good, or the port is taken.
    """
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.proxied:
        raise ConfigError(
            f"dashboard.host = {settings.host}: others would read it unencrypted; "
            "keep 127.0.0.1 and use a tunnel, or put a TLS proxy before it and say proxied = true"
        )
    token = keep_token(directory / ".dashboard_token")
    thread = WriterThread("dashboard")
    server = PageServer(
        RunLibrary(directory),
        off_loop=thread,
        token=token,
        has_controls=settings.controls,
        pages=settings.pages,
        hosts=settings.hosts,
    )
    try:
        port = await server.listen(settings.host, settings.port)
    except OSError as error:
        thread.close()
        raise ConfigError(f"port {settings.port} is taken ({error.strerror}); choose another with --port") from error
    try:
        address = f"http://{settings.host}:{port}/"
        on_ready(address, f"{address}#{token}")
        await asyncio.Event().wait()
    finally:
        await server.stop()
        thread.close()


def keep_token(path: Path) -> str:
    """Return the token of the page, made at the first start and kept for its owner alone.

    Raises:
        ConfigError: it cannot be kept, or others can read it.
    """
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no directory of runs; make one by `bot replay`, or give --runs")
    try:
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, make_token().encode())
            finally:
                os.close(descriptor)
        if path.is_symlink() or path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others may read it; delete it, and a new one is made")
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the token cannot be kept ({error})") from error
    if len(token) < 32:
        raise ConfigError(f"{path}: no token in it; delete it, and a new one is made")
    return token
