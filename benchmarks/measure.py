"""What the benchmarks share: the best of several runs in a process of its own, next to the median."""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import market

RUNS = 5
Figure = dict[str, Any]
Benchmarks = Mapping[str, Callable[[], Figure]]


def figure(name: str, unit: str, seconds: list[float], value: Callable[[float], float]) -> dict[str, Any]:
    """Return one line of the table: the best run and the median one."""
    return {
        "name": name,
        "unit": unit,
        "best": value(min(seconds)),
        "median": value(statistics.median(seconds)),
    }


def run_all(module: str, benchmarks: Benchmarks) -> list[Figure]:
    """Return the figures of a module's benchmarks, each measured in a process of its own."""
    figures = []
    for name in benchmarks:
        command = [sys.executable, "-m", module, name]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=market.ROOT)
        figures.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"  {figures[-1]['name']}: {figures[-1]['best']:,.2f} {figures[-1]['unit']}", file=sys.stderr)
    return figures


def main(benchmarks: Benchmarks, description: str | None) -> None:
    """Measure one figure in this process and print it as JSON."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("name", choices=benchmarks)
    print(json.dumps(benchmarks[parser.parse_args().name]()))
