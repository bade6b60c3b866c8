"""Messages as Telegram takes them: plain text, and beside it which stretches are bold or set in columns.

Nothing is ever marked up inside the text, so no text can mark anything up, whoever wrote it. Telegram counts UTF-16
code units, and so does this.
"""

import unicodedata

import msgspec

TEXT_MAX = 4_096  # UTF-16 code units of a message
CAPTION_MAX = 1_024  # of a picture's

_KEPT = frozenset("\n")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})  # controls, directions, half characters, none at all


class Span(msgspec.Struct, frozen=True):
    """A stretch of a text, in UTF-16 code units."""

    kind: str  # bold, pre
    offset: int
    length: int


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said: a bold line, and lines under it."""

    head: str
    body: str = ""
    is_table: bool = False  # the body's columns stand under each other
    picture: bytes = b""  # PNG
    is_silent: bool = False


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A text of a length that Telegram takes."""

    text: str
    spans: tuple[Span, ...]


def render(text: Text, *, units_max: int = TEXT_MAX) -> Rendered:
    """Return the text without what cannot be shown, cut at the end of a line where it is too long."""
    head, _ = _cut(clean(text.head).replace("\n", " ").strip() or "-", units_max)
    body = clean(text.body).strip("\n")
    room = units_max - units(head) - 1
    spans = [Span("bold", 0, units(head))]
    if not body or room <= 0:
        return Rendered(text=head, spans=tuple(spans))
    body, lines_lost = _cut(body, room)
    if lines_lost:
        last = f"\n... and {lines_lost} more"
        body = _cut(body, max(0, room - units(last)))[0] + last
    if text.is_table:
        spans.append(Span("pre", units(head) + 1, units(body)))
    return Rendered(text=f"{head}\n{body}", spans=tuple(spans))


def clean(text: str) -> str:
    """Return `text` without controls, marks that turn the writing direction, and halves of characters."""
    return "".join(
        c if c in _KEPT or unicodedata.category(c) not in _HIDDEN_CATEGORIES else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def units(text: str) -> int:
    """Return how many UTF-16 code units a text without halves of characters has."""
    return len(text.encode("utf-16-le")) // 2


def _cut(text: str, units_max: int) -> tuple[str, int]:
    """Return the lines that fit, or a part of the first, and how many lines were cut off."""
    if units(text) <= units_max:
        return text, 0
    lines = text.split("\n")
    kept: list[str] = []
    room = units_max
    for line in lines:
        size = units(line) + bool(kept)
        if size > room:
            break
        kept.append(line)
        room -= size
    if kept:
        return "\n".join(kept), len(lines) - len(kept)
    part, size = [], 0
    for character in lines[0]:
        size += units(character)
        if size > units_max:
            break
        part.append(character)
    return "".join(part), len(lines) - 1
