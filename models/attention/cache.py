"""What attention remembers of tokens that have passed, for many rows (instruments) and all layers of one encoder.

A `KVRing` holds the newest `capacity` keys and values of each row. With a window of W in every layer and a ring of W,
streaming is exactly the pass over the whole history, because keys know their place themselves and never change. Once a
ring is full its order does not matter, since softmax is a sum: no mask, no copy.

The same class holds a context that grows from an anchor: then it does not wrap, and says so when it is full.
`RowTensors` are what linear attention and recurrent networks need instead.

A pass takes a cursor, gives it to every layer, and commits it at the end. Counts live on the CPU: they decide shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from bot.domain.errors import DataError

# Shape letters in this file: N layer, R row of the cache, B row of the call, L new token, M key, G head of keys.


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """What new tokens can see."""

    k_BMGd: Tensor
    v_BMGd: Tensor
    valid_BM: Tensor | None  # None: all are real
    layout: Literal["dense", "ring"]


class Cursor(Protocol):
    """The place of some new tokens in a ring, the same in every layer."""

    def extend(self, layer: int, k_BLGd: Tensor, v_BLGd: Tensor) -> Keys:
        """Store the new tokens' keys and values in a layer, and return all that those tokens can see."""

    def ages(self) -> Tensor | None:
        """Return [B, M], how many tokens ago each key of a ring was written; None where their order says it."""

    def commit(self) -> None:
        """Count the new tokens as seen."""


class KVRing:
    """The newest keys and values of every row, in every layer.

    Args:
        capacity: keys a row and layer can hold.
        wraps: whether the newest overwrite the oldest; a cache that does not is full some day.
        like: a tensor of the dtype and device wanted.
    """

    def __init__(self, *, layers: int, rows: int, capacity: int, heads: int, d: int, wraps: bool, like: Tensor) -> None:
        self.capacity = capacity
        self.wraps = wraps
        shape = (layers, rows, capacity, heads, d)
        # Layer by layer [R, M, G, d], views of one tensor each.
        self.k = list(torch.zeros(shape, dtype=like.dtype, device=like.device).unbind())
        self.v = list(torch.zeros(shape, dtype=like.dtype, device=like.device).unbind())
        self.device = like.device
        self.count_R = torch.zeros(rows, dtype=torch.int64)  # tokens that each row has ever seen

    def cursor(self, tokens: int, rows_B: Tensor | None = None) -> "StepCursor | ChunkCursor":
        """Return where the next `tokens` of these rows (None: of all) go.

        Raises:
            DataError: there is no room, and the ring does not wrap.
        """
        count_B = self.count_R if rows_B is None else self.count_R[rows_B]
        most = int(count_B.max())
        if not self.wraps and most + tokens > self.capacity:
            raise DataError(
                f"the context holds {most} of {self.capacity} tokens and cannot take {tokens} more; start again from a "
                "newer anchor"
            )
        return StepCursor(self, count_B, rows_B) if tokens == 1 else ChunkCursor(self, count_B, rows_B, tokens)


class StepCursor:
    """One new token a row: write it over the oldest, and look at the ring as it lies there."""

    def __init__(self, ring: KVRing, count_B: Tensor, rows_B: Tensor | None) -> None:
        self._ring, self._rows = ring, rows_B
        self._slot_B = count_B % ring.capacity
        least, most = int(count_B.min()), int(count_B.max())
        self._filled = min(most + 1, ring.capacity)
        self._valid: Tensor | None = None
        if least + 1 < self._filled:
            self._valid = (torch.arange(self._filled)[None] <= count_B[:, None]).to(ring.device)
        # Where all rows have seen equally many tokens they share a slot, and a slice is cheaper than a gather.
        self._slot = int(self._slot_B[0]) if least == most and rows_B is None else None
        self._at: tuple[Tensor, Tensor] | None = None
        if self._slot is None:
            rows = torch.arange(len(count_B)) if rows_B is None else rows_B
            self._at = (rows.to(ring.device), self._slot_B.to(ring.device))
        self._before: dict[int, tuple[Tensor, Tensor]] | None = None

    def remember(self) -> None:
        """Keep what the token overwrites, so that `forget` can undo it."""
        self._before = {}

    def extend(self, layer: int, k_BLGd: Tensor, v_BLGd: Tensor) -> Keys:
        k, v = self._ring.k[layer], self._ring.v[layer]
        if self._before is not None:
            self._before[layer] = (self._read(k), self._read(v))
        self._write(k, k_BLGd[:, 0])
        self._write(v, v_BLGd[:, 0])
        if self._filled < self._ring.capacity:
            k, v = k[:, : self._filled], v[:, : self._filled]
        if self._at is not None and self._rows is not None:
            k, v = k[self._at[0]], v[self._at[0]]
        return Keys(k_BMGd=k, v_BMGd=v, valid_BM=self._valid, layout="ring")

    def ages(self) -> Tensor | None:
        slots = torch.arange(self._filled)
        return ((self._slot_B[:, None] - slots) % self._ring.capacity).to(self._ring.device)

    def commit(self) -> None:
        _count(self._ring.count_R, self._rows, 1)

    def forget(self) -> None:
        """Put back what the token has overwritten."""
        for layer, (k, v) in (self._before or {}).items():
            self._write(self._ring.k[layer], k)
            self._write(self._ring.v[layer], v)

    def _read(self, keys_RMGd: Tensor) -> Tensor:
        return keys_RMGd[:, self._slot].clone() if self._at is None else keys_RMGd[self._at]

    def _write(self, keys_RMGd: Tensor, new_BGd: Tensor) -> None:
        if self._at is None:
            keys_RMGd[:, self._slot] = new_BGd
        else:
            keys_RMGd[self._at] = new_BGd


