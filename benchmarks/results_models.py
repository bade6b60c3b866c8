"""Train every network of docs/results.md, several seeds each, one after another; what is done is not done again.

    python -m benchmarks.results_models --out DIRECTORY [--seeds 1 2 3] [--only flagship lstm] [--evaluate]

Artefacts land in DIRECTORY/artifacts, and `done.json` says which training became which. A training that was stopped is
gone on with. `--evaluate` then opens the hold-out for those that were not judged yet: the first batch, DIRECTORY/found,
beside all baselines and traded, later ones (found2, ...) beside EWMA and HAR. No model is judged on it twice, and each
look is counted. It needs the market data beside the checkout; see config/train-perps.toml.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

CONFIG = Path("config/train-perps.toml")
TRADE = Path("config/replay-perps-2025.toml")
ONE_SCALE = ['model.scales=["5m"]', 'bars.scales=["5m"]']
WINDOWS = ["train.batch=256", "train.evaluate_every=50", "train.checkpoint_every=100"]
# A token for every value of a window, or a sequence for every feature: with 24 features that is no work for a CPU.
FEW_FEATURES = ["log_return", "volatility(5)", "volatility(50)", "ewma_volatility", "ewma_volatility(0.99)"]
FEW_FEATURES += ["parkinson_volatility", "relative_volume(20)", "time_of_day('sin')", "time_of_day('cos')"]
FEW_FEATURES += ["day_of_week('sin')"]
FEW = [f"features.use={json.dumps(FEW_FEATURES)}"]
# What each network changes of the configuration; sizes and windows are those of its preset.
NETWORKS: dict[str, list[str]] = {
    "flagship": [],
    "dlinear": ["model.preset=dlinear-small", *ONE_SCALE, *WINDOWS, "train.thin=2", "train.epochs=2"],
    "lstm": ["model.preset=lstm-small", *ONE_SCALE, *WINDOWS, "train.thin=4", "train.epochs=4"],
    "longctx": ["model.preset=longctx-small", *ONE_SCALE],
    "patchtst": ["model.preset=patchtst-small", *ONE_SCALE, *FEW, *WINDOWS, "train.thin=8", "train.epochs=3"],
    "multiscale": ["model.preset=multiscale-small", *WINDOWS, "train.thin=16", "train.epochs=3"],
    "migt": ["model.preset=migt-small", *ONE_SCALE, *FEW, *WINDOWS, "train.thin=32", "train.epochs=4"],
}


def main() -> None:
    """Train what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="longest training; one that takes longer is stopped"
    )
    parser.add_argument("--evaluate", action="store_true", help="judge on the hold-out what has not been, once")
    told = parser.parse_args()
    told.out.mkdir(parents=True, exist_ok=True)
    index = told.out / "done.json"
    done: dict[str, dict[str, object]] = json.loads(index.read_text()) if index.exists() else {}
    for seed in told.seeds:  # all networks once before any of them twice
        for network in told.only:
            name = f"{network}-{seed}"
            if name in done:
                continue
            made = _train(network, seed, told.out, told.minutes)
            if made is None:
                sys.stderr.write(f"{name}: not finished\n")
                continue
            done[name] = made
            index.write_text(json.dumps(done, indent=1) + "\n")
            sys.stderr.write(f"{name}: {made['model']}, {made['seconds']} s\n")
    if told.evaluate:
        sys.exit(_evaluate(done, told.out))


def _evaluate(done: dict[str, dict[str, object]], out: Path) -> int:
    batches = [json.loads(path.read_text()) for path in out.glob("found*/results.json")]
    judged = {model["model"] for batch in batches for model in batch["models"]}
    # The first seed of each network in the order of the table above, then the second seeds.
    order = sorted(done, key=lambda name: (name.rpartition("-")[2], list(NETWORKS).index(name.rpartition("-")[0])))
    models = [model for model in (str(done[name]["model"]) for name in order) if model not in judged]
    if not models:
        sys.stderr.write(f"{out}: all models were judged before; nothing is judged on the hold-out twice\n")
        return 0
    found = out / ("found" if not batches else f"found{len(batches) + 1}")
    command = [sys.executable, "-m", "bot", "evaluate", *models, "--config", str(CONFIG), "--resamples", "1000"]
    command += ["--store", str(out / "artifacts"), "--out", str(found), "--set", f'train.cache="{out / "panels"}"']
    command += ["--baseline", "ewma", "--baseline", "har"] if batches else ["--trade", str(TRADE)]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode


def _train(network: str, seed: int, out: Path, minutes: float) -> dict[str, object] | None:
    settings = [*NETWORKS[network], f"train.seed={seed}", f'train.cache="{out / "panels"}"']
    command = [sys.executable, "-m", "bot", "train", "--config", str(CONFIG), "--out", str(out / "artifacts"), "--json"]
    for each in settings:
        command += ["--set", each]
    for extra in ([], ["--resume"]):
        with (out / f"{network}-{seed}.log").open("a") as log:
            try:
                made = subprocess.run(
                    [*command, *extra], stdout=subprocess.PIPE, stderr=log, text=True, timeout=minutes * 60, check=False
                )
            except subprocess.TimeoutExpired:
                return None
        if made.returncode == 0:
            told = json.loads(made.stdout)
            return {key: told[key] for key in ("model", "path", "seconds")}
    return None


if __name__ == "__main__":
    main()
