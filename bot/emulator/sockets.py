"""What is said on WebSockets: subscriptions, sign-ins, pings, and orders; each stream in its own dialect."""

from collections.abc import Mapping
from typing import Any

import msgspec

from bot.emulator import ids, inferred
from bot.emulator.auth import RECV_WINDOW_MS, Keys, check_permission, check_time
from bot.emulator.batches import batch_items, run_batch
from bot.emulator.clients import Client
from bot.emulator.dialects import public_ack, trade_ack, undecodable
from bot.emulator.faults import Faults
from bot.emulator.gateway import RATE_LIMITED
from bot.emulator.hub import Hub, Session
from bot.emulator.limits import Granted, RateLimits
from bot.emulator.params import integer, read_query
from bot.emulator.public import PublicStreams
from bot.emulator.trading import Desk
from bot.emulator.wire import MINUTE_NS, SECOND_NS, HttpRefused, Refused, ms_text

_PATHS = {
    "/v5/public/linear": "linear",
    "/v5/public/spot": "spot",
    "/v5/private": "private",
    "/v5/trade": "trade",
    "/v5/public/misc/status": "status",
}
_PUBLIC = ("linear", "spot", "status")

PRIVATE_TOPICS = ("order", "execution", "execution.fast", "position", "wallet", "greeks")
_CATEGORISED = ("order", "execution", "execution.fast", "position")
_DCP = ("dcp.future", "dcp.spot", "dcp.option")

_SPOT_ARGS_MAX = 10
_ARGS_CHARACTERS_MAX = 21_000
_IDLE_DEFAULT_NS = 10 * MINUTE_NS
_TRADE_PER_SECOND = 3000
_REQ_ID_MAX = 36


def socket_kind(path: str) -> str:
    """Return what kind of connection a path is, empty for none."""
    return _PATHS.get(path, "")


def op_of(text: str) -> str:
    """Return what a frame asks for, empty where that cannot be said."""
    try:
        op = msgspec.json.decode(text).get("op", "")
    except (msgspec.DecodeError, RecursionError, UnicodeError, AttributeError):
        return ""
    return op if isinstance(op, str) else ""


