"""The sign of life, and what its absence means."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.silence import Hearing, Silence
from bot.runtime.heartbeat import EVERY_NS, Heartbeat, HeartbeatWriter, Life, read_heartbeat

S = 10**9


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def test_it_beats_once_a_second_however_often_it_is_told_to(tmp_path: Path) -> None:
    hand = Hand()
    writer = HeartbeatWriter(tmp_path / "heartbeat", "run-1", hand)
    for _ in range(100):
        writer.beat()
        hand.now_ns += EVERY_NS // 20
    assert read_heartbeat(tmp_path / "heartbeat") == Heartbeat(run_id="run-1", count=5, life=Life.BEATING)
    writer.stop()
    last = read_heartbeat(tmp_path / "heartbeat")
    assert last == Heartbeat(run_id="run-1", count=6, life=Life.STOPPED)
    assert [each.name for each in tmp_path.iterdir()] == ["heartbeat"]


def test_a_disk_that_refuses_stops_nobody(tmp_path: Path) -> None:
    """The bot goes on without it: it is the dead-man's to notice."""
    writer = HeartbeatWriter(tmp_path / "gone" / "heartbeat", "run-1", Hand())
    writer.beat()
    writer.stop()
    assert read_heartbeat(tmp_path / "gone" / "heartbeat") is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"run_id":1}', b"x" * 5_000, b"\xff\xfe"])
def test_what_is_no_heartbeat_is_silence(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "heartbeat").write_bytes(body)
    assert read_heartbeat(tmp_path / "heartbeat") is None


def test_neither_links_nor_pipes_are_followed(tmp_path: Path) -> None:
    """Who may put a file there must not be able to point us elsewhere, or to make us wait."""
    HeartbeatWriter(tmp_path / "real", "run-1", Hand()).beat()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    assert read_heartbeat(tmp_path / "link") is None
    assert read_heartbeat(tmp_path / "pipe") is None


def _silence() -> Silence:
    return Silence(after_ns=15 * S, away_ns=3 * S)


def test_nobody_is_missed_who_was_never_heard() -> None:
    silence = _silence()
    assert {silence.hear(None, at * S) for at in range(100)} == {Hearing.NOBODY}


def test_what_lies_there_since_before_is_silence() -> None:
    """After a restart of the machine the last beat is still there, and its bot may not be."""
    silence = _silence()
    heard = [silence.hear("old", at * S) for at in range(20)]
    assert heard.index(Hearing.SILENT) == 15


def test_a_file_that_vanished_is_silence() -> None:
    silence = _silence()
    silence.hear("beat", 0)
    heard = [silence.hear(None, at * S) for at in range(1, 20)]
    assert heard.index(Hearing.SILENT) == 14


def test_who_stopped_in_order_is_not_missed() -> None:
    silence = _silence()
    silence.hear(1, 0)
    assert {silence.hear(2, at * S, is_last=True) for at in range(1, 60)} == {Hearing.NOBODY}
    assert silence.hear(3, 61 * S) is Hearing.ALIVE  # the next run


def test_silence_lasts_until_something_new_is_said() -> None:
    silence = _silence()
    for at in range(40):
        silence.hear(1, at * S)
    assert silence.hearing is Hearing.SILENT
    assert silence.hear(None, 41 * S) is Hearing.SILENT
    assert silence.hear(1, 42 * S) is Hearing.SILENT
    assert silence.hear(2, 43 * S) is Hearing.ALIVE


def test_our_own_absence_is_nobodys_silence() -> None:
    """The machine slept for an hour: both were away, and the bot gets its time to speak."""
    silence = _silence()
    silence.hear(1, 0)
    silence.hear(1, 2 * S)
    assert silence.hear(1, 3_602 * S) is Hearing.ALIVE
    heard = [silence.hear(1, (3_602 + at) * S) for at in range(1, 20)]
    assert heard.index(Hearing.SILENT) == 12  # 2 s before it and 13 s after


@given(steps=st.lists(st.tuples(st.integers(1, 3 * S), st.booleans()), min_size=1, max_size=200))
def test_it_fires_exactly_after_so_long_without_news(steps: list[tuple[int, bool]]) -> None:
    """However the looks lie, as long as we are not away: silent means nothing new for 15 s, and never less."""
    silence, now_ns, count, news_ns = _silence(), 0, 0, 0
    silence.hear(count, now_ns)
    for step_ns, is_new in steps:
        now_ns += step_ns
        if is_new:
            count, news_ns = count + 1, now_ns
        heard = silence.hear(count, now_ns)
        assert (heard is Hearing.SILENT) == (now_ns - news_ns >= 15 * S)
