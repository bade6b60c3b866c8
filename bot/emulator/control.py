"""What the emulator answers beside the venue's own endpoints: its clock, and what goes wrong.

    GET    /emulator/clock    timeNano and speed: all that another process needs to keep the same time
    POST   /emulator/clock    advanceNano and stepNano: move a driven clock; see `server.py`
    GET    /emulator/faults   how often each kind has fired
    POST   /emulator/faults   put a fault in force; a JSON object with the keys of `Fault`
    DELETE /emulator/faults   let nothing go wrong any more

It listens on this machine alone, so nobody signs.
"""

from typing import Any

import msgspec

from bot.domain.errors import ConfigError
from bot.emulator.faults import Fault, Faults
from bot.emulator.wire import Request, Response, encode

_PREFIX = "/emulator/"
_FAULT = msgspec.json.Decoder(Fault)


class Control:
    """Answers requests about the emulator itself.

    Args:
        faults: the rules in force.
        start_ns: the venue's time at which it began: the spans of faults count from there.
        speed: how many seconds pass at the venue in one of ours, 0 where time is driven.
    """

    def __init__(self, faults: Faults, start_ns: int, speed: float) -> None:
        self._faults = faults
        self._start_ns = start_ns
        self._speed = speed

    def is_meant(self, request: Request) -> bool:
        """Return whether a request is about the emulator."""
        return request.path.startswith(_PREFIX)

    def handle(self, request: Request, now_ns: int) -> Response:
        """Answer a request."""
        match request.method, request.path.removeprefix(_PREFIX):
            case "GET", "clock":
                return _json({"timeNano": str(now_ns), "startNano": str(self._start_ns), "speed": self._speed})
            case "GET", "faults":
                return _json(dict(self._faults.fired))
            case "POST", "faults":
                try:
                    self._faults.add(_FAULT.decode(request.body))
                except (msgspec.DecodeError, RecursionError, UnicodeError, ConfigError) as error:
                    return _json({"error": str(error)}, 400)
                return _json({})
            case "DELETE", "faults":
                self._faults.clear()
                return _json({})
        return Response(status=404)


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(status=status, body=encode(value), headers={"Content-Type": "application/json"})
