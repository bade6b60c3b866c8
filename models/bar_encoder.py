"""What encoders of bars share: their inputs, and how they go on from what they remember.

`forward` reads a window or all of history. A causal encoder says at every bar the same as if that bar were the last, so
one pass over history is a forecast at every bar. `prefill` and `step` say the same again from what they remember: they
share every weight with `forward`, and agree with it to rounding.

Which encoders can do that, by `streams`:

* "banded": what is said at a bar depends on the `receptive_field` newest bars. Exact from any start, once those have
  passed.
* "anchored": it depends on all since the first bar, or on a number counted from it. Exact for that first bar; a context
  of bounded length must be begun anew before it is full.
* "none": a bar is told by what came after it, or by its window's own mean. Only `forward` is right.

A cache of W that re-reads a sliding window is none of these: it is another function, as the tests show.

On a CPU a step is many small operations: give the process one thread (`torch.set_num_threads(1)`), for handing them to
several costs more than it saves.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from bot.domain.errors import ConfigError, DataError
from models.attention.cache import Cursor, KVRing, RowsCursor, RowTensors, StepCursor
from models.attention.masks import Padding
from models.config import AnyEncoder
from models.norm import CausalStandardizer, GatedInstanceNorm, RevIN, StandardState
from models.position import Tokens

# Shape letters in this file: B batch, R row of a state (an instrument), L bar, F feature, D width.

Streams = Literal["banded", "anchored", "none"]
AnyCursor = Cursor | RowsCursor


class InputNorm(nn.Module):
    """The norm of the inputs that a configuration names, with the state of the one that has any."""

    def __init__(self, kind: Literal["none", "revin", "gated", "ewma"], features: int, halflife: float) -> None:
        super().__init__()
        self.streams = kind in ("none", "ewma")
        self.warm_up = 0
        self.norm: nn.Module | None = None
        if kind == "ewma":
            standardizer = CausalStandardizer(features, halflife=halflife)
            self.norm, self.warm_up = standardizer, standardizer.warm_up
        elif kind != "none":
            self.norm = RevIN(features) if kind == "revin" else GatedInstanceNorm(features)

    def empty(self, rows: int, device: torch.device) -> StandardState | None:
        """Return the state of having seen nothing; None where nothing is kept."""
        return self.norm.empty(rows, device) if isinstance(self.norm, CausalStandardizer) else None

    def forward(
        self, x_BLF: Tensor, padding: Padding | None, state: StandardState | None
    ) -> tuple[Tensor, StandardState | None]:
        """Return the normalised features, and the state after them."""
        if self.norm is None:
            return x_BLF, None
        if isinstance(self.norm, CausalStandardizer):
            if padding is not None:
                raise DataError("the causal standardizer takes no padding; leave short rows out, or use another norm")
            made, after = self.norm(x_BLF, state)
            return made, after
        made, _ = self.norm(x_BLF, padding)
        return made, None


class EncoderState:
    """What an encoder remembers of every row: of its bars, and what the inputs are standardised by."""

    def __init__(self, cache: KVRing | RowTensors, norm: StandardState | None) -> None:
        self.cache = cache
        self.norm = norm

    @property
    def count_R(self) -> Tensor:
        """Return how many bars each row has seen, int64 on the CPU."""
        return self.cache.count_R

    def reset(self, rows_B: Tensor) -> None:
        """Forget some rows, such as an instrument whose data had a hole."""
        self.cache.count_R[rows_B] = 0
        if isinstance(self.cache, RowTensors):
            for tensor in self.cache.tensors:
                tensor[rows_B] = 0
        if self.norm is not None:
            self.norm.clear(rows_B)

    def norm_of(self, rows_B: Tensor | None) -> StandardState | None:
        """Return what some rows are standardised by."""
        return self.norm if self.norm is None or rows_B is None else self.norm.pick(rows_B)

    def keep_norm(self, rows_B: Tensor | None, new: StandardState | None) -> None:
        """Replace it."""
        if self.norm is not None and new is not None and rows_B is not None:
            self.norm.put(rows_B, new)
        else:
            self.norm = new


class BarEncoder(nn.Module):
    """What all encoders share: the inputs, and how to go on from a state."""

    def __init__(self, cfg: AnyEncoder) -> None:
        super().__init__()
        self.width = cfg.width
        self.features = len(cfg.features)
        self.in_norm = InputNorm(cfg.in_norm, self.features, cfg.halflife)

    @property
    def streams(self) -> Streams:
        """Return how `prefill` and `step` are exact; see the top of the file."""
        raise NotImplementedError

    @property
    def receptive_field(self) -> int | None:
        """Return how many bars, itself included, decide what is said at a bar; None for all since the first.

        Beside these, an "ewma" input norm remembers for ever, and ever less.
        """
        raise NotImplementedError

    @property
    def warm_up(self) -> int:
        """Return how many bars must have passed before what is said is what training meant."""
        return self.in_norm.warm_up + (self.receptive_field or 1)

    def forward(self, x_BLF: Tensor, time_ns_BL: Tensor, padding: Padding | None = None) -> Tensor:
        """Return the bars' vectors [B, L, D]; zeros where there is padding.

        Args:
            x_BLF: the oldest bar first, all finite except where there is padding.
            time_ns_BL: when each bar closes, int64.

        Raises:
            ValueError: the shapes disagree, or the times are no int64.
        """
        self._check(x_BLF, time_ns_BL)
        if padding is not None:
            x_BLF = padding.fill(x_BLF)
        made = self._encode(self._tokens(x_BLF, time_ns_BL, padding), padding, None)
        return made if padding is None else padding.fill(made)

    def start(self, rows: int) -> EncoderState:
        """Return the state of `rows` instruments of which nothing has been seen.

        Raises:
            ConfigError: this encoder cannot stream.
        """
        if self.streams == "none":
            raise ConfigError(
                "this encoder cannot stream: it looks ahead, or its inputs are normalised by the window; re-read the "
                'window with forward, or train a causal one with in_norm "none" or "ewma"'
            )
        device = next(self.parameters()).device
        return EncoderState(self._cache(rows), self.in_norm.empty(rows, device))

    def prefill(self, x_BLF: Tensor, time_ns_BL: Tensor, state: EncoderState, rows_B: Tensor | None = None) -> Tensor:
        """Return the vectors [B, L, D] of the bars that follow what `state` has seen, and remember them.

        Args:
            rows_B: which rows of the state these are, int64 on the CPU, none twice; None for all, in order.

        Raises:
            DataError: an anchored context has no room for them; nothing has changed then.
            ValueError: the shapes disagree, or the encoder is in training mode.
        """
        made, cursor, norm = self._continue(x_BLF, time_ns_BL, state, rows_B)
        cursor.commit()
        state.keep_norm(rows_B, norm)
        return made

    def step(self, x_BF: Tensor, time_ns_B: Tensor, state: EncoderState, rows_B: Tensor | None = None) -> Tensor:
        """Return the vectors [B, D] of one more bar of each of these rows, and remember it; see `prefill`."""
        return self.prefill(x_BF[:, None], time_ns_B[:, None], state, rows_B)[:, 0]

    def peek(self, x_BF: Tensor, time_ns_B: Tensor, state: EncoderState, rows_B: Tensor | None = None) -> Tensor:
        """Return what `step` would, and remember nothing: for a bar that is still forming."""
        made, cursor, _ = self._continue(x_BF[:, None], time_ns_B[:, None], state, rows_B, undo=True)
        if isinstance(cursor, StepCursor):
            cursor.forget()
        return made[:, 0]

    def scan(self, x_BLF: Tensor, time_ns_BL: Tensor, *, chunk: int = 4096) -> Tensor:
        """Return `forward` of a history of any length, in chunks: the activations of one chunk are in memory at once.

        Equal chunks give equal bits, wherever the history is cut between them. Without gradients.
        """
        state = self.start(x_BLF.shape[0])
        parts = [
            self.prefill(x_BLF[:, at : at + chunk], time_ns_BL[:, at : at + chunk], state)
            for at in range(0, x_BLF.shape[1], chunk)
        ]
        return torch.cat(parts, dim=1)

    def _tokens(self, x_BLF: Tensor, time_ns_BL: Tensor, padding: Padding | None) -> Tokens:
        """Return the bars of a pass that begins with them."""
        length = x_BLF.shape[1]
        z_BLF, _ = self.in_norm(x_BLF, padding, None)
        index_BL = torch.arange(length, device=x_BLF.device)[None]
        return Tokens(index_BL=index_BL, end=length, time_ns_BL=time_ns_BL, features_BLF=z_BLF)

    @torch.no_grad()
    def _continue(
        self, x_BLF: Tensor, time_ns_BL: Tensor, state: EncoderState, rows_B: Tensor | None, *, undo: bool = False
    ) -> tuple[Tensor, AnyCursor, StandardState | None]:
        self._check(x_BLF, time_ns_BL)
        if self.training:
            raise ValueError("a state is for evaluation: call eval() first")
        rows, length = x_BLF.shape[:2]
        count_B = state.count_R if rows_B is None else state.count_R[rows_B]
        if len(count_B) != rows:
            raise ValueError(f"{rows} rows of bars for {len(count_B)} of the state")
        cursor = state.cache.cursor(length, rows_B)
        if undo and isinstance(cursor, StepCursor):
            cursor.remember()
        z_BLF, norm = self.in_norm(x_BLF, None, state.norm_of(rows_B))
        index_BL = (count_B[:, None] + torch.arange(length)).to(x_BLF.device)
        end = int(count_B.max()) + length
        tokens = Tokens(index_BL=index_BL, end=end, time_ns_BL=time_ns_BL, features_BLF=z_BLF)
        return self._encode(tokens, None, cursor), cursor, norm

    def _check(self, x_BLF: Tensor, time_ns_BL: Tensor) -> None:
        if x_BLF.dim() != 3 or x_BLF.shape[-1] != self.features or x_BLF.numel() == 0:
            raise ValueError(f"bars are [B, L, {self.features}], one at least; got {list(x_BLF.shape)}")
        if time_ns_BL.shape != x_BLF.shape[:2] or time_ns_BL.dtype != torch.int64:
            raise ValueError(f"times are int64 [B, L] beside {list(x_BLF.shape)}; got {list(time_ns_BL.shape)}")

    def _cache(self, rows: int) -> KVRing | RowTensors:
        raise NotImplementedError

    def _encode(self, tokens: Tokens, padding: Padding | None, cursor: AnyCursor | None) -> Tensor:
        raise NotImplementedError
