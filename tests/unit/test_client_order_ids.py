"""Client order ids: of one width, never twice, and what they tell of themselves."""

import re
from pathlib import Path
from typing import Any

import pytest

from bot.core.submission.ids import ClientOrderIds, parse_id, taken
from bot.domain.errors import ConfigError
from strategies.registry import find_strategy

ID = re.compile(r"[A-Za-z0-9_-]{1,36}")


@pytest.mark.parametrize("strategy", ["a", "sma_cross", "buy-and-hold", "an_exceedingly_long_strategy_name", "X1"])
@pytest.mark.parametrize("epoch", [0, 1, 999_999])
def test_ids_are_unique_of_one_width_and_fit_the_venue(strategy: str, epoch: int) -> None:
    """At most 36 characters of [A-Za-z0-9_-], as Bybit allows, the same width for each order of every strategy."""
    ids = ClientOrderIds(environment="r", epoch=epoch)
    named = [ids.next(strategy) for _ in range(1000)] + [ids.next("other")]
    names = [name for name, _ in named]
    assert len(set(names)) == len(names)
    assert len({len(name) for name in names}) == 1
    assert all(ID.fullmatch(name) for name in names)
    assert [number for _, number in named] == list(range(1, 1002))


@pytest.mark.parametrize("strategy", ["sma.cross", "mein Größter", "a/b", "名前", "äöü", "x" * 13, "tab\t", "ok_1"])
def test_a_strategy_whose_name_the_venue_would_not_take_is_refused_or_renamed(strategy: str, tmp_path: Path) -> None:
    """Whoever names a strategy, either its name is refused at the start or its orders' ids are [A-Za-z0-9_-]."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from strategies.base import Strategy, StrategyParams\n\n\n"
        f"class Mine(Strategy):\n    name = {strategy!r}\n\n    class Params(StrategyParams):\n        pass\n",
        encoding="utf-8",
    )
    try:
        name = find_strategy(f"{file}:Mine").name
    except ConfigError:
        return
    assert ID.fullmatch(ClientOrderIds(environment="r", epoch=0).next(name)[0])


def test_ids_never_meet_across_epochs_and_environments() -> None:
    """Another start of the bot, or another environment, names none of its orders like this one."""
    names = {
        ClientOrderIds(environment=environment, epoch=epoch).next("s")[0]
        for environment in "rplt"
        for epoch in (0, 1, 10, 100)
    }
    assert len(names) == 16


def test_ids_tell_what_they_are_and_go_on_beyond_all_that_is_known() -> None:
    ids = ClientOrderIds(environment="l", epoch=7)
    first, _ = ids.next("a.strange name/of many")
    parsed = parse_id(first)
    assert parsed is not None
    assert (parsed.environment, parsed.epoch, parsed.count) == ("l", 7, 1)
    assert len(first) == 30
    ledger, venue = [first], ["l000009-sma_________-000000040", "somebody-else", "t000050-sma_________-000900000"]
    assert taken(ledger + venue, environment="l") == (9, 1_040)
    assert taken(["mine"], environment="l") == (0, 0)
    later, number = ClientOrderIds(environment="l", epoch=10, count=1_040).next("sma")
    assert number == 1_041
    assert later not in (*ledger, *venue)


@pytest.mark.parametrize("wrong", [{"environment": "L", "epoch": 1}, {"environment": "l", "epoch": 10**6}])
def test_ids_that_would_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ClientOrderIds(**wrong)
