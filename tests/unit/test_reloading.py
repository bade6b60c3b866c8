"""What `/reload_config` takes up, what it names, and what it never touches."""

import io
import logging
from pathlib import Path

import pytest
import structlog

from bot.app.alerting import Alerting
from bot.app.reloading import WHILE_RUNNING, Reloading
from bot.core.redaction import Redactor
from bot.domain.errors import ConfigError
from bot.domain.operation import Notice, Severity
from bot.runtime.alert_settings import AlertSecrets
from bot.runtime.logs import ServiceLogs
from bot.runtime.trade_settings import TradeSettings, load_trade

_FILE = """
[venue]
environment = "emulator"
[[symbols]]
symbol = "BTCUSDT"
[strategy]
name = "sma_cross"
[log]
level = "info"
[emulator]
secret = "{secret}"
[risk]
orders_per_second_max = {orders}
[alerts.telegram]
users = [42]
least = "{least}"
"""


class Home:
    """A settings file, and a bot that was started with it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "paper.toml"
        self.write()
        self.taken: list[TradeSettings] = []
        self.started = self._read()
        self.reloading = Reloading(self.started, self._read, self.taken.append)

    def write(self, *, least: str = "info", orders: int = 5, secret: str = "EMULATORSECRET0001") -> None:
        self._path.write_text(_FILE.format(least=least, orders=orders, secret=secret), encoding="utf-8")

    def spoil(self) -> None:
        self._path.write_text("[risk]\norders_per_second_max = -1\n", encoding="utf-8")

    def _read(self) -> TradeSettings:
        return load_trade(self._path)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_what_tells_people_is_taken_up_and_what_trades_is_named(home: Home) -> None:
    home.write(least="warning", orders=7)
    shown = home.reloading.foresee()
    assert 'takes up alerts.telegram.least: "info" -> "warning"' in shown
    assert "needs a restart: risk.orders_per_second_max: 5 -> 7" in shown
    assert home.taken == []
    done = home.reloading.obey("telegram:42")
    assert done.is_done
    (taken,) = home.taken
    assert taken.alerts.telegram.least is Severity.WARNING
    assert taken.risk == home.started.risk
    # What was taken up is in force now, and what was not still waits.
    assert home.reloading.foresee() == "takes up nothing; needs a restart: risk.orders_per_second_max: 5 -> 7"


def test_only_what_was_shown_is_done(home: Home) -> None:
    home.write(least="warning")
    assert not home.reloading.obey("host").is_done, "nothing was shown yet"
    home.reloading.foresee()
    home.write(least="critical")
    done = home.reloading.obey("host")
    assert not done.is_done
    assert "ask again" in done.text
    assert home.taken == []
    home.reloading.foresee()
    assert home.reloading.obey("host").is_done
    assert not home.reloading.obey("host").is_done, "a confirmation counts once"


def test_a_file_that_is_wrong_changes_nothing_and_says_why(home: Home) -> None:
    home.spoil()
    assert home.reloading.foresee().startswith("nothing: ")
    assert "risk.orders_per_second_max" in home.reloading.foresee()
    assert not home.reloading.obey("host").is_done
    assert home.taken == []


def test_nothing_new_is_said_to_be_nothing(home: Home) -> None:
    assert home.reloading.foresee() == "nothing: the settings are as they are in force"
    assert not home.reloading.obey("host").is_done


def test_a_secret_is_named_and_not_shown(home: Home) -> None:
    home.write(secret="ANOTHERSECRET00002")
    shown = home.reloading.foresee()
    assert "emulator.secret: (not shown) -> (not shown)" in shown
    assert "SECRET0" not in shown


def test_a_run_without_a_file_says_so(home: Home) -> None:
    reloading = Reloading(home.started, None, home.taken.append)
    assert "no file" in reloading.foresee()
    assert "no file" in reloading.obey("host").text


def test_what_is_taken_up_never_changes_what_is_traded(home: Home) -> None:
    """Every such key is one that the run's hash leaves out: a run that took it up is verified like any other."""
    home.write(least="critical")
    home.reloading.foresee()
    home.reloading.obey("host")
    assert home.taken[0].config_hash() == home.started.config_hash()
    assert {key.partition(".")[0] for key in WHILE_RUNNING} == {"log", "alerts"}
    told = home.started.model_dump(mode="json")
    for key in WHILE_RUNNING:
        value = told
        for part in key.split("."):
            assert part in value, f"{key} is no setting"
            value = value[part]


async def test_ways_out_tell_by_the_new_policy_at_once(home: Home, tmp_path: Path) -> None:
    alerts = home.started.alerts
    telegram = alerts.telegram.model_copy(update={"enabled": True})
    alerts = alerts.model_copy(update={"telegram": telegram})
    secrets = AlertSecrets(telegram_token="123456789:AbC-dEf_gHiJkLmNoPqRsTuVwXyZ0123456")
    alerting = Alerting(alerts, secrets, clock=_Clock(), directory=tmp_path)
    notice = Notice(ts_ns=1, kind="order.filled", severity=Severity.INFO, text="bought")
    alerting.alerts.tell(notice)
    assert alerting.alerts.waiting() == {"telegram:42": 1}
    quiet = telegram.model_copy(update={"muted": ("order.*",)})
    alerting.change(alerts.model_copy(update={"telegram": quiet}))
    alerting.alerts.tell(notice)
    assert alerting.alerts.counts()["telegram:42"]["muted"] == 1
    alerting.change(alerts)
    alerting.alerts.tell(notice)
    assert alerting.alerts.counts()["telegram:42"]["folded"] == 1


def test_the_log_is_as_loud_as_it_is_told(tmp_path: Path) -> None:
    said = io.StringIO()
    logs = ServiceLogs(tmp_path / "log.jsonl", redact=Redactor(), stream_level="warning", stream=said)
    try:
        structlog.get_logger().info("first.said")
        for level, more in (("info", "second.said"), ("error", "third.said")):
            logs._listener.stop()  # what was said is written
            logs.set_stream_level(level)
            logs._listener.start()
            structlog.get_logger().warning(more) if level == "error" else structlog.get_logger().info(more)
    finally:
        logs.close()
    assert "second.said" in said.getvalue()
    assert "first.said" not in said.getvalue()
    assert "third.said" not in said.getvalue()
    in_file = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    assert all(f"{each}.said" in in_file for each in ("first", "second", "third"))
    assert logging.getLogger().handlers == []


class _Clock:
    def now_ns(self) -> int:
        return 1


def test_errors_are_for_people() -> None:
    def missing() -> TradeSettings:
        raise ConfigError("paper.toml: No such file or directory; pass an existing file with --config")

    said = Reloading(TradeSettings(symbols=[{"symbol": "BTCUSDT"}]), missing, lambda taken: None).foresee()  # type: ignore[list-item]
    assert said == "nothing: paper.toml: No such file or directory; pass an existing file with --config"
