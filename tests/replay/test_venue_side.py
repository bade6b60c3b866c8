"""Whole replays of what the venue keeps and does by itself: conditional orders, amendments, stops, a liquidation.

Every replay ends with our books held against the venue's own, so each of these also says that they agree.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from bot.app.replay import Replayed
from bot.app.runs import describe_ledger, read_run
from bot.domain.errors import InvariantBroken
from bot.domain.ledger import AmendIntended, LedgerEntry, OrderIntended, OrderReported, PositionCutBooked, StopsReported
from bot.domain.orders import OrderAmended, OrderTriggered, StopsChanged
from bot.report.metrics import compute_metrics
from bot.report.page import render
from bot.report.round_trips import fold_round_trips
from bot.report.run_data import RunData
from bot.store.audit import audit_run
from bot.store.run_reader import RunReader
from bot.venues.simulated.venue import SimulatedVenue
from tests.support.replays import NO_DELAYS, file_market, rows, run, settings_with, small_market
from tests.support.venue_side import cut

MINUTE_NS = 60_000_000_000
START_MS = 1_704_067_200_000  # 2024-01-01
LADDER = ("strategy.name=tests.support.venue_strategies:Ladder",)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the settings of a small sample market for all tests of this file."""
    return small_market(tmp_path_factory.mktemp("market"), days=2, trades_per_day=20_000)


