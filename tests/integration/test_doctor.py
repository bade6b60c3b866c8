"""The doctor: one case for each mistake that it knows, made as people make it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.app.doctor import Ailment, examine, examine_venue
from bot.app.doctor_host import check_limits, check_room, file_system
from bot.app.ledgers import lock_ledger
from bot.app.switches import Switches
from bot.runtime.env import ScaledClock, SystemClock
from bot.runtime.trade_settings import load_trade
from tests.support.cli import bot_process
from tests.support.emulator import (
    KEY,
    OTHER_KEY,
    OTHER_SECRET,
    READ_ONLY_KEY,
    READ_ONLY_SECRET,
    SECRET,
    Served,
    make_world,
    served,
)

ROOT = Path(__file__).parents[2]
LIVE = """
[run]
out = "{out}"
protect_within = "1m"
[venue]
environment = "mainnet"
uid = 1234567
[live]
confirm = "I trade real money"
[[symbols]]
symbol = "BTCUSDT"
leverage = 3
[strategy]
name = "sma_cross"
[risk]
order_notional_max = 100
position_notional_max = 100
leverage_max = 2
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("BYBIT_API_KEY", "AbCdEf0123456789")
    monkeypatch.setenv("BYBIT_API_SECRET", "s" * 36)


def file_of(tmp_path: Path, text: str = LIVE) -> Path:
    out = tmp_path / "runs"
    out.mkdir(exist_ok=True)
    out.chmod(0o700)
    path = tmp_path / "settings.toml"
    path.write_text(text.replace("{out}", str(out)), encoding="utf-8")
    path.chmod(0o600)
    return path


def checks(found: list[Ailment]) -> set[str]:
    """Return what was found; every ailment says how to mend it."""
    assert all(each.text and each.mend for each in found)
    return {each.check for each in found} - {"limits.core", "limits.files", "disk.full"}  # of the machine that tests


def found_in(tmp_path: Path, text: str = LIVE) -> set[str]:
    return checks(examine(file_of(tmp_path, text))[1])


def test_a_good_file_has_nothing(tmp_path: Path) -> None:
    assert found_in(tmp_path) == set()


@pytest.mark.parametrize(
    ("before", "after", "check"),
    [
        ("leverage_max = 2", "leverage_max = 2\nlevrage = 3", "settings.refused"),
        ("leverage_max = 2", "leverage_max = -2", "settings.refused"),
        ("[risk]", "[risk", "settings.refused"),
        ("uid = 1234567", "", "uid.missing"),
        ('confirm = "I trade real money"', 'confirm = "yes"', "mode.refused"),
        ("order_notional_max = 100", "order_notional_max = 1000", "risk.order_above_position"),
        ("leverage = 3", "leverage = 1", "risk.leverage"),
        (
            "[risk]",
            "[protections]\ndaily_loss_reduce=0\ndaily_loss_halt=0\ndrawdown_halt=0\n[risk]",
            "risk.unprotected",
        ),
        ('protect_within = "1m"', "", "risk.no_stop_needed"),
        ("[risk]", "[risk]\nprice_collar = 0.5", "risk.collar"),
        ('"sma_cross"', '"sma_crss"', "strategy.refused"),
        ('"sma_cross"', '"sma_cross"\nparams = { fast = "quick" }', "strategy.refused"),
        ('"sma_cross"', '"multiscale"\n[predictor]\nhorizons = ["7m"]', "predictor.refused"),
        ("[risk]", '[predictor]\nkind = "artifact"\npath = "nowhere"\n[risk]', "model.missing"),
        ("[risk]", '[ledger]\nat = "postgresql://bot:hunter22@db/ledger"\n[risk]', "file.password"),
        ("[venue]", '[venue]\napi_secret = "abcdefghijkl"', "file.secret"),
    ],
)
def test_a_mistake_in_the_file(tmp_path: Path, before: str, after: str, check: str) -> None:
    assert before in LIVE
    assert check in found_in(tmp_path, LIVE.replace(before, after))


def test_a_file_that_others_may_change(tmp_path: Path) -> None:
    path = file_of(tmp_path)
    path.chmod(0o666)
    assert checks(examine(path)[1]) == {"file.writable"}


def test_a_missing_emulator(tmp_path: Path) -> None:
    text = 'symbols = [{ symbol = "BTCUSDT" }]\n[strategy]\nname = "sma_cross"\n[emulator]\nconfig = "none.toml"\n'
    assert "emulator.missing" in found_in(tmp_path, text)


@pytest.mark.parametrize(
    ("key", "secret", "check"),
    [
        ("", "", "key.missing"),
        ("AbCdEf0123456789", '"' + "s" * 30 + ' "', "key.missing"),
        ("k" * 36, "s" * 16, "key.swapped"),
        ("k" * 18, "k" * 18, "key.same"),
    ],
)
def test_a_mistake_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, secret: str, check: str
) -> None:
    monkeypatch.setenv("BYBIT_API_KEY", key)
    monkeypatch.setenv("BYBIT_API_SECRET", secret)
    assert found_in(tmp_path) == {check}


def test_a_key_that_others_may_read_or_that_is_there_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("bybit_key", "AbCdEf0123456789"), ("bybit_secret", "s" * 36)):
        (tmp_path / name).write_text(text, encoding="ascii")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert found_in(tmp_path) == {"key.twice"}
    (tmp_path / "bybit_secret").chmod(0o644)
    assert found_in(tmp_path) == {"key.missing"}


