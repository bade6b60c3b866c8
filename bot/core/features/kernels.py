"""The compiled loops behind every operation of a formula.

`run` walks a program once over a stretch of columns of `x`, one row of `x` per operation. Each loop gives a value that
depends on the columns before it alone and always adds in the same order, oldest first: a live bar and a slab of
thousands are the same to the bit. NaN says "not known", and whatever is made of it is NaN.
"""

import math
from typing import Final

import numpy as np
from numba import njit

CODES: Final = {
    name: code
    for code, name in enumerate(
        (
            "const",
            "ln",
            "log1p",
            "exp",
            "sqrt",
            "abs",
            "sign",
            "sin_turn",
            "cos_turn",
            "add",
            "sub",
            "mul",
            "div",
            "div_or",
            "larger",
            "smaller",
            "clip",
            "lag",
            "sum",
            "mean",
            "std",
            "cov",
            "lowest",
            "highest",
            "fir",
            "ema",
        )
    )
}
# Columns of a program: what to do, where to, from where, how far back it reaches, over how many values, in which steps,
# where its numbers and where its state begin.
CODE, TO, A, B, REACH, WINDOW, STRIDE, NUMBERS, STATE = range(9)
EMA_STATE: Final = 3  # weighted sum, sum of the weights, values seen

_LN, _LOG1P, _EXP, _SQRT, _ABS, _SIGN, _SIN, _COS = range(1, 9)
_ADD, _SUB, _MUL, _DIV, _DIV_OR, _LARGER, _SMALLER, _CLIP = range(9, 17)
_LAG, _SUM, _MEAN, _STD, _COV, _LOWEST, _HIGHEST, _FIR, _EMA = range(17, 26)
_TURN = 2.0 * math.pi


@njit(cache=True, nogil=True, error_model="numpy")
def run(program, numbers, state, x, start, stop):  # type: ignore[no-untyped-def]
    """Carry out `program` on the columns [start, stop) of `x`."""
    for step in range(program.shape[0]):
        code = program[step, CODE]
        window = program[step, WINDOW]
        at = program[step, NUMBERS]
        to = x[program[step, TO], start:stop]
        a = x[program[step, A], start - program[step, REACH] : stop]  # oldest first, as far back as it needs
        b = x[program[step, B], start - program[step, REACH] : stop]
        if code == 0:
            to[:] = numbers[at]
        elif code <= _COS:
            _of_one(code, to, a)
        elif code <= _SMALLER:
            _of_two(code, to, a, b, numbers[at])
        elif code == _CLIP:
            _clip(to, a, numbers[at], numbers[at + 1])
        elif code == _LAG:
            for i in range(to.size):
                to[i] = a[i]
        elif code == _SUM:
            _sum(to, a, window)
        elif code == _MEAN:
            _mean(to, a, window)
        elif code == _STD:
            _covariance(to, a, a, window)
            for i in range(to.size):
                to[i] = math.sqrt(to[i])
        elif code == _COV:
            _covariance(to, a, b, window)
        elif code == _LOWEST:
            _lowest(to, a, window)
        elif code == _HIGHEST:
            _highest(to, a, window)
        elif code == _FIR:
            _filter(to, a, numbers, at, window, program[step, STRIDE])
        elif code == _EMA:
            _ema(to, a, numbers[at], window, state, program[step, STATE])