@pytest.fixture(scope="module")
def ladder(market: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """Return a replay of a strategy that uses all there is."""
    return run(settings_with(tmp_path_factory.mktemp("ladder"), [*market, *LADDER]))


def entries(done: Replayed) -> list[LedgerEntry]:
    """Return the journal."""
    decoder: msgspec.json.Decoder[LedgerEntry] = msgspec.json.Decoder(LedgerEntry)  # type: ignore[arg-type]
    return [decoder.decode(body) for (body,) in rows(done, "select body from journal order by seq")]


def path_of(out: Path, prices: Sequence[float]) -> dict[str, Any]:
    """Return a market of minutes that each trade at one price."""
    minutes = np.arange(len(prices))
    frame = pd.DataFrame({"ts": START_MS + 60_000 * minutes, "volume": 1.0})
    for name in ("open", "high", "low", "close"):
        frame[name] = np.asarray(prices, dtype=float)
    frame.to_parquet(out / "bars.parquet", index=False)
    return file_market(out / "bars.parquet", "bars")


def complete(done: Replayed) -> RunData:
    """Return what the report is drawn from, with what the venue's fund made good."""
    reader = RunReader(done.directory)
    try:
        return replace(read_run(done.directory), adjustments=reader.frame("adjustments"))
    finally:
        reader.close()


# --- a strategy that uses all there is --------------------------------------------------------------------------------


def test_all_of_it_happens_and_the_books_hold(ladder: Replayed) -> None:
    """Entries by trigger and by amended limit, exits by the venue: each occurs, and an audit finds nothing wrong."""
    assert audit_run(ladder.directory).problems == []
    kinds = dict(rows(ladder, "select kind, count(*) from order_events group by kind"))
    assert kinds["OrderTriggered"] > 2
    assert kinds["OrderAmended"] > 5
    causes = dict(rows(ladder, "select cause, count(*) from fills where cause is not null group by cause"))
    assert causes["stop_loss"] > 2
    assert causes["take_profit"] > 0
    assert causes["trailing_stop"] > 0
    stops = rows(ladder, "select count(*), count(stop_loss), count(take_profit) from stops")[0]
    assert stops[0] > stops[1] > stops[2] > 0  # set, and gone again
    assert rows(ladder, "select count(*) from orders where status not in ('filled', 'canceled')")[0][0] <= 2


def test_nothing_is_answered_that_was_not_asked_first(ladder: Replayed) -> None:
    """An amendment is in the ledger before the venue's answer, and makes the order what was asked for."""
    asked: dict[str, AmendIntended] = {}
    placed: dict[str, OrderIntended] = {}
    answers = 0
    for entry in entries(ladder):
        match entry:
            case OrderIntended():
                placed[entry.order.client_order_id] = entry
            case AmendIntended():
                assert entry.amend.client_order_id in placed
                asked[entry.amend.client_order_id] = entry
            case OrderReported(event=OrderAmended() as event):
                amend = asked[event.client_order_id].amend
                assert event.qty == (amend.qty or event.qty)
                assert event.limit_price == (amend.limit_price or event.limit_price)
                assert event.ts_event_ns > asked[event.client_order_id].ts_ns
                answers += 1
            case OrderReported(event=OrderTriggered() as event):
                assert placed[event.client_order_id].order.trigger is not None
    assert answers == len([entry for entry in entries(ladder) if isinstance(entry, AmendIntended)])


def test_a_stop_is_hit_at_its_price(ladder: Replayed) -> None:
    """What a stop loss sells at is at most the price that the venue said it kept, less the way to the next trade."""
    told = [e.event for e in entries(ladder) if isinstance(e, StopsReported) and isinstance(e.event, StopsChanged)]
    cuts = [e.cut for e in entries(ladder) if isinstance(e, PositionCutBooked) and e.cut.cause == "stop_loss"]
    assert len(cuts) > 2
    for cut_ in cuts:
        before = [event for event in told if event.ts_event_ns < cut_.ts_event_ns and event.stop_loss is not None]
        kept = max(before, key=lambda event: event.ts_event_ns).stop_loss
        assert kept is not None
        assert 0 <= kept - cut_.price < kept * Decimal("0.003")


@pytest.mark.parametrize("slab_rows", [11, 97])
def test_slab_size_changes_nothing(slab_rows: int, ladder: Replayed, market: Sequence[str], tmp_path: Path) -> None:
    done = run(settings_with(tmp_path, [*market, *LADDER, f"run.slab_rows={slab_rows}"]))
    assert done.ledger_hash == ladder.ledger_hash


@pytest.mark.parametrize(
    "delays",
    [
        NO_DELAYS,
        ("delays.order=2s", "delays.order_tail=5s", "delays.answer=1s", "delays.answer_tail=20s"),
    ],
    ids=["none", "long"],
)
def test_whatever_overtakes_what_the_books_agree(delays: Sequence[str], market: Sequence[str], tmp_path: Path) -> None:
    """With answers that take up to minutes, events come in any order, and some not before the end."""
    done = run(settings_with(tmp_path, [*market, *LADDER, *delays]))
    assert audit_run(done.directory).problems == []
    assert rows(done, "select count(*) from fills where cause is not null")[0][0] > 2


def test_the_report_names_what_the_venue_kept(ladder: Replayed) -> None:
    data = read_run(ladder.directory)
    metrics = compute_metrics(data)
    assert metrics["venue_executions"]["stop_loss"] > 2
    assert metrics["liquidations"] == 0
    assert metrics["fills_without_mark"] == 0
    assert metrics["unexplained_pnl"] == pytest.approx(0, abs=1e-6)
    closed = [trip for trip in fold_round_trips(data) if not trip.is_open]
    assert {trip.exit_reason for trip in closed if trip.exit_cause == "stop_loss"} == {"stop loss, kept by the venue"}
    page = render(data, metrics)
    assert "stop loss, kept by the venue" in page
    assert "Liquidated" not in page


def test_the_example_of_the_tutorial_trades(market: Sequence[str], tmp_path: Path) -> None:
    """It waits, follows, is filled, trailed and cut, and stays away."""
    path = Path(__file__).resolve().parents[2] / "docs" / "examples" / "patient.py"
    asked = [f"strategy.name={path}:Patient", "strategy.params.scale=15m", "strategy.params.distance=0.003"]
    done = run(settings_with(tmp_path, [*market, *asked, "strategy.params.pause=2h"]))
    assert audit_run(done.directory).problems == []
    kinds = dict(rows(done, "select kind, count(*) from intents group by kind"))
    assert kinds.keys() == {"submit", "amend", "stops"}
    causes = dict(rows(done, "select cause, count(*) from fills where cause is not null group by cause"))
    assert causes["trailing_stop"] > 0


# --- exits of a built-in strategy, kept at the venue ------------------------------------------------------------------

SMA = (
    "strategy.name=sma_cross",
    "strategy.params.fast=3",
    "strategy.params.slow=9",
    "strategy.params.qty=0.5",
)


def test_exits_can_be_kept_at_the_venue(market: Sequence[str], tmp_path: Path) -> None:
    """The same stop leaves at its price and by itself, where the strategy's own leaves at the next close after it."""
    exits = "stop_loss=0.001, take_profit=0.002"
    own = run(settings_with(tmp_path, [*market, *SMA, f"strategy.params.exits={{{exits}}}"]))
    kept = run(settings_with(tmp_path, [*market, *SMA, f'strategy.params.exits={{{exits}, at="venue"}}']))
    assert rows(own, "select count(*) from fills where cause is not null") == [(0,)]
    causes = dict(rows(kept, "select cause, count(*) from fills where cause is not null group by cause"))
    assert causes.keys() == {"stop_loss", "take_profit"}
    assert audit_run(kept.directory).problems == []
    found = {
        name: [float(t.return_on_entry) for t in fold_round_trips(read_run(done.directory)) if not t.is_open]
        for name, done in (("own", own), ("kept", kept))
    }
    assert min(found["kept"]) > min(found["own"])  # a stop that is hit within the bar loses less
    assert rows(kept, "select max(position_qty + 0) from fills") == [(0.5,)]


def test_exits_at_the_venue_do_not_depend_on_slabs(market: Sequence[str], tmp_path: Path) -> None:
    asked = 'strategy.params.exits={stop_loss=0.001, break_even=0.001, time_limit="1h", at="venue"}'
    hashes = {
        run(settings_with(tmp_path, [*market, *SMA, asked, f"run.slab_rows={slab_rows}"])).ledger_hash
        for slab_rows in (97, 10_000)
    }
    assert len(hashes) == 1


# --- a liquidation ----------------------------------------------------------------------------------------------------

RECKLESS = (
    *NO_DELAYS,
    "account.cash=10000",
    "account.leverage=10",
    "strategy.name=buy_and_hold",
    "strategy.params.notional=60000",
    "risk.leverage_max=20",
    "risk.order_notional_max=1000000",
    "risk.position_notional_max=1000000",
    "protections.drawdown_reduce=0",
    "protections.drawdown_halt=0",
    "protections.daily_loss_reduce=0",
    "protections.daily_loss_halt=0",
)


@pytest.fixture(scope="module")
def liquidated(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """Return a replay with six times the equity at stake, of a market that loses a third at once."""
    out = tmp_path_factory.mktemp("liquidated")
    return run(settings_with(out, RECKLESS, path_of(out, [100.0] * 60 + [99.0] * 30 + [66.0] * 90)))


def test_a_liquidation_is_booked_like_any_execution(liquidated: Replayed) -> None:
    """The position is gone and so is the money, but for what the tick of the price leaves; who held most may owe."""
    assert audit_run(liquidated.directory).problems == []
    taken = rows(liquidated, "select cause, side, position_qty, client_order_id from fills order by seq")
    assert taken[0][0] is None
    assert taken[-1] == ("liquidation", "sell", "0", "")
    told = describe_ledger(liquidated.directory)
    assert 0 <= Decimal(str(told["balance cash"]).split()[0]) < 100
    fund = [Decimal(amount) for (amount,) in rows(liquidated, "select amount from adjustments")]
    assert -sum(fund, Decimal(0)) == Decimal(str(told.get("balance insurance", "0 USDT")).split()[0])


def test_a_liquidation_cannot_be_overlooked(liquidated: Replayed) -> None:
    """An error in the log; in the report a banner, a line, a marked row and a mark on the chart."""
    log = (liquidated.directory / "log.jsonl").read_text(encoding="utf-8")
    (line,) = [line for line in log.splitlines() if "position.taken" in line]
    assert msgspec.json.decode(line)["level"] == "error"
    data = complete(liquidated)
    metrics = compute_metrics(data)
    assert metrics["liquidations"] == 1
    assert metrics["venue_executions"]["liquidation"] >= 1
    assert 0 <= metrics["end_equity"] < 100
    assert metrics["unexplained_pnl"] == pytest.approx(0, abs=1e-6)
    page = render(data, metrics)
    assert "Liquidated: the venue took 1 position" in page
    assert "1 of them liquidated by the venue" in page
    assert 'tr class="taken"' in page
    assert '<span class="taken">liquidated</span>' in page
    assert '"name":"Liquidated"' in page.replace(" ", "")


def test_a_stop_at_the_venue_comes_before_the_liquidation(tmp_path: Path) -> None:
    """Where the market does not leap, a stop of two in a hundred keeps most of the money that the reckless lose."""
    rise, fall = np.linspace(99, 100, 20), np.linspace(100, 70, 120)
    prices = [99.0] * 60 + [round(price, 1) for price in [*rise, *fall]] + [70.0] * 30
    asked = [each for each in RECKLESS if not each.startswith("strategy")]
    asked += ["strategy.name=tests.support.venue_strategies:Stubborn", "strategy.params.qty=600"]
    ends = {}
    for stop, causes in (("0", {"liquidation"}), ("0.02", {"stop_loss"})):
        settings = settings_with(tmp_path, [*asked, f"strategy.params.stop={stop}"], path_of(tmp_path, prices))
        done = run(settings)
        assert {row[0] for row in rows(done, "select cause from fills where cause is not null")} == causes
        assert audit_run(done.directory).problems == []
        ends[stop] = compute_metrics(complete(done))["end_equity"]
    assert ends["0"] < 500
    assert 8_000 < ends["0.02"] < 9_500


# --- our books against the venue's ------------------------------------------------------------------------------------


def test_books_that_differ_end_the_run(market: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One execution that only the venue knows of: the message names both sides, and the run is no run."""
    monkeypatch.setattr(SimulatedVenue, "untold", lambda self: [cut(instrument="SAMPLEUSDT", qty="0.25")])
    with pytest.raises(InvariantBroken) as broken:
        run(settings_with(tmp_path, [*market, *SMA]))
    assert "of SAMPLEUSDT we hold" in str(broken.value)
    assert "cash less the cost of open positions is" in str(broken.value)
    (directory,) = [path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()]
    assert not (directory / "ledger.sqlite").exists()
    assert (directory / "ledger.sqlite.part").exists()
