"""The emulator within a paper run: what it says when it cannot be started."""

from pathlib import Path

import pytest

from bot.app.offline import make_emulator
from bot.domain.errors import ConfigError
from bot.runtime.trade_settings import EmulatedSettings


async def test_settings_that_are_not_where_the_bot_was_started_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By key, with the directory: the path is meant from where the bot is started, as people do elsewhere too."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"emulator.config = config/none.toml: no such file under {tmp_path}"):
        await make_emulator(EmulatedSettings(config=Path("config/none.toml")))
