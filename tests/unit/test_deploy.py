"""What is shipped to run the bot as a service keeps its promises, as far as that shows without a service manager."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
EXPOSURE_MAX = 2.0


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _values(path: Path, key: str) -> list[str]:
    return [line.partition("=")[2] for line in _lines(path) if line.startswith(f"{key}=")]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_locked_down(unit: Path, tmp_path: Path) -> None:
    """systemd's own measure, 0 to 10, is at most 2."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not on this machine")
    copy = tmp_path / unit.name
    shutil.copy(unit, copy)
    done = subprocess.run(
        [tool, "security", "--offline=true", "--no-pager", str(copy)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE_MAX, done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_speaks_as_the_bot_does(unit: Path) -> None:
    """Readiness and watchdog by sd_notify, keys by the names that the bot reads, wrong settings not tried again."""
    assert _values(unit, "Type") == ["notify"]
    assert _values(unit, "WatchdogSec")
    assert _values(unit, "RestartPreventExitStatus") == ["2"]
    assert [each.partition(":")[0] for each in _values(unit, "LoadCredential")] == ["bybit_key", "bybit_secret"]
    assert "BYBIT" not in "\n".join(_lines(unit))  # no secret by environment


def test_the_switch_does_not_hang_on_the_bot() -> None:
    """What stops the bot must not stop its dead-man switch, and they have different keys."""
    bot, deadman = (next(each for each in UNITS if name in each.name) for name in ("-bot@", "-deadman@"))
    for line in _lines(deadman):
        assert not re.match(r"(Requires|BindsTo|PartOf|After)=.*multiscale-bot@", line)
    assert not set(_values(bot, "LoadCredential")) & set(_values(deadman, "LoadCredential"))
    assert _values(deadman, "Restart") == ["always"]
    assert _values(deadman, "MemoryDenyWriteExecute") == ["yes"]


def test_the_switch_compiles_nothing() -> None:
    """Its unit forbids memory that is written and executed, so numba and torch must not come along."""
    code = "import sys, bot.cli.deadman; print([each for each in ('numba', 'torch') if each in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == "[]"


def test_the_image_has_no_root_and_no_secret() -> None:
    lines = _lines(ROOT / "Dockerfile")
    stages = [line.split(" AS ")[1] for line in lines if line.startswith("FROM ")]
    assert stages[-1] == "cpu"
    assert "cuda" in stages
    common = lines.index("FROM python:${PYTHON_VERSION}-slim-bookworm AS common")
    assert "USER 10001:10001" in lines[common:]
    assert any(line.startswith("HEALTHCHECK") for line in lines[common:])
    assert not any(re.match(r"(ENV|ARG).*(SECRET|TOKEN|PASSWORD|API_KEY)", line) for line in lines)
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), line


def test_what_must_not_be_in_an_image_is_left_out() -> None:
    ignored = _lines(ROOT / ".dockerignore")
    for name in (".git", ".env*", "config/local*.toml", "secrets", "runs"):
        assert name in ignored


def test_every_service_of_the_compose_file_is_hardened() -> None:
    """Read-only root, no rights, no address but this machine's, secrets as files."""
    text = (ROOT / "deploy" / "docker" / "compose.yaml").read_text(encoding="utf-8")
    services = text.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    for name, body in re.findall(r"^  ([a-z]+):\n((?:(?:    .*)?\n)+)", services, re.MULTILINE):
        assert re.search(r"<<: \*(hardened|bot)", body), name
    assert set(re.findall(r"^  ([a-z]+):$", services, re.MULTILINE)) == {
        "bot",
        "deadman",
        "postgres",
        "prometheus",
        "grafana",
    }
    for address in re.findall(r'ports: \["([^"]+)"\]', services):
        assert address.startswith("127.0.0.1:")
    assert "read_only: true" in text
    assert "cap_drop: [ALL]" in text
