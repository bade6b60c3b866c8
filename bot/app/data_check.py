"""Market data looked at before anybody trusts it: the store's own datasets, or files before they are imported.

What a row says is judged by the scans of `core.data_quality`; here rows are brought to them and what only whole files
can show is added.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bot.core.data_quality.findings import Example, Finding, Limits, Quality, Severity, many
from bot.core.data_quality.outages import find_outages
from bot.core.data_quality.scans import scan_of
from bot.domain.errors import ConfigError, DataError
from bot.store.importing.native import parts_of
from bot.store.importing.options import ImportOptions
from bot.store.importing.part import Part, Rejected
from bot.store.importing.sources import is_candidate, recognise
from bot.store.market_dataset import Dataset
from bot.store.market_format import layout_of, partition_span_ns
from bot.store.market_store import REJECTED

Progress = Callable[[float, str], None]

# What an import repairs by itself: of a file that is not imported yet it is no error.
_REPAIRED = frozenset(
    {
        "bars.disorder",
        "bars.duplicate",
        "funding.disorder",
        "funding.duplicate",
        "quotes.disorder",
        "trades.disorder",
        "trades.duplicate",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """One dataset and what was found in it.

    Attributes:
        path: the folder of the store, or the file.
        files: first row and path of each file that it consists of.
    """

    venue: str
    symbol: str
    kind: str
    path: Path
    quality: Quality
    files: tuple[tuple[int, Path], ...] = ()

    @property
    def name(self) -> str:
        """Return what it is called: "bybit-linear BTCUSDT bars-1m"."""
        return " ".join(word for word in (self.venue, self.symbol, self.kind) if word) or str(self.path)

    def locate(self, row: int) -> tuple[Path, int]:
        """Return the file that a row lies in, and its number there."""
        first_row, path = max((each for each in self.files if each[0] <= row), default=(0, self.path))
        return path, row - first_row


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """All that was checked; `common` are findings about several datasets together."""

    datasets: tuple[Checked, ...]
    common: tuple[Finding, ...]

    @property
    def findings(self) -> list[Finding]:
        """Return all findings."""
        return [finding for each in self.datasets for finding in each.quality.findings] + list(self.common)

    def count(self, severity: Severity) -> int:
        """Return how many findings are of this severity."""
        return sum(finding.severity is severity for finding in self.findings)


def check(
    paths: Sequence[Path],
    *,
    options: ImportOptions | None = None,
    limits: Limits | None = None,
    on_progress: Progress = lambda done, at: None,
) -> CheckReport:
    """Look at everything that the paths name.

    Args:
        paths: roots of a market store, or folders in one, or files that can be imported.
        options: what the user says of the files, as for an import.
        limits: where the scans draw their lines.
        on_progress: told the share that is done and what is being looked at.

    Raises:
        ConfigError: a path does not exist, or a folder holds nothing that can be checked.
    """
    limits = limits or Limits()
    options = options or ImportOptions()
    work: list[Path] = [each for path in paths for each in _expand(path)]
    checked: list[Checked] = []
    sizes = [_bytes(path) for path in work]
    for number, path in enumerate(work):

        def tell(share: float, number: int = number, path: Path = path) -> None:
            done = (sum(sizes[:number]) + share * sizes[number]) / max(sum(sizes), 1)
            on_progress(done, path.name if path.is_file() else "/".join(path.parts[-3:]))

        tell(0.0)
        if path.is_dir():
            checked.append(_check_dataset(path, limits, tell))
        else:
            checked += _check_file(path, replace(options, on_read=tell), limits)
    on_progress(1.0, "done")
    return CheckReport(datasets=tuple(checked), common=tuple(_common(checked, limits)))


# --- what there is ----------------------------------------------------------------------------------------------------


def _expand(path: Path) -> list[Path]:
    """Return the datasets of a store under a folder, without any the files that can be imported; or the file itself."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ConfigError(f"{path}: no such file or folder; check the path")
    own = path if path.name else path.resolve()
    inside = [each for each in path.rglob("*") if not _is_aside(each.relative_to(path))]
    folders = [own, *(each for each in inside if len(each.relative_to(path).parts) <= 3 and each.is_dir())]
    found = [each for each in folders if _is_dataset(each)]
    found = found or [each for each in inside if each.is_file() and is_candidate(each)]
    if not found:
        raise ConfigError(
            f"{path}: neither a dataset of a market store nor a file that can be imported in it; name a store such as "
            "data/market, a folder in it, or a file"
        )
    return sorted(found)


