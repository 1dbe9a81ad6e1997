"""A setting that can't be used ends every process with one line that names it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import ports
from tests.conftest import CHECKOUT

PROCESSES = {
    "web": ["-m", "web"],
    "worker": ["-m", "actors"],
    "clock": ["-m", "holdfast", "clock"],
    "migrate": ["-m", "holdfast", "migrate"],
    "health": ["-m", "holdfast", "health", "web"],
}
ALL = tuple(PROCESSES)
TLS = "amqps://shop:hunter2hunter2@h/?ssl_options={'cafile':'/no/ca.pem'}"


def start(name: str, settings: dict[str, str]) -> subprocess.Popen[str]:
    environment = {
        "DATABASE_URL": "postgresql://127.0.0.1:1/none", "RABBITMQ_URL": "amqp://127.0.0.1:1",
        "SECRET_KEY": "a-secret-for-tests-that-is-long-enough",
        "PORT": str(ports.free_ports(1)[0]), "HOST": "127.0.0.1", "WEB_METRICS_PORT": "0",
        "WORKER_METRICS_PORT": "0", "CLOCK_METRICS_PORT": "0", **settings,
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, *PROCESSES[name]],
        cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("processes", "setting", "value", "words"),
    [
        (ALL, "WEB_METRICS_PORT", "tcp://10.0.0.1:9464", "WEB_METRICS_PORT is 'tcp://10.0.0.1:94"),
        (
            ("web",),
            "DATABASE_URL",
            "postgresql://u:hunter2@hunter2@h/d",
            "DATABASE_URL: it must be",
        ),
        (("web", "worker", "clock"), "RABBITMQ_URL", TLS, "RABBITMQ_URL: can't use a file"),
        (("worker",), "WORKER_PROCESSES", "two", "WORKER_PROCESSES is 'two'; it must be a whole"),
        # gunicorn has a look of its own at this one.
        (("web",), "WEB_CONCURRENCY", "two", "WEB_CONCURRENCY is 'two'; it must be a whole num"),
        (("web",), "HOST", "203.0.113.9", "HOST is '203.0.113.9', and this machine can't listen"),
        # No test has OpenTelemetry's exporter.
        (("worker",), "TRACING", "true", "TRACING is true, and OpenTelemetry is not"),
        (("web",), "RATE_LIMIT_STORAGE_URL", "async+redis://h/0", "RATE_LIMIT_STORAGE_URL names"),
    ],
)
def test_one_line_names_it_in_every_process(
    processes: tuple[str, ...], setting: str, value: str, words: str
) -> None:
    # All at once: most of their time is Python's start.
    started = {name: start(name, {setting: value}) for name in processes}

    for name, process in started.items():
        output, errors = process.communicate(timeout=60)
        said = output + errors
        assert process.returncode not in (0, None), name
        assert words in said, (name, said)
        assert "Traceback" not in said, said
        assert "hunter2" not in said, said
        assert sum(setting in line for line in said.splitlines()) == 1, said
        if name in ("web", "worker", "clock"):
            lines = [line for line in errors.splitlines() if setting in line]
            assert json.loads(lines[0])["log.level"] == "critical"


def test_a_file_of_settings_that_this_user_may_not_read_is_named(tmp_path: Path) -> None:
    script = (
        "import config, pathlib; config.ROOT = pathlib.Path('.');"
        "import holdfast, sys; sys.exit(holdfast.main(['migrate']))"
    )
    (tmp_path / ".env").mkdir()

    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(CHECKOUT)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "holdfast: .env can't be read: Is a directory.\n"
