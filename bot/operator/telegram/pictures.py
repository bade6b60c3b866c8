"""Draws pictures for a chat: equity, and a forecast with its fan and what each time scale counted for.

Drawn at twice the size and made smaller, so that lines are smooth; the font is the one that comes with Pillow.
"""

import io
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
from PIL import Image, ImageDraw, ImageFont

from bot.domain.history import EquityPoint
from bot.domain.operation import ForecastView
from bot.operator.telegram.answers import span

_W, _H, _SCALE = 900, 520, 2
_S = 1_000_000_000
_POINTS_MAX = 1_500

Color = tuple[int, int, int]
_PAPER: Color = (250, 250, 248)
_INK: Color = (40, 44, 52)
_FAINT: Color = (136, 140, 148)
_GRID: Color = (226, 226, 222)
_LINE: Color = (31, 95, 168)
_GAIN: Color = (38, 132, 88)
_LOSS: Color = (186, 58, 52)
_FAN: tuple[Color, ...] = ((214, 228, 244), (176, 204, 234), (138, 180, 222))


class _Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Where a chart lies on the picture, and what its edges mean."""

    left: float
    top: float
    right: float
    bottom: float
    x_least: float
    x_most: float
    y_least: float
    y_most: float

    def x(self, value: float) -> float:
        share = (value - self.x_least) / (self.x_most - self.x_least)
        return (self.left + share * (self.right - self.left)) * _SCALE

    def y(self, value: float) -> float:
        share = (value - self.y_least) / (self.y_most - self.y_least)
        return (self.bottom - share * (self.bottom - self.top)) * _SCALE


class PillowPainter:
    """A `channel.Painter`. Each picture takes some tens of milliseconds: call it off the event loop."""

    def equity(self, points: Sequence[EquityPoint], currency: str) -> bytes:
        """See `Painter`."""
        if len(points) < 2:
            raise ValueError("a picture of equity takes two points")
        step = -(-len(points) // _POINTS_MAX)
        kept = [*points[:-1:step], points[-1]]
        times = [point.ts_ns / _S for point in kept]
        values = [float(point.equity) for point in kept]
        canvas = _Canvas()
        frame = _frame(times, [*values], right=_W - 30)
        change = values[-1] / values[0] - 1 if values[0] else 0.0
        canvas.text(30, 16, "Equity", size=28)
        color = _GAIN if change >= 0 else _LOSS
        canvas.text(_W - 30, 18, f"{values[-1]:,.2f} {currency}  {change:+.2%}", size=23, anchor="ra", color=color)
        canvas.axes(frame, lambda value: f"{value:,.0f}" if frame.y_most - frame.y_least > 20 else f"{value:,.2f}")
        canvas.time_axis(frame)
        canvas.under(frame, times, values)
        # From the highest point so far down: how deep it was.
        peak, lows = -math.inf, []
        for value in values:
            peak = max(peak, value)
            lows.append(value / peak - 1 if peak > 0 else 0.0)
        canvas.line(frame, times, values, color=_LINE, width=3)
        canvas.text(30, _H - 34, f"deepest fall {min(lows):.2%}", size=19, color=_FAINT)
        return canvas.png()

    def forecast(self, view: ForecastView, past: Sequence[tuple[int, float]]) -> bytes:
        """See `Painter`."""
        origin, price = view.bar_close_ns / _S, float(view.close_price)
        ahead = [horizon / _S for horizon in view.horizons_ns]
        # Horizons may lie between minutes and days: they stand at equal steps, and the past gets as much room.
        step = 1.0
        xs = [0.0, *(step * (k + 1) for k in range(len(ahead)))]
        paths = [
            [price, *(price * math.exp(_finite(row[k])) for row in view.quantiles)] for k in range(len(view.levels))
        ]
        before = [(ts_ns / _S, value) for ts_ns, value in past if ts_ns < view.bar_close_ns][-60:]
        span_s = origin - before[0][0] if before else 1.0
        past_xs = [(ts - origin) / span_s * xs[-1] for ts, _ in before] + [0.0]
        past_ys = [value for _, value in before] + [price]
        has_scales = bool(view.importance) and len(view.importance) == len(view.scales_ns)
        canvas = _Canvas()
        every = [value for path in paths for value in path] + past_ys
        frame = _frame([past_xs[0], xs[-1]], every, right=_W - (250 if has_scales else 30))
        canvas.text(30, 16, f"{view.instrument}  {price:,.8g}", size=28)
        stamp = datetime.fromtimestamp(origin, UTC).strftime("%Y-%m-%d %H:%M UTC")
        canvas.text(_W - 30, 20, stamp, size=19, anchor="ra", color=_FAINT)
        canvas.axes(frame, lambda value: f"{value:,.6g}")
        self._fan(canvas, frame, xs, paths, view.levels)
        canvas.line(frame, past_xs, past_ys, color=_INK, width=3)
        for x, horizon_ns in zip(xs[1:], view.horizons_ns, strict=True):
            canvas.text(
                frame.x(x) / _SCALE, frame.bottom + 8, f"+{span(horizon_ns)}", size=19, anchor="ma", color=_FAINT
            )
        canvas.text(frame.x(0.0) / _SCALE, frame.bottom + 8, "now", size=19, anchor="ma", color=_FAINT)
        if before:
            canvas.text(frame.left, frame.bottom + 8, f"-{span(int(span_s) * _S)}", size=19, color=_FAINT)
        if has_scales:
            _bars(canvas, view)
        covers = f"{view.levels[-1] - view.levels[0]:.0%}" if len(view.levels) > 1 else ""
        canvas.text(30, _H - 34, f"outer band {covers}   model {view.model_id[:40]}", size=19, color=_FAINT)
        return canvas.png()

    def _fan(
        self, canvas: "_Canvas", frame: _Frame, xs: list[float], paths: list[list[float]], levels: Sequence[float]
    ) -> None:
        pairs = len(paths) // 2
        for k in range(pairs):
            shade = _FAN[min(k * len(_FAN) // max(pairs, 1), len(_FAN) - 1)]
            low, high = paths[k], paths[len(paths) - 1 - k]
            canvas.area(frame, xs, low, high, color=shade)
        middle = min(range(len(levels)), key=lambda k: abs(levels[k] - 0.5))
        canvas.line(frame, xs, paths[middle], color=_LINE, width=3)


def _bars(canvas: "_Canvas", view: ForecastView) -> None:
    """Draw how much each time scale counted, largest possible bar to the right edge."""
    left, top, right = _W - 220.0, 96.0, _W - 30.0
    canvas.text(left, 60, "what counted", size=19, color=_FAINT)
    shares = [max(0.0, _finite(value)) for value in view.importance][:12]
    most = max([*shares, 1e-9])
    step = min(52.0, (_H - 160.0) / max(len(shares), 1))
    for k, (scale_ns, share) in enumerate(zip(view.scales_ns, shares, strict=False)):
        y = top + k * step
        canvas.text(left, y, span(scale_ns), size=19)
        canvas.text(right, y, f"{share:.0%}", size=19, anchor="ra", color=_FAINT)
        if share > 0:
            canvas.box(left, y + 25, left + (right - left) * share / most, y + 33, color=_LINE)


class _Canvas:
    """A picture in the making."""

    def __init__(self) -> None:
        self._image = Image.new("RGB", (_W * _SCALE, _H * _SCALE), _PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def text(self, x: float, y: float, text: str, *, size: int, anchor: str = "la", color: Color = _INK) -> None:
        font = ImageFont.load_default(size * _SCALE)
        self._draw.text((x * _SCALE, y * _SCALE), text, fill=color, font=font, anchor=anchor)

    def box(self, left: float, top: float, right: float, bottom: float, *, color: Color) -> None:
        corners = (left * _SCALE, top * _SCALE, max(right, left + 1) * _SCALE, bottom * _SCALE)
        self._draw.rectangle(corners, fill=color)

    def axes(self, frame: _Frame, label: Callable[[float], str]) -> None:
        for value in _round_values(frame.y_least, frame.y_most, 5):
            y = frame.y(value)
            self._draw.line((frame.left * _SCALE, y, frame.right * _SCALE, y), fill=_GRID, width=_SCALE)
            self.text(frame.left - 10, y / _SCALE, label(value), size=19, anchor="rm", color=_FAINT)

    def time_axis(self, frame: _Frame) -> None:
        seconds = frame.x_most - frame.x_least
        shape = "%H:%M" if seconds < 86_400 * 1.5 else "%d %b"
        for k in range(5):
            at = frame.x_least + seconds * k / 4
            anchor = ("la", "ma", "ma", "ma", "ra")[k]
            text = datetime.fromtimestamp(at, UTC).strftime(shape)
            self.text(frame.x(at) / _SCALE, frame.bottom + 8, text, size=19, anchor=anchor, color=_FAINT)

    def line(self, frame: _Frame, xs: Sequence[float], ys: Sequence[float], *, color: Color, width: int) -> None:
        points = [(frame.x(x), frame.y(y)) for x, y in zip(xs, ys, strict=True)]
        if len(points) > 1:
            self._draw.line(points, fill=color, width=width * _SCALE // 2 + 1, joint="curve")

    def area(
        self, frame: _Frame, xs: Sequence[float], low: Sequence[float], high: Sequence[float], *, color: Color
    ) -> None:
        there = [(frame.x(x), frame.y(y)) for x, y in zip(xs, high, strict=True)]
        back = [(frame.x(x), frame.y(y)) for x, y in zip(xs, low, strict=True)]
        self._draw.polygon([*there, *reversed(back)], fill=color)

    def under(self, frame: _Frame, xs: Sequence[float], ys: Sequence[float]) -> None:
        self.area(frame, xs, [frame.y_least] * len(xs), ys, color=(232, 239, 247))

    def png(self) -> bytes:
        small = self._image.resize((_W, _H), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.save(out, format="PNG", optimize=False)
        return out.getvalue()


def _frame(xs: Sequence[float], ys: Sequence[float], *, right: float) -> _Frame:
    least, most = min(ys), max(ys)
    room = (most - least) * 0.08 or max(abs(most), 1.0) * 0.01
    return _Frame(
        left=110,
        top=66,
        right=right,
        bottom=_H - 70,
        x_least=min(xs),
        x_most=max(xs) if max(xs) > min(xs) else min(xs) + 1.0,
        y_least=least - room,
        y_most=most + room,
    )


def _round_values(least: float, most: float, count: int) -> list[float]:
    """Return round numbers between two, about so many."""
    raw = (most - least) / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw)
    first = math.ceil(least / step)
    return [k * step for k in range(first, math.floor(most / step) + 1)]


def _finite(value: float) -> float:
    """Return a log return or a share that can be drawn."""
    return min(max(value, -5.0), 5.0) if math.isfinite(value) else 0.0
