"""The ledger in a process of its own, so that a long replay can use a second core for writing it.

The parent sends frames, the child answers the last one, or the first that fails:

    O + JSON [directory, run]      open the ledger; must be the first
    W + JSON bodies, one a line    add these entries
    F + JSON of the run's row      finish; answered by the ledger's hash
    I                              interrupt

An answer is `+` and a text, or `-` and what is wrong. Run as `python -m bot.store.ledger_process`.
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from bot.domain.errors import StorageError
from bot.domain.ledger import LedgerEntry
from bot.ports import Worker
from bot.store.sql_ledger import SqlLedger


class RemoteLedger:
    """The parent's side: what `SqlLedger` is, over a worker process.

    Args:
        worker: runs this module.
        directory, run: see `SqlLedger`.
    """

    def __init__(self, worker: Worker, directory: Path, run: dict[str, Any]) -> None:
        self._worker = worker
        self._directory = directory
        self._send(b"O" + msgspec.json.encode([str(directory), run]))

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        """See `SqlLedger`."""
        if entries:
            self._send(b"W" + b"\n".join([msgspec.json.encode(entry) for entry in entries]))

    def commit(self) -> None:
        """Do nothing: a replay's ledger is durable when it is finished."""

    def finish(self, known: dict[str, Any]) -> str:
        """See `SqlLedger`."""
        self._send(b"F" + msgspec.json.encode(known))
        answer = self._answer()
        self._worker.close()
        return answer

    def interrupt(self) -> None:
        """See `SqlLedger`."""
        with suppress(BrokenPipeError):  # it has gone already, and has said why
            self._worker.send(b"I")
        self._worker.close()

    def _send(self, frame: bytes) -> None:
        try:
            self._worker.send(frame)
        except BrokenPipeError:
            self._answer()
            raise

    def _answer(self) -> str:
        answer = self._worker.receive()
        if answer is None:
            raise StorageError(f"{self._directory}: the process that writes the ledger died; run again")
        if answer.startswith(b"-"):
            raise StorageError(answer[1:].decode())
        return answer[1:].decode()


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Carry out what the parent sends until it stops sending."""
    decoder = msgspec.json.Decoder(LedgerEntry)
    ledger: SqlLedger | None = None
    try:
        while header := requests.read(4):
            frame = requests.read(int.from_bytes(header, "little"))
            kind, body = frame[:1], frame[1:]
            if kind == b"O":
                directory, run = msgspec.json.decode(body)
                ledger = SqlLedger(Path(directory), run | {"start_cash": Decimal(run["start_cash"])})
                continue
            assert ledger is not None
            if kind == b"W":
                bodies = body.split(b"\n")
                ledger.write_encoded([decoder.decode(line) for line in bodies], bodies)
            elif kind == b"F":
                _answer(answers, b"+" + ledger.finish(msgspec.json.decode(body)).encode())
            else:
                ledger.interrupt()
    except StorageError as error:
        _answer(answers, b"-" + str(error).encode())
        if ledger is not None:
            ledger.interrupt()


def _answer(answers: BinaryIO, text: bytes) -> None:
    answers.write(len(text).to_bytes(4, "little") + text)
    answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    serve(sys.stdin.buffer, sys.stdout.buffer)
    os._exit(0)  # all is written and answered: the parent need not wait while the interpreter takes itself apart
