"""`bot demo`: a paper run to which happens what costs users of other bots money, and what the ledger says of it.

Two processes, an emulator and the bot, as a user would start them. An answer is lost while its order lives, all
connections are cut, the bot is killed without warning; then everything that the ledger says is held against the venue,
which is asked by a few lines that share nothing with the bot's client.
"""

import hashlib
import hmac
import json
import re
import signal
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlencode

import msgspec
from sqlalchemy import text

from bot.app.outcomes import RunFailed
from bot.app.verify import verify_run
from bot.domain.errors import ConfigError
from bot.domain.ledger import (
    DoubtOpened,
    DoubtResolved,
    FillBooked,
    LedgerEntry,
    OrderReported,
    Reconciled,
    RequestAnswered,
    RequestSigned,
)
from bot.runtime.env import StopFlag, Stopwatch
from bot.runtime.processes import CommandProcess
from bot.store.live_reader import open_snapshot

EMULATOR = Path("config/emulator/paper.toml")
SETTINGS = Path("config/story.toml")
_START_S = 180.0  # the first start of all compiles
_WAIT_S = 60.0
_POLL_S = 0.05
_SPEED = 4
_WINDOW_MS = 60_000


@dataclass(kw_only=True, slots=True)
class Told:
    """How it came out.

    Attributes:
        runs: the directories of the bot's starts, in order.
        findings: what did not come out as it must; empty if all did.
    """

    directory: Path
    runs: list[Path] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    fills: int = 0


