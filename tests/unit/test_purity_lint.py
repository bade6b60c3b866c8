"""The purity lint catches what each of its rules names, and lets clean code pass."""

from pathlib import Path

import pytest

from tests.support.purity_lint import NAME_RULES, check_source, main, python_files

ENV = "bot/runtime/env.py"
SUPERVISOR = "bot/runtime/supervisor.py"
ANYWHERE = "bot/actors/market_feed.py"

# Planted violations: the rule that must be named, the source, and the line it is on.
CLOCKS = [
    ("import time\nx = time.time()", 2),
    ("import time\nx = time.time_ns()", 2),
    ("import time\nx = time.monotonic()", 2),
    ("import time\nx = time.monotonic_ns()", 2),
    ("import time\nx = time.perf_counter()", 2),
    ("import time\nx = time.perf_counter_ns()", 2),
    ("import time\nx = time.process_time()", 2),
    ("import time\nx = time.clock_gettime(0)", 2),
    ("import time as t\nx = t.time_ns()", 2),
    ("from time import time_ns as now", 1),
    ("import time\nclock = time.time_ns", 2),  # handed on, not called
    ("def f():\n    import time\n    return time.time()", 3),
    ("from time import *", 1),
    ("from datetime import datetime\nx = datetime.now()", 2),
    ("from datetime import UTC, datetime as d\nx = d.now(UTC)", 2),
    ("import datetime\nx = datetime.datetime.utcnow()", 2),
    ("import datetime as dt\nx = dt.datetime.today()", 2),
    ("from datetime import date\nx = date.today()", 2),
    ("import datetime\nx = datetime.date.today()", 2),
    ("import pandas as pd\nx = pd.Timestamp.now()", 2),
    ("from pandas import Timestamp\nx = Timestamp.utcnow()", 2),
    ('import numpy as np\nx = np.datetime64("now")', 2),
]
RANDOMNESS = [
    ("import random", 1),
    ("import random as r\nx = 1\ny = r.random()", 3),
    ("from random import choice", 1),
    ('from importlib import import_module\nx = import_module("random")', 2),
    ('x = __import__("random")', 1),
    ("import numpy as np\nx = np.random.rand(3)", 2),
    ("import numpy as np\nx = np.random.default_rng(7)", 2),
    ("import numpy.random as npr\nx = npr.default_rng()", 2),
    ("from numpy import random\nx = random.normal()", 2),
    ("from numpy.random import default_rng", 1),
    ("import numpy as np\nx = np.random.Generator(bits)", 2),  # only as an annotation
    ("import numpy as np\ndef f(rng: int = np.random.default_rng(1)) -> None: ...", 2),
    ("import numpy as np\nshuffle = np.random", 2),
    ("import uuid\nx = uuid.uuid1()", 2),
    ("from uuid import uuid4", 1),
    ("import os\nx = os.urandom(8)", 2),
    ("import secrets", 1),
    ("from secrets import token_hex", 1),
]
CONCURRENCY = [
    ("import threading", 1),
    ("from threading import Lock", 1),
    ("import _thread", 1),
    ("import concurrent.futures", 1),
    ("from concurrent import futures", 1),
    ("from concurrent.futures import ThreadPoolExecutor", 1),
    ("import multiprocessing as mp", 1),
    ("from multiprocessing.shared_memory import SharedMemory", 1),
    ("import subprocess", 1),
    ("async def f(loop):\n    await loop.run_in_executor(None, g)", 2),
    ("async def f():\n    await asyncio.get_running_loop().run_in_executor(None, g)", 2),
    ("import asyncio\nasync def f():\n    await asyncio.to_thread(g)", 3),
    ("from asyncio import to_thread", 1),
    ("import asyncio\nx = asyncio.create_subprocess_exec", 2),
    ("import os\nx = os.fork()", 2),
    ('import os\nos.system("ls")', 2),
]
UNSAFE_LOADS = [
    ("import pickle", 1),
    ("from pickle import loads", 1),
    ("import cPickle", 1),
    ("import dill", 1),
    ("import joblib", 1),
    ("from joblib import load", 1),
    ("import shelve", 1),
    ("import marshal", 1),
    ("import torch\nx = torch.load(path)", 2),
    ("import yaml\nx = yaml.load(text, Loader=yaml.SafeLoader)", 2),
    ("import pandas as pd\nx = pd.read_pickle(path)", 2),
    ('x = eval("1")', 1),
    ('exec("x = 1")', 1),
    ("import builtins\nx = builtins.eval(y)", 2),
    ("run = eval", 1),
    ("import numpy as np\nx = np.load(path, allow_pickle=True)", 2),
    ("import numpy as np\nx = np.load(path, allow_pickle=flag)", 2),
    ("import numpy as np\nx = np.load(path, None, True)", 2),
    ("from numpy import load\nx = load(path, allow_pickle=True)", 2),
]
AS_COMPLETED = [
    ("import asyncio\nfor x in asyncio.as_completed(y): ...", 2),
    ("import asyncio as aio\nx = aio.as_completed(y)", 2),
    ("from asyncio import as_completed", 1),
]
BROAD_EXCEPTS = [
    ("try:\n    f()\nexcept Exception:\n    pass", 3),
    ("try:\n    f()\nexcept Exception as error:\n    raise X from error", 3),
    ("try:\n    f()\nexcept BaseException:\n    pass", 3),
    ("try:\n    f()\nexcept:\n    pass", 3),
    ("try:\n    f()\nexcept (ValueError, Exception):\n    pass", 3),
    ("try:\n    f()\nexcept* Exception:\n    pass", 3),
    ("import builtins\ntry:\n    f()\nexcept builtins.Exception:\n    pass", 4),
    ("from contextlib import suppress\nwith suppress(Exception):\n    f()", 2),
]
SET_ORDERS = [
    ("for x in {1, 2}: ...", 1),
    ("for x in set(y): ...", 1),
    ("for x in frozenset(y): ...", 1),
    ("for x in {a for a in y}: ...", 1),
    ("for x in set(y) | z: ...", 1),
    ("for x in z - set(y): ...", 1),
    ("for x in set(y).union(z): ...", 1),
    ("for x in list(set(y)): ...", 1),
    ("for i, x in enumerate({1, 2}): ...", 1),
    ("x = [a for a in set(y)]", 1),
    ("x = {a: 1 for a in {1, 2}}", 1),
    ("x = sum(a for a in set(y))", 1),  # floats add up to something else in another order
    ("x = sorted((a for a in set(y)), key=f)", 1),  # ties stay in the order they came
    ("x = tuple({1, 2})", 1),
    ('x = ",".join(set(y))', 1),
    ("x = dict.fromkeys(set(y))", 1),
    ("x = [*set(y)]", 1),
    ("def f():\n    yield from {1, 2}", 2),
]
ADDRESSES = [
    ("x = hash(y)", 1),
    ("x = id(y)", 1),
    ("x = sorted(y, key=id)", 1),
    ("def f(id):\n    return id\nx = id(y)", 3),
]
PLANTED = [
    (rule, source, line)
    for rule, cases in [
        ("wall-clock", CLOCKS),
        ("randomness", RANDOMNESS),
        ("concurrency", CONCURRENCY),
        ("unsafe-load", UNSAFE_LOADS),
        ("as-completed", AS_COMPLETED),
        ("broad-except", BROAD_EXCEPTS),
        ("set-order", SET_ORDERS),
        ("address", ADDRESSES),
    ]
    for source, line in cases
]

