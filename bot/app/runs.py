"""What can be done with a finished run: its report, its ledger."""

import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import inspect

from bot.domain.errors import ConfigError, DataError
from bot.domain.operation import STATUS_FILE
from bot.report.fills_bracket import preset_figures
from bot.report.metrics import compute_metrics
from bot.report.page import render
from bot.report.run_data import PRESETS, ForecastTable, PresetFigures, RunData
from bot.store import tables
from bot.store.audit import Audit, audit_run
from bot.store.live_run_reader import LiveRunReader
from bot.store.migrate import versions
from bot.store.run_reader import LEDGER_TABLES, RunReader, open_ledger
from bot.store.strategy_results import strategy_results

_BRACKET = "bracket.json"
_SIBLING = re.compile(r"\.\./[\w.+-]+")  # a run's directory beside another's; the page links to it


def read_run(directory: Path) -> RunData:
    """Return all that a report of a finished run is drawn from.

    Raises:
        DataError: it is no finished run, or damaged.
    """
    reader = open_run(directory)
    try:
        forecasts = reader.forecasts()
        run = reader.run() | _told_live(directory, reader, forecasts)
        return RunData(
            run=run,
            start_cash=Decimal(run["start_cash"]),
            tape=reader.tape(),
            fills=reader.fills(),
            funding=reader.frame("funding"),
            adjustments=reader.frame("adjustments"),
            decisions=reader.frame("decisions"),
            denials=reader.frame("denials"),
            trading_states=reader.frame("trading_states"),
            book_moves=reader.frame("book_moves"),
            books_before=reader.books_before(),
            orders=reader.frame("orders"),
            forecasts={name: ForecastTable(**parts) for name, parts in forecasts.items()},
            fill_model=fill_model_of(directory),
            bracket=kept_bracket(directory, str(run["ledger_hash"])),
        )
    finally:
        reader.close()


def open_run(directory: Path) -> RunReader:
    """Return a reader of a run: of a replay's own ledger, or of its stretch in an account's.

    Raises:
        DataError: there is none, or it is damaged.
    """
    where = live_ledger_of(directory)
    if where is None:
        return RunReader(directory)
    return LiveRunReader(directory.resolve(), where, is_running=(directory / STATUS_FILE).is_file())


def live_ledger_of(directory: Path) -> str | None:
    """Return where the ledger is that a run of paper or live trading wrote; None for a replay.

    Raises:
        DataError: it is not where the run's settings say.
    """
    settings = _settings_of(directory)
    if "symbols" not in settings:  # of a replay, or no run at all: whoever reads it says so
        return None
    at = settings.get("ledger", {}).get("at")
    if at:
        return str(at)
    if (directory / "ledger.sqlite").is_file():
        return str(directory)
    venue = settings.get("venue", {})
    name = "-".join(str(venue[key]) for key in ("environment", "uid") if venue.get(key))
    return str(directory.resolve().parent / "ledgers" / Path(name).name)


