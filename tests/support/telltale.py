"""A strategy that tells what it must not: it puts secrets into every text that it can reach, and then it fails."""

import base64
import json
import logging
import os
import warnings
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import quote

import structlog

from bot.core.durations import parse_duration
from bot.domain.instrument import Side
from bot.ports import Actions
from strategies.base import Strategy, StrategyParams
from strategies.inputs import Bar

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "hex": lambda secret: secret.encode().hex(),
    "Base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "percent": lambda secret: quote(secret, safe=""),
    "escaped": lambda secret: "".join(f"\\u{ord(each):04x}" for each in secret),
}


def told() -> str:
    """Return all canaries in all encodings, as one text."""
    canaries = json.loads(os.environ["CANARIES"])
    return " ".join(f"<{encode(each)}>" for each in canaries for encode in ENCODINGS.values())


class Telltale(Strategy[StrategyParams]):
    """Logs, warns, gives reasons, and at last raises one error out of another, all with secrets in their text."""

    name = "telltale"
    scales_ns = (parse_duration("1s"),)

    def on_start(self) -> None:
        """Begin."""
        self._bars = 0

    def on_bar(self, bar: Bar) -> Actions:
        """Say more at each bar."""
        self._bars += 1
        match self._bars:
            case 2:
                structlog.get_logger().error("strategy.said", text=told(), parts={"more": [told()]})
                logging.getLogger("somebody.else").warning("heard %s", told())
                warnings.warn(told(), UserWarning, stacklevel=1)
            case 3:
                try:
                    raise KeyError(told())
                except KeyError:
                    structlog.get_logger().exception("strategy.stumbled")
            case 4:
                return self.market_order(bar.instrument, Side.BUY, Decimal(10**6), reason="too much")
            case 12:
                try:
                    json.loads(told())
                except ValueError as error:
                    raise RuntimeError(f"cannot go on: {told()}") from error
        return None