@njit(cache=True, nogil=True, error_model="numpy")
def _of_one(code, to, a):  # type: ignore[no-untyped-def]
    if code == _LN:
        for i in range(to.size):
            to[i] = math.log(a[i]) if a[i] > 0.0 else math.nan
    elif code == _LOG1P:
        for i in range(to.size):
            to[i] = math.log1p(a[i]) if a[i] > -1.0 else math.nan
    elif code == _EXP:
        for i in range(to.size):
            to[i] = math.exp(a[i])
    elif code == _SQRT:
        for i in range(to.size):
            to[i] = math.sqrt(a[i]) if a[i] >= 0.0 else math.nan
    elif code == _ABS:
        for i in range(to.size):
            to[i] = abs(a[i])
    elif code == _SIGN:
        for i in range(to.size):
            to[i] = 1.0 if a[i] > 0.0 else (-1.0 if a[i] < 0.0 else a[i])
    elif code == _SIN:
        for i in range(to.size):
            to[i] = math.sin(_TURN * a[i])
    else:
        for i in range(to.size):
            to[i] = math.cos(_TURN * a[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _of_two(code, to, a, b, where_zero):  # type: ignore[no-untyped-def]
    if code == _ADD:
        for i in range(to.size):
            to[i] = a[i] + b[i]
    elif code == _SUB:
        for i in range(to.size):
            to[i] = a[i] - b[i]
    elif code == _MUL:
        for i in range(to.size):
            to[i] = a[i] * b[i]
    elif code == _DIV:
        for i in range(to.size):
            to[i] = a[i] / b[i] if b[i] != 0.0 else math.nan
    elif code == _DIV_OR:
        for i in range(to.size):
            to[i] = a[i] / b[i] if b[i] != 0.0 else (where_zero if a[i] == a[i] else math.nan)
    elif code == _LARGER:
        for i in range(to.size):
            to[i] = b[i] if b[i] > a[i] or b[i] != b[i] else a[i]
    else:
        for i in range(to.size):
            to[i] = b[i] if b[i] < a[i] or b[i] != b[i] else a[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _clip(to, a, low, high):  # type: ignore[no-untyped-def]
    for i in range(to.size):
        value = a[i]
        if value < low:
            value = low
        elif value > high:
            value = high
        to[i] = value


# Windows are summed column by column rather than bar by bar: every bar still adds its oldest value first, but the inner
# loop has no dependency and takes several bars at a time. The unsigned index tells the compiler that it never wraps.


@njit(cache=True, nogil=True, error_model="numpy")
def _sum(to, a, window):  # type: ignore[no-untyped-def]
    to[:] = 0.0
    for past in range(window):
        for i in range(to.size):
            to[i] += a[np.uint64(i + past)]


@njit(cache=True, nogil=True, error_model="numpy")
def _mean(to, a, window):  # type: ignore[no-untyped-def]
    # What differs from the oldest is averaged: the mean of equal numbers is that number, to the bit.
    to[:] = 0.0
    for past in range(1, window):
        for i in range(to.size):
            to[i] += a[np.uint64(i + past)] - a[i]
    for i in range(to.size):
        to[i] = a[i] + to[i] / window


@njit(cache=True, nogil=True, error_model="numpy")
def _covariance(to, a, b, window):  # type: ignore[no-untyped-def]
    mean_a = np.empty(to.size)
    mean_b = np.empty(to.size)
    _mean(mean_a, a, window)
    _mean(mean_b, b, window)
    to[:] = 0.0
    for past in range(window):
        for i in range(to.size):
            to[i] += (a[np.uint64(i + past)] - mean_a[i]) * (b[np.uint64(i + past)] - mean_b[i])
    for i in range(to.size):
        to[i] /= window - 1


@njit(cache=True, nogil=True, error_model="numpy")
def _lowest(to, a, window):  # type: ignore[no-untyped-def]
    to[:] = math.inf
    for past in range(window):
        for i in range(to.size):
            value = a[np.uint64(i + past)]
            to[i] = value if value < to[i] or value != value else to[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _highest(to, a, window):  # type: ignore[no-untyped-def]
    to[:] = -math.inf
    for past in range(window):
        for i in range(to.size):
            value = a[np.uint64(i + past)]
            to[i] = value if value > to[i] or value != value else to[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _filter(to, a, numbers, at, taps, stride):  # type: ignore[no-untyped-def]
    to[:] = 0.0
    for past in range(taps):
        tap = numbers[at + taps - 1 - past]
        for i in range(to.size):
            to[i] += tap * a[np.uint64(i + past * stride)]


@njit(cache=True, nogil=True, error_model="numpy")
def _ema(to, a, alpha, warmup, state, at):  # type: ignore[no-untyped-def]
    decay = 1.0 - alpha
    value, weight, seen = state[at], state[at + 1], state[at + 2]
    for i in range(to.size):
        if not abs(a[i]) < math.inf:
            to[i] = math.nan
            continue
        value = a[i] + decay * value
        weight = 1.0 + decay * weight
        seen += 1.0
        to[i] = value / weight if seen > warmup else math.nan
    state[at] = value
    state[at + 1] = weight
    state[at + 2] = seen


@njit(cache=True, nogil=True, error_model="numpy")
def collect(x, rows, start, stop, out, first):  # type: ignore[no-untyped-def]
    """Copy the columns [start, stop) of chosen rows of `x` into `out` from row `first` on; infinities become NaN."""
    for column in range(rows.size):
        row = x[rows[column]]
        for i in range(start, stop):
            value = row[i]
            out[first + i - start, column] = value if abs(value) < math.inf else math.nan
