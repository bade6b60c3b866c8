"""What the venue says of an account against what the ledger's file says, by code that shares nothing with the bot.

The venue is asked over REST, page by page; the file is read by SQLite alone, its journal's lines as JSON.
"""

import hashlib
import hmac
import json
import sqlite3
import urllib.parse
import urllib.request
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

_PAGES_MAX = 200
_TOO_OLD = 10002
_ANSWER_S, _TRIES = 10.0, 60  # of a question: faults in force may lose what is answered to us, too

Executions = dict[str, tuple[str, Decimal, Decimal, Decimal, str]]  # side, price, qty, fee and order id, by execution


class Venue:
    """An account at an emulator, asked with its own key."""

    def __init__(self, url: str, key: str, secret: str) -> None:
        self._url, self._key, self._secret = url, key, secret

    def ask(self, path: str, **params: str) -> dict[str, Any]:
        """Return one answer's result."""
        query = urllib.parse.urlencode(params)
        stamp = str(self._now_ms())
        text = f"{stamp}{self._key}20000{query}".encode()
        headers = {
            "X-BAPI-API-KEY": self._key,
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": "20000",
            "X-BAPI-SIGN": hmac.new(self._secret.encode(), text, hashlib.sha256).hexdigest(),
        }
        answer = json.loads(_read(urllib.request.Request(f"{self._url}{path}?{query}", headers=headers)))
        if answer["retCode"] == _TOO_OLD:  # the first tries were lost, and time has passed
            return self.ask(path, **params)
        assert answer["retCode"] == 0, answer
        result: dict[str, Any] = answer["result"]
        return result

    def all(self, path: str, **params: str) -> list[dict[str, Any]]:
        """Return all pages' rows."""
        rows: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        for _ in range(_PAGES_MAX):
            page = self.ask(path, **params, **cursor)
            rows += page["list"]
            if not page.get("nextPageCursor"):
                return rows
            cursor = {"cursor": urllib.parse.unquote(page["nextPageCursor"])}  # it comes encoded
        raise AssertionError("there is no end to the pages")

    def executions(self) -> dict[str, tuple[str, Decimal, Decimal, Decimal, str]]:
        """Return all executions: side, price, qty, fee and order id, by execution."""
        rows = self.all("/v5/execution/list", category="linear", limit="100")
        found = {}
        for row in rows:
            if row["execType"] != "Funding":
                fee, price, qty = Decimal(row["execFee"]), Decimal(row["execPrice"]), Decimal(row["execQty"])
                assert row["execId"] not in found, "the venue shows an execution twice"
                found[row["execId"]] = (row["side"], price, qty, fee, row["orderLinkId"])
        return found

    def orders(self) -> list[dict[str, Any]]:
        """Return all orders, open or done."""
        rows = self.all("/v5/order/history", category="linear", limit="50")
        rows += self.all("/v5/order/realtime", category="linear", settleCoin="USDT", limit="50")
        return list({row["orderId"]: row for row in rows}.values())

    def newest_orders(self) -> list[dict[str, Any]]:
        """Return the newest orders, open or done."""
        rows: list[dict[str, Any]] = self.ask("/v5/order/history", category="linear", limit="50")["list"]
        return rows + list(self.ask("/v5/order/realtime", category="linear", settleCoin="USDT", limit="50")["list"])

    def open_orders(self) -> set[str]:
        """Return the client ids of what is open."""
        rows = self.all("/v5/order/realtime", category="linear", settleCoin="USDT", openOnly="0", limit="50")
        return {row["orderLinkId"] for row in rows if row["orderStatus"] in ("New", "PartiallyFilled", "Untriggered")}

    def positions(self) -> dict[str, Decimal]:
        """Return what is held, signed."""
        rows = self.all("/v5/position/list", category="linear", settleCoin="USDT")
        signed = {
            row["symbol"]: Decimal(row["size"]) * (-1 if row["side"] == "Sell" else 1) for row in rows if row["size"]
        }
        return {name: qty for name, qty in signed.items() if qty}

    def cash(self) -> Decimal:
        """Return the balance in USDT."""
        coins = self.ask("/v5/account/wallet-balance", accountType="UNIFIED")["list"][0]["coin"]
        return next(Decimal(coin["walletBalance"]) for coin in coins if coin["coin"] == "USDT")

    def _now_ms(self) -> int:
        return int(json.loads(_read(urllib.request.Request(f"{self._url}/v5/market/time")))["time"])


def _read(question: urllib.request.Request) -> bytes:
    """Return the answer to a question that may be asked again."""
    for _ in range(_TRIES - 1):
        with suppress(TimeoutError), urllib.request.urlopen(question, timeout=_ANSWER_S) as got:
            body: bytes = got.read()
            return body
    with urllib.request.urlopen(question, timeout=_ANSWER_S) as got:
        last: bytes = got.read()
        return last


