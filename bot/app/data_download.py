"""Download market history from Bybit into the native store: bars, trades, funding, and the instruments' filters.

What the store holds already is not asked for again, nor what the venue is known not to have. A file of the store is
written as soon as its whole stretch is there, so a download that ends early, however it ends, leaves whole files, and
the next one goes on behind them. At the end what is there is counted against what there should be.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bot.app.download_datasets import DatasetJob, Downloaded, download_bars, download_funding, download_trades
from bot.core.durations import format_duration
from bot.domain.errors import ConfigError, DataError, StorageError
from bot.runtime.env import StopFlag, Stopwatch, SystemClock, seeded_generator
from bot.store.download_log import DownloadLog
from bot.store.market_store import MarketStore
from bot.venues.bybit.history import ARCHIVE, MAINNET, TESTNET, BybitHistory
from bot.venues.bybit.history_pages import INTERVALS

KINDS = ("klines", "trades", "funding", "mark", "index")
CATEGORIES = ("linear", "spot")
_SYMBOL = re.compile(r"[A-Z0-9]{2,30}")
_SPOT_KINDS = ("klines", "trades")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What to download.

    Attributes:
        symbols: as the venue spells them.
        kinds: of `KINDS`.
        intervals_ns: lengths of the bars, the mark's and the index's too.
        from_ns, to_ns: the range; None for up to now.
        store: the root of the native store.
        base_url: of the REST interface, or "mainnet" or "testnet".
        again: fetch also what is there already, and replace what differs.
        delisted: take symbols that the venue does not list.
    """

    symbols: tuple[str, ...]
    kinds: tuple[str, ...]
    intervals_ns: tuple[int, ...]
    from_ns: int
    to_ns: int | None
    category: str = "linear"
    store: Path = Path("data/market")
    base_url: str = "mainnet"
    archive_url: str = ARCHIVE
    again: bool = False
    delisted: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be downloaded.

        Raises:
            ConfigError: with what would be right.
        """
        _one_of(self.category, CATEGORIES, "--category")
        for kind in self.kinds:
            _one_of(kind, KINDS, "--kind")
            if self.category == "spot" and kind not in _SPOT_KINDS:
                raise ConfigError(f"--kind {kind}: spot has none; of spot there are {' and '.join(_SPOT_KINDS)}")
        for symbol in self.symbols:
            if not _SYMBOL.fullmatch(symbol):
                raise ConfigError(f"{symbol}: not a symbol of the venue; write it in capital letters, like BTCUSDT")
        for interval_ns in self.intervals_ns:
            if interval_ns not in INTERVALS:
                known = ", ".join(map(format_duration, INTERVALS))
                raise ConfigError(
                    f"--interval {format_duration(interval_ns)}: the venue has bars of {known}; make others of these"
                )
        if self.to_ns is not None and self.to_ns <= self.from_ns:
            raise ConfigError("--to: not after --from; nothing is wanted")
        if self.base_url == "testnet" and "trades" in self.kinds:
            raise ConfigError("--kind trades: there is no archive of the testnet's trades; leave it out")
        for option, url in (("--base-url", self.rest_url), ("--archive-url", self.archive_url)):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigError(f"{option} {url}: not a URL; write mainnet, testnet or https://host")

    @property
    def rest_url(self) -> str:
        """Return the REST interface's address."""
        return {"mainnet": MAINNET, "testnet": TESTNET}.get(self.base_url, self.base_url)

    @property
    def venue(self) -> str:
        """Return the venue's name in the store; the testnet's prices are kept apart."""
        is_testnet = self.rest_url.rstrip("/") == TESTNET
        return f"bybit-testnet-{self.category}" if is_testnet else f"bybit-{self.category}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a download is."""

    done: float  # of all, 0 to 1
    what: str  # the dataset, such as "BTCUSDT bars-1m"
    at_ns: int  # the time reached in it
    rows_per_second: float  # of this dataset so far


class Patience:
    """Sleeps on a flag, and tells why; see `venues.bybit.history.Waiting`."""

    def __init__(self, flag: StopFlag, on_note: Callable[[str], None]) -> None:
        self.wait = flag.wait
        self.tell = on_note


