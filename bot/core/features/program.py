"""Formulas, compiled: shared parts are computed once, and the past that windows need is carried from batch to batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bot.core.features.decomposition import Method, make_method
from bot.core.features.expression import Node
from bot.core.features.kernels import (
    CODE,
    CODES,
    EMA_STATE,
    NUMBERS,
    REACH,
    STATE,
    STRIDE,
    TO,
    WINDOW,
    A,
    B,
    run,
)
from bot.domain.market import F64, I64

_BLOCK = 512  # bars at a time: the whole working set stays in the processor's cache
_STEP = 9  # columns of a program
_BETWEEN = 2  # rows at the end of `x` for what lies between an operation's beginning and its end


@dataclass(frozen=True, slots=True)
class _Trailing:
    """A method that is not a compiled loop: called with the last bars, for every bar."""

    source: int  # row of `x` it reads
    to: int  # first row of `x` it writes
    bars: int
    method: Method


class FeatureProgram:
    """Evaluate formulas over the columns of bars, in any cut, always with the same result.

    Args:
        formulas: what to compute.
        inputs: the names of the input columns, in the order in which `update` receives them.

    Raises:
        ValueError: a formula reads an input that is not among `inputs`.
    """

    def __init__(self, formulas: Sequence[Node], inputs: Sequence[str]) -> None:
        compiler = _Compiler(inputs)
        rows = [compiler.row(formula) for formula in formulas]
        self._outputs: I64 = np.array(rows, dtype=np.int64)
        self._segments = compiler.segments()
        self._numbers: F64 = np.array(compiler.numbers or [0.0])
        self._state: F64 = np.zeros(max(1, compiler.state_size))
        self._past = compiler.past
        self._x: F64 = np.full((compiler.rows + _BETWEEN, self._past + _BLOCK), np.nan)
        self._flat = self._x.reshape(-1)
        self._next = self._past  # the column of the next bar

    def update(self, columns_IN: F64) -> F64:
        """Return the formulas' values [N, F] for the next bars.

        Args:
            columns_IN: the inputs, one row per name, one column per bar; NaN where a value is not known.
        """
        count = columns_IN.shape[1]
        out = np.empty((count, len(self._outputs)))
        width = self._x.shape[1]
        for first in range(0, count, _BLOCK):
            start, stop = self._make_room(min(_BLOCK, count - first))
            for segment in self._segments:
                if isinstance(segment, _Trailing):
                    self._decompose(segment, start, stop)
                else:
                    # Each takes the same bars in; what the last gives out counts.
                    run(
                        segment,
                        self._numbers,
                        self._state,
                        self._flat,
                        width,
                        start,
                        stop,
                        columns_IN,
                        first,
                        self._outputs,
                        out,
                    )
        return out

    def _make_room(self, bars: int) -> tuple[int, int]:
        if self._next + bars > self._x.shape[1]:
            self._x[:, : self._past] = self._x[:, self._next - self._past : self._next].copy()
            self._next = self._past
        start = self._next
        self._next += bars
        return start, self._next

    def _decompose(self, segment: _Trailing, start: int, stop: int) -> None:
        values = self._x[segment.source]
        for column in range(start, stop):
            window = values[column - segment.bars + 1 : column + 1]
            whole = bool(np.isfinite(window).all())
            result = segment.method(window.copy()) if whole else np.nan
            rows = slice(segment.to, segment.to + segment.method.count)
            self._x[rows, column] = result


class _Compiler:
    """Gives every different operation a row of `x`, and lists them in an order in which they can be computed."""

    def __init__(self, inputs: Sequence[str]) -> None:
        self._rows: dict[Node, int] = {Node("input", params=(name,)): row for row, name in enumerate(inputs)}
        self.rows = len(inputs)
        self.numbers: list[float] = []
        self.state_size = 0
        self.past = 0
        self._steps: list[list[int] | _Trailing] = []

    def row(self, node: Node) -> int:
        """Return the row that holds the operation's values, having listed what computes it."""
        if node in self._rows:
            return self._rows[node]
        if node.op == "input":
            raise ValueError(f"no input is named {node.params[0]}")
        args = [self.row(arg) for arg in node.args]
        if node.op == "component":
            row = args[0] + int(node.params[0])
        elif node.op == "trailing":
            row = self._list_trailing(node, args[0])
        else:
            row = self._list(node, args)
        self._rows[node] = row
        return row

    def segments(self) -> list["I64 | _Trailing"]:
        """Return the compiled stretches, and between two of them what is not compiled."""
        segments: list[I64 | _Trailing] = []
        steps: list[list[int]] = []
        for step in self._steps:
            if isinstance(step, list):
                steps.append(step)
            else:
                segments += [_as_program(steps), step]
                steps = []
        return [*segments, _as_program(steps)]

    def _list(self, node: Node, args: list[int]) -> int:
        step = [0] * _STEP
        step[CODE] = CODES[node.op]
        step[TO] = self.rows
        step[A], step[B] = [*args, 0, 0][:2]
        step[NUMBERS], step[STATE], step[STRIDE] = len(self.numbers), self.state_size, 1
        numbers = [float(value) for value in node.params if not isinstance(value, str)]
        match node.op:
            case "lag":
                step[REACH] = int(numbers[0])
            case "fir":
                step[STRIDE], step[WINDOW] = int(numbers[0]), len(numbers) - 1
                step[REACH] = step[STRIDE] * (step[WINDOW] - 1)
                self.numbers += numbers[1:]
            case "ema":
                step[WINDOW] = node.warmup - node.args[0].warmup
                self.numbers += numbers
                self.state_size += EMA_STATE
            case "sum" | "mean" | "std" | "cov" | "lowest" | "highest":
                step[WINDOW] = int(numbers[0])
                step[REACH] = step[WINDOW] - 1
            case _:
                self.numbers += numbers or [0.0]
        self.past = max(self.past, step[REACH])
        self._steps.append(step)
        self.rows += 1
        return step[TO]

    def _list_trailing(self, node: Node, source: int) -> int:
        name, bars, *options = node.params
        method = make_method(str(name), int(bars), options)
        to = self.rows
        self._steps.append(_Trailing(source=source, to=to, bars=int(bars), method=method))
        self.rows += method.count
        self.past = max(self.past, int(bars) - 1)
        return to


def _as_program(steps: Sequence[Sequence[int]]) -> I64:
    return np.array(steps, dtype=np.int64).reshape(-1, _STEP)
