"""Artefacts and markets that the tests of serving share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.served import write_served

Served = Callable[..., Path]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for artefacts."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for one small market."""
    return tmp_path_factory.mktemp("market")


@pytest.fixture(scope="session")
def served(store: Path) -> Served:
    """Return a maker of artefacts, each made once."""
    made: dict[str, Path] = {}

    def make(name: str = "flagship", **how: object) -> Path:
        key = repr((name, sorted(how.items(), key=lambda item: item[0])))
        if key not in made:
            made[key] = write_served(store, name, **how)  # type: ignore[arg-type]
        return made[key]

    return make
