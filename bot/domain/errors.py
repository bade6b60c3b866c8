"""Every error a part of the bot may raise on purpose.

The command line prints a `BotError` as one line, without a traceback; anything else is our own slip.
"""


class BotError(Exception):
    """The root: the message says what is wrong and what to do about it."""


class ConfigError(BotError):
    """The configuration is refused; nothing was started."""


class DataError(BotError):
    """Market data, a run or an artefact on disk is not what it claims to be."""


class StorageError(BotError):
    """The disk or the database refused a write; what was not committed is lost."""


class VenueError(BotError):
    """The venue said no.

    Attributes:
        code: the venue's stable reason code.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class OutcomeUnknown(BotError):
    """We asked and do not know; a time-out is not a refusal. Reconcile, never resend under a new id."""


class InvariantBroken(BotError):
    """Our picture of the world is wrong: stop trading."""


class InvalidTransition(InvariantBroken):
    """An order event that cannot happen in the order's present status."""
