"""Signatures agree with the venue's test vectors, over the bytes that are sent."""

import json

import pytest

from bot.venues.bybit.sign import auth_request, sign_rest, sign_websocket

KEY, SECRET = "TESTKEY0001", "TESTSECRET0001"


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (b"category=linear&symbol=BTCUSDT", "01d815f1e23d1deca8771d2ff41424ba721353cac43b375fae6c01fc31c6495e"),
        (b"", "1845b217426fe871dfdcf3b57eb368b98a802a60bf0476aba39f7331cd4077e3"),
        (
            (
                b'{"category":"linear","symbol":"BTCUSDT","side":"Buy","orderType":"Limit","qty":"0.001",'
                b'"price":"50000","timeInForce":"PostOnly","orderLinkId":"t-1"}'
            ),
            "aabf833a57f93f742d7417e50b983438b41ee155e978f1b9b3ca18c208040be0",
        ),
    ],
)
def test_rest(payload: bytes, signature: str) -> None:
    made = sign_rest(secret=SECRET, key=KEY, timestamp_ms=1_700_000_000_000, recv_window_ms=5_000, payload=payload)
    assert made == signature


def test_websocket() -> None:
    made = sign_websocket(secret=SECRET, expires_ms=1_700_000_010_000)
    assert made == "d2dc1aeffe66cdb5faccf30102dfc7cde9cd010cc02876e3c6d8a8b8befa8afc"


@pytest.mark.parametrize(("is_trade", "name"), [(False, "req_id"), (True, "reqId")])
def test_logging_in(*, is_trade: bool, name: str) -> None:
    """The offer ends ten seconds from now, as a number, and order entry has its own spelling of the request's id."""
    request = json.loads(auth_request(secret=SECRET, key=KEY, now_ms=1_700_000_000_000, req_id="7", is_trade=is_trade))
    signature = "d2dc1aeffe66cdb5faccf30102dfc7cde9cd010cc02876e3c6d8a8b8befa8afc"
    assert request == {"op": "auth", "args": [KEY, 1_700_000_010_000, signature], name: "7"}
    assert set(json.loads(auth_request(secret=SECRET, key=KEY, now_ms=1))) == {"op", "args"}


def test_every_byte_counts() -> None:
    one, other = (
        sign_rest(secret=SECRET, key=KEY, timestamp_ms=1, recv_window_ms=1, payload=payload)
        for payload in (b'{"a":1}', b'{"a": 1}')
    )
    assert one != other
