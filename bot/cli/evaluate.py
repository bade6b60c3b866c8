"""`bot evaluate`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from pydantic import ValidationError

from bot.app import evaluate as evaluating
from bot.app import shadow_audit
from bot.app.outcomes import RunFailed
from bot.cli.output import Json, Set, err
from bot.cli.train import PATIENCE_S, Stages
from bot.core.lookahead import iso
from bot.domain.errors import ConfigError, StorageError
from bot.report.evaluation_charts import coverage_chart, coverage_over_time, skill_chart
from bot.runtime import logs
from bot.runtime.env import StopFlag, run_in_thread
from bot.runtime.settings import RunSettings, load
from bot.runtime.train_settings import load_train
from models.evaluation.bootstrap import Sampling
from models.evaluation.leaks import exit_code
from models.evaluation.results import to_json, to_markdown


def evaluate(
    models: Annotated[list[str], typer.Argument(help="Names in the store, beginnings of names, or paths.")] = [],  # noqa: B006
    config: Annotated[
        Path | None, typer.Option("--config", "--data", help="TOML file of a training: where market data lies.")
    ] = None,
    shadow: Annotated[
        Path | None, typer.Option("--shadow", help="A finished run: judge its shadow beside the model that it traded.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="First decision, UTC; without it, where the models' hold-out begins.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="First decision no longer judged, UTC.")] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Beside what can be fitted to the same training stretch.")
    ] = True,
    only: Annotated[list[str], typer.Option("--baseline", help="Only this baseline; may be repeated.")] = [],  # noqa: B006
    store: Annotated[Path, typer.Option("--store", help="Where artefacts are kept.")] = Path("artifacts"),
    out: Annotated[Path | None, typer.Option("--out", help="Write results.json, results.md and charts there.")] = None,
    resamples: Annotated[int, typer.Option(min=100, max=1_000_000, help="Of the bootstrap intervals.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 1,
    in_sample: Annotated[
        bool, typer.Option("--in-sample", help="Judge also on what a model has seen; marked, and proves nothing.")
    ] = False,
    trials: Annotated[
        Path | None, typer.Option("--trials", help="Where looks at the hold-out are counted; without it, in the store.")
    ] = None,
    trade: Annotated[
        Path | None, typer.Option("--trade", help="TOML file of a replay: trade each model by its strategy as well.")
    ] = None,
    overrides: Set = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Judge trained models on months that none of them has seen, beside baselines, every figure with its interval.

    Exit code 1 if a result is too good to be true.
    """
    sampling = Sampling(seed=seed, resamples=resamples)
    if shadow is not None:
        if models or config is not None:
            raise ConfigError("--shadow judges a run by its own files; leave out models and --config")
        _shadow(shadow, sampling, out, as_json)
        return
    if config is None:
        raise ConfigError("name models and a --config of where market data lies, or a run with --shadow")
    settings = load_train(config, overrides)
    logs.configure(settings.log.level)
    from_ns, to_ns = _time("--from", start), _time("--to", end)
    request = evaluating.Request(
        models=models,
        store=store,
        settings=settings,
        from_ns=from_ns,
        to_ns=to_ns,
        baselines=tuple(only) if baselines else None,
        is_in_sample_allowed=in_sample,
        sampling=sampling,
        trials=trials or store,
        trade=None if trade is None else load(trade, []),
        threads=settings.train.threads,
    )
    found = _evaluate(request)
    text = to_markdown(found.results)
    if out is not None:
        _write(out, found, text)
    if as_json:
        sys.stdout.write(to_json(found.results).decode() + "\n")
    else:
        typer.echo(_heading(found) + "\n\n" + text, nl=False)
    leaks = [finding for finding in found.results.findings if exit_code([finding])]
    if leaks:
        raise RunFailed("\n".join(str(finding) for finding in leaks))


def _evaluate(request: evaluating.Request) -> evaluating.Evaluation:
    """Evaluate in a thread, so that Ctrl-C is heard."""
    stages = Stages(is_quiet=False)

    def work(flag: StopFlag) -> evaluating.Evaluation:
        def tell(stage: str, part: float, text: str) -> None:
            flag.wait(0)
            stages.tell(stage, part, text)

        return evaluating.evaluate(request, tell)

    try:
        with stages:
            return run_in_thread(work, patience_s=PATIENCE_S)
    except KeyboardInterrupt:
        raise RunFailed(
            "interrupted; features that were computed are kept, and a look at the hold-out counts once it has begun: "
            "the same command begins again"
        ) from None


def _shadow(directory: Path, sampling: Sampling, out: Path | None, as_json: bool) -> None:
    found = shadow_audit.audit_shadow(directory, sampling=sampling)
    text = f"{shadow_audit.heading(found)}\n\n{to_markdown(found.results)}"
    if out is not None:
        _write_files(out, {"shadow.json": shadow_audit.as_json(found), "shadow.md": text.encode()})
    if as_json:
        sys.stdout.write(shadow_audit.as_json(found).decode() + "\n")
    else:
        typer.echo(text, nl=False)


def _time(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return RunSettings(start=text).start
    except ValidationError as error:
        raise ConfigError(f"{option} {text}: {error.errors(include_url=False)[0]['msg']}") from error


def _heading(found: evaluating.Evaluation) -> str:
    first, last = (iso(each) for each in (found.results.models[0].from_ns, found.results.models[0].to_ns))
    lines = [f"Decisions of {', '.join(found.instruments)} from {first} to {last}."]
    if found.left_out:
        lines.append(f"{found.left_out:,} decisions that not every model could answer are left out.")
    lines += [
        f"IN SAMPLE: {model} has seen this stretch ({' and '.join(stretches)}); its figures prove nothing."
        for model, stretches in found.in_sample.items()
    ]
    if found.idle:
        lines.append(f"Traded and never held anything, for no forecast promised its costs: {', '.join(found.idle)}.")
    return "\n".join(lines)


def _write(out: Path, found: evaluating.Evaluation, text: str) -> None:
    results = msgspec.json.decode(to_json(found.results))
    files = {"results.json": to_json(found.results), "results.md": f"{_heading(found)}\n\n{text}".encode()}
    first = results["models"][0]
    metrics = first["horizons"][0]["metrics"]  # by name, so that the narrowest interval comes first
    widest = max((m.removeprefix("coverage_") for m in metrics if m.startswith("coverage_")), key=float, default="")
    for baseline in ("ewma", "har", "lightgbm"):
        if baseline in results["baselines"]:
            for loss in ("pinball", "qlike"):
                chart = skill_chart(results, loss=loss, baseline=baseline)
                files[f"skill-{loss}-over-{baseline}.svg"] = chart.encode()
    if widest:
        files["coverage.svg"] = coverage_chart(results, nominal=widest).encode()
        files["coverage-over-time.svg"] = coverage_over_time(results, model=first["model"], nominal=widest).encode()
    _write_files(out, files)


def _write_files(out: Path, files: Mapping[str, bytes]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    err.print(f"written to {out}: {', '.join(sorted(files))}")
