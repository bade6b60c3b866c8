"""Generate a believable market from a seed: the trades and funding of the embedded sample.

Nothing here was recorded, so it may be shipped, and nothing in it says anything about a real market. It
exists so that bars, features, models and ledgers meet the shapes that break naive code. What is built in, and
who reported it:

    heavy tails, clustered volatility, uncorrelated returns     Cont 2001, Quantitative Finance 1
    volatility on several horizons: days, hours, minutes        Corsi 2009, J. Financial Econometrics 7
    regimes: calm, trending up, trending down, turbulent        Hamilton 1989, Econometrica 57
    jumps, rare, each followed by shaken volatility             Merton 1976; Eraker et al. 2003, J. Finance 58
    volatility runs on orders rather than on the clock          Clark 1973; Ane and Geman 2000, J. Finance 55
    orders call forth orders (self-excited, in discrete time)   Hawkes 1971; Bacry et al. 2015
    the taker's side has a long memory                          Lillo and Farmer 2004, SNDE 8
    only the surprise in the side moves price; bounce           Madhavan et al. 1997, RFS 10; Roll 1984
    power-law trade sizes of exponent about 1.5                 Gopikrishnan et al. 2000, Phys. Rev. E 62
    the UTC day, quiet weekends, bursts at full hours           Hansen et al. 2021, arXiv 2109.12142
    funding pinned to 1 bp while the premium is small           Bybit, "Introduction to Funding Rate"

Two scans make a day. `_scan_weather` walks its seconds: how volatile, how busy, how many orders.
`_scan_orders` walks the orders: side, price, and the one or more trades that each leaves behind.

The same spec and seed give the same bytes on any processor: after numpy has drawn, the scans use only what
IEEE 754 rounds in one way (+ - * / sqrt floor), in a fixed order, and never the machine's own exp.
"""

from collections.abc import Iterator
from math import factorial, floor, fsum, sqrt
from typing import NamedTuple

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from bot.domain.market import F64, I64

Flags = NDArray[np.bool_]

_SECOND_NS = 1_000_000_000
_MILLISECOND_NS = 1_000_000
_DAY_S = 86_400
_DAY_NS = _DAY_S * _SECOND_NS
_YEAR_DAYS = 365  # the market never closes

FUNDING_INTERVAL_NS = 8 * 3600 * _SECOND_NS  # settled at 00:00, 08:00 and 16:00 UTC
FUNDING_CAP_E8 = 750_000  # +- 0.75 %, in units of 1e-8


class SampleMarketSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What market to make. The defaults look like a bitcoin perpetual: 60,000, tick 0.1, qty step 0.001.

    Raises:
        ValueError: a field is out of its range; the message names the field and the range.
    """

    start_ns: int = 1_704_067_200_000_000_000  # ns UTC, a midnight; here 2024-01-01, a Monday
    days: int = 45
    trades_per_day: int = 100_000  # in the long run; single days are from a fifth to four times that
    price_start_ticks: int = 600_000
    ticks_per_unit: int = 10  # tick size 0.1; only says what the prices mean, the market is made of ticks
    qty_median_steps: int = 16
    steps_per_unit: int = 1_000  # qty step 0.001; only says what the quantities mean
    volatility_annual: float = 0.60  # fraction per square root of a 365-day year, jumps included
    jumps_per_day: float = 0.5  # mean; they carry about 1.4 % of the variance
    trend_drift_ratio: float = 0.4  # drift per day while in a trend, over the volatility of a day

    def __post_init__(self) -> None:
        """Refuse a market that cannot be made."""
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:  # written so that a NaN is refused too
                raise ValueError(f"{name} is {value}, it must be from {low} to {high}")
        if self.start_ns % _DAY_NS != 0:
            raise ValueError(f"start_ns is {self.start_ns}, it must be a midnight UTC: {_DAY_NS} times a number")

    @property
    def end_ns(self) -> int:
        """Return the first instant after the market, in ns UTC."""
        return self.start_ns + self.days * _DAY_NS


_LIMITS: dict[str, tuple[float, float]] = {
    "start_ns": (0, 4_102_444_800_000_000_000),  # 1970 to 2100: ns of an int64 end in 2262
    "days": (1, 3_660),
    "trades_per_day": (100, 20_000_000),
    "price_start_ticks": (100, 10**12),
    "ticks_per_unit": (1, 10**12),
    "qty_median_steps": (1, 10**9),
    "steps_per_unit": (1, 10**12),
    "volatility_annual": (0.01, 3.0),
    "jumps_per_day": (0.0, 10.0),
    "trend_drift_ratio": (0.0, 2.0),
}


class SampleTrades(NamedTuple):
    """Trades in the order in which they happened, as columns of one length."""

    ts_ns: I64  # ns UTC, whole milliseconds, never decreasing
    price_ticks: I64  # at least 1
    qty_steps: I64  # at least 1
    is_buy: Flags  # the taker bought


class SampleFunding(NamedTuple):
    """Settled funding, as columns of one length."""

    ts_ns: I64  # when it was settled, ns UTC
    rate_e8: I64  # of the position's notional, longs pay shorts, in units of 1e-8: 10,000 is 1 bp


def generate_trades(spec: SampleMarketSpec, rng: np.random.Generator) -> SampleTrades:
    """Return all days of `generate_days` in one piece: 25 bytes a trade, twice that while joining."""
    days = list(generate_days(spec, rng))
    return SampleTrades(*(np.concatenate(columns) for columns in zip(*days, strict=True)))


def generate_days(spec: SampleMarketSpec, rng: np.random.Generator) -> Iterator[SampleTrades]:
    """Yield the trades of one UTC day after another, so that memory stays flat.

    The price is a martingale but for one honest thing: in the trend regimes (about 38 % of the time, up and
    down alike) it drifts by `trend_drift_ratio` daily volatilities per day, by default 1.3 % under noise of
    3.1 %. An oracle that saw the regimes would have a Sharpe ratio near 4.7 before costs. Rules that follow
    the sign of the last 3 to 96 hours had 0.6 to 1.5 before costs and -1.9 to 0.4 after a taker's fee of
    5.5 bps, measured over 16 years.
    """
    weather, flow = _first_state(spec, rng)
    for day in range(spec.days):
        midnight_ns = spec.start_ns + day * _DAY_NS
        weather, day_weather = _weather_of_day(spec, rng, weather, day_index=midnight_ns // _DAY_NS)
        flow, trades = _trades_of_day(spec, rng, flow, day_weather, midnight_ns=midnight_ns)
        yield trades


def generate_funding(
    spec: SampleMarketSpec, rng: np.random.Generator, *, ts_ns: I64, price_ticks: I64
) -> SampleFunding:
    """Return the funding settled at 00:00, 08:00 and 16:00 UTC, from the start to before the end.

    The premium is a slow noise plus a share of the last day's return: who chases the price pays for it. The
    rate follows from it by Bybit's rule, so while the premium is within 5 bps of the interest the rate is
    exactly 1 bp.

    Args:
        ts_ns: any prices of this market in time order, for example all trades, or closes at their close time.
            Only what came strictly before a settlement moves it.
        price_ticks: those prices.
    Source:
        F = P + clamp(I - P, -0.05 %, 0.05 %), Bybit help centre, "Introduction to Funding Rate".
    """
    settled_ns = np.arange(spec.start_ns, spec.end_ns, FUNDING_INTERVAL_NS, dtype=np.int64)
    prices = np.concatenate(([spec.price_start_ticks], price_ticks)).astype(np.float64)
    price_now = prices[np.searchsorted(ts_ns, settled_ns, side="left")]
    price_day_ago = prices[np.searchsorted(ts_ns, settled_ns - _DAY_NS, side="left")]
    chased = _PREMIUM_PER_RETURN * (price_now / price_day_ago - 1.0)

    slow_premium = _PREMIUM_DEVIATION * rng.standard_normal()
    kick = _PREMIUM_DEVIATION * sqrt(1.0 - _PREMIUM_MEMORY * _PREMIUM_MEMORY)
    rate_e8 = np.empty(len(settled_ns), dtype=np.int64)
    for row, noise in enumerate(rng.standard_normal(len(settled_ns)).tolist()):
        slow_premium = _PREMIUM_MEMORY * slow_premium + kick * noise
        premium = _PREMIUM_MEAN + slow_premium + float(chased[row])
        rate = premium + min(max(_INTEREST_RATE - premium, -_PREMIUM_BAND), _PREMIUM_BAND)
        rate_e8[row] = min(max(round(rate * 1e8), -FUNDING_CAP_E8), FUNDING_CAP_E8)
    return SampleFunding(settled_ns, rate_e8)


# Funding, all fractions of notional per eight hours but the two that say otherwise.
_INTEREST_RATE = 0.0001
_PREMIUM_BAND = 0.0005
_PREMIUM_MEAN = 0.00015
_PREMIUM_DEVIATION = 0.0005
_PREMIUM_MEMORY = 0.92  # of the slow premium, from one settlement to the next
_PREMIUM_PER_RETURN = 0.010  # premium for each unit of the last day's return

# ---- The weather: what every second of the market is like -------------------------------------------------

# Regimes: calm, trending up, trending down, turbulent. What follows does not depend on what was, so the share
# of time in each is its weight times its duration; the mean square of the volatilities is about 1.
_REGIME_WEIGHT = (0.40, 0.20, 0.20, 0.20)
_REGIME_DURATION_S = (20.0 * 3600, 14.0 * 3600, 14.0 * 3600, 6.0 * 3600)
_REGIME_VOLATILITY = (0.75, 1.0, 1.0, 2.0)
_REGIME_ACTIVITY = (0.67, 1.0, 1.0, 2.6)  # about the volatility to the power below
_REGIME_DRIFT = (0.0, 1.0, -1.0, 0.0)
_REGIME_TIME_S = [share * time for share, time in zip(_REGIME_WEIGHT, _REGIME_DURATION_S, strict=True)]
_REGIME_SHARE = [time / fsum(_REGIME_TIME_S) for time in _REGIME_TIME_S]
_REGIME_ACTIVITY_MEAN = fsum(share * activity for share, activity in zip(_REGIME_SHARE, _REGIME_ACTIVITY, strict=True))
_REGIME_SQUARE_MEAN = fsum(
    share * volatility * volatility for share, volatility in zip(_REGIME_SHARE, _REGIME_VOLATILITY, strict=True)
)

# Log-volatility: three sums that forget at different speeds.
_MOOD_HALF_LIFE_S = (2 * 86_400.0, 3 * 3600.0, 6 * 60.0)  # slow, medium, fast
_MOOD_DEVIATION = (0.25, 0.17, 0.32)
_MOOD_VARIANCE = fsum(deviation * deviation for deviation in _MOOD_DEVIATION)
_ACTIVITY_EXPONENT = 1.4  # the rate of orders goes with volatility to this power

# Jumps: Laplace sizes, and an aftershock that adds to the variance and fades.
_JUMP_SCALE_RATIO = 0.12  # the mean size of a jump, over the volatility of a day
_JUMP_VARIANCE_RATIO = 2.0 * _JUMP_SCALE_RATIO * _JUMP_SCALE_RATIO  # that of one jump, over that of a day
_JUMP_SIZE_MAX = 0.10  # fraction of the price
_JUMP_ORDERS = 8  # at least so many orders arrive in the second of a jump
_SHOCK_PER_JUMP = 4.0  # variance added by a rare jump of mean size, over the variance without it
_SHOCK_HALF_LIFE_S = 45 * 60.0

# Orders call forth orders: two memories of the recent rate, and the share of the rate that comes from each.
_EXCITED_HALF_LIFE_S = (3.0, 60.0)
_EXCITED_SHARE = (0.40, 0.35)
_ORDERS_PER_SECOND_MAX = 500.0
_EXP_SERIES = tuple(1.0 / factorial(n) for n in range(13, -1, -1))


def _portable_exp(x: float) -> float:
    """Return e**x to about 1e-15, in the same bits on every machine; 0 below -700, x capped at 700.

    Splits x = k ln 2 + r with |r| <= ln 2 / 2, sums Taylor's series of e**r and doubles or halves k times.
    """
    if x < -700.0:
        return 0.0
    x = min(x, 700.0)
    doublings = floor(x * 1.4426950408889634 + 0.5)
    r = (x - doublings * 0.6931471803691238) - doublings * 1.9082149292705877e-10  # ln 2, high and low part
    total = _EXP_SERIES[0]
    for coefficient in _EXP_SERIES[1:]:
        total = total * r + coefficient
    factor = 2.0 if doublings > 0 else 0.5
    for _ in range(abs(doublings)):
        total *= factor
    return total


_exp = njit(cache=True, nogil=True)(_portable_exp)  # in the scans; the plain one keeps importing quick


def _decay_per_second(half_life_s: float) -> float:
    """Return the factor that makes a half after `half_life_s` seconds."""
    return _portable_exp(-0.6931471805599453 / half_life_s)


_MOOD_DECAY = tuple(_decay_per_second(half_life_s) for half_life_s in _MOOD_HALF_LIFE_S)
_MOOD_KICK = tuple(
    deviation * sqrt(1.0 - decay * decay) for deviation, decay in zip(_MOOD_DEVIATION, _MOOD_DECAY, strict=True)
)
_SHOCK_DECAY = _decay_per_second(_SHOCK_HALF_LIFE_S)
_EXCITED_DECAY = tuple(_decay_per_second(half_life_s) for half_life_s in _EXCITED_HALF_LIFE_S)

# The day of UTC hours 0 to 23 and the week from Monday, relative; the shapes of Hansen et al. 2021 (Asia's
# morning, the American open at 13:30 to 14:30 UTC, a quiet night and weekend), rounded by eye to what bitcoin
# perpetuals did in 2023 to 2025.
# fmt: off
_VOLUME_OF_HOUR = np.array([
    1.00, 0.93, 0.80, 0.67, 0.60, 0.60, 0.65, 0.74, 0.81, 0.80, 0.79, 0.82,
    1.10, 1.50, 1.90, 1.75, 1.50, 1.32, 1.20, 1.15, 1.06, 0.90, 0.88, 0.80,
])
_VOLATILITY_OF_HOUR = np.array([
    1.08, 1.06, 0.94, 0.79, 0.72, 0.71, 0.75, 0.79, 0.84, 0.81, 0.79, 0.81,
    0.97, 1.25, 1.48, 1.37, 1.25, 1.21, 1.15, 1.13, 1.10, 1.07, 1.02, 0.92,
])
# fmt: on
_VOLUME_OF_WEEKDAY = np.array([1.15, 1.13, 1.15, 1.14, 1.14, 0.57, 0.68])
_VOLATILITY_OF_WEEKDAY = np.array([1.12, 1.1, 1.1, 1.1, 1.08, 0.68, 0.77])
_VOLUME_OF_MINUTE = np.ones(60)
_VOLUME_OF_MINUTE[::5] = 1.05
_VOLUME_OF_MINUTE[[15, 30, 45]] = 1.15
_VOLUME_OF_MINUTE[0] = 1.35


class _Weather(NamedTuple):
    """What the next second of weather depends on."""

    regime: int  # index into the regime tables
    mood_slow: float  # log-volatility, three parts
    mood_medium: float
    mood_fast: float
    shock: float  # variance still added by past jumps, over the variance without it
    excited_fast: float  # recent orders per second, short memory
    excited_slow: float  # and longer memory


class _DayWeather(NamedTuple):
    """Every second of one day, as columns of 86,400 rows."""

    orders: I64  # how many arrive
    order_deviation: F64  # of the return that one order stands for, a fraction
    order_drift: F64  # mean of that return, a fraction
    spread_ticks: I64
    jump: F64  # return of the first order on top of the rest, a fraction; mostly 0


def _first_state(spec: SampleMarketSpec, rng: np.random.Generator) -> tuple["_Weather", "_Flow"]:
    """Return a calm market with moods drawn from their long-run distribution."""
    mood_slow, mood_medium, mood_fast = rng.standard_normal(3) * np.array(_MOOD_DEVIATION)
    rate = spec.trades_per_day / _TRADES_PER_ORDER / _DAY_S
    weather = _Weather(0, float(mood_slow), float(mood_medium), float(mood_fast), 0.0, rate, rate)
    return weather, _Flow(float(spec.price_start_ticks), 0.0, 0.0, 0.0)


def _weather_of_day(
    spec: SampleMarketSpec, rng: np.random.Generator, weather: _Weather, *, day_index: int
) -> tuple[_Weather, _DayWeather]:
    """Draw one day's noise and scan it; `day_index` counts days from 1970-01-01."""
    day_deviation = spec.volatility_annual / sqrt(_YEAR_DAYS)
    jump_variance = spec.jumps_per_day * _JUMP_VARIANCE_RATIO
    shock_per_jump = _SHOCK_PER_JUMP / (1.0 + spec.jumps_per_day)  # many jumps, each less of a surprise
    shock_mean = spec.jumps_per_day * shock_per_jump / ((1.0 - _SHOCK_DECAY) * _DAY_S)
    second_variance = day_deviation * day_deviation / _DAY_S * (1.0 - jump_variance) / (1.0 + shock_mean)

    jump = np.zeros(_DAY_S)
    jump_at = rng.integers(0, _DAY_S, int(rng.poisson(spec.jumps_per_day)))
    jump_size = rng.standard_exponential(len(jump_at)) * rng.choice(np.array([-1.0, 1.0]), len(jump_at))
    jump[jump_at] = jump_size

    volume_of_second = _season_of_day(_VOLUME_OF_HOUR, _VOLUME_OF_WEEKDAY, day_index)
    volume_of_second *= np.repeat(np.tile(_VOLUME_OF_MINUTE, 24), 60) / (fsum(_VOLUME_OF_MINUTE) / 60)
    variance_of_second = _season_of_day(_VOLATILITY_OF_HOUR**2, _VOLATILITY_OF_WEEKDAY**2, day_index)
    weather, orders, deviation, drift, spread_ticks = _scan_weather(
        weather,
        rng.standard_normal((3, _DAY_S)),
        rng.random((2, _DAY_S)),
        jump,
        volume_of_second * (spec.trades_per_day / _TRADES_PER_ORDER / _DAY_S),
        variance_of_second * second_variance,
        spec.trend_drift_ratio * day_deviation / _DAY_S,
        shock_per_jump,
        second_variance,
    )
    jump *= _JUMP_SCALE_RATIO * day_deviation
    np.clip(jump, -_JUMP_SIZE_MAX, _JUMP_SIZE_MAX, out=jump)
    return weather, _DayWeather(orders, deviation, drift, spread_ticks, jump)