def _told_live(directory: Path, reader: RunReader, forecasts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what a live run's own directory knows better than a ledger of many runs."""
    if not isinstance(reader, LiveRunReader):
        return {}
    settings = _settings_of(directory)
    chosen = settings.get("strategies") or [settings.get("strategy", {})]
    by_name = {str(each.get("label") or each["name"]): each.get("params", {}) for each in chosen if "name" in each}
    params = by_name if len(by_name) != 1 else next(iter(by_name.values()))
    told = {"strategy": "+".join(by_name) or None, "parameters": msgspec.json.encode(params).decode()}
    model_id = next((parts["model_id"] for parts in forecasts.values()), None)
    return {key: value for key, value in (told | {"model_id": model_id}).items() if value is not None}


def _settings_of(directory: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((directory / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_report(directory: Path) -> dict[str, Any]:
    """Write `report.html` and `metrics.json` into a finished run's directory; return the metrics.

    Raises:
        DataError: it is no finished run, or damaged, or the files cannot be written.
    """
    data = read_run(directory)
    metrics = compute_metrics(data)
    _write(directory, "report.html", render(data, metrics))
    _write(directory, "metrics.json", _pretty(metrics))
    return metrics


def measure_run(directory: Path) -> PresetFigures:
    """Return what a bracket shows of a finished run.

    Raises:
        DataError: it is no finished run, or damaged.
    """
    data = read_run(directory)
    return preset_figures(data, compute_metrics(data), f"../{directory.name}")


def keep_bracket(directory: Path, bracket: dict[str, PresetFigures]) -> None:
    """Put a bracket beside the run that it is of: its report is drawn with it from now on.

    Raises:
        DataError: the file cannot be written.
    """
    _write(directory, _BRACKET, msgspec.json.encode(bracket).decode())


def fill_model_of(directory: Path) -> str | None:
    """Return what a run assumed of fills, as its settings say; None if they are not there or do not say."""
    try:
        venue = tomllib.loads((directory / "config.toml").read_text(encoding="utf-8"))["venue"]
        return venue["fills"] if venue["fills"] in PRESETS else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def kept_bracket(directory: Path, ledger_hash: str) -> dict[str, PresetFigures] | None:
    """Return the bracket that is kept beside a run, None if there is none.

    Raises:
        DataError: it is damaged, or another run's.
    """
    path = directory / _BRACKET
    try:
        bracket = msgspec.json.decode(path.read_bytes(), type=dict[str, PresetFigures])
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it and replay with --bracket") from error
    is_ours = bracket.keys() == set(PRESETS) and ledger_hash in {each.ledger_hash for each in bracket.values()}
    if not is_ours or not all(_SIBLING.fullmatch(each.run) for each in bracket.values()):
        raise DataError(f"{path}: is not of this run; delete it and replay with --bracket")
    return bracket


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def _write(directory: Path, name: str, text: str) -> None:
    part = directory / f"{name}.part"
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(directory / name)
    except OSError as error:
        raise DataError(
            f"{directory}: the report cannot be written ({error.strerror}); free space and run `bot report {directory}`"
        ) from error


def audit(directory: Path) -> Audit:
    """Return the audit of a finished run's ledger.

    Raises:
        DataError: it is no finished run.
    """
    return audit_run(directory)


def describe_ledger(directory: Path) -> dict[str, Any]:
    """Return who a finished run was and what its accounts hold, JSON-ready.

    Raises:
        DataError: it is no finished run.
    """
    reader = RunReader(directory)
    try:
        run = {name: str(value) if isinstance(value, Decimal) else value for name, value in reader.run().items()}
        balances = reader.frame("balances").itertuples()
        run |= {f"balance {row.account}": f"{row.amount:f} {row.currency}" for row in balances}
        engine = open_ledger(directory)
        try:
            with engine.connect() as connection:
                if tables.book_moves.name in inspect(connection).get_table_names():
                    run |= {f"strategy {name}": text for name, text in strategy_results(connection)}
        finally:
            engine.dispose()
        return run
    finally:
        reader.close()


def export_ledger(directory: Path, out: Path) -> list[Path]:
    """Write every table of a finished run's ledger as CSV into `out`; return the files.

    Raises:
        DataError: it is no finished run.
        ConfigError: `out` cannot be written.
    """
    reader = RunReader(directory)
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in LEDGER_TABLES:
            frame = reader.frame(name)
            if name == "journal":
                frame["hash"] = [value.hex() for value in frame["hash"]]
            part = out / f"{name}.csv.part"
            frame.to_csv(part, index=False)
            written.append(part.replace(out / f"{name}.csv"))
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror}; choose a directory you may write") from error
    finally:
        reader.close()
    return written


def schema_versions(directory: Path) -> tuple[str | None, str | None]:
    """Return the schema version of a finished run's ledger, and the newest there is.

    Raises:
        DataError: it is no finished run.
    """
    engine = open_ledger(directory)
    try:
        return versions(engine)
    finally:
        engine.dispose()
