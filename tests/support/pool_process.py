"""A process for the tests of `ProcessPool`: it does what its job, a line of words, says.

say A B      one line for each word
long N       a line of N letters, and one that has no end
wait         say "waiting", then wait to be told to end; "stopped" is the answer to that
stubborn     likewise, but stay
leave        end without a word
"""

import signal
import sys


def main() -> None:
    """Do the job."""
    verb, *words = sys.stdin.readline().split()
    if verb == "say":
        _say(*words)
    elif verb == "long":
        _say("x" * int(words[0]))
        sys.stdout.write("rest")
    elif verb == "wait":
        signal.signal(signal.SIGTERM, lambda number, frame: _leave())
        _say("waiting")
        signal.pause()
    elif verb == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _say("waiting")
        while True:
            signal.pause()


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _leave() -> None:
    _say("stopped")
    sys.exit()


if __name__ == "__main__":
    main()
