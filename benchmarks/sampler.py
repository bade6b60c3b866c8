"""Where a run spends its time: a signal looks at the stack every few milliseconds of CPU time."""

import signal
from collections import Counter
from collections.abc import Callable, Mapping
from types import FrameType

_EVERY_SECONDS = 0.002


def shares(run: Callable[[], object], parts: Mapping[str, str]) -> dict[str, float]:
    """Return the share of each part in the CPU time of `run`, and of what is in none of them as "other".

    Args:
        run: what is looked at.
        parts: names by the beginning of a file's path below the project; of several on the stack the innermost counts.
    """
    seen: Counter[str] = Counter()

    def look(_signal: int, frame: FrameType | None) -> None:
        while frame is not None:
            path = frame.f_code.co_filename
            for begin, name in parts.items():
                if f"/{begin}" in path:
                    seen[name] += 1
                    return
            frame = frame.f_back
        seen["other"] += 1

    before = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, _EVERY_SECONDS, _EVERY_SECONDS)
    try:
        run()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return {name: count / max(1, seen.total()) for name, count in seen.items()}
