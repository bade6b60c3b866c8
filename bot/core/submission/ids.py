"""Client order ids: ours, never used twice, whatever crashes and whatever backup is restored."""

import re
from collections.abc import Iterable

import msgspec

from bot.domain.errors import ConfigError

EPOCH_MAX = 999_999
COUNT_MAX = 999_999_999
GAP = 1_000  # ids that a lost piece of a ledger may have held, unseen at the venue

_OURS = re.compile(r"([a-z])(\d{6})-([A-Za-z0-9_]{12})-(\d{9})")
_STRANGE = re.compile(r"[^A-Za-z0-9_]")


class ParsedId(msgspec.Struct, frozen=True, kw_only=True):
    """What an id of this bot says of itself."""

    environment: str
    epoch: int
    strategy: str  # its first twelve characters, without the padding
    count: int


class ClientOrderIds:
    """Names orders: fixed width, 30 characters of the 36 that the venue takes, never the same twice within an epoch.

    Args:
        environment: one letter, so that no id of a replay is ever valid live.
        epoch: counts the starts of one account's bot; a new one invalidates what the last might still send.
        count: how many numbers are taken already (`taken`).

    Raises:
        ConfigError: they do not fit into an id.
    """

    def __init__(self, *, environment: str, epoch: int, count: int = 0) -> None:
        if not re.fullmatch("[a-z]", environment):
            raise ConfigError(f"the environment in a client order id is one small letter, not {environment!r}")
        if not 0 <= epoch <= EPOCH_MAX:
            raise ConfigError(f"epoch {epoch} does not fit into a client order id; begin a new ledger")
        self._prefix = f"{environment}{epoch:06d}"
        self._named: dict[str, str] = {}  # the prefix and the strategy, by strategy
        self.count = count

    def next(self, strategy: str) -> tuple[str, int]:
        """Return a new id and the order's number in the run.

        Raises:
            ConfigError: all numbers are taken.
        """
        self.count += 1
        if self.count > COUNT_MAX:
            raise ConfigError(f"{COUNT_MAX} client order ids are taken in this epoch; start again")
        named = self._named.get(strategy)
        if named is None:
            label = _STRANGE.sub("_", strategy[:12])
            named = self._named[strategy] = f"{self._prefix}-{label:_<12}-"
        return f"{named}{self.count:09d}", self.count


def parse_id(client_order_id: str) -> ParsedId | None:
    """Return what an id says of itself, None where it is not one of this bot's."""
    found = _OURS.fullmatch(client_order_id)
    if found is None:
        return None
    environment, epoch, strategy, count = found.groups()
    return ParsedId(environment=environment, epoch=int(epoch), strategy=strategy.rstrip("_"), count=int(count))


def taken(ids: Iterable[str], *, environment: str, gap: int = GAP) -> tuple[int, int]:
    """Return the highest epoch and the count to go on from, by all ids that the ledger and the venue know.

    The venue is asked because a ledger from a backup knows too few; the gap is for ids that neither shows any more.

    Args:
        ids: of the ledger's intents and of the venue's orders and executions, ours and others'.
        environment: other environments' ids are not counted.
        gap: how far to go beyond the highest; 0 where no id is known.
    """
    parsed = [parse_id(each) for each in ids]
    ours = [each for each in parsed if each is not None and each.environment == environment]
    if not ours:
        return 0, 0
    return max(each.epoch for each in ours), min(max(each.count for each in ours) + gap, COUNT_MAX)
