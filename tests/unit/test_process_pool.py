"""A pool of processes: every line comes home once, no more run than may, and none is left behind."""

import os

import pytest

from bot.runtime.env import core_count
from bot.runtime.processes import ProcessPool

MODULE = "tests.support.pool_process"


def heard(pool: ProcessPool) -> dict[int, list[bytes | None]]:
    lines: dict[int, list[bytes | None]] = {}
    for number, line in pool.lines():
        lines.setdefault(number, []).append(line)
    return lines


def test_every_line_of_every_job_comes_home() -> None:
    """Also those of more jobs than run at once, and one longer than a pipe; what has no end is no line."""
    pool = ProcessPool(MODULE, [b"say a b c", b"leave", b"long 300000", b"say d"], at_once=2)
    assert heard(pool) == {0: [b"a", b"b", b"c", None], 1: [None], 2: [b"x" * 300_000, None], 3: [b"d", None]}


def test_no_more_run_than_may() -> None:
    """The second begins when the first has ended."""
    pool = ProcessPool(MODULE, [b"say a", b"say b"], at_once=1)
    assert [number for number, _ in pool.lines()] == [0, 0, 1, 1]


def test_a_process_that_never_reads() -> None:
    """A job of more than a pipe holds does not hold the pool up."""
    pool = ProcessPool("tests.support.no_such_module", [b"x" * 1_000_000])
    assert heard(pool) == {0: [None]}


def test_stopping_is_answered_and_starts_no_more() -> None:
    pool = ProcessPool(MODULE, [b"wait", b"wait", b"say never"], at_once=2)
    waiting = 0
    for _, line in pool.lines():
        waiting += line == b"waiting"
        if waiting == 2:
            break
    pool.stop()
    assert heard(pool) == {0: [b"stopped", None], 1: [b"stopped", None]}


def test_closing_ends_what_will_not_stop() -> None:
    pool = ProcessPool(MODULE, [b"stubborn"])
    assert next(pool.lines()) == (0, b"waiting")
    pool.stop()
    pool.close()
    assert heard(pool) == {}


def test_at_once_is_the_cores_by_default() -> None:
    assert 1 <= core_count() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_pool_is_done_when_its_processes_are(jobs: int) -> None:
    assert len(heard(ProcessPool(MODULE, [b"leave"] * jobs))) == jobs
