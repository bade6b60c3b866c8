"""Run all benchmarks and print the table; with `--keep` also write it to `benchmarks/results/`."""

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    bench_data,
    bench_decision,
    bench_deliveries,
    bench_emulator,
    bench_features,
    bench_gpu,
    bench_inference,
    bench_live,
    bench_models,
    bench_reconnect,
    bench_replay,
    bench_samples,
    bench_streams,
    bench_surfaces,
    bench_trading,
    bench_training,
    bench_venue,
)
from benchmarks.measure import Benchmarks, Figure, run_all
from bot.runtime.env import utc_now

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", metavar="GROUP", help="all of them if none is named")
    parser.add_argument("--keep", metavar="HARDWARE", help="write results/<group>_<HARDWARE>_<date>.md")
    arguments = parser.parse_args()
    unknown = set(arguments.only) - set(GROUPS)
    if unknown:
        parser.error(f"no group is named {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    for group in arguments.only or GROUPS:
        title, measure = GROUPS[group]
        figures = measure()
        if not figures:
            continue
        text = _table(title, group, figures)
        print(text)
        if arguments.keep:
            path = RESULTS / f"{group}_{arguments.keep}_{utc_now():%Y%m%d}.md"
            path.write_text(text, encoding="utf-8")
            print(f"kept in {path}")


def replay_figures() -> list[Figure]:
    """Measure the replay, and the peer where it is installed."""
    peer = bench_replay.hftbacktest_figure()
    figures = run_all("benchmarks.bench_replay", bench_replay.BENCHMARKS)
    return figures if peer is None else [*figures, peer]


def market_figures() -> list[Figure]:
    """Measure what makes features and samples of market data."""
    figures = run_all("benchmarks.bench_features", bench_features.BENCHMARKS)
    return figures + run_all("benchmarks.bench_samples", bench_samples.BENCHMARKS)


def stream_figures() -> list[Figure]:
    """Measure the venue's messages: to rows from memory, through a socket to an inbox, and back after a cut."""
    figures = run_all("benchmarks.bench_streams", bench_streams.BENCHMARKS)
    figures += run_all("benchmarks.bench_live", bench_live.BENCHMARKS)
    return figures + run_all("benchmarks.bench_reconnect", bench_reconnect.BENCHMARKS)


def gpu_figures(benchmarks: Benchmarks) -> list[Figure]:
    """Measure on the GPU; none, with a word on stderr, where there is no GPU."""
    if not bench_gpu.has_gpu():
        print("  torch sees no GPU here; nothing was measured", file=sys.stderr)
        return []
    return run_all("benchmarks.bench_gpu", benchmarks)


def inference_figures() -> list[Figure]:
    """Measure forecasts of a replay and live, through the process; and on the GPU where there is one."""
    return run_all("benchmarks.bench_inference", bench_inference.BENCHMARKS) + gpu_figures(bench_gpu.INFERENCE)


GROUPS: dict[str, tuple[str, Callable[[], list[Figure]]]] = {
    "replay": ("Replay benchmarks", replay_figures),
    "venue": ("Venue model benchmarks", lambda: run_all("benchmarks.bench_venue", bench_venue.BENCHMARKS)),
    "streams": ("Market stream benchmarks", stream_figures),
    "trading": ("Order path benchmarks", lambda: run_all("benchmarks.bench_trading", bench_trading.BENCHMARKS)),
    "deliveries": (
        "Delivery record benchmarks",
        lambda: run_all("benchmarks.bench_deliveries", bench_deliveries.BENCHMARKS),
    ),
    "surfaces": ("What being watched costs an order", bench_surfaces.figures),
    "market": ("Market data benchmarks", market_figures),
    "emulator": (
        "Emulator benchmarks",
        lambda: run_all("benchmarks.bench_emulator", bench_emulator.BENCHMARKS),
    ),
    "models": (
        "Model benchmarks",
        lambda: (
            run_all("benchmarks.bench_models", bench_models.BENCHMARKS)
            + run_all("benchmarks.bench_decision", bench_decision.BENCHMARKS)
        ),
    ),
    "attention": ("Attention on a GPU", lambda: gpu_figures(bench_gpu.ATTENTION)),
    "inference": ("Inference benchmarks", inference_figures),
    "train": ("Training on a GPU", lambda: gpu_figures(bench_gpu.TRAIN)),
    "training": ("Memory of a training", lambda: run_all("benchmarks.bench_training", bench_training.BENCHMARKS)),
    "data": ("Import and storage benchmarks", lambda: run_all("benchmarks.bench_data", bench_data.BENCHMARKS)),
}


def _table(title: str, group: str, figures: Sequence[Figure]) -> str:
    lines = [
        f"# {title}",
        "",
        f"{utc_now():%Y-%m-%d}, {_processor()}, Python {platform.python_version()}. `python -m benchmarks.run {group}`",
        "",
        "Engine time: no interpreter start, compilation or report. Best and median of five runs, after one to warm up.",
        "",
        "| what | unit | best | median |",
        "|---|---|---|---|",
        *(f"| {f['name']} | {f['unit']} | {_number(f['best'])} | {_number(f['median'])} |" for f in figures),
    ]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.2f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
