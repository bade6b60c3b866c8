"""The order in which things happen to the money half.

Everything that happens has a `Key`: when it becomes known, what kind of thing it is, on which stream, and which row of
that stream. Keys are compared as tuples, so two runs agree on every tie, and so do any two ways of cutting the market
into slabs.
"""

from enum import IntEnum

Key = tuple[int, int, int, int]  # time known in ns, class, stream, row


class Class(IntEnum):
    """What happens first at one and the same instant."""

    READ_AHEAD = 0  # the market half reads on, so that no one decides before the tape is there
    ARRIVAL = 1  # what has reached the venue
    ANSWER = 2  # the venue's answers
    FILL = 3
    FUNDING = 4
    BAR = 5
    FORECAST = 6
    TIMER = 7
    END = 8  # the end of the run: after all else of its instant


NEVER: Key = (2**63 - 1, 0, 0, 0)
"""After everything."""
