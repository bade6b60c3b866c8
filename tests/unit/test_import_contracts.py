"""The import contracts of pyproject.toml name every room, and each of them can fail."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("bot", "strategies", "models", "migrations")
RUN = "from importlinter.cli import lint_imports_command; lint_imports_command()"

# The rooms as they are meant, one module each.
ROOMS = (
    "bot/__main__.py",
    "bot/app/replay.py",
    "bot/cli/main.py",
    "bot/ports.py",
    "bot/actors/ledger.py",
    "bot/core/order.py",
    "bot/domain/orders.py",
    "bot/emulator/server.py",
    "bot/operator/alerts.py",
    "bot/report/html.py",
    "bot/runtime/env.py",
    "bot/store/tables.py",
    "bot/venues/simulated/venue.py",
    "migrations/env.py",
    "migrations/versions/0001_ledger.py",
    "models/artifact.py",
    "strategies/sma.py",
)
ALLOWED = {
    "bot/__main__.py": "from bot import cli",
    "bot/cli/main.py": "from bot import app",
    "bot/app/replay.py": "import asyncio, strategies.sma, models.artifact\nfrom bot import report, store",
    "bot/actors/ledger.py": "import asyncio, structlog\nfrom bot import ports\nfrom bot.core import order",
    "bot/runtime/env.py": "import random, secrets, threading, time, uuid",
    "bot/store/tables.py": "import sqlalchemy\nfrom bot import ports",
    "bot/ports.py": "from bot.core import order",
    "bot/core/order.py": "import math, msgspec\nfrom bot.domain import orders",
    "models/artifact.py": "import torch\nfrom bot.core import order",
    "strategies/sma.py": "from bot import ports",
    "migrations/env.py": "import sqlalchemy",
}
# The contract, the file, and the line that breaks it.
PLANTED = [
    ("layers", "bot/domain/orders.py", "from bot.core import order"),
    ("layers", "bot/core/order.py", "from bot import ports"),
    ("layers", "bot/ports.py", "from bot.runtime import env"),
    ("layers", "bot/ports.py", "import strategies.sma"),
    ("layers", "bot/store/tables.py", "from bot import app"),
    ("layers", "bot/app/replay.py", "from bot import cli"),
    ("layers", "bot/actors/ledger.py", "from bot.store import tables"),
    ("layers", "bot/actors/ledger.py", "from bot.venues.simulated import venue"),
    ("layers", "bot/report/html.py", "from bot.store import tables"),
    ("layers", "bot/venues/simulated/venue.py", "def f():\n    from bot.runtime import env"),  # hidden in a function
    ("layers", "strategies/sma.py", "from bot.actors import ledger"),
    ("layers", "strategies/sma.py", "import models.artifact"),
    ("layers", "models/artifact.py", "from bot.report import html"),
    *(
        ("pure", "bot/core/order.py", f"import {module}")
        for module in ("asyncio", "random", "secrets", "sqlalchemy", "structlog", "threading", "time", "uuid")
    ),
    ("pure", "bot/domain/orders.py", "from time import time_ns"),
    ("pure", "bot/core/order.py", "from concurrent import futures\nfrom sqlalchemy.orm import Session"),
    ("migrations", "migrations/env.py", "from bot.store import tables"),
    ("migrations", "migrations/versions/0001_ledger.py", "import bot"),
    ("migrations", "migrations/versions/0001_ledger.py", "from strategies import sma"),
    ("torch", "bot/actors/ledger.py", "import torch"),
    ("torch", "strategies/sma.py", "from torch import nn"),
]


def contracts() -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return settings


def build(at: Path) -> None:
    """Write every room, also those still to come, importing what it may, with the project's contracts beside it."""
    for name in ROOMS:
        file = at / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(ALLOWED.get(name, "") + "\n")
        for folder in file.relative_to(at).parents[:-1]:
            (at / folder / "__init__.py").touch()
    settings = (ROOT / "pyproject.toml").read_text()
    settings, count = re.subn(r"(?m)^root_packages = .*$", f"root_packages = {list(PACKAGES)!r}", settings)
    assert count == 1
    (at / "pyproject.toml").write_text(settings)


def lint(at: Path, contract: str | None = None) -> tuple[int, str]:
    chosen = [] if contract is None else ["--contract", contract]
    command = [sys.executable, "-c", RUN, "--no-cache", "--no-logo", *chosen]
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_rooms_as_they_are_meant_pass(tmp_path: Path) -> None:
    build(tmp_path)
    code, output = lint(tmp_path)
    assert code == 0, output
    assert f"{len(contracts()['contracts'])} kept, 0 broken" in output


@pytest.mark.parametrize(("contract", "file", "line"), PLANTED)
def test_a_planted_import_breaks_its_contract(contract: str, file: str, line: str, tmp_path: Path) -> None:
    build(tmp_path)
    with (tmp_path / file).open("a") as source:
        source.write(f"{line}\n")
    code, output = lint(tmp_path, contract)
    assert code == 1, output
    assert "0 kept, 1 broken" in output, output


def test_every_room_that_exists_is_named() -> None:
    """A package no contract names could import what it likes."""
    settings = contracts()
    packages = {name for name in PACKAGES if (ROOT / name / "__init__.py").exists()}
    assert packages == set(settings["root_packages"]), "root_packages in pyproject.toml and the tree differ"

    layers = next(contract["layers"] for contract in settings["contracts"] if contract["id"] == "layers")
    named = {part.strip(" ()") for layer in layers for part in layer.split("|")}
    modules = {path.stem for path in (ROOT / "bot").glob("*.py")} - {"__init__"}
    rooms = {path.parent.name for path in (ROOT / "bot").glob("*/__init__.py")}
    assert {f"bot.{name}" for name in modules | rooms} <= named


def test_every_folder_with_code_is_a_package() -> None:
    """Without its __init__.py a folder is invisible to the contracts."""
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            assert (file.parent / "__init__.py").exists(), f"{file.parent.relative_to(ROOT)} lacks __init__.py"
