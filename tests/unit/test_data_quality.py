"""What the scans of market data find: each thing planted in sound data is found, named by row, and nothing else is."""

import re
from pathlib import Path

import numpy as np
import pytest

from bot.core.data_quality.findings import Limits, length_of_time, many, number, when
from bot.core.data_quality.scans import scan_of
from tests.support.planted_bars import BARS, flat, spiked_close
from tests.support.planted_others import OTHERS
from tests.support.planted_trades import TRADES
from tests.support.planting import Planted, without
from tests.support.quality import (
    CLEAN,
    HOUR,
    MINUTE,
    SECOND,
    START,
    bars,
    book,
    found,
    put,
    scan,
    take,
    trades,
)


@pytest.mark.parametrize("kind", CLEAN)
def test_sound_data_has_no_finding(kind: str) -> None:
    """The control of every test below: the very rows that things are planted in."""
    quality = scan(kind, CLEAN[kind]())
    assert not quality.findings
    assert quality.rows == len(next(iter(CLEAN[kind]().values())))
    assert quality.first_ns == START


@pytest.mark.parametrize("kind", CLEAN)
def test_no_rows_are_no_finding(kind: str) -> None:
    """The figures have the same names as ever."""
    nothing = scan(kind, take(CLEAN[kind](), slice(0, 0)))
    assert (nothing.rows, nothing.first_ns, nothing.last_ns, nothing.findings) == (0, None, None, ())
    assert nothing.facts.keys() == scan(kind, CLEAN[kind]()).facts.keys()
    assert scan_of(kind, Limits()).finish().facts.keys() == nothing.facts.keys()


@pytest.mark.parametrize("planted", [*BARS, *TRADES, *OTHERS], ids=lambda planted: planted.code)
def test_what_is_planted_is_found_and_nothing_else(planted: Planted) -> None:
    """By its code, as often as it is there, at its row and time."""
    columns = planted.columns()
    quality = scan(planted.kind, columns)
    finding = found(quality, planted.code)
    assert (finding.severity, finding.count) == (planted.severity, planted.count), finding.message
    assert {each.code for each in quality.findings} == {planted.code, *planted.also}
    if planted.row is None:
        assert not finding.examples
    else:
        assert finding.examples[0].row == planted.row
        if planted.code not in ("bars.missing", "funding.missing"):  # those name the time of what is not there
            time = "open_ns" if "open_ns" in columns else "ts_ns"
            assert finding.examples[0].ts_ns == columns[time][planted.row]
    for word in planted.words:
        assert word in finding.message, finding.message


def test_a_lasting_move_is_no_suspect() -> None:
    """Prices that fall by a tenth from one row to the next and stay there are news, in bars and in trades."""
    columns = trades()
    assert not scan("trades", put(columns, "price", slice(150, None), columns["price"][150:] - 1_000)).findings
    columns = put(bars(), "turnover", slice(None), np.nan)
    for name in ("open", "high", "low", "close"):
        columns = put(columns, name, slice(120, None), columns[name][120:] - 1_000)
    assert not scan("bars-1m", columns).findings


def test_the_return_of_a_spike_is_no_step() -> None:
    """A close ten times too high that comes back is one suspect, not two changes of the unit."""
    columns = spiked_close(120, 100_000)
    assert {each.code for each in scan("bars-1m", columns).findings} == {"bars.suspect-price"}
    assert found(scan("bars-1m", columns), "bars.suspect-price").count == 1


def test_a_suspect_is_judged_by_what_is_ordinary_there() -> None:
    """A wick of two percent stands out in a quiet market and not in one that moves as much all the time."""
    wick = put(bars(), "low", 30, 9_800)
    assert found(scan("bars-1m", wick), "bars.suspect-price").count == 1
    close = wick["close"] + np.arange(200) % 2 * 150
    wild = put(put(wick, "close", slice(None), close), "open", slice(None), close)
    wild = put(put(wild, "high", slice(None), close + 5), "turnover", slice(None), np.nan)
    wild = put(wild, "low", slice(None), np.where(np.arange(200) == 30, close - 200, close - 5))
    assert "bars.suspect-price" not in {each.code for each in scan("bars-1m", wild).findings}


def test_limits_are_the_last_that_is_sound() -> None:
    """Exactly so many frozen or stuck bars, and a quiet stretch of exactly that length, are none."""
    assert {each.code for each in scan("bars-1m", flat(bars(), 30, 50)).findings} == set()
    still = flat(bars(), 30, 89, volume=0)
    assert {each.code for each in scan("bars-1m", still).findings} == {"bars.zero-volume"}
    assert not scan("trades", take(trades(), slice(0, 5)), limits=Limits(quiet_ns=SECOND)).findings
    assert scan("trades", take(trades(), slice(0, 5)), limits=Limits(quiet_ns=SECOND - 1)).findings


