"""The runbook knows everything that may call a person out of bed."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
PAPER = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")


def _calls(*places: str) -> Iterator[ast.Call]:
    for place in places:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield node


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _texts(call: ast.Call) -> list[str]:
    given = [*call.args, *(each.value for each in call.keywords)]
    return [each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def test_every_alert_of_the_money_half_is_explained() -> None:
    codes = {
        text
        for call in _calls("bot/core/submission", "bot/core/reconcile.py")
        if _name(call) in ("_alert", "_hold_back")
        for text in _texts(call)
        if re.fullmatch(r"[A-Z_]{4,}", text)
    }
    assert len(codes) > 8
    assert {each for each in codes if f"`{each}`" not in RUNBOOK} == set()


def test_every_notice_is_explained() -> None:
    kinds = {
        text
        for call in _calls("bot/core/notices.py")
        if _name(call) == "_notice"
        for text in _texts(call)
        if re.fullmatch(r"[a-z]+\.[a-z_]+", text)
    }
    assert "order.filled" in kinds
    assert {each for each in kinds if f"`{each}`" not in RUNBOOK} == set()


def test_every_notice_that_surfaces_and_wiring_tell_is_explained() -> None:
    from bot.domain.operation import Phase

    kinds = {f"run.{phase.value}" for phase in Phase}
    for call in _calls("bot/operator", "bot/app", "bot/actors"):
        if _name(call) == "Notice":
            kinds |= {str(ast.literal_eval(each.value)) for each in call.keywords if _is_text(each, "kind")}
        elif _name(call) == "_warn":
            kinds |= {text for text in _texts(call) if re.fullmatch(r"[a-z]+\.[a-z_]+", text)}
    assert {"telegram.token_shared", "surface.failed", "run.trouble"} <= kinds
    assert {each for each in kinds if f"`{each}`" not in RUNBOOK} == set()


def _is_text(keyword: ast.keyword, name: str) -> bool:
    return keyword.arg == name and isinstance(keyword.value, ast.Constant)


def test_every_rule_of_prometheus_is_explained_as_the_rule_itself_says_it() -> None:
    text = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    found = re.findall(
        r"- alert: (\w+)\n.*?severity: (\w+)\n.*?summary: '(.*?)'\n +what_to_do: '(.*?)'\n", text + "\n", re.DOTALL
    )
    assert len(found) == text.count("- alert:") >= 18
    for rule in found:
        name, *told = (each.replace("''", "'") for each in rule)
        assert f"| `{name}` | {' | '.join(told)} |" in RUNBOOK


def test_every_phase_is_explained() -> None:
    from bot.domain.operation import Phase

    assert {each.value for each in Phase if f"| `{each.value}` |" not in PAPER} == set()


def test_every_command_and_file_that_is_named_exists() -> None:
    """What a tired person types at night must be there."""
    from bot.cli.main import _LAZY

    for text in (RUNBOOK, PAPER):
        commands = set(re.findall(r"`bot ([a-z]+)", text))
        commands |= set(re.findall(r"^ {4,}(?:.*/)?bot ([a-z]+)", text, re.MULTILINE))
        assert commands
        assert commands - set(_LAZY) - {"config", "version"} == set()
        for file in re.findall(r"(?:config|deploy)/[\w./*-]+\.(?:toml|yaml|service|conf)", text):
            assert list(ROOT.glob(file)), file
