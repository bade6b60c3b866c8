"""Signatures of Bybit's V5: over the exact bytes that go out, at a time that the caller names.

Source: Bybit V5, authentication of REST requests and of websockets.
"""

import hashlib
import hmac

import msgspec

AUTH_VALID_MS = 10_000  # an offer to log in is good for so long: less than that, and a slow link or clock loses it


def sign_rest(*, secret: str, key: str, timestamp_ms: int, recv_window_ms: int, payload: bytes) -> str:
    """Return the signature of a REST request, lower-case hex.

    Args:
        secret, key: of the API key.
        timestamp_ms: the time of the request by the venue's clock; it must go out unchanged in the header.
        recv_window_ms: how long after it the venue may still accept the request; likewise.
        payload: GET: the query as it stands in the address behind "?", percent-encoded and in its order; POST: the
            body. The very bytes that are sent: text that is encoded again may differ.
    """
    return _hex(secret, f"{timestamp_ms}{key}{recv_window_ms}".encode() + payload)


def sign_websocket(*, secret: str, expires_ms: int) -> str:
    """Return the signature that logs a websocket in, lower-case hex.

    Args:
        secret: of the API key.
        expires_ms: until when the venue may accept it, by its clock; `AUTH_VALID_MS` from now.
    """
    return _hex(secret, f"GET/realtime{expires_ms}".encode())


def auth_request(*, secret: str, key: str, now_ms: int, req_id: str | None = None, is_trade: bool = False) -> bytes:
    """Return the message that logs a private connection in, or one for order entry.

    Args:
        secret, key: of the API key.
        now_ms: the time by the venue's clock.
        req_id: echoed in the answer; None for none.
        is_trade: order entry spells it `reqId`.
    """
    expires_ms = now_ms + AUTH_VALID_MS
    signature = sign_websocket(secret=secret, expires_ms=expires_ms)
    message: dict[str, object] = {"op": "auth", "args": [key, expires_ms, signature]}
    if req_id is not None:
        message["reqId" if is_trade else "req_id"] = req_id
    return msgspec.json.encode(message)


def _hex(secret: str, text: bytes) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
