"""Print which versions an image installs: what the program needs to run, each as requirements.lock has it.

    python deploy/docker/runtime_lock.py [EXTRA ...]

prints a line `name==version` for each dependency in pyproject.toml and in these extras. What those need in turn takes
its version from requirements.lock by `pip install --constraint`. A dependency that the lock does not hold is an error:
an image would be something that nobody tested. It needs the standard library alone: it runs before all installs.
"""

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BESIDES = ("setuptools",)  # builds the editable install


def normal(name: str) -> str:
    """Return a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins_of(lock: str) -> dict[str, str]:
    """Return the versions of a lock, by normal name."""
    lines = (line.split("#")[0].strip() for line in lock.splitlines())
    return {normal(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def wanted(project: dict[str, object], extras: Sequence[str]) -> list[str]:
    """Return the names of what a project asks for, with these extras, in order and each once.

    Raises:
        KeyError: there is no such extra.
    """
    optional = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras for line in optional[extra]), *BESIDES]
    return list(dict.fromkeys(normal(re.split(r"[\s\[<>=!~;]", line, maxsplit=1)[0]) for line in lines))


def main(extras: Sequence[str]) -> int:
    """Print the pins; return the exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = pins_of((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    try:
        names = wanted(project, extras)
    except KeyError as error:
        known = ", ".join(project["optional-dependencies"])
        sys.stderr.write(f"pyproject.toml has no extra {error}; it has {known}\n")
        return 2
    missing = [name for name in names if name not in pins]
    if missing:
        sys.stderr.write(f"requirements.lock has no {', '.join(missing)}: make lock\n")
        return 1
    sys.stdout.write("".join(f"{name}=={pins[name]}\n" for name in names))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
