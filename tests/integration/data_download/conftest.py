"""A local Bybit with history, and its market, for every test of downloads."""

from collections.abc import Iterator

import pytest

from tests.support.bybit_history_server import HistoryServer, Market, serving
from tests.support.downloads import MS, NOW
from tests.support.waits import NoWaiting


@pytest.fixture(autouse=True, scope="module")
def no_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="module")
def running() -> Iterator[HistoryServer]:
    with serving(now_ms=NOW) as started:
        yield started


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
def server(running: HistoryServer, market: Market) -> HistoryServer:
    running.reset(market, now_ms=NOW)
    return running


@pytest.fixture
def waiting() -> NoWaiting:
    return NoWaiting(NOW * MS)
