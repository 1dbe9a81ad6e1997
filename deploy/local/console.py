"""What `make run` tells the person in front of it: a line for every step, with its time."""

import contextlib
import sys
import time
from collections.abc import Iterator


class Step:
    """A step in progress; `detail` is shown when it is done."""

    detail = ""


def say(text: str = "") -> None:
    """Print a line. A terminal that went away must not stop us from stopping things in order."""
    with contextlib.suppress(OSError, ValueError):
        print(f"{_clear()}{text}", flush=True)


@contextlib.contextmanager
def step(title: str) -> Iterator[Step]:
    """Show `title` while it runs, then how long it took."""
    began = time.monotonic()
    current = Step()
    if sys.stdout.isatty():
        with contextlib.suppress(OSError):
            print(f"{_clear()}  …  {title}", end="", flush=True)
    try:
        yield current
    except BaseException:  # Ctrl-C, too, ends the line
        say(f"  ✗  {title}")
        raise
    detail = f"  {current.detail}" if current.detail else ""
    say(f"  ✓  {title}{detail}  ({time.monotonic() - began:.1f} s)")


def _clear() -> str:
    return "\r\033[K" if sys.stdout.isatty() else ""
