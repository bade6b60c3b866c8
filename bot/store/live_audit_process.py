"""The audit of a live ledger in a process of its own: the bot's event loop feels nothing of it.

Reads `{"where": PLACE}` from its standard input; answers with one line: `{"entries": N, "problems": [...]}`. Run as
`python -m bot.store.live_audit_process`. An address comes this way, not as an argument: others can read those.
"""

import os
import sys

import msgspec

from bot.domain.errors import BotError


class Job(msgspec.Struct, frozen=True):
    """What to audit."""

    where: str


class Found(msgspec.Struct, frozen=True):
    """What an audit found; a ledger that cannot be read at all is a problem too."""

    entries: int
    problems: tuple[str, ...]


def main() -> None:
    """Audit what the standard input names."""
    from bot.store.live_audit import audit_live  # whoever asks for the audit need not wait for its libraries

    os.nice(10)  # what trades goes first
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        audit = audit_live(job.where)
        found = Found(entries=audit.entries, problems=tuple(audit.problems))
    except BotError as error:
        found = Found(entries=0, problems=(str(error),))
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")


if __name__ == "__main__":
    main()
