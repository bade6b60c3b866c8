"""How often the hold-out was looked at: one line for every evaluation, in `trials.jsonl` of a project's directory.

The best of a hundred tries is worth less than the only one, and nobody remembers a hundred tries. So each evaluation is
written down before it sees the hold-out, and what it found afterwards. Lines are only ever added. A last line that a
crash cut short was never acknowledged: it is no record, and the next one takes its place. Anything else that cannot be
read is an error, because a count that skips what it does not understand is too low.
"""

import fcntl
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bot.domain.errors import DataError, StorageError

FILE_NAME = "trials.jsonl"
_BYTES_MAX = 64 << 20
_LINE_MAX = 1 << 16  # bytes


class TrialOpened(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="opened"):
    """An evaluation on the hold-out is about to begin; times are ns since the epoch, UTC."""

    trial: int  # 1, 2, 3, ...
    ts_ns: int  # when
    model_id: str
    instruments: tuple[str, ...]
    from_ns: int  # the data it is judged on
    to_ns: int
    settings: str = ""  # what was tried, such as a hash of the configuration


class TrialScored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="scored"):
    """What an evaluation found."""

    trial: int
    ts_ns: int
    sharpe_per_bar: float | None = None  # None: it has none
    bars: int | None = None


Record = TrialOpened | TrialScored
_decoder = msgspec.json.Decoder(Record)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trials:
    """All that was written down."""

    records: tuple[Record, ...]
    torn_bytes: int = 0  # of a last line that was cut short

    @property
    def count(self) -> int:
        """Return how many evaluations there were, finished or not."""
        return sum(isinstance(record, TrialOpened) for record in self.records)

    def sharpe_deviation(self) -> float | None:
        """Return by how much the Sharpe ratios per bar found so far vary; None for fewer than two."""
        found = {r.trial: r.sharpe_per_bar for r in self.records if isinstance(r, TrialScored)}
        ratios = [ratio for ratio in found.values() if ratio is not None]
        if len(ratios) < 2:
            return None
        mean = math.fsum(ratios) / len(ratios)
        return math.sqrt(math.fsum((ratio - mean) ** 2 for ratio in ratios) / (len(ratios) - 1))


def read_trials(directory: Path) -> Trials:
    """Return what a project's directory tells; no file is no trial.

    Raises:
        DataError: the file is not what this module writes.
    """
    path = directory / FILE_NAME
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
    except FileNotFoundError:
        return Trials(records=())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return _parse(path, content)


def open_trial(
    directory: Path,
    *,
    ts_ns: int,
    model_id: str,
    instruments: Iterable[str],
    from_ns: int,
    to_ns: int,
    settings: str = "",
) -> int:
    """Write down that an evaluation begins, and return its number; call it before the hold-out is opened.

    Raises:
        DataError: the file is not what this module writes, or the record makes no sense.
        StorageError: it could not be written.
    """
    names = tuple(instruments)
    return _append(
        directory,
        lambda trials: TrialOpened(
            trial=trials.count + 1,
            ts_ns=ts_ns,
            model_id=model_id,
            instruments=names,
            from_ns=from_ns,
            to_ns=to_ns,
            settings=settings,
        ),
    )


def score_trial(
    directory: Path, trial: int, *, ts_ns: int, sharpe_per_bar: float | None = None, bars: int | None = None
) -> None:
    """Write down what an evaluation found.

    Raises:
        DataError: there is no such trial, or the file is not what this module writes.
        StorageError: it could not be written.
    """
    ratio = sharpe_per_bar if sharpe_per_bar is not None and math.isfinite(sharpe_per_bar) else None
    _append(directory, lambda _: TrialScored(trial=trial, ts_ns=ts_ns, sharpe_per_bar=ratio, bars=bars))


def _append(directory: Path, make: Callable[[Trials], Record]) -> int:
    """Add the record that `make` returns for what is there, under a lock, and return its trial's number."""
    path = directory / FILE_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error.strerror}") from error
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        content = b"".join(iter(lambda: file.read(1 << 20), b""))
        trials = _parse(path, content)
        record = make(trials)
        _check(path, [*trials.records, record])
        line = msgspec.json.encode(record) + b"\n"
        if len(line) > _LINE_MAX:
            raise DataError(f"a trial of {len(line):,} bytes is too long to write down; shorten its settings")
        try:
            end = len(content) - trials.torn_bytes
            file.truncate(end)
            file.seek(end)
            if file.write(line) != len(line):
                raise StorageError(f"{path}: the disk took only a part of a trial; free some space")
            os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    return record.trial


def _parse(path: Path, content: bytes) -> Trials:
    if len(content) > _BYTES_MAX:
        raise DataError(f"{path} is larger than {_BYTES_MAX:,} bytes; it is no list of trials")
    *lines, torn = content.split(b"\n")
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}, line {number}: {error}; restore the file, do not start a new one") from error
    _check(path, records)
    return Trials(records=tuple(records), torn_bytes=len(torn))


def _check(path: Path, records: Iterable[Record]) -> None:
    """Raise DataError unless the records make sense together."""
    opened = 0
    scored: set[int] = set()
    for number, record in enumerate(records, start=1):
        wrong = ""
        if isinstance(record, TrialOpened):
            opened += 1
            if record.trial != opened:
                wrong = f"trial {record.trial} stands where trial {opened} should; a line is missing or repeated"
            elif not (record.model_id and record.instruments and record.from_ns < record.to_ns):
                wrong = "a trial needs a model, an instrument, and data that end after they begin"
        elif not 1 <= record.trial <= opened or record.trial in scored:
            wrong = f"trial {record.trial} is scored before it was opened, or twice"
        elif record.sharpe_per_bar is not None and not math.isfinite(record.sharpe_per_bar):
            wrong = "a Sharpe ratio is not a number"
        else:
            scored.add(record.trial)
        if wrong:
            raise DataError(f"{path}, line {number}: {wrong}")
