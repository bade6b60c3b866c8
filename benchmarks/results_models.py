"""Train every network of docs/results.md, several seeds each, one after another; what is done is not done again.

    python -m benchmarks.results_models --out DIRECTORY [--seeds 1 2 3] [--only flagship lstm] [--evaluate] [--quick]

Artefacts land in DIRECTORY/artifacts, and `done.json` says which training became which. Stopped (Ctrl-C, SIGTERM) or
killed, the same command goes on where it was. `--evaluate` then opens the hold-out for those that were not judged yet:
the first batch, DIRECTORY/found, beside all baselines and traded, later ones (found2, ...) beside EWMA and HAR. No
model is judged on it twice, and each look is counted. `--quick` trains each network once, for an epoch of six weeks:
minutes that show whether all of it runs here, and no results. It needs the market data beside the checkout; see
config/train-perps.toml.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
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
QUICK = ["run.start=2024-10-01", 'split.train="45d"', "train.epochs=1", "train.resamples=100"]
_END_S = 60.0  # that a stopped training has for its checkpoint


class Stop(Exception):
    """Someone asked for the end."""


class Unfinished(Exception):
    """A training or an evaluation did not come to its end; the message says why, and what to do."""


def main() -> None:
    """Train what is not there yet, and judge what has not been judged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", help="1 2 3 without it; 1 with --quick")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="longest training; one that takes longer is stopped"
    )
    parser.add_argument("--evaluate", action="store_true", help="judge on the hold-out what has not been, once")
    parser.add_argument("--quick", action="store_true", help="a small try of everything; no results")
    told = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell's `&` has started it
        signal.signal(number, signal.default_int_handler)
    try:
        unfinished = _train_all(told)
        if told.evaluate and not unfinished:
            _evaluate(told)
    except (Stop, KeyboardInterrupt):
        sys.exit("stopped; what is done is kept, and the same command goes on")
    except Unfinished as why:
        sys.exit(str(why))
    if unfinished:
        sys.exit(f"{len(unfinished)} not trained: {', '.join(unfinished)}; nothing is judged before all are")


def _train_all(told: argparse.Namespace) -> list[str]:
    """Train all networks once before any of them twice; return what could not be."""
    told.out.mkdir(parents=True, exist_ok=True)
    done = _done(told.out)
    seeds = told.seeds or ([1] if told.quick else [1, 2, 3])
    wanted = [(network, seed) for seed in seeds for network in told.only]
    unfinished: list[str] = []
    for number, (network, seed) in enumerate(wanted, start=1):
        name = f"{network}-{seed}"
        if name in done:
            continue
        left = _left(done, [f"{network}-{seed}" for network, seed in wanted[number - 1 :]])
        _say(f"[{number} of {len(wanted)}] {name}; {left}")
        try:
            made = _train(network, seed, told)
        except Unfinished as why:
            _say(f"{name}: {why}")
            unfinished.append(name)
            continue
        done[name] = {key: made[key] for key in ("model", "path", "seconds")}
        part = told.out / "done.json.part"
        part.write_text(json.dumps(done, indent=1) + "\n")
        part.replace(told.out / "done.json")
        _say(f"{name}: {made['model']}, {made['seconds']} s")
    return unfinished


def _done(out: Path) -> dict[str, dict[str, object]]:
    index = out / "done.json"
    done: dict[str, dict[str, object]] = json.loads(index.read_text()) if index.exists() else {}
    return done


def _left(done: dict[str, dict[str, object]], names: Sequence[str]) -> str:
    """Return how long the rest will take, by what the same networks took, or all together did."""
    took: dict[str, list[float]] = {}
    for name, made in done.items():
        took.setdefault(name.rpartition("-")[0], []).append(float(str(made["seconds"])))
    every = [seconds for each in took.values() for seconds in each]
    if not every:
        return "how long all of it takes is known when one is done"
    known = [took.get(name.rpartition("-")[0], every) for name in names if name not in done]
    return f"about {sum(sum(each) / len(each) for each in known) / 60:.0f} min of training left"