def _bytes(path: Path) -> int:
    return sum(each.stat().st_size for each in (path.glob("*.parquet") if path.is_dir() else [path]))


def _is_aside(path: Path) -> bool:
    """Return whether it is hidden, or holds what an import has refused."""
    return any(part.startswith(".") or part == REJECTED for part in path.parts)


def _is_dataset(folder: Path) -> bool:
    try:
        layout = layout_of(folder.name)
    except DataError:
        return False
    return any(partition_span_ns(layout, path.stem) is not None for path in folder.glob("*.parquet"))


# --- datasets of the store --------------------------------------------------------------------------------------------


def _check_dataset(folder: Path, limits: Limits, tell: Callable[[float], None]) -> Checked:
    """Scan all files of a dataset as one; a file that cannot be read is a finding, and the others are read."""
    dataset = Dataset(folder)
    scan = scan_of(dataset.layout.kind, limits)
    files: list[tuple[int, Path]] = []
    broken: list[Finding] = []
    stray = [path for path in sorted(folder.glob("*.parquet")) if partition_span_ns(dataset.layout, path.stem) is None]
    paths = dataset.paths()
    rows = 0
    for done, path in enumerate(paths):
        files.append((rows, path))
        try:
            partition = dataset.open(path)
            misplaced = 0
            for part in parts_of(partition, list(dataset.layout.columns)):
                scan.add(part)
                rows += len(part)
                misplaced += _outside(part, dataset, path)
                tell((done + (rows - files[-1][0]) / max(partition.rows, 1)) / len(paths))
        except DataError as error:
            broken.append(_unreadable(error))
            continue
        if misplaced:
            broken.append(_misplaced(path, misplaced))
    if stray:
        broken.append(
            Finding(
                code="store.stray-file",
                severity=Severity.WARNING,
                message=f"{many(len(stray), 'file')} that nobody reads, the first {stray[0].name}: the store names its "
                "files by the time that they hold; import it with `bot data import`",
                count=len(stray),
            )
        )
    quality = scan.finish()
    venue, symbol = ("", "", *folder.resolve().parts)[-3:-1]
    return Checked(
        venue=venue,
        symbol=symbol,
        kind=dataset.layout.kind,
        path=folder,
        quality=replace(quality, findings=_in_order([*broken, *quality.findings])),
        files=tuple(files),
    )


def _outside(part: Part, dataset: Dataset, path: Path) -> int:
    """Return how many rows do not belong into the file that they stand in."""
    span_ns = partition_span_ns(dataset.layout, path.stem)
    if span_ns is None:
        return 0
    times = part.columns[dataset.layout.time]
    return int(np.count_nonzero((times < span_ns[0]) | (times >= span_ns[1])))


def _misplaced(path: Path, count: int) -> Finding:
    return Finding(
        code="store.misplaced",
        severity=Severity.ERROR,
        message=f"{many(count, 'row')} in {path.name} whose time is not {path.stem}: readers of a range miss them; "
        "delete the file and import its data again",
        count=count,
    )


def _unreadable(error: DataError) -> Finding:
    return Finding(code="file.unreadable", severity=Severity.ERROR, message=str(error), count=1)


# --- files to be imported ---------------------------------------------------------------------------------------------