class Ledger:
    """A ledger's file, read and never written."""

    def __init__(self, directory: Path) -> None:
        path = directory / "ledger.sqlite"
        self._file = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    def entries(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the journal's entries of some kinds, in order."""
        rows = self._file.execute("select kind, body from journal order by seq").fetchall()
        return [json.loads(body) for kind, body in rows if not kinds or kind in kinds]

    def fills(self) -> dict[str, tuple[str, Decimal, Decimal, Decimal, str]]:
        """Return all fills as `Venue.executions` has them."""
        found: dict[str, tuple[str, Decimal, Decimal, Decimal, str]] = {}
        rows = self._file.execute("select trade_id, side, price, qty, fee, client_order_id from fills").fetchall()
        for trade_id, side, price, qty, fee, name in rows:
            assert trade_id not in found, "the ledger has a fill twice"
            found[trade_id] = (side.capitalize(), Decimal(price), Decimal(qty), Decimal(fee), name)
        return found

    def open_orders(self) -> set[str]:
        """Return the client ids of what is open."""
        rows = self._file.execute("select client_order_id from orders where status in ('open', 'waiting', 'submitted')")
        return {name for (name,) in rows}

    def positions(self) -> dict[str, Decimal]:
        """Return what is held, as the fills add up."""
        held: dict[str, Decimal] = {}
        for name, side, qty in self._file.execute("select instrument, side, qty from fills"):
            held[name] = held.get(name, Decimal(0)) + Decimal(qty) * (1 if side == "buy" else -1)
        return {name: qty for name, qty in held.items() if qty}

    def cash(self) -> Decimal:
        """Return the balance of the cash account, as the postings add up."""
        amounts = self._file.execute("select amount from postings where account = 'cash'").fetchall()
        return sum((Decimal(amount) for (amount,) in amounts), Decimal(0))

    def openings(self, from_ns: int, to_ns: int) -> list[str]:
        """Return the orders, intended in a span of time, that would not merely have made a position smaller."""
        held: dict[str, Decimal] = {}
        found = []
        rows = self._file.execute(
            "select seq, 0, instrument, '', position_qty, '' from fills union all select seq, ts_ns, instrument, side,"
            " qty, client_order_id from intents where kind = 'submit' order by 1"
        )
        for _, ts_ns, instrument, side, qty, name in rows.fetchall():
            if not name:
                held[instrument] = Decimal(qty)
            elif from_ns < ts_ns < to_ns:
                before = held.get(instrument, Decimal(0))
                signed = Decimal(qty) * (1 if side == "buy" else -1)
                if before * signed >= 0 or abs(signed) > abs(before):
                    found.append(name)
        return found

    def is_killed(self) -> bool:
        """Return whether the kill switch was latched, and not opened since."""
        row = self._file.execute(
            "select after from trading_states where cause = 'kill' order by seq desc limit 1"
        ).fetchone()
        return row is not None and row[0] == "halted"

    def last_seq(self) -> int:
        """Return the number of the newest entry."""
        return int(self._file.execute("select coalesce(max(seq), 0) from journal").fetchone()[0])

    def unanswered(self) -> int:
        """Return how many orders the venue had not answered when the newest entry was written."""
        return int(self._file.execute("select count(*) from orders where status = 'submitted'").fetchone()[0])

    def sent_since(self, ts_ns: int) -> int:
        """Return how many orders were intended since."""
        query = "select count(*) from (select ts_ns from intents where kind = 'submit' order by seq desc limit 500)"
        return int(self._file.execute(f"{query} where ts_ns > ?", (ts_ns,)).fetchone()[0])

    def intents(self) -> list[str]:
        """Return the client ids of all orders that were ever intended."""
        return [name for (name,) in self._file.execute("select client_order_id from intents where kind = 'submit'")]


def differences(venue: Venue, ledger: Ledger, *, open_too: bool = True) -> list[str]:
    """Return in what the two do not agree; nothing, if all is well."""
    found = []
    theirs, ours = venue.executions(), ledger.fills()
    found += [f"execution {each} {theirs[each]} is not in the ledger" for each in sorted(theirs.keys() - ours.keys())]
    found += [f"fill {each} {ours[each]} is not at the venue" for each in sorted(ours.keys() - theirs.keys())]
    found += [
        f"{each}: {theirs[each]} there, {ours[each]} here"
        for each in sorted(theirs.keys() & ours.keys())
        if theirs[each] != ours[each]
    ]
    names = [row["orderLinkId"] for row in venue.orders()]
    intended = ledger.intents()
    found += [f"two orders of {name}" for name in sorted({name for name in names if names.count(name) > 1})]
    found += [f"two intents of {name}" for name in sorted({name for name in intended if intended.count(name) > 1})]
    found += [f"order {name} was never intended" for name in sorted(set(names) - set(intended))]
    if venue.positions() != ledger.positions():
        found.append(f"positions: {venue.positions()} there, {ledger.positions()} here")
    if abs(venue.cash() - ledger.cash()) > Decimal("1e-6"):
        found.append(f"cash: {venue.cash()} there, {ledger.cash()} here")
    if open_too and venue.open_orders() != ledger.open_orders():
        found.append(f"open orders: {venue.open_orders()} there, {ledger.open_orders()} here")
    return found
