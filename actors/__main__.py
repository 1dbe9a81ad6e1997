"""`python -m actors`: Dramatiq's own command on our actors, with our logs from its first line.

The options are Dramatiq's; what they leave out, WORKER_PROCESSES, WORKER_THREADS and
SHUTDOWN_GRACE_MS say.
"""

import sys

from dramatiq import cli

from actors import logs
from actors.nodes import connection_parameters
from actors.tracing import require_tracing
from config import SettingsError, settings
from models.database import configure


def main() -> int:
    options = sys.argv[1:]
    try:
        # Here it ends once and for all, in the processes that Dramatiq starts again and again.
        connection_parameters(settings())
        configure(settings())
        if settings().tracing:
            require_tracing()
    except SettingsError as error:
        return logs.refuse("worker", error)
    # Dramatiq sets up logging only where nobody has; its processes are forks of this one.
    logs.configure("worker")
    parser = cli.make_argument_parser()
    parser.set_defaults(
        processes=settings().worker_processes,
        threads=settings().worker_threads,
        # Its own is ten minutes: no platform waits that long.
        worker_shutdown_timeout=settings().shutdown_grace_ms,
    )
    parsed = parser.parse_args(["actors.main", *options])
    # What it runs in its own place on SIGHUP.
    sys.argv = [sys.executable, "-m", "actors", *options]
    return int(cli.main(parsed) or 0)


if __name__ == "__main__":
    sys.exit(main())
