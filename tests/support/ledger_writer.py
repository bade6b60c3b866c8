"""Writes round trips into a live ledger until it is killed, and says what was acknowledged.

    python -m tests.support.ledger_writer PLACE

PLACE is a directory or a PostgreSQL address. A line `opened N` comes first, then one number for each commit that
returned: the journal's end.
"""

import sys
from pathlib import Path

from bot.app.ledgers import open_live
from tests.support.live_ledgers import RUN, begin, history


def main() -> None:
    """Write for ever."""
    where = sys.argv[1]
    opened = open_live(where, RUN, lock_directory=Path(sys.argv[2]))
    ledger = opened.store
    sys.stdout.write(f"opened {ledger.head.seq}\n")
    sys.stdout.flush()
    begin(ledger)
    while True:
        seq = ledger.head.seq
        trips = seq // 14 + 3
        entries = history(trips)[seq:]
        ledger.write(entries[:3])
        ledger.commit()
        sys.stdout.write(f"{ledger.head.seq}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
