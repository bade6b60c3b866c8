"""Several strategies on one account: one ledger in any cut, books that balance, and each alone in its own eyes."""

from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.app.replay_market import open_market
from bot.app.runs import audit, describe_ledger
from bot.domain.errors import ConfigError
from bot.runtime.settings import Settings
from tests.support.replays import rows, run, settings_with, small_market


def sma(label: str, fast: int, slow: int, scale: str, qty: str) -> dict[str, Any]:
    """Return the settings of one of them."""
    return {
        "name": "sma_cross",
        "label": label,
        "params": {"fast": fast, "slow": slow, "scale": scale, "qty": Decimal(qty)},
    }


TWO = [sma("quick", 3, 8, "1m", "0.2"), sma("calm", 4, 9, "1m", "0.5")]


def settings_of(out: Path, cache: Path, strategies: list[dict[str, Any]], *overrides: str) -> Settings:
    """Return a short replay's settings."""
    asked = [*small_market(cache), "run.end=2024-01-01T12:00:00Z", *overrides]
    return settings_with(out, asked).model_copy(
        update={"strategies": Settings(strategies=strategies).strategies}  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small market for all tests of this file."""
    return tmp_path_factory.mktemp("market")


def test_books_balance_in_any_cut(cache: Path, tmp_path: Path) -> None:
    """The books' moves add up to the account's fills, the check says so, and slabs change nothing."""
    passive = ("execution.policy=passive", "execution.exit_within=1m")
    done = [run(settings_of(tmp_path, cache, TWO, *passive, f"run.slab_rows={n}")) for n in (211, 10_000)]
    assert len({each.ledger_hash for each in done}) == 1
    assert not audit(done[0].directory).problems
    books: dict[str, Decimal] = defaultdict(Decimal)
    for strategy, side, qty in rows(done[0], "select strategy, side, qty from book_moves where cause <> 'funding'"):
        books[strategy] += Decimal(qty) * (1 if side == "buy" else -1)
    account = sum(
        Decimal(qty) * (1 if side == "buy" else -1) for side, qty in rows(done[0], "select side, qty from fills")
    )
    assert set(books) == {"quick", "calm"}
    assert sum(books.values()) == account
    shared = rows(done[0], "select shares from order_shares where shares like '%quick%' and shares like '%calm%'")
    assert shared  # the second wish joined the order of the first
    about = describe_ledger(done[0].directory)
    assert about["strategy quick"].startswith("net ")
    assert about["strategy"] == "quick+calm"


def test_each_decides_as_it_does_alone(cache: Path, tmp_path: Path) -> None:
    """What a strategy wishes follows from the bars and from its own book, whoever trades beside it."""

    def decisions(strategies: list[dict[str, Any]], name: str) -> list[tuple[int, str]]:
        done = run(settings_of(tmp_path, cache, strategies, "risk.mark_age_max=1h"))
        query = f"select bar_close_ns, action from decisions where strategy = '{name}' and trigger <> 'execution'"
        return rows(done, query)

    together = decisions(TWO, "calm")
    assert len(together) > 5
    assert together == decisions(TWO[1:], "calm")


def test_a_name_may_stand_for_one_alone(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two are called quick"):
        open_market(settings_of(tmp_path, cache, [TWO[0], TWO[0]]))
    with pytest.raises(ConfigError, match="net is the name of something else"):
        open_market(settings_of(tmp_path, cache, [TWO[0], TWO[1] | {"label": "net"}]))