def _train(network: str, seed: int, told: argparse.Namespace) -> dict[str, object]:
    """Train one network, from its checkpoint if there is one.

    Raises:
        Unfinished: it takes too long, or cannot be done; its log says more.
    """
    out: Path = told.out
    settings = [*NETWORKS[network], *(QUICK if told.quick else ()), f"train.seed={seed}"]
    settings.append(f'train.cache="{out / "panels"}"')
    words = ["train", "--config", str(CONFIG), "--out", str(out / "artifacts"), "--json"]
    for each in settings:
        words += ["--set", each]
    log = out / f"{network}-{seed}.log"
    for extra in ([], ["--resume"]):
        code, answer, last = _bot([*words, *extra], log, network, told.minutes * 60)
        if code == 0:
            made: dict[str, object] = json.loads(answer)
            return made
        if "add --resume" not in last:
            break
    raise Unfinished(f"{last}; more in {log}")


def _evaluate(told: argparse.Namespace) -> None:
    out, done = told.out, _done(told.out)
    batches = [json.loads(path.read_text()) for path in out.glob("found*/results.json")]
    judged = {model["model"] for batch in batches for model in batch["models"]}
    # The first seed of each network in the order of the table above, then the second seeds.
    order = sorted(done, key=lambda name: (name.rpartition("-")[2], list(NETWORKS).index(name.rpartition("-")[0])))
    models = [model for model in (str(done[name]["model"]) for name in order) if model not in judged]
    if not models:
        _say(f"{out}: all models were judged before; nothing is judged on the hold-out twice")
        return
    found = out / ("found" if not batches else f"found{len(batches) + 1}")
    words = ["evaluate", *models, "--config", str(CONFIG), "--resamples", "200" if told.quick else "1000"]
    words += ["--store", str(out / "artifacts"), "--out", str(found), "--set", f'train.cache="{out / "panels"}"']
    if told.quick:
        words += ["--set", QUICK[0]]
    words += ["--baseline", "ewma", "--baseline", "har"] if batches else ["--trade", str(TRADE)]
    _say(f"{len(models)} models are judged on the hold-out")
    code, _, last = _bot(words, out / f"{found.name}.log", "judging", None)
    if code and not (found / "results.json").exists():
        raise Unfinished(f"{last}; more in {out / f'{found.name}.log'}")
    if code:  # too good to be true: it is written, and said
        sys.exit(code)


def _bot(words: Sequence[str], log: Path, what: str, seconds: float | None) -> tuple[int, str, str]:
    """Run a command of the bot, telling what it tells; return its exit code, its answer and the last that it told.

    Raises:
        Stop: asked for the end; the command has been given time to keep what it has.
        Unfinished: it takes longer than it may; likewise.
    """
    end = None if seconds is None else time.monotonic() + seconds
    answers = log.with_suffix(".answer")
    last, is_late = "", False
    with log.open("a") as kept, answers.open("w+") as answer:
        # Ctrl-C is ours to hand on, once: a second one would not wait for the checkpoint. Should this program be
        # killed, the other finds nobody to tell, and ends as well.
        with subprocess.Popen(
            [sys.executable, "-m", "bot", *words],
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            process_group=0,
        ) as process:
            assert process.stderr is not None
            try:
                for line in process.stderr:
                    last = line.strip() or last
                    kept.write(line)
                    kept.flush()
                    if "half done; add --resume" not in last:  # it is added
                        _say(f"  {what}: {last.removeprefix('bot: ')}")
                    if end is not None and time.monotonic() > end and not is_late:
                        is_late = True
                        process.terminate()
            except KeyboardInterrupt:
                process.terminate()
                try:
                    process.wait(_END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                raise Stop from None
        answer.seek(0)
        told = answer.read()
    answers.unlink()
    if is_late and process.returncode:
        raise Unfinished("it takes longer than --minutes; its checkpoint is kept, and the same command goes on")
    return process.returncode, told, last.removeprefix("bot: ")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
