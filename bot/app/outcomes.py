"""How work can end other than well, beside the errors that a user can mend."""

from collections.abc import Sequence
from pathlib import Path


class Interrupted(Exception):
    """Someone asked a replay, or several, to stop.

    Attributes:
        cut: what was done lies there, under `.part` names.
        finished: the runs that had ended by then, whole.
    """

    def __init__(self, *cut: Path, finished: Sequence[Path] = ()) -> None:
        text = "interrupted"
        if cut:
            text += f"; what was done is kept in {' and '.join(map(str, cut))}, marked as not whole"
        if finished:
            text += f"; finished before: {' and '.join(map(str, finished))}"
        super().__init__(text)
        self.cut = cut
        self.finished = tuple(finished)


class RunFailed(Exception):
    """A part of the pipeline, or the user's strategy, ended by an error that nobody raised on purpose."""
