"""Draw docs/gallery.md: what bars, features and labels look like on real data.

`python docs/gallery.py` needs the market data beside the checkout (`../shared/data`). Its pictures are kept here.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from bot.app.data import import_files
from bot.app.plot import gather
from bot.app.replay_market import open_data
from bot.domain.market import F64
from bot.report.market_page import BarColumns, Panel
from bot.runtime.settings import Settings
from bot.store.importing.options import ImportOptions

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
DATA = ROOT.parent / "shared" / "data"
WIDTH, NAMES, ROW, TOP = 960, 260, 58, 160  # pixels: the whole, the names on the left, a row, the price above
BARS = 240
INK, MUTED, RULE, LINE, RISE, FALL = "#17212b", "#5c6873", "#dfe3e7", "#1d5fb8", "#98a2ad", "#4d5761"


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One drawing: the price above, a row below for each feature and label."""

    name: str
    title: str
    market: str
    bars: str
    until: str
    features: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def instrument(name: str, quote: str, tick: str, step: str, **source: str) -> dict[str, Any]:
    """Return an instrument's settings, its history among the shared data."""
    files = {key: value if key == "bar_interval" else str(DATA / value) for key, value in source.items()}
    grid = {"tick_size": tick, "qty_step": step, "qty_min": step, "qty_max": "1000000"}
    return {"name": name, "base": name.removesuffix(quote), "quote": quote, **grid, **files}


SCREENS = (
    "The report and the page at the width of a desk and of a phone, by day and by night, and the forecast as the chat",
    "sends it, drawn by `python -m docs.screens`. The finished run is `config/demo.toml`, the running one three",
    "strategies on one account of the emulator.",
    "",
    "## The report",
    "",
    "![Report](pictures/report_light.png)",
    "",
    "![Report, dark](pictures/report_dark.png)",
    "",
    "![Report on a phone](pictures/report_phone.png) ![Report on a phone, dark](pictures/report_phone_dark.png)",
    "",
    "## The page",
    "",
    "![Page](pictures/dashboard_light.png)",
    "",
    "![Page, dark](pictures/dashboard_dark.png)",
    "",
    "![Page on a phone](pictures/dashboard_phone.png) ![Page on a phone, dark](pictures/dashboard_phone_dark.png)",
    "",
    "## The page of a running bot",
    "",
    "![Running](pictures/dashboard_live_light.png)",
    "",
    "![Running, on a phone, dark](pictures/dashboard_live_phone_dark.png)",
    "",
    "## A forecast in the chat",
    "",
    "![Forecast](pictures/forecast.png)",
    "",
)

FUNDING = "funding_bybit_linear_8h_2021-01_2025-08.parquet"
MARKETS = {
    "btc": [
        instrument(
            f"{coin}USDT",
            "USDT",
            tick,
            step,
            bars=f"{coin.lower()}usdt_bybit_linear_1m_2025-05_2025-06.parquet",
            bar_interval="1m",
            funding=FUNDING,
        )
        for coin, tick, step in (("BTC", "0.1", "0.001"), ("ETH", "0.01", "0.01"))
    ],
    "ltc": [
        instrument("LTCUSDT", "USDT", "0.01", "0.001", trades="trades_binance_spot_ltcusdt_2025-06-21.parquet"),
    ],
}
TREND = ("ma_ratio(20)", "ema_ratio(12)", "macd", "macd_signal", "rsi(14)", "rsi_wilder(14)")
BANDS = ("bollinger('upper')", "bollinger('middle')", "bollinger('lower')", "tick_rule(20)")
PRICES = ("log_return", "log_return(5)", "log_return(10)", "open_return", "high_return", "low_return")
CANDLE = ("high_low_ratio", "close_position", "atr(14)", "spread_proxy")
VOLATILITY = (
    "volatility(5)",
    "volatility(20)",
    "ewma_volatility",
    "parkinson_volatility",
    "garman_klass_volatility",
    "rogers_satchell_volatility",
    "realised_volatility",
)
VOLUME = ("log_volume", "dollar_volume", "volume_change", "relative_volume(20)", "volume_ma_ratio")
FLOW = ("vwap_distance(20)", "orderflow_imbalance", "orderflow_imbalance(20)", "trade_intensity", "trade_size")
CALENDAR = (
    "time_of_day('sin')",
    "time_of_day('sin', 4)",
    "day_of_week('sin')",
    "day_of_month('sin')",
    "funding_clock('sin')",
    "funding_rate",
)
REFERENCE = ("reference_return", "relative_return", "reference_beta", "reference_correlation", "reference_spread")
WAVELETS = tuple(f"wavelet_detail({level})" for level in (1, 2, 3, 4))
DECOMPOSED = ("wavelet_trend(4)", "wavelet_component(0)", "wavelet_component(1)", "vmd_mode(0)", "vmd_mode(1)")
BOOK = tuple(
    f"book('book_{name}')"
    for name in (
        "spread_bps",
        "microprice_bps",
        "imbalance_1",
        "imbalance_5",
        "pressure",
        "bid_slope",
        "ofi_1",
        "ofi_5",
    )
)
LABELS = ("return(1h)", "return(4h)", "volatility(4h)", "barrier(2, 2, 1d)")

