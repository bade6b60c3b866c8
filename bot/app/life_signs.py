"""Says that the bot lives to those who act when it does not: the service manager and the dead-man switch."""

from collections.abc import Callable, Sequence
from typing import Any

from bot.actors.inbox import Inbox
from bot.actors.live_executor import LiveExecutor
from bot.core.wellbeing import Facts, Wellbeing
from bot.runtime.env import monotonic_ns
from bot.runtime.heartbeat import HeartbeatWriter
from bot.runtime.notify import ServiceNotifier

_FEED_NS = 1_000_000_000  # between two bites of the watchdog's: its socket holds only some
STUCK_NS = 20_000_000_000  # of the machine's time: an actor that has messages and takes none


class StuckActors:
    """Finds actors that have messages and do not take them.

    Args:
        inboxes: of the actors; the list may grow.
        after_ns: how long that is too long.
    """

    def __init__(self, inboxes: Sequence[Inbox[Any]], *, after_ns: int = STUCK_NS) -> None:
        self._inboxes = inboxes
        self._after_ns = after_ns
        self._since: dict[str, tuple[int, int]] = {}  # how many it had taken then, and when

    def find(self, now_ns: int) -> list[str]:
        """Return their names; `now_ns` by a clock that only rises."""
        found = []
        for inbox in self._inboxes:
            taken, since_ns = self._since.get(inbox.name, (-1, now_ns))
            if not len(inbox) or taken != inbox.taken:
                self._since[inbox.name] = inbox.taken, now_ns
            elif now_ns - since_ns >= self._after_ns:
                found.append(inbox.name)
        return found


class LifeSigns:
    """Looks, and says what is to be said.

    Args:
        executor: the money half.
        doubts: why the market's data are not to be rested on now, a line for each.
        inboxes: of all actors.
        wellbeing: judges.
        notifier, heartbeat: who is told.
    """

    def __init__(
        self,
        executor: LiveExecutor,
        doubts: Callable[[], Sequence[str]],
        inboxes: Sequence[Inbox[Any]],
        *,
        wellbeing: Wellbeing,
        notifier: ServiceNotifier,
        heartbeat: HeartbeatWriter,
    ) -> None:
        self._executor = executor
        self._doubts = doubts
        self._stuck = StuckActors(inboxes)
        self._wellbeing = wellbeing
        self._notifier = notifier
        self._heartbeat = heartbeat
        self._feed_ns = 0  # when the watchdog is fed next

    def look(self, now_ns: int) -> None:
        """Say how it is now; to be called some times a second, by the loop that everything runs in."""
        executor = self._executor
        state = executor.desk.orders.state
        has_exposure = (
            any(each.qty for each in state.portfolio.positions.values())
            or any(live for live in state.live.values())
            or bool(executor.desk.submissions.doubtful)
        )
        troubles = [*executor.troubles.values(), *self._doubts()]
        if not troubles and not executor.is_ready:
            troubles = ["the account is not ready"]
        clock_ns = monotonic_ns()
        signs = self._wellbeing.look(
            Facts(
                stuck=self._stuck.find(clock_ns),
                troubles=troubles,
                is_account_up=executor.links.get("account") is True,
                compared_ns=executor.compared_ns,
                has_exposure=has_exposure,
            ),
            now_ns,
        )
        self._notifier.status(signs.status)
        if signs.feeds_watchdog and clock_ns >= self._feed_ns:
            self._feed_ns = clock_ns + _FEED_NS
            self._notifier.alive()
        if signs.beats:
            self._heartbeat.beat()
