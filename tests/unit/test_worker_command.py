"""`python -m actors`: how many processes and threads, by settings and by options."""

import sys
from argparse import Namespace

import msgspec
import pytest

from actors import __main__ as command
from config import settings


@pytest.mark.parametrize(
    ("options", "processes", "threads"),
    [([], 3, 5), (["--processes", "2", "--threads", "1"], 2, 1)],
)
def test_options_come_before_settings(
    monkeypatch: pytest.MonkeyPatch, options: list[str], processes: int, threads: int
) -> None:
    given = msgspec.structs.replace(
        settings(), worker_processes=3, worker_threads=5, shutdown_grace_ms=16_000
    )
    started: list[Namespace] = []
    monkeypatch.setattr(command, "settings", lambda: given)
    monkeypatch.setattr("dramatiq.cli.main", started.append)
    monkeypatch.setattr("actors.logs.configure", lambda _: None)
    monkeypatch.setattr(command, "configure", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["actors", *options])

    assert command.main() == 0

    (parsed,) = started
    assert (parsed.processes, parsed.threads) == (processes, threads)
    assert parsed.worker_shutdown_timeout == 16_000
