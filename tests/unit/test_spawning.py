"""Starting a program: what it is given, what it is not, and that nobody else has to wait for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bot.runtime.spawning import spawn

SAYS = """
import os, sys
def there(number):
    try:
        return os.fstat(number) is not None
    except OSError:
        return False
kept, other = int(sys.argv[1]), int(sys.argv[2])
said = f"{os.read(0, 99).decode()} {os.environ['WORD']} {there(other)} {os.getpgid(0) == os.getpid()}"
print("to nobody")
os.write(kept, said.encode())
"""

# The program's standard output is a pipe that nobody reads yet, so that it cannot begin before this thread goes on.
MEANWHILE = """
import os, sys, threading
from bot.runtime import spawning
os.mkfifo(sys.argv[1])
spawning.os.devnull = sys.argv[1]
stdin, _ = os.pipe()
numbers = []
command = [sys.executable, "-c", "print('begun')"]
starter = threading.Thread(target=lambda: numbers.append(spawning.spawn(command, os.environ, stdin=stdin, keep=())))
starter.start()
with open(sys.argv[1]) as begun:
    assert begun.read().strip() == "begun"
starter.join()
assert os.waitpid(numbers[0], 0)[1] == 0
print("went on")
"""


def test_it_has_what_it_is_given_and_nothing_else() -> None:
    """Standard input, environment and the descriptors that are kept; a process group that Ctrl-C does not reach."""
    stdin, words = os.pipe()
    said, kept = os.pipe()
    other, _ = os.pipe()
    os.write(words, b"hello")
    os.close(words)
    command = [sys.executable, "-c", SAYS, str(kept), str(other)]
    number = spawn(command, {"WORD": "wörd"}, stdin=stdin, keep=(kept,))
    os.close(kept)
    assert os.read(said, 999).decode() == "hello wörd False True"
    assert os.waitpid(number, 0) == (number, 0)


def test_what_cannot_be_started_says_why() -> None:
    """An error of the system with the program's name; no process is left to be waited for."""
    stdin, _ = os.pipe()
    with pytest.raises(FileNotFoundError, match="/no/such/program"):
        spawn(["/no/such/program"], {}, stdin=stdin, keep=())


def test_the_other_threads_go_on_until_it_has_begun(tmp_path: Path) -> None:
    """However long the system takes to begin a program, whoever waits for it does so alone."""
    command = [sys.executable, "-c", MEANWHILE, str(tmp_path / "pipe")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "went on\n", done.stderr