class Story:
    """One telling.

    Args:
        directory: where everything goes; made.
        say: told each line, for a person.
        flag: how it is told to stop.
    """

    def __init__(self, directory: Path, say: Callable[[str], None], flag: StopFlag) -> None:
        self._directory = directory
        self._ledger = directory / "ledger"
        self._say = say
        self._flag = flag
        self._told = Told(directory=directory)
        self._url = ""
        self._speed = 1.0

    def tell(self) -> Told:
        """Tell it to its end.

        Raises:
            ConfigError: it cannot begin here.
            RunFailed: a part of it did not come about.
        """
        for path in (EMULATOR, SETTINGS):
            if not path.is_file():
                raise ConfigError(f"{path}: not found; run bot demo in the project's directory")
        try:
            self._directory.mkdir(parents=True)
        except OSError as error:
            raise ConfigError(f"{self._directory}: {error.strerror}; choose a directory you may write") from error
        try:
            with ExitStack() as stack:
                self._begin(stack)
                with self._bot("first start: the venue is warmed up from, compared with, then traded on"):
                    self._trade()
                    self._lose_an_answer()
                    self._cut_connections()
                    killed = self._kill_in_mid_trade()
                with self._bot("second start: the ledger is read, the venue is asked what it does not know"):
                    self._show_recovery(killed)
                    self._trade()
                    self._end_in_order()
                self._compare_with_venue()
            self._verify()
        except OSError as error:
            raise RunFailed(f"{self._directory}: {error}") from error
        return self._told

    # --- the acts -----------------------------------------------------------------------------------------------------

    def _begin(self, stack: ExitStack) -> None:
        emulator = CommandProcess("bot", ["emulator", "--config", str(EMULATOR), "--set", f"clock.speed={_SPEED}"])
        stack.callback(emulator.close)
        found = re.search(r"http://127\.0\.0\.1:\d+", emulator.until("http://", _START_S))
        assert found is not None
        self._url = found[0]
        self._speed = float(self._ask("GET", "clock")["speed"])
        self._say(f"a venue of our own plays the sample market at {self._speed:g} times its speed: {self._url}")

    @contextmanager
    def _bot(self, what: str) -> Iterator[None]:
        self._say("")
        self._say(what)
        before = set(self._runs())
        watch = Stopwatch()
        overrides = [f"venue.url={self._url}", f"ledger.at={self._ledger}", f"run.out={self._directory / 'runs'}"]
        words = ["paper", "--config", str(SETTINGS), *(word for each in overrides for word in ("--set", each))]
        self._process = CommandProcess("bot", words)
        try:
            self._process.until("ready ", _START_S)
            self._told.runs += sorted(set(self._runs()) - before)
            self._say(f"  ready after {watch.seconds():.1f} s")
            yield
        finally:
            self._process.close()

    def _trade(self) -> None:
        mark = self._head()
        self._until(lambda: len(self._of(mark, FillBooked)) >= 3, "it trades")
        self._say(f"  it trades: {len(self._of(mark, FillBooked))} fills booked")

    def _lose_an_answer(self) -> None:
        """Let an order's answer be lost, and what the streams say of it."""
        mark = self._head()
        self._silence_an_order()
        self._until(lambda: bool(self._unanswered(mark)), "an answer is lost")
        name = self._unanswered(mark)[0]
        self._say(f"  an order's answer is lost, and what the streams would have said of it: {name}")
        self._until(lambda: bool(self._about(mark, FillBooked, name)), "the order without an answer is found")
        filled = self._about(mark, FillBooked, name)[0]
        for each in self._about(mark, DoubtOpened, name):
            self._say(f"    in doubt, so nothing new is risked on {each.instrument}: {each.why}")
        for each in self._about(mark, DoubtResolved, name):
            self._say(f"    out of doubt: {each.outcome}, by {each.evidence}")
        signed = self._about(mark, RequestSigned, name)
        took_s = (filled.ts_ns - signed[0].ts_ns) / 1e9
        self._say(
            f"    sent {len(signed)} time(s), all under one id; its fill is booked {took_s:.1f} s of the market later"
        )

    def _silence_an_order(self) -> None:
        """Let the answer to the next order be lost, and the frames that say that it is open, and that it is filled."""
        self._fail(kind="lost_ack", count=1, where={"op": "order.create"})
        self._fail(kind="drop_frame", count=2, where={"topic": "order"})
        self._fail(kind="drop_frame", count=1, where={"topic": "execution*"})

    def _cut_connections(self) -> None:
        mark = self._head()
        clock = self._ask("GET", "clock")
        now_ns = int(clock["timeNano"]) - int(clock["startNano"])
        self._fail(kind="refuse_connections", from_ns=now_ns, delay_ns=int(1e9 * self._speed))
        self._until(lambda: bool(self._of(mark, Reconciled)), "it compares itself with the venue after a cut")
        compared = self._of(mark, Reconciled)[0]
        self._say("  all connections are cut for a second")
        healed = "; ".join(compared.healed) or "nothing was missed"
        self._say(f"    back, and compared with the venue ({', '.join(compared.checked)}): {healed}")
        self._hold(not compared.differences, f"after the cut: {'; '.join(compared.differences)}")

    def _kill_in_mid_trade(self) -> int:
        """Kill it while an order is on its way: the venue fills it, and nobody is there to hear of it."""
        mark = self._head()
        self._silence_an_order()
        self._until(lambda: bool(self._of(mark, RequestSigned)), "it sends an order")
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(_WAIT_S)
        head = self._head()
        sent = {each.client_order_id for each in self._of(mark, RequestSigned)}
        heard_of = {each.event.client_order_id for each in self._of(mark, OrderReported)}
        self._say("  kill -9, while an order is on its way")
        open_ = ", ".join(sorted(sent - heard_of)) or "none"
        self._say(f"    the ledger ends at row {head}; sent, and nothing heard of: {open_}")
        return head

    def _show_recovery(self, killed: int) -> None:
        fills, compared = self._of(killed, FillBooked), self._of(killed, Reconciled)
        self._say(f"    booked of what happened meanwhile: {len(fills)} fill(s)")
        for each in self._of(killed, DoubtResolved):
            self._say(f"    {each.client_order_id}: {each.outcome}, by {each.evidence}")
        self._hold(bool(compared), "the second start compared nothing with the venue")
        differences = [line for each in compared for line in each.differences]
        self._hold(not differences, f"after the kill: {'; '.join(differences)}")

    def _end_in_order(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(_WAIT_S)
        self._hold(code == 0, f"the bot ended with {code}")

    def _compare_with_venue(self) -> None:
        """Hold each fill of the ledger against the venue's executions."""
        theirs: dict[str, tuple[Decimal, Decimal, Decimal]] = {}
        cursor = ""
        while True:
            page = self._ask_venue("/v5/execution/list", category="linear", limit="100", cursor=cursor)
            for row in page["list"]:
                if row["execType"] != "Funding":
                    theirs[row["execId"]] = (
                        Decimal(row["execPrice"]),
                        Decimal(row["execQty"]),
                        Decimal(row["execFee"]),
                    )
            cursor = unquote(page["nextPageCursor"])
            if not cursor:
                break
        rows = self._rows("SELECT trade_id, price, qty, fee FROM fills")
        ours = {row[0]: tuple(Decimal(value) for value in row[1:]) for row in rows}
        self._told.fills = len(rows)
        self._hold(len(ours) == len(rows), "the ledger has a fill twice")
        missing, strange = theirs.keys() - ours.keys(), ours.keys() - theirs.keys()
        self._hold(not missing, f"executions that the ledger lacks: {', '.join(sorted(missing))}")
        self._hold(not strange, f"fills that the venue does not know: {', '.join(sorted(strange))}")
        unlike = sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name])
        self._hold(not unlike, f"fills that the venue tells otherwise: {', '.join(unlike)}")
        self._say("")
        self._say(f"the venue has {len(theirs)} executions; the ledger has {len(rows)} fills")
        if not self._told.findings:
            self._say("each is there once, with the venue's price, quantity and fee")

    def _verify(self) -> None:
        """Run both starts again from what they recorded."""
        self._say("")
        for number, run in enumerate(self._told.runs, start=1):
            again = verify_run(run)
            self._say(
                f"start {number} run again from its record: {again.decisions} decisions, {again.sends} requests and"
                f" {again.rows} ledger rows are the same" + (", as far as it is recorded" if again.is_partial else "")
            )
            for each in again.differences[:1]:
                self._hold(False, f"{run}: {each.actor}: {each.what}; was {each.then}, is {each.now}")

    # --- how it sees --------------------------------------------------------------------------------------------------

    def _hold(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            self._told.findings.append(otherwise)
            self._say(f"    NOT AS IT MUST BE: {otherwise}")

    def _until(self, is_so: Callable[[], bool], what: str) -> None:
        watch = Stopwatch()
        while not is_so():
            if watch.seconds() > _WAIT_S:
                raise TimeoutError(f"not within {_WAIT_S:g} s: {what}")
            self._flag.wait(_POLL_S)

    def _runs(self) -> list[Path]:
        return [path for path in (self._directory / "runs").glob("*") if not path.is_symlink() and path.is_dir()]

    def _head(self) -> int:
        return int(self._rows("SELECT max(seq) FROM journal")[0][0] or 0)

    def _of(self, after: int, kind: Any) -> list[Any]:
        """Return the entries of one kind behind a row of the journal."""
        rows = self._rows(f"SELECT body FROM journal WHERE seq > {after:d} AND kind = '{kind.__name__}' ORDER BY seq")
        return [msgspec.json.decode(row[0], type=LedgerEntry) for row in rows]

    def _about(self, after: int, kind: Any, client_order_id: str) -> list[Any]:
        """Return those of them that are of one order."""
        return [
            each
            for each in self._of(after, kind)
            if getattr(each.fill if kind is FillBooked else each, "client_order_id", "") == client_order_id
        ]

    def _unanswered(self, after: int) -> list[str]:
        """Return the orders of which the network said nothing."""
        unknown = [each for each in self._of(after, RequestAnswered) if each.kind == "unknown"]
        doubtful = [each.client_order_id for each in self._of(after, DoubtOpened)]
        return [each.request.partition(":")[2] for each in unknown] + doubtful

    def _rows(self, query: str) -> list[Any]:
        engine = open_snapshot(str(self._ledger))
        try:
            with engine.connect() as connection:
                return list(connection.execute(text(query)).all())
        finally:
            engine.dispose()

    def _fail(self, **fields: Any) -> None:
        self._ask("POST", "faults", fields)

    def _ask_venue(self, path: str, **params: str) -> Any:
        """Return what the venue answers to a signed request."""
        emulated = msgspec.toml.decode(EMULATOR.read_bytes())["accounts"][0]["keys"][0]
        query = urlencode({name: value for name, value in params.items() if value})
        stamp = str(int(self._ask("GET", "clock")["timeNano"]) // 1_000_000)
        signed = f"{stamp}{emulated['key']}{_WINDOW_MS}{query}".encode()
        headers = {
            "X-BAPI-API-KEY": emulated["key"],
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": str(_WINDOW_MS),
            "X-BAPI-SIGN": hmac.new(emulated["secret"].encode(), signed, hashlib.sha256).hexdigest(),
        }
        request = urllib.request.Request(f"{self._url}{path}?{query}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            told = json.loads(answer.read())
        if told["retCode"] != 0:
            raise ChildProcessError(f"{path}: {told['retMsg']}")
        return told["result"]

    def _ask(self, method: str, path: str, fields: dict[str, Any] | None = None) -> Any:
        body = None if fields is None else json.dumps(fields).encode()
        request = urllib.request.Request(f"{self._url}/emulator/{path}", body, method=method)
        watch = Stopwatch()
        while True:
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.loads(answer.read())
            except URLError:  # it refuses connections for a while: that is one of the acts
                if watch.seconds() > _WAIT_S:
                    raise
            self._flag.wait(_POLL_S)
