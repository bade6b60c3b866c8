"""Run all benchmarks and print the table; with `--keep` also write it to `benchmarks/results/`."""

import argparse
import platform
from pathlib import Path

from benchmarks import bench_replay
from bot.runtime.env import utc_now

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", metavar="HARDWARE", help="write results/replay_<HARDWARE>_<date>.md")
    arguments = parser.parse_args()
    figures = bench_replay.run_all()
    peer = bench_replay.hftbacktest_figure()
    if peer is not None:
        figures.append(peer)
    lines = [
        "# Replay benchmarks",
        "",
        f"{utc_now():%Y-%m-%d}, {platform.machine()}, {_processor()}, Python {platform.python_version()}. `make bench`",
        "",
        "Engine time: no interpreter start, compilation or report. Best and median of five runs, after one to warm up.",
        "",
        "| what | unit | best | median |",
        "|---|---|---|---|",
        *(f"| {f['name']} | {f['unit']} | {_number(f['best'])} | {_number(f['median'])} |" for f in figures),
    ]
    if peer is None:
        lines += ["", "hftbacktest was not there to compare with (`.venv-bench`, see `benchmarks/requirements.txt`)."]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.keep:
        path = RESULTS / f"replay_{arguments.keep}_{utc_now():%Y%m%d}.md"
        path.write_text(text, encoding="utf-8")
        print(f"kept in {path}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.2f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