class _Gathered:
    """One dataset of a file, while it is read."""

    def __init__(self, part: Part, limits: Limits) -> None:
        self.key = (part.venue, part.symbol, part.kind)
        self.scan = scan_of(part.kind, limits)
        self.rejected: list[Rejected] = []
        self.rejected_count = self.repeated = self.rounded = 0
        self._keep = limits.examples

    def add(self, part: Part) -> None:
        self.scan.add(part)
        self.rejected += part.rejected[: self._keep - len(self.rejected)]
        self.rejected_count += len(part.rejected)
        self.repeated += part.repeated
        self.rounded += part.rounded

    def findings(self) -> list[Finding]:
        found = []
        if self.rejected_count:
            first = self.rejected[0]
            found.append(
                Finding(
                    code="source.rejected",
                    severity=Severity.ERROR,
                    message=f"{many(self.rejected_count, 'row')} that cannot be right, the first row {first.row:,} of "
                    f"the file: {first.reason} ({first.text}); correct them, or an import leaves them out",
                    count=self.rejected_count,
                    examples=tuple(
                        Example(row=each.row, ts_ns=None, text=f"{each.reason}: {each.text}") for each in self.rejected
                    ),
                )
            )
        if self.repeated:
            found.append(
                Finding(
                    code="source.repeated",
                    severity=Severity.WARNING,
                    message=f"{many(self.repeated, 'row')} that the file tells twice: an import takes one of each, and "
                    "they are not counted here",
                    count=self.repeated,
                )
            )
        if self.rounded:
            found.append(
                Finding(
                    code="source.rounded",
                    severity=Severity.INFO,
                    message=f"{many(self.rounded, 'value')} with more decimals than asked for were rounded",
                    count=self.rounded,
                )
            )
        return found


def _check_file(path: Path, options: ImportOptions, limits: Limits) -> list[Checked]:
    """Scan a file as an import would read it: a dataset for each symbol and kind in it."""
    gathered: dict[tuple[str, str, str], _Gathered] = {}
    broken: list[Finding] = []
    try:
        for part in recognise(path, options).read():
            key = (part.venue, part.symbol, part.kind)
            if key not in gathered:
                gathered[key] = _Gathered(part, limits)
            gathered[key].add(part)
    except DataError as error:
        broken.append(_unreadable(error))
    if not gathered:
        nothing = Quality(rows=0, first_ns=None, last_ns=None, findings=tuple(broken or [_empty(path)]))
        return [Checked(venue="", symbol="", kind="", path=path, quality=nothing)]
    checked = []
    for each in gathered.values():
        quality = each.scan.finish()
        findings = _in_order([*broken, *each.findings(), *map(_before_import, quality.findings)])
        venue, symbol, kind = each.key
        quality = replace(quality, findings=findings)
        checked.append(Checked(venue=venue, symbol=symbol, kind=kind, path=path, quality=quality))
        broken = []
    return checked


def _empty(path: Path) -> Finding:
    return Finding(code="file.empty", severity=Severity.ERROR, message=f"{path}: no rows in it", count=1)


def _before_import(finding: Finding) -> Finding:
    if finding.code not in _REPAIRED:
        return finding
    return replace(finding, severity=Severity.WARNING, message=f"{finding.message}: an import does that")


# --- all together -----------------------------------------------------------------------------------------------------


def _in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the worst first."""
    return tuple(sorted(findings, key=lambda finding: list(Severity).index(finding.severity)))


def _common(checked: Sequence[Checked], limits: Limits) -> list[Finding]:
    """Look for outages: holes that all symbols of a venue share. Of a symbol given twice the longer counts."""
    groups: dict[tuple[str, str], dict[str, Checked]] = {}
    for each in checked:
        if each.quality.holes is not None:
            symbols = groups.setdefault((each.venue, each.kind), {})
            if each.symbol not in symbols or symbols[each.symbol].quality.rows < each.quality.rows:
                symbols[each.symbol] = each
    found = []
    for (venue, kind), symbols in groups.items():
        holes = {symbol: each.quality.holes for symbol, each in symbols.items() if each.quality.holes is not None}
        if len(holes) > 1:
            found += find_outages(f"{venue} {kind}", holes, limits)
    return found
