"""gunicorn's settings for the front door."""

import os
import resource
import sys
from typing import Any

from actors import logs
from config import SettingsError, settings
from config.addresses import check_can_listen, in_url
from web.exposition import exposition
from web.gunicorn_log import WebLogger

try:
    _settings = settings()
    # gunicorn would take a name for IPv4 alone, and says of neither which setting it is.
    _address = check_can_listen(_settings.host, _settings.port, host_name="HOST", port_name="PORT")
except SettingsError as error:
    sys.exit(logs.refuse("web", error))
if _settings.web_metrics_port:
    exposition.open_folder()

bind = f"{in_url(_address)}:{_settings.port}"
workers = _settings.web_concurrency
worker_class = "web.protocol.WebWorker"
backlog = 2048
keepalive = 30
timeout = 30
# Long enough for a publish that has begun, short of the platform's own kill.
graceful_timeout = 10
loglevel = _settings.log_level
logger_class = WebLogger
accesslog = None
# Each process touches a file there every second: on a disk that hangs or is full it would not.
_memory = "/dev/shm"  # noqa: S108 - each file is its own  # nosec B108
worker_tmp_dir = _memory if os.access(_memory, os.W_OK) else None
errorlog = "-"
proc_name = "holdfast-web"
# Its socket would lie outside the checkout, shared by all of a user's gunicorns.
control_socket_disable = True


def _open_files(wanted: int) -> None:
    """Ask for so many open files: many platforms give 1,024 unless told, less than connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


# Clients, and what a process holds open for itself.
_open_files(_settings.connections_max + 512)


def when_ready(_server: Any) -> None:
    if _settings.web_metrics_port:
        exposition.start(_settings.metrics_host, _settings.web_metrics_port)


def post_fork(_server: Any, _worker: Any) -> None:
    exposition.leave()


def child_exit(_server: Any, worker: Any) -> None:
    exposition.forget(worker.pid)


def on_exit(_server: Any) -> None:
    exposition.close()
