"""How every task of `holdfast` meets its terminal: whatever that can't show, take or wait for, the
task ends with a code and a line at most, never with a traceback.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Final, TextIO

#: As a shell has it, of a program that a signal ended.
INTERRUPTED: Final = 128 + signal.SIGINT
NOBODY_READS: Final = 128 + signal.SIGPIPE


def run(task: Callable[[], int]) -> int:
    """Run a task; returns its exit code, or that of what happened to its output."""
    escape()
    try:
        # Python would hear of Ctrl-C only when PostgreSQL has answered, in minutes.
        with _at_ctrl_c(signal.SIG_DFL):
            code = _code(task)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `| head`
        _drop(sys.stdout)
        return NOBODY_READS
    except OSError as error:
        if error.filename:
            return complain(f"{error.filename}: {error.strerror}", 1)
        _drop(sys.stdout)
        return complain(f"the output can't be written: {error.strerror or error}", 1)
    return code


@contextmanager
def interruptible() -> Iterator[None]:
    """For what has something to say after Ctrl-C: it gets a KeyboardInterrupt, as usual."""
    with _at_ctrl_c(signal.default_int_handler):
        yield


@contextmanager
def _at_ctrl_c(handler: Callable[..., object] | signal.Handlers) -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    ours = before in (signal.SIG_DFL, signal.default_int_handler)  # nohup's is not
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def escape() -> None:
    """Let a terminal in ASCII show `Zo\\xeb` rather than end the task."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(text: str, code: int) -> int:
    """Say in a line why a task ended; returns the code."""
    try:
        sys.stderr.write(f"holdfast: {text.strip()}\n")
        sys.stderr.flush()
    except OSError:  # the code has to do
        _drop(sys.stderr)
    return code


def words(arguments: Sequence[str]) -> list[str]:
    """Arguments as they were typed, in UTF-8 even where Python takes the terminal for an ASCII one.

    Raises SystemExit.
    """
    try:
        return [os.fsencode(text).decode() if _is_broken(text) else text for text in arguments]
    except UnicodeDecodeError:
        sys.exit(complain("an argument is neither UTF-8 nor of this terminal's encoding", 2))


def _is_broken(text: str) -> bool:
    """Whether it has bytes that the terminal's encoding does not know, as Python hands them on."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def _code(task: Callable[[], int]) -> int:
    try:
        return task()
    except SystemExit as end:  # argparse's, behind its help or complaint
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _drop(stream: TextIO) -> None:
    """What is left in the buffer goes nowhere: Python would complain of it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