def connect(wanted: Wanted, flag: StopFlag, on_note: Callable[[str], None]) -> BybitHistory:
    """Return a client of the venue. Setting the flag ends its waits, with `runtime.env.Stopped`."""
    clock = SystemClock()
    return BybitHistory(
        base_url=wanted.rest_url,
        archive_url=wanted.archive_url,
        clock=clock,
        waiting=Patience(flag, on_note),
        dice=seeded_generator(clock.now_ns(), "retries").random,
    )


def download(
    wanted: Wanted,
    history: BybitHistory,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_done: Callable[[Downloaded], None] = lambda done: None,
) -> list[Downloaded]:
    """Bring what is wanted into the store; return what became of each dataset.

    Blocks for as long as it takes: call it from a worker thread.

    Raises:
        DataError: a symbol is unknown, an answer stays wrong, or the store holds something that does not go with it.
        VenueError: the venue refuses, or cannot be reached.
        StorageError: the disk refuses.
    """
    now_ns = history.server_time_ns()
    if wanted.from_ns >= now_ns:
        raise DataError("--from lies in the future, by the venue's clock")
    for symbol in wanted.symbols:
        _write_instrument(wanted, history, symbol, now_ns)
    results = []
    tasks = [(symbol, kind) for symbol in wanted.symbols for kind in _store_kinds(wanted)]
    for index, (symbol, kind) in enumerate(tasks):
        job = _make_job(wanted, history, symbol, kind, now_ns=now_ns)
        watch = Stopwatch()

        def tell(part: float, at_ns: int, rows: int, index: int = index, watch: Stopwatch = watch) -> None:
            rate = rows / max(watch.seconds(), 1e-3)
            what = " ".join(tasks[index])
            done = (index + part) / len(tasks)
            on_progress(Progress(done=done, what=what, at_ns=at_ns, rows_per_second=rate))

        family = kind.partition("-")[0]
        run = {"trades": download_trades, "funding": download_funding}.get(family, download_bars)
        requests = history.requests
        done = run(job, tell)
        done.requests = history.requests - requests
        tell(1.0, done.to_ns, done.new)
        results.append(done)
        on_done(done)
    return results


def _make_job(wanted: Wanted, history: BybitHistory, symbol: str, kind: str, *, now_ns: int) -> DatasetJob:
    store = MarketStore(wanted.store)
    return DatasetJob(
        history=history,
        store=store,
        log=DownloadLog(store.root / wanted.venue / symbol),
        venue=wanted.venue,
        category=wanted.category,
        symbol=symbol,
        kind=kind,
        from_ns=wanted.from_ns,
        to_ns=now_ns if wanted.to_ns is None else min(wanted.to_ns, now_ns),
        now_ns=now_ns,
        again=wanted.again,
    )


def _store_kinds(wanted: Wanted) -> list[str]:
    """Return the datasets of one symbol, as the store calls them."""
    found = []
    for kind in wanted.kinds:
        family = {"klines": "bars"}.get(kind, kind)
        if kind in ("trades", "funding"):
            found.append(family)
        else:
            found += [f"{family}-{format_duration(interval_ns)}" for interval_ns in wanted.intervals_ns]
    return found


def _write_instrument(wanted: Wanted, history: BybitHistory, symbol: str, now_ns: int) -> None:
    """Write `instrument.toml` into the symbol's folder, where the venue lists it."""
    found = history.instruments(wanted.category, symbol)
    if not found:
        if wanted.delisted:
            return
        raise DataError(
            f"{symbol}: {wanted.rest_url} lists no such {wanted.category} symbol; check its spelling, or add "
            "--delisted for one that is gone"
        )
    path = wanted.store / wanted.venue / symbol / "instrument.toml"
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(found[0].to_toml(asked_ns=now_ns, source=wanted.rest_url), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another --store") from error


def _one_of(word: str, known: Sequence[str], option: str) -> None:
    if word not in known:
        raise ConfigError(f"{option} {word}: not known; choose of {', '.join(known)}")
