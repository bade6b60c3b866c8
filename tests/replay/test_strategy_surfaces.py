"""What each of several strategies brought, as report, page, chat and metrics say it: parts of one account."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from bot.app.dashboard import RunLibrary
from bot.app.runs import read_run
from bot.core.book_sums import sum_books
from bot.domain.operation import HeldPosition, StrategyBook
from bot.operator.metrics import Metrics
from bot.operator.telegram import answers
from bot.report.equity import equity_curve
from bot.report.metrics import compute_metrics
from bot.report.page import render
from bot.report.strategy_books import strategy_results
from bot.store.ledger_queries import LedgerHistory
from tests.replay.test_several_strategies import TWO, settings_of
from tests.support.operated import make_snapshot
from tests.support.replays import run


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trade half a day with two strategies; passive orders, so that some of it is under way while wishes change."""
    place = tmp_path_factory.mktemp("several")
    done = run(settings_of(place, place / "market", TWO, "execution.policy=passive", "execution.exit_within=1m"))
    return done.directory


def test_the_report_divides_the_account(directory: Path) -> None:
    """At every bar the strategies' profits are the account's; so are the sums at the end."""
    data = read_run(directory)
    metrics, curve = compute_metrics(data), equity_curve(data)
    results = strategy_results(data, curve.ts_ns)
    assert [each.name for each in results] == ["quick", "calm"]
    whole = sum(each.profit for each in results)
    assert whole[-1] == pytest.approx(metrics["net_pnl"], abs=1e-6)
    # An execution is booked a little after it happened, so bars in between may differ; nearly none do.
    late = abs(whole - (curve.equity - curve.equity[0])) > 1e-6
    assert late.mean() < 0.05
    assert sum(each["fees"] for each in metrics["strategies"]) == pytest.approx(metrics["fees"])
    assert sum(each["funding"] for each in metrics["strategies"]) == pytest.approx(metrics["funding"])
    page = render(data, metrics)
    assert '<section id="strategies"' in page
    assert '"name":"quick"' in page


def test_what_a_run_began_with_is_no_profit_of_its_own(directory: Path) -> None:
    """A book that held something before is valued from the run's first price on."""
    data = read_run(directory)
    ts_ns = equity_curve(data).ts_ns
    data.books_before["early", data.tape["instrument"].iloc[0]] = Decimal(2)
    early = strategy_results(data, ts_ns)[-1]
    assert early.name == "early"
    change = data.tape["close"].iloc[-1] - data.tape["open"].iloc[0]
    assert early.net_pnl == pytest.approx(2 * change)
    assert early.booked == 0


def test_the_chat_divides_the_ledger(directory: Path) -> None:
    """The past of the books, read at once or again, adds up to that of the account."""
    queries = LedgerHistory(str(directory))
    total, parts = queries.total(), queries.by_strategy()
    assert queries.by_strategy() == parts
    assert {each.name for each in parts} == {"quick", "calm"}
    assert sum(each.fees for each in parts) == total.fees
    assert sum(each.funding for each in parts) == total.funding
    assert all(each.trades > 0 for each in parts)
    text = answers.performance(queries.by_instrument(), "USDT", parts).body.split("\n")
    assert [line.split()[0] for line in text if line] == ["net", total_name(queries), "by", *(p.name for p in parts)]
    profit = answers.profit(make_snapshot(), total, queries.by_instrument(), parts).body
    assert all(f"of {each.name}" in profit for each in parts)


def total_name(queries: LedgerHistory) -> str:
    (only,) = queries.by_instrument()
    return only.name


def test_the_page_divides_the_run_and_names_owners(directory: Path) -> None:
    library = RunLibrary(directory.parent)
    books = library.run(directory.name)["books"]  # a name with a plus in it, too
    parts = {each.name: each for each in LedgerHistory(str(directory)).by_strategy()}
    assert [each["strategy"] for each in books] == ["quick", "calm"]
    for each in books:
        assert each["fees"] == pytest.approx(float(parts[each["strategy"]].fees))
        assert each["realized_pnl"] == pytest.approx(float(parts[each["strategy"]].realized_pnl))
        assert each["fills"] + each["crossings"] == parts[each["strategy"]].fills
    fills = library.trades(directory.name, 2**62, 1_000)
    assert all(sum(Decimal(qty) for _, qty in each["owners"]) == Decimal(each["qty"]) for each in fills)
    assert any(len(each["owners"]) == 2 for each in fills)


def _books() -> tuple[StrategyBook, ...]:
    def book(strategy: str, instrument: str, qty: str, mark: str | None, *money: str) -> StrategyBook:
        unrealized, realized, fees, funding = map(Decimal, money)
        position = HeldPosition(
            instrument=instrument,
            qty=Decimal(qty),
            entry_price=None,
            mark_price=None if mark is None else Decimal(mark),
            unrealized_pnl=unrealized,
            realized_pnl=realized,
            fees=fees,
            funding=funding,
        )
        return StrategyBook(strategy=strategy, position=position)

    return (
        book("quick", "BTCUSDT", "-0.5", "60000", "12", "5", "1", "0.25"),
        book("quick", "ETHUSDT", "0", None, "0", "-2", "0.5", "0"),
        book("calm", "BTCUSDT", "0.25", "60000", "-3", "1", "0.125", "0"),
    )


def test_sums_over_instruments_and_what_is_not_known() -> None:
    quick, calm = sum_books(_books())
    assert (quick.booked, quick.net) == (Decimal("1.75"), Decimal("13.75"))
    assert (calm.net, calm.holds) == (Decimal("-2.125"), (("BTCUSDT", Decimal("0.25")),))
    assert sum_books([_unpriced()])[0].net is None


def _unpriced() -> StrategyBook:
    first = _books()[0]
    return replace(first, position=replace(first.position, mark_price=None))


def test_a_running_bots_books_are_told_by_metrics_and_chat() -> None:
    view = make_snapshot(books=_books())
    text = Metrics(view).text().decode()
    assert 'bot_book_notional{instrument="BTCUSDT",strategy="quick"} -30000.0' in text
    assert 'bot_book_realized_pnl{instrument="ETHUSDT",strategy="quick"} -2.0' in text
    assert "bot_book_quantity{" not in Metrics(make_snapshot()).text().decode()
    status = answers.status(view).body
    assert "quick: +13.75 USDT, -0.5 BTCUSDT" in status
    assert "calm: -2.13 USDT" in status or "calm: -2.12 USDT" in status
    assert _line(answers.status(view, is_table=True).body, "calm")[1:3] in (["-2.13", "+0.88"], ["-2.12", "+0.88"])
    assert "of quick -0.5, calm 0.25" in answers.positions(view).body


def _line(text: str, name: str) -> Sequence[str]:
    (line,) = [line for line in text.split("\n") if line.startswith(name)]
    return line.split()
