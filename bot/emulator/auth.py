"""Who asks: keys, signatures over the bytes as they came, and the rule of the clock."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bot.emulator import inferred
from bot.emulator.wire import MS_NS, SECOND_NS, HttpRefused, Refused, Request, to_ms

RECV_WINDOW_MS = 5000
_AHEAD_NS = SECOND_NS  # a client's clock may be less than this ahead, whatever its window
_DIGITS_MAX = 20

# What a key may be allowed, as the settings name it: the venue's group, and the rights within it.
PERMISSIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ContractTrade": ("ContractTrade", ("Order", "Position")),
    "Spot": ("Spot", ("SpotTrade",)),
    "Derivatives": ("Derivatives", ("DerivativesTrade",)),
    "Options": ("Options", ("OptionsTrade",)),
    "Wallet": ("Wallet", ("AccountTransfer",)),
    "SubMemberTransfer": ("Wallet", ("SubMemberTransfer",)),
    "Withdraw": ("Wallet", ("Withdraw",)),
    "Exchange": ("Exchange", ("ExchangeHistory",)),
    "CopyTrading": ("CopyTrading", ("CopyTrading",)),
}
_GROUPS = """
    ContractTrade Spot Wallet Options Derivatives CopyTrading BlockTrade Exchange NFT Affiliate Earn FiatP2P
    FiatConvertBroker FiatGlobalPay FiatBitPay BitCard ByXPost
"""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key and what it may do."""

    key: str
    secret: str
    account: str
    is_read_only: bool = False
    permissions: tuple[str, ...] = ("ContractTrade", "Spot", "Derivatives")
    addresses: tuple[str, ...] = ()  # bound to these; none: to none
    created_ns: int = 0
    expires_ns: int | None = None
    info: Mapping[str, Any] = {}  # what query-api says of it other than the truth


class Keys:
    """The keys there are."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._by_key = {key.key: key for key in keys}

    def find(self, key: str) -> ApiKey | None:
        """Return a key, None if there is no such one."""
        return self._by_key.get(key)

    def revoke(self, account: str) -> int:
        """Delete an account's keys; return how many there were."""
        gone = [key for key, each in self._by_key.items() if each.account == account]
        for key in gone:
            del self._by_key[key]
        return len(gone)

    def replace(self, key: ApiKey) -> None:
        """Add a key, or change what it may do."""
        self._by_key[key.key] = key

    def authenticate(self, request: Request, now_ns: int) -> ApiKey:
        """Return the key that a request is signed with.

        Raises:
            HttpRefused: there is no such key.
            Refused: the time, the signature, the address or the key's own end.
        """
        headers = request.headers
        name, stamp, sign = (headers.get(f"x-bapi-{part}", "") for part in ("api-key", "timestamp", "sign"))
        window = headers.get("x-bapi-recv-window", "") or str(RECV_WINDOW_MS)
        if not name or not sign or not _is_number(stamp) or not _is_number(window):
            raise Refused(*inferred.HEADERS_MISSING)
        key = self.find(name)
        if key is None:
            raise HttpRefused(inferred.UNKNOWN_KEY_STATUS)
        check_time(int(stamp), int(window), now_ns)
        payload = request.query.encode() if request.method == "GET" else request.body
        signed = f"{stamp}{name}{headers.get('x-bapi-recv-window', '')}".encode() + payload
        if not _is_same(signature(key.secret, signed), sign):
            text = signed.decode("utf-8", "replace")
            raise Refused(10004, f"error sign! origin_string[{text}]")
        check_key(key, request.ip, now_ns)
        return key

    def sign_in(self, args: object, ip: str, now_ns: int) -> ApiKey:
        """Return the key that a connection signs in with: `[key, expires in ms, signature]`.

        Raises:
            Refused: with the trade stream's codes.
        """
        match args:
            case [str(name), int() | str() as expires, str(sign)] if _is_number(str(expires)):
                pass
            case _:
                raise Refused(10001, "Params Error")
        key = self.find(name)
        if key is None:
            raise Refused(*inferred.KEY_INVALID)
        if int(expires) <= to_ms(now_ns):
            raise Refused(10001, inferred.PRIVATE_AUTH_EXPIRED)
        if not _is_same(signature(key.secret, f"GET/realtime{expires}".encode()), sign):
            raise Refused(10004, "error sign!")
        check_key(key, ip, now_ns)
        return key


def check_time(stamp_ms: int, window_ms: int, now_ns: int) -> None:
    """Refuse a request that is too old, or from the future.

    Raises:
        Refused: 10002.
    """
    if now_ns - window_ms * MS_NS <= stamp_ms * MS_NS < now_ns + _AHEAD_NS:
        return
    raise Refused(
        10002,
        "invalid request, please check your server timestamp or recv_window param. "
        f"req_timestamp[{stamp_ms}],server_timestamp[{to_ms(now_ns)}],recv_window[{window_ms}]",
    )


def check_key(key: ApiKey, ip: str, now_ns: int) -> None:
    """Refuse a key that has expired, or that is bound to other addresses.

    Raises:
        Refused: 33004 or 10010.
    """
    if key.expires_ns is not None and now_ns >= key.expires_ns:
        raise Refused(*inferred.EXPIRED)
    if key.addresses and ip not in key.addresses:
        raise Refused(*inferred.ADDRESS_NOT_BOUND)


def check_permission(key: ApiKey, *, writes: bool, needs: str) -> None:
    """Refuse what a key may not do.

    Raises:
        Refused: 10005.
    """
    if (writes and key.is_read_only) or (needs and needs not in key.permissions):
        raise Refused(*inferred.NO_PERMISSION)


def permission_lists(permissions: Iterable[str]) -> dict[str, list[str]]:
    """Return what a key may do, as `query-api` has it."""
    lists: dict[str, list[str]] = {group: [] for group in _GROUPS.split()}
    for name in permissions:
        group, rights = PERMISSIONS[name]
        lists[group] += rights
    return lists


def signature(secret: str, text: bytes) -> str:
    """Return the HMAC-SHA256 of a text, lower-case hex."""
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def _is_same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), theirs.encode("utf-8", "replace"))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
