"""What all tests share: how hypothesis draws, what is never garbage, and logging as it is before it is configured."""

import gc
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# `make test` draws the same examples each time for the same code, so that one commit is either green or red, and half
# as many (`tests.support.examples`); plain pytest and `make soak` draw new ones, which is how new faults are found.
settings.register_profile("same-each-time", derandomize=True, max_examples=50)


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every garbage collection to come: a tenth of the tests' time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Leave logging to the next test as this one found it: a command that was run here has set its own level."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
