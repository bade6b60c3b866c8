"""Work in a thread of its own: its result, its errors, and how Ctrl-C reaches it."""

import os
import signal
import threading

import pytest

from bot.domain.errors import DataError
from bot.runtime.env import StopFlag, Stopped, run_in_thread


def test_the_result_comes_back() -> None:
    assert run_in_thread(lambda flag: threading.current_thread() is not threading.main_thread())


def test_an_error_comes_back_as_it_is() -> None:
    def work(flag: StopFlag) -> None:
        raise DataError("what to do")

    with pytest.raises(DataError, match="what to do"):
        run_in_thread(work)


def test_ctrl_c_ends_a_sleep_and_waits_for_the_work_to_end() -> None:
    """What the work does on its way out is done before the caller goes on."""
    ended = []

    def work(flag: StopFlag) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            flag.wait(60)
        finally:
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        run_in_thread(work)
    assert ended == [True]


def test_a_flag_once_set_ends_every_sleep() -> None:
    flag = StopFlag()
    flag.wait(0)
    flag.stop()
    for seconds in (0, 60):
        with pytest.raises(Stopped):
            flag.wait(seconds)
