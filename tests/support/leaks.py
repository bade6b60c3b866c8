"""Planted leaks, and beside each its clean counterpart: small computations over bars, trades, funding and revisions.

A leak is written as people write it by mistake, and claims to know each row when the row's own bar is known. The
clean computations use the same tools rightly, so that the harness may accuse none of them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pywt
from vmdpy import VMD

from bot.core.lookahead import Compute, Market, Outputs
from bot.core.perturb import Table

Series = Callable[[pd.DataFrame], Any]
MINUTE = pd.Timedelta("1min")


def frame(market: Market) -> pd.DataFrame:
    """Return the minute bars as people have them: by the time of their open, and from when on they are known."""
    bars = market["bars"]
    return pd.DataFrame(
        {
            "known": pd.to_datetime(bars.known_ns),
            "high": bars.instrument.prices(bars.high_ticks),
            "low": bars.instrument.prices(bars.low_ticks),
            "close": bars.closes,
            "volume": bars.instrument.qtys(bars.volume_steps),
        },
        index=pd.to_datetime(bars.open_ns),
    )


def feature(series: Series) -> Compute:
    """Return the computation of one column, a value per minute bar."""

    def compute(market: Market) -> Outputs:
        column = np.asarray(series(frame(market)))
        return {"minutes": Table(known_ns=market["bars"].known_ns, columns={"feature": column})}

    return compute


def with_streams(series: Callable[[pd.DataFrame, Market], Any]) -> Compute:
    """Return the computation of one column that reads other streams as well."""

    def compute(market: Market) -> Outputs:
        column = np.asarray(series(frame(market), market))
        return {"minutes": Table(known_ns=market["bars"].known_ns, columns={"feature": column})}

    return compute


def funding_of(market: Market) -> pd.DataFrame:
    funding = market["funding"]
    return pd.DataFrame({"ts": pd.to_datetime(funding.ts_ns), "rate": funding.rate_e8 / 1e8})


def closes(f: pd.DataFrame) -> np.ndarray:
    return np.array(f["close"])


def hourly_close(f: pd.DataFrame, **how: Any) -> pd.DataFrame:
    return f["close"].resample("1h", **how).last().rename("hourly").to_frame()


def as_of(left: Any, right: pd.DataFrame, **how: Any) -> Any:
    """Return the last column of `right`, joined by its index as of the times `left`."""
    times = pd.DataFrame({"at": pd.DatetimeIndex(left).astype("datetime64[ns]")})
    right = right.rename_axis("since").reset_index()
    right["since"] = right["since"].astype("datetime64[ns]")
    return pd.merge_asof(times, right, left_on="at", right_on="since", **how).iloc[:, -1]


# --- leaks ------------------------------------------------------------------------------------------------------------


def wavelet_denoise(x: np.ndarray) -> np.ndarray:
    coefficients = pywt.wavedec(x, "db4", level=4)
    kept = [coefficients[0], *(np.zeros_like(detail) for detail in coefficients[1:])]
    return np.asarray(pywt.waverec(kept, "db4"))[: len(x)]


def whole_wavelet(f: pd.DataFrame) -> Any:
    return closes(f) - wavelet_denoise(closes(f))


def whole_vmd(f: pd.DataFrame) -> Any:
    quarters = closes(f)[14::15]
    trend = VMD(quarters, 500, 0.0, 2, 0, 1, 1e-3)[0][0]
    slow = np.full(len(f), np.nan)
    slow[14 : 14 + 15 * len(trend)] = np.repeat(trend, 15)[: len(f) - 14]  # from the close of each quarter on
    return slow


def fft_detrend(f: pd.DataFrame) -> Any:
    spectrum = np.fft.rfft(closes(f))
    spectrum[:5] = 0
    return np.fft.irfft(spectrum, n=len(f))


def line_detrend(f: pd.DataFrame) -> Any:
    steps = np.arange(len(f))
    return closes(f) - np.polyval(np.polyfit(steps, closes(f), 1), steps)


def early_right_label(f: pd.DataFrame) -> Any:
    hourly = hourly_close(f, label="right", closed="left")
    hourly.index = pd.DatetimeIndex(hourly.index) - MINUTE
    return as_of(f["known"], hourly)


def early_target(f: pd.DataFrame) -> Any:
    target = np.log(f["close"].shift(-15) / f["close"])
    made_at = f["known"] + 14 * MINUTE  # it takes 15 bars to know it
    return as_of(f["known"], pd.DataFrame({"target": np.array(target)}, index=pd.DatetimeIndex(made_at)))


def join_by_row_number(f: pd.DataFrame) -> Any:
    returns = np.log(f["close"]).diff().dropna().to_numpy()
    return np.concatenate([returns, [0.0]])  # `diff` has one value less, and here the wrong end is filled


def shuffled_join(f: pd.DataFrame) -> Any:
    return f.sort_values("close", kind="stable")["volume"].to_numpy()


def later_revision(f: pd.DataFrame, market: Market) -> Any:
    revisions = market["revisions"]
    told = pd.DataFrame({"event": pd.to_datetime(revisions.columns["event_ns"]), "x": revisions.columns["x"]})
    newest = told.groupby("event").last()  # whatever it was corrected to, whenever
    return as_of(f["known"], newest)


def centred_peak(f: pd.DataFrame) -> Any:
    return (f["high"] == f["high"].rolling(31, center=True).max()).to_numpy()


def back_and_forth(f: pd.DataFrame) -> Any:
    forth = f["close"].ewm(span=20).mean()
    return forth[::-1].ewm(span=20).mean()[::-1]


def whole_beta(f: pd.DataFrame) -> Any:
    returns = np.log(f["close"]).diff().fillna(0).to_numpy()
    slope, cut = np.polyfit(returns[:-1], returns[1:], 1)
    return slope * returns + cut


def next_trade(market: Market) -> Outputs:
    ts_ns = market["trades"].ts_ns
    return {"trades": Table(known_ns=ts_ns, columns={"feature": np.diff(ts_ns, append=ts_ns[-1])})}


def slab_mean(market: Market) -> Outputs:
    parts = [slab.closes - slab.closes.mean() for slab in market.slabs("bars")]
    return {"minutes": Table(known_ns=market["bars"].known_ns, columns={"feature": np.concatenate(parts)})}


def known_at_open(market: Market) -> Outputs:
    return {"minutes": Table(known_ns=market["bars"].open_ns, columns={"feature": market["bars"].closes})}


def day_of(f: pd.DataFrame) -> Any:
    return pd.DatetimeIndex(f.index).floor("D")


def hour_of(f: pd.DataFrame) -> Any:
    return pd.DatetimeIndex(f.index).floor("h")


LEAKS: dict[str, Compute] = {
    "left label joined as of its label": feature(lambda f: as_of(f.index, hourly_close(f))),
    "right label known one bar early": feature(early_right_label),
    "forming hour's close": feature(lambda f: f.groupby(hour_of(f))["close"].transform("last")),
    "forming day's high": feature(lambda f: f.groupby(day_of(f))["high"].transform("max")),
    "sign of the day": feature(lambda f: np.sign(f.groupby(day_of(f))["close"].transform("last") - f["close"])),
    "wavelet over the whole series": feature(whole_wavelet),
    "VMD over the whole series": feature(whole_vmd),
    "FFT detrend": feature(fft_detrend),
    "line fitted to the whole series": feature(line_detrend),
    "normaliser fitted on all data": feature(lambda f: (f["close"] - f["close"].mean()) / f["close"].std()),
    "median and quartiles of all data": feature(
        lambda f: (f["volume"] - f["volume"].median()) / (f["volume"].quantile(0.75) - f["volume"].quantile(0.25))
    ),
    "min-max over all": feature(lambda f: (f["close"] - f["close"].min()) / (f["close"].max() - f["close"].min())),
    "least of all": feature(lambda f: f["low"] - f["low"].min()),
    "share of all volume": feature(lambda f: f["volume"] / f["volume"].sum()),
    "price over the last price": feature(lambda f: f["close"] / f["close"].iloc[-1]),
    "quantile bins of all": feature(lambda f: pd.qcut(f["close"].rank(method="first"), 10, labels=False)),
    "rank among all": feature(lambda f: f["volume"].rank(pct=True)),
    "beta fitted on all": feature(whole_beta),
    "target joined one bar early": feature(early_target),
    "shift(-1)": feature(lambda f: f["close"].shift(-1)),
    "centred window": feature(lambda f: f["close"].rolling(21, center=True).mean()),
    "peak confirmed by later bars": feature(centred_peak),
    "filter back and forth": feature(back_and_forth),
    "interpolation between hours": feature(
        lambda f: f["close"].where(pd.DatetimeIndex(f.index).minute == 59).interpolate()
    ),
    "backward fill": feature(lambda f: f["close"].where(pd.DatetimeIndex(f.index).minute % 15 == 0).bfill()),
    "merge_asof forward": feature(
        lambda f: as_of(f["known"], hourly_close(f, label="right", closed="left"), direction="forward")
    ),
    "funding before settlement": with_streams(
        lambda f, market: as_of(f["known"], funding_of(market).set_index("ts"), direction="forward")
    ),
    "join by row number": feature(join_by_row_number),
    "join in another order": feature(shuffled_join),
    "later revision": with_streams(later_revision),
    "how far through the data": feature(lambda f: np.linspace(0.0, 1.0, len(f))),
    "time to the next trade": next_trade,
    "mean of the slab": slab_mean,
    "bar known at its open": known_at_open,
}

# --- the same, done right ---------------------------------------------------------------------------------------------


def trailing(x: np.ndarray, window: int, last: Callable[[np.ndarray], float], every: int = 1) -> np.ndarray:
    """Return `last` of the trailing windows, NaN before the first; at every so many rows only."""
    out = np.full(len(x), np.nan)
    for row in range(window - 1, len(x), every):
        out[row] = last(x[row - window + 1 : row + 1])
    return out


def trailing_wavelet(f: pd.DataFrame) -> Any:
    return trailing(closes(f), 128, lambda x: float(wavelet_denoise(x)[-1]), every=15)


def trailing_vmd(f: pd.DataFrame) -> Any:
    return trailing(closes(f), 64, lambda x: float(VMD(x, 500, 0.0, 2, 0, 1, 1e-3)[0][0, -1]), every=1_200)


def trailing_fft(f: pd.DataFrame) -> Any:
    def last(x: np.ndarray) -> float:
        spectrum = np.fft.rfft(x)
        spectrum[:3] = 0
        return float(np.fft.irfft(spectrum, n=len(x))[-1])

    return trailing(closes(f), 64, last, every=7)


def trailing_line(f: pd.DataFrame) -> Any:
    steps = np.arange(30) - 14.5
    return trailing(closes(f), 30, lambda x: float(np.dot(x, steps)), every=7)


def closed_hours(f: pd.DataFrame, **how: Any) -> Any:
    hourly = hourly_close(f, label="right", closed="left")
    return as_of(f["known"], hourly, **how)


def target_at_its_end(f: pd.DataFrame) -> Any:
    target = np.log(f["close"] / f["close"].shift(15))
    return as_of(f["known"], pd.DataFrame({"target": np.array(target)}, index=pd.DatetimeIndex(f["known"])))


def late_peak(f: pd.DataFrame) -> Any:
    """Tell a peak once fifteen bars have confirmed it, as known then."""
    return (f["high"].shift(15) == f["high"].rolling(31).max()).to_numpy()


def as_revised_by_then(f: pd.DataFrame, market: Market) -> Any:
    revisions = market["revisions"]
    told = pd.DataFrame({"x": revisions.columns["x"]}, index=pd.to_datetime(revisions.known_ns))
    return as_of(f["known"], told)


def wilder_rsi(f: pd.DataFrame) -> Any:
    change = f["close"].diff()
    up = change.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    down = (-change).clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    return 100 * up / (up + down).where(up + down > 0)


def cumulative_vwap(f: pd.DataFrame) -> Any:
    value = (f["close"] * f["volume"]).groupby(day_of(f)).cumsum()
    volume = f["volume"].groupby(day_of(f)).cumsum()
    return value / volume.where(volume > 0)


def since_last_trade(market: Market) -> Outputs:
    ts_ns = market["trades"].ts_ns
    return {"trades": Table(known_ns=ts_ns, columns={"feature": np.diff(ts_ns, prepend=ts_ns[0])})}


def carried_mean(market: Market) -> Outputs:
    """Compute an exponential mean that carries its state from slab to slab."""
    mean, parts = None, []
    for slab in market.slabs("bars"):
        for close in slab.closes.tolist():
            mean = close if mean is None else mean + 0.05 * (close - mean)
            parts.append(mean)
    return {"minutes": Table(known_ns=market["bars"].known_ns, columns={"feature": np.array(parts)})}


def late_close(market: Market) -> Outputs:
    """Known later than it could be: harmless."""
    bars = market["bars"]
    return {"minutes": Table(known_ns=bars.known_ns + 10**9, columns={"feature": bars.closes})}


def flags_and_words(market: Market) -> Outputs:
    """Columns of other types: texts, booleans, times, a value with several parts."""
    closes = market["bars"].closes
    up = closes > np.concatenate([[np.nan], closes[:-1]])
    columns = {
        "word": np.where(up, "up", "down").astype(object),
        "is_up": up,
        "open": market["bars"].open_ns.astype("datetime64[ns]"),
        "pair": np.stack([closes, np.where(up, np.nan, closes)], axis=1),
    }
    return {"minutes": Table(known_ns=market["bars"].known_ns, columns=columns)}


CLEAN: dict[str, Compute] = {
    "closed hours as of their close": feature(closed_hours),
    "closed hours, strictly before": feature(lambda f: closed_hours(f, allow_exact_matches=False)),
    "hour so far": feature(lambda f: f["close"] / f.groupby(hour_of(f))["close"].transform("first")),
    "day's high so far": feature(lambda f: f.groupby(day_of(f))["high"].cummax()),
    "trailing wavelet": feature(trailing_wavelet),
    "trailing VMD": feature(trailing_vmd),
    "trailing FFT detrend": feature(trailing_fft),
    "trailing line": feature(trailing_line),
    "expanding normaliser": feature(
        lambda f: (f["close"] - f["close"].expanding(30).mean()) / f["close"].expanding(30).std()
    ),
    "rolling normaliser": feature(
        lambda f: (f["volume"] - f["volume"].rolling(60).mean()) / f["volume"].rolling(60).std().where(lambda s: s > 0)
    ),
    "expanding min-max": feature(
        lambda f: (
            (f["close"] - f["close"].cummin()) / (f["close"].cummax() - f["close"].cummin()).where(lambda s: s > 0)
        )
    ),
    "price over the first price": feature(lambda f: f["close"] / f["close"].iloc[0]),
    "expanding rank": feature(lambda f: f["close"].expanding(20).rank(pct=True)),
    "rolling quantile": feature(lambda f: f["close"] > f["close"].rolling(100).quantile(0.9)),
    "target known at its end": feature(target_at_its_end),
    "shift(1)": feature(lambda f: f["close"].shift(1)),
    "trailing window": feature(lambda f: f["close"].rolling(21).mean()),
    "peak told when confirmed": feature(late_peak),
    "EWMA": feature(lambda f: f["close"].ewm(span=20).mean()),
    "RSI": feature(wilder_rsi),
    "VWAP of the day so far": feature(cumulative_vwap),
    "rolling beta": feature(lambda f: f["close"].diff().rolling(50).cov(f["close"].diff().shift(1))),
    "forward fill": feature(lambda f: f["close"].where(pd.DatetimeIndex(f.index).minute % 15 == 0).ffill()),
    "funding after settlement": with_streams(lambda f, market: as_of(f["known"], funding_of(market).set_index("ts"))),
    "lagged funding": with_streams(lambda f, market: as_of(f["known"], funding_of(market).set_index("ts").shift(1))),
    "revision known by then": with_streams(as_revised_by_then),
    "hour of the day": feature(lambda f: pd.DatetimeIndex(f.index).hour),
    "time since the last trade": since_last_trade,
    "state carried from slab to slab": carried_mean,
    "close known a second late": late_close,
    "columns of many types": flags_and_words,
}
