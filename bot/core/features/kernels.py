"""The compiled loops behind every operation of a formula.

`run` walks a program once over a stretch of columns of `x`, one row of `x` per operation. Each loop gives a value that
depends on the columns before it alone and always adds in the same order, oldest first: a live bar and a slab of
thousands are the same to the bit. NaN says "not known", and whatever is made of it is NaN.

`x` is one flat block, and what a loop reads and writes are places in it: a view of a row would take longer to make
than most operations take on a live bar. Places are unsigned, which tells the compiler that an index never wraps.
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
_ONE = np.uint64(1)


@njit(cache=True, nogil=True, error_model="numpy")
def run(program, numbers, state, x, width, start, stop, columns, first, rows, out):  # type: ignore[no-untyped-def]
    """Take bars in, carry out `program` on them, and give its results out.

    The inputs' `columns` from `first` on become the first rows of `x`, from column `start` up to `stop`; each row of
    `x` is `width` long, and the last two are for what lies between. The chosen `rows` of `x` become columns of `out`,
    from its row `first` on; infinities become NaN.
    """
    n = np.uint64(stop - start)
    between = np.uint64(x.size - 2 * width)
    for row in range(columns.shape[0]):
        for i in range(start, stop):
            x[row * width + i] = columns[row, first + i - start]
    for step in range(program.shape[0]):
        code = program[step, CODE]
        window = np.uint64(program[step, WINDOW])
        at = program[step, NUMBERS]
        to = np.uint64(program[step, TO] * width + start)
        # Oldest first, as far back as it needs.
        a = np.uint64(program[step, A] * width + start - program[step, REACH])
        b = np.uint64(program[step, B] * width + start - program[step, REACH])
        if code == 0:
            for i in range(n):
                x[to + i] = numbers[at]
        elif code <= _COS:
            _of_one(code, x, to, a, n)
        elif code <= _SMALLER:
            _of_two(code, x, to, a, b, n, numbers[at])
        elif code == _CLIP:
            _clip(x, to, a, n, numbers[at], numbers[at + 1])
        elif code == _LAG:
            for i in range(n):
                x[to + i] = x[a + i]
        elif code == _SUM:
            _sum(x, to, a, n, window)
        elif code == _MEAN:
            _mean(x, to, a, n, window)
        elif code == _STD:
            _covariance(x, to, a, a, n, window, between, between + np.uint64(width))
            for i in range(n):
                x[to + i] = math.sqrt(x[to + i])
        elif code == _COV:
            _covariance(x, to, a, b, n, window, between, between + np.uint64(width))
        elif code == _LOWEST:
            _lowest(x, to, a, n, window)
        elif code == _HIGHEST:
            _highest(x, to, a, n, window)
        elif code == _FIR:
            _filter(x, to, a, n, numbers, np.uint64(at), window, np.uint64(program[step, STRIDE]))
        elif code == _EMA:
            _ema(x, to, a, n, numbers[at], program[step, WINDOW], state, program[step, STATE])
    for column in range(rows.size):
        for i in range(stop - start):
            value = x[rows[column] * width + start + i]
            out[first + i, column] = value if abs(value) < math.inf else math.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _of_one(code, x, to, a, n):  # type: ignore[no-untyped-def]
    if code == _LN:
        for i in range(n):
            x[to + i] = math.log(x[a + i]) if x[a + i] > 0.0 else math.nan
    elif code == _LOG1P:
        for i in range(n):
            x[to + i] = math.log1p(x[a + i]) if x[a + i] > -1.0 else math.nan
    elif code == _EXP:
        for i in range(n):
            x[to + i] = math.exp(x[a + i])
    elif code == _SQRT:
        for i in range(n):
            x[to + i] = math.sqrt(x[a + i]) if x[a + i] >= 0.0 else math.nan
    elif code == _ABS:
        for i in range(n):
            x[to + i] = abs(x[a + i])
    elif code == _SIGN:
        for i in range(n):
            x[to + i] = 1.0 if x[a + i] > 0.0 else (-1.0 if x[a + i] < 0.0 else x[a + i])
    elif code == _SIN:
        for i in range(n):
            x[to + i] = math.sin(_TURN * x[a + i])
    else:
        for i in range(n):
            x[to + i] = math.cos(_TURN * x[a + i])


@njit(cache=True, nogil=True, error_model="numpy")
def _of_two(code, x, to, a, b, n, where_zero):  # type: ignore[no-untyped-def]
    if code == _ADD:
        for i in range(n):
            x[to + i] = x[a + i] + x[b + i]
    elif code == _SUB:
        for i in range(n):
            x[to + i] = x[a + i] - x[b + i]
    elif code == _MUL:
        for i in range(n):
            x[to + i] = x[a + i] * x[b + i]
    elif code == _DIV:
        for i in range(n):
            x[to + i] = x[a + i] / x[b + i] if x[b + i] != 0.0 else math.nan
    elif code == _DIV_OR:
        for i in range(n):
            zero = where_zero if x[a + i] == x[a + i] else math.nan
            x[to + i] = x[a + i] / x[b + i] if x[b + i] != 0.0 else zero
    elif code == _LARGER:
        for i in range(n):
            x[to + i] = x[b + i] if x[b + i] > x[a + i] or x[b + i] != x[b + i] else x[a + i]
    else:
        for i in range(n):
            x[to + i] = x[b + i] if x[b + i] < x[a + i] or x[b + i] != x[b + i] else x[a + i]


@njit(cache=True, nogil=True, error_model="numpy")
def _clip(x, to, a, n, low, high):  # type: ignore[no-untyped-def]
    for i in range(n):
        value = x[a + i]
        if value < low:
            value = low
        elif value > high:
            value = high
        x[to + i] = value


# Windows are summed column by column rather than bar by bar: every bar still adds its oldest value first, but the inner
# loop has no dependency and takes several bars at a time.


@njit(cache=True, nogil=True, error_model="numpy")
def _sum(x, to, a, n, window):  # type: ignore[no-untyped-def]
    for i in range(n):
        x[to + i] = 0.0
    for past in range(window):
        for i in range(n):
            x[to + i] += x[a + past + i]


@njit(cache=True, nogil=True, error_model="numpy")
def _mean(x, to, a, n, window):  # type: ignore[no-untyped-def]
    # What differs from the oldest is averaged: the mean of equal numbers is that number, to the bit.
    for i in range(n):
        x[to + i] = 0.0
    for past in range(_ONE, window):
        for i in range(n):
            x[to + i] += x[a + past + i] - x[a + i]
    for i in range(n):
        x[to + i] = x[a + i] + x[to + i] / np.float64(window)


@njit(cache=True, nogil=True, error_model="numpy")
def _covariance(x, to, a, b, n, window, mean_a, mean_b):  # type: ignore[no-untyped-def]
    _mean(x, mean_a, a, n, window)
    _mean(x, mean_b, b, n, window)
    for i in range(n):
        x[to + i] = 0.0
    for past in range(window):
        for i in range(n):
            x[to + i] += (x[a + past + i] - x[mean_a + i]) * (x[b + past + i] - x[mean_b + i])
    for i in range(n):
        x[to + i] /= np.float64(window - _ONE)


@njit(cache=True, nogil=True, error_model="numpy")
def _lowest(x, to, a, n, window):  # type: ignore[no-untyped-def]
    for i in range(n):
        x[to + i] = math.inf
    for past in range(window):
        for i in range(n):
            value = x[a + past + i]
            x[to + i] = value if value < x[to + i] or value != value else x[to + i]


@njit(cache=True, nogil=True, error_model="numpy")
def _highest(x, to, a, n, window):  # type: ignore[no-untyped-def]
    for i in range(n):
        x[to + i] = -math.inf
    for past in range(window):
        for i in range(n):
            value = x[a + past + i]
            x[to + i] = value if value > x[to + i] or value != value else x[to + i]


@njit(cache=True, nogil=True, error_model="numpy")
def _filter(x, to, a, n, numbers, at, taps, stride):  # type: ignore[no-untyped-def]
    for i in range(n):
        x[to + i] = 0.0
    for past in range(taps):
        tap = numbers[at + taps - _ONE - past]
        for i in range(n):
            x[to + i] += tap * x[a + past * stride + i]


@njit(cache=True, nogil=True, error_model="numpy")
def _ema(x, to, a, n, alpha, warmup, state, at):  # type: ignore[no-untyped-def]
    decay = 1.0 - alpha
    value, weight, seen = state[at], state[at + 1], state[at + 2]
    for i in range(n):
        if not abs(x[a + i]) < math.inf:
            x[to + i] = math.nan
            continue
        value = x[a + i] + decay * value
        weight = 1.0 + decay * weight
        seen += 1.0
        x[to + i] = value / weight if seen > warmup else math.nan
    state[at] = value
    state[at + 1] = weight
    state[at + 2] = seen
