"""The algebra of features: a formula is a tree of named operations over the columns of closed bars.

A formula is data: it has a canonical text (which the schema hashes), and how many bars it needs and which inputs it
reads follow from it instead of being stated beside it. No operation can reach forward.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

# How much of a recursive average may still come from before its first value when it is first shown.
_FORGOTTEN: Final = 0.01
_WINDOW_MAX: Final = 100_000
_ALPHA_MIN: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. Build them with the functions of this file and with + - * /."""

    op: str
    args: tuple["Node", ...] = ()
    params: tuple[float | int | str, ...] = ()

    def __add__(self, other: "Node | float") -> "Node":
        return Node("add", (self, _node(other)))

    def __radd__(self, other: float) -> "Node":
        return Node("add", (_node(other), self))

    def __sub__(self, other: "Node | float") -> "Node":
        return Node("sub", (self, _node(other)))

    def __rsub__(self, other: float) -> "Node":
        return Node("sub", (_node(other), self))

    def __mul__(self, other: "Node | float") -> "Node":
        return Node("mul", (self, _node(other)))

    def __rmul__(self, other: float) -> "Node":
        return Node("mul", (_node(other), self))

    def __truediv__(self, other: "Node | float") -> "Node":
        return Node("div", (self, _node(other)))

    def __rtruediv__(self, other: float) -> "Node":
        return Node("div", (_node(other), self))

    def __str__(self) -> str:
        """Return the canonical text: equal texts are equal formulas."""
        if self.op == "input":
            return str(self.params[0])
        if self.op == "const":
            return repr(float(self.params[0]))
        return f"{self.op}({', '.join([*map(str, self.args), *map(repr, self.params)])})"

    @property
    def warmup(self) -> int:
        """Return how many bars after its inputs' first the first value is there."""
        before = max((arg.warmup for arg in self.args), default=0)
        return before + _own_warmup(self)

    @property
    def is_recursive(self) -> bool:
        """Return whether a value depends, ever more faintly, on all bars before it; else on a fixed number of them."""
        return self.op == "ema" or any(arg.is_recursive for arg in self.args)

    @property
    def inputs(self) -> frozenset[str]:
        """Return the names of the inputs it reads."""
        return frozenset(str(node.params[0]) for node in self.walk() if node.op == "input")

    def walk(self) -> Iterator["Node"]:
        """Yield every operation below, arguments before what uses them; shared ones repeatedly."""
        for arg in self.args:
            yield from arg.walk()
        yield self


def _own_warmup(node: Node) -> int:
    """Return how many bars the operation itself looks back."""
    match node.op:
        case "lag":
            return int(node.params[0])
        case "sum" | "mean" | "std" | "lowest" | "highest" | "cov":
            return int(node.params[0]) - 1
        case "fir":
            stride, *taps = node.params
            return int(stride) * (len(taps) - 1)
        case "trailing":
            return int(node.params[1]) - 1
        case "ema":
            return ema_warmup(float(node.params[0]))
        case _:
            return 0


def ema_warmup(alpha: float) -> int:
    """Return how many values an average needs before its first one weighs less than a hundredth."""
    if alpha >= 1:
        return 0
    return math.ceil(math.log(_FORGOTTEN) / math.log1p(-alpha)) - 1


def column(name: str) -> Node:
    """Return an input: a column of the bars, or one joined to them."""
    return Node("input", params=(name,))


def constant(value: float) -> Node:
    """Return the same value for every bar."""
    return Node("const", params=(float(value),))


def ln(x: Node) -> Node:
    """Return the natural logarithm; NaN for values that are not positive."""
    return Node("ln", (x,))


def log1p(x: Node) -> Node:
    """Return ln(1 + x); NaN below or at -1."""
    return Node("log1p", (x,))


def exp(x: Node) -> Node:
    """Return e to the power of x."""
    return Node("exp", (x,))


def sqrt(x: Node) -> Node:
    """Return the square root; NaN below zero."""
    return Node("sqrt", (x,))


def absolute(x: Node) -> Node:
    """Return |x|."""
    return Node("abs", (x,))