def test_unknown_is_not_wrong() -> None:
    """Bars that tell no turnover, count or buy volume, trades without receipt, and few rows with an odd clock."""
    columns = put(bars(), "turnover", slice(None), np.nan)
    columns = put(put(columns, "buy_volume", slice(None), -1), "count", slice(None), -1)
    assert not scan("bars-1m", columns).findings
    quality = scan("trades", put(trades(), "recv_ns", slice(None), 0))
    assert not quality.findings
    assert quality.facts["delay_median_s"] is None
    few = take(trades(), slice(0, 99))
    assert not scan("trades", put(few, "recv_ns", slice(None), few["ts_ns"] - SECOND)).findings


def test_two_sources_fill_each_others_holes() -> None:
    """What is out of order is no duplicate, and what it fills is not missing."""
    later, earlier = take(bars(), slice(100, 200)), take(bars(), slice(0, 100))
    both = {name: np.concatenate([later[name], earlier[name]]) for name in later}
    quality = scan("bars-1m", both)
    assert {each.code for each in quality.findings} == {"bars.disorder"}
    assert quality.facts["missing_intervals"] == 0
    assert quality.first_ns == START


def test_a_book_is_trusted_again_after_a_snapshot() -> None:
    """A hole costs the messages until then, and a snapshot may carry any number."""
    first, second = without(book(), 26, 27), book()
    for name, by in (("ts_ns", 200 * SECOND), ("recv_ns", 200 * SECOND), ("update", 7_000)):
        second = put(second, name, slice(None), second[name] + by)
    second = put(second, "previous", slice(6, None), second["previous"][6:] + 7_000)
    quality = scan("book", {name: np.concatenate([first[name], second[name]]) for name in first})
    assert quality.facts["messages"] == 99 + 100
    assert quality.facts["snapshots"] == 2
    assert quality.facts["messages_untrusted"] == 88
    assert found(quality, "book.gap").count == 1


def test_every_hole_in_the_chain_is_counted_though_the_book_is_lost_at_the_first() -> None:
    """Three holes and one snapshot: three findings, and no book after the first."""
    quality = scan("book", without(book(), 26, 27, 60, 61, 120, 121))
    assert found(quality, "book.gap").count == 3
    assert [example.row for example in found(quality, "book.gap").examples] == [26, 58, 116]
    assert quality.facts["messages_untrusted"] == 97 - 11


def test_words() -> None:
    """How figures are written in messages."""
    assert [many(1, "bar"), many(2, "bar"), many(1_200, "stretch")] == ["1 bar", "2 bars", "1,200 stretches"]
    assert when(START) == "2024-01-01T00:00:00Z"
    assert when(START + 1_500_000) == "2024-01-01T00:00:00.0015Z"
    assert [number(0.1), number(64000.0), number(1e-8), number(-0.5)] == ["0.1", "64000", "0.00000001", "-0.5"]
    lengths = (1_500_000, 88_124_000_000, 120 * SECOND, 67 * MINUTE, 26 * HOUR, -90 * MINUTE)
    assert [length_of_time(each) for each in lengths] == [
        "1.5 ms",
        "88.12 s",
        "2 min",
        "1 h 7 min",
        "1 d 2 h",
        "-1 h 30 min",
    ]


def test_an_unknown_kind_is_refused() -> None:
    """By its name."""
    with pytest.raises(ValueError, match="candles"):
        scan_of("candles", Limits())


def test_every_finding_is_documented() -> None:
    """The page names each code with its severity, and no other; each of the scans' own is planted above."""
    page = Path(__file__).resolve().parents[2] / "docs" / "data_check.md"
    told = re.findall(r"^\| `([a-z]+\.[a-z-]+)` \| ([a-z, ]+) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len({code for code, _ in told}) == len(told)
    severities: dict[str, set[str]] = {}
    for planted in (*BARS, *TRADES, *OTHERS):
        severities.setdefault(planted.code, set()).add(planted.severity.value)
    severities |= {"venue.outage": {"warning"}}
    of_files = {code for code, _ in told if code.startswith(("file.", "source.", "store."))}
    assert {code: set(text.split(", ")) for code, text in told if code not in of_files} == severities
    source = (page.parents[1] / "bot" / "app" / "data_check.py").read_text(encoding="utf-8")
    assert of_files == set(re.findall(r'code="((?:file|source|store)\.[a-z-]+)"', source))
