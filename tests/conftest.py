"""What all tests share: hypothesis, what is never garbage, logging, and what a pause of the machine excuses."""

import gc
import logging
import signal
import time
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from tests.support.standstill import Standstill

# `make test` draws the same examples each time for the same code, so that one commit is either green or red, and half
# as many (`tests.support.examples`); plain pytest and `make soak` draw new ones, which is how new faults are found.
settings.register_profile("same-each-time", derandomize=True, max_examples=50)

# Whole runs live here by the real clock, several times as fast as the venue. Where the machine does not run for a while
# (it is lent to others, too), what they wait for is over when they look: a failure then says nothing, and the test is
# begun again. One that fails while the machine runs has failed.
_PAUSE_S = 0.1  # half a second of most venues here
_AGAIN = 2

_standstill = Standstill()
_began_s = 0.0


def pytest_configure() -> None:
    """Hear Ctrl-C, and let what tests begin hear it: in the background of a script a shell has it ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have each test begun again where the machine stood still while it failed."""
    again = pytest.mark.flaky(reruns=_AGAIN, condition=_stood_still)
    for item in items:
        item.add_marker(again)


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every garbage collection to come: a tenth of the tests' time."""
    gc.collect()
    gc.freeze()
    _standstill.start()


def pytest_runtest_logstart() -> None:
    """Note when a test began."""
    global _began_s  # noqa: PLW0603
    _began_s = time.monotonic()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what failed in a pause and was begun again: a test that is named here each time hides something."""
    reports = terminalreporter.stats.get("rerun", [])
    if reports:
        terminalreporter.section("failed while the machine stood still, and were begun again")
    for report in reports:
        crash = getattr(report.longrepr, "reprcrash", None)
        why = crash.message.splitlines()[0] if crash is not None else "before or after the test itself"
        terminalreporter.write_line(f"{report.nodeid}: {why}")


def _stood_still() -> bool:
    return _standstill.longest_since(_began_s) >= _PAUSE_S


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Leave logging to the next test as this one found it: a command that was run here has set its own level."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
