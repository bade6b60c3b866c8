"""What can be done with a finished run: its report, its ledger."""

import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from bot.domain.errors import ConfigError, DataError
from bot.report.fills_bracket import preset_figures
from bot.report.metrics import compute_metrics
from bot.report.page import render
from bot.report.run_data import PRESETS, ForecastTable, PresetFigures, RunData
from bot.store.audit import Audit, audit_run
from bot.store.migrate import versions
from bot.store.run_reader import LEDGER_TABLES, RunReader, open_ledger

_BRACKET = "bracket.json"
_SIBLING = re.compile(r"\.\./[\w.-]+")  # a run's directory beside another's; the page links to it


def read_run(directory: Path) -> RunData:
    """Return all that a report of a finished run is drawn from.

    Raises:
        DataError: it is no finished run, or damaged.
    """
    reader = RunReader(directory)
    try:
        run = reader.run()
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
            orders=reader.frame("orders"),
            forecasts={name: ForecastTable(**parts) for name, parts in reader.forecasts().items()},
            fill_model=fill_model_of(directory),
            bracket=kept_bracket(directory, str(run["ledger_hash"])),
        )
    finally:
        reader.close()


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
        return run | {f"balance {row.account}": f"{row.amount:f} {row.currency}" for row in balances}
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
