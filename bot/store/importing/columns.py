"""Finds the columns of a table that nobody described: by name, and never by guess where two could be meant."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.domain.errors import DataError

# Names that other people give to what we need; compared without case, blanks and underscores.
_ALIASES = {
    "ts": (
        "ts tsms tsns tsus time timestamp timestampms date datetime opentime openns opents starttime start unix "
        "transacttime tradetime fundingtime fundingratetimestamp calctime"
    ),
    "recv": "recvns recvts localts localtimestamp receivedtime",
    "open": "open o openprice",
    "high": "high h highprice max",
    "low": "low l lowprice min",
    "close": "close c closeprice",
    "volume": "volume vol v basevolume baseassetvolume",
    "turnover": "turnover quotevolume quoteassetvolume",
    "count": "count trades numberoftrades tradecount numtrades",
    "buy_volume": "buyvolume takerbuyvolume takerbuybasevolume takerbuybaseassetvolume",
    "price": "price px p",
    "qty": "qty quantity size amount q volume vol",
    "side": "side takerside",
    "maker": "isbuyermaker buyermaker",
    "id": "id tradeid aggtradeid execid trdmatchid",
    "rate": "rate fundingrate lastfundingrate",
    "symbol": "symbol",
    "bid": "bid bidprice bestbid bestbidprice bidpx",
    "bid_qty": "bidqty bidsize bestbidqty bidquantity",
    "ask": "ask askprice bestask bestaskprice askpx",
    "ask_qty": "askqty asksize bestaskqty askquantity",
}
_NAMES = {ours: frozenset(names.split()) for ours, names in _ALIASES.items()}


class ColumnFinder:
    """The columns of one file.

    Args:
        path: for messages.
        names: of the file's columns.
        mapping: what the user says: our name to the file's.
    """

    def __init__(self, path: Path, names: Sequence[str], mapping: Mapping[str, str]) -> None:
        self._path = path
        self._names = names
        self._mapping = mapping
        unknown = [ours for ours in mapping if ours not in _ALIASES]
        if unknown:
            raise DataError(f"--map {unknown[0]}=...: no such column; known are {', '.join(_ALIASES)}")
        for ours, theirs in mapping.items():
            if theirs not in names:
                raise DataError(
                    f"{path}: --map {ours}={theirs}: the file has no such column; it has {', '.join(names[:30])}"
                )

    def get(self, ours: str) -> str | None:
        """Return the file's name of a column, None if it has none such.

        Raises:
            DataError: two could be meant.
        """
        if ours in self._mapping:
            return self._mapping[ours]
        taken = set(self._mapping.values())
        found = [
            name
            for name in self._names
            if name not in taken and name.lower().replace("_", "").replace(" ", "") in _NAMES[ours]
        ]
        if len(found) > 1:
            raise DataError(
                f"{self._path}: {ours} could be any of {', '.join(found)}; say which with --map {ours}={found[0]}"
            )
        return found[0] if found else None

    def need(self, ours: str) -> str:
        """Return the file's name of a column that there must be.

        Raises:
            DataError: there is none such, or two.
        """
        name = self.get(ours)
        if name is None:
            raise DataError(
                f"{self._path}: no column for {ours}; name it with --map {ours}=COLUMN "
                f"(the file has {', '.join(self._names[:30])})"
            )
        return name

    def has(self, *ours: str) -> bool:
        """Return whether there is a column, or several to choose from, for each of these."""
        taken = set(self._mapping.values())
        names = {name.lower().replace("_", "").replace(" ", "") for name in self._names if name not in taken}
        return all(each in self._mapping or names & _NAMES[each] for each in ours)