JUNE = "2025-06-14"  # the fall of 12 and 13 June and what came before and after
PICTURES_WANTED = (
    Picture(name="prices", title="Prices", market="btc", bars="1h", until=JUNE, features=(*PRICES, *CANDLE)),
    Picture(name="trend", title="Trend", market="btc", bars="1h", until=JUNE, features=(*TREND, *BANDS)),
    Picture(name="volatility", title="Volatility", market="btc", bars="1h", until=JUNE, features=VOLATILITY),
    Picture(name="volume", title="Volume", market="btc", bars="1h", until=JUNE, features=VOLUME),
    Picture(name="flow", title="Flow, from trades", market="ltc", bars="1m", until="2025-06-22", features=FLOW),
    Picture(name="book", title="Order book", market="book", bars="1s", until="2024-08-08T23:59:59", features=BOOK),
    Picture(name="calendar", title="Calendar and funding", market="btc", bars="1h", until=JUNE, features=CALENDAR),
    Picture(name="reference", title="BTC against ETH", market="btc", bars="1h", until=JUNE, features=REFERENCE),
    Picture(name="wavelets", title="Causal filter bank", market="btc", bars="1h", until=JUNE, features=WAVELETS),
    Picture(name="windows", title="Trailing windows", market="btc", bars="1h", until=JUNE, features=DECOMPOSED),
    Picture(name="labels", title="Labels", market="btc", bars="1h", until=JUNE, labels=LABELS),
    *(
        Picture(
            name=f"bars-{number}", title=rule, market="ltc", bars=rule, until="2025-06-22", features=("log_return",)
        )
        for number, rule in enumerate(
            ("1s", "1m", "tick:100", "volume:200", "dollar:20000", "tick_imbalance:100", "volume_run:100")
        )
    ),
)


def main() -> None:
    """Draw all pictures and write the page."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as store:
        MARKETS["book"] = [captured(Path(store))]
        draw_all()


def captured(store: Path) -> dict[str, Any]:
    """Import a recorded session with its order book; return the instrument's settings."""
    path = DATA / "raw_binance_usdm_btcusdt_ws_2024-08-08.log.gz"
    assert all(done.status == "imported" for done in import_files([path], store=store, options=ImportOptions()))
    folder = store / "binance-usdm" / "BTCUSDT"
    return instrument("BTCUSDT", "USDT", "0.1", "0.001", trades=str(folder / "trades"), book=str(folder / "book"))


def draw_all() -> None:
    """Draw every picture, and the page that shows them."""
    lines = [
        "# Gallery",
        "",
        *SCREENS,
        "# Bars, features and labels",
        "",
        "What bars, features and labels look like on real data, drawn by `python docs/gallery.py`; `bot plot` draws",
        "the same of yours. Bars, prices and labels of BTCUSDT are Bybit's perpetual in June 2025, with ETHUSDT as the",
        "reference; what needs trades is LTCUSDT, Binance spot, on 21 June 2025; the order book is BTCUSDT, Binance",
        "perpetual, four minutes of 8 August 2024. Each bar stands at its close. Labels are points: they speak of what",
        "comes after the bar.",
        "",
    ]
    for picture in PICTURES_WANTED:
        reference = "ETHUSDT" if picture.market == "btc" else None
        settings = Settings.model_validate(
            {
                "run": {"end": picture.until},
                "market": {"source": "files", "instruments": MARKETS[picture.market]},
                "features": {"reference": reference},
            }
        )
        bars, panels = gather(
            settings,
            open_data(settings),
            scale=picture.bars,
            features=picture.features,
            labels=picture.labels,
            bars=BARS,
        )
        text = draw(bars, panels)
        (PICTURES / f"{picture.name}.svg").write_text(text, encoding="utf-8")
        lines += [f"## {picture.title}", "", f"![{picture.title}](pictures/{picture.name}.svg)", ""]
        print(f"{picture.name}: {len(text) // 1024} KB")
    (ROOT / "docs" / "gallery.md").write_text("\n".join(lines), encoding="utf-8")


