"""Names of metrics: those that the alert rules and the board ask for, those exposed, those documented."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def asked_by_rules() -> set[str]:
    """Return the metrics that an alert rule names."""
    lines = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8").splitlines()
    expressions = " ".join(line.split("expr:", 1)[1] for line in lines if "expr:" in line)
    return set(re.findall(r"\b(?:bot_[a-z_]+|up)\b", expressions))


def asked_by_board() -> set[str]:
    """Return the metrics that a panel names."""
    board = json.loads((ROOT / "deploy" / "grafana" / "bot.json").read_text(encoding="utf-8"))
    return {
        name
        for panel in board["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"\bbot_[a-z_]+", target["expr"])
    }


def families_of(text: str) -> set[str]:
    """Return the families of an exposition, counters by the name that their samples have."""
    found = re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE)
    return {f"{name.removesuffix('_total')}_total" if kind == "counter" else name for name, kind in found}


def documented() -> set[str]:
    """Return the metrics that docs/metrics.md names in its tables; `_x` stands beside the name it continues."""
    names: set[str] = set()
    for line in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("| `bot_"):
            continue
        first = ""
        for name in re.findall(r"`([a-z_]+)`", line.split("|")[1]):
            first = name if name.startswith("bot_") else first
            names.add(name if name.startswith("bot_") else f"{first.rsplit('_', 1)[0]}{name}")
    return names