CLEAN = [
    "import time\ntime.sleep(0)",  # waits, reads nothing
    "def f(time):\n    return time.time()",  # somebody's own `time`
    "from . import random\nx = random.x",  # a module of ours
    "from bot.core import time\nx = time.time()",
    "from datetime import UTC, datetime\nx = datetime.fromtimestamp(0, UTC)",
    "import pandas as pd\nx = pd.Timestamp(0, unit='ns')",
    'import numpy as np\nx = np.datetime64("2026-01-01")',
    "import numpy as np\ndef f(rng: np.random.Generator) -> np.random.Generator:\n    return rng",
    "import numpy as np\nrng: np.random.Generator | None = None",
    "import numpy.random as npr\nasync def f(*, rng: npr.Generator) -> None: ...",
    "from numpy.random import Generator\ndef f(rng: Generator) -> float:\n    return rng.normal()",
    "import uuid\nx = uuid.UUID(int=7)",
    "import os\nx = os.environ",
    "import asyncio\nasync def f():\n    await asyncio.gather(a(), b())\n    await asyncio.sleep(1)",
    "import numpy as np\nx = np.load(path)\ny = np.load(path, allow_pickle=False)",
    "import torch\nx = torch.zeros(3)",
    "import yaml\nx = yaml.safe_load(text)",
    "model.eval()\nframe.eval('a + b')",
    "try:\n    f()\nexcept (ValueError, KeyError):\n    pass",
    "from contextlib import suppress\nwith suppress(KeyError):\n    f()",
    "raise Exception",
    "for x in sorted(set(y)): ...",
    "for x in [1, 2]: ...",
    "for x in {1: 2}: ...",
    "x = 1 in {1, 2}",
    "x = {f(a) for a in set(y)}",  # from a set to a set: no order to lose
    "x = sorted(f(a) for a in set(y))",
    "x = all(a > 0 for a in set(y))",
    "x = len(set(y))",
    "x = ','.join(sorted({1, 2}))",
    "def set(x):\n    return [x]\nfor x in set(1): ...",
    "class A:\n    id: int\n    def f(self) -> int:\n        return self.id",
    "def f(id: int) -> int:\n    return id",
    "def hash(x):\n    return 1\nx = hash(2)",
    '"""time.time() and random.random() in a docstring."""',
    "",
]


