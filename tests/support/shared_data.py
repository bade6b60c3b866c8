"""Where the real market data and the benchmark's generator lie, for the tests that use them."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("BOT_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def shared_file(name: str) -> Path:
    """Return a file of the shared data; skip the test, and say so, where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name} in ../shared (or set BOT_SHARED): real market data is not part of the project")
    return path
