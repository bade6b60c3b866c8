"""The market store as a replay reads it: exactly, only what is asked for, and the same as the file it came from."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.app.data import import_files
from bot.app.replay_market import open_market
from bot.domain.errors import ConfigError, DataError
from bot.domain.market import NO_FLOW, BarBatch, is_same
from bot.runtime.settings import Settings, load
from bot.store import market_format
from bot.store.grid import to_grid
from bot.store.importing.options import ImportOptions
from bot.store.market_history import ParquetHistory
from bot.store.market_store import MarketStore
from bot.store.store_history import StoreHistory
from tests.support.batches import INSTRUMENT, join
from tests.support.market_parts import DAY_NS, MINUTE_NS, START_NS, bar_part, part_of, trade_part

_BARS = ("open_ns", "open", "high", "low", "close", "volume", "turnover", "count", "buy_volume")


@pytest.fixture
def store(tmp_path: Path) -> MarketStore:
    return MarketStore(tmp_path / "market")


def opened(store: MarketStore, kind: str, **options: Any) -> StoreHistory:
    return StoreHistory(INSTRUMENT, store.directory("bybit-linear", "XUSDT", kind), **options)


def read(history: Any, rows: int = 7) -> Any:
    return join(list(history.slabs(rows)))


def trades(count: int = 40, step_ns: int = DAY_NS // 10) -> list[tuple[Any, ...]]:
    return [(START_NS + n * step_ns, 1000 + n, 1 + n, n % 3 == 0, n + 1) for n in range(count)]


# --- the grid ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    mantissas=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20),
    exponent=st.integers(-9, 0),
    unit=st.sampled_from(
        [Decimal(text) for text in ("1", "0.1", "0.5", "0.25", "0.001", "1e-8", "5", "100", "0.0015")]
    ),
)
def test_mantissas_become_counts_exactly(mantissas: list[int], exponent: int, unit: Decimal) -> None:
    """As fractions say; of two counts equally near the even one."""
    exact = [Fraction(mantissa) * Fraction(10) ** exponent / Fraction(unit) for mantissa in mantissas]
    found = to_grid(np.array(mantissas), exponent, unit)
    off = [value.denominator != 1 for value in exact]
    assert found.counts.tolist() == [round(value) for value in exact]
    assert (found.off_count, found.first_beyond) == (sum(off), -1)
    assert found.first_off == (off.index(True) if any(off) else -1)


@settings(deadline=None)
@given(mantissa=st.integers(-(2**62), 2**62), exponent=st.integers(-18, 0))
@example(mantissa=2**62, exponent=0)
def test_large_mantissas_are_exact_or_named(mantissa: int, exponent: int) -> None:
    """Beyond the range of exact floats the division is a whole one."""
    exact = Fraction(mantissa) * Fraction(10) ** exponent / Fraction(1, 10)
    found = to_grid(np.array([mantissa]), exponent, Decimal("0.1"))
    if found.first_beyond < 0:
        assert found.counts.tolist() == [round(exact)]
    else:
        assert abs(mantissa) * 10 > 2**62


def test_units_beyond_reason_are_named() -> None:
    assert to_grid(np.array([0, 5]), 0, Decimal("1e-30")).first_beyond == 1


# --- trades -----------------------------------------------------------------------------------------------------------


def test_trades_become_ticks_and_steps(store: MarketStore) -> None:
    """From files of different exponents, numbered through; what is finer than the grid may still lie on it."""
    store.write(trade_part(trades(10)), name="x")
    finer = [(START_NS + DAY_NS + n, 100_000 + 100 * n, 5000, True, 100 + n) for n in range(3)]
    store.write(trade_part(finer, price_exponent=-3, qty_exponent=-6), name="y")
    slabs = list(opened(store, "trades").slabs(4))
    assert [slab.first_row for slab in slabs] == [0, 4, 8, 10]
    batch: Any = join(slabs)
    assert batch.ts_ns.tolist() == [row[0] for row in (*trades(10), *finer)]
    assert batch.price_ticks.tolist() == [*range(1000, 1010), 1000, 1001, 1002]
    assert batch.qty_steps.tolist() == [*range(1, 11), 5, 5, 5]
    assert batch.is_buy.tolist() == [row[3] for row in (*trades(10), *finer)]
    for column in (batch.ts_ns, batch.price_ticks, slabs[0].qty_steps, slabs[0].is_buy):
        assert column.flags.writeable, "compiled code is compiled anew for columns that are not"


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_however_it_is_cut_it_is_the_same(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Slabs of any size, files and row groups of any size, and any range: the rows between its ends."""
    rows = trades(60, step_ns=data.draw(st.sampled_from([DAY_NS // 20, DAY_NS // 7, 10**9])))
    store = MarketStore(tmp_path_factory.mktemp("store"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(market_format, "GROUP_ROWS", data.draw(st.integers(1, 40)))
        store.write(trade_part(rows), name="x")
    low, high = sorted(data.draw(st.tuples(st.integers(0, 60), st.integers(0, 60))))
    times = [*(row[0] for row in rows), rows[-1][0] + 1]
    history = opened(store, "trades", from_ns=times[low], to_ns=times[high])
    if low == high:
        with pytest.raises(DataError, match="nothing in the range"):
            history.span_ns()
        assert list(history.slabs(5)) == []
        return
    assert history.span_ns() == (times[low], times[high - 1] + 1)
    batch = read(history, data.draw(st.integers(1, 70)))
    assert batch.ts_ns.tolist() == times[low:high]
    assert batch.price_ticks.tolist() == [row[1] for row in rows[low:high]]


def test_a_range_opens_only_what_it_needs(store: MarketStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 days in 160 row groups, a day and a half."""
    monkeypatch.setattr(market_format, "GROUP_ROWS", 25)
    rows = trades(4000, step_ns=DAY_NS // 100)
    store.write(trade_part(rows), name="x")
    history = opened(store, "trades", from_ns=START_NS + 7 * DAY_NS, to_ns=START_NS + 8 * DAY_NS + DAY_NS // 2)
    opened_before = history.dataset.files_opened
    assert len(read(history)) == 150
    assert history.dataset.files_opened - opened_before == 2
    assert history.dataset.groups_read == 6


def test_a_price_between_two_ticks_is_refused_by_row(store: MarketStore) -> None:
    rows = trades(10)
    rows[7] = (rows[7][0], 1000, 1, True, 8)
    store.write(
        trade_part([(ts, price * 10, qty, buy, id_) for ts, price, qty, buy, id_ in rows], price_exponent=-2), name="x"
    )
    coarse = msgspec.structs.replace(INSTRUMENT, tick_size=Decimal("0.3"))
    with pytest.raises(DataError, match=r"2024-08-08.*row 0 has the price 100\.00.*multiple of 0\.3.*off_grid"):
        read(StoreHistory(coarse, store.directory("bybit-linear", "XUSDT", "trades")))
    history = StoreHistory(coarse, store.directory("bybit-linear", "XUSDT", "trades"), off_grid="round")
    batch = read(history)
    assert batch.price_ticks.tolist() == [round(Fraction(row[1], 3)) for row in rows]
    assert history.rounded_count == sum(row[1] % 3 != 0 for row in rows)


def test_a_quantity_that_is_rounded_away_is_refused(store: MarketStore) -> None:
    store.write(trade_part([(START_NS, 1000, 4, True, 1)], qty_exponent=-4), name="x")
    with pytest.raises(DataError, match="quantity that is not positive on the grid"):
        read(opened(store, "trades", off_grid="round"))


def test_another_symbol_is_refused(store: MarketStore) -> None:
    """A path copied from another instrument and forgotten; the symbol's punctuation does not matter."""
    store.write(trade_part(trades(3), symbol="YUSDT"), name="x")
    with pytest.raises(DataError, match="holds YUSDT, the instrument is XUSDT"):
        StoreHistory(INSTRUMENT, store.directory("bybit-linear", "YUSDT", "trades"))
    store.write(trade_part(trades(3), symbol="X-USDT"), name="x")
    assert len(read(StoreHistory(INSTRUMENT, store.directory("bybit-linear", "X-USDT", "trades")))) == 3


def test_rows_in_disorder_are_named(store: MarketStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody wrote into the file, or put one where it does not belong."""
    monkeypatch.setattr("bot.store.market_store._is_clean", lambda gathered, key: True)
    store.write(trade_part([(START_NS + at, 1000, 1, True, 0) for at in (0, 5, 4)]), name="x")
    with pytest.raises(DataError, match="row 2 comes too early"):
        read(opened(store, "trades"))


# --- bars -------------------------------------------------------------------------------------------------------------


def bar_rows(count: int = 6) -> list[tuple[Any, ...]]:
    return [(START_NS + n * MINUTE_NS, 1000 + n, 1010 + n, 990 + n, 1005 + n, 10 * n) for n in range(count)]


def test_bars_that_tell_no_flow_say_so(store: MarketStore) -> None:
    store.write(bar_part(bar_rows()), name="x")
    history = opened(store, "bars-1m")
    assert history.source_scale_ns == MINUTE_NS
    assert history.span_ns() == (START_NS, START_NS + 6 * MINUTE_NS)
    batch = read(history)
    assert (batch.flags == NO_FLOW).all()
    assert not np.any([batch.turnover, batch.count, batch.buy_steps])
    assert (batch.known_ns == batch.open_ns + MINUTE_NS).all()
    assert batch.close_ticks.tolist() == [1005 + n for n in range(6)]


@pytest.mark.parametrize(
    ("turnover", "count", "buys", "flags", "expected"),
    [
        (1.0004, 7, 4, 0, (10_004, 7, 4)),  # 10 steps of 0.001 at about 100.04, in units of 0.1 * 0.001
        (1.00041, 7, 4, 0, (10_004, 7, 4)),  # finer than a tick times a step: rounded
        (1.0004, -1, -1, 0, (10_004, 0, 0)),  # the turnover alone
        (1.0004, 7, -1, 0, (10_004, 0, 0)),  # half of what the takers did is not known
        (float("nan"), 7, 4, NO_FLOW, (0, 0, 0)),
        (1.2, 7, 4, NO_FLOW, (0, 0, 0)),  # more than the volume at the high: not of this volume
        (0.5, 7, 4, NO_FLOW, (0, 0, 0)),  # less than at the low
        (1e300, 7, 4, NO_FLOW, (0, 0, 0)),
    ],
)
def test_flow_is_trusted_where_it_can_be_true(
    store: MarketStore, turnover: float, count: int, buys: int, flags: int, expected: tuple[int, int, int]
) -> None:
    row = (START_NS, 1000, 1010, 990, 1005, 10, turnover, count, buys)
    store.write(part_of("bars-1m", [row], names=_BARS), name="x")
    batch = read(opened(store, "bars-1m"))
    assert (int(batch.flags[0]), (batch.turnover[0], batch.count[0], batch.buy_steps[0])) == (flags, expected)


def test_a_minute_without_trades_has_known_flow(store: MarketStore) -> None:
    store.write(part_of("bars-1m", [(START_NS, 1000, 1000, 1000, 1000, 0, 0.0, 0, 0)], names=_BARS), name="x")
    assert read(opened(store, "bars-1m")).flags.tolist() == [0]


# --- the same as the file it came from --------------------------------------------------------------------------------


def both(tmp_path: Path, frame: pd.DataFrame, name: str, kind: Any, **options: Any) -> tuple[Any, Any, Any, Any]:
    """Return a file's rows read directly and through the store, with both histories."""
    path = tmp_path / f"xusdt_bybit_linear_{name}.parquet"
    frame.to_parquet(path)
    (done,) = import_files([path], store=tmp_path / "market", options=ImportOptions())
    assert done.status == "imported", done.reason
    scale_ns = MINUTE_NS if kind == "bars" else None
    direct = ParquetHistory(INSTRUMENT, path, kind=kind, scale_ns=scale_ns, **options)
    folder = "bars-1m" if kind == "bars" else "trades"
    native = StoreHistory(INSTRUMENT, tmp_path / "market" / "bybit-linear" / "XUSDT" / folder, **options)
    return read(direct), read(native), direct, native


def test_bars_are_those_of_the_file(tmp_path: Path) -> None:
    generator = np.random.Generator(np.random.PCG64(5))
    ticks = 20_000 + np.cumsum(generator.integers(-3, 4, 5000))
    frame = pd.DataFrame(
        {
            "ts": START_NS // 10**6 + np.arange(5000) * 60_000,
            "open": ticks / 10,
            "high": (ticks + 7) / 10,
            "low": (ticks - 7) / 10,
            "close": (ticks + 3) / 10,
            "volume": generator.integers(0, 10**6, 5000) / 1000,
        }
    ).drop(index=[17, 18, 400])
    direct, native, *_ = both(tmp_path, frame, "1m", "bars")
    assert is_same(direct, native)
    assert isinstance(native, BarBatch)


@pytest.mark.parametrize("off_grid", ["refuse", "round"])
def test_trades_are_those_of_the_file(tmp_path: Path, off_grid: str) -> None:
    generator = np.random.Generator(np.random.PCG64(6))
    ticks = generator.integers(10_000, 20_000, 9000)
    frame = pd.DataFrame(
        {
            "ts": START_NS // 10**6 + np.sort(generator.integers(0, 3 * 86_400_000, 9000)),
            "price": ticks / 10 if off_grid == "refuse" else np.round(ticks / 37, 4),
            "size": generator.integers(1, 10**6, 9000) / 1000,
            "side": generator.integers(0, 2, 9000),
        }
    )
    direct, native, direct_history, native_history = both(tmp_path, frame, "trades", "trades", off_grid=off_grid)
    assert is_same(direct, native)
    assert direct_history.rounded_count == native_history.rounded_count
    assert (native_history.rounded_count > 0) == (off_grid == "round")


# --- funding ----------------------------------------------------------------------------------------------------------


def test_funding_of_the_store_and_of_a_file_are_the_same(store: MarketStore, tmp_path: Path) -> None:
    hour_ns = 3_600 * 10**9
    rates = [0.0001, -0.00012383, 0.00000001, 0.0]
    ts = [START_NS + n * 8 * hour_ns for n in range(4)]
    path = tmp_path / "funding_bybit_linear_8h.parquet"
    pd.DataFrame({"ts": np.array(ts) // 10**6, "symbol": "XUSDT", "funding_rate": rates}).to_parquet(path)
    list(import_files([path], store=store.root, options=ImportOptions()))
    store.write([trade_part(trades(3)), bar_part(bar_rows())], name="x")
    folder = store.directory("bybit-linear", "XUSDT", "funding")
    bars = tmp_path / "bars.parquet"
    times = [row[0] // 10**6 for row in bar_rows()]
    pd.DataFrame({"ts": times} | dict.fromkeys(("open", "high", "low", "close", "volume"), [1.0] * 6)).to_parquet(bars)
    limits = {"from_ns": START_NS + 1, "to_ns": START_NS + 24 * hour_ns}
    histories = [
        opened(store, "trades", funding_path=folder, **limits),
        opened(store, "bars-1m", funding_path=path, **limits),
        ParquetHistory(INSTRUMENT, bars, kind="bars", scale_ns=MINUTE_NS, funding_path=folder, **limits),
        ParquetHistory(INSTRUMENT, bars, kind="bars", scale_ns=MINUTE_NS, funding_path=path, **limits),
    ]
    for history in histories:
        funding = history.funding()
        assert funding is not None
        assert (funding.ts_ns.tolist(), funding.rate_e8.tolist()) == (ts[1:3], [-12_383, 1])
    assert opened(store, "trades").funding() is None


def test_funding_that_cannot_be_right_is_refused(store: MarketStore) -> None:
    store.write([trade_part(trades(3)), part_of("funding", [(START_NS, 5)], price_exponent=-1)], name="x")
    folder = store.directory("bybit-linear", "XUSDT", "funding")
    with pytest.raises(DataError, match=r"is 0\.5 or out of order"):
        opened(store, "trades", funding_path=folder).funding()
    with pytest.raises(DataError, match="not funding"):
        opened(store, "trades", funding_path=store.directory("bybit-linear", "XUSDT", "trades")).funding()


# --- settings ---------------------------------------------------------------------------------------------------------

CONFIG = """
[market]
source = "files"
[[market.instruments]]
name = "XUSDT"
base = "XX"
quote = "USDT"
tick_size = 0.1
qty_step = 0.001
qty_min = 0.001
qty_max = 1000
{source}
[strategy]
name = "sma_cross"
"""


def settings_of(tmp_path: Path, source: str) -> Settings:
    path = tmp_path / "c.toml"
    path.write_text(CONFIG.format(source=source))
    return load(path)


@pytest.mark.parametrize("kind", ["trades", "bars-1m"])
def test_settings_name_a_folder_of_the_store(store: MarketStore, tmp_path: Path, kind: str) -> None:
    """The bars' length is in the folder's name and need not be said again."""
    funding = part_of("funding", [(START_NS, 1)], price_exponent=-4)
    store.write([trade_part(trades(3)), bar_part(bar_rows()), funding], name="x")
    folder = store.root / "bybit-linear" / "XUSDT"
    key = kind.partition("-")[0]
    settings = settings_of(tmp_path, f'{key} = "{folder / kind}"\nfunding = "{folder / "funding"}"')
    ((instrument, history),) = open_market(settings)
    assert isinstance(history, StoreHistory)
    assert instrument.name == "XUSDT"
    assert len(read(history)) in (3, 6)
    rates = history.funding()
    assert rates is not None
    assert rates.rate_e8.tolist() == [10_000]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('bars = "{folder}/bars-1m"\nbar_interval = "5m"', "leave it out"),
        ('bars = "{folder}/bars.parquet"', "need bar_interval"),
        ('bars = "{folder}/bars-1m.parquet"', "need bar_interval"),
        ('trades = "{folder}/trades"\nbar_interval = "1m"', "trades take no bar_interval"),
    ],
)
def test_settings_that_contradict_themselves(store: MarketStore, tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings_of(tmp_path, source.format(folder=store.root))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('bars = "{folder}/trades"\nbar_interval = "1m"', "write trades ="),
        ('trades = "{folder}/bars-1m"', "write bars ="),
        ('trades = "{folder}/funding"', "trades or bars"),
        ('trades = "{folder}"', "no kind of market data"),
        ('trades = "{folder}/nothing"', "no such file"),
    ],
)
def test_folders_that_hold_something_else(store: MarketStore, tmp_path: Path, source: str, words: str) -> None:
    funding = part_of("funding", [(START_NS, 1)], price_exponent=-4)
    store.write([trade_part(trades(3)), bar_part(bar_rows()), funding], name="x")
    with pytest.raises((ConfigError, DataError), match=words):
        open_market(settings_of(tmp_path, source.format(folder=store.root / "bybit-linear" / "XUSDT")))
