"""Wavelet and variational mode decompositions of a trailing window: optional, slow, and never of a whole series.

A decomposition of the whole series gives yesterday a value that today's price has a part in. Here every bar gets the
decomposition of its own last bars, of which only the newest value is kept.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bot.domain.errors import ConfigError
from bot.domain.market import F64

# Daubechies' extremal-phase wavelet with four vanishing moments ("db4"): its scaling filter, sum sqrt(2).
# Source: Daubechies, Ten Lectures on Wavelets (1992), table 6.1.
_DB4 = (
    0.23037781330885523,
    0.71484657055254153,
    0.63088076792959036,
    -0.02798376941698385,
    -0.18703481171888114,
    0.03084138183598697,
    0.03288301166698295,
    -0.01059740178499728,
)


def modwt_filters() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the smoothing and the detail filter of the db4 maximal-overlap transform, the newest bar's tap first.

    Source: Percival and Walden, Wavelet Methods for Time Series Analysis (2000), ch. 5.
    """
    smooth = tuple(tap / np.sqrt(2.0) for tap in _DB4)
    # The quadrature mirror: the scaling filter backwards with alternating signs.
    detail = tuple((-1.0) ** k * tap for k, tap in enumerate(reversed(smooth)))
    return tuple(map(float, smooth)), tuple(map(float, detail))


class Method(Protocol):
    """What decomposes one window."""

    @property
    def count(self) -> int:
        """Return how many values it gives."""

    def __call__(self, window: F64) -> F64:
        """Return the newest value of every component of the window, oldest bar first."""


def make_method(name: str, bars: int, options: Sequence[float | int | str]) -> Method:
    """Return a decomposition by name.

    Raises:
        ConfigError: its library is not installed.
        ValueError: there is none of that name, or it cannot work with that window.
    """
    if name == "wavelet":
        return _Wavelet(bars, str(options[0]), int(options[1]))
    if name == "vmd":
        return _Vmd(bars, int(options[0]), float(options[1]))
    raise ValueError(f"no decomposition is named {name}; there are wavelet and vmd")


class _Wavelet:
    """The discrete wavelet transform by PyWavelets: trend and details, the coarsest first, adding up to the window."""

    def __init__(self, bars: int, wavelet: str, levels: int) -> None:
        try:
            import pywt
        except ImportError as error:
            raise ConfigError(
                "wavelet_component needs PyWavelets; install its extra: pip install -e '.[decompositions]'"
            ) from error
        most = pywt.dwt_max_level(bars, pywt.Wavelet(wavelet).dec_len)
        if not 1 <= levels <= most:
            raise ValueError(
                f"{levels} wavelet levels of {bars} bars: {wavelet} allows 1 to {most}; use a longer window"
            )
        self._pywt, self._wavelet, self._levels = pywt, wavelet, levels

    @property
    def count(self) -> int:
        """See `Method`."""
        return self._levels + 1

    def __call__(self, window: F64) -> F64:
        coefficients = self._pywt.wavedec(window, self._wavelet, level=self._levels)
        newest = np.empty(self.count)
        for kept in range(self.count):
            alone = [c if i == kept else np.zeros_like(c) for i, c in enumerate(coefficients)]
            newest[kept] = self._pywt.waverec(alone, self._wavelet)[len(window) - 1]
        return newest


class _Vmd:
    """Variational mode decomposition by vmdpy: the modes by rising frequency.

    Source: Dragomiretskiy and Zosso, IEEE Trans. Signal Processing 62 (2014); tau 0, no DC mode, uniform start,
    tolerance 1e-7. Modes come back in any order and are sorted by their centre frequency.
    """

    def __init__(self, bars: int, modes: int, alpha: float) -> None:
        try:
            from vmdpy import VMD
        except ImportError as error:
            raise ConfigError("vmd_mode needs vmdpy; install its extra: pip install -e '.[decompositions]'") from error
        if bars % 2 or bars < 16:
            raise ValueError(f"VMD of {bars} bars: use an even number from 16 on, or its last value is dropped")
        if not 1 <= modes <= 10 or not alpha > 0:
            raise ValueError(f"VMD with {modes} modes and alpha {alpha}: use 1 to 10 modes and a positive alpha")
        self._vmd, self._modes, self._alpha = VMD, modes, alpha

    @property
    def count(self) -> int:
        """See `Method`."""
        return self._modes

    def __call__(self, window: F64) -> F64:
        # The transform's own bandwidth is in units of the signal: a window of log prices is brought to unit deviation.
        level, spread = window.mean(), window.std()
        if spread == 0.0:
            return np.array([level, *[0.0] * (self._modes - 1)])  # it does not swing at all
        modes, _, frequencies = self._vmd((window - level) / spread, self._alpha, 0.0, self._modes, 0, 1, 1e-7)
        order = np.argsort(frequencies[-1], kind="stable")
        newest: F64 = np.real(modes)[order, -1] * spread
        newest[0] += level
        return newest