class FullRingCursor:
    """One new token of every row, where all rings are full: nothing but tensors decides, so that it can be traced.

    Whoever owns the rings counts the token.

    Args:
        k, v: of each layer [R, M, G, d]; written in place.
        slot_R: where the oldest token of each row lies, to be written over.
    """

    def __init__(self, k: Sequence[Tensor], v: Sequence[Tensor], slot_R: Tensor) -> None:
        self._k, self._v, self._slot_R = k, v, slot_R
        self._at = torch.arange(k[0].shape[0], device=slot_R.device), slot_R

    def extend(self, layer: int, k_BLGd: Tensor, v_BLGd: Tensor) -> Keys:
        k, v = self._k[layer], self._v[layer]
        k.index_put_(self._at, k_BLGd[:, 0])
        v.index_put_(self._at, v_BLGd[:, 0])
        return Keys(k_BMGd=k, v_BMGd=v, valid_BM=None, layout="ring")

    def ages(self) -> Tensor | None:
        capacity = self._k[0].shape[1]
        return (self._slot_R[:, None] - torch.arange(capacity, device=self._slot_R.device)) % capacity

    def commit(self) -> None:
        """Count nothing: see above."""


class ChunkCursor:
    """Several new tokens a row: they see what the ring holds, in order, and themselves."""

    def __init__(self, ring: KVRing, count_B: Tensor, rows_B: Tensor | None, tokens: int) -> None:
        self._ring, self._rows, self._tokens = ring, rows_B, tokens
        device, capacity = ring.device, ring.capacity
        least, most = int(count_B.min()), int(count_B.max())
        old = min(most, capacity - 1 if ring.wraps else capacity)
        index_BM = count_B[:, None] + torch.arange(-old, 0)
        kept = min(tokens, capacity)
        rows = torch.arange(len(count_B)) if rows_B is None else rows_B
        self._row_B1 = rows[:, None].to(device)
        self._old_BM = (index_BM % capacity).to(device) if old else None
        self._new_BL = ((count_B[:, None] + torch.arange(tokens - kept, tokens)) % capacity).to(device)
        self._valid: Tensor | None = None
        if least < old:  # some rows have seen less than others
            self._valid = torch.cat([index_BM >= 0, torch.ones(len(count_B), tokens, dtype=torch.bool)], 1).to(device)

    def extend(self, layer: int, k_BLGd: Tensor, v_BLGd: Tensor) -> Keys:
        k_RMGd, v_RMGd = self._ring.k[layer], self._ring.v[layer]
        k, v = k_BLGd, v_BLGd
        if self._old_BM is not None:
            k = torch.cat([k_RMGd[self._row_B1, self._old_BM], k], dim=1)
            v = torch.cat([v_RMGd[self._row_B1, self._old_BM], v], dim=1)
        kept = self._new_BL.shape[1]
        k_RMGd[self._row_B1, self._new_BL] = k_BLGd[:, -kept:]
        v_RMGd[self._row_B1, self._new_BL] = v_BLGd[:, -kept:]
        return Keys(k_BMGd=k, v_BMGd=v, valid_BM=self._valid, layout="dense")

    def ages(self) -> Tensor | None:
        return None

    def commit(self) -> None:
        _count(self._ring.count_R, self._rows, self._tokens)


class RowTensors:
    """Tensors of a fixed shape for each row: the sums of linear attention, the state of a recurrent network.

    Args:
        shapes: of one row, tensor by tensor; all begin as zeros.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, ...]], *, rows: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.tensors = [torch.zeros(rows, *shape, dtype=dtype, device=device) for shape in shapes]
        self.count_R = torch.zeros(rows, dtype=torch.int64)

    def cursor(self, tokens: int, rows_B: Tensor | None = None) -> "RowsCursor":
        """Return the tensors of these rows (None: of all), to be read and replaced one by one."""
        return RowsCursor(self, tokens, rows_B)


class RowsCursor:
    """The tensors of some rows; what is put is kept when it is committed."""

    def __init__(self, store: RowTensors, tokens: int, rows_B: Tensor | None) -> None:
        self._store, self._tokens, self._rows = store, tokens, rows_B
        self._at = None if rows_B is None else rows_B.to(store.tensors[0].device)
        self._made: dict[int, Tensor] = {}

    def get(self, number: int) -> Tensor:
        """Return tensor `number` [B, ...] as it was before the new tokens."""
        tensor = self._store.tensors[number]
        return tensor if self._at is None else tensor[self._at]

    def put(self, number: int, tensor: Tensor) -> None:
        """Say what it is after them."""
        self._made[number] = tensor

    def commit(self) -> None:
        """Keep what was put, and count the new tokens as seen."""
        for number, made in self._made.items():
            self._store.tensors[number][slice(None) if self._at is None else self._at] = made
        _count(self._store.count_R, self._rows, self._tokens)


def _count(count_R: Tensor, rows_B: Tensor | None, tokens: int) -> None:
    if rows_B is None:
        count_R += tokens
    else:
        count_R[rows_B] += tokens
