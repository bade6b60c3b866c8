"""What can be done with a finished run: its report, its ledger."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from bot.domain.errors import ConfigError, DataError
from bot.report.metrics import compute_metrics
from bot.report.page import render
from bot.report.run_data import ForecastTable, RunData
from bot.store.audit import Audit, audit_run
from bot.store.migrate import versions
from bot.store.run_reader import LEDGER_TABLES, RunReader, open_ledger


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
            decisions=reader.frame("decisions"),
            denials=reader.frame("denials"),
            trading_states=reader.frame("trading_states"),
            orders=reader.frame("orders"),
            forecasts={name: ForecastTable(**parts) for name, parts in reader.forecasts().items()},
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
    try:
        for name, text in (
            ("report.html", render(data, metrics)),
            ("metrics.json", msgspec.json.format(msgspec.json.encode(metrics), indent=2).decode() + "\n"),
        ):
            part = directory / f"{name}.part"
            part.write_text(text, encoding="utf-8")
            part.replace(directory / name)
    except OSError as error:
        raise DataError(
            f"{directory}: the report cannot be written ({error.strerror}); free space and run `bot report {directory}`"
        ) from error
    return metrics


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
