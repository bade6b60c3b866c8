"""Subscriptions: where each topic of a connection is, the requests on the way, and what an answer says of whom.

The venue refuses a request as a whole when one of its topics is bad, and names one at most. So an answer may confirm
some topics, refuse some, and leave some to be asked for again in smaller company.

Source: Bybit V5, websocket connect, and refusals as they were observed.
"""

from enum import StrEnum

import msgspec

from bot.venues.bybit.topics import Patience, Topic
from bot.venues.bybit.wire import Answer


class Status(StrEnum):
    """Where a topic is."""

    WANTED = "wanted"  # to be asked for once there is a connection
    ASKED = "asked"
    EARLY = "early"  # data came before the answer
    CONFIRMED = "confirmed"  # no data yet
    LIVE = "live"
    BROKEN = "broken"  # to be left and asked for again
    LEAVING = "leaving"  # the venue was told to end it
    REFUSED = "refused"  # the venue does not know it


class Happening(StrEnum):
    """What happens to a topic."""

    ASK = "ask"
    CONFIRM = "confirm"
    DATA = "data"
    REFUSE = "refuse"
    BREAK = "break"
    LEAVE = "leave"
    LEFT = "left"
    RETRY = "retry"


# What is not in the table changes nothing: late answers, data of a subscription that is ending.
NEXT: dict[tuple[Status, Happening], Status] = {
    (Status.WANTED, Happening.ASK): Status.ASKED,
    (Status.ASKED, Happening.CONFIRM): Status.CONFIRMED,
    (Status.ASKED, Happening.DATA): Status.EARLY,
    (Status.ASKED, Happening.REFUSE): Status.REFUSED,
    (Status.EARLY, Happening.CONFIRM): Status.LIVE,
    (Status.EARLY, Happening.REFUSE): Status.REFUSED,
    (Status.EARLY, Happening.BREAK): Status.BROKEN,
    (Status.CONFIRMED, Happening.DATA): Status.LIVE,
    (Status.CONFIRMED, Happening.BREAK): Status.BROKEN,
    (Status.CONFIRMED, Happening.REFUSE): Status.REFUSED,  # asked whether it still lives: it does not
    (Status.LIVE, Happening.REFUSE): Status.REFUSED,  # likewise
    (Status.LIVE, Happening.BREAK): Status.BROKEN,
    (Status.BROKEN, Happening.LEAVE): Status.LEAVING,
    (Status.LEAVING, Happening.LEFT): Status.WANTED,
    (Status.REFUSED, Happening.RETRY): Status.WANTED,
}


class Subscription:
    """What is known of one topic."""

    __slots__ = (
        "data_ns",
        "hole_ns",
        "is_trusted",
        "patience",
        "refusals",
        "resyncs",
        "retry_ns",
        "salt",
        "since_ns",
        "status",
        "strikes",
        "topic",
        "venue_ns",
    )

    def __init__(self, topic: Topic, patience: Patience, salt: int) -> None:
        self.topic = topic
        self.patience = patience
        self.salt = salt  # its own series of waits
        self.status = Status.WANTED
        self.since_ns = 0  # in this status
        self.data_ns = 0  # when data last came, or the venue last said that there is nothing to say
        self.venue_ns = 0  # the newest data's time, the venue's clock; 0 before the first
        self.hole_ns = 0  # from then on something may be missing, the venue's clock; 0: nothing is
        self.strikes = 0  # silences in a row
        self.resyncs = 0  # times it was asked for anew, in a row
        self.refusals = 0  # in a row
        self.retry_ns = 0  # of BROKEN and REFUSED: when to go on
        self.is_trusted = False

    def happen(self, happening: Happening, now_ns: int) -> bool:
        """Move to the next status; return whether there is one."""
        after = NEXT.get((self.status, happening))
        if after is None:
            return False
        self.status, self.since_ns = after, now_ns
        return True

    def lose(self, now_ns: int) -> None:
        """Begin anew: the connection is gone."""
        self.note_hole()
        self.status, self.since_ns = Status.WANTED, now_ns

    def note_hole(self) -> None:
        """Remember from when on something may be missing."""
        self.hole_ns = self.hole_ns or self.venue_ns or (self.since_ns if self.status is Status.CONFIRMED else 0)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has not been answered."""

    op: str
    topics: list[str]
    sent_ns: int
    tries: int  # including this one


class Requests:
    """The requests of one connection that have not been answered."""

    def __init__(self) -> None:
        self._waiting: dict[str, Request] = {}
        self._count = 0

    def make(self, op: str, topics: list[str], now_ns: int, *, tries: int = 1) -> bytes:
        """Return a request to be sent now, which is waited for."""
        req_id = self._next_id()
        self._waiting[req_id] = Request(op=op, topics=topics, sent_ns=now_ns, tries=tries)
        return msgspec.json.encode({"req_id": req_id, "op": op, "args": topics})

    def ping(self) -> bytes:
        """Return a ping; nobody waits for its answer alone."""
        return msgspec.json.encode({"req_id": self._next_id(), "op": "ping"})

    def take(self, answer: Answer) -> Request | None:
        """Return the request that was answered, None where nobody can say."""
        if answer.req_id in self._waiting:
            return self._waiting.pop(answer.req_id)
        op = answer.op or "subscribe"
        alike = [req_id for req_id, request in self._waiting.items() if request.op == op]
        # Some dialects echo no id: whose answer it is is known where it can be only one's.
        return self._waiting.pop(alike[0]) if not answer.req_id and len(alike) == 1 else None

    def take_overdue(self, sent_before_ns: int) -> list[Request]:
        """Return those sent before a time, and wait for them no longer."""
        overdue = [req_id for req_id, request in self._waiting.items() if request.sent_ns < sent_before_ns]
        return [self._waiting.pop(req_id) for req_id in overdue]

    def clear(self) -> None:
        """Wait for none: nothing of a connection is said again on the next."""
        self._waiting.clear()

    def _next_id(self) -> str:
        self._count += 1
        return str(self._count)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer to a subscription says of its topics."""

    confirmed: list[str] = []
    already: list[str] = []  # confirmed to have been subscribed all the while
    refused: list[str] = []
    again: list[list[str]] = []  # nothing is known of these: ask for them anew, in these groups


def judge(topics: list[str], answer: Answer) -> Verdict:
    """Return what an answer says of the topics of its request."""
    if answer.is_ok:
        return Verdict(confirmed=topics)
    if answer.failed:  # options' dialect lists what failed; the others did not
        refused = [name for name in topics if name in answer.failed]
        return Verdict(confirmed=[name for name in topics if name not in answer.failed], refused=refused)
    named = answer.text.rpartition(",topic:")[2].strip()
    if named in topics:
        rest = [name for name in topics if name != named]
        again = [rest] if rest else []
        if "already subscribed" in answer.text:
            return Verdict(already=[named], again=again)
        return Verdict(refused=[named], again=again)
    if len(topics) == 1:
        return Verdict(refused=topics)
    half = len(topics) // 2  # it does not say which: halves find out
    return Verdict(again=[topics[:half], topics[half:]])
