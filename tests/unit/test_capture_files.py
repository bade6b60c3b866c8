"""Capture files: what was written is read; a file that ends or is damaged anywhere lies about nothing."""

import asyncio
import gzip
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import DataError, StorageError
from bot.runtime.env import WriterThread
from bot.store.capture_events import event_lines, head_line, last_read, read_events
from bot.store.capture_files import CaptureLines, CaptureWriter, is_capture, pack
from bot.store.recorder import CaptureRecorder

NOW_NS = 1_760_000_000_000_000_000


def written(path: Path, blocks: list[bytes]) -> bytes:
    writer = CaptureWriter(path)
    for block in blocks:
        writer.write(block)
    writer.close()
    return path.read_bytes()


def lines_of(path: Path) -> tuple[list[bytes], str | None]:
    lines = CaptureLines(path)
    return [line for _, line in lines], lines.broken


def test_any_gzip_tool_reads_a_capture(tmp_path: Path) -> None:
    blocks = [b"one\ntwo\n", b"three\n", b"x" * 70_000 + b"\n"]
    data = written(tmp_path / "a.capture.gz", blocks)
    assert gzip.decompress(data) == b"".join(blocks)
    assert is_capture(data)
    assert not is_capture(gzip.compress(b"something else, and long enough"))


def test_a_file_cut_at_any_byte_ends_with_a_whole_block(tmp_path: Path) -> None:
    """Truncation at every byte: the lines of every whole block and of no other."""
    blocks = [b"first 1\nfirst 2\n", b"second\n", b"third 1\nthird 2\nthird 3\n"]
    data = written(tmp_path / "a.capture.gz", blocks)
    ends = [0]
    for block in blocks:
        ends.append(ends[-1] + len(pack(block)))
    assert ends[-1] == len(data)
    path = tmp_path / "cut.capture.gz"
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in ends[1:])
        lines, broken = lines_of(path)
        assert lines == b"".join(blocks[:whole]).splitlines()
        assert (broken is None) == (size in ends)


def test_a_damaged_block_is_not_read_nor_what_follows(tmp_path: Path) -> None:
    """A turned bit at any place: never a line that was not written, never one behind the damage."""
    blocks = [b"first\n", b"second\n", b"third\n"]
    data = written(tmp_path / "a.capture.gz", blocks)
    true = b"".join(blocks).splitlines()
    path = tmp_path / "bad.capture.gz"
    first = len(pack(blocks[0]))
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        lines, _ = lines_of(path)
        assert lines == true[: len(lines)]
        if at >= first:
            assert lines[:1] == true[:1]


def test_a_block_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.capture.gz"
    bomb = bytearray(pack(b"0" * 1_000_000))
    bomb[-4:] = (10).to_bytes(4, "little")  # it says that it holds ten bytes
    path.write_bytes(bomb)
    assert lines_of(path)[0] == []


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    written(tmp_path / "a.capture.gz", [b"x\n"])
    with pytest.raises(StorageError, match="cannot be made"):
        CaptureWriter(tmp_path / "a.capture.gz")


RAW = st.binary(max_size=40)
NAMES = st.sampled_from(["linear-0", "spot-1", "status"])
TIMES = st.integers(NOW_NS, NOW_NS + 5)
EVENTS = st.one_of(
    st.tuples(st.sampled_from(["start", "stop", "on_time"]), st.tuples(TIMES), st.just({})),
    st.tuples(st.just("on_open"), st.tuples(NAMES, st.integers(0, 9), TIMES), st.just({})),
    st.tuples(
        st.just("on_closed"),
        st.tuples(NAMES, st.integers(0, 9), st.text(max_size=20).filter(lambda t: t.isprintable()), TIMES),
        st.fixed_dictionaries({"is_banned": st.booleans()}),
    ),
    st.tuples(st.just("on_answer"), st.tuples(st.integers(0, 99), st.integers(0, 599), RAW, TIMES), st.just({})),
    st.tuples(
        st.just("on_messages"),
        st.tuples(NAMES, st.integers(0, 9), st.lists(st.tuples(TIMES, RAW), min_size=1, max_size=3)),
        st.just({}),
    ),
)


@given(events=st.lists(EVENTS, max_size=8))
def test_what_a_feed_is_told_comes_back(events: list) -> None:  # type: ignore[type-arg]
    """Any bytes, also with line ends; and each read by itself, whatever the clock said meanwhile."""
    data = head_line(NOW_NS, b"{}")
    after = None
    for event in events:
        data += event_lines(*event, after)
        after = last_read(event[0], event[1])
    read = list(read_events(enumerate(data.split(b"\n")[:-1])))
    assert read == [("head", (NOW_NS, b"{}"), {}), *events]


def test_a_capture_of_before_is_read_as_it_was() -> None:
    """Without marks, messages of one moment and connection are told together."""
    lines = [b"%d m linear-0 1 %d" % (NOW_NS + at, number) for number, at in enumerate((0, 0, 1))]
    read = [(values[2], len(values[2])) for _, values, _ in read_events(enumerate(lines))]
    assert [count for _, count in read] == [2, 1]


@pytest.mark.parametrize(
    "line", [b"", b"no", b"1 m a 1 x", b"1760000000000000000 q a 1 x", b"1760000000000000000 M a 1 %"]
)
def test_a_line_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(DataError, match="no line of a capture"):
        list(read_events([(0, line)]))


_WRITER = """
import sys
from pathlib import Path
from bot.store.capture_files import CaptureWriter
writer = CaptureWriter(Path(sys.argv[1]))
n = 0
while True:
    writer.write(b"".join(b"%d %s\\n" % (n + k, b"x" * ((n * 7919 + k) % 300)) for k in range(50)))
    n += 50
    print(n, flush=True)
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_writer_leaves_whole_blocks(tmp_path: Path, seed: int) -> None:
    """Killed at a random moment: whatever was told to be written is there, in order, and nothing else."""
    path = tmp_path / "killed.capture.gz"
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = 0
    for _ in range(20 + 37 * seed):
        said = int(process.stdout.readline())
    process.kill()
    rest = process.stdout.read().split()
    said = int(rest[-1]) if rest and rest[-1].isdigit() else said
    process.stdout.close()
    process.wait()
    lines, _ = lines_of(path)
    assert said <= len(lines) <= said + 50
    assert [int(line.split()[0]) for line in lines] == list(range(len(lines)))


def test_reading_while_it_is_written_is_safe(tmp_path: Path) -> None:
    path = tmp_path / "open.capture.gz"
    writer = CaptureWriter(path)
    writer.write(b"one\n")
    assert lines_of(path) == ([b"one"], None)
    writer.close()


async def test_closing_waits_for_what_is_being_written(tmp_path: Path) -> None:
    """A recorder that is canceled in the middle of a write, then closed, has everything in a closed file."""
    thread, gate = WriterThread("recorder"), threading.Event()
    busy = asyncio.create_task(thread(lambda: gate.wait(10)))
    begun = asyncio.Event()

    async def off_loop(work: Callable[[], Any]) -> Any:
        begun.set()
        return await thread(work)

    recorder = CaptureRecorder(tmp_path, off_loop, flush_s=0.0)
    recorder.on_head(NOW_NS, b"{}")
    recorder.on_event("on_time", (NOW_NS + 1,), {})
    running = asyncio.create_task(recorder.run())
    await begun.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    closing = asyncio.create_task(recorder.close())
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(busy, closing)
    thread.close()
    assert recorder._writer is None
    (path,) = recorder.files
    assert [event for event, _, _ in read_events(CaptureLines(path))] == ["head", "on_time"]