def test_the_kill_switch_is_closed(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "ledgers" / "mainnet-1234567"
    place.mkdir(parents=True)
    Switches(place).kill("a test")
    assert found_in(tmp_path) == {"kill.closed"}


def test_a_ledger_that_is_none(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "ledgers" / "mainnet-1234567"
    place.mkdir(parents=True)
    (place / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    assert found_in(tmp_path) & {"ledger.unreadable", "ledger.schema"}


def test_a_second_bot_on_the_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "runs" / "ledgers" / "mainnet-1234567"
    place.mkdir(parents=True)
    (place / "ledger.sqlite").touch()
    monkeypatch.setattr("bot.app.doctor.schema_versions", lambda where: ("0005", "0005"))
    with lock_ledger(str(place), tmp_path / "runs"):
        assert found_in(tmp_path) == {"ledger.locked"}


def test_a_place_that_cannot_be_written_or_that_others_read(tmp_path: Path) -> None:
    path = file_of(tmp_path)
    (tmp_path / "runs").chmod(0o755)
    assert checks(examine(path)[1]) == {"disk.readable"}


def test_disks_and_limits() -> None:
    there = Path("/")
    assert [each[0] for each in check_room(there, 1 << 30, 10**6)] == ["disk.full"]
    assert [each[0] for each in check_room(there, 1 << 40, 100)] == ["disk.inodes"]
    assert [each[0] for each in check_limits(256, 0, is_real=True)] == ["limits.files"]
    assert [each[0] for each in check_limits(8_192, -1, is_real=True)] == ["limits.core"]
    mounts = "/dev/sda / ext4 rw 0 0\nnas:/export /srv nfs4 rw 0 0\n/dev/sdb /srv/local ext4 rw 0 0\n"
    assert file_system(Path("/srv/bot"), mounts) == "nfs4"
    assert file_system(Path("/srv/local/bot"), mounts) == "ext4"


# --- what only the venue knows ----------------------------------------------------------------------------------------


@pytest.fixture
def venue() -> Iterator[Served]:
    with served(lambda now_ns: make_world(now_ns, each_s=1.0, seconds=120)) as running:
        yield running


def asked(
    tmp_path: Path, http: str, *, key: str = KEY, secret: str = SECRET, uid: int = 592324, symbol: str = "BTCUSDT"
) -> list[Ailment]:
    text = f"""
symbols = [{{ symbol = "{symbol}" }}]
[venue]
environment = "emulator"
url = "{http}"
uid = {uid}
[emulator]
key = "{key}"
secret = "{secret}"
[strategy]
name = "sma_cross"
"""
    return asyncio.run(examine_venue(load_trade(file_of(tmp_path, text))))


def test_a_good_account_has_nothing_to_mend(tmp_path: Path, venue: Served) -> None:
    assert not [each for each in asked(tmp_path, venue.http) if each.is_fatal]


@pytest.mark.parametrize(
    ("fields", "check", "words"),
    [
        ({"key": "NOSUCHKEY0001"}, "key.unknown", "make one there"),
        ({"secret": "WRONGSECRET0001"}, "", ""),
        ({"key": READ_ONLY_KEY, "secret": READ_ONLY_SECRET}, "account.differs", "read-only"),
        ({"key": OTHER_KEY, "secret": OTHER_SECRET}, "account.differs", "not of 592324"),
        ({"symbol": "NOSUCHUSDT"}, "symbol.unknown", "NOSUCHUSDT"),
    ],
)
def test_a_mistake_about_the_account(
    tmp_path: Path, venue: Served, fields: dict[str, str], check: str, words: str
) -> None:
    fatal = [each for each in asked(tmp_path, venue.http, **fields) if each.is_fatal]  # type: ignore[arg-type]
    assert any(check in each.check and words in each.text + each.mend for each in fatal), fatal


def test_nobody_answers(tmp_path: Path) -> None:
    (found,) = asked(tmp_path, "http://127.0.0.1:9")
    assert found.check == "venue.unreachable"
    assert "DNS" in found.mend


def test_a_clock_that_is_off(tmp_path: Path) -> None:
    ahead = ScaledClock(start_ns=SystemClock().now_ns() + 5 * 10**9, speed=1.0)
    with served(lambda now_ns: make_world(now_ns, each_s=1.0, seconds=120), clock=ahead) as running:
        found = asked(tmp_path, running.http)
    (off,) = [each for each in found if each.check == "clock.off"]
    assert "-5.0 s" in off.text
    assert "NTP" in off.mend


def test_the_command_says_it_and_fails(tmp_path: Path) -> None:
    """Exit code 1 with something to mend, 0 without."""
    path = file_of(tmp_path, LIVE.replace("uid = 1234567", ""))
    done = bot_process("doctor", "--config", str(path), "--offline", cwd=tmp_path)
    assert done.returncode == 1
    assert "MEND  venue.uid is not set" in done.stdout
    assert "Traceback" not in done.stderr
    good = bot_process("doctor", "--config", str(file_of(tmp_path)), "--offline", "--json", cwd=tmp_path)
    assert '"fatal":0' in good.stdout
