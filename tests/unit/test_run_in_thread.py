"""Work in a thread of its own: its result, its errors, and how Ctrl-C reaches it."""

import contextlib
import os
import signal
import subprocess
import sys
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL])
def test_either_signal_is_heard_whatever_was_said_of_it_before(number: int, before: signal.Handlers) -> None:
    """Also where a shell's `&` has let the program ignore Ctrl-C; afterwards all is as it was."""
    kept = signal.signal(number, before)
    try:

        def work(flag: StopFlag) -> None:
            os.kill(os.getpid(), number)
            flag.wait(60)

        with pytest.raises(KeyboardInterrupt):
            run_in_thread(work)
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, kept)


def test_what_is_through_already_is_not_called_interrupted() -> None:
    """Who asks for the end when the work has just been done has its result."""

    def work(flag: StopFlag) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        with contextlib.suppress(Stopped):
            flag.wait(60)
        return "done"

    assert run_in_thread(work) == "done"


def test_work_that_does_not_end_is_left() -> None:
    """After the patience, with the exit code of a failure and without the interpreter's last words."""
    program = """
import os, signal, sys, threading
from bot.runtime.env import run_in_thread
def work(flag):
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()
try:
    run_in_thread(work, patience_s=0.05)
except KeyboardInterrupt:
    sys.exit("left")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "left\n")


def test_a_flag_once_set_ends_every_sleep() -> None:
    flag = StopFlag()
    flag.wait(0)
    flag.stop()
    for seconds in (0, 60):
        with pytest.raises(Stopped):
            flag.wait(seconds)
