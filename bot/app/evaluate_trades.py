"""What forecasts earn: each model traded through the real replay over the judged stretch, net of fees and funding."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bot.app import replay as replaying
from bot.app.replay_market import open_market
from bot.app.runs import read_run
from bot.core.durations import parse_duration
from bot.domain.errors import DataError
from bot.domain.market import F64, I64
from bot.report.equity import equity_curve, sample
from bot.runtime.settings import Settings
from models.evaluation.strategy import StrategyStatistics, judge_equity
from models.manifest import Manifest

HOLD = "buy and hold"


@dataclass(frozen=True, kw_only=True, slots=True)
class Traded:
    """One model's replay."""

    directory: Path
    orders: int
    ts_ns: I64  # whole hours or days from the beginning of the judged stretch
    equity: F64
    hold: F64  # the same money in equal parts of the instruments, never moved


def trade(settings: Settings, artefact: Path, manifest: Manifest, *, from_ns: int, to_ns: int | None) -> Traded:
    """Replay a strategy by the forecasts of a model, begun early enough for the model to have warmed up.

    What it earned before `from_ns` is left out; it may hold a position then.

    Raises:
        BotError: settings, model and data do not go together.
    """
    run = settings.run.model_copy(update={"start": from_ns - _warm_up_ns(manifest), "end": to_ns})
    predictor = settings.predictor.model_copy(update={"kind": "artifact", "path": artefact})
    chosen = settings.model_copy(update={"run": run, "predictor": predictor})
    done = replaying.replay(chosen, open_market(chosen), is_latest=False)
    data = read_run(done.directory)
    curve = equity_curve(data)
    read = sample(curve, int(curve.ts_ns[-1]) - from_ns)
    kept = read.ts_ns >= from_ns
    return Traded(
        directory=done.directory,
        orders=len(data.orders),
        ts_ns=read.ts_ns[kept],
        equity=read.equity[kept],
        hold=read.hold[kept],
    )


def judge(ts_ns: I64, equity: F64, *, trials: int) -> StrategyStatistics | None:
    """Return the figures of an equity curve; None where nothing was ever held, which has no ratio."""
    if len(equity) < 3 or np.ptp(equity) == 0:
        return None
    try:
        return judge_equity(ts_ns, equity, trials=trials)
    except DataError as error:
        raise DataError(f"the equity curve cannot be judged: {error}") from error


def _warm_up_ns(manifest: Manifest) -> int:
    """Return how long before a decision a model's data must begin: features first, then the network's own history."""
    features = max(spec.warmup for spec in manifest.features.features)
    return max(
        (features + streaming.warm_up + 1) * parse_duration(scale) for scale, streaming in manifest.streaming.items()
    )
