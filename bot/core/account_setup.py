"""How the account is set up at the venue, held against how it is to be: leverage, margin mode.

A start sets or refuses them; afterwards a person may change them in the venue's app while the bot trades. What was
sized and judged under one setting must not be added to under another: entries stay out until it is as configured
again, and exits pass. The position mode, which makes every order mean something else, is `reconcile`'s, and halts.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from bot.domain.venue_records import PositionRecord

LEVERAGE, MARGIN_MODE, AS_CONFIGURED = "LEVERAGE", "MARGIN_MODE", "AS_CONFIGURED"


class SetupWatch:
    """Compares what the venue shows with what is wanted, and says each thing once.

    Args:
        leverage: that is wanted, by instrument. Of those that are not here a change is told, and nothing kept out.
        margin_mode: that is wanted, in the venue's word; "" for whatever it is.

    Attributes:
        differs: by instrument, "" for the whole account: why nothing may be added there.
    """

    def __init__(self, leverage: Mapping[str, Decimal] | None = None, margin_mode: str = "") -> None:
        self.differs: dict[str, str] = {}
        self._wanted = dict(leverage or {})
        self._margin_mode = margin_mode
        self._seen: dict[str, Decimal] = {}

    def see(
        self, positions: Sequence[PositionRecord], traded: Mapping[str, object], margin_mode: str
    ) -> list[tuple[str, str, str]]:
        """Return what a person should know, as (code, instrument, line).

        Args:
            positions: the venue's, those of flat instruments too. One that is not among them is as it was.
            traded: instruments by name; others are not judged.
            margin_mode: the venue's word; "" where it was not told.
        """
        found: list[tuple[str, str, str]] = []
        if margin_mode and self._margin_mode:
            line = f"the margin mode is {margin_mode}, configured is {self._margin_mode}"
            found += self._judge(MARGIN_MODE, "", line, is_wanted=margin_mode == self._margin_mode)
        shown: dict[str, set[Decimal]] = {}
        for position in positions:  # in hedge mode there are two of an instrument
            if position.instrument in traded and position.leverage is not None:
                shown.setdefault(position.instrument, set()).add(position.leverage)
        for name, figures in sorted(shown.items()):
            found += self._see_leverage(name, figures)
        return found

    def _see_leverage(self, name: str, figures: set[Decimal]) -> list[tuple[str, str, str]]:
        wanted, figure = self._wanted.get(name), min(figures)
        if wanted is not None:
            told = " and ".join(f"{each:f}" for each in sorted(figures))
            line = f"the leverage of {name} is {told}, configured is {wanted:f}"
            return self._judge(LEVERAGE, name, line, is_wanted=figures == {wanted})
        before = self._seen.get(name, figure)
        self._seen[name] = figure
        if before == figure:
            return []
        return [(LEVERAGE, name, f"the leverage of {name} was {before:f} and is {figure:f}; none is configured")]

    def _judge(self, code: str, name: str, line: str, *, is_wanted: bool) -> list[tuple[str, str, str]]:
        before = self.differs.get(name)
        if is_wanted:
            self.differs.pop(name, None)
            of_what = f"the leverage of {name}" if name else "the margin mode"
            return [] if before is None else [(AS_CONFIGURED, name, f"{of_what} is as configured again: entries pass")]
        self.differs[name] = line
        return [] if before == line else [(code, name, f"{line}: only exits pass until it is set back")]
