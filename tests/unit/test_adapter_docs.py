"""What docs/adapter.md says of answers is what the code does."""

import re
from pathlib import Path

from bot.domain.answers import AnswerKind
from bot.venues.bybit.errors import TABLE, Write, verdict_of_code
from bot.venues.bybit.hosts import HOSTS, REGIONS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "adapter.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| ([0-9 ]+) \| (accepted|exists|refused|unknown) \| ?([a-z_]*)", re.MULTILINE)


def test_the_table_of_codes() -> None:
    told: dict[int, tuple[str, str]] = {}
    for codes, kind, cause in _ROW.findall(TEXT):
        for code in codes.split():
            assert int(code) not in told
            told[int(code)] = (kind, cause)
    assert set(told) == set(TABLE)
    for code, (kind, cause) in told.items():
        row = TABLE[code]
        verdict = verdict_of_code(code, "", row.only[0])
        assert verdict.kind == kind, code
        if verdict.kind in (AnswerKind.REFUSED, AnswerKind.UNKNOWN):
            assert verdict.cause == cause, code


def test_which_requests_a_code_answers() -> None:
    for code in (110013, 110024, 110025, 110043, 34040):
        assert TABLE[code].only == (Write.SETTING,)
    for code in (110001, 110064, 170213):
        assert TABLE[code].only == (Write.CHANGE,)


def test_environments() -> None:
    for name, host in HOSTS.items():
        assert f"`{name}` | `{host.rest.removeprefix('https://')}`" in TEXT
    assert ", ".join(REGIONS) in TEXT