def _season_of_day(of_hour: F64, of_weekday: F64, day_index: int) -> F64:
    """Return the seasonal factor of every second of a day: mean 1 over a week, linear between half hours."""
    hours = np.arange(-1, 25)
    weekday = (day_index + 3) % 7  # 1970-01-01 was a Thursday
    level = of_hour[hours % 24] * of_weekday[(weekday + hours // 24) % 7]
    level /= fsum(of_hour) / 24 * fsum(of_weekday) / 7
    since_first_s = np.arange(_DAY_S) + 1_800  # the first level is that of 23:30 the day before
    before, share = since_first_s // 3_600, since_first_s % 3_600 / 3_600
    return np.asarray(level[before] * (1.0 - share) + level[before + 1] * share)


@njit(cache=True, nogil=True)
def _scan_weather(
    weather: _Weather,
    noise_3S: F64,
    uniform_2S: F64,
    jump_S: F64,
    orders_per_second_S: F64,
    variance_S: F64,
    drift_in_trend: float,
    shock_per_jump: float,
    variance_usual: float,
) -> tuple[_Weather, I64, F64, F64, I64]:
    """Walk the S seconds of a day; return the state after it, then the first four columns of `_DayWeather`.

    Args:
        noise_3S: standard normal, for the slow, medium and fast mood.
        uniform_2S: from 0 to 1, for the regime and for the number of orders.
        jump_S: jump sizes in mean sizes, mostly 0.
        orders_per_second_S, variance_S: what season and spec alone would give.
        drift_in_trend: return per second, a fraction.
        shock_per_jump: see `_SHOCK_PER_JUMP`.
        variance_usual: of one second, without season; the spread widens when volatility is far above it.
    """
    regime, slow, medium, fast, shock, excited_fast, excited_slow = weather
    seconds = len(jump_S)
    orders = np.empty(seconds, dtype=np.int64)
    deviation = np.empty(seconds)
    drift = np.empty(seconds)
    spread_ticks = np.empty(seconds, dtype=np.int64)
    for t in range(seconds):
        regime = _next_regime(regime, uniform_2S[0, t])
        slow = _MOOD_DECAY[0] * slow + _MOOD_KICK[0] * noise_3S[0, t]
        medium = _MOOD_DECAY[1] * medium + _MOOD_KICK[1] * noise_3S[1, t]
        fast = _MOOD_DECAY[2] * fast + _MOOD_KICK[2] * noise_3S[2, t]
        shock = _SHOCK_DECAY * shock + shock_per_jump * abs(jump_S[t])

        mood = slow + medium + fast
        level = _exp(mood - _MOOD_VARIANCE) * _REGIME_VOLATILITY[regime]  # the mean square of the exp is 1
        variance = variance_S[t] * level * level / _REGIME_SQUARE_MEAN * (1.0 + shock)
        activity = _exp(_ACTIVITY_EXPONENT * (mood - _ACTIVITY_EXPONENT * _MOOD_VARIANCE / 2.0))
        activity *= _REGIME_ACTIVITY[regime] / _REGIME_ACTIVITY_MEAN
        rate = orders_per_second_S[t] * activity * sqrt(1.0 + shock)

        calm_share = 1.0 - _EXCITED_SHARE[0] - _EXCITED_SHARE[1]
        excited_rate = calm_share * rate + _EXCITED_SHARE[0] * excited_fast + _EXCITED_SHARE[1] * excited_slow
        orders[t] = _poisson(min(excited_rate, _ORDERS_PER_SECOND_MAX), uniform_2S[1, t])
        if jump_S[t] != 0.0:
            orders[t] += _JUMP_ORDERS
        excited_fast = orders[t] + _EXCITED_DECAY[0] * (excited_fast - orders[t])
        excited_slow = orders[t] + _EXCITED_DECAY[1] * (excited_slow - orders[t])

        # An order stands for 1 / rate seconds of news, so bursts of orders are bursts of volatility.
        deviation[t] = sqrt(variance / rate)
        drift[t] = drift_in_trend * _REGIME_DRIFT[regime] / rate
        spread_ticks[t] = 1 + int(max(0.0, sqrt(variance / variance_usual) - 2.0))
    after = _Weather(regime, slow, medium, fast, shock, excited_fast, excited_slow)
    return after, orders, deviation, drift, spread_ticks


@njit(cache=True, nogil=True)
def _next_regime(regime: int, uniform: float) -> int:
    """Return the regime a second later; `uniform` is from 0 to 1."""
    leave_share = 1.0 / _REGIME_DURATION_S[regime]
    if uniform >= leave_share:
        return regime
    rest = uniform / leave_share  # given that it is below the share, it is uniform again
    for following in range(3):
        rest -= _REGIME_WEIGHT[following]
        if rest < 0.0:
            return following
    return 3


@njit(cache=True, nogil=True)
def _poisson(mean: float, uniform: float) -> int:
    """Return the Poisson count at which the distribution passes `uniform`; `mean` is at most 500."""
    count = 0
    share = _exp(-mean)
    passed = share
    while passed < uniform and count < 1_000:
        count += 1
        share *= mean / count
        passed += share
    return count


# ---- The orders: side, price, and the trades each leaves --------------------------------------------------

# Trades per order are geometric, and a few orders sweep the book. Most small orders leave the price be.
_TRADES_GEOMETRIC = 0.5
_SWEEP_SHARE = 0.01
_SWEEP_FACTOR = 10
_TRADES_PER_ORDER = 1.0 / _TRADES_GEOMETRIC * (1.0 + _SWEEP_SHARE * (_SWEEP_FACTOR - 1))
_LARGE_TRADES = 3  # an order is large from so many trades on
_LARGE_SHARE = (1.0 - _TRADES_GEOMETRIC) ** 2 * (1.0 - _SWEEP_SHARE) + _SWEEP_SHARE
_MOVES_SHARE_SMALL = 0.20  # of small orders that move the price
_MOVES_SHARE_LARGE = 0.70
_MOVES_SHARE = _MOVES_SHARE_SMALL * (1.0 - _LARGE_SHARE) + _MOVES_SHARE_LARGE * _LARGE_SHARE
_JUMP_TRADES = 12  # at least so many in the order that jumps

# The taker's side: three memories, counted in orders, together near a power law.
_FLOW_MEMORY = (3.0, 20.0, 200.0)
_FLOW_WEIGHT = (0.25, 0.30, 0.35)
_IMPACT_CORRELATION = 0.45  # of a moving order's return with the surprise in its side
_WALKED_SHARE = 0.3  # of such a return that the order itself ate; the quotes moved the rest just before
_RETURN_MAX = 0.05  # of one order, a fraction, jumps apart

# Sizes: log-normal, one in a hundred stretched by a power law, some cut to 1, 2 or 5 times a power of ten.
_QTY_LOG_DEVIATION = 1.9
_QTY_STRETCHED_SHARE = 0.01
_QTY_STRETCH_EXPONENT = 1.5
_QTY_ROUND_SHARE = 0.30
_QTY_MAX_RATIO = 5_000  # over the median: the venue's largest order


class _Flow(NamedTuple):
    """What the next order depends on."""

    mid_ticks: float  # the efficient price, between bid and ask
    side_fast: float  # recent sides, -1 to 1, by length of memory
    side_medium: float
    side_slow: float


def _trades_of_day(
    spec: SampleMarketSpec, rng: np.random.Generator, flow: _Flow, day: _DayWeather, *, midnight_ns: int
) -> tuple[_Flow, SampleTrades]:
    """Draw one day's orders and scan them."""
    second_of_order = np.repeat(np.arange(_DAY_S, dtype=np.int64), day.orders)
    order_count = len(second_of_order)
    ts_ms = second_of_order * 1_000 + rng.integers(0, 1_000, order_count)
    ts_ms.sort()  # seconds are in order already, so this sorts within each

    trades_of_order = rng.geometric(_TRADES_GEOMETRIC, order_count).astype(np.int64)
    trades_of_order[rng.random(order_count) < _SWEEP_SHARE] *= _SWEEP_FACTOR
    is_first = np.diff(second_of_order, prepend=-1) > 0
    jump = np.where(is_first, day.jump[second_of_order], 0.0)
    np.maximum(trades_of_order, _JUMP_TRADES, out=trades_of_order, where=jump != 0.0)

    flow, price_ticks, is_buy_of_order = _scan_orders(
        flow,
        trades_of_order,
        day.order_deviation[second_of_order],
        day.order_drift[second_of_order],
        day.spread_ticks[second_of_order],
        jump,
        rng.standard_normal(order_count),
        rng.random((2, order_count)),
    )
    trade_count = len(price_ticks)
    qty_steps = _scan_sizes(
        spec.qty_median_steps,
        rng.standard_normal(trade_count),
        rng.standard_exponential(trade_count),
        rng.random((2, trade_count)),
    )
    ts_ns = np.repeat(midnight_ns + ts_ms * _MILLISECOND_NS, trades_of_order)
    return flow, SampleTrades(ts_ns, price_ticks, qty_steps, np.repeat(is_buy_of_order, trades_of_order))


@njit(cache=True, nogil=True)
def _scan_orders(
    flow: _Flow,
    trades_N: I64,
    deviation_N: F64,
    drift_N: F64,
    spread_ticks_N: I64,
    jump_N: F64,
    noise_N: F64,
    uniform_2N: F64,
) -> tuple[_Flow, I64, Flags]:
    """Walk the N orders of a day; return the state after it, each trade's price and each order's side.

    The return of an order is decided before it trades, so who has seen a trade knows nothing of the next
    return: the side is predictable, but only what was not predicted of it moves the price. Within one order
    the trades do walk, all in the same millisecond.

    Args:
        trades_N: how many trades each order leaves.
        deviation_N, drift_N, jump_N: of the return each order stands for, fractions.
        noise_N: standard normal, for the return.
        uniform_2N: from 0 to 1, for the side and for whether the order moves the price.
    """
    mid, side_fast, side_medium, side_slow = flow
    price_ticks = np.empty(trades_N.sum(), dtype=np.int64)
    is_buy = np.empty(len(trades_N), dtype=np.bool_)
    noise_share = sqrt(1.0 - _IMPACT_CORRELATION * _IMPACT_CORRELATION)
    trade = 0
    for order in range(len(trades_N)):
        expected = _FLOW_WEIGHT[0] * side_fast + _FLOW_WEIGHT[1] * side_medium + _FLOW_WEIGHT[2] * side_slow
        side = 1.0 if uniform_2N[0, order] < 0.5 * (1.0 + expected) else -1.0
        if jump_N[order] != 0.0:
            side = 1.0 if jump_N[order] > 0.0 else -1.0
        surprise = (side - expected) / sqrt(1.0 - expected * expected)
        side_fast += (side - side_fast) / _FLOW_MEMORY[0]
        side_medium += (side - side_medium) / _FLOW_MEMORY[1]
        side_slow += (side - side_slow) / _FLOW_MEMORY[2]
        is_buy[order] = side > 0.0

        moves_share = _MOVES_SHARE_LARGE if trades_N[order] >= _LARGE_TRADES else _MOVES_SHARE_SMALL
        move = drift_N[order]
        if uniform_2N[1, order] < moves_share:
            shape = _IMPACT_CORRELATION * surprise + noise_share * noise_N[order]
            move += shape * deviation_N[order] / sqrt(_MOVES_SHARE)
        before = mid
        mid *= 1.0 + min(max(move, -_RETURN_MAX), _RETURN_MAX) + jump_N[order]
        mid = max(mid, 1.0)

        # An order that moved the price its own way ate through the book; else all its trades are at the best.
        walked = before if (mid - before) * side > 0.0 else mid
        if jump_N[order] == 0.0:
            walked = mid - _WALKED_SHARE * (mid - walked)
        offset_ticks = spread_ticks_N[order] if side > 0.0 else 0
        for nth in range(1, trades_N[order] + 1):
            at = walked + (mid - walked) * (nth / trades_N[order])
            price_ticks[trade] = max(floor(at) + offset_ticks, 1)
            trade += 1
    return _Flow(mid, side_fast, side_medium, side_slow), price_ticks, is_buy


@njit(cache=True, nogil=True)
def _scan_sizes(median_steps: int, noise_N: F64, exponential_N: F64, uniform_2N: F64) -> I64:
    """Return the N trades' quantities in steps.

    Args:
        noise_N, exponential_N: standard, for the body and for the tail.
        uniform_2N: from 0 to 1, for whether the size is of the tail and whether it is a round lot.
    """
    qty_steps = np.empty(len(noise_N), dtype=np.int64)
    for trade in range(len(noise_N)):
        log_ratio = _QTY_LOG_DEVIATION * noise_N[trade]
        if uniform_2N[0, trade] < _QTY_STRETCHED_SHARE:
            log_ratio += exponential_N[trade] / _QTY_STRETCH_EXPONENT
        qty = median_steps * min(_exp(log_ratio), float(_QTY_MAX_RATIO))
        qty_steps[trade] = max(floor(qty + 0.5), 1)
        if uniform_2N[1, trade] < _QTY_ROUND_SHARE:
            qty_steps[trade] = _round_lot(qty_steps[trade])
    return qty_steps


@njit(cache=True, nogil=True)
def _round_lot(qty_steps: int) -> int:
    """Return the largest 1, 2 or 5 times a power of ten that is at most `qty_steps`."""
    power = 1
    while power * 10 <= qty_steps:
        power *= 10
    if qty_steps >= 5 * power:
        return 5 * power
    return 2 * power if qty_steps >= 2 * power else power