@pytest.mark.parametrize(("rule", "source", "line"), PLANTED)
def test_a_planted_violation_is_found(rule: str, source: str, line: int) -> None:
    """Every violation is named once, by its rule, at its line."""
    found = [(finding.rule, finding.line) for finding in check_source(source, ANYWHERE)]
    assert (rule, line) in found
    assert {name for name, _ in found} == {rule}


@pytest.mark.parametrize("source", CLEAN)
def test_clean_code_passes(source: str) -> None:
    assert check_source(source, ANYWHERE) == []


@pytest.mark.parametrize("rule", ["wall-clock", "randomness", "concurrency"])
def test_the_environment_may_reach_the_machine(rule: str) -> None:
    """What one file may do, that file may do, and no other may."""
    for planted, source, _ in PLANTED:
        if planted == rule:
            assert check_source(source, ENV) == []
            assert check_source(source, "bot/store/env.py") != []
            assert check_source(source, f"strategies/{ENV}") != []


@pytest.mark.parametrize("path", [ENV, SUPERVISOR])
@pytest.mark.parametrize("rule", ["unsafe-load", "as-completed", "set-order", "address"])
def test_no_file_may_do_what_is_forbidden_everywhere(path: str, rule: str) -> None:
    for planted, source, _ in PLANTED:
        if planted == rule:
            assert check_source(source, path) != []


def test_only_the_supervisor_may_catch_everything() -> None:
    for source, _ in BROAD_EXCEPTS:
        assert check_source(source, SUPERVISOR) == []
        assert check_source(source, ENV) != []


def test_tests_may_compare_addresses() -> None:
    for source, _ in ADDRESSES:
        assert check_source(source, "tests/unit/test_x.py") == []


@pytest.mark.parametrize(
    "source",
    [
        "x = id(y)  # purity: compared within one process only",
        "x = id(y)  # noqa: F821  # purity: compared within one process only",
        "x = f(\n    id(y),  # purity: compared within one process only\n)",
        "from time import (\n    sleep,\n    time_ns,  # purity: printed, never decided on\n)\nsleep(0)",
        "try:\n    f()\nexcept Exception:  # purity: reraised below\n    raise",
        "for x in set(y):  # purity: only counted\n    n += 1",
    ],
)
def test_a_marker_with_a_reason_lets_its_line_pass(source: str) -> None:
    assert check_source(source, ANYWHERE) == []


@pytest.mark.parametrize(
    ("source", "rules"),
    [
        ("x = id(y)  # purity:", ["address", "marker"]),  # no reason
        ("x = id(y)  # purity:   # because", ["address", "marker"]),
        ("x = id(y)  # purity", ["address"]),  # not a marker
        ('x = id(y), "# purity: a string is no comment"', ["address"]),
        ("# purity: the line above\nx = id(y)", ["marker", "address"]),
        ("x = id(y)  # purity: here\nz = id(y)", ["address"]),  # one line only
        ("try:\n    f()\nexcept Exception:\n    raise  # purity: in the body", ["broad-except", "marker"]),
        ("x = 1  # purity: nothing to excuse", ["marker"]),
    ],
)
def test_a_marker_excuses_nothing_else(source: str, rules: list[str]) -> None:
    assert [finding.rule for finding in check_source(source, ANYWHERE)] == rules


def test_every_name_of_every_rule_is_planted() -> None:
    """A rule's table and its findings agree: each listed name, used through an alias, is found."""
    for rule in NAME_RULES:
        for pattern in rule.names:
            module, _, attribute = pattern.rstrip("*").rpartition(".")
            source = f"from {module} import {attribute} as a" if module else f"import {attribute}"
            if pattern == "numpy.random":
                source += "\nx = a.normal()"
            assert rule.name in {finding.rule for finding in check_source(source, ANYWHERE)}, pattern


def test_a_file_that_does_not_parse_is_a_finding() -> None:
    assert [finding.rule for finding in check_source("def f(:", ANYWHERE)] == ["syntax"]


def test_the_command_prints_findings_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finding is one line, `file:line: rule: message`, with the path as seen from the repository."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bot" / "runtime").mkdir(parents=True)
    (tmp_path / ENV).write_text("import time\nnow_ns = time.time_ns\n")
    assert main(["bot"]) == 0
    assert capsys.readouterr().out == ""

    (tmp_path / "bot" / "app.py").write_text("import time\nx = time.time()\n")
    assert main(["bot", "bot/app.py", str(tmp_path / "bot")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("bot/app.py:2: wall-clock: time.time reads the system clock")


@pytest.mark.parametrize("arguments", [[], ["absent"]])
def test_wrong_usage_is_not_a_clean_run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2


def test_only_python_files_are_read(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "notes.md", "c.pyc"):
        (tmp_path / name).touch()
    assert [file.name for file in python_files([tmp_path, tmp_path / "a.py"])] == ["a.py", "b.py"]