class Sockets:
    """Answers frames."""

    def __init__(
        self,
        *,
        seed: int,
        hub: Hub,
        public: PublicStreams,
        keys: Keys,
        limits: RateLimits,
        faults: Faults,
        clients: Mapping[str, Client],
        desk: Desk,
    ) -> None:
        self._seed = seed
        self._hub = hub
        self._public = public
        self._keys = keys
        self._limits = limits
        self._faults = faults
        self._clients = clients
        self._answered = 0
        self._trade_ops: dict[str, tuple[str, Any, bool]] = {
            "order.create": ("order.create", desk.create, False),
            "order.amend": ("order.amend", desk.amend, False),
            "order.cancel": ("order.cancel", desk.cancel, False),
            "order.create-batch": ("order.create-batch", desk.create, True),
            "order.amend-batch": ("order.amend-batch", desk.amend, True),
            "order.cancel-batch": ("order.cancel-batch", desk.cancel, True),
        }

    def open(self, path: str, query: str, ip: str, now_ns: int) -> Session:
        """Return a new connection.

        Raises:
            HttpRefused: there is no such stream, or the address opens too many.
        """
        kind = _PATHS.get(path)
        if kind is None:
            raise HttpRefused(404)
        if not self._limits.admits_connection(ip, now_ns):
            raise HttpRefused(403)
        fault = self._faults.hit("http_status", now_ns, path=path, socket=kind)
        if fault is not None:
            raise HttpRefused(fault.status, fault.text.encode())
        return self._hub.open(kind, ip, _idle_max_ns(query), now_ns)

    def close(self, number: int) -> None:
        """Forget a connection that has ended."""
        session = self._hub.drop(number)
        if session is not None:
            self._public.leave_all(session)

    def receive(self, number: int, text: str, now_ns: int) -> None:
        """Take a frame; what is answered waits in the hub."""
        session = self._hub.sessions.get(number)
        if session is None:
            return
        session.heard_ns = now_ns
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            self._say(session, undecodable(session, text), now_ns)
            return
        if not isinstance(request, dict):
            self._say(session, undecodable(session, text), now_ns)
        elif session.kind == "trade":
            self._trade(session, request, now_ns)
        elif session.kind == "private":
            self._private(session, request, now_ns)
        else:
            self._public_op(session, request, now_ns)

    def close_idle(self, now_ns: int) -> None:
        """End connections that have said nothing for too long."""
        for session in list(self._hub.sessions.values()):
            quiet_ns = now_ns - session.heard_ns
            if session.kind in _PUBLIC:
                is_idle = quiet_ns >= inferred.PUBLIC_IDLE_NS and not session.topics
            else:
                is_idle = quiet_ns >= session.idle_max_ns
            if is_idle:
                session.heard_ns = now_ns
                self._hub.close(session, *inferred.IDLE_CLOSE, now_ns)

    # Public

    def _public_op(self, session: Session, request: dict[str, Any], now_ns: int) -> None:
        match request.get("op"):
            case "ping":
                self._say(session, public_ack(session, request, "ping", ok=True, text="pong"), now_ns, op="ping")
            case "subscribe":
                self._subscribe(session, request, now_ns)
            case "unsubscribe":
                for topic in _topics(request):
                    self._public.leave(session, topic)
                text = "subscribe" if session.kind == "spot" else ""
                self._say(
                    session, public_ack(session, request, "unsubscribe", ok=True, text=text), now_ns, op="unsubscribe"
                )
            case _:
                op = str(request.get("op", ""))[:_REQ_ID_MAX]
                self._say(session, public_ack(session, request, op, ok=False, text="error:invalid op"), now_ns)

    def _subscribe(self, session: Session, request: dict[str, Any], now_ns: int) -> None:
        """Subscribe to all topics or, if one of them is bad, to none: the first bad one is named."""
        names = _topics(request)
        problem = ""
        if session.kind == "spot" and len(names) > _SPOT_ARGS_MAX:
            problem = "args size >10"
        elif sum(map(len, names)) > _ARGS_CHARACTERS_MAX:
            problem = "error:args too long"
        if not names:
            problem = "error:handler not found,topic:"
        found = []
        for name in () if problem else names:
            topic = None if session.kind == "status" else self._public.find(session.kind, name)
            if session.kind == "status" and name == "system.status":
                session.topics[name] = None
                continue
            if topic is None:
                problem = f"error:handler not found,topic:{name}"
                break
            if name in session.topics:
                problem = f"error:already subscribed,topic:{name}"
                break
            found.append(topic)
        text = problem or ("subscribe" if session.kind == "spot" else "")
        self._say(session, public_ack(session, request, "subscribe", ok=not problem, text=text), now_ns, op="subscribe")
        if not problem:
            for topic in found:
                self._public.follow(session, topic, now_ns)

    # Private

    def _private(self, session: Session, request: dict[str, Any], now_ns: int) -> None:
        op = request.get("op")
        answer: dict[str, Any] = {"conn_id": session.conn_id}
        if isinstance(request.get("req_id"), str):
            answer = {"req_id": request["req_id"], **answer}
        match op:
            case "ping":
                answer |= {"op": "pong", "args": [ms_text(now_ns)]}
            case "auth":
                answer |= {"success": True, "ret_msg": "", "op": "auth"}
                try:
                    key = self._keys.sign_in(request.get("args"), session.ip, self._said_ns(session, now_ns))
                    self._hub.sign_in(session, self._clients[key.account], key)
                except Refused as refused:
                    text = refused.text if refused.code not in (10003, 10004) else inferred.PRIVATE_AUTH_FAILED
                    answer |= {"success": False, "ret_msg": text}
            case "subscribe":
                answer |= {"success": True, "ret_msg": "", "op": "subscribe"}
                problem = self._follow_private(session, _topics(request))
                if problem:
                    answer |= {"success": False, "ret_msg": problem}
            case "unsubscribe":
                for name in _topics(request):
                    session.topics.pop(name, None)
                answer |= {"success": True, "ret_msg": "", "op": "unsubscribe"}
            case _:
                answer |= {"success": False, "ret_msg": "error:invalid op", "op": str(op or "")[:_REQ_ID_MAX]}
        self._say(session, answer, now_ns)

    def _follow_private(self, session: Session, names: list[str]) -> str:
        """Follow the topics there are; return what is wrong with the others."""
        if session.client is None:
            return inferred.PRIVATE_NOT_SIGNED_IN
        known: list[str] = []
        unknown: list[str] = []
        for name in names:
            base, _, kind = name.rpartition(".")
            is_known = name in PRIVATE_TOPICS or name in _DCP or (base in _CATEGORISED and kind in ("linear", "spot"))
            stem = base if base in _CATEGORISED and name not in PRIVATE_TOPICS else name
            # All of a kind, and a category of the same kind, exclude each other.
            others = {*session.topics, *known}
            conflicts = any(
                other != name and _stem(other) == stem and (other == stem or name == stem) for other in others
            )
            (known if is_known and not conflicts else unknown).append(name)
        session.topics.update(dict.fromkeys(known))
        if not unknown:
            return ""
        return (
            "Batch subscription partially succeeded and partially failed."
            f"Successful subscriptions are as follows:[{','.join(known)}]. Subscription to the following topics failed "
            f"because the topic does not exist or there is a subscription conflict:[{','.join(unknown)}]."
        )

    # Orders

    def _trade(self, session: Session, request: dict[str, Any], now_ns: int) -> None:
        op = request.get("op")
        if op == "ping":
            self._say(session, trade_ack(session, "pong") | {"data": [ms_text(now_ns)]}, now_ns)
            return
        if op == "auth":
            self._sign_in_trade(session, request, now_ns)
            return
        op = str(op or "")[:_REQ_ID_MAX]
        occasion = {"op": op, "socket": "trade", "account": "" if session.client is None else session.client.name}
        if self._faults.hit("lost_request", now_ns, **occasion):
            return
        self._answered += 1
        delay_ns = ids.between(inferred.ACK_DELAY_NS, self._seed, "trade", self._answered)
        answer = self._order_op(session, op, request, now_ns)
        late = self._faults.hit("late_ack", now_ns, **occasion)
        if late is not None:
            delay_ns += late.delay_ns
        if not self._faults.hit("lost_ack", now_ns, **occasion):
            self._say(session, answer, now_ns, delay_ns=delay_ns, op=op)

    def _sign_in_trade(self, session: Session, request: dict[str, Any], now_ns: int) -> None:
        answer = trade_ack(session, "auth", request)
        try:
            if session.client is not None:
                raise Refused(*inferred.TRADE_SIGNED_IN_TWICE)
            self._error("error_before", "auth", now_ns)
            key = self._keys.sign_in(request.get("args"), session.ip, self._said_ns(session, now_ns))
            if self._hub.signed_in(key.account, "trade") >= inferred.TRADE_SESSIONS_MAX:
                raise Refused(10003, "Too many sessions under the same UID")
            self._hub.sign_in(session, self._clients[key.account], key)
        except Refused as refused:
            answer |= {"retCode": refused.code, "retMsg": refused.text}
        self._say(session, answer, now_ns)

    def _order_op(self, session: Session, op: str, request: dict[str, Any], now_ns: int) -> dict[str, Any]:
        """Return the answer to an order request."""
        answer = trade_ack(session, op, request)
        data: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        headers: dict[str, str] = {}
        try:
            client, body = self._checked(session, op, request, now_ns)
            bucket, do, is_batch = self._trade_ops[op]
            count = len(batch_items(body)) if is_batch else 1
            granted = self._limits.take(client.name, bucket, str(body.get("category", "")), now_ns, count)
            headers = granted.headers()
            if not granted.taken:
                raise Refused(*RATE_LIMITED)
            self._error("error_before", op, now_ns)
            if is_batch:
                data, extra = self._batch(client, body, now_ns, do, granted, op)
            else:
                data = do(client, body, now_ns)
            self._error("error_after", op, now_ns)
        except Refused as refused:
            answer |= {"retCode": refused.code, "retMsg": refused.text}
            data, extra = {}, {}
        trace = ids.digest(self._seed, "trace", self._answered).hex()
        answer |= {
            "data": data,
            "retExtInfo": extra,
            "header": {**headers, "Traceid": trace, "Timenow": ms_text(self._said_ns(session, now_ns))},
            "connId": answer.pop("connId"),
        }
        return answer

    def _batch(
        self, client: Client, body: dict[str, Any], now_ns: int, do: Any, granted: Granted, op: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        return run_batch(
            self._faults,
            client,
            body,
            now_ns,
            do=do,
            granted=granted.taken,
            limited=Refused(*RATE_LIMITED),
            is_create=op == "order.create-batch",
        )

    def _checked(
        self, session: Session, op: str, request: dict[str, Any], now_ns: int
    ) -> tuple[Client, dict[str, Any]]:
        """Return who asks, and the request's one argument.

        Raises:
            Refused: not signed in, a request id again, an unknown op, a stale time, or no right to trade.
        """
        if session.client is None or session.key is None:
            raise Refused(*inferred.TRADE_NOT_SIGNED_IN)
        if op not in self._trade_ops:
            raise Refused(10404, "op type is not found")
        req_id = request.get("reqId")
        if req_id is not None and (not isinstance(req_id, str) or len(req_id) > _REQ_ID_MAX):
            raise Refused(10001, "params error: reqId invalid")
        if req_id and not session.is_new_request(req_id):
            raise Refused(20006, "reqId is duplicated")
        header = request.get("header")
        stamp = integer(header, "X-BAPI-TIMESTAMP") if isinstance(header, dict) else None
        window = integer(header, "X-BAPI-RECV-WINDOW", RECV_WINDOW_MS) if isinstance(header, dict) else None
        if stamp is None or window is None:
            raise Refused(*inferred.HEADERS_MISSING)
        check_time(stamp, window, self._said_ns(session, now_ns))
        match request.get("args"):
            case [dict(body)]:
                pass
            case _:
                raise Refused(10001, "params error: args must hold one object")
        if body.get("category") not in ("linear", "spot"):
            raise Refused(10404, "category is not correct")
        if self._keys.find(session.key.key) is None:
            raise Refused(*inferred.KEY_INVALID)
        needs = "Spot" if body["category"] == "spot" else "ContractTrade"
        check_permission(session.key, writes=True, needs=needs)
        granted = self._limits.take_socket(session.ip, now_ns, _TRADE_PER_SECOND)
        if not granted:
            raise Refused(10403, "Exceeded IP rate limit")
        return session.client, body

    def _said_ns(self, session: Session, now_ns: int) -> int:
        """Return what time it is by the clock that clients are judged by."""
        return now_ns + self._faults.skew_ns(now_ns, socket=session.kind)

    def _error(self, kind: Any, op: str, now_ns: int) -> None:
        fault = self._faults.hit(kind, now_ns, op=op, socket="trade")
        if fault is not None:
            raise Refused(fault.code, fault.text or "Internal server error.")

    def _say(
        self, session: Session, frame: dict[str, Any], now_ns: int, *, delay_ns: int = 0, op: str = "control"
    ) -> None:
        self._hub.send(session, frame, now_ns, delay_ns=delay_ns, op=op)


def _topics(request: dict[str, Any]) -> list[str]:
    args = request.get("args")
    return [arg for arg in args if isinstance(arg, str)] if isinstance(args, list) else []


def _stem(name: str) -> str:
    base, _, _ = name.rpartition(".")
    return base if base in _CATEGORISED and name not in PRIVATE_TOPICS else name


def _idle_max_ns(query: str) -> int:
    """Return how long a private connection may be silent: `max_active_time`, from 30 s to 600 s."""
    text = read_query(query).get("max_active_time", "")
    seconds = text.removesuffix("s")
    if text.endswith("m") and text[:-1].isdigit() and len(text) < 5:
        seconds = str(int(text[:-1]) * 60)
    if not seconds.isdigit() or len(seconds) > 5 or not 30 <= int(seconds) <= 600:
        return _IDLE_DEFAULT_NS
    return int(seconds) * SECOND_NS
