"""Where runs are: each has a directory to itself."""

from pathlib import Path

import pytest

from bot.app.run_places import make_run_directory, point_latest_at
from bot.domain.errors import ConfigError


def test_runs_that_begin_within_a_second_have_directories_of_their_own(tmp_path: Path) -> None:
    """The same name, whoever gives it: nothing of another run is written over."""
    made = [make_run_directory(tmp_path / "runs", "20261121-120000-paper-x", f"n = {n}\n") for n in range(3)]
    assert [each.name for each in made] == [f"20261121-120000-paper-x{end}" for end in ("", ".2", ".3")]
    assert [(each / "config.toml").read_text() for each in made] == ["n = 0\n", "n = 1\n", "n = 2\n"]


def test_a_place_that_cannot_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose a directory you may write"):
        make_run_directory(tmp_path / "file" / "runs", "a", "")


def test_the_latest_run_is_where_the_link_points(tmp_path: Path) -> None:
    for name in ("a", "b"):
        point_latest_at(make_run_directory(tmp_path, name, ""))
    assert (tmp_path / "latest").readlink() == Path("b")
