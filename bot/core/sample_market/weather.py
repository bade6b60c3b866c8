"""The weather: what every second of the market is like."""

from math import fsum, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit

from bot.core.sample_market.portable import exp, portable_exp
from bot.core.sample_market.spec import DAY_S, SampleMarketSpec
from bot.domain.market import F64, I64

_YEAR_DAYS = 365  # the market never closes

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


def _decay_per_second(half_life_s: float) -> float:
    """Return the factor that makes a half after `half_life_s` seconds."""
    return portable_exp(-0.6931471805599453 / half_life_s)


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


class Weather(NamedTuple):
    """What the next second of weather depends on."""

    regime: int  # index into the regime tables
    mood_slow: float  # log-volatility, three parts
    mood_medium: float
    mood_fast: float
    shock: float  # variance still added by past jumps, over the variance without it
    excited_fast: float  # recent orders per second, short memory
    excited_slow: float  # and longer memory


class DayWeather(NamedTuple):
    """Every second of one day, as columns of 86,400 rows."""

    orders: I64  # how many arrive
    order_deviation: F64  # of the return that one order stands for, a fraction
    order_drift: F64  # mean of that return, a fraction
    spread_ticks: I64
    jump: F64  # return of the first order on top of the rest, a fraction; mostly 0


def first_weather(rng: np.random.Generator, *, orders_per_second: float) -> Weather:
    """Return a calm market with moods drawn from their long-run distribution."""
    mood_slow, mood_medium, mood_fast = rng.standard_normal(3) * np.array(_MOOD_DEVIATION)
    return Weather(0, float(mood_slow), float(mood_medium), float(mood_fast), 0.0, orders_per_second, orders_per_second)


def weather_of_day(
    spec: SampleMarketSpec,
    rng: np.random.Generator,
    weather: Weather,
    *,
    orders_per_second: float,
    day_index: int,
) -> tuple[Weather, DayWeather]:
    """Draw one day's noise and scan it; `orders_per_second` in the long run, `day_index` days from 1970-01-01."""
    day_deviation = spec.volatility_annual / sqrt(_YEAR_DAYS)
    jump_variance = spec.jumps_per_day * _JUMP_VARIANCE_RATIO
    shock_per_jump = _SHOCK_PER_JUMP / (1.0 + spec.jumps_per_day)  # many jumps, each less of a surprise
    shock_mean = spec.jumps_per_day * shock_per_jump / ((1.0 - _SHOCK_DECAY) * DAY_S)
    second_variance = day_deviation * day_deviation / DAY_S * (1.0 - jump_variance) / (1.0 + shock_mean)

    jump = np.zeros(DAY_S)
    jump_at = rng.integers(0, DAY_S, int(rng.poisson(spec.jumps_per_day)))
    jump_size = rng.standard_exponential(len(jump_at)) * rng.choice(np.array([-1.0, 1.0]), len(jump_at))
    jump[jump_at] = jump_size

    volume_of_second = _season_of_day(_VOLUME_OF_HOUR, _VOLUME_OF_WEEKDAY, day_index)
    volume_of_second *= np.repeat(np.tile(_VOLUME_OF_MINUTE, 24), 60) / (fsum(_VOLUME_OF_MINUTE) / 60)
    variance_of_second = _season_of_day(_VOLATILITY_OF_HOUR**2, _VOLATILITY_OF_WEEKDAY**2, day_index)
    weather, orders, deviation, drift, spread_ticks = _scan_weather(
        weather,
        rng.standard_normal((3, DAY_S)),
        rng.random((2, DAY_S)),
        jump,
        volume_of_second * orders_per_second,
        variance_of_second * second_variance,
        spec.trend_drift_ratio * day_deviation / DAY_S,
        shock_per_jump,
        second_variance,
    )
    jump *= _JUMP_SCALE_RATIO * day_deviation
    np.clip(jump, -_JUMP_SIZE_MAX, _JUMP_SIZE_MAX, out=jump)
    return weather, DayWeather(orders, deviation, drift, spread_ticks, jump)


def _season_of_day(of_hour: F64, of_weekday: F64, day_index: int) -> F64:
    """Return the seasonal factor of every second of a day: mean 1 over a week, linear between half hours."""
    hours = np.arange(-1, 25)
    weekday = (day_index + 3) % 7  # 1970-01-01 was a Thursday
    level = of_hour[hours % 24] * of_weekday[(weekday + hours // 24) % 7]
    level /= fsum(of_hour) / 24 * fsum(of_weekday) / 7
    since_first_s = np.arange(DAY_S) + 1_800  # the first level is that of 23:30 the day before
    before, share = since_first_s // 3_600, since_first_s % 3_600 / 3_600
    return np.asarray(level[before] * (1.0 - share) + level[before + 1] * share)


@njit(cache=True, nogil=True)
def _scan_weather(
    weather: Weather,
    noise_3S: F64,
    uniform_2S: F64,
    jump_S: F64,
    orders_per_second_S: F64,
    variance_S: F64,
    drift_in_trend: float,
    shock_per_jump: float,
    variance_usual: float,
) -> tuple[Weather, I64, F64, F64, I64]:
    """Walk the S seconds of a day; return the state after it, then the first four columns of `DayWeather`.

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
        level = exp(mood - _MOOD_VARIANCE) * _REGIME_VOLATILITY[regime]  # the mean square of the exp is 1
        variance = variance_S[t] * level * level / _REGIME_SQUARE_MEAN * (1.0 + shock)
        activity = exp(_ACTIVITY_EXPONENT * (mood - _ACTIVITY_EXPONENT * _MOOD_VARIANCE / 2.0))
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
    after = Weather(regime, slow, medium, fast, shock, excited_fast, excited_slow)
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
    share = exp(-mean)
    passed = share
    while passed < uniform and count < 1_000:
        count += 1
        share *= mean / count
        passed += share
    return count
