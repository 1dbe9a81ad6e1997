"""Ports: which are free, and who holds one that is not."""

import errno
import itertools
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterable

from config.addresses import explanation, problem_of_listening
from deploy.local.errors import CannotRunError

# Below the kernel's range for outgoing connections (32768 and up), which would now and then take a
# saved port away between two runs.
PORTS = range(20_000, 32_000)
#: A narrower range, `20000-23999`, for processes that start side by side.
PORTS_VARIABLE = "PRIVATE_PORTS"
#: What this process was given, whether or not anybody listens there yet.
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """That many different ports of the loopback that nobody listens on, other ones every time.

    Raises CannotRunError where there are not so many.
    """
    among = _among()
    unused = (p for p in random.sample(among, len(among)) if p not in _given and is_free(p))
    chosen = list(itertools.islice(unused, count))
    if len(chosen) < count:
        raise CannotRunError(f"There are not {count} free ports from {among[0]} to {among[-1]}.")
    _given.update(chosen)
    return chosen


def _among() -> range:
    if not (given := os.environ.get(PORTS_VARIABLE)):
        return PORTS
    if not (match := re.fullmatch(r"(\d+)-(\d+)", given)) or int(match[1]) > int(match[2]):
        raise CannotRunError(f"{PORTS_VARIABLE} is {given!r}; it must be like 20000-23999.")
    return range(int(match[1]), int(match[2]) + 1)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there."""
    return problem_of_listening(host, port) is None


def check_own_port(port: int, host: str) -> None:
    """Make sure that the front door can listen on PORT of HOST."""
    problem = problem_of_listening(host, port)
    if problem is None:
        return
    if problem.errno != errno.EADDRINUSE:
        raise CannotRunError(explanation(problem, host, port, host_name="HOST", port_name="PORT"))
    raise CannotRunError(
        f"Port {port} is taken{holder(port)}. Stop that, or choose another port: "
        f"PORT={port % 65_535 + 1} make run"
    )


def check_server_ports(title: str, kept_in: str, ports: Iterable[int]) -> None:
    """Make sure that a private server can listen where it did at its first run."""
    for port in ports:
        if not is_free(port):
            raise CannotRunError(
                f"Port {port} of this checkout's own {title} is taken{holder(port)}. "
                f"Stop that, or write another port into {kept_in} and .env."
            )


def holder(port: int) -> str:
    """Who listens on `port`, as far as the machine tells."""
    if not shutil.which("ss"):
        return ""
    command = ["ss", "--listening", "--tcp", "--processes", "--no-header", f"sport = :{port}"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    match = re.search(r'\("(?P<name>[^"]+)",pid=(?P<pid>\d+)', listed)
    return f" by {match['name']} (process {match['pid']})" if match else ""
