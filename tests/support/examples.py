"""How many examples a property test draws: all of them in `make soak` and by hand, fewer where every commit waits."""

from hypothesis import settings

_LEAST = 15


def examples(count: int) -> int:
    """Return `count`; half of it, but 15 at least, where they are the same each time (`make test`)."""
    return max(_LEAST, count // 2) if settings().derandomize else count
