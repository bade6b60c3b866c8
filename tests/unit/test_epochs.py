"""Numbers of starts, how long each waits, and that one host runs one copy."""

import subprocess
import sys
from pathlib import Path

import pytest

from bot.core.epochs import EPOCH_MAX, GAP, MARGIN_NS, PastEpoch, creates_from, plan_epoch
from bot.domain.errors import ConfigError, StorageError
from bot.runtime.host_lock import HostLock

NOW = 1_000_000_000_000
WINDOW, TIMEOUT = 5_000_000_000, 3_000_000_000
WAIT = WINDOW + TIMEOUT + MARGIN_NS


def ended(number: int) -> PastEpoch:
    return PastEpoch(number=number, started_ns=1, ended_ns=2)


def crashed(number: int) -> PastEpoch:
    return PastEpoch(number=number, started_ns=1, ended_ns=None)


@pytest.mark.parametrize(
    ("last", "venue", "number", "wait", "is_behind"),
    [
        (None, None, 1, 0, False),  # a new ledger on a new account
        (None, 4, 4 + GAP, WAIT, True),  # a new ledger on an account that was traded: the old one was lost
        (ended(4), None, 5, 0, False),
        (ended(4), 4, 5, 0, False),
        (ended(4), 2, 5, 0, False),  # the venue shows only the newest orders
        (crashed(4), 4, 5, WAIT, False),
        (crashed(4), None, 5, WAIT, False),
        (ended(4), 6, 6 + GAP, WAIT, True),  # a backup was restored
        (crashed(4), 6, 6 + GAP, WAIT, True),
    ],
)
def test_a_start_is_numbered_and_waits(
    last: PastEpoch | None, venue: int | None, number: int, wait: int, is_behind: bool
) -> None:
    plan = plan_epoch(last, venue_epoch=venue, now_ns=NOW, recv_window_ns=WINDOW, send_timeout_ns=TIMEOUT)
    assert (plan.number, plan.ready_ns - NOW, plan.is_behind_venue) == (number, wait, is_behind)
    assert plan.is_after_crash is (last is not None and last.ended_ns is None)


@pytest.mark.parametrize(
    ("signed_until_ms", "is_alone", "venue", "wait"),
    [
        (10_000, True, None, 2_000 * 10**6),  # it may be admitted now, and may lag
        (7_999, True, None, 0),  # it is too late for it
        (11_500, True, None, 3_500 * 10**6),
        (10**9, True, None, WAIT),  # never longer than planned
        (7_999, False, None, WAIT),  # the old process may yet live, and sign
        (0, True, None, WAIT),  # an older ledger does not say
        (7_999, True, 9, WAIT),  # it is not all of it
    ],
)
def test_a_ledger_that_knows_all_that_was_signed_lets_creates_leave_sooner(
    signed_until_ms: int, is_alone: bool, venue: int | None, wait: int
) -> None:
    """After a crash the wait is for what the old process signed, not for how long this one took to start."""
    plan = plan_epoch(crashed(4), venue_epoch=venue, now_ns=NOW, recv_window_ns=WINDOW, send_timeout_ns=TIMEOUT)
    from_ns = creates_from(plan, signed_until_ms=signed_until_ms, venue_ms=10_000, now_ns=NOW, is_alone=is_alone)
    assert from_ns == NOW + wait


@pytest.mark.parametrize("venue", [-1, EPOCH_MAX])
def test_a_number_that_cannot_be_ours_is_refused(venue: int) -> None:
    with pytest.raises(ConfigError, match="none of this bot's"):
        plan_epoch(
            PastEpoch(number=-5, started_ns=0, ended_ns=1) if venue < 0 else None,
            venue_epoch=venue,
            now_ns=NOW,
            recv_window_ns=WINDOW,
            send_timeout_ns=TIMEOUT,
        )


def test_one_process_holds_the_lock(tmp_path: Path) -> None:
    """The second is refused by a line that names the first and the file; when the first is gone, however, it may."""
    path = tmp_path / "ledger.lock"
    hold = "import sys; from pathlib import Path; from bot.runtime.host_lock import HostLock\n"
    hold += "lock = HostLock(Path(sys.argv[1]), 'x'); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {first.pid}, which holds {path}"):
            HostLock(path, "the ledger")
        first.kill()
        first.wait()
    with HostLock(path, "the ledger"), pytest.raises(ConfigError):
        HostLock(path, "the ledger")
    HostLock(path, "the ledger").close()
    with pytest.raises(StorageError):
        HostLock(tmp_path / "nowhere" / "ledger.lock", "the ledger")
