"""How work can end other than well, beside the errors that a user can mend."""

from pathlib import Path


class Interrupted(Exception):
    """Someone asked the replay to stop.

    Attributes:
        directory: what is finished lies there, under `.part` names.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(f"interrupted; what was done is kept in {directory}, marked as not whole")
        self.directory = directory


class RunFailed(Exception):
    """A part of the pipeline, or the user's strategy, ended by an error that nobody raised on purpose."""
