"""Hashes of columns that do not depend on how the columns were cut.

They tell whether two runs saw the same data, not whether someone tampered with it (the ledger's own chain does that),
so the fastest hash with enough bits serves: XXH3, 128 bits.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray


class ColumnDigest:
    """Hash columns as they come, in any cut.

    Args:
        label: says what the columns are; part of the hash.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._hashes: dict[str, Any] = {}

    def update(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Append rows."""
        for name, column in columns.items():
            hasher = self._hashes.get(name)
            if hasher is None:
                hasher = self._hashes[name] = xxhash.xxh3_128(f"{name}:{column.dtype.str}:".encode())
            hasher.update(np.ascontiguousarray(column).data)

    def update_text(self, name: str, text: str) -> None:
        """Append a text under a name of its own."""
        self._hashes[name] = xxhash.xxh3_128(text.encode())

    def hexdigest(self) -> str:
        """Return the hash of all rows so far."""
        whole = xxhash.xxh3_128(self._label.encode())
        for name in sorted(self._hashes):
            whole.update(name.encode() + b"\0" + self._hashes[name].digest())
        return whole.hexdigest()
