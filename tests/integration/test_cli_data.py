"""`bot data import` and `bot data list`: what they print, and how they end."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.app.data import import_files
from bot.cli import data as data_commands
from tests.support.cli import assert_refused, bot

HEADER = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Write a small archive day with one row that cannot be right."""
    rows = [
        f"{1_741_910_443 + n}.5,XUSDT,Buy,0.5,100.{n % 10},PlusTick,id-{n},1,0.5,{50 + n % 10 / 20}" for n in range(30)
    ]
    rows[7] = rows[7].replace(",100.7,", ",-1,")
    path = tmp_path / "XUSDT2025-03-14.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_an_import_says_what_it_did(day: Path, tmp_path: Path) -> None:
    """A table on standard output, what was set aside on standard error."""
    done = bot("data", "import", str(day), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["dataset", "new", "repeated", "replaced", "rejected"],
        ["bybit-linear/XUSDT/trades", "29", "0", "0", "1"],
    ]
    assert "row 7: price is not positive" in done.stderr
    aside = tmp_path / "data" / "market" / "bybit-linear" / "XUSDT" / "rejected" / "trades-XUSDT2025-03-14.csv.csv"
    assert str(aside.relative_to(tmp_path)) in done.stderr.replace("\n", "")
    again = bot("data", "import", str(day), "--json", cwd=tmp_path)
    result = json.loads(again.stdout)
    assert result["datasets"] == [
        {"venue": "bybit-linear", "symbol": "XUSDT", "kind": "trades"}
        | {"new": 0, "repeated": 29, "replaced": 0, "rejected": 1, "rounded": 0}
    ]
    assert result["files"][0]["status"] == "imported"


def test_strict_refuses_the_file(day: Path, tmp_path: Path) -> None:
    assert_refused(
        bot("data", "import", str(day), "--strict", cwd=tmp_path), 1, "XUSDT2025-03-14.csv", "row 7", "--strict"
    )
    assert not list(tmp_path.glob("data/market/*/*"))


def test_one_bad_file_does_not_keep_the_others_out(day: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.csv").write_text("a,b\n1,2\n")
    (tmp_path / "notes.md").write_text("words")
    done = bot("data", "import", str(tmp_path), "--store", "store", cwd=tmp_path)
    assert_refused(done, 1, "broken.csv", "--kind")
    assert "skipped" in done.stderr
    assert "notes.md" in done.stderr
    assert "bybit-linear/XUSDT/trades" in done.stdout
    listed = bot("data", "list", "--store", "store", cwd=tmp_path)
    assert [line.split()[:4] for line in listed.stdout.splitlines()[1:]] == [["bybit-linear", "XUSDT", "trades", "29"]]


def test_options_are_heard(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("when,o,h,l,c,v\n1735689600,10,11,9,10,0.12345\n1735693200,10,11,9,10,3\n")
    arguments = (
        "--venue",
        "okx-swap",
        "--symbol",
        "BTC-USDT",
        "--map",
        "ts=when",
        "--kind",
        "bars-1h",
        "--decimals",
        "2",
    )
    done = bot("data", "import", str(path), *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["okx-swap/BTC-USDT/bars-1h", "2", "0", "0", "0", "1"]
    assert done.stdout.splitlines()[0].split()[-1] == "rounded"


def test_ctrl_c_keeps_what_is_finished(day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second file is interrupted: the first is told of, and is there."""
    second = tmp_path / "YUSDT2025-03-14.csv"
    second.write_text(day.read_text().replace("XUSDT", "YUSDT"))

    def interrupted(*arguments: Any, **options: Any) -> Iterator[Any]:
        files = import_files(*arguments, **options)
        yield next(files)
        raise KeyboardInterrupt

    monkeypatch.setattr(data_commands, "import_files", interrupted)
    done = bot("data", "import", str(day), str(second), cwd=tmp_path)
    assert done.returncode == 1
    assert "interrupted; 1 files" in done.stderr
    assert "bybit-linear/XUSDT/trades" in done.stdout
    assert not list(tmp_path.glob("data/market/bybit-linear/YUSDT/*"))


def test_wrong_usage_is_one_line(tmp_path: Path) -> None:
    for arguments, words in (
        (("data", "import", "nothing.csv"), ("nothing.csv", "no such file")),
        (("data", "import", ".", "--kind", "candles"), ("--kind candles", "trades, bars")),
        (("data", "import", ".", "--interval", "1"), ("--interval", "5m")),
        (("data", "import", ".", "--time-unit", "h"), ("--time-unit", "s, ms, us, ns")),
        (("data", "import", ".", "--map", "ts"), ("--map ts", "ts=time")),
        (("data", "import", ".", "--kind", "bars-1m", "--interval", "5m"), ("contradict",)),
        (("data", "list", "--store", "nowhere"), ("nowhere", "--store")),
    ):
        assert_refused(bot(*arguments, cwd=tmp_path), 2, *words)
