"""What a layer of attention is told about the tokens it is given, beside the tokens."""

from dataclasses import dataclass

from torch import Tensor

from models.attention.cache import Cursor, RowsCursor
from models.attention.masks import Padding


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where tokens stand, as attention uses it; computed once for all layers.

    Shape letters: B batch (or 1, the same for all), L token, H head, d its width, E term.
    """

    # Cosines, and sines with the sign of their half, [B, L, 1, d]: what `rotate` turns queries and keys by.
    rotation: tuple[Tensor, Tensor] | None = None
    # Added to the score of a query and a key: sum over E of q_terms * k_terms. Every kernel can do that, as E more
    # columns of queries and keys; and keys in a cache keep theirs.
    q_terms_BLHE: Tensor | None = None
    k_terms_BL1E: Tensor | None = None
    slopes_H: Tensor | None = None  # ALiBi


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """All that surrounds the tokens of one pass."""

    placement: Placement = Placement()
    padding: Padding | None = None
    features_BLF: Tensor | None = None  # what the tokens were made of, for the hooks
    cursor: Cursor | RowsCursor | None = None  # where what was seen before is kept, when streaming