def draw(bars: BarColumns, panels: Sequence[Panel]) -> str:
    """Return the picture as SVG."""
    height = TOP + ROW * len(panels) + 24
    first, last = int(bars.close_ns[0]), int(bars.close_ns[-1])
    x = NAMES + (bars.close_ns - first) / max(1, last - first) * (WIDTH - NAMES - 16)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        text(12, 20, f"{bars.instrument}, {bars.scale}", INK, size=14),
        candles(bars, x),
    ]
    for number, panel in enumerate(panels):
        parts.append(row(panel, x, TOP + ROW * number))
    for share in (0.0, 0.5, 1.0):
        at = np.datetime64(first + round(share * (last - first)), "ns").astype("datetime64[s]")
        anchor = ("start", "middle", "end")[round(2 * share)]
        label = str(at).replace("T", " ")
        parts.append(text(NAMES + share * (WIDTH - NAMES - 16), height - 8, label, MUTED, anchor=anchor))
    return "\n".join([*parts, "</svg>", ""])


def candles(bars: BarColumns, x: F64) -> str:
    """Return the candles: one path for what rose, one for what fell, so that the picture stays small."""
    low, high = float(bars.low.min()), float(bars.high.max())

    def y(values: F64) -> F64:
        return TOP - 18 - (values - low) / max(high - low, 1e-12) * (TOP - 50)

    def paths(rows: Any, colour: str) -> str:
        wicks = "".join(
            f"M{a:.1f} {b:.1f}V{c:.1f}" for a, b, c in zip(x[rows], y(bars.high)[rows], y(bars.low)[rows], strict=True)
        )
        bodies = "".join(
            f"M{a:.1f} {b:.1f}V{c:.1f}"
            for a, b, c in zip(x[rows], y(bars.open)[rows], y(bars.close)[rows] + 0.3, strict=True)
        )
        return f'<path d="{wicks}" stroke="{colour}"/><path d="{bodies}" stroke="{colour}" stroke-width="2"/>'

    fell = bars.close < bars.open
    scale = text(NAMES - 8, 40, f"{high:,g}", MUTED, anchor="end") + text(
        NAMES - 8, TOP - 22, f"{low:,g}", MUTED, anchor="end"
    )
    return scale + paths(~fell, RISE) + paths(fell, FALL)


def row(panel: Panel, x: F64, top: int) -> str:
    """Return one feature as a line, one label as points."""
    known = np.isfinite(panel.values)
    parts = [f'<path d="M12 {top}H{WIDTH - 16}" stroke="{RULE}"/>', text(12, top + 22, panel.title, INK)]
    if not known.any():
        return "".join([*parts, text(NAMES, top + 30, "not known from this data", MUTED)])
    low, high = float(panel.values[known].min()), float(panel.values[known].max())
    y = top + ROW - 8 - (panel.values - low) / max(high - low, 1e-12) * (ROW - 16)
    parts.append(text(NAMES - 8, top + 14, f"{high:.3g}", MUTED, anchor="end"))
    parts.append(text(NAMES - 8, top + ROW - 8, f"{low:.3g}", MUTED, anchor="end"))
    if panel.is_label:
        points = "".join(f"M{a:.1f} {b:.1f}h.01" for a, b in zip(x[known], y[known], strict=True))
        parts.append(f'<path d="{points}" stroke="{LINE}" stroke-width="3" stroke-linecap="round"/>')
    else:
        begun = known & ~np.concatenate([[False], known[:-1]])
        points = "".join(
            f"{'M' if start else 'L'}{a:.1f} {b:.1f}"
            for start, a, b in zip(begun[known], x[known], y[known], strict=True)
        )
        parts.append(f'<path d="{points}" fill="none" stroke="{LINE}" stroke-width="1.2"/>')
    return "".join(parts)


def text(x: float, y: float, words: str, colour: str, *, anchor: str = "start", size: int = 11) -> str:
    """Return a piece of text."""
    return f'<text x="{x:.1f}" y="{y}" fill="{colour}" font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'


if __name__ == "__main__":
    main()
