"""The REST gateway: which path is what, who may ask it, how often, and what goes wrong on the way."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bot.emulator import ids, inferred
from bot.emulator.auth import ApiKey, Keys, check_permission
from bot.emulator.batches import batch_items, run_batch
from bot.emulator.clients import Client
from bot.emulator.faults import Faults
from bot.emulator.limits import Granted, RateLimits
from bot.emulator.market_reading import MarketReader
from bot.emulator.params import Body, read_body, read_query
from bot.emulator.positions import PositionDesk
from bot.emulator.reading import Reader
from bot.emulator.trading import Desk
from bot.emulator.wire import HttpRefused, Refused, Request, Response, encode, envelope

_JSON = {"Content-Type": "application/json; charset=utf-8"}

RATE_LIMITED = (10006, "Too many visits. Exceeded the API Rate Limit.")

Public = Callable[[Body, int], dict[str, Any]]
Private = Callable[[Client, Body, int], dict[str, Any]]


class Endpoint(NamedTuple):
    """A private endpoint."""

    method: str
    bucket: str
    do: Private
    writes: bool = False
    text: str = "OK"
    is_batch: bool = False


class Gateway:
    """Answers HTTP requests."""

    def __init__(
        self,
        *,
        seed: int,
        keys: Keys,
        limits: RateLimits,
        faults: Faults,
        clients: Mapping[str, Client],
        desk: Desk,
        positions: PositionDesk,
        reader: Reader,
        market_reader: MarketReader,
    ) -> None:
        self._seed = seed
        self._keys = keys
        self._limits = limits
        self._faults = faults
        self._clients = clients
        self._reader = reader
        self._answered = 0
        self._public = _public_endpoints(market_reader)
        self._private = _private_endpoints(desk, positions, reader)

    def occasion(self, request: Request) -> dict[str, str]:
        """Return what faults may ask of a request."""
        key = self._keys.find(request.headers.get("x-bapi-api-key", ""))
        return {"path": request.path, "socket": "http", "account": "" if key is None else key.account}

    def handle(self, request: Request, now_ns: int) -> Response:
        """Return the answer to a request, or what becomes of it instead."""
        occasion = self.occasion(request)
        if self._faults.hit("lost_request", now_ns, **occasion):
            return Response(status=None)
        damage = self._faults.damage(now_ns, **occasion)
        said_ns = now_ns + self._faults.skew_ns(now_ns, **occasion)
        response = self._guarded(request, now_ns, said_ns)
        if self._faults.hit("duplicate_request", now_ns, **occasion):
            self._guarded(request, now_ns, said_ns)  # nobody hears the second answer
        self._answered += 1
        delay_ns = 0
        if request.path in self._private:
            delay_ns = ids.between(inferred.ACK_DELAY_NS, self._seed, "http", self._answered)
        late = self._faults.hit("late_ack", now_ns, **occasion)
        if late is not None:
            delay_ns += late.delay_ns
        status = None if self._faults.hit("lost_ack", now_ns, **occasion) else response.status
        return Response(status=status, body=response.body, headers=response.headers, delay_ns=delay_ns, damage=damage)

    def _guarded(self, request: Request, now_ns: int, said_ns: int) -> Response:
        """Return the answer, the gateway's refusals among them.

        Args:
            request: what is asked.
            now_ns: the venue's time.
            said_ns: the time by the clock that clients are judged by and told.
        """
        try:
            self._admit(request, now_ns)
            return self._answer(request, now_ns, said_ns)
        except HttpRefused as refused:
            return Response(status=refused.status, body=refused.body, headers={"Content-Type": "text/html"})
        except Refused as refused:
            return _refusal(refused, said_ns, {})

    def _admit(self, request: Request, now_ns: int) -> None:
        fault = self._faults.hit("address_banned", now_ns, **self.occasion(request))
        if fault is not None:
            self._limits.ban(request.ip, now_ns + (fault.delay_ns or 600 * 10**9))
        if not self._limits.admits(request.ip, now_ns):
            raise HttpRefused(403, b"access too frequent")
        fault = self._faults.hit("http_status", now_ns, **self.occasion(request))
        if fault is not None:
            raise HttpRefused(fault.status, fault.text.encode())
        if request.method not in ("GET", "POST"):
            raise HttpRefused(400 if request.method.upper() in ("GET", "POST") else 404)
        if request.method == "GET" and request.body.strip() == b"{}":
            raise HttpRefused(403)

    def _answer(self, request: Request, now_ns: int, said_ns: int) -> Response:
        public = self._public.get(request.path)
        if public is not None:
            if request.method != "GET":
                raise HttpRefused(404)
            self._error(request, "error_before", now_ns)
            at_ns = said_ns if request.path == "/v5/market/time" else now_ns
            return _ok(public(read_query(request.query), at_ns), said_ns, "OK", {})
        endpoint = self._private.get(request.path)
        if endpoint is None or endpoint.method != request.method:
            raise HttpRefused(404)
        key = self._keys.authenticate(request, said_ns)
        params = read_query(request.query) if request.method == "GET" else read_body(request.body)
        client = self._clients[key.account]
        kind = str(params.get("category", ""))
        check_permission(key, writes=endpoint.writes, needs=_permission(endpoint, kind))
        count = len(batch_items(params)) if endpoint.is_batch else 1
        granted = self._limits.take(client.name, endpoint.bucket, kind, now_ns, count)
        headers = granted.headers()
        try:
            if not granted.taken:
                raise Refused(*RATE_LIMITED)
            self._error(request, "error_before", now_ns)
            result, extra = self._do(endpoint, client, key, params, now_ns, granted)
            self._error(request, "error_after", now_ns)
        except Refused as refused:
            return _refusal(refused, said_ns, headers)
        return _ok(result, said_ns, endpoint.text, headers, extra)

    def _do(
        self, endpoint: Endpoint, client: Client, key: ApiKey, params: Body, now_ns: int, granted: Granted
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        if endpoint.bucket == "user.query-api":
            return self._reader.key_info(client, key, now_ns), {}
        if not endpoint.is_batch:
            return endpoint.do(client, params, now_ns), {}
        return run_batch(
            self._faults,
            client,
            params,
            now_ns,
            do=endpoint.do,
            granted=granted.taken,
            limited=Refused(*RATE_LIMITED),
            is_create=endpoint.bucket == "order.create-batch",
        )

    def _error(self, request: Request, kind: Any, now_ns: int) -> None:
        fault = self._faults.hit(kind, now_ns, **self.occasion(request))
        if fault is not None:
            raise Refused(fault.code, fault.text or _FAULT_TEXTS.get(fault.code, "Server error"))


_FAULT_TEXTS = {
    10002: "invalid request, please check your server timestamp or recv_window param.",
    10006: RATE_LIMITED[1],
    10016: "Internal server error.",
    10019: "ws trade service is restarting, do not accept new request for the time being",
    10429: "System level frequency protection",
    10403: "Exceeded IP rate limit",
    10000: "Server Timeout",
}


def _permission(endpoint: Endpoint, kind: str) -> str:
    """Return what a key needs: for orders, the right to trade that category."""
    if not endpoint.bucket.startswith(("order.", "position.")):
        return ""
    return "Spot" if kind == "spot" else "ContractTrade"


def _ok(
    result: Any, now_ns: int, text: str, headers: Mapping[str, str], extra: Mapping[str, Any] | None = None
) -> Response:
    return Response(body=encode(envelope(result, now_ns, text=text, extra=extra)), headers={**_JSON, **headers})


def _refusal(refused: Refused, now_ns: int, headers: Mapping[str, str]) -> Response:
    body = encode(envelope({}, now_ns, code=refused.code, text=refused.text))
    return Response(body=body, headers={**_JSON, **headers})


def _public_endpoints(reader: MarketReader) -> dict[str, Public]:
    return {
        "/v5/market/time": reader.time,
        "/v5/system/status": reader.system_status,
        "/v5/market/kline": reader.kline,
        "/v5/market/mark-price-kline": reader.price_kline,
        "/v5/market/index-price-kline": reader.price_kline,
        "/v5/market/premium-index-price-kline": reader.premium_kline,
        "/v5/market/instruments-info": reader.instruments,
        "/v5/market/orderbook": reader.orderbook,
        "/v5/market/tickers": reader.tickers,
        "/v5/market/recent-trade": reader.recent_trades,
        "/v5/market/funding/history": reader.funding_history,
        "/v5/market/risk-limit": reader.risk_limit,
        "/v5/market/price-limit": reader.price_limit,
        "/v5/market/open-interest": reader.open_interest,
    }


def _private_endpoints(desk: Desk, positions: PositionDesk, reader: Reader) -> dict[str, Endpoint]:
    def ignored(client: Client, params: Body, now_ns: int) -> dict[str, Any]:
        raise AssertionError("answered by the gateway itself")

    return {
        "/v5/order/create": Endpoint("POST", "order.create", desk.create, True),
        "/v5/order/amend": Endpoint("POST", "order.amend", desk.amend, True),
        "/v5/order/cancel": Endpoint("POST", "order.cancel", desk.cancel, True),
        "/v5/order/cancel-all": Endpoint("POST", "order.cancel-all", desk.cancel_all, True),
        "/v5/order/pre-check": Endpoint("POST", "order.pre-check", desk.pre_check, True),
        "/v5/order/disconnected-cancel-all": Endpoint("POST", "order.disconnected-cancel-all", desk.refuse_dcp, True),
        "/v5/order/create-batch": Endpoint("POST", "order.create-batch", desk.create, True, is_batch=True),
        "/v5/order/amend-batch": Endpoint("POST", "order.amend-batch", desk.amend, True, is_batch=True),
        "/v5/order/cancel-batch": Endpoint("POST", "order.cancel-batch", desk.cancel, True, is_batch=True),
        "/v5/order/realtime": Endpoint("GET", "order.realtime", reader.realtime),
        "/v5/order/history": Endpoint("GET", "order.history", reader.history),
        "/v5/execution/list": Endpoint("GET", "execution.list", reader.executions),
        "/v5/position/list": Endpoint("GET", "position.list", reader.positions),
        "/v5/position/closed-pnl": Endpoint("GET", "position.closed-pnl", reader.closed_pnl),
        "/v5/position/set-leverage": Endpoint("POST", "position.set", positions.set_leverage, True),
        "/v5/position/switch-mode": Endpoint("POST", "position.set", positions.switch_mode, True),
        "/v5/position/trading-stop": Endpoint("POST", "position.set", positions.set_stops, True),
        "/v5/account/wallet-balance": Endpoint("GET", "account.read", reader.wallet),
        "/v5/account/info": Endpoint("GET", "account.read", reader.account_info),
        "/v5/account/user-setting-config": Endpoint("GET", "account.read", reader.user_settings),
        "/v5/account/query-dcp-info": Endpoint("GET", "account.read", reader.dcp_info, text="success"),
        "/v5/account/fee-rate": Endpoint("GET", "account.fee-rate", reader.fee_rate),
        "/v5/account/transaction-log": Endpoint("GET", "account.transaction-log", reader.transaction_log),
        "/v5/account/set-limit-px-action": Endpoint("POST", "account.set", desk.set_price_action, True, text="success"),
        "/v5/user/query-api": Endpoint("GET", "user.query-api", ignored, text=""),
    }
