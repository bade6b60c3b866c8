"""Start a program while the rest of this process goes on.

`subprocess` starts one with the interpreter's lock held, and the kernel holds the thread that asks until the new
program has been loaded: on a busy machine a quarter of a second in which no other thread of ours, the event loop's
either, runs a line of Python. The C library's `posix_spawn`, called through ctypes, is called without that lock.
"""

import ctypes
import os
from collections.abc import Mapping, Sequence

_SETPGROUP = 2  # POSIX_SPAWN_SETPGROUP: 2 in every C library for Linux
_Opaque = ctypes.c_uint64 * 128  # larger than the structures of any C library, and aligned for them

_libc = ctypes.CDLL(None)


def spawn(command: Sequence[str], environment: Mapping[str, str], *, stdin: int, keep: Sequence[int]) -> int:
    """Start a program in a process group of its own, its standard output closed off; return the number of its process.

    Whoever started it has to wait for it in the end. Call this in a thread: it returns once the program is loaded.

    Args:
        command: the program's path, then its words.
        environment: all of it.
        stdin: the descriptor that is to be its standard input.
        keep: descriptors that it has under the same numbers. Others it has none of, save standard error.
    Raises:
        OSError: the system refuses.
    """
    actions, attributes, number = _Opaque(), _Opaque(), ctypes.c_int()
    _check(_libc.posix_spawn_file_actions_init(actions), command)
    _check(_libc.posix_spawnattr_init(attributes), command)
    try:
        _check(_libc.posix_spawn_file_actions_adddup2(actions, stdin, 0), command)
        _check(_libc.posix_spawn_file_actions_addopen(actions, 1, os.devnull.encode(), os.O_WRONLY, 0), command)
        for each in keep:  # onto itself: the copy is not closed when the program begins
            _check(_libc.posix_spawn_file_actions_adddup2(actions, each, each), command)
        _check(_libc.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETPGROUP)), command)
        _check(_libc.posix_spawnattr_setpgroup(attributes, 0), command)
        settings = [f"{name}={value}" for name, value in environment.items()]
        started = _libc.posix_spawn(
            ctypes.byref(number), os.fsencode(command[0]), actions, attributes, _texts(command), _texts(settings)
        )
        _check(started, command)
    finally:
        _libc.posix_spawn_file_actions_destroy(actions)
        _libc.posix_spawnattr_destroy(attributes)
    return number.value


def _texts(words: Sequence[str]) -> "ctypes.Array[ctypes.c_char_p]":
    """Return words as C wants them: an array that ends with a null."""
    return (ctypes.c_char_p * (len(words) + 1))(*(os.fsencode(each) for each in words), None)


def _check(code: int, command: Sequence[str]) -> None:
    if code:
        raise OSError(code, os.strerror(code), command[0])
