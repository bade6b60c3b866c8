"""Decompositions of the log price: a causal wavelet bank, and transforms of the trailing window."""

from bot.core.features.decomposition import modwt_filters
from bot.core.features.expression import Node, component, filtered, ln, trailing
from bot.core.features.formulas.chapter import Chapter
from bot.core.features.formulas.columns import CLOSE

CHAPTER = Chapter()
feature = CHAPTER.feature

_SMOOTH, _DETAIL = modwt_filters()
_log_close = ln(CLOSE)


def _smooth(level: int) -> Node:
    """Return the db4 smooth of the log price after so many levels, each with its taps twice as far apart."""
    smooth = _log_close
    for done in range(level):
        smooth = filtered(smooth, _SMOOTH, stride=2**done)
    return smooth


@feature(unit="1", source="S0 0.5, as a causal bank; Percival and Walden (2000)")
def wavelet_detail(level: int = 1) -> Node:
    """Return the newest detail of the log price at a level of the db4 a trous filter bank; level 1 is the finest.

    Unit: 1. Warm-up: 7 * (2**level - 1). From klines: yes.
    """
    if not 1 <= level <= 12:
        raise ValueError(f"wavelet level {level}: use 1 to 12")
    return filtered(_smooth(level - 1), _DETAIL, stride=2 ** (level - 1))


@feature(unit="1", source="S0 0.5, as a causal bank; Percival and Walden (2000)")
def wavelet_trend(level: int = 4) -> Node:
    """Return the smooth of the log price at a level of the db4 a trous filter bank, less the log price.

    Unit: 1. Warm-up: 7 * (2**level - 1). From klines: yes.
    """
    if not 1 <= level <= 12:
        raise ValueError(f"wavelet level {level}: use 1 to 12")
    return _smooth(level) - _log_close


@feature(unit="1", source="S0 0.5, on the trailing window; PyWavelets")
def wavelet_component(index: int = 0, levels: int = 4, bars: int = 128, wavelet: str = "db4") -> Node:
    """Return the newest value of one component of the trailing window's discrete wavelet transform of the log price.

    Index 0 is the trend (less the log price), 1 to `levels` the details from the coarsest to the finest. Slow: needs
    PyWavelets, and a transform per bar.
    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    if not 0 <= index <= levels:
        raise ValueError(f"wavelet component {index} of {levels} levels: use 0 to {levels}")
    part = component(trailing(_log_close, "wavelet", bars, wavelet, levels), index)
    return part - _log_close if index == 0 else part


@feature(unit="1", source="S0 0.7, on the trailing window; vmdpy; Dragomiretskiy and Zosso (2014)")
def vmd_mode(index: int = 0, modes: int = 4, bars: int = 128, alpha: float = 2000.0) -> Node:
    """Return the newest value of one mode of the trailing window's variational mode decomposition of the log price.

    The modes are ordered by frequency, the slowest first and taken less the log price. Research only: needs vmdpy, and
    milliseconds per bar. The window is brought to mean 0 and deviation 1 first, and its modes back.
    Unit: 1. Warm-up: bars - 1. From klines: yes.
    """
    if not 0 <= index < modes:
        raise ValueError(f"VMD mode {index} of {modes}: use 0 to {modes - 1}")
    part = component(trailing(_log_close, "vmd", bars, modes, alpha), index)
    return part - _log_close if index == 0 else part
