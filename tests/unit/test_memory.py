"""What runs for months has memory given back, from before Arrow is loaded."""

import subprocess
import sys

import pytest
import typer

from bot.cli import main
from bot.cli.main import main_app


@pytest.mark.parametrize(("command", "is_for_months"), [("paper", True), ("live", True), ("status", False)])
def test_commands_that_run_for_months_begin_with_it(
    monkeypatch: pytest.MonkeyPatch, command: str, is_for_months: bool
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(main, "give_memory_back", lambda: begun.append("memory"))
    monkeypatch.setattr(main, "_import", lambda name: begun.append(name) or sys.modules[__name__])
    monkeypatch.setattr(main, "_as_command", lambda made: typer.main.get_command(main_app))
    monkeypatch.setattr(sys.modules[__name__], command, object(), raising=False)
    group = typer.main.get_command(main_app)
    assert isinstance(group, typer.core.TyperGroup)
    group.get_command(typer.Context(group), command)
    assert begun[0] == "memory" if is_for_months else "memory" not in begun


def test_arrow_takes_its_memory_from_the_c_library() -> None:
    """Asked of Arrow itself, in a process that has loaded what trades."""
    program = (
        "from bot.runtime.memory import give_memory_back; give_memory_back(); import bot.cli.main, sys; "
        "assert 'pyarrow' not in sys.modules; "
        "import bot.store.tape_parts, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    )
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert made.stdout.strip() == "system"