def sign(x: Node) -> Node:
    """Return -1, 0 or 1."""
    return Node("sign", (x,))


def sin_turn(x: Node) -> Node:
    """Return the sine of x turns: sin(2 pi x)."""
    return Node("sin_turn", (x,))


def cos_turn(x: Node) -> Node:
    """Return the cosine of x turns: cos(2 pi x)."""
    return Node("cos_turn", (x,))


def larger(x: Node, y: Node | float) -> Node:
    """Return the larger of two; NaN if either is."""
    return Node("larger", (x, _node(y)))


def smaller(x: Node, y: Node | float) -> Node:
    """Return the smaller of two; NaN if either is."""
    return Node("smaller", (x, _node(y)))


def divide(x: Node, y: Node, *, where_zero: float) -> Node:
    """Return x / y, and `where_zero` where y is zero."""
    return Node("div_or", (x, y), (float(where_zero),))


def clip(x: Node, low: float, high: float) -> Node:
    """Return x, brought into [low, high]."""
    if not low < high:
        raise ValueError(f"a clip from {low} to {high} leaves nothing")
    return Node("clip", (x,), (float(low), float(high)))


def lag(x: Node, bars: int) -> Node:
    """Return the value so many bars ago."""
    return Node("lag", (x,), (_window(bars),))


def total(x: Node, bars: int) -> Node:
    """Return the sum of the last bars."""
    return Node("sum", (x,), (_window(bars),))


def mean(x: Node, bars: int) -> Node:
    """Return the mean of the last bars."""
    return Node("mean", (x,), (_window(bars),))


def deviation(x: Node, bars: int) -> Node:
    """Return the standard deviation of the last bars, with one degree of freedom taken off."""
    return Node("std", (x,), (_window(bars, least=2),))


def covariance(x: Node, y: Node, bars: int) -> Node:
    """Return the covariance of the last bars, with one degree of freedom taken off."""
    return Node("cov", (x, y), (_window(bars, least=2),))


def lowest(x: Node, bars: int) -> Node:
    """Return the smallest of the last bars."""
    return Node("lowest", (x,), (_window(bars),))


def highest(x: Node, bars: int) -> Node:
    """Return the largest of the last bars."""
    return Node("highest", (x,), (_window(bars),))


def filtered(x: Node, taps: Sequence[float], *, stride: int = 1) -> Node:
    """Return the sum over k of taps[k] times the value k * stride bars ago."""
    return Node("fir", (x,), (_window(stride), *map(float, taps)))


def ema(x: Node, alpha: float) -> Node:
    """Return the mean of all values so far, each weighing 1 - alpha of the one after it.

    The weights are divided by their sum, so the first value has no special part. Hidden until what came before the
    first value would have weighed less than a hundredth. A value that is not known leaves the average as it was.
    """
    if not _ALPHA_MIN <= alpha <= 1:
        raise ValueError(f"the newest value weighs {alpha} of the average; use 0 < alpha <= 1, from {_ALPHA_MIN}")
    return Node("ema", (x,), (float(alpha),))


def span_ema(x: Node, span: int) -> Node:
    """Return the recursive mean whose weights have their centre where a mean of `span` bars has it."""
    return ema(x, 2.0 / (_window(span) + 1.0))


def trailing(x: Node, method: str, bars: int, *options: float | int | str) -> Node:
    """Return a method of `core.features.decomposition` of the last bars; `component` picks what it gives."""
    return Node("trailing", (x,), (method, _window(bars, least=2), *options))


def component(x: Node, index: int) -> Node:
    """Return one of the values that a `trailing` method gives."""
    return Node("component", (x,), (index,))


def _node(value: Node | float) -> Node:
    return value if isinstance(value, Node) else constant(value)


def _window(bars: int, *, least: int = 1) -> int:
    if not least <= bars <= _WINDOW_MAX or bars != int(bars):
        raise ValueError(f"a window of {bars} bars: use a whole number from {least} to {_WINDOW_MAX}")
    return int(bars)
