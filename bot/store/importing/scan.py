"""Compiled reading of delimited text: exact decimals, times and words out of bytes, without a float in between.

A number is given as `value` and `places`: it is value * 10**-places. Where a field holds none, `places` says why.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

I8 = NDArray[np.int8]
I64 = NDArray[np.int64]

# What a column is read as.
SKIP = 0
NUMBER = 1
TIME = 2  # a number, or a date with or without a time, year first
WORD = 3  # a text: value is `word_of` it

# In place of `places`.
MISSING = -1  # no such field in the line, empty, or a word for nothing
BAD = -2  # not a number
LONG = -3  # more digits than an int64 holds
DATED = 100  # a written time: value is in ns, UTC

_TENTH_MAX = (2**63 - 1) // 10  # an int64 ends in 7: one more digit fits behind it, up to that
_DAY_NS = 86_400_000_000_000
_NS = 1_000_000_000
_FNV = 1_099_511_628_211
_FNV_START = -3_750_763_034_362_895_579


def word_of(text: str) -> int:
    """Return the number that stands for a text, its case aside."""
    hashed = _FNV_START & (2**64 - 1)
    for byte in text.lower().encode():
        hashed = ((hashed ^ byte) * _FNV) & (2**64 - 1)
    return hashed - 2**64 if hashed >= 2**63 else hashed


@njit(cache=True, nogil=True)
def scan(data, stop, delimiter, kinds, value, places, starts):  # type: ignore[no-untyped-def]
    """Read the whole lines of `data[:stop]`; empty ones do not count.

    Args:
        data: bytes; the last of `data[:stop]` must end a line.
        stop: how many of them.
        delimiter: the byte between two fields.
        kinds: [columns of the file] what each is read as; columns beyond are passed over.
        value, places: [columns that are read, lines] receive the fields.
        starts: [lines + 1] receives where each line begins, and where the last one ended.
    Returns:
        How many lines were read.
    """
    line = 0
    at = 0
    columns = len(kinds)
    while at < stop:
        if data[at] == 10 or data[at] == 13:
            at += 1
            continue
        starts[line] = at
        slot = 0
        column = 0
        while column < columns:
            begin = at
            if data[at] == 34:  # a quoted field
                at += 1
                begin = at
                while data[at] != 34 and data[at] != 10:
                    at += 1
                end = at
                while data[at] != delimiter and data[at] != 10:
                    at += 1
            else:
                while data[at] != delimiter and data[at] != 10:
                    at += 1
                end = at
            kind = kinds[column]
            if kind != SKIP:
                while end > begin and data[end - 1] <= 32:
                    end -= 1
                while begin < end and data[begin] <= 32:
                    begin += 1
                if begin == end:
                    value[slot, line] = 0
                    places[slot, line] = MISSING
                elif kind == NUMBER:
                    value[slot, line], places[slot, line] = _number(data, begin, end)
                elif kind == TIME:
                    value[slot, line], places[slot, line] = _time(data, begin, end)
                else:
                    value[slot, line] = _word(data, begin, end)
                    places[slot, line] = 0
                slot += 1
            column += 1
            if data[at] == 10:
                break
            at += 1
        for rest in range(column, columns):
            if kinds[rest] != SKIP:
                value[slot, line] = 0
                places[slot, line] = MISSING
                slot += 1
        while data[at] != 10:
            at += 1
        at += 1
        line += 1
    starts[line] = at
    return line


@njit(cache=True, nogil=True)
def _word(data, begin, end):  # type: ignore[no-untyped-def]
    hashed = np.uint64(14_695_981_039_346_656_037)
    for i in range(begin, end):
        byte = data[i]
        if 65 <= byte <= 90:
            byte += 32
        hashed = (hashed ^ np.uint64(byte)) * np.uint64(_FNV)
    return np.int64(hashed)


@njit(cache=True, nogil=True)
def _number(data, begin, end):  # type: ignore[no-untyped-def]
    at = begin
    negative = data[at] == 45
    if negative or data[at] == 43:
        at += 1
    value = np.int64(0)
    seen = 0
    places = 0
    after_point = False
    while at < end:
        byte = data[at]
        if 48 <= byte <= 57:
            seen += 1
            if value < _TENTH_MAX or (value == _TENTH_MAX and byte <= 55):
                value = value * 10 + (byte - 48)
                if after_point:
                    places += 1
            elif not after_point or places <= 12:
                return np.int64(0), np.int8(LONG)
            # else: far behind the point, where only a float's noise can be
        elif byte == 46 and not after_point:
            after_point = True
        else:
            break
        at += 1
    if seen == 0:
        return np.int64(0), np.int8(MISSING if _is_nothing(data, begin, end) else BAD)
    while places > 0 and value % 10 == 0:
        value //= 10
        places -= 1
    if at < end:
        if data[at] != 101 and data[at] != 69:
            return np.int64(0), np.int8(BAD)
        power, good = _small_integer(data, at + 1, end)
        if not good:
            return np.int64(0), np.int8(BAD)
        places -= power
        if value == 0:
            places = 0
        while places > 0 and value % 10 == 0:
            value //= 10
            places -= 1
        while places < 0:
            if value > _TENTH_MAX:
                return np.int64(0), np.int8(LONG)
            value *= 10
            places += 1
        if places > 60:
            return np.int64(0), np.int8(LONG)
    return (-value if negative else value), np.int8(places)


@njit(cache=True, nogil=True)
def _small_integer(data, begin, end):  # type: ignore[no-untyped-def]
    at = begin
    negative = False
    if at < end and (data[at] == 45 or data[at] == 43):
        negative = data[at] == 45
        at += 1
    if at == end or end - at > 3:
        return 0, False
    value = 0
    while at < end:
        if not 48 <= data[at] <= 57:
            return 0, False
        value = value * 10 + (data[at] - 48)
        at += 1
    return (-value if negative else value), True


@njit(cache=True, nogil=True)
def _is_nothing(data, begin, end):  # type: ignore[no-untyped-def]
    """Return whether the field is nan, na, n/a, null or none, in any case."""
    return _word(data, begin, end) in _NOTHING


_NOTHING = (word_of("nan"), word_of("na"), word_of("n/a"), word_of("null"), word_of("none"))


@njit(cache=True, nogil=True)
def _two(data, at):  # type: ignore[no-untyped-def]
    """Return the two digits there, -1 if they are none."""
    if 48 <= data[at] <= 57 and 48 <= data[at + 1] <= 57:
        return np.int64(data[at] - 48) * 10 + (data[at + 1] - 48)
    return np.int64(-1)


@njit(cache=True, nogil=True)
def _time(data, begin, end):  # type: ignore[no-untyped-def]
    """Read YYYY-MM-DD with - . or /, alone or with T or a blank and HH:MM, HH:MM:SS or more, and a zone."""
    if end - begin < 10 or data[begin + 4] != data[begin + 7]:
        return _number(data, begin, end)
    if data[begin + 4] != 45 and data[begin + 4] != 46 and data[begin + 4] != 47:
        return _number(data, begin, end)
    bad = (np.int64(0), np.int8(BAD))
    century, rest = _two(data, begin), _two(data, begin + 2)
    month, day = _two(data, begin + 5), _two(data, begin + 8)
    if century < 0 or rest < 0 or not 1 <= month <= 12 or day < 1:
        return bad
    year = century * 100 + rest
    if not 1970 <= year <= 2200 or day > _month_days(year, month):
        return bad
    ns = _civil_days(year, month, day) * _DAY_NS
    at = begin + 10
    if at == end:
        return ns, np.int8(DATED)
    if (data[at] != 84 and data[at] != 32) or end - at < 6 or data[at + 3] != 58:
        return bad
    hour, minute = _two(data, at + 1), _two(data, at + 4)
    if not 0 <= hour <= 23 or not 0 <= minute <= 59:
        return bad
    ns += (hour * 60 + minute) * 60 * _NS
    at += 6
    if at < end and data[at] == 58:
        second = _two(data, at + 1) if end - at >= 3 else np.int64(-1)
        if not 0 <= second <= 59:
            return bad
        ns += second * _NS
        at += 3
        if at < end and (data[at] == 46 or data[at] == 44):
            at += 1
            unit = _NS
            while at < end and 48 <= data[at] <= 57:
                unit //= 10
                ns += (data[at] - 48) * unit
                at += 1
            if unit == _NS:
                return bad
    return _zoned(data, at, end, ns)


@njit(cache=True, nogil=True)
def _zoned(data, at, end, ns):  # type: ignore[no-untyped-def]
    """Bring a time to UTC by what follows it: nothing, Z, UTC, +HH, +HHMM or +HH:MM."""
    bad = (np.int64(0), np.int8(BAD))
    while at < end and data[at] == 32:
        at += 1
    if at == end or (end - at == 1 and (data[at] == 90 or data[at] == 122)):
        return ns, np.int8(DATED)
    if end - at == 3 and data[at] == 85 and data[at + 1] == 84 and data[at + 2] == 67:
        return ns, np.int8(DATED)
    sign = 1 if data[at] == 43 else -1 if data[at] == 45 else 0
    if sign == 0 or end - at < 3:
        return bad
    hours = _two(data, at + 1)
    minutes = np.int64(0)
    at += 3
    if at < end and data[at] == 58:
        at += 1
    if at < end:
        if end - at != 2:
            return bad
        minutes = _two(data, at)
    if not 0 <= hours <= 14 or not 0 <= minutes <= 59:
        return bad
    return ns - sign * (hours * 60 + minutes) * 60 * _NS, np.int8(DATED)


@njit(cache=True, nogil=True)
def _month_days(year, month):  # type: ignore[no-untyped-def]
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@njit(cache=True, nogil=True)
def _civil_days(year, month, day):  # type: ignore[no-untyped-def]
    """Return the days from 1970-01-01, Gregorian calendar: years counted from March, so leap days come last."""
    if month <= 2:
        year -= 1
    era_year = year % 400
    year_day = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return (year // 400) * 146_097 + era_year * 365 + era_year // 4 - era_year // 100 + year_day - 719_468
