"""A settings file given to the wrong command is told apart from one with a mistake in it."""

from pathlib import Path

import pytest

from bot.domain.errors import ConfigError
from bot.runtime.emulator_settings import EmulatorSettings
from bot.runtime.setting_files import load_settings
from bot.runtime.settings import Settings
from bot.runtime.trade_settings import TradeSettings
from bot.runtime.train_settings import TrainSettings

CONFIG = Path(__file__).parents[2] / "config"
KINDS = {
    "demo.toml": (Settings, "a replay, for `bot replay`"),
    "train-demo.toml": (TrainSettings, "a training, for `bot train`"),
    "paper-offline.toml": (TradeSettings, "a trading run, for `bot paper` and `bot live`"),
    "emulator/sample.toml": (EmulatorSettings, "an emulator, for `bot emulator`"),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("wanted", KINDS)
def test_a_file_of_another_kind_is_named_in_one_line(name: str, wanted: str) -> None:
    path, model = CONFIG / name, KINDS[wanted][0]
    if name == wanted:
        load_settings(model, path, [], example="x=1")
        return
    with pytest.raises(ConfigError) as refused:
        load_settings(model, path, [], example="x=1")
    assert str(refused.value) == f"{path}: these are the settings of {KINDS[name][1]}"


def test_a_mistake_in_a_file_of_the_right_kind_is_named_as_before() -> None:
    with pytest.raises(ConfigError, match=r'bar: no such key; did you mean "bars"\?'):
        load_settings(Settings, CONFIG / "demo.toml", ["bar.scales=1m"], example="x=1")
