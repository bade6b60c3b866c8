"""Secrets in text: whatever they are wrapped in, they do not come out."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.redaction import HIDDEN, Redactor

CANARIES = (
    "Kx7pQ2vR9sTu4WyZ1aBc",
    "f" * 8 + "Secret/With+Signs=&%",
    "pass word\"with'quotes\\and ünïcode",
    "0123456789abcdef0123456789abcdef",
    "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
)

_WRAPPED = {
    "raw": lambda secret: secret,
    "hex": lambda secret: secret.encode().hex(),
    "upper hex": lambda secret: secret.encode().hex().upper(),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 within": lambda secret: base64.b64encode(f"user:{secret}:more".encode()).decode(),
    "base64 shifted": lambda secret: base64.b64encode(f"user1:{secret}:m".encode()).decode(),
    "url-safe base64": lambda secret: base64.urlsafe_b64encode(f"12{secret}".encode()).decode(),
    "percent": lambda secret: quote(secret, safe=""),
    "form": quote_plus,
    "json": json.dumps,
    "json twice": lambda secret: json.dumps(json.dumps({"a": secret})),
    "repr": lambda secret: repr([secret]),
    "escaped": lambda secret: "".join(f"\\u{ord(c):04x}" for c in secret),
    "percent all": lambda secret: "".join(f"%{b:02X}" for b in secret.encode()),
}


def _unwrapped(secret: str) -> list[str]:
    """Return what a reader who decodes would look for: every form without its first and last two letters."""
    middle = secret[2:-2]
    return [middle, middle.encode().hex(), quote(middle, safe="")]


@pytest.mark.parametrize("how", _WRAPPED)
@pytest.mark.parametrize("secret", CANARIES)
def test_a_known_secret_does_not_come_out_in_any_wrapping(secret: str, how: str) -> None:
    """Raw or encoded, alone or amid other text, it is hidden."""
    wrapped = _WRAPPED[how](secret)
    told = Redactor(CANARIES)(f"before {wrapped} after")
    assert HIDDEN in told
    assert "before" in told
    assert "after" in told
    for form in _unwrapped(secret):
        assert form not in told


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET https://api.telegram.org/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/getMe", "AAHdqTcv"),
        ("error sign! origin_string[1700000000000abcKEYdef5000category=linear]", "abcKEYdef"),
        ("{'X-BAPI-SIGN': 'deadbeef00', 'X-BAPI-API-KEY': 'k3yk3yk3y'}", "deadbeef00"),
        ("{'X-BAPI-SIGN': 'deadbeef00', 'X-BAPI-API-KEY': 'k3yk3yk3y'}", "k3yk3yk3y"),
        ('{\\"x-bapi-api-key\\": \\"k3yk3yk3y\\"}', "k3yk3yk3y"),
        ("postgresql+asyncpg://bot:hunter22@db:5432/ledger", "hunter22"),
        ('"api_secret": "abcdefghij"', "abcdefghij"),
        ("api_key=abcdefghij&x=1", "abcdefghij"),
        ("Authorization: Bearer abc.def.ghi", "abc.def.ghi"),
        ("password = 'correcthorse'", "correcthorse"),
    ],
)
def test_what_is_shaped_like_a_secret_is_hidden_without_being_known(text: str, secret: str) -> None:
    """A token in an address, a signed header, a password in a database's address: nobody had to name them."""
    told = Redactor()(text)
    assert secret not in told
    assert HIDDEN in told


@pytest.mark.parametrize(
    "text",
    [
        '{"event":"order.filled","client_order_id":"p000001-multiscale__-000000012","price":"63250.1"}',
        "2026-01-02T03:04:05Z reconcile: 3 orders, 2 positions, ledger_hash=9f8a7b6c5d4e3f2a1b0c",
        "https://api-testnet.bybit.com/v5/market/time took 120 ms",
        "token: short",
    ],
)
def test_common_lines_are_left_as_they_are(text: str) -> None:
    """Ids, hashes and addresses are what a log is for."""
    assert Redactor(CANARIES)(text) == text


def test_too_short_a_secret_is_refused_and_an_empty_one_passed_over() -> None:
    """Three letters cannot be told from text; nothing is no secret."""
    with pytest.raises(ValueError, match="3 characters"):
        Redactor(["abc"])
    assert Redactor(["", ""])("abc") == "abc"
    assert "Kx7p" not in repr(Redactor(CANARIES))


@given(
    secret=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=8), before=st.binary(max_size=4)
)
def test_base64_hides_at_any_place(secret: str, before: bytes) -> None:
    """Wherever a secret begins within an encoded text, no more than its outermost letters stay."""
    whole = base64.b64encode(before + secret.encode() + b"xyz").decode()
    told = Redactor([secret])(whole)
    assert HIDDEN in told
    assert len(told) - len(HIDDEN) <= len(whole) - (len(secret.encode()) * 8 // 6 - 2)
