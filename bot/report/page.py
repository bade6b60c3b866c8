"""One HTML file that holds all it needs: open it anywhere, offline, years later."""

from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

import msgspec
from plotly.offline import get_plotlyjs

from bot.report.overview import overview
from bot.report.run_data import RunData
from bot.report.sections import sections
from bot.report.view import Section, look


def render(data: RunData, metrics: dict[str, Any]) -> str:
    """Return the page of a run and of its `compute_metrics`."""
    view = look(data, metrics)
    title = f"{data.run['strategy']}, run {data.run['run_id']}"
    return document(title, overview(view), sections(view), to="the report")


def document(title: str, head: str, parts: list[Section], *, to: str) -> str:
    """Return a whole page: `head`, which is finished HTML, then the sections, reached from a list of contents."""
    scripts = [str(get_plotlyjs()), _asset("report.js")]
    return "".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="color-scheme" content="light dark">\n',
            f"<title>{escape(title)}</title>\n",
            f"<style>\n{_asset('report.css')}</style>\n</head>\n<body>\n",
            f'<a class="skip" href="#main">Skip to {to}</a>\n',
            f'<div class="frame">\n{_contents(parts)}\n<main id="main">\n{head}\n',
            "<noscript><p class='banner'>The charts need JavaScript; the tables do not.</p></noscript>\n",
            *map(_section, parts),
            "</main>\n</div>\n",
            f'<script type="application/json" id="figures">{embedded_json(_figures(parts))}</script>\n',
            *(f"<script>{script}</script>\n" for script in scripts),
            "</body>\n</html>\n",
        ]
    )


def embedded_json(value: object) -> str:
    """Return JSON that may stand inside a script element: nothing in it can end the element or open a comment."""
    text = msgspec.json.encode(value).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(scripts: list[str]) -> str:
    """Return a policy under which the page loads nothing and runs these scripts alone, whatever a name smuggles in."""
    hashes = " ".join(f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def _contents(parts: list[Section]) -> str:
    links = "".join(f'<li><a href="#{part.anchor}">{escape(part.title)}</a></li>' for part in parts)
    return f'<nav class="contents" aria-label="Contents"><ol>{links}</ol></nav>'


def _section(part: Section) -> str:
    return (
        f'<section id="{part.anchor}" aria-labelledby="{part.anchor}-title">'
        f'<h2 id="{part.anchor}-title">{escape(part.title)}</h2>{part.body}</section>\n'
    )


def _figures(parts: list[Section]) -> dict[str, Any]:
    return {name: figure for part in parts for name, figure in part.figures.items()}


def _asset(name: str) -> str:
    return files("bot.report").joinpath("assets", name).read_text(encoding="utf-8")
