"""Laws of cutting frames: what is read is what the library reads, wherever the bytes were cut, and nothing is lost."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from bot.venues.bybit.plain_frames import PlainFrames
from tests.support.examples import examples

BYTES_MAX = 300
LONG = 70_000  # takes a length of eight bytes

sizes = st.sampled_from([0, 1, 125, 126, 127, 200])  # room is left for a ping between fragments
messages = st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), sizes, st.integers(1, 3))
controls = st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG]), st.sampled_from([0, 5, 125]), st.just(1))


def frames_of(kind: Opcode, size: int, parts: int, dice: random.Random) -> list[Frame]:
    """Return a message in so many fragments."""
    data = dice.randbytes(size)
    edges = [0, *sorted(dice.randint(0, size) for _ in range(parts - 1)), size]
    return [
        Frame(kind if part == 0 else Opcode.CONT, data[start:stop], fin=part == parts - 1)
        for part, (start, stop) in enumerate(itertools.pairwise(edges))
    ]


def opened(bytes_max: int) -> ClientProtocol:
    return ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=bytes_max)


def read_by_library(parts: list[bytes], bytes_max: int) -> tuple[list[Frame], State]:
    protocol = opened(bytes_max)
    found: list[Frame] = []
    for part in parts:
        protocol.receive_data(part)
        found += [event for event in protocol.events_received() if isinstance(event, Frame)]
    return found, protocol.state


def read_by_both(parts: list[bytes], bytes_max: int) -> tuple[list[Frame], State, int]:
    """Return what is read, the library's state after it, and how many frames were plain."""
    protocol, frames = opened(bytes_max), PlainFrames(bytes_max)
    found: list[Frame] = []
    plain = 0
    is_fragment = False
    for part in parts:
        for start, frame in frames.cut(part):
            if start and not is_fragment and protocol.state is State.OPEN:
                found.append(Frame(Opcode(frame[0] & 15), frame[start:]))
                plain += 1
                continue
            protocol.receive_data(frame)
            for event in protocol.events_received():
                assert isinstance(event, Frame)
                found.append(event)
                if event.opcode in DATA_OPCODES:
                    is_fragment = not event.fin
    return found, protocol.state, plain


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


@given(
    wanted=st.lists(messages | controls, max_size=8),
    seed=st.integers(0, 999),
    places=st.lists(st.integers(0, 10_000), max_size=12),
)
@settings(max_examples=examples(100), deadline=None)
def test_what_is_read_is_what_the_library_reads(
    wanted: list[tuple[Opcode, int, int]], seed: int, places: list[int]
) -> None:
    """Whole messages, fragments and control frames among them, wherever the reads end, also byte by byte."""
    dice = random.Random(seed)
    sent: list[Frame] = []
    for kind, size, count in wanted:
        frames = frames_of(kind, size, count, dice)
        if count > 1 and dice.random() < 0.5:
            frames.insert(dice.randint(1, count - 1), Frame(Opcode.PING, b"between"))
        sent += frames
    data = b"".join(frame.serialize(mask=False) for frame in sent)
    expected, state = read_by_library([data], BYTES_MAX)
    assert expected == sent
    for parts in (cut(data, places), [data[at : at + 1] for at in range(len(data))]):
        found, same, plain = read_by_both(parts, BYTES_MAX)
        assert found == expected
        assert same is state
        assert plain == sum(frame.fin and frame.opcode in (Opcode.TEXT, Opcode.BINARY) for frame in sent)


@given(data=st.binary(max_size=60), before=st.integers(0, 3), places=st.lists(st.integers(0, 100), max_size=4))
@settings(max_examples=examples(150), deadline=None)
def test_junk_is_the_library_s_to_refuse(data: bytes, before: int, places: list[int]) -> None:
    """Any bytes, behind whole messages: the same is read, and the connection ends the same."""
    whole = b"".join(Frame(Opcode.TEXT, b"%d" % number).serialize(mask=False) for number in range(before))
    expected, state = read_by_library([whole + data], BYTES_MAX)
    found, same, _ = read_by_both(cut(whole + data, places), BYTES_MAX)
    assert found == expected
    # The library refuses a bad frame by its head; we may wait until it is whole.
    passed_on = sum(len(frame) for _, frame in PlainFrames(BYTES_MAX).cut(whole + data))
    assert same is state or passed_on < len(whole + data)


@pytest.mark.parametrize("step", [1, 1_000, 10**6])
def test_long_messages(step: int) -> None:
    data = random.Random(1).randbytes(LONG)
    raw = Frame(Opcode.TEXT, data).serialize(mask=False) * 2
    parts = [raw[at : at + step] for at in range(0, len(raw), step)]
    found, _, plain = read_by_both(parts, LONG)
    assert [frame.data for frame in found] == [data, data]
    assert plain == 2


def test_a_message_beyond_the_limit_is_refused_by_its_head_alone() -> None:
    raw = Frame(Opcode.TEXT, bytes(BYTES_MAX + 1)).serialize(mask=False)
    found, state, _ = read_by_both([raw[:4]], BYTES_MAX)
    assert found == []
    assert state is not State.OPEN


@given(places=st.lists(st.integers(0, 200), max_size=5), behind=st.binary(max_size=20))
@settings(max_examples=examples(50), deadline=None)
def test_what_follows_the_handshake_is_told_apart(places: list[int], behind: bytes) -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    frames = PlainFrames(BYTES_MAX)
    heads, rest = b"", b""
    for part in cut(head + behind, places):
        if heads.endswith(b"\r\n\r\n"):
            rest += part
            continue
        own, other = frames.split_head(part)
        heads += own
        rest += other
    assert (heads, rest) == (head, behind)
