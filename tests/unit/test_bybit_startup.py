"""What is wrong with a key, an account or a position, from what the venue says of them."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from bot.domain.instrument import Instrument
from bot.venues.bybit.credentials import Credentials
from bot.venues.bybit.record_shapes import WirePosition
from bot.venues.bybit.requests import Listed
from bot.venues.bybit.startup import (
    AccountInfo,
    KeyInfo,
    Mode,
    UserSettings,
    Wanted,
    judge_account,
    judge_key,
    judge_position,
    moved_limits,
)
from tests.support.emulator import BTC
from tests.support.private_frames import NOW_MS, NOW_NS
from tests.support.shared_data import SHARED

OWN = Credentials(key="KEY0123", secret="SECRET0123")
GOOD: dict[str, Any] = {
    "apiKey": "KEY0123",
    "readOnly": 0,
    "permissions": {"ContractTrade": ["Order", "Position"], "Spot": ["SpotTrade"], "Wallet": []},
    "ips": ["203.0.113.7"],
    "expiredAt": "1970-01-01T00:00:00Z",
    "userID": 7,
    "isMaster": False,
    "uta": 1,
}
INSTRUMENTS: dict[str, tuple[Listed, Instrument]] = {
    "BTCUSDT": (Listed("linear", "BTCUSDT"), BTC),
    "BTC/USDT": (Listed("spot", "BTCUSDT"), BTC),
}


def judged(mode: Mode = "live", uid: int | None = 7, **changes: Any) -> list[tuple[bool, str]]:
    info = msgspec.json.decode(json.dumps(GOOD | changes).encode(), type=KeyInfo)
    found = judge_key(info, Wanted(mode=mode, uid=uid, instruments=INSTRUMENTS), OWN, NOW_NS)
    assert not any("KEY0123" in each.line for each in found)
    return [(each.is_fatal, each.line) for each in found]


def test_a_good_key() -> None:
    assert judged() == []


@pytest.mark.parametrize(
    ("changes", "part", "is_fatal_live", "is_fatal_paper"),
    [
        ({"permissions": GOOD["permissions"] | {"Wallet": ["Withdraw"]}}, "move money (Withdraw)", True, False),
        ({"permissions": GOOD["permissions"] | {"Wallet": ["AccountTransfer"]}}, "move money", True, False),
        ({"permissions": GOOD["permissions"] | {"Earn": ["Earn"]}}, "more than is used: Earn", False, False),
        ({"permissions": {"ContractTrade": ["Order"], "Spot": ["SpotTrade"]}}, "lacks ContractTrade", True, True),
        ({"permissions": {"ContractTrade": ["Order", "Position"]}}, "lacks Spot", True, True),
        ({"readOnly": 1}, "read-only", True, True),
        ({"ips": []}, "bound to no address", True, False),
        ({"ips": ["*"]}, "bound to no address", True, False),
        ({"uta": 0}, "unified", True, True),
        ({"isMaster": True}, "main account", False, False),
        ({"apiKey": "OTHER"}, "another key", True, True),
        ({"expiredAt": "2025-10-12T00:00:00Z"}, "ends in 2 days", False, False),
        ({"expiredAt": "2025-10-08T00:00:00Z"}, "ended on", True, True),
        ({"expiredAt": "never"}, "cannot be read", False, False),
    ],
)
def test_what_is_wrong(changes: dict[str, Any], part: str, *, is_fatal_live: bool, is_fatal_paper: bool) -> None:
    for mode, is_fatal in (("live", is_fatal_live), ("paper", is_fatal_paper)):
        found = judged(mode, **changes)  # type: ignore[arg-type]  # a mode each
        assert [each for each in found if part in each[1]] == [(is_fatal, found[0][1])]
        assert len(found) == 1


def test_a_key_from_anywhere_passes_live_where_its_owner_says_so_and_is_still_warned_of() -> None:
    info = msgspec.json.decode(json.dumps(GOOD | {"ips": []}).encode(), type=KeyInfo)
    wanted = Wanted(mode="live", uid=7, instruments=INSTRUMENTS, allows_unbound_key=True)
    (found,) = judge_key(info, wanted, OWN, NOW_NS)
    assert "bound to no address" in found.line
    assert not found.is_fatal


def test_the_published_key_is_one_that_live_refuses() -> None:
    path = SHARED / "bybit_v5_samples" / "rest_user_query-api.json"
    if not path.is_file():
        pytest.skip("needs bybit_v5_samples in ../shared (or set BOT_SHARED)")
    info = msgspec.convert(json.loads(path.read_bytes())["result"], KeyInfo)
    found = judge_key(info, Wanted(mode="live", uid=1448939, instruments=INSTRUMENTS), OWN, NOW_NS)
    assert any("move money" in each.line and each.is_fatal for each in found)


def test_modes() -> None:
    what = Wanted(mode="live", uid=7, instruments=INSTRUMENTS)
    assert judge_account(AccountInfo(margin_mode="REGULAR_MARGIN", unified_margin_status=5), what) == []
    (found,) = judge_account(AccountInfo(margin_mode="ISOLATED_MARGIN", unified_margin_status=5), what)
    assert "ISOLATED_MARGIN" in found.line
    assert judge_account(AccountInfo(margin_mode="REGULAR_MARGIN", unified_margin_status=1), what)[0].is_fatal


@pytest.mark.parametrize(
    ("spot", "perpetual", "moved"),
    [(False, True, []), (True, True, ["spot"]), (False, False, ["linear"]), (True, False, ["linear", "spot"])],
)
def test_the_two_flags_have_opposite_meanings(moved: list[str], *, spot: bool, perpetual: bool) -> None:
    assert moved_limits(UserSettings(lpa_spot=spot, lpa_perp=perpetual)) == moved


def test_positions() -> None:
    def lines(leverage: int | None = 5, **changes: Any) -> list[str]:
        row = WirePosition(symbol="BTCUSDT", side="", size="0", leverage="5", updated_time=str(NOW_MS), **changes)
        wanted = None if leverage is None else Decimal(leverage)
        return [each.line for each in judge_position([row], "BTCUSDT", wanted)]

    assert lines() == []
    flat = "BTCUSDT is flat in hedge mode; cancel its orders and start again for one-way mode, or change "
    assert lines(position_idx=1) == [f"{flat}execution.position_mode"]
    assert "wanted is 3" in lines(3)[0]
    assert lines(None) == []
    assert "nothing but reducing" in lines(is_reduce_only=True)[0]


def test_position_modes() -> None:
    """Both ways, each difference is one line that says what to do; with a position it is another thing than without."""

    def told(*rows: tuple[int, str], is_hedged: bool) -> list[str]:
        made = [
            WirePosition(symbol="BTCUSDT", side="Buy", size=size, position_idx=index, updated_time=str(NOW_MS))
            for index, size in rows
        ]
        return [each.line for each in judge_position(made, "BTCUSDT", None, is_hedged=is_hedged) if each.is_fatal]

    assert told((0, "0"), is_hedged=False) == []
    assert told((1, "0"), (2, "0"), is_hedged=True) == []
    assert told((1, "2"), (2, "1"), is_hedged=True) == []  # the comparison tells of that
    assert told((1, "2"), (2, "0"), is_hedged=False) == [
        "BTCUSDT is held in hedge mode; close it and start again for one-way mode, or change execution.position_mode"
    ]
    assert told((0, "0"), is_hedged=True) == [
        (
            "BTCUSDT is flat in one-way mode; cancel its orders and start again for hedge mode, or change "
            "execution.position_mode"
        )
    ]
    assert told((3, "0"), is_hedged=True) == [
        "BTCUSDT: its position cannot be read: a position of index 3; there are 0, 1 and 2"
    ]
