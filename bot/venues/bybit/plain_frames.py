"""Cuts what a websocket's server sends into frames, and tells the plain ones: a whole text or binary message each.

A library's parser is made for all that a frame can be, and takes longer over a short message than we take to read what
it says. Nearly all that a venue sends is plain. So frames are cut here, plain ones are read here, and every other
frame goes to the library's parser whole: control frames, fragments, and whatever breaks the protocol, which it refuses.

Source: RFC 6455, sections 5.2 to 5.4.
"""

_FIN_TEXT, _FIN_BINARY = 0x81, 0x82
_MASKED, _LENGTH_2, _LENGTH_8 = 0x80, 126, 127
_HEAD_END = b"\r\n\r\n"  # of the answer to the handshake


class PlainFrames:
    """The bytes of one connection, from the answer to the handshake on.

    Args:
        bytes_max: of a message; a longer one is left to the parser, which refuses it by its head alone.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._rest = bytearray()  # the beginning of a frame
        self._needed = 0  # so long must it be before it is looked at again
        self._is_left = False  # to the parser: nothing more is cut

    def split_head(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what belongs to the answer to the handshake, and what follows it."""
        before = len(self._rest)
        self._rest += data
        end = self._rest.find(_HEAD_END)
        if end < 0:
            del self._rest[: 1 - len(_HEAD_END)]
            return data, b""
        self._rest.clear()
        cut = end + len(_HEAD_END) - before
        return data[:cut], data[cut:]

    def cut(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the frames that are whole now, in order, each with the place of its message in it: 0 if not plain."""
        if self._is_left:
            return [(0, data)]
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        frames: list[tuple[int, bytes]] = []
        at, end = 0, len(data)
        while at < end:
            head, length = 2, data[at + 1] if end - at > 1 else 0
            if length == _LENGTH_2:
                head, length = 4, int.from_bytes(data[at + 2 : at + 4], "big")
            elif length == _LENGTH_8:
                head, length = 10, int.from_bytes(data[at + 2 : at + 10], "big")
            elif length >= _MASKED:  # no server may
                return [*frames, self._leave(data[at:])]
            if end - at >= head and length > self._bytes_max:
                return [*frames, self._leave(data[at:])]
            stop = at + head + length
            if stop > end or end - at < head:
                self._rest += data[at:]
                self._needed = stop - at if end - at >= head else head
                break
            is_plain = data[at] == _FIN_TEXT or data[at] == _FIN_BINARY
            frames.append((head if is_plain else 0, data[at:stop]))
            at = stop
        return frames

    def _leave(self, data: bytes) -> tuple[int, bytes]:
        self._is_left = True
        return 0, data
