"""Takes secrets out of text, whatever they were wrapped in on the way.

Known secrets are found by their value: as they are, escaped, percent-encoded, in hex, and in Base64 at any place of a
longer text. What is shaped like a secret is found by its shape, so that one nobody told us of is hidden as well.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

HIDDEN = "[redacted]"

_SHORTEST = 4  # characters: hiding every "a" would hide the log, not the secret

_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # A chat bot's token stands in the address of every request: .../bot123456:AbC.../sendMessage
    (re.compile(r"(?<![A-Za-z0-9])(bot)?\d{6,12}:[A-Za-z0-9_-]{30,}"), HIDDEN),
    # Bybit repeats what it believes was signed, the key in it.
    (re.compile(r"origin_string\[[^\]]*\]?"), f"origin_string[{HIDDEN}]"),
    (
        re.compile(r"""(X-BAPI-(?:SIGN|API-KEY)\\?["']?\s*[:=,]\s*\\?["']?)[^\s"'\\,;)}\]]+""", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    # postgresql://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(?=@)", re.IGNORECASE), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"""((?<![a-z])(?:api[_-]?(?:key|secret)|secret|passw(?:or)?d|passphrase|token|authorization)"""
            r"""\\?["']?\s*[:=]\s*\\?["']?(?:bearer\s+)?)(?!\[redacted\])[^\s"'\\,;)}\]]{6,}""",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
)


class Redactor:
    """Hides secrets.

    Args:
        secrets: their values; an empty one is passed over, one too short to be told from common text is refused.

    Raises:
        ValueError: a secret is shorter than four characters; the message does not show it.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        for secret in secrets:
            if not secret:
                continue
            if len(secret) < _SHORTEST:
                raise ValueError(f"a secret of {len(secret)} characters cannot be hidden; use a longer one")
            forms.update(form for form in _forms(secret) if len(form) >= _SHORTEST)
        # The longest first: an encoded form may begin with a shorter one.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Return `text` without them."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for shape, instead in _SHAPES:
            text = shape.sub(instead, text)
        return text

    def __repr__(self) -> str:
        return "Redactor(...)"


def _forms(secret: str) -> Iterator[str]:
    """Yield how a secret may look: each form on its own is as good as the secret."""
    raw = secret.encode()
    yield secret
    for text in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]):
        yield text
        yield json.dumps(text)[1:-1]  # a message within a message
    yield "".join(f"\\u{ord(character):04x}" for character in secret if ord(character) < 0x10000)
    yield raw.hex()
    yield raw.hex().upper()
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield quote(secret, safe="").lower()
    percent = "".join(f"%{byte:02x}" for byte in raw)
    yield percent
    yield percent.upper()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            # Where it starts within three bytes decides its letters; the first and last share theirs with neighbors.
            text = encode(bytes(shift) + raw).decode()
            yield text[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
