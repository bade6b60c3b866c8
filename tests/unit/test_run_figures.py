"""What is measured of a run: latencies, outcomes of orders, lived coverage, the machine's memory."""

import math
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.latency_window import LatencyWindow
from bot.core.lived_coverage import LEAST, LivedCoverage
from bot.core.outcomes import OutcomeScan
from bot.core.run_tally import RunTally
from bot.domain.instrument import Side
from bot.domain.ledger import (
    DoubtOpened,
    FillBooked,
    IntentDropped,
    LedgerEntry,
    OrderIntended,
    OrderReported,
    RequestAnswered,
    RequestSigned,
    RiskDenied,
)
from bot.domain.market import GAP, BarBatch, ForecastBatch
from bot.domain.orders import OrderAccepted, OrderCanceled, OrderFilled, OrderType, SubmitOrder, TimeInForce
from bot.runtime.machine import current_memory_bytes, read_gpu_memory
from tests.support.batches import INSTRUMENT
from tests.support.examples import examples

SECOND = 1_000_000_000


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=200))
def test_a_quantile_is_never_below_the_true_one_and_at_most_a_sixteenth_above(values: list[int]) -> None:
    window = LatencyWindow()
    for value in values:
        window.note(value, now_ns=0)
    count, median, high, worst = window.figures(0)
    assert (count, worst) == (len(values), max(values))
    for told, share in ((median, 0.5), (high, 0.99)):
        true = sorted(values)[math.ceil(share * len(values)) - 1]
        assert true <= told <= min(true + true // 16 + 1, worst)


def test_figures_forget_what_is_two_spans_old() -> None:
    window = LatencyWindow(span_ns=10)
    window.note(1_000, now_ns=100)
    window.note(-5, now_ns=112)  # two clocks that differ
    assert window.figures(115) == (2, 0, 1_000, 1_000)
    assert window.figures(123) == (1, 0, 0, 0)
    assert window.figures(500) == (0, 0, 0, 0)


def create(name: str, ts_ns: int) -> list[LedgerEntry]:
    order = SubmitOrder(
        client_order_id=name,
        order_number=1,
        instrument="XUSDT",
        side=Side.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal(1),
        limit_price=None,
        time_in_force=TimeInForce.IOC,
        reduce_only=False,
    )
    return [
        OrderIntended(ts_ns=ts_ns, decision_id=1, mark_price=Decimal(1), order=order),
        signed("create", name, ts_ns),
    ]


def signed(kind: str, name: str, ts_ns: int) -> RequestSigned:
    return RequestSigned(
        ts_ns=ts_ns,
        request=f"{kind}:{name}:1",
        client_order_id=name,
        instrument="XUSDT",
        attempt=1,
        signed_ms=1,
        recv_window_ms=1,
        channel="rest",
        content_hash="",
    )


def answered(name: str, ts_ns: int, kind: str = "accepted") -> RequestAnswered:
    return RequestAnswered(ts_ns=ts_ns, request=f"create:{name}:1", attempt=1, kind=kind)


def filled(name: str, ts_ns: int, status: str) -> FillBooked:
    fill = OrderFilled(
        ts_event_ns=ts_ns,
        ts_recv_ns=ts_ns,
        client_order_id=name,
        instrument="XUSDT",
        trade_id="1",
        side=Side.BUY,
        price=Decimal(1),
        qty=Decimal(1),
        fee=Decimal(0),
        is_maker=False,
    )
    return FillBooked(
        ts_ns=ts_ns, status=status, fill=fill, position_qty=Decimal(1), realized_pnl=Decimal(0), postings=()
    )


def counts(tally: RunTally) -> dict[str, int]:
    return {f"{each.name}{''.join(value for _, value in each.labels)}": each.value for each in tally.counters()}


def test_an_order_ends_once_and_the_first_word_of_the_venue_is_its_ack() -> None:
    """The stream may be faster than the answer, an unknown outcome is no answer, and ends are told twice."""
    tally = RunTally()
    tally.see([*create("a", 0), filled("a", 5, "filled"), answered("a", 9), filled("a", 11, "filled")])
    assert tally.decision_to_ack.figures(0)[0::3] == (1, 5)
    tally.see([*create("b", 20), answered("b", 30, "unknown")])
    accepted = OrderAccepted(ts_event_ns=0, ts_recv_ns=0, client_order_id="b", instrument="XUSDT", venue_order_id="1")
    canceled = OrderCanceled(ts_event_ns=0, ts_recv_ns=0, client_order_id="b", instrument="XUSDT", reason="")
    tally.see([OrderReported(ts_ns=70, status="open", event=accepted)])
    tally.see([OrderReported(ts_ns=80, status="canceled", event=canceled)] * 2)
    assert tally.decision_to_ack.figures(0)[0::3] == (2, 50)
    found = counts(tally)
    assert (found["orders_totalfilled"], found["orders_totalcanceled"], found["fills_total"]) == (1, 1, 2)
    assert (found["answers_totalaccepted"], found["answers_totalunknown"]) == (1, 1)


def test_a_cancel_that_is_dropped_drops_no_order() -> None:
    tally = RunTally()
    tally.see([*create("a", 0), signed("cancel", "a", 1)])
    tally.see([IntentDropped(ts_ns=2, request="cancel:a:1", client_order_id="a", instrument="XUSDT", why="")])
    assert counts(tally)["orders_totaldropped"] == 0
    tally.see([IntentDropped(ts_ns=3, request="create:a:1", client_order_id="a", instrument="XUSDT", why="")])
    assert counts(tally)["orders_totaldropped"] == 1


def test_refusals_and_doubts_are_counted_by_their_codes() -> None:
    tally = RunTally()
    tally.see([RiskDenied(ts_ns=1, decision_id=1, instrument="XUSDT", code="IN_DOUBT", detail="")] * 3)
    tally.see([DoubtOpened(ts_ns=1, request="create:a:1", client_order_id="a", instrument="XUSDT", why="")])
    found = counts(tally)
    assert (found["denials_totalIN_DOUBT"], found["doubts_opened_total"], found["doubts_resolved_total"]) == (3, 1, 0)
    assert found["ledger_entries_totalRiskDenied"] == 3


def bars(ticks: list[int], *, first: int = 0, gaps: tuple[int, ...] = ()) -> BarBatch:
    count = len(ticks)
    column = np.array(ticks, dtype=np.int64)
    open_ns = (np.arange(count, dtype=np.int64) + first) * SECOND
    flags = np.zeros(count, dtype=np.uint8)
    flags[list(gaps)] = GAP
    zeros = np.zeros(count, dtype=np.int64)
    return BarBatch(
        instrument=INSTRUMENT,
        scale_ns=SECOND,
        first_row=first,
        open_ns=open_ns,
        known_ns=open_ns + SECOND,
        open_ticks=column,
        high_ticks=column,
        low_ticks=column,
        close_ticks=column,
        volume_steps=zeros,
        turnover=zeros,
        count=zeros,
        buy_steps=zeros,
        flags=flags,
    )


def forecasts(of: BarBatch, half_width: float, model_id: str = "m") -> ForecastBatch:
    count = len(of)
    band = np.array([-half_width, 0.0, half_width])
    return ForecastBatch(
        instrument=INSTRUMENT,
        first_row=0,
        model_id=model_id,
        scale_ns=SECOND,
        horizons_ns=(SECOND, 3 * SECOND),
        levels=(0.05, 0.5, 0.95),
        scales_ns=(SECOND,),
        bar_row=np.arange(count, dtype=np.int64),
        close_ns=of.close_ns,
        known_ns=of.known_ns,
        quantiles=np.tile(band, (count, 2, 1)),
        importance=np.ones((count, 1)),
    )


@settings(deadline=None, max_examples=examples(40))  # the labels' loop is compiled once
@given(
    st.lists(st.integers(900, 1_100), min_size=LEAST + 10, max_size=120),
    st.sets(st.integers(0, 39), max_size=4),
    st.floats(0.001, 0.2),
    st.booleans(),
)
def test_lived_coverage_is_what_outcomes_say(
    ticks: list[int], gaps: set[int], half_width: float, is_forecast_late: bool
) -> None:
    """It agrees with the labels that models are trained on, holes included, bar by bar."""
    whole = bars(ticks, gaps=tuple(gaps))
    lived = LivedCoverage()
    lived.see_forecasts(forecasts(whole.rows(0, 0), half_width))
    for row in range(len(whole)):
        steps = [lambda n=row: lived.see_forecasts(forecasts(whole.rows(n, n + 1), half_width))]
        steps.append(lambda n=row: lived.see_bars(whole.rows(n, n + 1)))
        for step in reversed(steps) if is_forecast_late else steps:
            step()
    outcomes = OutcomeScan(INSTRUMENT, scale_ns=SECOND, horizons_ns=(SECOND, 3 * SECOND)).scan(whole)
    for number, told in enumerate(lived.by_horizon):
        values = outcomes.value[(outcomes.horizon == number) & np.isfinite(outcomes.value)]
        if len(values) < LEAST:
            assert math.isnan(told)
        else:
            assert told == np.mean(np.abs(values) <= half_width)


def test_lived_coverage_begins_anew_with_another_model_and_survives_holes() -> None:
    lived = LivedCoverage()
    flat = bars([1_000] * 60)
    lived.see_forecasts(forecasts(flat, 0.01))
    lived.see_bars(flat)
    lived.see_bars(flat)  # the past told again
    assert lived.by_horizon == (1.0, 1.0)
    lived.see_bars(bars([2_000] * 3, first=100))  # no outcome reaches over the hole
    assert lived.by_horizon == (1.0, 1.0)
    lived.see_forecasts(forecasts(flat, 0.01, "another"))
    assert all(map(math.isnan, lived.by_horizon))


_NVML = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned number, void **handle) {
    *handle = (void *)(long)(number + 1); return number == 1;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory *told) {
    told->total = 80ull << 30; told->used = (unsigned long long)(long)handle << 30; told->free = 0; return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to make a driver's library with")
def test_gpu_memory_is_asked_of_the_driver(tmp_path: Path) -> None:
    """By the library's own calling convention: a card that does not answer is left out, as is a failing driver."""
    for init in (0, 1):
        made = tmp_path / f"nvml{init}.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", f"-DINIT={init}", "-x", "c", "-", "-o", str(made)],
            input=_NVML.encode(),
            check=True,
        )
    found = read_gpu_memory(str(tmp_path / "nvml0.so"))
    assert [(each.number, each.used >> 30, each.total >> 30) for each in found] == [(0, 1, 80), (2, 3, 80)]
    assert read_gpu_memory(str(tmp_path / "nvml1.so")) == ()
    assert read_gpu_memory("libthere-is-none.so.1") == ()


def test_the_process_holds_memory() -> None:
    assert 10 << 20 < current_memory_bytes() < 1 << 40
