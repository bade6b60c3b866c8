"""What need not survive a crash of requests in flight: when each is looked at again, and what look-ups said since."""

from collections.abc import Container
from dataclasses import dataclass

from bot.core.submission.requests import Request, Terms

NEVER_NS = 2**62


@dataclass(slots=True)
class Watch:
    """One request's."""

    due_ns: int = NEVER_NS
    tries: int = 0
    released: bool = False  # it may have left; before that a crash, or a late commit, leaves it unsent
    wanted: bool = True  # it may be sent again; after a restart an old decision never is
    may_resend: bool = False  # the last look-up did not find it
    negative_ms: tuple[int, ...] = ()  # look-ups that found nothing
    behind_ms: tuple[int, ...] = ()  # those of them behind the fence, far enough apart
    is_seen: bool = False  # a stream or a look-up has shown the order


class Watches:
    """All requests', by key."""

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}

    def of(self, key: str) -> Watch:
        """Return a request's, made where there is none."""
        return self._watches.setdefault(key, Watch())

    def find(self, key: str) -> Watch | None:
        """Return a request's, None where there is none."""
        return self._watches.get(key)

    def begin(self, key: str, watch: Watch) -> Watch:
        """Watch a request from here on."""
        self._watches[key] = watch
        return watch

    def all(self) -> list[Watch]:
        """Return every request's."""
        return list(self._watches.values())

    def keep_only(self, keys: Container[str]) -> list[str]:
        """Forget all others; return which."""
        gone = [key for key in self._watches if key not in keys]
        for key in gone:
            del self._watches[key]
        return gone

    @property
    def next_due_ns(self) -> int | None:
        """Return when the first is to be looked at; None: none of them by time."""
        due_ns = min((watch.due_ns for watch in self._watches.values()), default=NEVER_NS)
        return None if due_ns == NEVER_NS else due_ns

    def wait(self, key: str, now_ns: int, terms: Terms) -> None:
        """Look at a request again a while from now, longer each time."""
        watch, backoff_ns = self.of(key), terms.backoff_ns
        watch.due_ns = now_ns + backoff_ns[min(watch.tries, len(backoff_ns) - 1)]
        watch.tries += 1

    def is_behind_fence(self, request: Request, server_time_ms: int, margin_ms: int, terms: Terms) -> bool:
        """Count a look-up that found nothing; return whether it is the last that it takes."""
        if server_time_ms <= request.fence_ms(margin_ms):
            return False
        watch = self.of(request.key)
        if not watch.behind_ms or server_time_ms - watch.behind_ms[-1] >= terms.round_gap_ms:
            watch.behind_ms += (server_time_ms,)
        return len(watch.behind_ms) >= terms.rounds
