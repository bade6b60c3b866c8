"""Identifiers and delays that look drawn by lot, and are functions of a seed and a number."""

from hashlib import blake2b

_SPOT_BASE = 1_600_000_000_000_000_000  # 19 digits
_SPOT_TRADE_BASE = 2_100_000_000_000_000_000


def digest(seed: int, *parts: object) -> bytes:
    """Return 16 bytes that depend on nothing but the arguments."""
    text = "\x1f".join(str(part) for part in parts)
    return blake2b(text.encode(), digest_size=16, salt=seed.to_bytes(8, "little")).digest()


def uuid_text(seed: int, *parts: object) -> str:
    """Return a UUID of version 4 in form."""
    raw = bytearray(digest(seed, *parts))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def fraction(seed: int, *parts: object) -> float:
    """Return a number in [0, 1)."""
    return int.from_bytes(digest(seed, *parts)[:7], "little") / 2**56


def between(bounds: tuple[int, int], seed: int, *parts: object) -> int:
    """Return a whole number from the first bound to the second."""
    low, high = bounds
    return low + int(fraction(seed, *parts) * (high - low + 1))


class OrderIds:
    """Order ids: a UUID for a perpetual, 19 digits for spot.

    The venue model names orders by number alone, without saying of what they are: whoever submits a spot order says so
    first. Its client id, where the client gives none, is the venue's own: the order's id and one.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._spots = 0
        self.is_spot = False

    def name(self, number: int) -> str:
        """Return the id of an order."""
        if not self.is_spot:
            return uuid_text(self._seed, "order", number)
        text = self.next_spot()
        self._spots += 1
        return text

    def next_spot(self) -> str:
        """Return the id that the next spot order will have."""
        return str(_SPOT_BASE + self._seed % 10**6 * 10**12 + 2 * self._spots)


def trade_id(seed: int, is_spot: bool, *parts: object) -> str:
    """Return the id of a trade: a UUID for a perpetual, 19 digits for spot."""
    if not is_spot:
        return uuid_text(seed, "trade", *parts)
    return str(_SPOT_TRADE_BASE + int.from_bytes(digest(seed, "trade", *parts)[:7], "little") % 10**17)


def connection_id(seed: int, number: int) -> str:
    """Return a connection's id, in the venue's form."""
    raw = digest(seed, "connection", number).hex()
    return f"{raw[:20]}-{raw[20:25]}"
