"""What was compiled is compiled anew when something it was made of has changed, in whichever file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core import config

import bot.core.bars
from bot.runtime.compiled_cache import BesideTheSource, stamp


def package(root: Path, **sources: str) -> Path:
    (root / "pkg").mkdir(exist_ok=True)
    for name, source in {"__init__": "", **sources}.items():
        (root / "pkg" / f"{name}.py").write_text(source)
    return root / "pkg"


def stamp_of(root: Path, name: str) -> str:
    stamp.__wrapped__.__globals__["_read"].cache_clear()
    stamp.__wrapped__.__globals__["_file"].cache_clear()
    return stamp.__wrapped__(root / "pkg" / f"{name}.py", root)


@pytest.mark.parametrize(
    "line",
    [
        "from pkg.b import x",
        "from pkg import b",
        "import pkg.b",
        "import os, pkg.b as other",
        "from pkg.b import (  # why\n    x,\n)",
        "def late():\n    from pkg.b import x",
    ],
)
def test_a_change_two_imports_away_is_seen(tmp_path: Path, line: str) -> None:
    package(tmp_path, a=line, b="from pkg.c import x", c="x = 1", d="x = 1")
    before = stamp_of(tmp_path, "a")
    package(tmp_path, d="x = 2")
    assert stamp_of(tmp_path, "a") == before
    package(tmp_path, c="x = 2")
    assert stamp_of(tmp_path, "a") != before


def test_imports_in_a_circle_and_from_outside(tmp_path: Path) -> None:
    package(tmp_path, a="import numpy\nfrom pkg.b import x", b="from pkg.a import y")
    assert len(stamp_of(tmp_path, "a")) == 64


def test_numba_asks_us() -> None:
    assert "bot.runtime.compiled_cache.BesideTheSource" in config.CACHE_LOCATOR_CLASSES
    impl = bot.core.bars._scan_trades._cache._impl
    assert isinstance(impl.locator, BesideTheSource) or config.CACHE_DIR


def test_old_code_does_not_run(tmp_path: Path) -> None:
    """A compiled function calls one of another file that has changed: the answer is that of the new one."""
    root = Path(__file__).resolve().parents[2]
    (tmp_path / "bot" / "runtime").mkdir(parents=True)
    for name in ("__init__.py", "runtime/__init__.py", "runtime/compiled_cache.py"):
        (tmp_path / "bot" / name).write_text((root / "bot" / name).read_text())
    caller = "from numba import njit\nfrom pkg.b import g\n@njit(cache=True)\ndef f():\n    return g() + 1\n"
    ask = "import bot; from pkg.a import f; print(f())"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    del environment["NUMBA_CACHE_LOCATOR_CLASSES"]
    environment.pop("NUMBA_CACHE_DIR", None)
    told = []
    for value in (1, 1, 2):
        package(tmp_path, a=caller, b=f"from numba import njit\n@njit(cache=True)\ndef g():\n    return {value}\n")
        run = subprocess.run(
            [sys.executable, "-c", ask], check=False, cwd=tmp_path, env=environment, capture_output=True
        )
        told.append(run.stdout or run.stderr)
    assert told == [b"2\n", b"2\n", b"3\n"]
